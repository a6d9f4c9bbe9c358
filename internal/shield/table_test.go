package shield

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// The property that matters: whatever else passes through the table, a client
// is never admitted more often than if the table were infinite.
func TestEvictionNeverForgives(t *testing.T) {
	t.Parallel()
	l := newLimiter(64) // 128 slots
	a := newAllowance(10, 10, time.Minute)
	exact := map[client]int64{}
	r := rand.New(rand.NewPCG(1, 2))
	now := int64(1e18)
	admitted, refused, stricter := 0, 0, 0
	for range 200_000 {
		now += int64(r.IntN(20_000_000))
		key := v4Tag | client(r.IntN(2000))
		if r.IntN(4) == 0 {
			key = v4Tag | client(r.IntN(3)) // three who attack
		}
		tat := max(exact[key], now)
		fair := tat-now <= a.slack
		if l.take(key, now, a) == 0 {
			admitted++
			if !fair {
				t.Fatalf("client %x was forgiven", key)
			}
			exact[key] = tat + a.interval
		} else if refused++; fair {
			stricter++
		}
	}
	if admitted == 0 || refused == 0 {
		t.Fatalf("%d admitted, %d refused", admitted, refused)
	}
	t.Logf("%d admitted, %d refused, %d of them for want of slots", admitted, refused, stricter)
}

// A set that is full of debtors hands its least debt on.
func TestEvictionInherits(t *testing.T) {
	t.Parallel()
	l := newLimiter(1) // one set
	a := newAllowance(10, 10, time.Minute)
	for k := client(1); k <= ways; k++ {
		for range k {
			l.take(k, 0, a)
		}
	}
	if left := l.left(99, 0, a); left != 10 {
		t.Fatalf("a stranger has %d left", left)
	}
	l.take(99, 0, a) // pushes out client 1, which owed one
	if left := l.left(99, 0, a); left != 8 {
		t.Fatalf("a newcomer has %d left, want 10 less one of his own and one inherited", left)
	}
	l.take(1, 0, a) // pushes out the least: 2 or 99, both owing two
	if left := l.left(1, 0, a); left != 7 {
		t.Fatalf("who comes back has %d left, want at most 8", left)
	}
}

func TestClockSetBack(t *testing.T) {
	t.Parallel()
	l := newLimiter(16)
	a := newAllowance(10, 10, time.Minute)
	late := int64(100 * time.Hour)
	for range 20 {
		l.take(7, late, a)
	}
	back := late - int64(90*time.Hour)
	if wait := l.take(7, back, a); wait > time.Minute {
		t.Fatalf("after the clock was set back the client waits %v", wait)
	}
	if wait := l.take(7, back+int64(time.Minute), a); wait != 0 {
		t.Fatalf("a minute later it still waits %v", wait)
	}
}

func TestLimitIsExactInParallel(t *testing.T) {
	t.Parallel()
	l := newLimiter(1024)
	a := newAllowance(1000, 1000, time.Minute)
	var wg sync.WaitGroup
	counts := make([]int, 8)
	for g := range counts {
		wg.Go(func() {
			for range 1000 {
				if l.take(42, 1e18, a) == 0 {
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
