package quotatest

import (
	"context"
	"errors"
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

// Ledgers is a fresh, empty ledger seen through two replicas (the same one
// twice where there is only one), and a hand on its clock.
type Ledgers struct {
	A, B    quota.Ledger
	Advance func(time.Duration)
}

// Ledger runs the contract of quota.Ledger.
func Ledger(t *testing.T, open func(t *testing.T) Ledgers) {
	for name, f := range map[string]func(*testing.T, Ledgers){
		"reserve and settle": reserveSettle,
		"every scope":        everyScope,
		"overrun":            overrun,
		"expiry":             expiry,
		"settle once":        settleOnce,
		"parallel":           parallelReserve,
		"periods":            periods,
		"refused":            ledgerRefused,
		"two tenants":        ledgerTwoTenants,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, open(t))
		})
	}
}

var ctx = context.Background()

func account(t testing.TB, id tenant.ID, p quota.Path) quota.Account {
	t.Helper()
	a, err := quota.NewAccount(id, p)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func path() quota.Path { return quota.Path{User: uuid.New(), Agent: uuid.New(), Run: uuid.New()} }

// caps gives tokens to each scope, no limit on requests, and none of the rest.
func caps(run, agent, user, ten int64) quota.Caps {
	c := func(n int64) quota.Cap {
		return quota.Cap{Limit: quota.Amounts{Requests: quota.NoLimit, Tokens: n}, Period: quota.Lifetime()}
	}
	return quota.Caps{Run: c(run), Agent: c(agent), User: c(user), Tenant: c(ten)}
}

func tokens(n int64) quota.Amounts { return quota.Amounts{Requests: 1, Tokens: n} }

func reserve(t testing.TB, l quota.Ledger, a quota.Account, c quota.Caps, n int64) quota.Reservation {
	t.Helper()
	r, err := l.Reserve(ctx, a, c, tokens(n), time.Minute)
	if err != nil {
		t.Fatalf("reserve %d: %v", n, err)
	}
	return r
}

func refuses(t testing.TB, l quota.Ledger, a quota.Account, c quota.Caps, n int64, scope quota.Scope) {
	t.Helper()
	_, err := l.Reserve(ctx, a, c, tokens(n), time.Minute)
	var x *quota.Exceeded
	if fault.CodeOf(err) != fault.Budget || !errors.As(err, &x) || x.Scope != scope || x.Resource != "tokens" {
		t.Fatalf("reserve %d: %v (%+v), want a refusal by the %s", n, err, x, scope)
	}
}

// show is spent/reserved tokens per scope.
func show(t testing.TB, l quota.Ledger, a quota.Account, c quota.Caps) string {
	t.Helper()
	bs, err := l.Balance(ctx, a, c)
	if err != nil {
		t.Fatal(err)
	}
	var s string
	for _, b := range bs {
		s += fmt.Sprintf("%s %d/%d ", b.Scope, b.Spent.Tokens, b.Reserved.Tokens)
	}
	return s
}

func reserveSettle(t *testing.T, l Ledgers) {
	a, c := account(t, tenant.NewID(), path()), caps(100, 200, 300, 400)
	want(t, "empty", show(t, l.A, a, c), "run 0/0 agent 0/0 user 0/0 tenant 0/0 ")
	r := reserve(t, l.A, a, c, 60)
	want(t, "reserved", show(t, l.B, a, c), "run 0/60 agent 0/60 user 0/60 tenant 0/60 ")
	refuses(t, l.B, a, c, 41, quota.RunScope)
	s := reserve(t, l.B, a, c, 40)
	want(t, "error", l.B.Settle(ctx, r, tokens(10)), nil) // by another replica
	want(t, "settled", show(t, l.A, a, c), "run 10/40 agent 10/40 user 10/40 tenant 10/40 ")
	want(t, "error", l.A.Settle(ctx, s, quota.Amounts{}), nil)
	want(t, "released", show(t, l.A, a, c), "run 10/0 agent 10/0 user 10/0 tenant 10/0 ")
	bs, _ := l.A.Balance(ctx, a, c)
	want(t, "left", bs[0].Left(), quota.Amounts{Requests: quota.NoLimit, Tokens: 90})
	want(t, "requests", bs[0].Spent.Requests, 1)
	_, err := l.A.Reserve(ctx, a, c, quota.Amounts{Money: 1}, time.Minute)
	want(t, "no money at all", fault.CodeOf(err), fault.Budget)
}

// everyScope: a refusal anywhere leaves nothing anywhere.
func everyScope(t *testing.T, l Ledgers) {
	id, p := tenant.NewID(), path()
	a := account(t, id, p)
	for i, c := range []quota.Caps{caps(5, 9, 9, 9), caps(9, 5, 9, 9), caps(9, 9, 5, 9), caps(9, 9, 9, 5)} {
		refuses(t, l.A, a, c, 6, quota.Scope(i))
	}
	want(t, "nothing is set aside", show(t, l.B, a, caps(9, 9, 9, 9)), "run 0/0 agent 0/0 user 0/0 tenant 0/0 ")

	// Scopes above are shared, scopes beside are not.
	c := caps(10, 20, 30, 40)
	other := account(t, id, quota.Path{User: p.User, Agent: p.Agent, Run: uuid.New()})
	want(t, "error", l.A.Settle(ctx, reserve(t, l.A, a, c, 10), tokens(10)), nil)
	want(t, "another run", show(t, l.A, other, c), "run 0/0 agent 10/0 user 10/0 tenant 10/0 ")
	reserve(t, l.B, other, c, 10)
	third := account(t, id, quota.Path{User: p.User, Agent: p.Agent, Run: uuid.New()})
	refuses(t, l.A, third, c, 1, quota.AgentScope)
	person := account(t, id, quota.Path{User: p.User}) // no agent, no run
	reserve(t, l.A, person, c, 10)
	refuses(t, l.A, person, c, 1, quota.UserScope)
	want(t, "only its scopes", show(t, l.A, person, c), "user 10/20 tenant 10/20 ")
}

func overrun(t *testing.T, l Ledgers) {
	a, c := account(t, tenant.NewID(), path()), caps(100, 200, 300, 400)
	r := reserve(t, l.A, a, c, 10)
	want(t, "error", l.A.Settle(ctx, r, tokens(130)), nil)
	want(t, "charged", show(t, l.B, a, c), "run 130/0 agent 130/0 user 130/0 tenant 130/0 ")
	refuses(t, l.B, a, c, 1, quota.RunScope)
	bs, _ := l.A.Balance(ctx, a, c)
	want(t, "left", bs[0].Left().Tokens, -30)
	// What is not asked for is not in the way.
	if _, err := l.A.Reserve(ctx, a, c, quota.Amounts{Requests: 1}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func expiry(t *testing.T, l Ledgers) {
	a, c := account(t, tenant.NewID(), path()), caps(100, 200, 300, 400)
	crashed := reserve(t, l.A, a, c, 90)
	_ = reserve(t, l.A, a, c, 10)
	l.Advance(59 * time.Second)
	refuses(t, l.B, a, c, 1, quota.RunScope)
	l.Advance(time.Second)
	want(t, "returned, as seen", show(t, l.B, a, c), "run 0/0 agent 0/0 user 0/0 tenant 0/0 ")
	alive := reserve(t, l.B, a, c, 100)
	want(t, "returned", show(t, l.A, a, c), "run 0/100 agent 0/100 user 0/100 tenant 0/100 ")
	// Not crashed, only late: what was used is charged.
	want(t, "error", l.A.Settle(ctx, crashed, tokens(25)), nil)
	want(t, "error", l.B.Settle(ctx, crashed, tokens(25)), nil)
	want(t, "charged once", show(t, l.A, a, c), "run 25/100 agent 25/100 user 25/100 tenant 25/100 ")
	want(t, "error", l.A.Settle(ctx, alive, tokens(1)), nil)
	want(t, "settled", show(t, l.A, a, c), "run 26/0 agent 26/0 user 26/0 tenant 26/0 ")
}

func settleOnce(t *testing.T, l Ledgers) {
	a, c := account(t, tenant.NewID(), path()), caps(1000, 1000, 1000, 1000)
	r, keep := reserve(t, l.A, a, c, 60), reserve(t, l.A, a, c, 7)
	var wg sync.WaitGroup
	for i := range 16 {
		lim := l.A
		if i%2 == 1 {
			lim = l.B
		}
		wg.Go(func() {
			if err := lim.Settle(ctx, r, tokens(50)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// The same reservation as a process knows it that has not seen it settled.
	twin := quota.NewReservation(r.ID(), a, mustEntries(t, a, c), tokens(60))
	want(t, "error", l.B.Settle(ctx, twin, tokens(50)), nil)
	want(t, "once", show(t, l.A, a, c), "run 50/7 agent 50/7 user 50/7 tenant 50/7 ")
	_ = keep
}

func parallelReserve(t *testing.T, l Ledgers) {
	id, user := tenant.NewID(), uuid.New()
	c := caps(1000, 1000, 100, 150)
	var got atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		lim := l.A
		if i%2 == 1 {
			lim = l.B
		}
		p := path()
		if i < 8 {
			p.User = user // eight share a user's 100; all share the tenant's 150
		}
		a := account(t, id, p)
		wg.Go(func() {
			for range 25 {
				_, err := lim.Reserve(ctx, a, c, tokens(1), time.Minute)
				switch fault.CodeOf(err) {
				case "":
					got.Add(1)
				case fault.Budget:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want(t, "reserved", got.Load(), 150)
	bs, err := l.A.Balance(ctx, account(t, id, quota.Path{User: user}), c)
	want(t, "error", err, nil)
	want(t, "tenant", bs[1].Reserved.Tokens, 150)
	if n := bs[0].Reserved.Tokens; n > 100 {
		t.Fatalf("the user has %d", n)
	}
}

func periods(t *testing.T, l Ledgers) {
	a := account(t, tenant.NewID(), quota.Path{})
	at := func(p quota.Period) quota.Caps {
		return quota.Caps{Tenant: quota.Cap{Limit: quota.Amounts{Requests: 9, Tokens: 10}, Period: p}}
	}
	day := time.Date(2026, 1, 31, 23, 59, 0, 0, time.UTC)
	for _, p := range []quota.Period{quota.Day(day), quota.Day(day.Add(time.Minute)), quota.Month(day), quota.Month(day.Add(time.Minute)), quota.Lifetime()} {
		want(t, "error", l.A.Settle(ctx, reserve(t, l.A, a, at(p), 10), tokens(10)), nil)
		refuses(t, l.B, a, at(p), 1, quota.TenantScope)
	}
	want(t, "a day is UTC's", quota.Day(day.In(time.FixedZone("", 3600))).String(), "2026-01-31")
}

func ledgerRefused(t *testing.T, l Ledgers) {
	a, c := account(t, tenant.NewID(), path()), caps(10, 10, 10, 10)
	noPeriod := c
	noPeriod.Agent.Period = quota.Period{}
	for name, f := range map[string]func() error{
		"no account":     func() error { _, err := l.A.Reserve(ctx, quota.Account{}, c, tokens(1), time.Minute); return err },
		"no caps":        func() error { _, err := l.A.Reserve(ctx, a, quota.Caps{}, tokens(1), time.Minute); return err },
		"no period":      func() error { _, err := l.A.Reserve(ctx, a, noPeriod, tokens(1), time.Minute); return err },
		"negative":       func() error { _, err := l.A.Reserve(ctx, a, c, tokens(-1), time.Minute); return err },
		"huge":           func() error { _, err := l.A.Reserve(ctx, a, c, tokens(1<<62), time.Minute); return err },
		"no term":        func() error { _, err := l.A.Reserve(ctx, a, c, tokens(1), 0); return err },
		"long term":      func() error { _, err := l.A.Reserve(ctx, a, c, tokens(1), 48*time.Hour); return err },
		"no reservation": func() error { return l.A.Settle(ctx, quota.Reservation{}, tokens(1)) },
		"negative settlement": func() error {
			return l.A.Settle(ctx, reserve(t, l.A, a, c, 1), tokens(-5))
		},
		"huge settlement": func() error {
			return l.A.Settle(ctx, reserve(t, l.A, a, c, 1), tokens(1<<62))
		},
		"balance of nobody": func() error { _, err := l.A.Balance(ctx, quota.Account{}, c); return err },
	} {
		if f() == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	want(t, "nothing was spent", show(t, l.A, a, c), "run 0/2 agent 0/2 user 0/2 tenant 0/2 ")
}

// ledgerTwoTenants has b, who knows every id of a, try to read, count,
// overwrite and enumerate a's budgets.
func ledgerTwoTenants(t *testing.T, l Ledgers) {
	p := path()
	ta, tb := tenant.NewID(), tenant.NewID()
	a, b := account(t, ta, p), account(t, tb, p)
	c := caps(100, 100, 100, 100)
	ra := reserve(t, l.A, a, c, 80)
	want(t, "b reads nothing", show(t, l.B, b, c), "run 0/0 agent 0/0 user 0/0 tenant 0/0 ")
	rb := reserve(t, l.B, b, c, 100)
	want(t, "b counts only itself", show(t, l.A, b, c), "run 0/100 agent 0/100 user 0/100 tenant 0/100 ")
	// b settles a's reservation under its own name, whatever its id.
	forged := quota.NewReservation(ra.ID(), b, mustEntries(t, b, c), tokens(80))
	_ = l.B.Settle(ctx, forged, tokens(1))
	want(t, "a's reservation stands", show(t, l.A, a, c), "run 0/80 agent 0/80 user 0/80 tenant 0/80 ")
	want(t, "error", l.A.Settle(ctx, ra, tokens(80)), nil)
	want(t, "error", l.B.Settle(ctx, rb, tokens(0)), nil)
	want(t, "a settles", show(t, l.A, a, c), "run 80/0 agent 80/0 user 80/0 tenant 80/0 ")
	// A user of b who is named as tenant a.
	odd := account(t, tb, quota.Path{User: uuid.UUID(ta)})
	want(t, "names are no keys", show(t, l.B, odd, c)[:9], "user 0/0 ")
}

func mustEntries(t testing.TB, a quota.Account, c quota.Caps) []quota.Entry {
	t.Helper()
	e, err := a.Entries(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
