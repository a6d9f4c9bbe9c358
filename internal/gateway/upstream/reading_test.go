package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// readings has a strict route behind each kind of match, and a weak one beside it.
const readings = `version: 1
routes:
  - {match: admin.example.com/, upstream: "http://strict", limit: write, action: settings.update}
  - {match: /agents/admin/, upstream: "http://strict", limit: write, action: settings.update}
  - {match: "/items/{id}", upstream: "http://item", limit: write}
  - {match: /, upstream: "http://weak", limit: read, strip: /a}
`

// However a path or host is spelled, who means a strict route's place at the
// upstream gets the strict route or a refusal, and never the weak one.
func TestOneReading(t *testing.T) {
	t.Parallel()
	table, err := ParseTable("f", []byte(readings), quota.DefaultTable())
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"ADMIN.Example.COM /x": "http://strict", "admin.example.com. /x": "http://strict", "Admin.example.com.:8443 /x": "http://strict", "admin.example.com:443 /x": "http://strict",
		"admin%2eexample.com /x": "invalid_request", "admin.example.com,b /x": "invalid_request", "a@admin.example.com /x": "invalid_request", "[2001:DB8::1]:443 /x": "http://weak",
		"b /agents%2fadmin/x": "invalid_request", "b /agents/admin%2Fx": "invalid_request", "b /agents%252fadmin%252fx": "invalid_request", "b /agents%25252fadmin/x": "invalid_request",
		"b /agents;v=1/admin/x": "invalid_request", "b /agents/;a/admin/x": "invalid_request", "b /agents%3bv/admin/x": "invalid_request", "b /agents%2f%2fadmin/x": "invalid_request",
		"b /agents%252f..%252fx": "invalid_request", "b /agents/%61dmin/x": "http://strict", "b /agents/%2561dmin/x": "invalid_request",
		"b /items/a%2fb": "invalid_request", "b /items/a;v=1": "http://item", "b /items/100%25": "http://item", "b /other/a%2Fb;c=%2525": "http://weak",
		"b /%61/x": "invalid_request", // the route's prefix comes off one spelling and not the other
		"b /b/x":   "http://weak",
	} {
		host, path, _ := strings.Cut(in, " ")
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		rt, err := table.Match(r)
		got := string(fault.CodeOf(err))
		if rt != nil {
			got = rt.Upstream
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// A prefix comes off whole segments: /agents/admin is not /aagents/admin.
func TestStripTakesSegments(t *testing.T) {
	t.Parallel()
	rt := Route{Strip: "/a"}
	for in, want := range map[string]string{"/a": "/", "/a/x": "/x", "/aagents/admin": "/aagents/admin", "/a-b": "/a-b", "/b": "/b", "/a?x=/a/y": "/?x=/a/y"} {
		u, err := url.ParseRequestURI(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := rt.requestTarget("", &http.Request{URL: u}); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

// Whatever is matched to the weak route reads as the weak route, decoded as
// often and split as an upstream may.
func FuzzOneReading(f *testing.F) {
	table, err := ParseTable("f", []byte(readings), quota.DefaultTable())
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"/agents%2fadmin/x", "/agents;/admin/", "/%61gents/%252561dmin/", "//agents/admin/", "/a;/../b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" {
			return
		}
		rt, err := table.Match(&http.Request{Method: "POST", Host: "b", URL: u})
		if err != nil || rt.Upstream != "http://weak" {
			return
		}
		path := u.EscapedPath()
		for range 4 {
			for _, cut := range []bool{false, true} {
				var segs []string
				for seg := range strings.SplitSeq(path, "/") {
					if cut {
						seg, _, _ = strings.Cut(seg, ";")
					}
					if seg != "" {
						segs = append(segs, seg)
					}
				}
				if len(segs) > 2 && segs[0] == "agents" && segs[1] == "admin" {
					t.Fatalf("%q is the strict route's %q to some", target, segs)
				}
			}
			if path, err = url.PathUnescape(path); err != nil {
				return
			}
		}
	})
}

// raw is an upstream that says what it is told to each connection, after a head.
func raw(t *testing.T, say func(c net.Conn, head string)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			func() {
				defer c.Close()
				br := bufio.NewReader(c)
				var head strings.Builder
				for {
					line, err := br.ReadString('\n')
					if head.WriteString(line); err != nil {
						return
					}
					if line == "\r\n" {
						break
					}
				}
				say(c, head.String())
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-over })
	return "http://" + l.Addr().String()
}

// An upgrade to h2c would be a tunnel past every stage (and any other protocol
// as well): it never reaches the upstream, even one that would agree.
func TestOnlyWebSocketsAreTunnelled(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 16)
	up := raw(t, func(c net.Conn, head string) {
		asked <- head
		if strings.Contains(strings.ToLower(head), "upgrade") {
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
			return
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	})
	b := setup(t, route(up, ""))
	for name, fields := range map[string]string{
		"h2c":              "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"h2c by the relay": "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n",
		"two":              "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
		"twice":            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
		"with content":     "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
		"unnamed":          "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",
	} {
		c, err := net.Dial("tcp", b.front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, fields+"\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = c.Close()
		if head := strings.ToLower(<-asked); resp.StatusCode != 200 || string(body) != "ok" || strings.Contains(head, "upgrade") || strings.Contains(head, "http2-settings") {
			t.Errorf("%s: %d %q, and the upstream was asked %q", name, resp.StatusCode, body, head)
		}
	}
}

// An upstream that refuses a WebSocket leaves an HTTP connection: what the
// client sent after is its next request, through every stage, and no tunnel.
func TestRefusedWebSocketIsNoTunnel(t *testing.T) {
	t.Parallel()
	var paths []string
	up := raw(t, func(c net.Conn, head string) {
		paths = append(paths, strings.Fields(head)[1])
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	})
	b := setup(t, "  - {match: /ws, upstream: \""+up+"\", limit: write}\n")
	c, err := net.Dial("tcp", b.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	br := bufio.NewReader(c)
	for _, want := range []int{200, 404} {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != want {
			t.Errorf("answered %d, want %d", resp.StatusCode, want)
		}
	}
	if b.Close(); len(paths) != 1 || paths[0] != "/ws" {
		t.Errorf("the upstream was asked for %q", paths)
	}
}

// Upstreams that misbehave, by both ways to them: endless informational answers,
// endless heads, lengths that lie, two answers at once, trailers that speak for
// us. None reaches the client as an answer that looks whole.
func TestHostileUpstreams(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		say  string
		more string // repeated until the gateway has had enough
		want int    // 0: cut
	}{
		"early hints for ever":     {"", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 502},
		"processing for ever":      {"", "HTTP/1.1 102 Processing\r\n\r\n", 502},
		"a head without end":       {"HTTP/1.1 200 OK\r\n", "X-A: " + strings.Repeat("b", 1000) + "\r\n", 502},
		"a field without end":      {"HTTP/1.1 200 OK\r\nX-A: ", strings.Repeat("b", 1000), 502},
		"less than it says":        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "", 0},
		"an unfinished chunk":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "", 0},
		"two lengths":              {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "", 502},
		"an answer of its own 101": {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "", 502},
	} {
		for _, way := range []string{"http1", "relay"} {
			t.Run(name+" by "+way, func(t *testing.T) {
				t.Parallel()
				up := raw(t, func(conn net.Conn, _ string) {
					_, err := io.WriteString(conn, c.say)
					for c.more != "" && err == nil {
						_, err = io.WriteString(conn, c.more)
					}
				})
				b := setup(t, route(up, ", retries: {count: 0}"))
				req, err := http.NewRequest("GET", b.front.URL+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				if way == "relay" {
					req.Header.Set("Expect", "100-continue")
				}
				resp, err := b.front.Client().Do(req)
				if err != nil {
					if c.want != 0 {
						t.Fatal(err)
					}
					return
				}
				defer resp.Body.Close()
				_, err = io.ReadAll(resp.Body)
				if c.want == 0 && err == nil || c.want != 0 && resp.StatusCode != c.want {
					t.Errorf("%d, %v, want %d", resp.StatusCode, err, c.want)
				}
			})
		}
	}
}

// Trailers are fields of an answer: those that speak for us end here, by both ways.
func TestTrailersDoNotSpeakForUs(t *testing.T) {
	t.Parallel()
	up := raw(t, func(c net.Conn, _ string) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Strict-Transport-Security\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n"+
			"X-Sum: 7\r\nStrict-Transport-Security: max-age=0\r\nAccess-Control-Allow-Origin: *\r\nRateLimit: x\r\n\r\n")
	})
	b := setup(t, route(up, ""))
	for _, way := range []string{"http1", "relay"} {
		hs := []string{"TE", "trailers"}
		if way == "relay" {
			hs = append(hs, "Expect", "100-continue")
		}
		resp, body := b.do(t, "GET", "/", nil, hs...)
		if body != "ok" || resp.Trailer.Get("X-Sum") != "7" || len(resp.Trailer) != 1 {
			t.Errorf("by %s: %q with %v", way, body, resp.Trailer)
		}
	}
}
