package edge

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/app"
)

// Each listener has its own mode, and the operators' routes are on one of them.
func TestListenersHaveTheirOwnModes(t *testing.T) {
	t.Parallel()
	stranger := newAuthority(t, "somebody's").client(t, "spiffe://openclaw.local/operator/me")
	for _, x := range []struct{ api, admin string }{{"off", "required"}, {"optional", "optional"}, {"required", "off"}} {
		t.Run(x.api+" and "+x.admin, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, map[string]string{"CLIENT_CERTS": x.api, "ADMIN_CLIENT_CERTS": x.admin, "ADMIN_LISTEN": "127.0.0.1:0", "ADMIN_IP_ALLOWLIST": "127.0.0.1"})
			a := w.start(t, nil)
			b := a.administration(t)
			op, c := a.operator(t), a.customer(t, "dedicated")
			for mode, r := range map[string]*replica{x.api: a, x.admin: b} {
				for what, in := range map[string]bool{
					"none":           refusedAtTLS(t, r, nil) == (mode == "required"),
					"a stranger's":   refusedAtTLS(t, r, &stranger) == (mode != "off"),
					"the operator's": !refusedAtTLS(t, r, &op.cert),
				} {
					if !in {
						t.Errorf("%s, certificate %s: the handshake ends the wrong way", mode, what)
					}
				}
			}
			api, admin := closing(t, a.dial(&op.cert, nil)), closing(t, b.dial(&op.cert, nil))
			nowhere := ask{to: a, client: api, path: "/v1/no-such-thing", token: op.token}.send(t).want(t, 404)
			for _, path := range []string{"/v1/tenants", "/v1/blocks", "/v1/tenants/" + c.room.Scope().ID().String()} {
				// Allowed twice over, by certificate and by address, and not there.
				got := ask{to: a, client: api, path: path, token: op.token}.send(t).want(t, 404)
				if problem(got) != problem(nowhere) {
					t.Errorf("%s answers %s, a path that does not exist %s", path, got.body, nowhere.body)
				}
				ask{to: b, client: admin, path: path, token: op.token}.send(t).want(t, 200)
			}
			ask{to: a, client: api, method: "PUT", path: "/v1/tenants", token: op.token}.send(t).want(t, 404) // not 405 either
			if x.admin != "off" {
				ask{to: b, client: admin, path: "/v1/tenants"}.send(t).want(t, 200) // the certificate alone
			}
			// What is not the operators' is on both, and being there makes nobody one.
			ask{to: a, client: api, path: "/v1/tenant", token: c.token}.send(t).want(t, 200)
			ask{to: b, client: admin, path: "/v1/tenant", token: c.token}.send(t).want(t, 200)
			ask{to: b, client: admin, path: "/v1/tenants", token: c.token}.send(t).want(t, 403)
		})
	}
}

// problem is the answer without what differs from request to request.
func problem(a answer) string {
	return a.code() + " " + a.header.Get("Content-Type")
}

// Files change under both listeners: a revoked operator is out on an open
// connection, a new authority's comes in.
func TestAdminListenerFollowsTheFiles(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	w := newWorld(t, map[string]string{"CLIENT_CERTS": "off", "ADMIN_LISTEN": "127.0.0.1:0"})
	clients, crl := filepath.Join(w.dir, "clients.pem"), filepath.Join(w.dir, "clients.crl")
	w.env["CLIENT_CA_FILE"], w.env["CLIENT_CRL_FILE"] = clients, crl
	write(t, clients, first.pem())
	write(t, crl, first.crl(t, 1))
	a := w.start(t, nil)
	b := a.administration(t)
	op := a.operator(t)
	name := "spiffe://openclaw.local/operator/" + op.name
	old, next := first.client(t, name), second.client(t, name)
	open := closing(t, b.dial(&old, nil))
	get := func(c *http.Client) int {
		x, err := ask{to: b, client: c, path: "/v1/tenants"}.try(t.Context())
		if err != nil {
			return 0
		}
		return x.status
	}
	if n := get(open); n != 200 {
		t.Fatalf("the operator gets %d", n)
	}
	if !refusedAtTLS(t, b, &next) {
		t.Fatal("an authority nobody trusts yet")
	}
	write(t, crl, first.crl(t, 2, old))
	until(t, "revoked operator refused on an open connection to ADMIN_LISTEN", func() bool { return get(open) != 200 })
	if !refusedAtTLS(t, b, &old) {
		t.Error("the revoked certificate gets through the handshake")
	}
	write(t, crl, first.crl(t, 3, old)+second.crl(t, 1))
	write(t, clients, first.pem()+second.pem())
	fresh := closing(t, b.dial(&next, nil))
	until(t, "new authority's operator on ADMIN_LISTEN", func() bool { return get(fresh) == 200 })
}

func TestAdminListenerIsConfiguredWhole(t *testing.T) {
	t.Parallel()
	base := map[string]string{"CLIENT_CA_FILE": ca.File(), "ADMIN_LISTEN": "127.0.0.1:3443"}
	for what, x := range map[string]struct {
		env  map[string]string
		says string
	}{
		"no port":                     {map[string]string{"ADMIN_LISTEN": "127.0.0.1"}, "ADMIN_LISTEN"},
		"the API's port":              {map[string]string{"ADMIN_LISTEN": "127.0.0.1:3000"}, "ADMIN_LISTEN"},
		"no authority":                {map[string]string{"CLIENT_CA_FILE": ""}, "ADMIN_CLIENT_CERTS"},
		"nobody could ever be let in": {map[string]string{"ADMIN_CLIENT_CERTS": "off"}, "ADMIN_CLIENT_CERTS"},
		"no such mode":                {map[string]string{"ADMIN_CLIENT_CERTS": "maybe"}, "ADMIN_CLIENT_CERTS"},
		"good":                        {nil, ""},
		"good in production":          {map[string]string{"ENV": "production"}, ""},
	} {
		env := (&world{env: base}).with(x.env)
		_, err := app.Load(env)
		if (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says+":") {
			t.Errorf("%s: %v, want %q", what, err, x.says)
		}
	}
}
