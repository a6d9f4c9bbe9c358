package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// siege is a test's attackers and what they hold.
type siege struct {
	t  *testing.T
	p  *process
	mu sync.Mutex
	in []net.Conn
}

func (s *siege) keep(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = append(s.in, c)
}

func (s *siege) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.in {
		_ = c.Close()
	}
	s.in = nil
}

// secure is a TLS connection of an attacker, or nil when it is refused.
func (s *siege) secure(from, proto string) *tls.Conn {
	raw, err := proxied(from)(context.Background(), s.p.addr)
	if err != nil {
		return nil
	}
	c := tls.Client(raw, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", NextProtos: []string{proto}})
	_ = raw.SetDeadline(time.Now().Add(60 * time.Second))
	if c.Handshake() != nil {
		_ = raw.Close()
		return nil
	}
	s.keep(c)
	return c
}

// ended waits for the server to end a connection to which text is dripped, and
// says how long it held out.
func ended(c net.Conn, text string) time.Duration {
	begun := time.Now()
	over := make(chan struct{})
	go func() { defer close(over); _, _ = io.Copy(io.Discard, c) }()
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
			<-over
			return time.Since(begun)
		}
		select {
		case <-over:
			return time.Since(begun)
		case <-time.After(500 * time.Millisecond): // dripping is the attack
		}
	}
}

// flood2 writes HTTP/2 frames until the server has had enough.
func (s *siege) flood2(from string, frames int, write func(*http2.Framer, uint32, []byte) error) (sent int, alive bool) {
	c := s.secure(from, "h2")
	if c == nil {
		return 0, false
	}
	defer c.Close()
	cut := make(chan struct{})
	go func() { defer close(cut); _, _ = io.Copy(io.Discard, c) }()
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, nil)
	_ = f.WriteSettings()
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/v1/agents"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	alive = true
	for sent = 0; sent < frames && alive; sent++ {
		alive = write(f, uint32(2*sent+1), head.Bytes()) == nil
	}
	_ = c.Close()
	<-cut
	return sent, alive
}

// Everything at once against one real process: ten thousand connections that
// say nothing, slow heads, slow bodies, floods of HTTP/2, scanners and sprayers.
// Its memory and descriptors stay bounded, each attack ends, and honest clients
// are answered throughout, the first time they ask and within their deadline.
func TestSiege(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("holds ten thousand connections")
	}
	crowd := room(t, 10_000)
	if raced { // everything takes ten times as long
		crowd /= 10
	}
	w := newWorld(t, balancer)
	w.env["DDOS_IP_LIMIT"] = "1000"
	a := w.start(t, nil) // makes accounts; nobody attacks it
	c := a.customer(t, "dedicated")
	p := w.spawn(t, map[string]string{"MAX_CONNECTIONS": fmt.Sprint(crowd)})
	s := &siege{t: t, p: p}
	defer s.leave()

	patience := 10 * time.Second
	if raced {
		patience *= 6
	}
	var served, slowest atomic.Int64
	honest := func(i int) {
		begun := time.Now()
		client := p.dial(nil, proxied(fmt.Sprintf("198.51.100.%d", 1+i%200)))
		defer client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		q := ask{to: p.replica, client: client, path: "/v1/tenant", token: c.token}
		for range 2 { // on a new connection, and again on it
			if x, err := q.try(ctx); err != nil || x.status != 200 {
				t.Errorf("honest client %d: %v %d %s", i, err, x.status, x.body)
				return
			}
		}
		served.Add(1)
		if took := int64(time.Since(begun)); took > slowest.Load() {
			slowest.Store(took)
		}
	}
	for i := range 50 {
		honest(i)
	}
	calm, _ := p.memory(t)

	stop, resting := make(chan struct{}), sync.WaitGroup{}
	for g := range 2 {
		resting.Go(func() {
			for i := g; ; i += 2 {
				select {
				case <-stop:
					return
				default:
					honest(i)
				}
			}
		})
	}

	// The crowd: silent, below every cap per address, at the global one.
	for i := range crowd {
		conn, err := proxied(fmt.Sprintf("203.0.%d.%d", 100+i/5000, 1+i/20%250))(t.Context(), p.addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		s.keep(conn)
	}
	crowded, _ := p.memory(t)
	t.Logf("%d connections: %d MiB where it was %d, %d descriptors; %d honest clients", crowd, crowded>>20, calm>>20, p.descriptors(t), served.Load())

	var fight sync.WaitGroup
	slow := func(name string, n int, from, head, drip string, longest time.Duration) {
		var most atomic.Int64
		for i := range n {
			fight.Go(func() {
				c := s.secure(fmt.Sprintf(from, 1+i), "http/1.1")
				if c == nil {
					return
				}
				_, _ = io.WriteString(c, head)
				if d := int64(ended(c, drip)); d > most.Load() {
					most.Store(d)
				}
			})
		}
		t.Cleanup(func() {
			d := time.Duration(most.Load())
			t.Logf("%s: the longest held out %v", name, d.Round(time.Millisecond))
			if d == 0 || d > longest {
				t.Errorf("%s: the longest held out %v, want at most %v", name, d, longest)
			}
		})
	}
	slow("slow heads", 100, "192.0.2.%d", "GET / HTTP/1.1\r\nHost: localhost\r\n", "X-A: b\r\n", 40*time.Second)
	slow("slow bodies", 100, "198.18.0.%d", "POST /v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", " ", 40*time.Second)
	for i, attack := range []struct {
		name  string
		tries int
		do    func(from string)
	}{
		{"rapid reset", 5, func(from string) {
			if n, alive := s.flood2(from, 100_000, func(f *http2.Framer, id uint32, head []byte) error {
				if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true, EndStream: true}); err != nil {
					return err
				}
				return f.WriteRSTStream(id, http2.ErrCodeCancel)
			}); alive {
				t.Errorf("%d streams reset and still connected", n)
			}
		}},
		{"endless continuation", 5, func(from string) {
			begun := false
			if n, alive := s.flood2(from, 100_000, func(f *http2.Framer, _ uint32, head []byte) error {
				if !begun {
					begun = true
					return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head})
				}
				return f.WriteContinuation(1, false, bytes.Repeat([]byte{0, 1, 'x', 1, 'y'}, 3000))
			}); alive {
				t.Errorf("%d continuations and still connected", n)
			}
		}},
		{"pings", 1, func(from string) {
			if n, alive := s.flood2(from, 100_000, func(f *http2.Framer, _ uint32, _ []byte) error {
				return f.WritePing(false, [8]byte{1})
			}); alive {
				t.Logf("%d pings were read and answered", n) // bounded by what the client reads
			}
		}},
		{"scanner", 40, func(from string) { s.request(from, "GET", "/.git/config", "") }},
		{"missing pages", 120, func(from string) { s.request(from, "GET", "/nothing", "") }},
		{"no credentials", 120, func(from string) { s.request(from, "GET", "/v1/agents", "") }},
		{"spraying", 30, func(from string) {
			s.request(from, "POST", "/v1/auth/login", fmt.Sprintf(`{"tenant":%q,"email":"u%d@example.com","password":"Summer2026!"}`, c.name, time.Now().UnixNano()))
		}},
	} {
		fight.Go(func() {
			from := fmt.Sprintf("198.19.0.%d", 1+i)
			for i := range attack.tries {
				if i%10 == 9 && cut(t, p, from) {
					break
				}
				attack.do(from)
			}
			if attack.name != "pings" && attack.name != "endless continuation" && !cut(t, p, from) {
				t.Errorf("%s: not blocked after %d", attack.name, attack.tries)
			}
		})
	}
	fight.Wait()
	time.Sleep(time.Second) // the honest go on for a while
	close(stop)
	resting.Wait()

	now, most := p.memory(t)
	grown := most - calm
	t.Logf("%d honest clients, the slowest took %v; memory %d MiB, %d at most", served.Load(), time.Duration(slowest.Load()).Round(time.Millisecond), now>>20, most>>20)
	// A place is 16 KiB while it waits; what the floods leave to the collector
	// and the shield's tables as they fill come on top.
	bound := int64(crowd)*32<<10 + 128<<20
	if raced {
		bound *= 8
	}
	if grown > bound {
		t.Errorf("the siege cost %d MiB, want at most %d", grown>>20, bound>>20)
	}
	if n := p.descriptors(t); n > crowd+200 {
		t.Errorf("%d descriptors for %d places", n, crowd)
	}
	s.leave()
	until(t, "descriptors after the siege", func() bool { return p.descriptors(t) < 200 })
	honest(0)
}

// request is one request on a connection of its own; refusals are expected.
func (s *siege) request(from, method, path, body string) {
	c := s.p.dial(nil, proxied(from))
	defer c.CloseIdleConnections()
	q := ask{to: s.p.replica, client: c, method: method, path: path}
	if body != "" {
		q.body, q.header = io.Reader(bytes.NewReader([]byte(body))), http.Header{"Content-Type": {"application/json"}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, _ = q.try(ctx)
}

// cut says whether an address is dropped before TLS.
func cut(t *testing.T, p *process, from string) bool { return dropped(t, p.replica, proxied(from)) }
