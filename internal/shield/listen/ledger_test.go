package listen

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// The ledger agrees with a plain count after any sequence of comings and
// goings, and holds nothing for who has left.
func TestLedgerBooks(t *testing.T) {
	t.Parallel()
	const most, per = 300, 20
	l := newLedger(most, per)
	r := rand.New(rand.NewPCG(3, 4))
	open := map[*Conn]bool{}
	for range 6000 {
		if r.IntN(3) == 0 && len(open) > 0 {
			for c := range open {
				l.leave(c)
				l.leave(c)
				delete(open, c)
				break
			}
			continue
		}
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(min(r.IntN(60), r.IntN(60)))})
		if r.IntN(3) == 0 {
			b := netip.MustParseAddr("2001:db8::1").As16()
			b[5], b[7] = byte(r.IntN(2)), byte(r.IntN(40))
			a = netip.AddrFrom16(b)
		}
		c := &Conn{addr: a}
		if r.IntN(4) == 0 {
			c.serving.Store(1)
		}
		before := map[netip.Prefix]int{}
		for o := range open {
			if o.owner != nil {
				before[ownerOf(o.addr)]++
			}
		}
		uncapped := r.IntN(50) == 0
		victim, refused := l.join(c, uncapped)
		if victim != nil {
			if !open[victim] || victim.serving.Load() > 0 || len(open) < most {
				t.Fatal("a wrong victim")
			}
			if n := before[ownerOf(victim.addr)]; !uncapped && n <= before[ownerOf(c.addr)] {
				t.Fatalf("who has %d evicts who has %d", before[ownerOf(c.addr)], n)
			}
			delete(open, victim)
		}
		if refused == welcome {
			open[c] = true
		} else if c.owner != nil {
			t.Fatal("refused and entered")
		}
		if refused == overAll && len(open) < most {
			t.Fatalf("refused at %d of %d", len(open), most)
		}
		if l.open() != len(open) || len(open) > most {
			t.Fatalf("%d in the books, %d open", l.open(), len(open))
		}
		counts := map[netip.Prefix]int{}
		for o := range open {
			if o.owner != nil {
				counts[ownerOf(o.addr)]++
				if site := siteOf(o.addr); site.IsValid() {
					counts[site]++
				}
			}
		}
		for p, n := range counts {
			if limit := map[bool]int{true: siteFactor * per, false: per}[p.Bits() == 48]; n > limit {
				t.Fatalf("%v holds %d of %d", p, n, limit)
			}
		}
	}
	for c := range open {
		l.leave(c)
	}
	if l.total != 0 || len(l.owners) != 0 || len(l.sites) != 0 || len(l.free) != 0 || l.top != 0 {
		t.Fatalf("left over: %d %d %d %d %d", l.total, len(l.owners), len(l.sites), len(l.free), l.top)
	}
	for i := range l.ranks {
		if l.ranks[i].Len() != 0 {
			t.Fatalf("rank %d is not empty", i)
		}
	}
}

// A connection that was closed before it is entered does not stay.
func TestLedgerAndTheDead(t *testing.T) {
	t.Parallel()
	l := newLedger(10, 10)
	for _, uncapped := range []bool{false, true} {
		c := &Conn{addr: netip.MustParseAddr("192.0.2.1")}
		c.gone.Store(true)
		l.join(c, uncapped)
		if l.open() != 0 {
			t.Fatal("a dead connection holds a place")
		}
	}
}
