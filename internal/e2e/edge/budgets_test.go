package edge

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

type budgetView struct {
	Scope, Resource, Every, Period    string
	Limit, Spent, Reserved, Remaining int64
}

// budgetsOf is what GET /v1/usage shows, by scope and resource.
func budgetsOf(t *testing.T, r *replica, token string) map[string]budgetView {
	t.Helper()
	var v struct{ Budgets []budgetView }
	a := ask{to: r, path: "/v1/usage", token: token}.send(t).want(t, 200)
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatal(err)
	}
	out := map[string]budgetView{}
	for _, b := range v.Budgets {
		out[b.Scope+" "+b.Resource] = b
	}
	return out
}

// A tier's budgets are what the ledger keeps to and what usage shows, in one
// process and over replicas that share Redis.
func TestBudgetsAreShown(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) *world{
		"in process": func(t *testing.T) *world { return newWorld(t, nil) },
		"in Redis":   func(t *testing.T) *world { w, _ := twoOnRedis(t, nil); return w },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			write(t, w.tiers, strings.Replace(tiers, "  enhanced:\n", "  enhanced:\n    budgets: {tenant: {every: month, tokens: 1000}, user: {every: day, tokens: 600, requests: 50}}\n", 1))
			a := w.start(t, nil)
			b := a
			if name == "in Redis" {
				b = w.start(t, nil)
			}
			c, none := a.customer(t, "enhanced"), a.customer(t, "dedicated")
			_, _, colleague := a.person(t, c.room, policy.KindUser, "tenant_admin")
			if got := budgetsOf(t, a, none.token); len(got) != 0 {
				t.Errorf("a tier without budgets shows %+v", got)
			}
			tier, err := a.Tiers.Table().Tier("enhanced")
			if err != nil {
				t.Fatal(err)
			}
			caps := func() quota.Caps { return tier.Budgets.Caps(time.Now()) }
			account, err := quota.NewAccount(c.room.Scope().ID(), quota.Path{User: c.admin, Run: uuid.New()})
			if err != nil {
				t.Fatal(err)
			}
			r, err := a.Ledger.Reserve(t.Context(), account, caps(), quota.Amounts{Requests: 1, Tokens: 400}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if got := budgetsOf(t, b, c.token)["user tokens"]; got.Limit != 600 || got.Reserved != 400 || got.Remaining != 200 || got.Spent != 0 || got.Every != "day" {
				t.Errorf("reserved: %+v", got)
			}
			if _, err := b.Ledger.Reserve(t.Context(), account, caps(), quota.Amounts{Tokens: 201}, time.Minute); fault.CodeOf(err) != fault.Budget {
				t.Errorf("one token too many: %v", err)
			}
			if err := b.Ledger.Settle(t.Context(), r, quota.Amounts{Requests: 1, Tokens: 350}); err != nil {
				t.Fatal(err)
			}
			got := budgetsOf(t, b, c.token)
			for what, want := range map[string]budgetView{
				"user tokens":   {"user", "tokens", "day", time.Now().UTC().Format("2006-01-02"), 600, 350, 0, 250},
				"user requests": {"user", "requests", "day", time.Now().UTC().Format("2006-01-02"), 50, 1, 0, 49},
				"tenant tokens": {"tenant", "tokens", "month", time.Now().UTC().Format("2006-01"), 1000, 350, 0, 650},
			} {
				if got[what] != want {
					t.Errorf("%s: %+v, want %+v", what, got[what], want)
				}
			}
			theirs := budgetsOf(t, a, colleague)
			if theirs["user tokens"].Spent != 0 || theirs["tenant tokens"].Spent != 350 || len(theirs) != 3 {
				t.Errorf("a colleague sees %+v", theirs)
			}
		})
	}
}
