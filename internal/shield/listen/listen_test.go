package listen

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/proxyproto"
)

const (
	honest   = "127.0.0.10"
	attacker = "127.0.0.66"
)

func TestHonestClients(t *testing.T) {
	t.Parallel()
	h := open(t, build{})
	for _, h2 := range []bool{false, true} {
		c := h.client(honest, h2)
		want := map[bool]string{false: "HTTP/1.1 tls=true", true: "HTTP/2.0 tls=true"}[h2]
		for range 3 {
			if code, body, err := h.get(c, "/"); err != nil || code != 200 || body != want {
				t.Fatalf("%d %q %v", code, body, err)
			}
		}
		text := strings.Repeat("0123456789abcdef", 20_000)
		for name, body := range map[string]io.Reader{"length": strings.NewReader(text), "chunked": io.MultiReader(strings.NewReader(text[:1]), strings.NewReader(text[1:]))} {
			res, err := c.Post("https://"+h.addr+"/echo", "text/plain", body)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || string(got) != text+want {
				t.Fatalf("%s: %d bytes of %d, %v", name, len(got), len(text), err)
			}
		}
	}
	if c := h.listen.Counters(); c.Accepted != 2 || c.Violation+c.Resets+c.Handshake+c.SlowBody != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestPlaintext(t *testing.T) {
	t.Parallel()
	h := open(t, build{plain: true})
	c, err := h.dial(honest)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if got := ended(t, c); !strings.Contains(got, "HTTP/1.1 tls=false") {
		t.Fatal(got)
	}
}

// After 101 the bytes are no HTTP, and the watcher must keep its hands off.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	h := open(t, build{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.CopyN(c, rw, 6)
	})})
	c := h.must(honest, "http/1.1")
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	fmt.Fprint(c, "\x81\n\x00\n\n\r")
	got := make([]byte, 6)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x81\n\x00\n\n\r" {
		t.Fatalf("%q %v", got, err)
	}
}

func TestBlockedIsDroppedBeforeTLS(t *testing.T) {
	t.Parallel()
	h := open(t, build{})
	idle := h.must(attacker, "http/1.1")
	busy := h.must(attacker, "h2")
	h.fine(honest)
	if _, err := h.shield.Block(t.Context(), netip.MustParsePrefix(attacker+"/32"), time.Hour, "abuse", "dana"); err != nil {
		t.Fatal(err)
	}
	h.out(attacker)
	ended(t, idle) // what was open is cut
	ended(t, busy)
	h.fine(honest)
	if err := h.shield.Lift(t.Context(), netip.MustParsePrefix(attacker+"/32"), "dana"); err != nil {
		t.Fatal(err)
	}
	h.fine(attacker)
}

// Each pattern over real sockets: it ends with the address dropped at accept,
// while an honest client goes on.
func TestPatternsEndAtAccept(t *testing.T) {
	t.Parallel()
	get := func(path string, header ...string) func(*house, int) {
		return func(h *house, i int) {
			c := h.client(attacker, i%2 == 0)
			defer c.CloseIdleConnections()
			r, _ := http.NewRequest("GET", "https://"+h.addr+strings.ReplaceAll(path, "#", fmt.Sprint(i)), nil)
			for j := 0; j+1 < len(header); j += 2 {
				r.Header.Set(header[j], header[j+1])
			}
			if res, err := c.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}
	}
	raw := func(bytes string) func(*house, int) {
		return func(h *house, _ int) {
			if c, err := h.dialTLS(attacker, "http/1.1"); err == nil {
				_, _ = io.WriteString(c, bytes)
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}
		}
	}
	login := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			fmt.Fprint(w, r.Proto)
		case "/login", "/private":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	for name, c := range map[string]struct {
		once   func(*house, int)
		reason string
		within int
	}{
		"probe":         {get("/x/.git/config"), "probe", 5},
		"tool":          {get("/", "User-Agent", "sqlmap/1.8"), "tool", 2},
		"missing":       {get("/nothing/#"), "missing", 70},
		"denied":        {get("/private"), "denied", 52},
		"wrong logins":  {get("/login?account=bob"), "login_failure", 27},
		"spraying":      {get("/login?account=user#"), "spray", 20},
		"smuggling":     {raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "smuggling", 2},
		"bare LF":       {raw("GET / HTTP/1.1\nHost: a\n\n"), "smuggling", 2},
		"folded header": {raw("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"), "smuggling", 2},
		"no HTTP":       {raw("\x00\x01\x02\x03"), "malformed", 4},
		"bad chunk":     {raw("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "malformed", 4},
		"header flood":  {raw("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 200) + "\r\n"), "header_flood", 4},
		"oversize":      {raw("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 20<<10) + "\r\n\r\n"), "oversize", 10},
		"no handshake": {func(h *house, _ int) {
			if c, err := h.dial(attacker); err == nil {
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}
		}, "handshake", 60},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, build{handler: login})
			n := 0
			for ; len(h.shield.Blocks()) == 0 && n < 3*c.within; n++ {
				c.once(h, n)
			}
			b := h.shield.Blocks()
			if len(b) != 1 || b[0].Reason != c.reason || b[0].Prefix != netip.MustParsePrefix(attacker+"/32") || n > c.within {
				t.Fatalf("after %d tries: %+v, %+v", n, b, h.shield.Explain(netip.MustParseAddr(attacker)))
			}
			h.out(attacker)
			h.fine(honest)
		})
	}
}

// A smuggled second request never reaches a handler, and the client is told 400.
func TestSmuggledRequestIsNotServed(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 100)
	h := open(t, build{shield: shield.Config{NeverBlock: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.URL.Path
	})})
	for _, attack := range []string{
		"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: a\r\nX: y\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		c := h.must(attacker, "http/1.1")
		_, _ = io.WriteString(c, attack)
		if got := ended(t, c); !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%q is answered %q", attack, got)
		}
	}
	select {
	case path := <-seen:
		t.Fatalf("a handler saw %s", path)
	default:
	}
}

func TestSpoofedHeadersChangeNothing(t *testing.T) {
	t.Parallel()
	h := open(t, build{shield: shield.Config{Limit: 5}, resolver: shield.Resolver{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.99/32")}}})
	ask := func(from, xff string) (string, int) {
		r, _ := http.NewRequest("GET", "https://"+h.addr+"/", nil)
		r.Header.Set("X-Forwarded-For", xff)
		r.Header.Set("X-Real-Ip", xff)
		r.Header.Set("True-Client-Ip", xff)
		c := h.client(from, false)
		defer c.CloseIdleConnections()
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.Header.Get("Client"), res.StatusCode
	}
	last := 0
	for i := range 6 { // a new face each time buys nothing
		var addr string
		if addr, last = ask(attacker, fmt.Sprintf("8.8.8.%d, 127.0.0.99", i)); addr != attacker {
			t.Fatalf("a stranger made himself %s", addr)
		}
	}
	if last != http.StatusTooManyRequests {
		t.Fatalf("the sixth of five requests: %d", last)
	}
	if addr, code := ask("127.0.0.99", "1.2.3.4, 8.8.8.8"); addr != "8.8.8.8" || code != 200 {
		t.Fatalf("through the proxy: %s %d", addr, code)
	}
}

func proxied(source string, rest ...byte) []byte {
	a := netip.MustParseAddrPort(source)
	b := append([]byte(proxyproto.Signature), 0x21, 0x11, 0, 0)
	b = append(b, a.Addr().AsSlice()...)
	b = append(b, 127, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, a.Port()), 443)
	b = append(b, rest...)
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
	return b
}

func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	const proxy = "127.0.0.99"
	h := open(t, build{plain: true, listen: Config{ProxyProtocol: true, PerAddress: 2, Trusted: []netip.Prefix{netip.MustParsePrefix(proxy + "/32")}},
		shield: shield.Config{NeverBlock: []netip.Prefix{netip.MustParsePrefix(proxy + "/32")}}})
	say := func(from string, first []byte, step int) string {
		c, err := h.dial(from)
		if err != nil {
			return "" // reset before connect returned
		}
		defer c.Close()
		all := append(bytes.Clone(first), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"...)
		for len(all) > 0 {
			n := min(step, len(all))
			if _, err := c.Write(all[:n]); err != nil {
				break
			}
			all = all[n:]
		}
		return ended(t, c)
	}
	for _, step := range []int{1, 1000} {
		if got := say(proxy, proxied("203.0.113.7:999"), step); !strings.Contains(got, "Client: 203.0.113.7\r\n") {
			t.Fatalf("in steps of %d: %q", step, got)
		}
	}
	local := append([]byte(proxyproto.Signature), 0x20, 0, 0, 0)
	if got := say(proxy, local, 99); !strings.Contains(got, "Client: "+proxy+"\r\n") {
		t.Fatalf("the proxy's own: %q", got)
	}
	if got := say(attacker, proxied("203.0.113.7:999"), 99); got != "" || h.listen.Counters().Untrusted != 1 {
		t.Fatalf("a stranger with a PROXY header: %q %+v", got, h.listen.Counters())
	}
	if got := say(attacker, nil, 99); got != "" || h.listen.Counters().Untrusted != 2 {
		t.Fatalf("a stranger without: %q", got)
	}
	for _, bad := range [][]byte{nil, []byte("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n"), proxied("203.0.113.7:999", 4, 0, 9)} {
		if got := say(proxy, bad, 99); got != "" {
			t.Fatalf("%q is answered %q", bad, got)
		}
	}
	if n := h.listen.Counters().BadProxy; n != 3 {
		t.Fatalf("%d bad headers counted", n)
	}
	if _, err := h.shield.Block(t.Context(), netip.MustParsePrefix("203.0.113.7/32"), time.Hour, "abuse", "dana"); err != nil {
		t.Fatal(err)
	}
	if got := say(proxy, proxied("203.0.113.7:999"), 99); got != "" {
		t.Fatalf("a blocked client behind the proxy: %q", got)
	}
	if got := say(proxy, proxied("203.0.113.8:999"), 99); !strings.Contains(got, "200 OK") {
		t.Fatalf("its neighbour: %q", got)
	}
	// The cap is the client's and not the proxy's.
	var held []net.Conn
	for i := range 10 {
		c, err := h.dial(proxy)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
		_, _ = c.Write(proxied(fmt.Sprintf("203.0.113.%d:1", 20+i/5)))
	}
	cut := 0
	for _, c := range held {
		// Only those over the cap are closed; the others wait for a request.
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if n, _ := c.Read(make([]byte, 1)); n == 0 {
			cut++
		}
	}
	if cut != 6 {
		t.Fatalf("%d of 10 connections of two clients with a cap of 2 were cut", cut)
	}
	_, err := New(h.listen.inner, Config{Guard: h.shield, ProxyProtocol: true})
	if err == nil {
		t.Fatal("PROXY protocol without trusted proxies is accepted")
	}
}

func TestCloseEndsHandshakes(t *testing.T) {
	t.Parallel()
	s, err := shield.New(shield.Config{Clients: 1024, Suspects: 128})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := TCP(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := certificate()
	l, err := New(inner, Config{Guard: s, TLS: tlsConfig(cert)})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() { _, err := l.Accept(); accepted <- err }()
	var silent []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	_ = l.Close()
	_ = l.Close()
	if err := <-accepted; err == nil {
		t.Fatal("Accept returns a connection after Close")
	}
	for _, c := range silent {
		ended(t, c)
	}
	if n := l.Counters().Open; n != 0 {
		t.Fatalf("%d places taken", n)
	}
}

// An answer whose content looks like an agreement to leave HTTP/1 is no
// agreement: the connection is watched on.
func TestContentIsNoUpgrade(t *testing.T) {
	t.Parallel()
	const content = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n"
	h := open(t, build{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, content) // a write of its own
	})})
	c := h.must(attacker, "http/1.1")
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != content {
		t.Fatalf("%q %v", got, err)
	}
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET")
	_, _ = io.ReadAll(br)
	if n := h.listen.Counters().Violation; n != 1 {
		t.Errorf("%d violations, want 1", n)
	}
}
