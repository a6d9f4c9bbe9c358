package listen

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

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
		// Nobody leaves by a deadline, however loaded the machine is.
		listen: Config{MaxConns: room, PerAddress: 1000, Handshake: time.Hour, Header: time.Hour, Idle: time.Hour},
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
