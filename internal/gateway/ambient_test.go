package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/csrf"
)

// certified also takes any client certificate for the developer.
type certified struct{ callers }

func (c certified) Authenticate(ctx context.Context, r authn.Request) (authn.Principal, error) {
	if len(r.Authorization) == 0 && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return c.callers["developer"], nil
	}
	return c.callers.Authenticate(ctx, r)
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// Over real TLS: what a browser adds by itself does nothing for a page of
// another site, a cookie does nothing at all, and a bearer token is unaffected.
func TestAmbientCredentials(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cfg := f.gate.cfg
	cfg.Auth, cfg.CSRF = certified{cfg.Auth.(callers)}, true
	cfg.Shield, cfg.Limiter, cfg.Tiers = nil, nil, nil
	gate := must[*Gateway](t)(New(cfg))
	srv := httptest.NewUnstartedServer(gate)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	cert := selfSigned(t)
	for name, k := range map[string]struct {
		method, path string
		cert         bool
		header       map[string]string
		status       int
		code         fault.Code
	}{
		"a program's certificate":         {"POST", "/things", true, nil, 200, ""},
		"a certificate, own page":         {"POST", "/things", true, map[string]string{"Sec-Fetch-Site": "same-origin"}, 200, ""},
		"a certificate, address bar":      {"POST", "/things", true, map[string]string{"Sec-Fetch-Site": "none"}, 200, ""},
		"a certificate, another site":     {"POST", "/things", true, map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403, fault.CSRF},
		"a certificate, a sibling":        {"POST", "/things", true, map[string]string{"Sec-Fetch-Site": "same-site"}, 403, fault.CSRF},
		"a certificate, old browser":      {"POST", "/things", true, map[string]string{"Origin": "https://evil.example"}, 403, fault.CSRF},
		"a certificate, sandboxed":        {"POST", "/things", true, map[string]string{"Origin": "null"}, 403, fault.CSRF},
		"a certificate, listed for CORS":  {"POST", "/things", true, map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com"}, 403, fault.CSRF},
		"a bearer token, another site":    {"POST", "/things", false, map[string]string{"Authorization": "Bearer developer", "Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com"}, 200, ""},
		"a bearer token and a cookie":     {"POST", "/things", false, map[string]string{"Authorization": "Bearer developer", "Cookie": csrf.Session + "=x"}, 200, ""},
		"a cookie":                        {"POST", "/things", false, map[string]string{"Cookie": csrf.Session + "=x", "Sec-Fetch-Site": "same-origin"}, 403, fault.CSRF},
		"a cookie beside a certificate":   {"POST", "/things", true, map[string]string{"Cookie": csrf.Session + "=x", "Sec-Fetch-Site": "same-origin"}, 403, fault.CSRF},
		"a cookie and an empty bearer":    {"POST", "/things", false, map[string]string{"Cookie": csrf.Session + "=x", "Authorization": ""}, 401, fault.Unauthorized},
		"some other cookie":               {"POST", "/things", false, map[string]string{"Cookie": "theme=dark"}, 401, fault.Unauthorized},
		"a public page from another site": {"GET", "/open", false, map[string]string{"Sec-Fetch-Site": "cross-site", "Cookie": csrf.Session + "=x"}, 200, ""},
	} {
		f.log.mu.Lock()
		before := len(f.log.events)
		f.log.mu.Unlock()
		client := srv.Client()
		tr := client.Transport.(*http.Transport).Clone()
		if k.cert {
			tr.TLSClientConfig.Certificates = []tls.Certificate{cert}
		}
		r, err := http.NewRequest(k.method, srv.URL+k.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for n, v := range k.header {
			r.Header[n] = []string{v}
		}
		res, err := (&http.Client{Transport: tr}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var p struct{ Code fault.Code }
		_ = json.NewDecoder(res.Body).Decode(&p)
		res.Body.Close()
		tr.CloseIdleConnections()
		if res.StatusCode != k.status || p.Code != k.code {
			t.Errorf("%s: %d %s", name, res.StatusCode, p.Code)
		}
		f.log.mu.Lock()
		after := f.log.events[before:]
		f.log.mu.Unlock()
		if k.code == fault.CSRF && (len(after) != 1 || after[0].Type != audit.CSRFTokenInvalid || after[0].Outcome != audit.Refused) {
			t.Errorf("%s: on record is %+v", name, after)
		}
	}
	cfg.CSRF = false // switched off: certificates again, cookies still not
	off := must[*Gateway](t)(New(cfg))
	if err := off.ambient(request("POST", "/things", "", "")); err != nil {
		t.Error(err)
	}
	r := request("POST", "/things", "", "")
	r.Header.Set("Cookie", csrf.Session+"=x")
	if fault.CodeOf(off.ambient(r)) != fault.CSRF {
		t.Error("a cookie passes where the protection is off")
	}
}
