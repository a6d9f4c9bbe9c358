package e2e

import (
	"strings"
	"sync"
	"testing"

	"context"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// TestNoEscalation has everybody reach for more than they hold.
func TestNoEscalation(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss, clerk, dev1, pawn := c.person(t, "tenant_admin"), c.person(t, "org_admin"), c.person(t, "developer"), c.person(t, "viewer")
	for _, k := range []struct {
		who          *person
		method, path string
		body         any
		want         int
	}{
		{clerk, "POST", "/v1/users/{pawn}/roles", map[string]any{"role": "tenant_admin"}, 403},
		{clerk, "POST", "/v1/users/{clerk}/roles", map[string]any{"role": "tenant_admin"}, 403},
		{clerk, "POST", "/v1/users/{clerk}/roles", map[string]any{"role": "developer"}, 403},
		{clerk, "POST", "/v1/users/{clerk}/roles", map[string]any{"role": "operator"}, 403},
		{clerk, "POST", "/v1/users/{pawn}/roles", map[string]any{"role": "platform_admin"}, 403},
		{boss, "POST", "/v1/users/{pawn}/roles", map[string]any{"role": "platform_admin"}, 403},
		{boss, "POST", "/v1/users/{pawn}/roles", map[string]any{"role": "agent"}, 403},
		{boss, "POST", "/v1/users/{pawn}/roles", map[string]any{"role": "service_account"}, 403},
		{boss, "POST", "/v1/users/{boss}/roles", map[string]any{"role": "platform_admin"}, 403},
		{boss, "POST", "/v1/users", map[string]any{"email": "a@example.com", "roles": []string{"platform_admin"}}, 403},
		{clerk, "POST", "/v1/users", map[string]any{"email": "b@example.com", "roles": []string{"tenant_admin"}}, 403},
		{clerk, "POST", "/v1/users", map[string]any{"email": "c@example.com", "roles": []string{"viewer", "tenant_admin"}}, 403},
		{clerk, "DELETE", "/v1/users/{boss}/roles/tenant_admin", nil, 403},
		{clerk, "POST", "/v1/users/{boss}/reset-password", nil, 403},
		{clerk, "PATCH", "/v1/users/{boss}", map[string]any{"active": false}, 403},
		{clerk, "PATCH", "/v1/users/{boss}", map[string]any{"name": "Pawn"}, 403},
		{clerk, "DELETE", "/v1/users/{boss}", nil, 403},
		{clerk, "POST", "/v1/service-accounts", map[string]any{"name": "s1", "grants": []string{"agents.read"}}, 403},
		{clerk, "POST", "/v1/service-accounts", map[string]any{"name": "s2", "grants": []string{"users.read", "keys.rotate"}}, 403},
		{boss, "POST", "/v1/service-accounts", map[string]any{"name": "s3", "grants": []string{"platform.tenants.read"}}, 403},
		{boss, "POST", "/v1/service-accounts", map[string]any{"name": "s4", "grants": []string{"self.password"}}, 403},
		{boss, "POST", "/v1/service-accounts", map[string]any{"name": "s5", "grants": []string{"public.login"}}, 403},
		{dev1, "POST", "/v1/users/{dev}/roles", map[string]any{"role": "viewer"}, 403},
		{dev1, "POST", "/v1/service-accounts", map[string]any{"name": "s6", "grants": []string{"agents.read"}}, 403},
		{pawn, "PATCH", "/v1/users/{pawn}", map[string]any{"name": "Me"}, 403},
		// What they may do works, or the above would prove nothing.
		{clerk, "POST", "/v1/users/{pawn}/roles", map[string]any{"role": "developer"}, 204},
		{clerk, "DELETE", "/v1/users/{pawn}/roles/developer", nil, 204},
		{clerk, "POST", "/v1/service-accounts", map[string]any{"name": "s7", "grants": []string{"users.read"}}, 201},
		{clerk, "POST", "/v1/users", map[string]any{"email": "d@example.com", "roles": []string{"developer"}}, 201},
	} {
		path := strings.NewReplacer("{boss}", boss.id.String(), "{clerk}", clerk.id.String(), "{dev}", dev1.id.String(), "{pawn}", pawn.id.String()).Replace(k.path)
		a := do(t, k.method, k.who.token(t), path, k.body)
		if a.status != k.want {
			t.Errorf("%v: %s %s %v: %d, want %d: %.200s", k.who.roles, k.method, k.path, k.body, a.status, k.want, a.body)
		}
	}
	// An account that does more than its keeper is out of the keeper's reach.
	strong := c.machine(t, boss.token(t), "agents.read", "keys.rotate")
	do(t, "PATCH", clerk.token(t), "/v1/service-accounts/"+strong.id, map[string]any{"new_secret": true}).want(t, 403)
	do(t, "PATCH", clerk.token(t), "/v1/service-accounts/"+strong.id, map[string]any{"certificate": "spiffe://openclaw.local/clerk"}).want(t, 403)
	// A machine that may create machines still hands on nothing it lacks.
	maker := c.machine(t, boss.token(t), "service_accounts.create", "service_accounts.update", "users.create", "users.update", "roles.grant")
	tok := maker.login(t)
	for _, k := range []struct {
		path string
		body any
	}{
		{"/v1/service-accounts", map[string]any{"name": "child", "grants": []string{"agents.delete"}}},
		{"/v1/users", map[string]any{"email": "e@example.com", "roles": []string{"tenant_admin"}}},
		{"/v1/users/" + pawn.id.String() + "/roles", map[string]any{"role": "tenant_admin"}},
		{"/v1/users/" + boss.id.String() + "/reset-password", nil},
	} {
		post(t, tok, k.path, k.body).want(t, 403)
	}
	do(t, "PATCH", tok, "/v1/service-accounts/"+maker.id, map[string]any{"grants": []string{"agents.delete"}}).want(t, 403)
	u := get(t, boss.token(t), "/v1/users/"+clerk.id.String()).want(t, 200).json(t)
	if roles := u["roles"].([]any); len(roles) != 1 || roles[0] != "org_admin" {
		t.Errorf("org_admin ended with %v", roles)
	}
}

// TestLastAdmin keeps every tenant an administrator, whatever its
// administrators do to each other, and at once.
func TestLastAdmin(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	a := c.person(t, "tenant_admin")
	tok := a.token(t)
	path := "/v1/users/" + a.id.String()
	do(t, "DELETE", tok, path, nil).want(t, 409)
	do(t, "PATCH", tok, path, map[string]any{"active": false}).want(t, 409)
	do(t, "DELETE", tok, path+"/roles/tenant_admin", nil).want(t, 409)
	get(t, tok, "/v1/me").want(t, 200)

	for _, end := range []struct {
		method, path string
		body         any
	}{{"DELETE", "", nil}, {"PATCH", "", map[string]any{"active": false}}, {"DELETE", "/roles/tenant_admin", nil}} {
		c := newCustomer(t, "dedicated")
		x, y := c.person(t, "tenant_admin"), c.person(t, "tenant_admin")
		tx, ty := x.token(t), y.token(t)
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				tok, other := tx, y
				if i == 1 {
					tok, other = ty, x
				}
				_, _ = ask{to: []*replica{east, west}[i], method: end.method, path: "/v1/users/" + other.id.String() + end.path, token: tok, body: end.body}.try(context.Background())
			})
		}
		wg.Wait()
		var n int
		if err := root(t).QueryRow(t.Context(), `SELECT count(*) FROM user_roles r JOIN users u ON u.tenant_id = r.tenant_id AND u.id = r.user_id
			WHERE r.tenant_id = $1 AND r.role = 'tenant_admin' AND u.status = 'active'`, c.id.String()).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != 1 {
			t.Errorf("two administrators ended each other (%s %s) and left %d", end.method, end.path, n)
		}
	}
}

// TestOneTimePassword opens nothing but its own replacement.
func TestOneTimePassword(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin").token(t)
	a := post(t, boss, "/v1/users", map[string]any{"email": "first@example.com", "roles": []string{"tenant_admin"}}).want(t, 201)
	once := secret("a one-time password", a.str(t, "one_time_password"))
	if v := get(t, boss, "/v1/users/"+a.str(t, "id")).want(t, 200); strings.Contains(string(v.body), once) {
		t.Error("the one-time password is shown twice")
	}
	login := func(password string) answer {
		return post(t, "", "/v1/auth/login", map[string]any{"tenant": c.name, "email": "first@example.com", "password": password})
	}
	l := login(once).want(t, 200)
	if l.json(t)["password_change_required"] != true {
		t.Errorf("the login does not say that the password must change: %.200s", l.body)
	}
	tok := secret("an access token", l.str(t, "access_token"))
	fresh := secret("a refresh token", l.str(t, "refresh_token"))
	for _, o := range operations(t) {
		if o.public || o.action == policy.SelfPassword || o.action == policy.SelfRead || o.action == policy.SelfLogout {
			continue
		}
		if r := walk(t, east, nil, o, tok); r.status != 403 {
			t.Errorf("%s opens to a one-time password: %d %.200s", o, r.status, r.body)
		}
	}
	r := post(t, "", "/v1/auth/refresh", map[string]any{"refresh_token": fresh}).want(t, 200)
	tok = secret("an access token", r.str(t, "access_token"))
	secret("a refresh token", r.str(t, "refresh_token"))
	get(t, tok, "/v1/users").want(t, 403) // a refresh adds nothing

	change := func(from, to string) answer {
		return do(t, "PUT", tok, "/v1/me/password", map[string]any{"current_password": from, "new_password": to})
	}
	change("wrong", "a-better-horse-for-a-battery-9").want(t, 422)
	change(once, once).want(t, 422)
	change(once, "password").want(t, 422)
	next := secret("a password", "a-better-horse-for-a-battery-9")
	change(once, next).want(t, 204)
	get(t, tok, "/v1/me").want(t, 401)
	login(once).want(t, 401)
	l = login(next).want(t, 200)
	secret("a refresh token", l.str(t, "refresh_token"))
	get(t, secret("an access token", l.str(t, "access_token")), "/v1/users").want(t, 200)
}

// TestRenameDoesNotRevive races a rename, which read the user before, against
// the disabling: a name must not bring a user back.
func TestRenameDoesNotRevive(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin").token(t)
	for range 15 {
		p := c.person(t, "viewer")
		path := "/v1/users/" + p.id.String()
		var wg sync.WaitGroup
		var disabled answer
		for i := range 4 {
			wg.Go(func() {
				q := ask{to: []*replica{east, west}[i%2], method: "PATCH", path: path, token: boss, body: map[string]any{"name": uuid.NewString()}}
				if i == 1 {
					q.body = map[string]any{"active": false}
				}
				a, _ := q.try(context.Background())
				if i == 1 {
					disabled = a
				}
			})
		}
		wg.Wait()
		if disabled.status == 200 && get(t, boss, path).want(t, 200).json(t)["active"] != false {
			t.Fatal("a rename brought back a user whose disabling was acknowledged")
		}
	}
}
