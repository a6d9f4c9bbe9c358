package authn

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// site is a real HTTPS server behind a Listener; its handler answers with who
// asked, or with the reason why not.
type site struct {
	*gate
	listener *Listener
	server   *httptest.Server
	pair     string
	conns    atomic.Int64 // accepted

	resumed atomic.Bool // of the last request
}

func newSite(t testing.TB, mode Mode, edit ...func(*ListenerConfig)) *site {
	t.Helper()
	s := &site{gate: newGate(t), pair: inTemp(t, "server.pem")}
	cert, key := s.root.server(t, "first")
	write(t, s.clock, s.pair, key, cert)
	c := ListenerConfig{CertFile: s.pair, KeyFile: s.pair, Mode: mode, Now: s.now}
	if mode != CertsOff {
		c.Clients = s.certs
	}
	for _, f := range edit {
		f(&c)
	}
	var err error
	if s.listener, err = NewListener(c); err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.resumed.Store(r.TLS.DidResume)
		p, err := s.auth.Authenticate(r.Context(), Request{Authorization: r.Header["Authorization"], TLS: r.TLS})
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, Reason(err))
			return
		}
		_, _ = io.WriteString(w, string(p.Method)+" "+p.Subject)
	}))
	s.server.Config.ErrorLog = nil
	s.server.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.server.Config.TLSConfig = s.listener.TLSConfig()
	s.server.TLS = s.listener.TLSConfig()
	s.server.EnableHTTP2 = true
	s.server.Config.ErrorLog = quiet()
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

// browser is a client that trusts the site's CA and may hold a certificate.
func (s *site) browser(t testing.TB, cert *tls.Certificate, edit ...func(*tls.Config)) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(s.root.cert)
	c := &tls.Config{RootCAs: pool, ServerName: "localhost", Time: s.now, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	if cert != nil {
		// Whatever the server says about its CAs.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	for _, f := range edit {
		f(c)
	}
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (s *site) ask(t testing.TB, c *http.Client, token string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func (s *site) want(t testing.TB, what string, c *http.Client, token, want string) {
	t.Helper()
	if got, err := s.ask(t, c, token); err != nil || got != want {
		t.Errorf("%s: %q %v, want %q", what, got, err, want)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	for mode, want := range map[Mode]struct{ none, good, foreign string }{
		CertsOff:      {"no_credential", "no_credential", "no_credential"},
		CertsOptional: {"no_credential", "mtls", "!"},
		CertsRequired: {"!", "mtls", "!"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, mode)
			acct := s.account(tenant.NewID())
			s.book.set(billing, acct)
			s.stands(acct.Tenant, acct.Subject, uuid.Nil, 0)
			good := s.root.client(t, billing)
			foreign := newAuthority(t, s.clock, "root", nil).client(t, billing)
			expired := s.root.client(t, billing, func(c *x509.Certificate) { c.NotAfter = s.now().Add(-time.Second) })
			for name, c := range map[string]struct {
				cert *tls.Certificate
				want string
			}{"none": {nil, want.none}, "good": {&good, want.good}, "foreign": {&foreign, want.foreign}, "expired": {&expired, want.foreign}} {
				got, err := s.ask(t, s.browser(t, c.cert), "")
				switch {
				case c.want == "!":
					if err == nil {
						t.Errorf("%s: the handshake went through: %s", name, got)
					}
				case err != nil || !strings.HasPrefix(got, c.want):
					t.Errorf("%s: %q %v, want %q", name, got, err, c.want)
				}
			}
		})
	}
}

func TestProtocols(t *testing.T) {
	t.Parallel()
	s := newSite(t, CertsOff)
	old := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	if _, err := s.ask(t, s.browser(t, nil, old), ""); err == nil {
		t.Error("TLS 1.2 got in")
	}
	lax := newSite(t, CertsOff, func(c *ListenerConfig) { c.AllowTLS12 = true })
	lax.want(t, "TLS 1.2, allowed", lax.browser(t, nil, old), "", "no_credential")
	if _, err := lax.ask(t, lax.browser(t, nil, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), ""); err == nil {
		t.Error("TLS 1.1 got in")
	}
	for _, proto := range []string{"h2", "http/1.1"} {
		conn, err := tls.Dial("tcp", s.server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}}) //nolint:gosec // protocol only
		if err != nil {
			t.Fatal(err)
		}
		if st := conn.ConnectionState(); st.NegotiatedProtocol != proto || st.Version != tls.VersionTLS13 {
			t.Errorf("negotiated %q, version %x", st.NegotiatedProtocol, st.Version)
		}
		_ = conn.Close()
	}
}

func (s *site) serving(t *testing.T) string {
	t.Helper()
	conn, err := tls.Dial("tcp", s.server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // looks at the certificate only
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestServerCertificateReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, CertsOff)
	expect := func(what, name string, healthy bool) {
		t.Helper()
		if got := s.serving(t); got != name {
			t.Errorf("%s: serving %s, want %s", what, got, name)
		}
		if err := s.listener.Err(); (err == nil) != healthy {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("start", "first", true)
	cert, key := s.root.server(t, "second")
	write(t, s.clock, s.pair, cert, key)
	expect("replaced", "second", true)
	third, thirdKey := s.root.server(t, "third")
	write(t, s.clock, s.pair, third, key)
	expect("half replaced", "second", false)
	write(t, s.clock, s.pair, nil)
	expect("empty", "second", false)
	if err := os.Remove(s.pair); err != nil {
		t.Fatal(err)
	}
	s.advance(time.Second)
	expect("gone", "second", false)
	ended, endedKey := (&authority{cert: s.root.cert, key: s.root.key, clk: newClock()}).server(t, "ended")
	s.advance(48 * time.Hour)
	write(t, s.clock, s.pair, ended, endedKey)
	if got := s.serving(t); got != "second" || s.listener.Err() == nil {
		t.Errorf("took an ended certificate: %s %v", got, s.listener.Err())
	}
	_, _ = third, thirdKey
	fourth, fourthKey := s.root.server(t, "fourth")
	write(t, s.clock, s.pair, fourth, fourthKey)
	expect("good again", "fourth", true)
	if err := s.listener.Reload(); err != nil {
		t.Error(err)
	}
	if !s.listener.NotAfter().After(s.now()) {
		t.Error(s.listener.NotAfter())
	}
}

// Neither an open connection nor a resumed session outlives a revocation.
func TestRevocationReachesOpenAndResumedConnections(t *testing.T) {
	t.Parallel()
	s := newSite(t, CertsOptional)
	acct := s.account(tenant.NewID())
	s.book.set(billing, acct)
	s.stands(acct.Tenant, acct.Subject, uuid.Nil, 0)
	cert := s.root.client(t, billing)
	who := s.who
	who.Thumbprint = sha256.Sum256(cert.Leaf.Raw)
	bound := s.mint(t, who)

	cache := tls.NewLRUClientSessionCache(8)
	shared := func(c *tls.Config) { c.ClientSessionCache = cache }
	first := s.browser(t, &cert, shared)
	s.want(t, "first", first, "", "mtls "+acct.Subject)
	s.want(t, "bound token", first, bound, "jwt+mtls "+who.Subject)
	second := s.browser(t, &cert, shared)
	s.want(t, "second", second, "", "mtls "+acct.Subject)
	if !s.resumed.Load() {
		t.Fatal("the session was not resumed: this test would prove nothing")
	}
	conns := s.conns.Load()

	write(t, s.clock, s.crlFile, s.root.crl(t, 2, []tls.Certificate{cert}))
	s.want(t, "open connection", second, "", "certificate_revoked")
	s.want(t, "open connection, bound token", second, bound, "certificate_revoked")
	s.want(t, "open connection, free token", second, s.mint(t, s.who), "certificate_revoked")
	if s.conns.Load() != conns {
		t.Error("those were new connections")
	}
	if got, err := s.ask(t, s.browser(t, &cert, shared), ""); err == nil {
		t.Errorf("a resumed session got in: %s", got)
	}
	if got, err := s.ask(t, s.browser(t, &cert), ""); err == nil {
		t.Errorf("a new session got in: %s", got)
	}
	s.want(t, "without certificate, free token", s.browser(t, nil), s.mint(t, s.who), "jwt "+s.who.Subject)
	s.want(t, "without certificate, bound token", s.browser(t, nil), bound, "token_binding")
}

func TestRemovedCAReachesOpenAndResumedConnections(t *testing.T) {
	t.Parallel()
	s := newSite(t, CertsRequired)
	acct := s.account(tenant.NewID())
	s.book.set(billing, acct)
	s.stands(acct.Tenant, acct.Subject, uuid.Nil, 0)
	other := newAuthority(t, s.clock, "other", nil)
	write(t, s.clock, s.crlFile, s.root.crl(t, 1, nil), other.crl(t, 1, nil))
	write(t, s.clock, s.caFile, encodeCert(s.root.cert), encodeCert(other.cert))
	cert := other.client(t, billing)
	cache := tls.NewLRUClientSessionCache(8)
	shared := func(c *tls.Config) { c.ClientSessionCache = cache }
	open := s.browser(t, &cert, shared)
	s.want(t, "trusted", open, "", "mtls "+acct.Subject)
	write(t, s.clock, s.caFile, encodeCert(s.root.cert))
	s.want(t, "open connection", open, "", "certificate_refused")
	if got, err := s.ask(t, s.browser(t, &cert, shared), ""); err == nil {
		t.Errorf("a resumed session got in: %s", got)
	}
	mine := s.root.client(t, billing)
	s.want(t, "the CA that stays", s.browser(t, &mine), "", "mtls "+acct.Subject)
}

func TestSuspendedAccountIsOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, CertsRequired)
	acct := s.account(tenant.NewID())
	s.book.set(billing, acct)
	s.stands(acct.Tenant, acct.Subject, uuid.Nil, 0)
	cert := s.root.client(t, billing)
	b := s.browser(t, &cert)
	s.want(t, "stands", b, "", "mtls "+acct.Subject)
	s.store.set(standingKey{acct.Tenant, acct.Subject, uuid.Nil}, Standing{TenantActive: true})
	s.guard.Forget(acct.Tenant, acct.Subject, uuid.Nil)
	s.want(t, "suspended, same connection", b, "", "subject_inactive")
}

// A public certificate without its key does not get past the handshake.
func TestCertificateWithoutItsKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, CertsOptional)
	acct := s.account(tenant.NewID())
	s.book.set(billing, acct)
	s.stands(acct.Tenant, acct.Subject, uuid.Nil, 0)
	victim, thief := s.root.client(t, billing), s.root.client(t, "spiffe://example.org/thief")
	forged := tls.Certificate{Certificate: victim.Certificate, PrivateKey: thief.PrivateKey, Leaf: victim.Leaf}
	if got, err := s.ask(t, s.browser(t, &forged), ""); err == nil {
		t.Errorf("got in: %s", got)
	}
}

func TestListenerConfigRefused(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	pair, weak, other := inTemp(t, "p.pem"), inTemp(t, "w.pem"), inTemp(t, "o.pem")
	cert, key := g.root.server(t, "x")
	write(t, g.clock, pair, cert, key)
	_, otherKey := g.root.server(t, "y")
	write(t, g.clock, other, otherKey)
	write(t, g.clock, weak, []byte("x"))
	acme := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("x") }
	for name, c := range map[string]ListenerConfig{
		"nothing":             {},
		"no key":              {CertFile: pair},
		"no file":             {CertFile: "/nowhere", KeyFile: "/nowhere"},
		"nonsense":            {CertFile: weak, KeyFile: weak},
		"another key":         {CertFile: pair, KeyFile: other},
		"files and acme":      {CertFile: pair, KeyFile: pair, GetCertificate: acme},
		"unknown mode":        {CertFile: pair, KeyFile: pair, Mode: "maybe"},
		"required without CA": {CertFile: pair, KeyFile: pair, Mode: CertsRequired},
		"CA without mode":     {CertFile: pair, KeyFile: pair, Clients: g.certs},
	} {
		c.Now = g.now
		if _, err := NewListener(c); err == nil {
			t.Errorf("took %s", name)
		}
	}
	l, err := NewListener(ListenerConfig{GetCertificate: acme, Now: g.now})
	if err != nil || l.Err() != nil || l.Reload() != nil || !l.NotAfter().IsZero() {
		t.Errorf("acme: %v", err)
	}
	for _, s := range []string{"", "on", "Required", "off "} {
		if _, err := ParseMode(s); err == nil {
			t.Errorf("took mode %q", s)
		}
	}
}

func TestRolesSurviveTheWholeWay(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	p, err := g.auth.Authenticate(context.Background(), Request{Authorization: []string{"Bearer " + g.mint(t, g.who)}})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.PolicySubject(); s.Kind != policy.KindUser || s.Roles != g.who.Roles || s.ID != g.who.Subject || s.Tenant != g.who.Tenant || s.AdminChannel {
		t.Errorf("%+v", s)
	}
}

// BenchmarkHandshake counts both ends: server and client share the process.
func BenchmarkHandshake(b *testing.B) {
	for name, c := range map[string]struct {
		mode   Mode
		resume bool
	}{"tls": {CertsOff, false}, "mtls": {CertsRequired, false}, "mtls resumed": {CertsRequired, true}} {
		b.Run(name, func(b *testing.B) {
			s := newSite(b, c.mode)
			cert := s.root.client(b, billing)
			pool := x509.NewCertPool()
			pool.AddCert(s.root.cert)
			conf := &tls.Config{RootCAs: pool, ServerName: "localhost", Time: s.now, Certificates: []tls.Certificate{cert}}
			if c.resume {
				conf.ClientSessionCache = tls.NewLRUClientSessionCache(8)
			}
			// A real socket: over net.Pipe both ends may write at once and stand still.
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			ln := tls.NewListener(inner, s.listener.TLSConfig())
			b.Cleanup(func() { _ = ln.Close() })
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
					_, _ = conn.Write([]byte("x")) // carries the ticket along
					_ = conn.Close()
				}
			}()
			dial := func() bool {
				conn, err := tls.Dial("tcp", ln.Addr().String(), conf)
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
				return conn.ConnectionState().DidResume
			}
			dial()
			b.ReportAllocs()
			for b.Loop() {
				if dial() != c.resume {
					b.Fatal("resumption is not as wanted")
				}
			}
		})
	}
}
