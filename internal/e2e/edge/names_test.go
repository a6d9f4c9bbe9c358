package edge

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
)

// Whose name it is: a tenant's own path for the asking, anything else for
// showing the certificate, and nobody else's at all.
func TestNamesOfCertificates(t *testing.T) {
	t.Parallel()
	own := newAuthority(t, "own")
	w := newWorld(t, nil)
	w.env["CLIENT_CA_FILE"] = filepath.Join(w.dir, "clients.pem")
	write(t, w.env["CLIENT_CA_FILE"], own.pem())
	a := w.start(t, nil)
	mine, rival := a.customer(t, "dedicated"), a.customer(t, "dedicated")
	id, theirs := mine.room.Scope().ID().String(), rival.room.Scope().ID().String()
	host := "billing-" + uuid.NewString()[:8] + ".example.com"
	dns := own.issue(t, &x509.Certificate{DNSNames: []string{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	spiffe := func(path string) (string, *tls.Certificate) {
		c := own.client(t, "spiffe://example.com/"+path)
		return "spiffe://example.com/" + path, &c
	}
	service, serviceCert := spiffe("service/" + uuid.NewString()[:8])
	operator, operatorCert := spiffe("operator/maria")
	tenants, tenantsCert := spiffe("tenant/" + id + "/billing")
	two := own.issue(t, &x509.Certificate{DNSNames: []string{"a.example.com", "b.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})

	register := func(c *customer, name string, cert *tls.Certificate) (answer, *http.Client) {
		client := closing(t, a.dial(cert, nil))
		return ask{to: a, client: client, method: "POST", path: "/v1/service-accounts", token: c.token,
			body: map[string]any{"name": "m-" + uuid.NewString()[:8], "grants": []string{"agents.read"}, "certificate": name}}.send(t), client
	}
	for _, x := range []struct {
		what string
		who  *customer
		name string
		cert *tls.Certificate
		want int
	}{
		{"a host name nobody showed", rival, host, nil, 422},
		{"a host name, over another certificate", rival, host, serviceCert, 422},
		{"a host name, over a certificate of two names", rival, "a.example.com", &two, 422},
		{"a host name that is shown", mine, host, &dns, 201},
		{"a name that is taken, shown", rival, host, &dns, 409},
		{"a service's name nobody showed", rival, service, nil, 422},
		{"a service's name that is shown", mine, service, serviceCert, 201},
		{"one's own path", mine, "spiffe://example.com/tenant/" + id + "/reports", nil, 201},
		{"another tenant's path", rival, tenants, nil, 422},
		{"another tenant's path, shown", rival, tenants, tenantsCert, 422},
		{"a path that begins like one's own", rival, "spiffe://example.com/tenant/" + theirs + "0/x", nil, 422},
		{"the tenant's own path", mine, tenants, nil, 201},
		{"an operator's name", mine, operator, nil, 422},
		{"an operator's name, shown", mine, operator, operatorCert, 422},
		{"no name", mine, "https://example.com/x", &dns, 422},
		{"a name with two faces", mine, "spiffe://openclaw.local/tenant/" + id + "/../../operator/maria", nil, 422},
		{"an address with spaces", mine, "host name", nil, 422},
	} {
		if got, _ := register(x.who, x.name, x.cert); got.status != x.want {
			t.Errorf("%s: %d, want %d: %s", x.what, got.status, x.want, got.body)
		}
	}
	// By a host name as by a SPIFFE ID: who shows it is the account.
	for what, cert := range map[string]*tls.Certificate{"host name": &dns, "service": serviceCert, "tenant's path": tenantsCert} {
		if got := (ask{to: a, client: closing(t, a.dial(cert, nil)), path: "/v1/agents"}).send(t); got.status != 200 {
			t.Errorf("%s: %d: %s", what, got.status, got.body)
		}
	}
	ask{to: a, client: closing(t, a.dial(&two, nil)), path: "/v1/agents"}.send(t).want(t, 401)
	// Changing to a name is registering it; what an account has it keeps.
	got, _ := register(rival, "", nil)
	path := "/v1/service-accounts/" + got.want(t, 201).str(t, "id")
	ask{to: a, method: "PATCH", path: path, token: rival.token, body: map[string]any{"certificate": "db.example.com"}}.send(t).want(t, 422)
	ask{to: a, method: "PATCH", path: path, token: rival.token, body: map[string]any{"certificate": "spiffe://x.example/tenant/" + theirs + "/db"}}.send(t).want(t, 200)
	ask{to: a, method: "PATCH", path: path, token: rival.token, body: map[string]any{"certificate": "spiffe://x.example/tenant/" + theirs + "/db", "active": true}}.send(t).want(t, 200)
}
