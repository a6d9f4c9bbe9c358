package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// goodBody is a body that an operation accepts, so that a refusal is about the
// id and about nothing else. An operation that is missing here fails the test.
var goodBody = map[string]any{
	"login": map[string]any{"email": "nobody@example.com", "password": "x"}, "refresh": map[string]any{"refresh_token": "ocr_x"},
	"change-password": map[string]any{"current_password": "x", "new_password": "y"},
	"create-user":     map[string]any{"email": "new@example.com"}, "update-user": map[string]any{"name": "Stolen"},
	"grant-role":             map[string]any{"role": "viewer"},
	"create-service-account": map[string]any{"name": "new", "grants": []string{"agents.read"}}, "update-service-account": map[string]any{"new_secret": true},
	"create-tenant": map[string]any{"name": "stolen-tenant"}, "update-tenant": map[string]any{"tier": "standard"},
	"create-agent": map[string]any{"name": "new agent"}, "update-agent": map[string]any{"description": "stolen"},
	"create-memory": map[string]any{"text": "new"}, "update-memory": map[string]any{"text": "stolen"},
	"search-memories": map[string]any{"query": "invoice"},
	"inspect":         map[string]any{"text": "the weather is fine"}, "set-inspection-settings": map[string]any{"block_above": 0.6},
	"create-block": map[string]any{"prefix": "203.0.113.9", "seconds": 1, "reason": "test"},
	"hold-tenant":  map[string]any{"owner": "thief", "reason": "none"}, "retain-tenant": map[string]any{"days": 36500, "owner": "thief", "reason": "none"},
	"set-retention": map[string]any{"days": 36500, "owner": "thief", "reason": "none"},
}

// loose are the headers that differ between two answers to one question.
var loose = []string{"X-Request-Id", "Date", "Ratelimit", "Ratelimit-Policy", "Traceparent"}

// same reports how two answers differ, ids replaced, or "".
func same(a, b answer, idA, idB string) string {
	if a.status != b.status {
		return fmt.Sprintf("status %d and %d", a.status, b.status)
	}
	if x, y := bytes.ReplaceAll(a.body, []byte(idA), []byte("ID")), bytes.ReplaceAll(b.body, []byte(idB), []byte("ID")); !bytes.Equal(x, y) {
		return fmt.Sprintf("bodies %.200s and %.200s", x, y)
	}
	for k := range merged(a.header, b.header) {
		if !slices.Contains(loose, k) && !slices.Equal(a.header[k], b.header[k]) {
			return fmt.Sprintf("header %s: %q and %q", k, a.header[k], b.header[k])
		}
	}
	return ""
}

func merged(hs ...http.Header) http.Header {
	out := http.Header{}
	for _, h := range hs {
		for k, v := range h {
			out[k] = v
		}
	}
	return out
}

// TestCrossTenant has one tenant's administrator try the other's ids on every
// operation that takes one.
func TestCrossTenant(t *testing.T) {
	t.Parallel()
	db := root(t)
	victim, thief := newCustomer(t, "dedicated"), newCustomer(t, "dedicated")
	chief, burglar := victim.person(t, "tenant_admin"), thief.person(t, "tenant_admin")
	theirs := chief.token(t)
	agent, memory := victim.grow(t, theirs, "victim")
	mate := victim.person(t, "viewer")
	account := victim.machine(t, theirs, "agents.read")
	post(t, theirs, "/v1/agents", map[string]any{"name": "second", "metadata": map[string]any{"k": marker}}).want(t, 201)
	own := burglar.token(t)
	thief.grow(t, own, "thief")
	quiet(t, db, victim, theirs)
	before := dump(t, db, victim.id)

	ids := map[string]string{
		"users": mate.id.String(), "agents": agent, "memories": memory, "service-accounts": account.id, "tenants": victim.id.String(),
	}
	n := 0
	for _, o := range operations(t) {
		if !strings.Contains(o.path, "{id}") {
			continue
		}
		kind := strings.Split(o.path, "/")[2]
		id := ids[kind]
		if id == "" {
			t.Errorf("%s: this test has no %q of the victim's; teach it", o, kind)
			continue
		}
		var body any
		if o.body != nil {
			if body = goodBody[o.id]; body == nil {
				t.Errorf("%s (%s): this test has no good body; teach it", o, o.id)
				continue
			}
		}
		for _, head := range []http.Header{nil, {"If-Match": {`"1"`}}} {
			n++
			missing := uuid.Must(uuid.NewV7()).String()
			try := func(id string) answer {
				return ask{method: o.method, path: o.at(id), token: own, body: body, header: head}.send(t)
			}
			stolen, absent := try(id), try(missing)
			if diff := same(stolen, absent, id, missing); diff != "" {
				t.Errorf("%s %v: another tenant's id and a missing one differ: %s", o, head, diff)
			}
			want := []int{404, 422}
			if o.action.Audience() == policy.ForPlatform {
				want = []int{403}
			}
			if !slices.Contains(want, stolen.status) {
				t.Errorf("%s %v: status %d %.200s, want one of %v", o, head, stolen.status, stolen.body, want)
			}
		}
	}
	if n < 30 {
		t.Errorf("tried %d operations only", n)
	}

	// Ids that travel elsewhere than in the path.
	for name, q := range map[string]func(id string) answer{
		"agent_id of a new memory": func(id string) answer {
			return post(t, own, "/v1/memories", map[string]any{"agent_id": id, "text": "x"})
		},
		"agent_id of a search": func(id string) answer {
			return post(t, own, "/v1/memories/search", map[string]any{"agent_id": id, "query": "invoice"})
		},
		"agent_id of a listing": func(id string) answer { return get(t, own, "/v1/memories?agent_id="+id) },
		"resource of the log":   func(id string) answer { return get(t, own, "/v1/audit/events?resource=agent/"+id) },
		"actor of the log":      func(id string) answer { return get(t, own, "/v1/audit/events?actor="+id) },
	} {
		for _, id := range []string{agent, memory, chief.id.String(), account.id} {
			missing := uuid.Must(uuid.NewV7()).String()
			if diff := same(q(id), q(missing), id, missing); diff != "" {
				t.Errorf("%s: another tenant's id and a missing one differ: %s", name, diff)
			}
		}
	}

	settle(t, db, victim.id)
	if after := dump(t, db, victim.id); after != before {
		t.Errorf("the victim's rows changed:\n%s", firstDifference(before, after))
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "- " + x[i] + "\n+ " + y[i]
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}

// TestNothingOfTheOther reads everything that lists, counts or searches, with
// every cursor, name and address that the other tenant would give.
func TestNothingOfTheOther(t *testing.T) {
	t.Parallel()
	victim, thief := newCustomer(t, "dedicated"), newCustomer(t, "dedicated")
	chief, burglar := victim.person(t, "tenant_admin"), thief.person(t, "tenant_admin")
	theirs, own := chief.token(t), burglar.token(t)
	victim.grow(t, theirs, "secretword")
	victim.grow(t, theirs, "secretword2")
	account := victim.machine(t, theirs, "agents.read")
	thief.grow(t, own, "plain")
	forbidden := []string{"secretword", victim.id.String(), chief.id.String(), chief.email, victim.name, account.id}

	cursors := []string{chief.email, account.id, "0", "1", "99"}
	for _, list := range []string{"/v1/agents", "/v1/memories", "/v1/users", "/v1/service-accounts", "/v1/audit/events"} {
		if c := get(t, theirs, list+"?limit=1").want(t, 200).str(t, "next_cursor"); c != "" {
			cursors = append(cursors, c)
		}
	}
	look := func(what string, a answer) {
		t.Helper()
		for _, f := range forbidden {
			if bytes.Contains(a.body, []byte(f)) || strings.Contains(fmt.Sprint(a.header), f) {
				t.Errorf("%s shows %q of the other tenant: %.300s", what, f, a.body)
			}
		}
		if a.status >= 500 {
			t.Errorf("%s: %d %.200s", what, a.status, a.body)
		}
	}
	for _, o := range operations(t) {
		if o.method != "GET" || o.public || strings.Contains(o.path, "{") {
			continue
		}
		look(o.path, get(t, own, o.path))
		for _, p := range o.params {
			if p.In == "query" && p.Name == "cursor" {
				for _, c := range cursors {
					look(o.path+" with cursor "+c, get(t, own, o.path+"?cursor="+c))
				}
			}
		}
	}
	for _, q := range []string{"secretword", "secretword invoice", `"secretword invoice"`, "-plain", "invoice OR secretword"} {
		a := post(t, own, "/v1/memories/search", map[string]any{"query": q})
		look("search "+q, a)
	}
	look("tag", get(t, own, "/v1/memories?tag=secretword"))
	if n := len(get(t, own, "/v1/memories?tag=secretword").items(t)); n != 0 {
		t.Errorf("the other tenant's tag finds %d memories", n)
	}
	// A name that is taken elsewhere is free here: a conflict would tell.
	post(t, own, "/v1/agents", map[string]any{"name": "agent secretword"}).want(t, 201)
	post(t, own, "/v1/users", map[string]any{"email": chief.email}).want(t, 201)
	m := get(t, theirs, "/v1/service-accounts/"+account.id).str(t, "name")
	post(t, own, "/v1/service-accounts", map[string]any{"name": m, "grants": []string{"agents.read"}}).want(t, 201)

	// The thief's log knows the thief alone.
	for _, e := range events(t, own) {
		if a, _ := e["actor"].(map[string]any); a["id"] == chief.id.String() || a["id"] == account.id {
			t.Errorf("an event of the other tenant's actor: %v", e)
		}
	}
}

// TestCrossTenantCredentials moves credentials between tenants.
func TestCrossTenantCredentials(t *testing.T) {
	t.Parallel()
	victim, thief := newCustomer(t, "dedicated"), newCustomer(t, "dedicated")
	chief, burglar := victim.person(t, "tenant_admin"), thief.person(t, "tenant_admin")
	account := victim.machine(t, chief.token(t), "agents.read")

	// The right password in the wrong tenant.
	a := post(t, "", "/v1/auth/login", map[string]string{"tenant": thief.name, "email": chief.email, "password": passwordOfAll}).want(t, 401)
	b := post(t, "", "/v1/auth/login", map[string]string{"tenant": thief.name, "email": burglar.email, "password": "wrong"}).want(t, 401)
	c := post(t, "", "/v1/auth/login", map[string]string{"tenant": "no-such-tenant", "email": burglar.email, "password": "wrong"}).want(t, 401)
	for _, x := range []answer{b, c} {
		if diff := same(a, x, "-", "-"); diff != "" {
			t.Errorf("failed logins differ: %s", diff)
		}
	}
	// A client id whose halves belong to two tenants.
	mixed := thief.id.String() + "." + account.id
	x := form(t, east, "/oauth/token", "grant_type=client_credentials", mixed, account.secret).want(t, 401)
	y := form(t, east, "/oauth/token", "grant_type=client_credentials", account.client, "ocs_wrong").want(t, 401)
	z := form(t, east, "/oauth/token", "grant_type=client_credentials", thief.id.String()+"."+uuid.NewString(), account.secret).want(t, 401)
	for _, o := range []answer{y, z} {
		if diff := same(x, o, "-", "-"); diff != "" {
			t.Errorf("failed client logins differ: %s", diff)
		}
	}
	// A refresh token with another tenant's id in front.
	_, refresh := chief.login(t)
	swapped := swapTenant(t, refresh, thief.id)
	post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": swapped}).want(t, 401)
	form(t, east, "/oauth/revoke", "token="+swapped).want(t, 200)
	post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": refresh}).want(t, 200)
}

// TestTimingClasses reports how long another tenant's id and a missing one
// take. It fails on a gross difference only: the machine is not ours alone.
func TestTimingClasses(t *testing.T) {
	victim, thief := newCustomer(t, "dedicated"), newCustomer(t, "dedicated")
	theirs, own := victim.person(t, "tenant_admin").token(t), thief.person(t, "tenant_admin").token(t)
	agent, memory := victim.grow(t, theirs, "clock")
	thief.grow(t, own, "clock")
	for name, path := range map[string][2]string{"agent": {"/v1/agents/", agent}, "memory": {"/v1/memories/", memory}} {
		var foreign, missing []time.Duration
		for range 60 {
			foreign = append(foreign, get(t, own, path[0]+path[1]).want(t, 404).took)
			missing = append(missing, get(t, own, path[0]+uuid.Must(uuid.NewV7()).String()).want(t, 404).took)
		}
		slices.Sort(foreign)
		slices.Sort(missing)
		f, m := foreign[30], missing[30]
		t.Logf("%s: median of another tenant's id %v, of a missing one %v; quartiles %v-%v and %v-%v", name, f, m, foreign[15], foreign[45], missing[15], missing[45])
		if f > 3*m || m > 3*f {
			t.Errorf("%s: %v and %v are two classes", name, f, m)
		}
	}
}
