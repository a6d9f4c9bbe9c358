package quotatest

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// bucket is the plainest token bucket there is, to compare others with: tokens
// in µs of refill, so that nothing is rounded, and a log of what it let
// through, so that windows can be counted afterwards.
type bucket struct {
	w      quota.Window
	tokens int64
	at     int64 // µs
}

func (b *bucket) refill(now int64) {
	b.tokens = min(b.w.Span, b.tokens+now-b.at)
	b.at = now
}

// agree runs random histories of asks against the model: a decision is the
// model's, whichever replica makes it, and no window of any length ever sees
// more than its bucket and its refill.
func agree(t *testing.T, l Limiters) {
	for seed := range uint64(4) {
		k, p := Tenant(t), Plan(t, "small", "read")
		windows := p.Levels()[0].Windows
		model := [3]bucket{}
		for i, w := range windows {
			model[i] = bucket{w: w, tokens: w.Span}
		}
		r := rand.New(rand.NewPCG(seed, 8))
		var now int64
		var admitted []int64
		for range 500 {
			switch r.IntN(12) {
			case 0, 1, 2:
				now += advance(l, time.Duration(r.Int64N(int64(3*time.Second))))
			case 3:
				now += advance(l, time.Duration(r.Int64N(int64(5*time.Minute))))
			case 4:
				if r.IntN(8) == 0 {
					now += advance(l, time.Duration(r.Int64N(int64(9*time.Hour))))
				}
			}
			cost := int64(1)
			if r.IntN(6) == 0 {
				cost = 1 + r.Int64N(40)
			}
			fits := true
			for i := range model {
				model[i].refill(now)
				fits = fits && model[i].tokens >= cost*model[i].w.Interval
			}
			to := []quota.Limiter{l.A, l.B}[r.IntN(2)]
			d, err := to.Take(context.Background(), quota.Ask{Key: k, Plan: p, Cost: cost})
			if err != nil {
				t.Fatal(err)
			}
			d.Slot.Release()
			if d.Allowed() != fits {
				t.Fatalf("seed %d, at %v, cost %d: allowed %t (%s), the model says %t", seed, time.Duration(now)*time.Microsecond, cost, d.Allowed(), d.Policy.Name, fits)
			}
			if !fits {
				continue
			}
			least := int64(1 << 62)
			for i := range model {
				model[i].tokens -= cost * model[i].w.Interval
				least = min(least, model[i].tokens/model[i].w.Interval)
			}
			want(t, "remaining", d.Remaining, least)
			for range cost {
				admitted = append(admitted, now)
			}
		}
		for _, w := range windows {
			if got, most := Most(admitted, w.Policy.Window.Microseconds()), Bound(w); got > most {
				t.Fatalf("seed %d: %s admitted %d, at most %d are promised", seed, w.Policy.Name, got, most)
			}
		}
	}
}

func advance(l Limiters, d time.Duration) int64 {
	d = d.Truncate(time.Microsecond)
	l.Advance(d)
	return d.Microseconds()
}

// Bound is the most that one window admits in any stretch of its own length: a
// full bucket, and what comes back meanwhile.
func Bound(w quota.Window) int64 { return w.Policy.Capacity + w.Policy.Limit }

// Most is the largest number of times, in order, within any half-open stretch
// of the given length.
func Most(times []int64, length int64) (most int64) {
	from := 0
	for i, t := range times {
		for times[from] <= t-length {
			from++
		}
		most = max(most, int64(i-from+1))
	}
	return most
}
