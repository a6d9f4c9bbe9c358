package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// authority is a CA that also revokes.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serials atomic.Int64

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// client issues a client certificate for a SPIFFE ID.
func (a *authority) client(t testing.TB, id string) tls.Certificate {
	t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return a.issue(t, &x509.Certificate{URIs: []*url.URL{u}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func (a *authority) issue(t testing.TB, tmpl *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(serials.Add(1)), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	tmpl.KeyUsage, tmpl.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// crl is the authority's list number n, which revokes certs.
func (a *authority) crl(t testing.TB, n int64, certs ...tls.Certificate) string {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(n), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// refusedAtTLS says whether a client does not get through the handshake.
func refusedAtTLS(t *testing.T, r *replica, cert *tls.Certificate) bool {
	t.Helper()
	c := r.dial(cert, nil)
	defer c.CloseIdleConnections()
	_, err := ask{to: r, client: c, path: "/livez"}.try(context.Background())
	// The alert, or the reset that overtook it.
	if err != nil && !strings.Contains(err.Error(), "tls:") && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
		t.Fatalf("want a refusal of TLS, got %v", err)
	}
	return err != nil
}

func TestClientCertificateModes(t *testing.T) {
	t.Parallel()
	stranger := newAuthority(t, "somebody's").client(t, "spiffe://openclaw.local/operator/me")
	for mode, want := range map[string]struct {
		ca                     string
		none, stranger, theirs bool // gets through the handshake
		status                 int  // of the list of tenants, by the operator's certificate
	}{
		"off":      {"", true, true, true, 401}, // nobody asks for a certificate
		"optional": {ca.File(), true, false, true, 200},
		"required": {ca.File(), false, false, true, 200},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, map[string]string{"CLIENT_CERTS": mode, "CLIENT_CA_FILE": want.ca})
			a := w.start(t, nil)
			op := a.operator(t)
			for name, x := range map[string]struct {
				cert *tls.Certificate
				in   bool
			}{"none": {nil, want.none}, "a stranger's": {&stranger, want.stranger}, "the operator's": {&op.cert, want.theirs}} {
				if in := !refusedAtTLS(t, a, x.cert); in != x.in {
					t.Errorf("certificate: %s: through the handshake: %v, want %v", name, in, x.in)
				}
			}
			ask{to: a, client: closing(t, a.dial(&op.cert, nil)), path: "/v1/tenants"}.send(t).want(t, want.status)
		})
	}
}

func TestOperatorsChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"TRUSTED_PROXIES": "127.0.0.1", "ADMIN_IP_ALLOWLIST": "198.51.100.0/24"})
	a := w.start(t, nil)
	direct := w.start(t, map[string]string{"TRUSTED_PROXIES": "192.0.2.77"}) // no proxy here: headers are words
	op, c := a.operator(t), a.customer(t, "dedicated")
	cert := closing(t, a.dial(&op.cert, nil))
	for name, x := range map[string]struct {
		ask
		want int
	}{
		"the operator's certificate, from anywhere":            {ask{to: a, client: cert, from: "203.0.113.1"}, 200},
		"the operator's token, from an allowed address":        {ask{to: a, token: op.token, from: "198.51.100.7"}, 200},
		"the operator's token, from elsewhere":                 {ask{to: a, token: op.token, from: "203.0.113.1"}, 403},
		"the operator's token, address claimed by the client":  {ask{to: direct, token: op.token, from: "198.51.100.7"}, 403},
		"the operator's token, address put before the proxy's": {ask{to: a, token: op.token, from: "198.51.100.7, 203.0.113.1"}, 403},
		"a tenant's administrator, from an allowed address":    {ask{to: a, token: c.token, from: "198.51.100.7"}, 403},
		"a tenant's administrator, over the operator's TLS":    {ask{to: a, client: cert, token: c.token}, 403},
		"nobody, from an allowed address":                      {ask{to: a, from: "198.51.100.7"}, 401},
	} {
		x.path = "/v1/tenants"
		if got := x.send(t); got.status != x.want {
			t.Errorf("%s: %d, want %d: %s", name, got.status, x.want, got.body)
		}
	}
}

// machine is a service account known by a certificate.
type machine struct {
	id, client, san string
	cert            tls.Certificate
	http            *http.Client
}

func (r *replica) machine(t *testing.T, c *customer, issue func(path string) tls.Certificate) *machine {
	t.Helper()
	path := "service/m" + uuid.NewString()[:8]
	m := &machine{san: "spiffe://openclaw.local/" + path, cert: issue(path)}
	m.http = closing(t, r.dial(&m.cert, nil))
	// The name is the tenant's for showing the certificate that has it.
	a := ask{to: r, client: m.http, method: "POST", path: "/v1/service-accounts", token: c.token,
		body: map[string]any{"name": path[8:], "grants": []string{"agents.read"}, "certificate": m.san}}.send(t).want(t, 201)
	m.id, m.client = a.str(t, "id"), a.str(t, "client_id")
	if got := a.str(t, "certificate"); got != m.san {
		t.Fatalf("the account is known by %q, want %q", got, m.san)
	}
	return m
}

func TestMachineByCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b := w.start(t, nil), w.start(t, nil)
	c := a.customer(t, "dedicated")
	local := func(path string) tls.Certificate { return clientCert(t, path) }
	m, other := a.machine(t, c, local), a.machine(t, c, local)
	nobody := clientCert(t, "service/nobody"+uuid.NewString()[:8])

	// The certificate alone.
	ask{to: a, client: m.http, path: "/v1/agents"}.send(t).want(t, 200)
	ask{to: a, client: m.http, path: "/v1/users"}.send(t).want(t, 403)
	ask{to: a, client: closing(t, a.dial(&nobody, nil)), path: "/v1/agents"}.send(t).want(t, 401)

	// The certificate for a token.
	form := "grant_type=client_credentials&client_id=" + m.client
	got := ask{to: a, client: m.http, method: "POST", path: "/oauth/token", body: form}.send(t).want(t, 200)
	token := got.str(t, "access_token")
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Cnf map[string]string `json:"cnf"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	thumb := sha256.Sum256(m.cert.Certificate[0])
	if want := base64.RawURLEncoding.EncodeToString(thumb[:]); claims.Cnf["x5t#S256"] != want {
		t.Fatalf("the token is bound to %v, want %s", claims.Cnf, want)
	}
	with := closing(t, b.dial(&m.cert, nil))
	theirs := closing(t, b.dial(&other.cert, nil))
	ask{to: b, client: with, path: "/v1/agents", token: token}.send(t).want(t, 200)
	ask{to: b, path: "/v1/agents", token: token}.send(t).want(t, 401)                 // stolen, no key
	ask{to: b, client: theirs, path: "/v1/agents", token: token}.send(t).want(t, 401) // stolen, another key
	event(t, a.House, audit.UnauthorizedAccess, "of a stolen token", func(e audit.Entry) bool {
		return strings.Contains(string(e.Details), "binding")
	})

	intro := ask{to: a, client: m.http, method: "POST", path: "/oauth/introspect", body: "client_id=" + m.client + "&token=" + token}.send(t).want(t, 200)
	if !strings.Contains(string(intro.body), `"active":true`) || !strings.Contains(string(intro.body), claims.Cnf["x5t#S256"]) {
		t.Errorf("introspection: %s", intro.body)
	}
	meta := ask{to: a, path: "/.well-known/oauth-authorization-server"}.send(t).want(t, 200)
	if !strings.Contains(string(meta.body), "tls_client_auth") {
		t.Errorf("metadata: %s", meta.body)
	}

	for name, x := range map[string]ask{
		"another's client_id":      {client: m.http, body: "grant_type=client_credentials&client_id=" + other.client},
		"no client_id":             {client: m.http, body: "grant_type=client_credentials"},
		"no certificate":           {client: a.client, body: form},
		"nobody's certificate":     {client: closing(t, a.dial(&nobody, nil)), body: form},
		"a wrong secret beside it": {client: m.http, body: form + "&client_secret=guess"},
		"an empty secret":          {client: m.http, body: form + "&client_secret="},
	} {
		x.to, x.method, x.path = a, "POST", "/oauth/token"
		if got := x.send(t); got.status != 401 {
			t.Errorf("a token for %s: %d %s", name, got.status, got.body)
		}
	}
	event(t, a.House, audit.LoginFailed, "for another's client_id", func(e audit.Entry) bool { return e.Reason == "certificate_of_another" })

	// The account ends what its certificate opens, on every replica.
	ask{to: b, client: with, path: "/v1/agents"}.send(t).want(t, 200)
	ask{to: a, method: "PATCH", path: "/v1/service-accounts/" + m.id, token: c.token, body: map[string]any{"active": false}}.send(t).want(t, 200)
	until(t, "certificate of a disabled account is refused on B", func() bool {
		return ask{to: b, client: with, path: "/v1/agents"}.send(t).status == 401
	})
	ask{to: b, client: with, path: "/v1/agents", token: token}.send(t).want(t, 401)
	ask{to: a, client: m.http, method: "POST", path: "/oauth/token", body: form}.send(t).want(t, 401)
	ask{to: a, method: "DELETE", path: "/v1/service-accounts/" + other.id, token: c.token}.send(t).want(t, 204)
	until(t, "certificate of a deleted account is refused on B", func() bool {
		return ask{to: b, client: theirs, path: "/v1/agents"}.send(t).status == 401
	})
}

func TestRevocationList(t *testing.T) {
	t.Parallel()
	own := newAuthority(t, "own")
	w := newWorld(t, nil)
	w.env["CLIENT_CA_FILE"], w.env["CLIENT_CRL_FILE"] = filepath.Join(w.dir, "clients.pem"), filepath.Join(w.dir, "clients.crl")
	write(t, w.env["CLIENT_CA_FILE"], own.pem())
	write(t, w.env["CLIENT_CRL_FILE"], own.crl(t, 1))
	a := w.start(t, nil)
	c := a.customer(t, "dedicated")
	issue := func(path string) tls.Certificate { return own.client(t, "spiffe://openclaw.local/"+path) }
	m, other := a.machine(t, c, issue), a.machine(t, c, issue)
	for _, x := range []*machine{m, other} {
		ask{to: a, client: x.http, path: "/v1/agents"}.send(t).want(t, 200)
	}

	write(t, w.env["CLIENT_CRL_FILE"], own.crl(t, 2, m.cert))
	until(t, "revoked certificate is refused on an open connection", func() bool {
		x, err := ask{to: a, client: m.http, path: "/v1/agents"}.try(t.Context())
		return err != nil || x.status == 401
	})
	if !refusedAtTLS(t, a, &m.cert) {
		t.Error("a revoked certificate still gets through the handshake")
	}
	ask{to: a, client: other.http, path: "/v1/agents"}.send(t).want(t, 200)

	// Neither junk nor last week's list brings the key back to life.
	for name, text := range map[string]string{"junk": "-----BEGIN", "an older list": own.crl(t, 1), "nothing": ""} {
		had := reasons(t, a, "client_ca_or_crl_refused")
		write(t, w.env["CLIENT_CRL_FILE"], text)
		until(t, name+" is refused, with an event", func() bool { return reasons(t, a, "client_ca_or_crl_refused") > had })
		if !refusedAtTLS(t, a, &m.cert) {
			t.Errorf("%s: the revoked certificate is back", name)
		}
		ask{to: a, client: other.http, path: "/v1/agents"}.send(t).want(t, 200)
		ask{to: a, path: "/readyz"}.send(t).want(t, 200)
		had = reasons(t, a, "client_ca_or_crl_accepted")
		write(t, w.env["CLIENT_CRL_FILE"], own.crl(t, 3, m.cert))
		until(t, "a good list again", func() bool { return reasons(t, a, "client_ca_or_crl_accepted") > had })
	}
}

// reasons counts the changes of configuration in the house log that have one.
func reasons(t *testing.T, r *replica, reason string) (n int) {
	for _, e := range events(t, r.House, audit.ConfigChanged) {
		if e.Reason == reason {
			n++
		}
	}
	return n
}

func TestCertificateFilesReload(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	w := newWorld(t, nil)
	clients, server := filepath.Join(w.dir, "clients.pem"), filepath.Join(w.dir, "server.pem")
	w.env["CLIENT_CA_FILE"], w.env["TLS_CERT_FILE"], w.env["TLS_KEY_FILE"] = clients, server, server
	own := newAuthority(t, "web")
	pair := func() (string, *big.Int) {
		c := own.issue(t, &x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})) +
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})), c.Leaf.SerialNumber
	}
	text, serial := pair()
	write(t, server, text)
	write(t, clients, first.pem())
	a := w.start(t, nil)
	pool := x509.NewCertPool()
	pool.AddCert(own.cert)
	// greet makes a handshake, with a certificate or without, and reads a byte:
	// in TLS 1.3 the server's refusal comes after the client's last word.
	greet := func(cert *tls.Certificate) (*big.Int, error) {
		conf := &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
		if cert != nil {
			conf.GetClientCertificate = present(cert)
		}
		conn, err := tls.Dial("tcp", a.addr, conf)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
			return nil, err
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber, nil
	}
	is := func(want *big.Int) bool {
		got, err := greet(nil)
		return err == nil && got.Cmp(want) == 0
	}
	if !is(serial) {
		t.Fatal("the first certificate does not serve")
	}
	text, next := pair()
	write(t, server, text)
	until(t, "new server certificate is served", func() bool { return is(next) })
	write(t, server, "no certificate")
	until(t, "a broken one is seen", func() bool { // and the old one goes on
		if !is(next) {
			t.Fatal("a broken file took the old certificate away")
		}
		return reasons(t, a, "tls_certificate_refused") == 1
	})

	alice, bob := first.client(t, "spiffe://openclaw.local/service/a"), second.client(t, "spiffe://openclaw.local/service/b")
	if _, err := greet(&alice); err != nil {
		t.Errorf("a client of the first CA: %v", err)
	}
	if _, err := greet(&bob); err == nil {
		t.Error("a client of an unknown CA got through")
	}
	write(t, clients, first.pem()+second.pem())
	until(t, "client of an added CA gets in", func() bool { _, err := greet(&bob); return err == nil })
	write(t, clients, second.pem())
	until(t, "client of a removed CA is refused", func() bool { _, err := greet(&alice); return err != nil })
}

func TestOnlyTLS13(t *testing.T) {
	t.Parallel()
	a := newWorld(t, nil).start(t, nil)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS12: false, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", a.addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: version, MaxVersion: version})
		if err == nil {
			conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}
