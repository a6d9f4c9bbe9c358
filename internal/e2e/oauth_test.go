package e2e

import (
	"net/url"
	"strings"
	"testing"
)

// TestClientCredentials logs machines in and holds them to their grants.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin").token(t)
	m := c.machine(t, boss, "memories.read", "memories.create")

	basic := form(t, east, "/oauth/token", "grant_type=client_credentials", m.client, m.secret).want(t, 200)
	posted := form(t, west, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {m.client}, "client_secret": {m.secret}}.Encode()).want(t, 200)
	for _, a := range []answer{basic, posted} {
		tok := secret("an access token", a.str(t, "access_token"))
		if a.str(t, "refresh_token") != "" {
			t.Error("a machine gets a refresh token (RFC 6749, section 4.4.3)")
		}
		if a.str(t, "token_type") != "Bearer" || a.json(t)["expires_in"].(float64) < 890 || a.json(t)["expires_in"].(float64) > 900 || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("token answer: %.200s, Cache-Control %q", a.body[:20], a.header.Get("Cache-Control"))
		}
		post(t, tok, "/v1/memories", map[string]any{"text": marker}).want(t, 201)
		get(t, tok, "/v1/memories").want(t, 200)
		for _, path := range []string{"/v1/agents", "/v1/users", "/v1/audit/events", "/v1/service-accounts", "/v1/me", "/v1/tenant", "/v1/tenants"} {
			get(t, tok, path).want(t, 403)
		}
		post(t, tok, "/v1/memories/search", map[string]any{"query": "x"}).want(t, 403)
		post(t, tok, "/v1/auth/logout", nil).want(t, 403)
	}

	grant := "grant_type=client_credentials"
	for name, a := range map[string]answer{
		"wrong secret":            form(t, east, "/oauth/token", grant, m.client, "ocs_wrong"),
		"empty secret":            form(t, east, "/oauth/token", grant, m.client, ""),
		"no client":               form(t, east, "/oauth/token", grant),
		"client of no tenant":     form(t, east, "/oauth/token", grant, m.id, m.secret),
		"client with NUL":         form(t, east, "/oauth/token", grant, m.client+"%00", m.secret),
		"bad escapes":             form(t, east, "/oauth/token", grant, "%zz", "%zz"),
		"secret in both":          form(t, east, "/oauth/token", grant+"&client_secret=x", m.client, m.secret),
		"grant type twice":        form(t, east, "/oauth/token", grant+"&"+grant, m.client, m.secret),
		"password grant":          form(t, east, "/oauth/token", "grant_type=password&username=a&password=b", m.client, m.secret),
		"no grant type":           form(t, east, "/oauth/token", "", m.client, m.secret),
		"query":                   form(t, east, "/oauth/token?grant_type=client_credentials", grant, m.client, m.secret),
		"JSON":                    post(t, "", "/oauth/token", map[string]any{"grant_type": "client_credentials"}),
		"broken form":             form(t, east, "/oauth/token", "grant_type=%zz", m.client, m.secret),
		"semicolons":              form(t, east, "/oauth/token", "grant_type=client_credentials;x=1", m.client, m.secret),
		"large form":              form(t, east, "/oauth/token", grant+"&x="+strings.Repeat("a", 20_000), m.client, m.secret),
		"introspection by nobody": form(t, east, "/oauth/introspect", "token=x"),
		"revocation of nothing":   form(t, east, "/oauth/revoke", ""),
	} {
		if bad := refusedWell(a); bad != "" {
			t.Errorf("%s: %s: %.200s", name, bad, a.body)
		}
	}

	// A new secret ends the old one and its tokens, on both replicas.
	old := m.login(t)
	a := do(t, "PATCH", boss, "/v1/service-accounts/"+m.id, map[string]any{"new_secret": true}).want(t, 200)
	fresh := secret("a client secret", a.str(t, "client_secret"))
	if fresh == "" || fresh == m.secret {
		t.Error("no new secret")
	}
	get(t, old, "/v1/memories").want(t, 401)
	form(t, east, "/oauth/token", grant, m.client, m.secret).want(t, 401)
	m.secret = fresh
	tok := m.login(t)
	// So does disabling, and so do other grants.
	do(t, "PATCH", boss, "/v1/service-accounts/"+m.id, map[string]any{"grants": []string{"agents.read"}}).want(t, 200)
	get(t, tok, "/v1/memories").want(t, 401)
	tok = m.login(t)
	get(t, tok, "/v1/memories").want(t, 403)
	get(t, tok, "/v1/agents").want(t, 200)
	do(t, "PATCH", boss, "/v1/service-accounts/"+m.id, map[string]any{"active": false}).want(t, 200)
	get(t, tok, "/v1/agents").want(t, 401)
	form(t, east, "/oauth/token", grant, m.client, m.secret).want(t, 401)
	do(t, "DELETE", boss, "/v1/service-accounts/"+m.id, nil).want(t, 204)
	form(t, east, "/oauth/token", grant, m.client, m.secret).want(t, 401)
}

// TestIntrospection tells a client of its own tenant's tokens alone.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	c, other := newCustomer(t, "dedicated"), newCustomer(t, "dedicated")
	person := c.person(t, "tenant_admin")
	boss := person.token(t)
	m := c.machine(t, boss, "agents.read")
	spy := other.machine(t, other.person(t, "tenant_admin").token(t), "agents.read")

	ask := func(m *machine, token string) map[string]any {
		return form(t, east, "/oauth/introspect", url.Values{"token": {token}}.Encode(), m.client, m.secret).want(t, 200).json(t)
	}
	access, refresh := person.login(t)
	if v := ask(m, access); v["active"] != true || v["sub"] != person.id.String() || v["tenant_id"] != c.id.String() {
		t.Errorf("an own token: %v", v)
	}
	own := m.login(t)
	if v := ask(m, own); v["active"] != true || v["scope"] != "agents.read" {
		t.Errorf("a machine's token: %v", v)
	}
	ended := c.person(t, "viewer")
	dead := ended.token(t)
	post(t, dead, "/v1/auth/logout", nil).want(t, 204)
	for name, v := range map[string]map[string]any{
		"another tenant's": ask(spy, access), "ended": ask(m, dead), "refresh": ask(m, refresh), "garbage": ask(m, "x.y.z"), "nothing": ask(m, ""), "tampered": ask(m, access+"A"),
	} {
		if len(v) != 1 || v["active"] != false {
			t.Errorf("%s: introspection says %v", name, v)
		}
	}
	// Revoking what is no token of ours is no error and no news (RFC 7009, 2.2).
	for _, tok := range []string{"x", "a.b.c", "ocr_" + strings.Repeat("A", 64), access + "A"} {
		form(t, east, "/oauth/revoke", url.Values{"token": {tok}}.Encode()).want(t, 200)
	}
	get(t, access, "/v1/me").want(t, 200)
	form(t, east, "/oauth/revoke", url.Values{"token": {access}}.Encode()).want(t, 200)
	if v := ask(m, access); v["active"] != false {
		t.Errorf("a revoked token: %v", v)
	}
}
