package acme

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

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
