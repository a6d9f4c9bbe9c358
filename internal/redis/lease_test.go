package redis

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
)

// TestLease: two replicas that lease admit no more than the limit, no less than
// the limit minus what was leased and not used, and ask Redis much less often.
func TestLease(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p, k := quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	const size = 50
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		l := NewLimiter(open(t, s, Config{}), LimiterConfig{Lease: size, LeaseTerm: time.Minute, Replicas: 2})
		wg.Go(func() {
			n, err := flood(l, k, p, 2000)
			if err != nil {
				t.Error(err)
			}
			total.Add(n)
		})
	}
	wg.Wait()
	if got := total.Load(); got != 1000 { // the terms are long: both used all they had
		t.Errorf("%d admitted", got)
	}
	// 4,000 asks: 1,000 admitted in leases of up to 50, and a refusal or two a second.
	_, rest, _ := strings.Cut(s.Do("INFO", "commandstats"), "cmdstat_evalsha:calls=")
	calls, _, _ := strings.Cut(rest, ",")
	if n, err := strconv.Atoi(calls); err != nil || n < 20 || n > 400 {
		t.Errorf("%q calls of Redis", calls)
	}
}

// TestLeaseTerm: unused tokens are lost when the term ends, and little traffic
// leases one at a time.
func TestLeaseTerm(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p, k := quotatest.Plan(t, "small", "read"), quotatest.Tenant(t)
	var now atomic.Int64
	now.Store(1_800_000_000e6)
	clock := func() time.Time { return time.UnixMicro(now.Load()) }
	c := open(t, s, Config{})
	c.now = clock
	l := NewLimiter(c, LimiterConfig{Lease: 32, Clock: clock})
	other := NewLimiter(c, LimiterConfig{Clock: clock})
	left := func() int64 {
		t.Helper()
		st, err := other.Usage(t.Context(), k, p)
		if err != nil {
			t.Fatal(err)
		}
		return st[0].Remaining
	}
	for i := range 5 { // one a second, as fast as the bucket fills: nothing is lost
		if d, err := take(t, l, k, p); err != nil || !d.Allowed() {
			t.Fatalf("%v %v", d.Outcome, err)
		}
		if n := left(); n != 89 {
			t.Fatalf("after %d: %d left", i+1, n)
		}
		now.Add(1_000_000)
	}
	for range 10 { // a burst: leases of 1, 2, 4, 8
		if d, err := take(t, l, k, p); err != nil || !d.Allowed() {
			t.Fatalf("%v %v", d.Outcome, err)
		}
	}
	if n := left(); n != 90-15 {
		t.Fatalf("%d left, want 75: 15 leased", n)
	}
	now.Add(1_000_000)
	if d, err := take(t, l, k, p); err != nil || !d.Allowed() {
		t.Fatalf("%v %v", d.Outcome, err)
	}
	// 5 of the lease of 8 were lost; the next is of the 3 that were used.
	if n := left(); n != 76-3 {
		t.Fatalf("%d left, want 73", n)
	}
	s.Kill() // what is in hand was charged and may be spent; then the setting holds
	for range 2 {
		if d, err := take(t, l, k, p); err != nil || !d.Allowed() {
			t.Fatalf("%v %v", d.Outcome, err)
		}
	}
	if d, err := take(t, l, k, p); fault.CodeOf(err) != fault.Unavailable || d.Allowed() {
		t.Fatalf("%v %v", d.Outcome, err)
	}
}

// TestLeasedSlots: each replica holds its share of a cap.
func TestLeasedSlots(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p, k := quotatest.Plan(t, "narrow", "read"), quotatest.Tenant(t)
	total := 0
	for range 2 {
		l := NewLimiter(open(t, s, Config{}), LimiterConfig{Lease: 10, Replicas: 2})
		total += quotatest.Drain(t, l, k, p, 20)
	}
	if total != 6 { // 7 / 2, rounded down, twice
		t.Fatalf("%d at once", total)
	}
}
