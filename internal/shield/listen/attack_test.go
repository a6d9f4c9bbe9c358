package listen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// drip writes one byte of text every few milliseconds, again and again, until
// the server has had enough. It is the attack's own pace, not a wait.
func drip(c net.Conn, text string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		<-tick.C
		if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
	}
}

func TestSlowHeader(t *testing.T) {
	t.Parallel()
	h := open(t, build{listen: Config{Header: 100 * time.Millisecond}})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := h.dialTLS(attacker, "http/1.1")
			if err != nil {
				return // dropped meanwhile: that is the point
			}
			defer c.Close()
			go drip(c, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("y", 10_000))
			ended(t, c)
		})
	}
	h.fine(honest)
	wg.Wait()
	if n := h.listen.Counters().SlowHead; n < 10 {
		t.Fatalf("%d slow heads seen", n)
	}
	if b := h.shield.Blocks(); len(b) != 1 || b[0].Reason != "slow_header" {
		t.Fatalf("%+v", b)
	}
	h.out(attacker)
	h.fine(honest)
}

// A connection that says nothing, before TLS or after, ends by itself.
func TestSilence(t *testing.T) {
	t.Parallel()
	h := open(t, build{listen: Config{Handshake: 100 * time.Millisecond, Header: 100 * time.Millisecond, Idle: 100 * time.Millisecond}})
	c, err := h.dial(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended(t, c)
	slow, err := h.dial(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	go drip(slow, "\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03"+strings.Repeat("x", 4000))
	ended(t, slow)
	for _, proto := range []string{"http/1.1", "h2"} {
		c, err := h.dialTLS(attacker, proto)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if proto == "h2" { // a preface, and then nothing
			fmt.Fprint(c, http2.ClientPreface)
			if err := http2.NewFramer(c, nil).WriteSettings(); err != nil {
				t.Fatal(err)
			}
		}
		ended(t, c)
	}
	if got := h.listen.Counters(); got.Handshake != 2 {
		t.Fatalf("%+v", got)
	}
	if sum := h.shield.Explain(netip.MustParseAddr(attacker)).Client.Parts["handshake"]; sum < 3.9 {
		t.Fatalf("two held handshakes score %v", sum)
	}
}

// An HTTP/2 head that never ends is bounded by Idle: no stream exists yet.
func TestEndlessContinuation(t *testing.T) {
	t.Parallel()
	h := open(t, build{listen: Config{Idle: 150 * time.Millisecond}})
	s, err := h.stream(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.head, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if s.WriteContinuation(1, false, []byte{0x10, 1, 'x', 1, 'y'}) != nil {
				return
			}
		}
	}()
	ended(t, s.Conn)
	h.fine(honest)
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			t.Parallel()
			outcome := make(chan error, 1)
			h := open(t, build{listen: Config{BodyGrace: 150 * time.Millisecond}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					_, err := io.Copy(io.Discard, r.Body)
					outcome <- err
				}
				fmt.Fprint(w, r.Proto)
			})})
			body, feed := io.Pipe()
			defer feed.Close()
			go func() { // 200 bytes a second where 1,024 are due
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for range tick.C {
					if _, err := feed.Write([]byte("x")); err != nil {
						return
					}
				}
			}()
			c := h.client(attacker, h2)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if res, err := c.Post("https://"+h.addr+"/", "text/plain", body); err == nil {
					res.Body.Close()
				}
			}()
			if err := <-outcome; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the handler reads %v", err)
			}
			body.Close()
			<-done
			c.CloseIdleConnections()
			if h.listen.Counters().SlowBody != 1 || h.shield.Explain(netip.MustParseAddr(attacker)).Client.Parts["slow_body"] < 9 {
				t.Fatalf("%+v", h.listen.Counters())
			}
			h.fine(honest)
		})
	}
}

// A handler that takes its time must not cost an honest client its body, and
// one that has read everything must not lose its context to a left deadline.
func TestSlowHandlerIsNotTheClientsFault(t *testing.T) {
	t.Parallel()
	const grace = 50 * time.Millisecond
	h := open(t, build{listen: Config{BodyGrace: grace}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		half := make([]byte, 100)
		if _, err := io.ReadFull(r.Body, half); err != nil {
			t.Error(err)
		}
		<-time.After(3 * grace) // the handler's work
		rest, err := io.ReadAll(r.Body)
		if err != nil || len(rest) != 100 {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
		select {
		case <-r.Context().Done():
			t.Error("the request was cancelled by our own deadline")
		case <-time.After(3 * grace):
		}
		fmt.Fprint(w, r.Proto)
	})})
	for _, h2 := range []bool{false, true} {
		c := h.client(honest, h2)
		res, err := c.Post("https://"+h.addr+"/", "text/plain", strings.NewReader(strings.Repeat("x", 200)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
}

// A stream that is silent for longer than the grace goes on where the handler
// says so.
func TestUnmetered(t *testing.T) {
	t.Parallel()
	const grace = 30 * time.Millisecond
	h := open(t, build{listen: Config{BodyGrace: grace}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Unmetered(r) {
			t.Error("the body cannot be freed")
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	})})
	for _, h2 := range []bool{false, true} {
		body, feed := io.Pipe()
		res, err := h.client(honest, h2).Post("https://"+h.addr+"/", "application/grpc", body)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(4 * grace) // the client's silence
		fmt.Fprint(feed, "late")
		feed.Close()
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(got) != "late" {
			t.Fatalf("h2=%v: %q %v", h2, got, err)
		}
	}
	if n := h.listen.Counters().SlowBody; n != 0 {
		t.Fatalf("%d slow bodies", n)
	}
}

// A client that does not read its answer holds a handler for WriteStall.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	outcome := make(chan error, 1)
	h := open(t, build{listen: Config{WriteStall: 200 * time.Millisecond}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 64<<10)
		for {
			if _, err := w.Write(piece); err != nil {
				outcome <- err
				return
			}
		}
	})})
	c := h.must(attacker, "http/1.1")
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := <-outcome; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}

// stream opens an HTTP/2 connection by hand.
type stream struct {
	net.Conn
	*http2.Framer
	next uint32
	head []byte
}

func (h *house) stream(from string) (*stream, error) {
	c, err := h.dialTLS(from, "h2")
	if err != nil {
		return nil, err
	}
	s := &stream{Conn: c, Framer: http2.NewFramer(c, c), next: 1}
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a"}, {":path", "/"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	s.head = buf.Bytes()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	return s, s.WriteSettings()
}

func (s *stream) request() (uint32, error) {
	id := s.next
	s.next += 2
	// The static and the freshly indexed fields stay valid for the next ones:
	// each request sends the same literal block.
	return id, s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.head, EndStream: true, EndHeaders: true})
}

func TestRapidReset(t *testing.T) {
	t.Parallel()
	h := open(t, build{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, r.Proto)
	})})
	s, err := h.stream(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() { _, _ = io.Copy(io.Discard, s.Conn) }()
	sent := 0
	for ; sent < 100_000; sent++ {
		id, err := s.request()
		if err == nil {
			err = s.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err != nil {
			break
		}
	}
	c := h.listen.Counters()
	if c.Reset != 1 || c.Resets > 300 {
		t.Fatalf("after %d resets: %+v", sent, c)
	}
	if b := h.shield.Blocks(); len(b) != 1 || b[0].Reason != "rapid_reset" {
		t.Fatalf("%+v", b)
	}
	h.out(attacker)
	h.fine(honest)
}

// A browser that leaves a page cancels a lot at once, and a client that goes
// away cancels everything it had: neither is an attack.
func TestCancellingIsNotRapidReset(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1000)
	left := make(chan struct{}, 1000)
	h := open(t, build{listen: Config{ResetBurst: 60, MaxStreams: 100}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			arrived <- struct{}{}
			<-r.Context().Done()
			left <- struct{}{}
			return
		}
		fmt.Fprint(w, r.Proto)
	})})
	s, err := h.stream(honest)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() { _, _ = io.Copy(io.Discard, s.Conn) }()
	for range 50 {
		id, err := s.request()
		if err != nil {
			t.Fatal(err)
		}
		<-arrived
		if err := s.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		<-left
	}
	for range 5 { // five times, fifty streams end with their connection
		s, err := h.stream(honest)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if _, err := s.request(); err != nil {
				t.Fatal(err)
			}
			<-arrived
		}
		s.Close()
		for range 50 {
			<-left
		}
	}
	if c := h.listen.Counters(); c.Reset != 0 || c.Resets > 50 {
		t.Fatalf("%+v", c)
	}
	h.fine(honest)
}

func TestPerAddressCap(t *testing.T) {
	t.Parallel()
	h := open(t, build{listen: Config{PerAddress: 10}})
	var held []net.Conn
	for range 10 {
		held = append(held, h.must(attacker, "http/1.1"))
	}
	for range 5 {
		if c, err := h.dialTLS(attacker, "http/1.1"); err == nil {
			c.Close()
			t.Fatal("an eleventh connection")
		}
	}
	if c := h.listen.Counters(); c.OverCap != 5 || c.Open != 10 {
		t.Fatalf("%+v", c)
	}
	h.fine(honest)
	// A place that is given back can be taken again.
	held[0].Close()
	ended(t, held[0])
	for {
		if h.listen.Counters().Open < 10 {
			break
		}
		runtime.Gosched()
	}
	h.must(attacker, "http/1.1")
}

// With all places taken the greediest gives way, authenticated and busy
// connections stay, and who is greediest himself is refused.
func TestGlobalCap(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := open(t, build{listen: Config{MaxConns: 20, PerAddress: 20}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/known":
			Authenticated(r.Context())
		case "/busy":
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-release
		}
		fmt.Fprint(w, r.Proto)
	})})
	ask := func(c net.Conn, path string) {
		t.Helper()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if path != "/busy" {
			_, _ = io.Copy(io.Discard, res.Body)
		}
	}
	busy := h.must("127.0.0.20", "http/1.1")
	ask(busy, "/busy")
	known := h.must("127.0.0.21", "http/1.1")
	ask(known, "/known")
	var greedy []net.Conn
	for range 18 {
		greedy = append(greedy, h.must(attacker, "http/1.1"))
	}
	if c, err := h.dialTLS(attacker, "http/1.1"); err == nil {
		c.Close()
		t.Fatal("the greediest address evicts somebody")
	}
	for i := range 5 { // honest newcomers take from the greedy, oldest first
		h.must(fmt.Sprintf("127.0.0.%d", 30+i), "http/1.1")
		ended(t, greedy[i])
	}
	if c := h.listen.Counters(); c.Evicted != 5 || c.Full != 1 || c.Open != 20 {
		t.Fatalf("%+v", c)
	}
	// Everybody has one: those who were only served go, oldest first, but not
	// the older known one and not the busy one.
	for i := range 40 {
		c := h.must(fmt.Sprintf("127.0.1.%d", i+1), "http/1.1")
		ask(c, "/")
	}
	ask(known, "/known")
	close(release)
	if b := make([]byte, 1); true {
		if _, err := busy.Read(b); err != nil {
			t.Fatalf("a busy connection was evicted: %v", err)
		}
	}
}

// descriptors raises the limit as far as it goes and returns it.
func descriptors(t testing.TB, want uint64) uint64 {
	t.Helper()
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur >= want {
		return lim.Cur
	}
	up := syscall.Rlimit{Cur: want, Max: max(lim.Max, want)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &up) == nil {
		return want
	}
	up = syscall.Rlimit{Cur: lim.Max, Max: lim.Max}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &up) == nil {
		return lim.Max
	}
	return lim.Cur
}

// Ten thousand connections from fifty addresses, most of them silent, against
// room for eight thousand: memory stays within what eight thousand cost, and
// honest clients are served throughout, at the first try.
func TestTenThousandConnections(t *testing.T) {
	connections := 10_000
	if have := int(descriptors(t, 22_000)); have < 2*connections+500 {
		connections = (have - 500) / 2 // both ends are ours
		t.Logf("the limit of %d descriptors leaves %d connections", have, connections)
	}
	room := connections * 8 / 10
	h := open(t, build{
		shield: shield.Config{Connects: 1_000_000},
		listen: Config{MaxConns: room, PerAddress: 1000, Handshake: time.Minute},
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var mu sync.Mutex
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	next := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				from := fmt.Sprintf("127.0.2.%d", 1+i%50)
				var c net.Conn
				var err error
				if i%20 == 0 { // one in twenty goes through the handshake
					c, err = h.dialTLS(from, "http/1.1")
				} else {
					c, err = h.dial(from)
				}
				if err != nil {
					continue // evicted in its handshake
				}
				mu.Lock()
				held = append(held, c)
				mu.Unlock()
			}
		})
	}
	served := 0
	for i := range connections {
		next <- i
		if i%500 == 499 {
			h.fine(fmt.Sprintf("127.0.3.%d", i/500+1))
			served++
		}
	}
	close(next)
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	c := h.listen.Counters()
	used := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)
	t.Logf("%d connections, %d open, %d evicted, %d refused, %d honest clients served; both ends use %d MiB, %d KiB a place",
		c.Accepted, c.Open, c.Evicted, c.Full, served, used>>20, used>>10/int64(room))
	if c.Open > room || int(c.Evicted+c.Full) < connections-room {
		t.Fatalf("%+v", c)
	}
	if used > int64(room)*64<<10 {
		t.Fatalf("%d MiB in use for %d places", used>>20, room)
	}
}

// A flood from very many addresses, one connection each, that no cap per
// address sees: newcomers get in. One may lose its place in the handshake when
// all places turn over within it, so it tries up to three times, as browsers do.
func TestDistributedFlood(t *testing.T) {
	t.Parallel()
	const places = 1000
	h := open(t, build{listen: Config{MaxConns: places}})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var held []net.Conn
	full := make(chan struct{})
	for g := range 4 {
		wg.Go(func() {
			for i := range 700 {
				c, err := h.dial(fmt.Sprintf("127.%d.%d.%d", 10+g, i/200, i%200+1))
				if err != nil {
					continue
				}
				mu.Lock()
				if held = append(held, c); len(held) == places {
					close(full)
				}
				mu.Unlock()
			}
		})
	}
	<-full
	for i := range 20 {
		c := h.client(fmt.Sprintf("127.0.3.%d", i+1), false)
		code, err := 0, error(nil)
		for range 3 {
			if code, _, err = h.get(c, "/"); err == nil {
				break
			}
		}
		if code != 200 {
			t.Fatalf("an honest client: %d %v (%+v)", code, err, h.listen.Counters())
		}
	}
	wg.Wait()
	for _, c := range held {
		c.Close()
	}
	if c := h.listen.Counters(); c.Evicted < 1000 {
		t.Fatalf("%+v", c)
	}
}
