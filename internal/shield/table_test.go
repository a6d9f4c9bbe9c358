package shield

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// history is what a client was admitted, by an exact log: the model.
type history []int64

// within drops what is older than a window and says how much is left.
func (h *history) within(now, window int64) int {
	for len(*h) > 0 && (*h)[0] <= now-window {
		*h = (*h)[1:]
	}
	return len(*h)
}

// The promise: in no window, wherever it begins, is a client admitted more
// than its limit. And the other way: who has asked for less than the limit in
// the last window and a tenth is not refused.
func TestNoWindowAdmitsMore(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 7, 100, 1000} {
		for _, largest := range []int{limit, 1 << 20} { // narrow and wide counters
			l := newLimiter(64, largest, time.Minute)
			r := rand.New(rand.NewPCG(3, uint64(limit)))
			now := int64(1e18) + r.Int64N(1e12)
			var h, longer history
			refused, most := 0, 0
			for range 60_000 {
				switch r.IntN(1 + limit/2) {
				case 0: // even
					now += r.Int64N(2 * int64(time.Minute) / int64(limit))
				case 1: // on and off
					now += r.Int64N(int64(30 * time.Second))
				case 2: // just where a window or a span ends
					now += int64(time.Minute)/10*int64(1+r.IntN(12)) + r.Int64N(3) - 1
				}
				wait := l.take(v4Tag|1, now, limit)
				if n := longer.within(now, int64(time.Minute)*11/10); wait > 0 {
					if refused++; n < limit {
						t.Fatalf("limit %d: refused after %d in a window and a tenth", limit, n)
					}
					if wait > time.Minute*11/10 {
						t.Fatalf("limit %d: told to wait %v", limit, wait)
					}
					if r.IntN(20) == 0 { // wait as told, and be served
						now += int64(wait)
						if again := l.take(v4Tag|1, now, limit); again != 0 {
							t.Fatalf("limit %d: waited %v as told, and told to wait %v", limit, wait, again)
						}
					} else {
						continue
					}
				}
				h, longer = append(h, now), append(longer, now)
				n := h.within(now, int64(time.Minute))
				if most = max(most, n); n > limit {
					t.Fatalf("limit %d: %d in one minute", limit, n)
				}
			}
			if most != limit || refused < 100 {
				t.Fatalf("limit %d: at most %d admitted and %d refused: the test tests nothing", limit, most, refused)
			}
		}
	}
}

// The first minute and every other begin at no good moment: a client that
// spends the limit at the end of one and at the beginning of the next has spent
// it once.
func TestAroundTheEdgeOfAMinute(t *testing.T) {
	t.Parallel()
	l := newLimiter(64, 1000, time.Minute)
	spend := func(now int64) (n int) {
		for range 3000 {
			if l.take(v4Tag|1, now, 1000) == 0 {
				n++
			}
		}
		return n
	}
	at := func(d time.Duration) int64 { return int64(1e18)/int64(time.Minute)*int64(time.Minute) + int64(d) }
	for i, x := range []struct {
		at   time.Duration
		want int
	}{{59 * time.Second, 1000}, {61 * time.Second, 0}, {118 * time.Second, 0}, {120 * time.Second, 1000}, {179 * time.Second, 0}} {
		if got := spend(at(x.at)); got != x.want {
			t.Errorf("step %d, at %v: %d admitted, want %d", i, x.at, got, x.want)
		}
	}
}

// Whatever else passes through the table, a client is never admitted more often
// than if the table were infinite.
func TestEvictionNeverForgives(t *testing.T) {
	t.Parallel()
	l := newLimiter(64, 10, time.Minute) // 128 slots
	exact := map[client]*history{}
	r := rand.New(rand.NewPCG(1, 2))
	now := int64(1e18)
	admitted, refused, stricter := 0, 0, 0
	for range 200_000 {
		now += int64(r.IntN(20_000_000))
		key := v4Tag | client(r.IntN(2000))
		if r.IntN(4) == 0 {
			key = v4Tag | client(r.IntN(3)) // three who attack
		}
		h := exact[key]
		if h == nil {
			h = &history{}
			exact[key] = h
		}
		fair := h.within(now, int64(time.Minute)) < 10
		if l.take(key, now, 10) == 0 {
			admitted++
			if !fair {
				t.Fatalf("client %x was forgiven", key)
			}
			*h = append(*h, now)
		} else if refused++; fair {
			stricter++
		}
	}
	if admitted == 0 || refused == 0 {
		t.Fatalf("%d admitted, %d refused", admitted, refused)
	}
	t.Logf("%d admitted, %d refused, %d of them for want of slots or of exactness", admitted, refused, stricter)
}

// A set that is full hands on what those had counted whom it pushed out.
func TestEvictionInherits(t *testing.T) {
	t.Parallel()
	l := newLimiter(1, 10, time.Minute) // one set
	for k := client(1); k < ways; k++ {
		for range k {
			l.take(k, 0, 10)
		}
	}
	if left := l.left(99, 0, 10); left != 10 {
		t.Fatalf("a stranger has %d left", left)
	}
	l.take(99, 0, 10) // pushes out client 1, which had counted one
	if left := l.left(99, 0, 10); left != 8 {
		t.Fatalf("a newcomer has %d left, want 10 less one of his own and one inherited", left)
	}
	l.take(1, 0, 10) // pushes out the least: 2 or 99, both at two
	if left := l.left(1, 0, 10); left != 7 {
		t.Fatalf("who comes back has %d left, want at most 8", left)
	}
	// A minute and a tenth later the set has forgotten all of it.
	if left := l.left(98, int64(66*time.Second), 10); left != 10 {
		t.Fatalf("a later stranger has %d left", left)
	}
}

func TestClockSetBack(t *testing.T) {
	t.Parallel()
	l := newLimiter(16, 10, time.Minute)
	late := int64(100 * time.Hour)
	for range 20 {
		l.take(7, late, 10)
	}
	if wait := l.take(7, late-int64(20*time.Second), 10); wait < time.Minute || wait > 90*time.Second {
		t.Fatalf("20 s back the client waits %v, want the rest of its minute", wait)
	}
	for _, back := range []time.Duration{2 * time.Minute, 90 * time.Hour} {
		if wait := l.take(7, late-int64(back), 10); wait > 66*time.Second {
			t.Fatalf("after the clock was set back by %v the client waits %v", back, wait)
		}
	}
}

func TestLimitIsExactInParallel(t *testing.T) {
	t.Parallel()
	l := newLimiter(1024, 1000, time.Minute)
	var wg sync.WaitGroup
	counts := make([]int, 8)
	for g := range counts {
		wg.Go(func() {
			for range 1000 {
				if l.take(42, 1e18, 1000) == 0 {
					counts[g]++
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	if sum != 1000 {
		t.Fatalf("eight goroutines were admitted %d times, want 1000", sum)
	}
}

// Somebody who floods the score table with single offences of strangers is
// still blocked for his own.
func TestSuspectsAreNotForgotten(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{Clients: 1024, Suspects: 256})
	blocked := false
	for i := range 8 {
		for j := range 500 {
			s.Report(netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)}), Missing)
		}
		s.Report(ip("192.0.2.1"), Probe)
		blocked = blocked || !s.Admit(ip("192.0.2.1"))
	}
	if !blocked {
		t.Fatal("4,000 strangers made the shield forget a scanner")
	}
}

func TestMemoryIsFixed(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{Clients: 1 << 12, Suspects: 1 << 10, MaxBlocks: 500})
	before := s.Bytes()
	for i := range 50_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		s.Check(s.clock.now(), a, nil)
		s.Report(a, RapidReset)
	}
	if s.Bytes() != before {
		t.Fatal("a table grew")
	}
	if n := len(s.Blocks()); n != 500 {
		t.Fatalf("%d blocks held, want 500", n)
	}
}

func TestAutomaticBlocksNeverPushOutAPersons(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{MaxBlocks: 10})
	for i := range 5 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32)
		if _, err := s.Block(t.Context(), p, time.Second, "r", "dana"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		s.Report(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), RapidReset)
	}
	mine, all := 0, s.Blocks()
	for _, b := range all {
		if b.Owner == "dana" {
			mine++
		}
	}
	if mine != 5 || len(all) != 10 {
		t.Fatalf("%d of 5 left, %d in all", mine, len(all))
	}
}

func TestLongestLastingBlockCounts(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for _, b := range []struct {
		p string
		d time.Duration
	}{{"10.0.0.0/8", 2 * time.Hour}, {"10.1.0.0/16", time.Minute}, {"10.1.2.3/32", time.Hour}, {"2001:db8::/32", time.Hour}, {"2001:db8::5/128", time.Minute}} {
		if _, err := s.Block(t.Context(), network(b.p), b.d, "r", "dana"); err != nil {
			t.Fatal(err)
		}
	}
	if d := s.ask("10.1.2.3", "/"); d.Prefix != network("10.0.0.0/8") {
		t.Fatalf("%+v", d)
	}
	if d := s.ask("2001:db8::5", "/"); d.Prefix != network("2001:db8::/32") {
		t.Fatalf("%+v", d)
	}
	for _, p := range []string{"10.0.0.0/8", "2001:db8::/32"} {
		if err := s.Lift(t.Context(), network(p), "dana"); err != nil {
			t.Fatal(err)
		}
	}
	if d := s.ask("10.1.2.3", "/"); d.Prefix != network("10.1.2.3/32") {
		t.Fatalf("%+v", d)
	}
	s.clock.forward(30 * time.Minute)
	if d := s.ask("10.1.9.9", "/"); d.Verdict != Allow {
		t.Fatalf("%+v", d)
	}
}
