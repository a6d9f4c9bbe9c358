package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

var acme = Identity{
	TenantID: "01890a5d-ac96-774b-bcce-b302099a8057", TenantName: "acme", Subject: "01890a5d-ac96-774b-bcce-b302099a8058", Kind: "user",
	Roles: []string{"developer", "viewer"}, RequestID: "req-1", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}

// clock is moved by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bundle is a proxy behind a real server, as the gateway wires it.
type bundle struct {
	*Proxy
	front *httptest.Server
	clock *clock
	signs atomic.Int64
	mu    sync.Mutex
	id    Identity
	ended chan error
}

type setting struct {
	tls, h2 bool
	set     func(http.Header) // what the gateway puts into every answer
}

func setup(t *testing.T, routes string, ss ...setting) *bundle {
	t.Helper()
	b := &bundle{clock: newClock(), id: acme, ended: make(chan error, 1<<16)}
	p, err := New(Config{Issuer: "https://gw.example", Now: b.clock.now, Sign: func(typ string, claims []byte) (string, error) {
		b.signs.Add(1)
		return typ + "." + hex.EncodeToString(claims), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.Proxy = p
	b.load(t, routes)
	var s setting
	if len(ss) > 0 {
		s = ss[0]
	}
	b.front = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.set != nil {
			s.set(w.Header())
		}
		rt, err := p.Match(r)
		b.mu.Lock()
		id := b.id
		b.mu.Unlock()
		if err == nil {
			err = p.Serve(w, r, rt, id)
		}
		b.ended <- err
		var f *fault.Error
		switch {
		case errors.Is(err, ErrCut):
			panic(http.ErrAbortHandler)
		case errors.As(err, &f):
			if f.RetryAfter > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
			}
			http.Error(w, string(f.Code), map[fault.Code]int{fault.Upstream: 502, fault.Timeout: 504, fault.Unavailable: 503, fault.TooLarge: 413, fault.Invalid: 400, fault.NotFound: 404, fault.NoMethod: 405}[f.Code])
		case err != nil:
			t.Errorf("an error that is neither a fault nor ErrCut: %v", err)
		}
	}))
	b.front.Config.ErrorLog = nil
	switch {
	case s.h2:
		b.front.EnableHTTP2 = true
		b.front.StartTLS()
	case s.tls:
		b.front.StartTLS()
	default:
		b.front.Config.Protocols = new(http.Protocols)
		b.front.Config.Protocols.SetHTTP1(true)
		b.front.Config.Protocols.SetUnencryptedHTTP2(true)
		b.front.Start()
	}
	t.Cleanup(func() {
		b.front.CloseClientConnections()
		b.front.Close()
		p.Close()
		p.Close()
	})
	return b
}

func (b *bundle) load(t *testing.T, routes string) {
	t.Helper()
	table, err := ParseTable("routes.yaml", []byte("version: 1\nroutes:\n"+routes), quota.DefaultTable())
	if err != nil {
		t.Fatal(err)
	}
	b.Load(table)
}

func route(to, more string) string {
	return "  - {match: /, upstream: \"" + to + "\", limit: write" + more + "}\n"
}

func backend(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (b *bundle) do(t *testing.T, method, path string, body io.Reader, hs ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, b.front.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(hs); i += 2 {
		req.Header.Add(hs[i], hs[i+1])
	}
	resp, err := b.front.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 10)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		h := w.Header()
		h.Set("Server", "leaky/1.0")
		h.Set("X-Powered-By", "secrets")
		h.Set("Strict-Transport-Security", "max-age=0")
		h.Set("X-Frame-Options", "ALLOWALL")
		h.Set("Content-Security-Policy", "script-src 'self'")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Alt-Svc", `h3="evil:443"`)
		h.Set("Set-Cookie", "session=evil")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("X-Request-Id", "theirs")
		h.Add("X-Many", "a")
		h.Add("X-Many", "b")
		h.Set("RateLimit", "theirs")
		h.Set("Vary", "Accept")
		fmt.Fprint(w, "ok")
	})
	secure := setting{set: func(h http.Header) {
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'")
		h.Set("Strict-Transport-Security", "max-age=63072000")
		h.Set("X-Request-Id", "ours")
		h.Set("Vary", "Origin")
	}}
	spoofs := []string{
		"X-Forwarded-For", "10.0.0.1", "X-Forwarded-Proto", "gopher", "X-Forwarded-Host", "evil", "X-Forwarded-User", "root", "Forwarded", "for=evil", "X-Real-Ip", "1.1.1.1",
		"X-Openclaw-Tenant", "evil", "Openclaw-Assertion", "forged", "X-User", "root", "X-User-Id", "1", "X-Username", "root", "X-Tenant-Id", "other", "X-Tenant", "other",
		"Authorization", "Bearer secret", "Cookie", "a=b", "Remote-User", "root", "X-Remote-User", "root", "X-Auth-Request-User", "root", "X-Original-Url", "/admin",
		"X-Rewrite-Url", "/admin", "X_user", "root", "X_forwarded_for", "1", "OPENCLAW_ASSERTION", "forged", "X-Http-Method-Override", "DELETE", "Cf-Connecting-Ip", "1",
		"X-Request-Id", "forged", "Traceparent", "forged", "Proxy-Authorization", "Basic x", "Keep-Alive", "1", "Te", "gzip", "X-Client-Cert", "x", "Connection", "X-Drop, Openclaw-Assertion", "X-Drop", "1",
	}
	allowed := map[string]string{
		"Openclaw-Assertion": "oc-assertion+jwt.", "X-Forwarded-Host": "127.0.0.1:", "X-Forwarded-Proto": "http", "X-Request-Id": "req-1", "Traceparent": acme.Traceparent,
		"Via": "1.1 openclaw", "Accept-Encoding": "gzip", "User-Agent": "Go-http-client", "X-Plain": "yes", "Content-Length": "",
	}
	for name, to := range map[string]string{"direct": up.URL, "relay": up.URL} {
		b := setup(t, route(to, ""), secure)
		hs := append([]string{"X-Plain", "yes"}, spoofs...)
		if name == "relay" {
			hs = append(hs, "Expect", "x-nothing")
			hs = hs[:len(hs)-2]
			hs = append(hs, strings.Split(strings.Repeat("X-Pad\x00"+strings.Repeat("a", 200)+"\x00", 100), "\x00")[:200]...) // a head too large for http1
		}
		resp, _ := b.do(t, "GET", "/x/y?a=b;c", nil, hs...)
		r := <-seen
		for k, v := range r.Header {
			want, ok := allowed[k]
			if !ok && k != "X-Pad" {
				t.Errorf("%s: %s: %q came through", name, k, v)
			}
			if ok && (len(v) != 1 || !strings.HasPrefix(v[0], want)) {
				t.Errorf("%s: %s: %q", name, k, v)
			}
		}
		for k := range allowed {
			if r.Header.Get(k) == "" && k != "Content-Length" {
				t.Errorf("%s: %s is missing", name, k)
			}
		}
		if r.RequestURI != "/x/y?a=b;c" || "http://"+r.Host != up.URL {
			t.Errorf("%s: target %s at %s", name, r.RequestURI, r.Host)
		}
		for k, want := range map[string][]string{
			"Server": nil, "X-Powered-By": nil, "Strict-Transport-Security": {"max-age=63072000"}, "X-Frame-Options": {"DENY"},
			"Content-Security-Policy": {"default-src 'none'", "script-src 'self'"}, "Access-Control-Allow-Origin": nil, "Alt-Svc": nil,
			"Set-Cookie": nil, "X-Hop": nil, "X-Request-Id": {"ours"}, "X-Many": {"a", "b"}, "Ratelimit": nil, "Via": {"1.1 openclaw"}, "Vary": {"Origin", "Accept"},
		} {
			if got := resp.Header.Values(k); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: answer's %s is %q, want %q", name, k, got, want)
			}
		}
	}
	b := setup(t, route(up.URL, ", pass: [Authorization, Cookie], pages: true"), secure)
	resp, _ := b.do(t, "GET", "/", nil, "Authorization", "Bearer t", "Cookie", "a=b")
	if r := <-seen; r.Header.Get("Authorization") != "Bearer t" || r.Header.Get("Cookie") != "a=b" {
		t.Errorf("pass: %v", r.Header)
	}
	if resp.Header.Get("Set-Cookie") == "" || fmt.Sprint(resp.Header.Values("Content-Security-Policy")) != "[script-src 'self']" || resp.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("pages: %v", resp.Header)
	}
}

// The shape that once lost one body in a thousand: many POSTs of 8 KB over kept
// connections, to an upstream that answers at once.
func TestPostsAreWhole(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, err := io.Copy(h, r.Body)
		if err != nil {
			t.Errorf("the upstream: %v", err)
		}
		n.Add(1)
		fmt.Fprintf(w, "%x", h.Sum(nil))
	})
	b := setup(t, route(up.URL, ""), setting{tls: true})
	var wg sync.WaitGroup
	client := b.front.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	const each = 250
	for i := range 16 {
		wg.Go(func() {
			size := 8 << 10
			if i%4 == 3 {
				size = 100 << 10 // streamed
			}
			body := make([]byte, size)
			for range each {
				_, _ = rand.Read(body)
				var rd io.Reader = bytes.NewReader(body)
				if i%4 == 2 {
					rd = struct{ io.Reader }{rd} // chunked
				}
				resp, err := client.Post(b.front.URL, "application/octet-stream", rd)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || resp.StatusCode != 200 || string(got) != want {
					t.Errorf("status %d, %v: %s", resp.StatusCode, err, got)
					return
				}
			}
		})
	}
	wg.Wait()
	if n.Load() != 16*each {
		t.Errorf("%d requests", n.Load())
	}
}

func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for i := range 3 {
			<-next
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		next <- struct{}{}
	})
	for _, s := range []setting{{}, {h2: true}} {
		b := setup(t, route(up.URL, ""), s)
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", b.front.URL, nil)
		resp, err := b.front.Client().Do(req) // the head comes before any event
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(resp.Body)
		for i := range 3 {
			next <- struct{}{} // the next event is sent only once this one was seen
			line, err := br.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("%q %v", line, err)
			}
			_, _ = br.ReadString('\n')
		}
		cancel() // the client leaves: the upstream's request must end
		<-next
		resp.Body.Close()
		if err := <-b.ended; !errors.Is(err, ErrCut) {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	raw := func(t *testing.T, answer string, hold bool) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				wg.Go(func() {
					defer c.Close()
					r, err := http.ReadRequest(bufio.NewReader(c))
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, answer)
					if hold {
						<-stop
					}
				})
			}
		})
		t.Cleanup(func() { close(stop); ln.Close(); wg.Wait() })
		return "http://" + ln.Addr().String()
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, tc := range map[string]struct {
		to, more string
		status   int
		code     fault.Code
	}{
		"nobody listens":   {"http://" + closed.Addr().String(), "", 502, fault.Upstream},
		"closes":           {raw(t, "", false), "", 502, fault.Upstream},
		"smuggles":         {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false), "", 502, fault.Upstream},
		"another protocol": {raw(t, "SSH-2.0-x\r\n\r\n", false), "", 502, fault.Upstream},
		"silent":           {raw(t, "", true), ", timeouts: {header: 50ms}", 504, fault.Timeout},
		"silent, in total": {raw(t, "", true), ", timeouts: {total: 50ms}", 504, fault.Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, route(tc.to, tc.more))
			for _, method := range []string{"GET", "POST"} {
				resp, got := b.do(t, method, "/", strings.NewReader("x"))
				if resp.StatusCode != tc.status || strings.TrimSpace(got) != string(tc.code) {
					t.Errorf("%s: %d %q", method, resp.StatusCode, got)
				}
			}
		})
	}
	for name, answer := range map[string]string{
		"killed in sized content":   "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"killed in chunked content": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
		"killed between chunks":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"bad chunk":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(name, h2), func(t *testing.T) {
				t.Parallel()
				b := setup(t, route(raw(t, answer, false), ""), setting{h2: h2})
				resp, err := b.front.Client().Get(b.front.URL)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if err == nil {
					t.Error("half an answer looks whole")
				}
				if got := <-b.ended; !errors.Is(got, ErrCut) {
					t.Errorf("ended with %v", got)
				}
			})
		}
	}
	t.Run("slow content", func(t *testing.T) {
		t.Parallel()
		b := setup(t, route(raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", true), ", timeouts: {idle: 50ms}"))
		resp, err := b.front.Client().Get(b.front.URL)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Error("half an answer looks whole")
		}
	})
}

func TestSlowClient(t *testing.T) {
	t.Parallel()
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 64 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	b := setup(t, route(up.URL, ", timeouts: {idle: 100ms}"))
	c, err := net.Dial("tcp", b.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := <-b.ended; !errors.Is(err, ErrCut) { // and it never reads
		t.Errorf("ended with %v", err)
	}
	// Two that send half their content.
	c1, err := net.Dial("tcp", b.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c1.Close()
	fmt.Fprint(c1, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhe")
	if err := <-b.ended; fault.CodeOf(err) != fault.Invalid {
		t.Errorf("ended with %v", err)
	}
	if all, err := io.ReadAll(c1); err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 400") {
		t.Errorf("%q %v", all, err)
	}
	c2, err := net.Dial("tcp", b.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	fmt.Fprint(c2, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
	err = <-b.ended
	var f *fault.Error
	if !errors.Is(err, ErrCut) && !errors.As(err, &f) {
		t.Errorf("ended with %v", err)
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			reached.Add(1)
		}
	})
	b := setup(t, route(up.URL, ", max_body: 100KiB"))
	big := make([]byte, 200<<10)
	for name, body := range map[string]io.Reader{"announced": bytes.NewReader(big), "chunked": struct{ io.Reader }{bytes.NewReader(big)}} {
		resp, got := b.do(t, "POST", "/", body)
		if resp.StatusCode != 413 {
			t.Errorf("%s: %d %q", name, resp.StatusCode, got)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests looked whole to the upstream", n)
	}
}

func TestConnectionCap(t *testing.T) {
	t.Parallel()
	in, out := make(chan struct{}), make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { in <- struct{}{}; <-out })
	b := setup(t, route(up.URL, ", connections: 1"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := b.front.Client().Get(b.front.URL)
		if err == nil {
			resp.Body.Close()
		}
	}()
	<-in
	resp, got := b.do(t, "GET", "/", nil)
	if resp.StatusCode != 503 || !strings.Contains(got, "unavailable") {
		t.Errorf("%d %q", resp.StatusCode, got)
	}
	close(out)
	<-done
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var sick atomic.Bool
	asked := make(chan struct{}, 1000)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			if sick.Load() {
				w.WriteHeader(500)
			}
			asked <- struct{}{}
		}
	})
	b := setup(t, route(up.URL, ", health: {path: /healthz, every: 100ms, timeout: 5s}"))
	<-asked
	if resp, _ := b.do(t, "GET", "/", nil); resp.StatusCode != 200 {
		t.Fatal(resp.StatusCode)
	}
	sick.Store(true)
	for range 4 { // the third answer comes only after two were judged
		<-asked
	}
	if resp, _ := b.do(t, "GET", "/", nil); resp.StatusCode != 503 || b.Upstreams()[0].Healthy {
		t.Fatal(resp.StatusCode)
	}
	sick.Store(false)
	for range 3 {
		<-asked
	}
	if resp, _ := b.do(t, "GET", "/", nil); resp.StatusCode != 200 {
		t.Fatal(resp.StatusCode)
	}
}

func TestLoop(t *testing.T) {
	t.Parallel()
	b := setup(t, route("http://127.0.0.1:1", ""))
	b.load(t, route(b.front.URL, ", retries: {count: 0}"))
	resp, _ := b.do(t, "GET", "/", nil)
	if resp.StatusCode != 502 {
		t.Error(resp.StatusCode)
	}
	if n := len(b.ended); n > maxHops+1 {
		t.Errorf("%d rounds", n)
	}
}
