package localca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, c Config) *CA {
	t.Helper()
	ca, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestIdempotent(t *testing.T) {
	t.Parallel()
	c := Config{Dir: filepath.Join(t.TempDir(), "a", "ca"), Hosts: []string{"Dev-Box.example", "10.1.2.3", "localhost", "127.0.0.1"}}
	ca := open(t, c)
	server := must[string](t)(ca.Server())
	client := must[string](t)(ca.Client("service/billing"))
	first := [][]byte{read(t, ca.File()), read(t, ca.secretFile()), read(t, server), read(t, client)}
	again := open(t, c)
	for i, f := range []string{again.File(), again.secretFile(), must[string](t)(again.Server()), must[string](t)(again.Client("service/billing"))} {
		if !bytes.Equal(read(t, f), first[i]) {
			t.Errorf("%s changed", f)
		}
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
	}
	if info, err := os.Stat(c.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v %v", info.Mode(), err)
	}
	if left := must[[]fs.DirEntry](t)(os.ReadDir(c.Dir)); len(left) != 4 {
		t.Errorf("files left over: %v", left)
	}
}

func TestRightsAreTakenBack(t *testing.T) {
	t.Parallel()
	c := Config{Dir: t.TempDir()}
	ca := open(t, c)
	if err := os.Chmod(ca.secretFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, c)
	if info, err := os.Stat(ca.secretFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := Config{Dir: t.TempDir(), Now: func() time.Time { return now }}
	file := must[string](t)(open(t, c).Server())
	first := read(t, file)
	now = now.Add(60 * 24 * time.Hour)
	must[string](t)(open(t, c).Server())
	if !bytes.Equal(read(t, file), first) {
		t.Fatal("renewed with 30 days left")
	}
	now = now.Add(time.Second)
	must[string](t)(open(t, c).Server())
	second := read(t, file)
	if bytes.Equal(second, first) {
		t.Fatal("not renewed with less than 30 days left")
	}
	now = now.Add(365 * 24 * time.Hour)
	must[string](t)(open(t, c).Server())
	if bytes.Equal(read(t, file), second) {
		t.Fatal("not renewed after its end")
	}
	now = now.Add(10 * 365 * 24 * time.Hour)
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "move the folder") {
		t.Errorf("the authority has ended: %v", err)
	}
}

// A crash can leave any of these behind; so can a curious person.
func TestRepairsLeaves(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, string){
		"gone":      func(t *testing.T, f string) { _ = os.Remove(f) },
		"empty":     func(t *testing.T, f string) { _ = os.WriteFile(f, nil, 0o600) },
		"half":      func(t *testing.T, f string) { text := read(t, f); _ = os.WriteFile(f, text[:len(text)/2], 0o600) },
		"nonsense":  func(t *testing.T, f string) { _ = os.WriteFile(f, []byte("x"), 0o600) },
		"huge":      func(t *testing.T, f string) { _ = os.WriteFile(f, bytes.Repeat([]byte("x"), maxFile+1), 0o600) },
		"temporary": func(t *testing.T, f string) { _ = os.WriteFile(filepath.Dir(f)+"/.server.pem.123", []byte("x"), 0o600) },
		"another authority's": func(t *testing.T, f string) {
			other := must[string](t)(open(t, Config{Dir: t.TempDir()}).Server())
			_ = os.WriteFile(f, read(t, other), 0o600)
		},
		"public copy gone":  func(t *testing.T, f string) { _ = os.Remove(filepath.Dir(f) + "/ca.pem") },
		"public copy wrong": func(t *testing.T, f string) { _ = os.WriteFile(filepath.Dir(f)+"/ca.pem", []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Config{Dir: t.TempDir()}
			file := must[string](t)(open(t, c).Server())
			damage(t, file)
			ca := open(t, c)
			pair := must[*tls.Certificate](t)(loadPair(must[string](t)(ca.Server())))
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(read(t, ca.File())) {
				t.Fatal("no public copy")
			}
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost"}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Its own secret is never replaced silently: everybody would have to trust anew.
func TestBrokenAuthorityIsRefused(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, *CA){
		"empty": func(t *testing.T, ca *CA) { _ = os.WriteFile(ca.secretFile(), nil, 0o600) },
		"a leaf": func(t *testing.T, ca *CA) {
			_ = os.WriteFile(ca.secretFile(), read(t, must[string](t)(ca.Server())), 0o600)
		},
		"symlink": func(t *testing.T, ca *CA) { f := ca.secretFile(); _ = os.Rename(f, f+"2"); _ = os.Symlink(f+"2", f) },
		"folder":  func(t *testing.T, ca *CA) { _ = os.Remove(ca.secretFile()); _ = os.Mkdir(ca.secretFile(), 0o700) },
		"two halves": func(t *testing.T, ca *CA) {
			other := read(t, open(t, Config{Dir: t.TempDir()}).secretFile())
			mine := read(t, ca.secretFile())
			cut := func(b []byte) int { return bytes.Index(b, []byte("-----BEGIN CERT")) }
			_ = os.WriteFile(ca.secretFile(), append(other[:cut(other):cut(other)], mine[cut(mine):]...), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Config{Dir: t.TempDir()}
			damage(t, open(t, c))
			if _, err := Open(c); err == nil {
				t.Fatal("opened")
			}
		})
	}
	c := Config{Dir: t.TempDir(), Hosts: []string{"a.example"}}
	open(t, c)
	for _, c := range []Config{
		{Dir: c.Dir, Hosts: []string{"b.example"}}, {Dir: c.Dir, Hosts: []string{"10.0.0.9"}}, {Dir: c.Dir, TrustDomain: "other.local"},
	} {
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "was made") && !strings.Contains(err.Error(), "not made") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestInputRefused(t *testing.T) {
	t.Parallel()
	for _, h := range []string{"", " ", "*.example", "a b", "a/b", "-a", "a..b", "a\x00", "0.0.0.0", "::", "224.0.0.1", "https://a", "a:1", strings.Repeat("a", 64)} {
		if _, err := Open(Config{Dir: t.TempDir(), Hosts: []string{h}}); err == nil {
			t.Errorf("took host %q", h)
		}
	}
	for _, d := range []string{"A", "a b", "a/b", "spiffe://a"} {
		if _, err := Open(Config{Dir: t.TempDir(), TrustDomain: d}); err == nil {
			t.Errorf("took trust domain %q", d)
		}
	}
	ca := open(t, Config{Dir: t.TempDir()})
	for _, p := range []string{"", "/", "a/", "/a", "a//b", "..", "../a", "a/../b", "A", "a~b", "a b", "a\nb", ".a", strings.Repeat("a", 129)} {
		if f, err := ca.Client(p); err == nil {
			t.Errorf("took client %q: %s", p, f)
		}
	}
	if a, b := must[string](t)(ca.Client("a/b")), must[string](t)(ca.Client("a-b")); a == b {
		t.Error("two clients, one file")
	}
}

// With the authority's stolen key nobody can speak for the rest of the world.
func TestConstraints(t *testing.T) {
	t.Parallel()
	ca := open(t, Config{Dir: t.TempDir(), Hosts: []string{"dev.example"}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cert x509.Certificate
		ok   bool
	}{
		"loopback":           {x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 9, 9, 9), net.IPv6loopback}}, true},
		"its host":           {x509.Certificate{DNSNames: []string{"dev.example"}}, true},
		"its client":         {x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "openclaw.local", Path: "/x"}}}, true},
		"a bank":             {x509.Certificate{DNSNames: []string{"bank.example"}}, false},
		"suffix of its host": {x509.Certificate{DNSNames: []string{"evildev.example"}}, false},
		"a neighbour":        {x509.Certificate{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, false},
		"other trust domain": {x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "prod.example", Path: "/x"}}}, false},
		"its host and more":  {x509.Certificate{DNSNames: []string{"localhost", "bank.example"}}, false},
	} {
		c.cert.Subject = pkix.Name{CommonName: name}
		c.cert.NotBefore, c.cert.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		der, err := ca.sign(&c.cert, ca.cert, key.Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		_, err = cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nor make a second authority.
	sub := x509.Certificate{Subject: pkix.Name{CommonName: "sub"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	der, err := ca.sign(&sub, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	subCert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := x509.Certificate{DNSNames: []string{"localhost"}, NotBefore: sub.NotBefore, NotAfter: sub.NotAfter}
	if der, err = ca.sign(&leaf, subCert, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	leafCert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	between.AddCert(subCert)
	if _, err := leafCert.Verify(x509.VerifyOptions{Roots: ca.Pool(), Intermediates: between}); err == nil {
		t.Error("a second authority was believed")
	}
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	ca := open(t, Config{Dir: t.TempDir()})
	server := must[*tls.Certificate](t)(loadPair(must[string](t)(ca.Server())))
	client := must[*tls.Certificate](t)(loadPair(must[string](t)(ca.Client("operator/maria"))))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.TLS.PeerCertificates[0].URIs[0].String()))
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*server}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	defer s.Close()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{*client}}}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get(strings.Replace(s.URL, "127.0.0.1", "localhost", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil || body.String() != "spiffe://openclaw.local/operator/maria" {
		t.Errorf("%s %v", body.String(), err)
	}
}
