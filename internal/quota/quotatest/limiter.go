// Package quotatest holds the contracts of package quota as test suites that
// every implementation runs, two tenants in each.
package quotatest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// Limiters is a fresh, empty store seen through two replicas (the same one
// twice where there is only one), and a hand on its clock. Slots last at least
// Term and are gone after two.
type Limiters struct {
	A, B    quota.Limiter
	Advance func(time.Duration)
	Term    time.Duration
}

// tiersFile has small (every limit within reach), wide (1,000, and one more only
// every 86 s: for tests that run in real time) and narrow (7 at once).
const tiersFile = `
version: 1
classes: [read, login, expensive, probe, dropped]
tiers:
  small:
    tenant: {per_minute: 60, per_hour: 100, per_day: 150, burst: 1.5, concurrent: 1000}
    user: {per_minute: 20}
    classes:
      read: shared
      login: {tenant: unlimited, user: {per_minute: 5}}
      expensive: {tenant: {per_hour: 30, concurrent: 2}, user: off}
      probe: unlimited
      dropped: off
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
  wide:
    tenant: {per_minute: 100000, per_hour: 100000, per_day: 1000, burst: 1, concurrent: 10000}
    user: unlimited
    classes: {read: shared, login: shared, expensive: shared, probe: unlimited, dropped: off}
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
  narrow:
    tenant: {per_minute: 100000, per_hour: 100000, per_day: 100000, burst: 1, concurrent: 7}
    user: unlimited
    classes: {read: shared, login: shared, expensive: shared, probe: unlimited, dropped: off}
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
`

// Plan returns the plan of a tier (small, wide, narrow) and class of the
// suites' own table.
func Plan(t testing.TB, tier, class string) *quota.Plan {
	t.Helper()
	table, err := quota.ParseTable([]byte(tiersFile))
	if err != nil {
		t.Fatal(err)
	}
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

// Tenant returns a key of a new tenant.
func Tenant(t testing.TB) quota.Key {
	t.Helper()
	k, err := quota.TenantKey(tenant.NewID())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// User returns a key of the given user in k's tenant.
func User(t testing.TB, k quota.Key, user uuid.UUID) quota.Key {
	t.Helper()
	u, err := quota.UserKey(k.Tenant(), user)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Drain takes from l until it refuses, at most bound times, releasing nothing,
// and returns how many were admitted.
func Drain(t testing.TB, l quota.Limiter, k quota.Key, p *quota.Plan, bound int) int {
	t.Helper()
	for n := range bound {
		if d := take(t, l, k, p); !d.Allowed() {
			return n
		}
	}
	return bound
}

func take(t testing.TB, l quota.Limiter, k quota.Key, p *quota.Plan) quota.Decision {
	t.Helper()
	d, err := l.Take(context.Background(), quota.Ask{Key: k, Plan: p})
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	return d
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// Limiter runs the contract of quota.Limiter.
func Limiter(t *testing.T, open func(t *testing.T) Limiters) {
	for name, f := range map[string]func(*testing.T, Limiters){
		"minute":       minute,
		"hour and day": longWindows,
		"retry after":  retryAfter,
		"longest wait": longestWait,
		"all or none":  allOrNone,
		"cost":         cost,
		"parallel":     parallel,
		"two limits":   parallelTwoLimits,
		"slots":        slotCap,
		"slot expiry":  slotExpiry,
		"slots race":   slotRace,
		"nothings":     nothings,
		"refused":      refused,
		"usage":        usage,
		"model":        agree,
		"two tenants":  twoTenants,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, open(t))
		})
	}
}

func minute(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "small", "read")
	d := take(t, l.A, k, p)
	want(t, "outcome", d.Outcome, quota.Admitted)
	want(t, "policy", d.Policy.Name, "tenant-minute")
	want(t, "remaining", d.Remaining, 89)
	want(t, "the rest of the burst", Drain(t, l.B, k, p, 200), 89)
	d = take(t, l.A, k, p)
	want(t, "policy", d.Policy.Name, "tenant-minute")
	want(t, "remaining", d.Remaining, 0)
	if fault.CodeOf(d.Err()) != fault.RateLimited {
		t.Fatalf("error: %v", d.Err())
	}
	l.Advance(3 * time.Second)
	want(t, "after 3 s", Drain(t, l.B, k, p, 200), 3)
	l.Advance(-time.Minute)
	want(t, "after the clock went back", Drain(t, l.A, k, p, 10), 0)
	l.Advance(time.Minute)
	want(t, "and came again", Drain(t, l.A, k, p, 10), 0)
}

func longWindows(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "small", "read")
	want(t, "first minute", Drain(t, l.A, k, p, 200), 90)
	l.Advance(90 * time.Second) // minute full again; the hour got 2 back
	want(t, "hour", Drain(t, l.A, k, p, 200), 12)
	want(t, "policy", take(t, l.A, k, p).Policy.Name, "tenant-hour")
	l.Advance(time.Hour)
	// 102 of 150 spent; the day gets one back every 576 s: 6 in 3,690 s.
	want(t, "day", Drain(t, l.B, k, p, 90)+Drain(t, l.B, k, p, 200), 54)
	d := take(t, l.A, k, p)
	want(t, "policy", d.Policy.Name, "tenant-day")
	l.Advance(25 * time.Hour)
	want(t, "all over again", Drain(t, l.A, k, p, 200), 90)
}

func retryAfter(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "small", "read")
	Drain(t, l.A, k, p, 200)
	l.Advance(30 * time.Second)
	for range 2 { // a refusal does not push the time further away
		d := take(t, l.A, k, p)
		if d.Allowed() {
			continue
		}
		t.Fatal("30 tokens must be back")
	}
	Drain(t, l.A, k, p, 200) // the hour's last
	d := take(t, l.A, k, p)
	if d.Policy.Name != "tenant-hour" || d.RetryAfter <= 0 || d.RetryAfter > 36*time.Second {
		t.Fatalf("retry after %v for %s", d.RetryAfter, d.Policy.Name)
	}
	l.Advance(d.RetryAfter)
	want(t, "as told", take(t, l.B, k, p).Outcome, quota.Admitted)
	want(t, "once", take(t, l.B, k, p).Outcome, quota.Refused)
}

// longestWait: of several limits reached, the one that takes longest is named.
func longestWait(t *testing.T, l Limiters) {
	k := Tenant(t)
	u, read, login := User(t, k, uuid.New()), Plan(t, "small", "read"), Plan(t, "small", "login")
	want(t, "first minute", Drain(t, l.A, k, read, 200), 90)
	l.Advance(90 * time.Second)
	want(t, "a user's login", Drain(t, l.A, u, login, 200), 5) // 12 s for the next
	want(t, "the hour's rest", Drain(t, l.A, k, read, 200), 7) // 36 s for the next
	d := take(t, l.B, u, login)
	want(t, "policy", d.Policy.Name, "tenant-hour")
	if d.RetryAfter <= 12*time.Second || d.RetryAfter > 36*time.Second {
		t.Fatalf("retry after %v", d.RetryAfter)
	}
	l.Advance(d.RetryAfter)
	want(t, "as told", take(t, l.A, u, login).Outcome, quota.Admitted)
}

func allOrNone(t *testing.T, l Limiters) {
	k := Tenant(t)
	u, v := User(t, k, uuid.New()), User(t, k, uuid.New())
	read, login := Plan(t, "small", "read"), Plan(t, "small", "login")
	want(t, "a user's login", Drain(t, l.A, u, login, 100), 5)
	want(t, "who refuses", take(t, l.A, u, login).Policy.Name, "user-login-minute")
	want(t, "a user's reads", Drain(t, l.A, u, read, 100), 15)
	want(t, "who refuses", take(t, l.B, u, read).Policy.Name, "user-minute")
	for range 50 {
		take(t, l.B, u, read) // refusals must not be charged to the tenant
	}
	want(t, "another user", Drain(t, l.A, v, read, 100), 20)
	want(t, "the tenant's rest", Drain(t, l.A, k, read, 100), 90-40)
}

func cost(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "small", "read")
	ctx := context.Background()
	d, err := l.A.Take(ctx, quota.Ask{Key: k, Plan: p, Cost: 89})
	want(t, "error", err, nil)
	want(t, "remaining", d.Remaining, 1)
	d, err = l.A.Take(ctx, quota.Ask{Key: k, Plan: p, Cost: 2})
	want(t, "error", err, nil)
	want(t, "too dear", d.Outcome, quota.Refused)
	want(t, "remaining", d.Remaining, 1)
	want(t, "retry after", d.RetryAfter > 0 && d.RetryAfter <= time.Second, true)
	want(t, "one", take(t, l.B, k, p).Outcome, quota.Admitted)
	_, err = l.A.Take(ctx, quota.Ask{Key: k, Plan: p, Cost: 91})
	want(t, "never possible", fault.CodeOf(err), fault.Invalid)
	_, err = l.A.Take(ctx, quota.Ask{Key: k, Plan: p, Cost: -1})
	want(t, "negative", fault.CodeOf(err), fault.Invalid)
}

// hammer takes n times on each of many goroutines, on both replicas, and
// returns how many were admitted.
func hammer(t *testing.T, l Limiters, workers, n int, ask func(worker int) quota.Ask) int64 {
	t.Helper()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for w := range workers {
		lim := l.A
		if w%2 == 1 {
			lim = l.B
		}
		wg.Go(func() {
			<-start
			for range n {
				d, err := lim.Take(context.Background(), ask(w))
				if err != nil {
					t.Error(err)
					return
				}
				if d.Allowed() {
					admitted.Add(1)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	return admitted.Load()
}

func parallel(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "wide", "read")
	at := time.Time{}
	got := hammer(t, l, 32, 100, func(int) quota.Ask { return quota.Ask{Key: k, Plan: p, At: at} })
	want(t, "admitted", got, 1000)
}

// parallelTwoLimits is where a rollback would show: most users are at their own
// limit all the time, and the tenant's bucket must end exactly empty.
func parallelTwoLimits(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "small", "read")
	users := make([]quota.Key, 8)
	for i := range users {
		users[i] = User(t, k, uuid.New())
	}
	got := hammer(t, l, 32, 40, func(w int) quota.Ask { return quota.Ask{Key: users[w%8], Plan: p} })
	want(t, "admitted", got, 90) // 8 users could take 160
	states, err := l.A.Usage(context.Background(), k, p)
	want(t, "error", err, nil)
	want(t, "left in the minute", states[0].Remaining, 0)
	want(t, "left in the hour", states[1].Remaining, 10)
	var spent int64
	for _, u := range users {
		states, err := l.B.Usage(context.Background(), u, p)
		want(t, "error", err, nil)
		for _, s := range states {
			if s.Policy.Name == "user-minute" {
				spent += 20 - s.Remaining
			}
		}
	}
	want(t, "charged to users", spent, 90)
}

func slotCap(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "narrow", "read")
	var held []quota.Slot
	for range 7 {
		d := take(t, l.A, k, p)
		want(t, "outcome", d.Outcome, quota.Admitted)
		held = append(held, d.Slot)
	}
	d := take(t, l.B, k, p)
	want(t, "outcome", d.Outcome, quota.Refused)
	want(t, "policy", d.Policy.Name, "tenant-concurrent")
	want(t, "remaining", d.Remaining, 0)
	want(t, "retry after", d.RetryAfter, quota.SlotRetry)
	d.Slot.Release() // a refused one holds nothing
	for range 20 {
		want(t, "still full", take(t, l.B, k, p).Outcome, quota.Refused)
	}
	states, err := l.A.Usage(context.Background(), k, p)
	want(t, "error", err, nil)
	for _, s := range states[:3] { // a refusal by the cap gives the windows' tokens back
		want(t, s.Policy.Name, s.Remaining, 100_000-7)
	}

	held[0].Release()
	held[0].Release()
	copied := held[0]
	copied.Release()
	d = take(t, l.B, k, p)
	want(t, "one came back", d.Outcome, quota.Admitted)
	held[0].Release() // an old handle must not free the new holder's place
	want(t, "and only one", take(t, l.B, k, p).Outcome, quota.Refused)

	other := Tenant(t)
	want(t, "another tenant", take(t, l.A, other, p).Outcome, quota.Admitted)
}

func slotExpiry(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "narrow", "read")
	for range 6 {
		take(t, l.A, k, p) // crashed: nobody will release
	}
	alive := take(t, l.B, k, p).Slot
	l.Advance(l.Term * 9 / 10)
	want(t, "not yet", take(t, l.A, k, p).Outcome, quota.Refused)
	want(t, "renew", alive.Renew(), true)
	for range 2 {
		l.Advance(l.Term * 9 / 10)
		want(t, "the renewed one lives", alive.Renew(), true)
	}
	want(t, "the others are gone", Drain(t, l.A, k, p, 100), 6)
	alive.Release()
	want(t, "a released one cannot be renewed", alive.Renew(), false)
	lost := take(t, l.A, k, p)
	want(t, "the seventh", lost.Outcome, quota.Admitted)
	l.Advance(3 * l.Term)
	states, err := l.B.Usage(context.Background(), k, p)
	want(t, "error", err, nil)
	want(t, "free after a term", states[3].Remaining, 7)
	want(t, "an expired one cannot be renewed", lost.Slot.Renew(), false)
	lost.Slot.Release()
	want(t, "all came back", Drain(t, l.B, k, p, 100), 7)
	lost.Slot.Release()
	want(t, "an expired one frees nothing", Drain(t, l.B, k, p, 100), 0)
}

func slotRace(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "narrow", "read")
	var running, worst, admitted atomic.Int64
	var wg sync.WaitGroup
	for w := range 16 {
		lim := l.A
		if w%2 == 1 {
			lim = l.B
		}
		wg.Go(func() {
			for range 50 {
				d, err := lim.Take(context.Background(), quota.Ask{Key: k, Plan: p})
				if err != nil {
					t.Error(err)
					return
				}
				if !d.Allowed() {
					continue
				}
				n := running.Add(1)
				for m := worst.Load(); n > m && !worst.CompareAndSwap(m, n); m = worst.Load() {
				}
				admitted.Add(1)
				running.Add(-1)
				d.Slot.Release()
				d.Slot.Release()
			}
		})
	}
	wg.Wait()
	if worst.Load() > 7 || admitted.Load() == 0 {
		t.Fatalf("%d at once, %d in all", worst.Load(), admitted.Load())
	}
	want(t, "all places are free", Drain(t, l.A, k, p, 100), 7)
}

func nothings(t *testing.T, l Limiters) {
	k := Tenant(t)
	for class, outcome := range map[string]quota.Outcome{"probe": quota.Exempt, "dropped": quota.SwitchedOff} {
		p := Plan(t, "small", class)
		for range 300 {
			d := take(t, l.A, k, p)
			want(t, class, d.Outcome, outcome)
			d.Slot.Release()
		}
	}
	want(t, "nothing was charged", Drain(t, l.A, k, Plan(t, "small", "read"), 200), 90)
	// A class's own caps hold besides the tenant's.
	k, p := Tenant(t), Plan(t, "small", "expensive")
	want(t, "expensive at once", Drain(t, l.A, k, p, 100), 2)
	want(t, "policy", take(t, l.B, k, p).Policy.Name, "tenant-expensive-concurrent")
}

func refused(t *testing.T, l Limiters) {
	k, p := Tenant(t), Plan(t, "small", "read")
	for name, ask := range map[string]quota.Ask{
		"no key":    {Plan: p},
		"no plan":   {Key: k},
		"zero plan": {Key: k, Plan: &quota.Plan{}},
		"nothing":   {},
	} {
		if d, err := l.A.Take(context.Background(), ask); err == nil || d.Allowed() {
			t.Fatalf("%s: %v, %v", name, d.Outcome, err)
		}
		if _, err := l.A.Usage(context.Background(), ask.Key, ask.Plan); err == nil {
			t.Fatalf("%s: usage answered", name)
		}
	}
}

func usage(t *testing.T, l Limiters) {
	k := Tenant(t)
	u := User(t, k, uuid.New())
	p := Plan(t, "small", "read")
	show := func(k quota.Key) map[string]int64 {
		states, err := l.B.Usage(context.Background(), k, p)
		want(t, "error", err, nil)
		out := map[string]int64{}
		for _, s := range states {
			out[s.Policy.Name] = s.Remaining
		}
		return out
	}
	full := map[string]int64{"tenant-minute": 90, "tenant-hour": 100, "tenant-day": 150, "tenant-concurrent": 1000, "user-minute": 20}
	for range 100 {
		want(t, "untouched", show(u), full)
	}
	d := take(t, l.A, u, p)
	want(t, "after one", show(u), map[string]int64{"tenant-minute": 89, "tenant-hour": 99, "tenant-day": 149, "tenant-concurrent": 999, "user-minute": 19})
	d.Slot.Release()
	want(t, "released", show(u)["tenant-concurrent"], 1000)
	if _, shown := show(k)["user-minute"]; shown {
		t.Fatal("a tenant's key has no user's limits")
	}
}

// twoTenants has b, who knows a's tenant's user id, try to reach a's buckets.
func twoTenants(t *testing.T, l Limiters) {
	p := Plan(t, "small", "read")
	id := uuid.New()
	a, b := Tenant(t), Tenant(t)
	ua, ub := User(t, a, id), User(t, b, id)
	show := func(k quota.Key) string {
		states, err := l.A.Usage(context.Background(), k, p)
		want(t, "error", err, nil)
		var s string
		for _, st := range states {
			s += fmt.Sprintf("%s=%d ", st.Policy.Name, st.Remaining)
		}
		return s
	}
	untouched := show(ua)
	for range 30 {
		take(t, l.A, ub, p)
		take(t, l.B, b, p)
	}
	want(t, "b cannot overwrite a", show(ua), untouched)
	before := show(ub)
	for range 7 {
		take(t, l.A, ua, p)
	}
	want(t, "b cannot read or count a", show(ub), before)
	// A user whose id is the tenant's own id is not the tenant.
	odd := User(t, a, uuid.UUID(a.Tenant()))
	want(t, "a user named as the tenant", Drain(t, l.A, odd, p, 100), 20)
	want(t, "no user named as a tenant", show(User(t, b, uuid.UUID(a.Tenant()))) != show(odd), true)
}
