package quota

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
	"golang.org/x/time/rate"
)

func mustPlan(t testing.TB, tier, class string) *Plan {
	t.Helper()
	table := DefaultTable()
	c, err := table.Class(class)
	if err != nil {
		t.Fatal(err)
	}
	p, err := table.Plan(tier, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func windowsOnly(p *Plan) *Plan {
	q := &Plan{Tier: p.Tier, Class: p.Class, mode: p.mode, header: p.header}
	for _, l := range p.levels {
		l.Slots = nil
		q.levels = append(q.levels, l)
	}
	return q.finish()
}

func sequentialKey(i int) Key { return Key{tenant: id{hi: uint64(i), lo: 1}} }

// TestRowsBounded floods the limiter with subjects: memory stays bounded, no
// row that carries information is lost, and the surplus is refused.
func TestRowsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	l := NewLocal(LocalConfig{Clock: func() time.Time { return now }, MaxRows: 6400})
	p := mustPlan(t, "standard", "read")
	ctx := context.Background()
	var full, in int
	for i := range 20_000 {
		_, err := l.Take(ctx, Ask{Key: sequentialKey(i), Plan: p})
		switch fault.CodeOf(err) {
		case "":
			in++
		case fault.Unavailable:
			full++
		default:
			t.Fatal(err)
		}
	}
	if in > 6400 || in < 6000 || full != 20_000-in || l.Rows() != in {
		t.Fatalf("%d in, %d refused, %d rows", in, full, l.Rows())
	}
	for i := range 100 { // whoever is known goes on being served
		if d, err := l.Take(ctx, Ask{Key: sequentialKey(i), Plan: p}); err != nil || d.Remaining != 88 {
			t.Fatalf("subject %d: %v, %d left", i, err, d.Remaining)
		}
	}
	now = now.Add(24 * time.Hour) // everything is full again, all slots expired
	for i := 20_000; i < 80_000; i++ {
		now = now.Add(5 * time.Minute)
		if _, err := l.Take(ctx, Ask{Key: sequentialKey(i), Plan: p}); err != nil {
			t.Fatal(err)
		}
	}
	if l.Rows() > 6400 {
		t.Fatalf("%d rows", l.Rows())
	}
}

// TestEvictionForgetsNothing has a clock that goes back after a full bucket was
// evicted: the bucket must not be granted a second time.
func TestEvictionForgetsNothing(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0)
	now := start
	l := NewLocal(LocalConfig{Clock: func() time.Time { return now }, MaxRows: 6400})
	p := windowsOnly(mustPlan(t, "standard", "read"))
	ctx := context.Background()
	victim := sequentialKey(0)
	drain := func() (n int) {
		for {
			d, err := l.Take(ctx, Ask{Key: victim, Plan: p})
			if err != nil {
				t.Fatal(err)
			}
			if !d.Allowed() {
				return n
			}
			n++
		}
	}
	if n := drain(); n != 90 {
		t.Fatalf("%d", n)
	}
	now = start.Add(24 * time.Hour)
	k := rowKey{tenant: victim.tenant}
	for i := 1; l.rows.find(k) != nil; i++ { // newcomers sweep, until the victim's row goes
		if i == 100_000 {
			t.Fatal("the victim is still tracked: the test tests nothing")
		}
		now = now.Add(5 * time.Minute)
		if _, err := l.Take(ctx, Ask{Key: sequentialKey(i), Plan: p}); err != nil {
			t.Fatal(err)
		}
	}
	// Back to the start, where the bucket had just been drained. It was full in
	// between, so one more bucket is right; time must not pass again from here.
	now = start
	got := drain()
	now = start.Add(24 * time.Hour)
	if again := drain(); got+again > 90 {
		t.Fatalf("%d and %d more after the clock went back", got, again)
	}
}

// TestChurn races decisions against evictions and checks the sum of what was
// admitted per subject.
func TestChurn(t *testing.T) {
	t.Parallel()
	var tick atomic.Int64
	base := time.Unix(1_800_000_000, 0)
	l := NewLocal(LocalConfig{Clock: func() time.Time { return base.Add(time.Duration(tick.Load())) }, MaxRows: 256})
	p := mustPlan(t, "standard", "read")
	var wg sync.WaitGroup
	hot := sequentialKey(1 << 30)
	var admitted atomic.Int64
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range 20_000 {
				tick.Add(int64(20 * time.Microsecond))
				k := sequentialKey(r.IntN(4000))
				if r.IntN(4) == 0 {
					k = hot
				}
				d, err := l.Take(context.Background(), Ask{Key: k, Plan: p})
				if err == nil && d.Allowed() {
					if k == hot {
						admitted.Add(1)
					}
					d.Slot.Release()
				}
			}
		})
	}
	wg.Wait()
	// 80,000 ticks of 20 µs are 1.6 s: 90 of the burst and one refilled.
	if got := admitted.Load(); got < 90 || got > 91 {
		t.Fatalf("%d admitted", got)
	}
}

// FuzzCells runs a random history of charges against a plain model.
func FuzzCells(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 5, 0, 9}, int64(60), int64(90))
	f.Fuzz(func(t *testing.T, script []byte, limit, capacity int64) {
		if limit < 1 || limit > maxPerMinute || capacity < 1 || capacity > 1_000_000 {
			t.Skip()
		}
		w := newWindow("x", limit, capacity, time.Minute)
		var c window
		var now int64
		tokens := capacity * w.Interval // the model: a leaky integer
		for _, b := range script {
			if b >= 128 {
				step := int64(b-127) * w.Interval / 7
				now += step
				tokens = min(tokens+step, capacity*w.Interval)
				continue
			}
			cost := int64(b%7) + 1
			v, depth := c.charge(now, cost*w.Interval, w.Span, b%2 == 0)
			if (v == charged) != (tokens >= cost*w.Interval) {
				t.Fatalf("charge %d with %d/%d: %v", cost, tokens, w.Interval, v)
			}
			if v != charged {
				continue
			}
			if b%2 == 0 {
				if b%3 == 0 {
					c.giveBack(cost * w.Interval)
					continue
				}
				c.commit()
			}
			tokens -= cost * w.Interval
			if depth != w.Span-tokens {
				t.Fatalf("depth %d, want %d", depth, w.Span-tokens)
			}
		}
	})
}

// cpu is the process's CPU time: wall time says little on a shared machine.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkTake(b *testing.B) {
	ctx := context.Background()
	whole := mustPlan(b, "dedicated", "read")
	wide, drained := windowsOnly(whole), windowsOnly(whole)
	for i := range wide.levels { // never refuses: Next and the divisions are paid each time
		for j := range wide.levels[i].Windows {
			w := &wide.levels[i].Windows[j]
			w.Interval, w.Span = 1, 1<<40
		}
	}
	wide = windowsOnly(wide)
	slotted := &Plan{Tier: "x", Class: "read", mode: Limited, levels: []Level{wide.levels[0]}}
	slotted.levels[0].Slots = newSlots("tenant-concurrent", 200)
	slotted.finish()
	user := Key{tenant: idOf(tenant.NewID()), user: idOf(uuid.New())}
	one := Key{tenant: idOf(tenant.NewID())}
	at := time.Now()
	keys := make([]Key, 100_000)
	for i := range keys {
		keys[i] = Key{tenant: idOf(tenant.NewID())}
	}
	for _, c := range []struct {
		name string
		want Outcome
		ask  Ask
	}{
		{"three windows", Admitted, Ask{Key: one, Plan: wide, At: at}},
		{"three windows, reading the clock", Admitted, Ask{Key: one, Plan: wide}},
		{"three windows and slot, released", Admitted, Ask{Key: user, Plan: slotted, At: at}},
		{"three windows, 100,000 tenants", Admitted, Ask{Plan: wide, At: at}},
		{"refused", Refused, Ask{Key: one, Plan: drained, At: at}},
	} {
		many := c.ask.Key.tenant.none() // before the function runs a second time
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			l := NewLocal(LocalConfig{})
			for i := range len(keys) { // rows made, buckets drained
				if many || c.want == Refused {
					ask := c.ask
					if many {
						ask.Key = keys[i%len(keys)]
					}
					_, _ = l.Take(ctx, ask)
				}
			}
			runtime.GC() // what was made is not collected on the decisions' bill
			before := cpu()
			b.ResetTimer()
			for i := range b.N {
				if many {
					c.ask.Key = keys[i*7919%len(keys)]
				}
				d, _ := l.Take(ctx, c.ask)
				if d.Outcome != c.want {
					b.Fatal(d.Outcome)
				}
				d.Slot.Release()
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
	b.Run("baseline: three golang.org_x_time_rate, 100,000 tenants", func(b *testing.B) {
		b.ReportAllocs()
		all := make(map[Key]*[3]*rate.Limiter, len(keys))
		for _, k := range keys {
			all[k] = &[3]*rate.Limiter{rate.NewLimiter(1e9, 1e9), rate.NewLimiter(1e9, 1e9), rate.NewLimiter(1e9, 1e9)}
		}
		runtime.GC()
		before := cpu()
		b.ResetTimer()
		for i := range b.N {
			for _, r := range all[keys[i*7919%len(keys)]] { // no lock, which a real one would need
				if !r.AllowN(at, 1) {
					b.Fatal("refused")
				}
			}
		}
		b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
	})
	b.Run("baseline: three golang.org_x_time_rate", func(b *testing.B) {
		b.ReportAllocs()
		three := [3]*rate.Limiter{rate.NewLimiter(1e9, 1e9), rate.NewLimiter(1e9, 1e9), rate.NewLimiter(1e9, 1e9)}
		before := cpu()
		for range b.N {
			for _, r := range three {
				if !r.AllowN(at, 1) {
					b.Fatal("refused")
				}
			}
		}
		b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
	})
	for name, plan := range map[string]*Plan{"three windows": wide, "three windows and slot": slotted} {
		b.Run(name+", one tenant, parallel", func(b *testing.B) {
			b.ReportAllocs()
			l := NewLocal(LocalConfig{})
			before := cpu()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					d, _ := l.Take(ctx, Ask{Key: one, Plan: plan, At: at})
					if !d.Allowed() {
						b.Fail()
					}
					d.Slot.Release()
				}
			})
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
	b.Run("three windows, 100,000 tenants, parallel", func(b *testing.B) {
		b.ReportAllocs()
		l := NewLocal(LocalConfig{})
		for _, k := range keys {
			_, _ = l.Take(ctx, Ask{Key: k, Plan: wide, At: at})
		}
		runtime.GC() // what was made is not collected on the decisions' bill
		before := cpu()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(len(keys)); pb.Next(); i++ {
				if d, _ := l.Take(ctx, Ask{Key: keys[i*7919%len(keys)], Plan: wide, At: at}); !d.Allowed() {
					b.Fail()
				}
			}
		})
		b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
	})
	table := DefaultTable()
	class, _ := table.Class("read")
	b.Run("finding the plan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := table.Plan("standard", class); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMemory(b *testing.B) {
	p := mustPlan(b, "standard", "read")
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				l := NewLocal(LocalConfig{MaxRows: 2 * n})
				for i := range n {
					if _, err := l.Take(context.Background(), Ask{Key: sequentialKey(i), Plan: p}); err != nil {
						b.Fatal(err)
					}
				}
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(l.Rows()), "B/key")
				runtime.KeepAlive(l)
			}
		})
	}
}
