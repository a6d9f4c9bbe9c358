package acme

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/authn/localca"
)

// pebble is Let's Encrypt's test authority, built from a module of its own. It
// validates over real connections and has every certificate live for a few
// seconds.
type pebble struct {
	directory string
	roots     *x509.CertPool
	stop      func()
}

// build builds pebble. Without the module at hand (no network) the test is
// skipped; in CI that is a failure.
func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs an authority")
	}
	bin := filepath.Join(t.TempDir(), "pebble")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	cmd.Dir = filepath.Join("..", "..", "testservers", "pebble")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("build pebble: %v\n%s", err, out)
		}
		t.Skipf("build pebble: %v\n%s", err, out)
	}
	return bin
}

// resolver answers every name with the loopback, over TCP, as pebble asks.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up, down := make(chan struct{}), make(chan struct{})
	s := &dns.Server{Listener: l, NotifyStartedFunc: func() { close(up) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg)
		a.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 1 IN A 127.0.0.1")
			a.Answer = append(a.Answer, rr)
		}
		_ = w.WriteMsg(a)
	})}
	go func() { defer close(down); _ = s.ActivateAndServe() }()
	<-up
	t.Cleanup(func() { _ = s.Shutdown(); <-down })
	return l.Addr().String()
}

func startPebble(t *testing.T, bin string, tlsPort int, life time.Duration) *pebble {
	t.Helper()
	dir := t.TempDir()
	ca, err := localca.Open(localca.Config{Dir: filepath.Join(dir, "ca")})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := probe.Addr().String()
	_ = probe.Close()
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "certificate": pair, "privateKey": pair, "httpPort": 1, "tlsPort": tlsPort,
		"profiles": map[string]any{"default": map[string]any{"description": "short", "validityPeriod": int(life / time.Second)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-config", file, "-dnsserver", resolver(t), "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening, drained := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "Listening on") {
				listening <- struct{}{}
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	p := &pebble{directory: "https://" + api + "/dir", roots: ca.Pool(), stop: sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})}
	t.Cleanup(p.stop)
	select {
	case <-listening:
	case <-drained:
		t.Fatal("pebble ended at once")
	}
	return p
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
		Domains: []string{host}, Email: "ops@openclaw-test.com", Agreed: true, Directory: p.directory, Roots: p.roots,
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
	bin := build(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := inner.Addr().(*net.TCPAddr).Port
	p := startPebble(t, bin, port, 8*time.Second)
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

	p.stop()
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
