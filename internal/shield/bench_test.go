package shield

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func TestDecisionsAllocateNothing(t *testing.T) {
	s := setup(t, Config{Limit: 100, Points: Points{Probe: 1}}) // a flood is limited, not blocked
	if _, err := s.Block(t.Context(), network("192.0.2.0/24"), time.Hour, "r", "dana"); err != nil {
		t.Fatal(err)
	}
	r := request("/v1/agents?limit=20")
	r.Header.Set("Accept", "application/json")
	now := s.clock.now()
	for range 500 {
		s.Check(now, ip("198.51.100.2"), r)
	}
	for name, c := range map[string]struct {
		addr netip.Addr
		want Verdict
	}{
		"allow": {ip("198.51.100.1"), Allow}, "allow over IPv6": {ip("2001:db8::1"), Allow},
		"limit": {ip("198.51.100.2"), Limit}, "barred": {ip("192.0.2.1"), Barred},
	} {
		at := now
		if n := testing.AllocsPerRun(100, func() {
			at = at.Add(time.Second)
			if c.want == Limit {
				at = now
			}
			if d := s.Check(at, c.addr, r); d.Verdict != c.want {
				t.Fatalf("%s: %+v", name, d)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	r := request("/v1/agents/01JABCDEF/runs?limit=20&cursor=abcdef", "(X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0")
	for _, f := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cookie", "X-Request-Id"} {
		r.Header.Set(f, "application/json;q=0.9 gzip, deflate, br")
	}
	for name, c := range map[string]struct {
		addr string
		nets int
	}{"IPv4": {"198.51.100.1", 0}, "IPv6": {"2001:db8::1", 0}, "IPv4, blocks in force": {"198.51.100.1", 1000}, "IPv4, blocked": {"10.0.0.1", 1000}} {
		b.Run(name, func(b *testing.B) {
			s := setup(b, Config{Limit: 1 << 30, Clients: 1 << 20, SiteFactor: 1})
			for i := range c.nets {
				s.Report(address(i), RapidReset)
			}
			a, now := ip(c.addr), s.clock.now()
			b.ReportAllocs()
			for b.Loop() {
				s.Check(now, a, r)
			}
		})
	}
}

func BenchmarkLimiter(b *testing.B) {
	b.Run("one address", func(b *testing.B) {
		l := newLimiter(1<<20, 10_000, time.Minute)
		b.ReportAllocs()
		for now := int64(1e18); b.Loop(); now += 1000 {
			l.take(v4Tag|1, now, 1000)
		}
	})
	b.Run("a million addresses", func(b *testing.B) {
		l := newLimiter(1<<20, 10_000, time.Minute)
		b.ReportAllocs()
		i := uint64(0)
		for now := int64(1e18); b.Loop(); now += 50 {
			i = i*6364136223846793005 + 1442695040888963407
			l.take(v4Tag|client(i>>44), now, 1000)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		l := newLimiter(1<<20, 10_000, time.Minute)
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			i := uint64(1)
			for now := int64(1e18); p.Next(); now += 50 {
				i = i*6364136223846793005 + 1442695040888963407
				l.take(v4Tag|client(i>>44), now, 1000)
			}
		})
	})
}

// BenchmarkMillion tracks a million addresses that all owe and reports the
// heap they take, and how many of them are still told apart.
func BenchmarkMillion(b *testing.B) {
	const n = 1 << 20
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		l := newLimiter(n, 10_000, time.Minute)
		for i := range n {
			for range 2 {
				l.take(v4Tag|client(i), 1e18, 1000)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		kept := l.counting(1e18)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.ReportMetric(float64(kept)*100/n, "%kept")
		runtime.KeepAlive(l)
	}
}

func BenchmarkAdmit(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("%d blocks", n), func(b *testing.B) {
			s := setup(b, Config{Connects: 1 << 30, SiteFactor: 1})
			for i := range n {
				s.Report(address(i), RapidReset)
			}
			a := ip("10.0.0.1")
			b.ReportAllocs()
			for b.Loop() {
				s.Admit(a)
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	s, err := newScanners(nil)
	if err != nil {
		b.Fatal(err)
	}
	path, query := "/v1/agents/01JABCDEF/runs", "limit=20&cursor=abcdef"
	agent := "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
	b.ReportAllocs()
	for b.Loop() {
		s.probe(path, query)
		s.tool(agent)
	}
}
