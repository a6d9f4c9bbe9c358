package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/authn/localca"
	"github.com/Nissimmiracles/openclaw/internal/testservers"
)

// pebble is an authority, and who vouches for its own API.
type pebble struct {
	*testservers.Pebble
	roots *x509.CertPool
}

func startPebble(t *testing.T, tlsPort int, life time.Duration) *pebble {
	t.Helper()
	ca, err := localca.Open(localca.Config{Dir: filepath.Join(t.TempDir(), "ca")})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	return &pebble{testservers.StartPebble(t, pair, tlsPort, life), ca.Pool()}
}

// site is a listener with a manager, as the platform wires them.
type site struct {
	manager *Manager
	addr    string
	close   func()
}

const host = "api.openclaw-test.com"

func serve(t *testing.T, inner net.Listener, p *pebble, dir string) *site {
	t.Helper()
	m, err := New(Config{
		Domains: []string{host}, Email: "ops@openclaw-test.com", Agreed: true, Directory: p.Directory, Roots: p.roots,
		Dir: dir, Port: inner.Addr().(*net.TCPAddr).Port, Every: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := authn.NewListener(authn.ListenerConfig{GetCertificate: m.GetCertificate, NextProtos: m.NextProtos()})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(tls.NewListener(inner, l.TLSConfig())) }()
	s := &site{manager: m, addr: inner.Addr().String(), close: sync.OnceFunc(func() { m.Stop(); _ = server.Close(); <-served })}
	t.Cleanup(s.close)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

// leaf is the certificate that name is served with.
func (s *site) leaf(name string) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", s.addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // pebble's root is made anew each time
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

// await returns the first certificate that fits.
func (s *site) await(t *testing.T, what string, fits func(*x509.Certificate) bool) *x509.Certificate {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(20 * time.Millisecond) { // a handshake is the only sign
		if c, err := s.leaf(host); err == nil && fits(c) {
			return c
		}
	}
	t.Fatalf("%s: not within a minute", what)
	return nil
}

// One life of a certificate: obtained from a real authority by a challenge on
// the serving port, served, renewed in time, and kept over a restart and while
// the authority is away.
func TestPebble(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := inner.Addr().(*net.TCPAddr).Port
	p := startPebble(t, port, 8*time.Second)
	dir := filepath.Join(t.TempDir(), "acme")
	s := serve(t, inner, p, dir)

	first := s.await(t, "a certificate", func(*x509.Certificate) bool { return true })
	if first.VerifyHostname(host) != nil || !strings.Contains(first.Issuer.CommonName, "Pebble") {
		t.Errorf("serving %v by %v", first.DNSNames, first.Issuer)
	}
	for _, name := range []string{"evil.openclaw-test.com", "", "localhost"} {
		if c, err := s.leaf(name); err == nil {
			t.Errorf("%q is served as %v", name, c.DNSNames)
		}
	}
	second := s.await(t, "a renewed one", func(c *x509.Certificate) bool { return c.SerialNumber.Cmp(first.SerialNumber) != 0 })
	if !time.Now().Before(first.NotAfter) {
		t.Error("renewed after the first had ended")
	}

	p.Stop()
	s.close()
	inner, err = net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s = serve(t, inner, p, dir)
	kept := func(c *x509.Certificate) bool { return c.SerialNumber.Cmp(second.SerialNumber) == 0 }
	s.await(t, "the kept one, after a restart without the authority", kept)
	// Long past the time to renew, the old one still serves.
	late := second.NotAfter.Add(-time.Second)
	for time.Now().Before(late) {
		if c, err := s.leaf(host); err != nil || !kept(c) {
			t.Fatalf("while the authority is away: %v", err)
		}
		time.Sleep(100 * time.Millisecond) // the certificate's own time has to pass
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("the folder: %v %v", files, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("keys lie in a folder of mode %v (%v)", info.Mode(), err)
	}
}
