package quota

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// long is p without the short way.
func long(p *Plan) *Plan {
	q := *p
	q.short = 0
	return &q
}

// The short way and the long one are one function: the same history gives the
// same answers, with and without a cap, near every edge.
func TestShortAgrees(t *testing.T) {
	t.Parallel()
	tight := Tier{Name: "tight", Tenant: Limits{Mode: Limited, PerMinute: 60, PerHour: 300, PerDay: 900, Burst: 1.5, Concurrent: 5}, Classes: map[string]ClassLimits{"read": {Mode: Shared}}}
	for name, p := range map[string]*Plan{
		"capped": newPlan(tight, "read"), "windows": windowsOnly(newPlan(tight, "read")),
		"standard": mustPlan(t, "standard", "read"), "share of five": newPlan(tight, "read").Share(5), "share of nothing": newPlan(tight, "read").Share(70),
	} {
		if p.short == 0 {
			t.Fatalf("%s: decided the long way, the test tests nothing", name)
		}
		now := time.Unix(1_800_000_000, 0)
		clock := func() time.Time { return now }
		a, b := NewLocal(LocalConfig{Clock: clock}), NewLocal(LocalConfig{Clock: clock})
		r := rand.New(rand.NewPCG(7, 7))
		outcomes := map[Outcome]int{}
		var held [2][]Slot
		for i := range 8000 {
			if r.IntN(3) == 0 {
				now = now.Add(time.Duration(r.Int64N(int64(4 * time.Second))))
			}
			if r.IntN(500) == 0 {
				now = now.Add(time.Duration(r.Int64N(int64(3 * time.Hour))))
			}
			ask := Ask{Key: sequentialKey(1), Plan: p, Cost: 1 + r.Int64N(1+r.Int64N(3))}
			x, errX := a.Take(context.Background(), ask)
			ask.Plan = long(p)
			y, errY := b.Take(context.Background(), ask)
			show := func(d Decision) string {
				return fmt.Sprint(d.Outcome, d.Policy, d.Remaining, d.Reading.Depth, d.RetryAfter)
			}
			if errX != nil || errY != nil || show(x) != show(y) {
				t.Fatalf("%s, ask %d: %s (%v), the long way says %s (%v)", name, i, show(x), errX, show(y), errY)
			}
			outcomes[x.Outcome]++
			held[0], held[1] = append(held[0], x.Slot), append(held[1], y.Slot)
			for len(held[0]) > 0 && r.IntN(3) > 0 {
				held[0][0].Release()
				held[1][0].Release()
				held[0], held[1] = held[0][1:], held[1][1:]
			}
		}
		if outcomes[Refused] < 100 || outcomes[Admitted] < 100 && name != "share of nothing" {
			t.Errorf("%s: %v: one side was hardly looked at", name, outcomes)
		}
	}
}

// Many at once, some the short way and some the long one, near the edge of one
// window after the other: exactly what one alone would be admitted.
func TestShortIsExactInParallel(t *testing.T) {
	t.Parallel()
	tier := Tier{Name: "x", Tenant: Limits{Mode: Limited, PerMinute: 60, PerHour: 400, PerDay: 700, Burst: 1.5, Concurrent: 200}, Classes: map[string]ClassLimits{"read": {Mode: Shared}}}
	for name, p := range map[string]*Plan{"capped": newPlan(tier, "read"), "windows": windowsOnly(newPlan(tier, "read"))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var at atomic.Int64
			clock := func() time.Time { return time.Unix(1_800_000_000, at.Load()) }
			l, one := NewLocal(LocalConfig{Clock: clock}), NewLocal(LocalConfig{Clock: clock})
			ways := []*Plan{p, long(p)}
			for round := range 60 {
				var got atomic.Int64
				var wg sync.WaitGroup
				for g := range 8 {
					wg.Go(func() {
						for i := range 40 {
							d, err := l.Take(context.Background(), Ask{Key: sequentialKey(1), Plan: ways[(g+i)%2]})
							if err != nil {
								t.Error(err)
							}
							if d.Allowed() {
								got.Add(1)
							}
							d.Slot.Release()
						}
					})
				}
				wg.Wait()
				want := int64(0)
				for range 320 {
					d, _ := one.Take(context.Background(), Ask{Key: sequentialKey(1), Plan: p})
					if d.Allowed() {
						want++
					}
					d.Slot.Release()
				}
				if got.Load() != want {
					t.Fatalf("round %d: %d admitted at once, %d one by one", round, got.Load(), want)
				}
				at.Add(int64(time.Duration(20+round%7*9) * time.Second))
			}
		})
	}
}

// What docs/EDGE.md says each tier admits at most, by a client that asks
// whenever something is there.
func TestMostOfEachWindow(t *testing.T) {
	t.Parallel()
	for tier, want := range map[string][3]int{
		"standard":  {149, 3689, 39_999},
		"enhanced":  {899, 18_599, 199_999},
		"dedicated": {3999, 62_999}, // its day is a million; TestShortAgrees has its shape
	} {
		t.Run(tier, func(t *testing.T) {
			t.Parallel()
			start := time.Unix(1_800_000_000, 0)
			now := start
			l, p, k := NewLocal(LocalConfig{Clock: func() time.Time { return now }}), windowsOnly(mustPlan(t, tier, "read")), sequentialKey(1)
			var got [3]int
			for n := 0; ; {
				d, err := l.Take(context.Background(), Ask{Key: k, Plan: p})
				if err != nil {
					t.Fatal(err)
				}
				if d.Allowed() {
					n++
					continue
				}
				now = now.Add(d.RetryAfter)
				for i, span := range windowSpans {
					if got[i] == 0 && now.Sub(start) >= span {
						got[i] = n
					}
				}
				if got[2] > 0 || got[1] > 0 && want[2] == 0 {
					break
				}
			}
			if got != want {
				t.Errorf("from full buckets %v in the first minute, hour and day, documented are %v", got, want)
			}
			for i, w := range p.levels[0].Windows {
				if int64(got[i]) > w.Policy.Capacity+w.Policy.Limit {
					t.Errorf("%s: %d admitted", w.Policy.Name, got[i])
				}
			}
		})
	}
}
