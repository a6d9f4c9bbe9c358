package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestWebSocket(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		for {
			typ, msg, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), typ, msg); err != nil {
				return
			}
		}
	})
	b := setup(t, route(up.URL, ""), setting{tls: true})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, b.front.URL, &websocket.DialOptions{HTTPClient: b.front.Client(), HTTPHeader: http.Header{"X-User": {"root"}, "Openclaw-Assertion": {"forged"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	h := <-seen
	if h.Get("X-User") != "" || !strings.HasPrefix(h.Get(AssertionHeader), AssertionType+".") || len(h[AssertionHeader]) != 1 {
		t.Errorf("%v", h)
	}
	for i := range 100 {
		msg := strings.Repeat("x", i*300)
		if err := c.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != msg {
			t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	<-b.ended
	// A quiet connection ends at the idle limit.
	b = setup(t, route(up.URL, ", timeouts: {idle: 100ms}"))
	c, _, err = websocket.Dial(ctx, b.front.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("quiet: %v", err)
	}
	<-b.ended
}

func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusUpgradeRequired) })
	b := setup(t, route(up.URL, ""))
	resp, _ := b.do(t, "GET", "/", nil, "Connection", "Upgrade", "Upgrade", "websocket")
	if resp.StatusCode != 426 {
		t.Error(resp.StatusCode)
	}
}

// echoService answers a string with itself, one by one and in a stream.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "One", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := dec(in); err != nil {
			return nil, err
		}
		md, _ := metadata.FromIncomingContext(ctx)
		if len(md.Get("openclaw-assertion")) != 1 || len(md.Get("x-tenant-id")) != 0 {
			return nil, status.Error(codes.Unauthenticated, "no assertion")
		}
		if in.Value == "fail" {
			return nil, status.Error(codes.FailedPrecondition, "as asked")
		}
		return in, nil
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Many", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			in := new(wrapperspb.StringValue)
			if err := s.RecvMsg(in); err == io.EOF {
				s.SetTrailer(metadata.Pairs("x-sum", "7"))
				return status.Error(codes.Aborted, "the end")
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(in); err != nil {
				return err
			}
		}
	}}},
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	srv.RegisterService(&echoService, struct{}{})
	go srv.Serve(ln)
	t.Cleanup(srv.Stop)
	b := setup(t, route("h2c://"+ln.Addr().String(), ""), setting{h2: true})
	roots := x509.NewCertPool()
	roots.AddCert(b.front.Certificate())
	cc, err := grpc.NewClient(b.front.Listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "example.com"})))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-tenant-id", "other", "openclaw-assertion", "forged")
	out := new(wrapperspb.StringValue)
	if err := cc.Invoke(ctx, "/test.Echo/One", wrapperspb.String("hello"), out); err != nil || out.Value != "hello" {
		t.Fatalf("unary: %q %v", out.Value, err)
	}
	if err := cc.Invoke(ctx, "/test.Echo/One", wrapperspb.String("fail"), out); status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("unary status: %v", err)
	}
	st, err := cc.NewStream(ctx, &echoService.Streams[0], "/test.Echo/Many")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // each is answered before the next is sent: nothing is held back
		if err := st.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if err := st.RecvMsg(out); err != nil || out.Value != fmt.Sprint(i) {
			t.Fatalf("stream: %q %v", out.Value, err)
		}
	}
	if err := st.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := st.RecvMsg(out); status.Code(err) != codes.Aborted || len(st.Trailer().Get("x-sum")) != 1 {
		t.Errorf("trailers: %v %v", err, st.Trailer())
	}
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "content ", r.Trailer.Get("X-In"), r.Trailer.Get("X-User"))
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "42")
	})
	b := setup(t, route(up.URL, ""))
	resp, got := b.do(t, "GET", "/", nil)
	if resp.Trailer.Get("X-Sum") != "42" || got != "content " {
		t.Errorf("%v %q", resp.Trailer, got)
	}
	req, _ := http.NewRequest("POST", b.front.URL, struct{ io.Reader }{strings.NewReader("x")})
	req.Trailer = http.Header{"X-In": {"7"}, "X-User": {"root"}}
	resp, err := b.front.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "content 7" || resp.Trailer.Get("X-Sum") != "42" {
		t.Errorf("%q %v", body, resp.Trailer)
	}
}

func TestHTTPSUpstream(t *testing.T) {
	t.Parallel()
	other := setup(t, route("http://127.0.0.1:1", ""), setting{tls: true}) // anything with a certificate
	p, err := New(Config{Issuer: "i", Sign: func(string, []byte) (string, error) { return "t", nil }, TLS: other.front.Client().Transport.(*http.Transport).TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	trusting := &bundle{Proxy: p}
	trusting.load(t, route(other.front.URL, ""))
	r, _ := http.NewRequest("GET", "http://x/", nil)
	rec := &recorder{h: http.Header{}}
	rt, err := p.Match(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Serve(rec, r, rt, acme); err != nil || rec.status != 502 { // its own upstream is not there
		t.Errorf("trusted: %d %v", rec.status, err)
	}
	b := setup(t, route(other.front.URL, ""))
	if resp, got := b.do(t, "GET", "/", nil); resp.StatusCode != 502 || strings.TrimSpace(got) != "upstream_failed" {
		t.Errorf("an unknown certificate: %d %q", resp.StatusCode, got)
	}
}

type recorder struct {
	h      http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.h }
func (r *recorder) WriteHeader(s int)           { r.status = s }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

func TestStatusesWithoutContent(t *testing.T) {
	t.Parallel()
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/304":
			w.Header().Set("Etag", `"a"`)
			w.WriteHeader(304)
		case "/204":
			w.WriteHeader(204)
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			w.Header().Del("Link")
			fmt.Fprint(w, "hi")
		default:
			w.Header().Set("Content-Length", "77")
			if r.Method != "HEAD" {
				fmt.Fprint(w, strings.Repeat("x", 77))
			}
		}
	})
	b := setup(t, route(up.URL, ""), setting{set: func(h http.Header) { h.Set("X-Frame-Options", "DENY") }})
	for range 3 { // on the same connections
		if resp, got := b.do(t, "GET", "/304", nil); resp.StatusCode != 304 || got != "" || resp.Header.Get("Etag") != `"a"` {
			t.Error(resp.StatusCode, got)
		}
		if resp, got := b.do(t, "GET", "/204", nil); resp.StatusCode != 204 || got != "" {
			t.Error(resp.StatusCode, got)
		}
		if resp, got := b.do(t, "HEAD", "/", nil); resp.StatusCode != 200 || got != "" || resp.ContentLength != 77 {
			t.Error(resp.StatusCode, got, resp.ContentLength)
		}
		if resp, got := b.do(t, "GET", "/hints", nil); resp.StatusCode != 200 || got != "hi" || resp.Header.Get("Link") != "" {
			t.Error(resp.StatusCode, got, resp.Header)
		}
		resp, got := b.do(t, "GET", "/hints", nil, "Upgrade", "x", "Connection", "upgrade") // by the relay
		if resp.StatusCode != 200 || got != "hi" || resp.Header.Get("Link") != "" || resp.Header.Get("X-Frame-Options") != "DENY" {
			t.Error(resp.StatusCode, got, resp.Header)
		}
		if resp, got := b.do(t, "POST", "/", nil, "Expect", "100-continue"); resp.StatusCode != 200 || len(got) != 77 {
			t.Error(resp.StatusCode, len(got))
		}
	}
}

// The upstream refuses while the client still sends: the client learns why, and
// nothing of its content is taken for a request.
func TestEarlyRefusal(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 64<<10)
				_, _ = c.Read(buf)
				_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	b := setup(t, route("http://"+ln.Addr().String(), ", max_body: 10MiB"))
	c, err := net.Dial("tcp", b.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
	fmt.Fprint(c, strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 10))
	all, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	if n := strings.Count(string(all), "HTTP/1.1 "); n != 1 || !strings.HasPrefix(string(all), "HTTP/1.1 403") || !strings.HasSuffix(string(all), "no") {
		t.Errorf("%d answers: %q", n, all)
	}
	if n := len(b.ended); n != 1 {
		t.Errorf("%d requests were served", n)
	}
}
