package acme

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/authn/localca"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// certmagic keeps one rate limiter per authority for the life of the process,
// and what refreshes a lock file notices within five seconds that it is gone.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	good := Config{Domains: []string{"api.example.com"}, Agreed: true, Dir: t.TempDir()}
	for name, f := range map[string]func(*Config){
		"not agreed":       func(c *Config) { c.Agreed = false },
		"no domains":       func(c *Config) { c.Domains = nil },
		"localhost":        func(c *Config) { c.Domains = []string{"localhost"} },
		"wildcard":         func(c *Config) { c.Domains = []string{"*.example.com"} },
		"capitals":         func(c *Config) { c.Domains = []string{"API.example.com"} },
		"space":            func(c *Config) { c.Domains = []string{"a b.example.com"} },
		"bad mail":         func(c *Config) { c.Email = "Maria <m@example.com>" },
		"plain http":       func(c *Config) { c.Directory = "http://ca.example" },
		"no url":           func(c *Config) { c.Directory = "ca" },
		"no folder":        func(c *Config) { c.Dir = "" },
		"folder is a file": func(c *Config) { c.Dir = "/dev/null/x" },
	} {
		c := good
		f(&c)
		if m, err := New(c); err == nil {
			m.Stop()
			t.Errorf("took %s", name)
		}
	}
}

// With the authority away there is no certificate, no other one in its place,
// and nothing left behind.
func TestAuthorityAway(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := gone.Addr().String()
	_ = gone.Close()
	m, err := New(Config{Domains: []string{"api.example.com"}, Agreed: true, Dir: t.TempDir(), Directory: "https://" + addr + "/dir"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(context.Background()); err == nil {
		t.Error("started twice")
	}
	for _, name := range []string{"api.example.com", "other.example.com", ""} {
		near, far := net.Pipe()
		_ = far.Close()
		if cert, err := m.GetCertificate(&tls.ClientHelloInfo{ServerName: name, Conn: near}); err == nil {
			t.Errorf("%q got %v", name, cert)
		}
		_ = near.Close()
	}
	m.Stop()
	m.Stop()
	if err := m.Start(context.Background()); err == nil {
		t.Error("started after it was stopped")
	}
}

// The whole way with a real authority: Pebble, the test server of Let's Encrypt.
// It runs where the program is: go install
// github.com/letsencrypt/pebble/v2/cmd/pebble@v2.8.0, or its path in PEBBLE.
func TestPebble(t *testing.T) {
	bin := os.Getenv("PEBBLE")
	if bin == "" {
		var err error
		if bin, err = exec.LookPath("pebble"); err != nil {
			t.Skip("pebble is not installed")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	// Every name leads here.
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg)
		a.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 1 IN A 127.0.0.1")
			a.Answer = append(a.Answer, rr)
		}
		_ = w.WriteMsg(a)
	})}
	up := make(chan struct{})
	resolver.NotifyStartedFunc = func() { close(up) }
	go func() { _ = resolver.ActivateAndServe() }()
	<-up
	defer func() { _ = resolver.Shutdown() }()

	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := inner.Addr().(*net.TCPAddr).Port

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
		"listenAddress": api, "certificate": pair, "privateKey": pair, "httpPort": 1, "tlsPort": port,
		"profiles": map[string]any{"default": map[string]any{"description": "x", "validityPeriod": 86400}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	confFile := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(confFile, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, bin, "-config", confFile, "-dnsserver", pc.LocalAddr().String(), "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	listening := make(chan struct{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		var seen strings.Builder
		buf, told := make([]byte, 4096), false
		for {
			n, err := out.Read(buf)
			seen.Write(buf[:n])
			if !told && strings.Contains(seen.String(), "Listening on") {
				told = true
				close(listening)
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() { cancel(); <-drained }()
	select {
	case <-listening:
	case <-ctx.Done():
		t.Fatal("pebble does not listen")
	}

	obtained := make(chan struct{}, 1)
	m, err := New(Config{
		Domains: []string{"api.openclaw-test.com"}, Email: "ops@openclaw-test.com", Agreed: true,
		Directory: "https://" + api + "/dir", Roots: ca.Pool(), Dir: filepath.Join(dir, "acme"), Port: port,
		Log: slog.New(signal{slog.NewTextHandler(io.Discard, nil), obtained}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	l, err := authn.NewListener(authn.ListenerConfig{GetCertificate: m.GetCertificate, NextProtos: m.NextProtos()})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "hello") }), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(tls.NewListener(inner, l.TLSConfig())) }()
	defer func() { _ = server.Close(); <-served }()
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-obtained:
	case <-ctx.Done():
		t.Fatal("no certificate")
	}
	conn, err := tls.Dial("tcp", inner.Addr().String(), &tls.Config{ServerName: "api.openclaw-test.com", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // pebble's root is made anew each time
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	st := conn.ConnectionState()
	leaf := st.PeerCertificates[0]
	if leaf.VerifyHostname("api.openclaw-test.com") != nil || !strings.Contains(leaf.Issuer.CommonName, "Pebble") || st.Version != tls.VersionTLS13 {
		t.Errorf("serving %v by %v", leaf.DNSNames, leaf.Issuer)
	}
	if _, err := tls.Dial("tcp", inner.Addr().String(), &tls.Config{ServerName: "evil.openclaw-test.com", InsecureSkipVerify: true}); err == nil { //nolint:gosec // see above
		t.Error("served a name that is not ours")
	}
}

// signal tells when the log says that a certificate is served.
type signal struct {
	slog.Handler
	obtained chan struct{}
}

func (s signal) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "serving certificate" {
		select {
		case s.obtained <- struct{}{}:
		default:
		}
	}
	return nil
}
