package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// walk asks for an operation with nothing useful in it: whoever may ask gets
// past the policy and fails later, whoever may not is refused first.
func walk(t testing.TB, to *replica, client *http.Client, o operation, token string) answer {
	t.Helper()
	q := ask{to: to, client: client, method: o.method, path: o.at(uuid.NewString()), token: token}
	if o.body != nil {
		q.body = map[string]any{}
	}
	return q.send(t)
}

// TestMatrix compares every role on every operation with the policy's table.
func TestMatrix(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	admin := c.person(t, "tenant_admin")
	agent, _ := c.grow(t, admin.token(t), "matrix")
	account := c.machine(t, admin.token(t), "agents.read")
	house := &customer{tenant.House, "platform", dev.House}
	chief := house.person(t, "platform_admin")

	// A fresh token for each request: one of the operations ends sessions.
	tokens := map[policy.Role]func(testing.TB, policy.Action) string{
		policy.AgentRole: func(t testing.TB, _ policy.Action) string { return admin.agentToken(t, agent) },
		policy.ServiceAccount: func(t testing.TB, a policy.Action) string {
			return c.mint(t, authn.Grant{Subject: account.id, Kind: policy.KindService, Roles: policy.NewRoleSet(policy.ServiceAccount), Grants: policy.NewActionSet(a), Epoch: 1})
		},
		policy.PlatformAdmin: func(t testing.TB, _ policy.Action) string { return chief.token(t) },
	}
	for r := range policy.Roles() {
		if tokens[r] == nil {
			p := c.person(t, r.String())
			tokens[r] = func(t testing.TB, _ policy.Action) string { return p.token(t) }
		}
	}
	everyOther := func(t testing.TB, but policy.Action) string {
		var g policy.ActionSet
		for a := range policy.Actions() {
			if a != but && a.Audience() == policy.ForTenant {
				g = g.With(a)
			}
		}
		return c.mint(t, authn.Grant{Subject: account.id, Kind: policy.KindService, Roles: policy.NewRoleSet(policy.ServiceAccount), Grants: g, Epoch: 1})
	}

	seen := map[policy.Action]bool{}
	for _, o := range operations(t) {
		seen[o.action] = true
		t.Run(o.String(), func(t *testing.T) {
			t.Parallel()
			check := func(who string, allowed bool, a answer) {
				t.Helper()
				switch {
				// Behind the policy stands one more rule, which says so in other
				// words: nobody hands on power that they do not hold.
				case allowed && (a.status == 403 && strings.Contains(string(a.body), "you may not") || a.status == 401 && !o.public):
					t.Errorf("%s: the table allows it, the platform answers %d %.200s", who, a.status, a.body)
				case !allowed && a.status != 403:
					t.Errorf("%s: the table forbids it, the platform answers %d %.200s", who, a.status, a.body)
				case a.status >= 500:
					t.Errorf("%s: %d %.200s", who, a.status, a.body)
				}
			}
			for r := range policy.Roles() {
				cell := dev.Policy.Expected(r, o.action)
				a := walk(t, east, nil, o, tokens[r](t, o.action))
				switch cell {
				case "yes", "own", "model", "tool":
					check(r.String(), true, a)
				case "granted":
					check(r.String()+" with the grant", true, a)
					check(r.String()+" with every other grant", false, walk(t, east, nil, o, everyOther(t, o.action)))
				case "-":
					check(r.String(), false, a)
				case "channel":
					check(r.String()+" without the admin channel", false, a)
					check(r.String()+" from a listed address", true, walk(t, west, nil, o, tokens[r](t, o.action)))
				default:
					t.Errorf("%s: the table says %q, which this test does not know", r, cell)
				}
			}
			a := walk(t, east, nil, o, "")
			switch anonymous := dev.Policy.Expected(0, o.action); {
			case anonymous == "yes" != o.public:
				t.Errorf("the table says %q for nobody, and the document public=%t", anonymous, o.public)
			case !o.public && a.status != 401:
				t.Errorf("nobody: want 401, got %d %.200s", a.status, a.body)
			case o.public && (a.status == 403 || a.status >= 500):
				t.Errorf("nobody: a public operation answers %d %.200s", a.status, a.body)
			}
		})
	}
	if len(seen) < 25 {
		t.Errorf("the operations use %d actions only: %v", len(seen), slices.Collect(maps.Keys(seen)))
	}
}

// TestOperatorCertificate opens the platform's routes to the operator's
// certificate, and to nobody's token over the same connection.
func TestOperatorCertificate(t *testing.T) {
	t.Parallel()
	cert := newClient(&operator)
	t.Cleanup(cert.CloseIdleConnections)
	viewer := newCustomer(t, "dedicated").person(t, "tenant_admin")
	house := &customer{tenant.House, "platform", dev.House}
	chief := house.person(t, "platform_admin")
	n := 0
	for _, o := range operations(t) {
		if o.action.Audience() != policy.ForPlatform {
			continue
		}
		n++
		if a := walk(t, east, cert, o, ""); a.status == 401 || a.status == 403 || a.status >= 500 {
			t.Errorf("%s with the operator's certificate: %d %.200s", o, a.status, a.body)
		}
		if a := walk(t, east, cert, o, viewer.token(t)); a.status != 403 {
			t.Errorf("%s: a customer's token rides on the operator's certificate: %d", o, a.status)
		}
		if a := walk(t, east, cert, o, chief.token(t)); a.status != 403 {
			t.Errorf("%s: an unbound operator token becomes an admin channel by a certificate it is not bound to: %d", o, a.status)
		}
	}
	if n < 8 {
		t.Fatalf("%d platform operations only", n)
	}
}

// TestOwnAgent holds a run's token to its own agent's memories.
func TestOwnAgent(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	admin := c.person(t, "tenant_admin")
	tok := admin.token(t)
	mine, own := c.grow(t, tok, "mine")
	other, foreign := c.grow(t, tok, "theirs")
	run := admin.agentToken(t, mine)

	get(t, run, "/v1/memories/"+own).want(t, 200)
	get(t, run, "/v1/memories/"+foreign).want(t, 403)
	get(t, run, "/v1/memories?agent_id="+other).want(t, 403)
	do(t, "PATCH", run, "/v1/memories/"+foreign, map[string]any{"text": "x"}).want(t, 403)
	do(t, "DELETE", run, "/v1/memories/"+foreign, nil).want(t, 403)
	post(t, run, "/v1/memories", map[string]any{"agent_id": other, "text": "x"}).want(t, 403)
	post(t, run, "/v1/memories/search", map[string]any{"agent_id": other, "query": "invoice"}).want(t, 403)
	post(t, run, "/v1/memories", map[string]any{"text": "of the tenant"}).want(t, 403)
	post(t, run, "/v1/memories", map[string]any{"agent_id": mine, "text": marker}).want(t, 201)
	for name, a := range map[string]answer{
		"list":   get(t, run, "/v1/memories").want(t, 200),
		"search": post(t, run, "/v1/memories/search", map[string]any{"query": "invoice"}).want(t, 200),
	} {
		items := a.items(t)
		if len(items) == 0 {
			t.Errorf("%s shows nothing of the run's own agent", name)
		}
		for _, m := range items {
			if m["agent_id"] != mine {
				t.Errorf("%s shows a memory of %v to a run of %s", name, m["agent_id"], mine)
			}
		}
	}
	do(t, "PATCH", run, "/v1/memories/"+own, map[string]any{"text": marker + " changed"}).want(t, 200)
	do(t, "DELETE", run, "/v1/memories/"+own, nil).want(t, 204)
}
