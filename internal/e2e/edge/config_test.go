package edge

import (
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
)

// What the edge's variables refuse, and that the refusal names the variable.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		refuses string // the variable; "": fine
		env     map[string]string
	}{
		{"", nil},
		{"TRUSTED_PROXIES", map[string]string{"TRUSTED_PROXIES": "10.0.0.0/8,proxy.local"}},
		{"TRUSTED_PROXIES", map[string]string{"TRUSTED_PROXIES": "0.0.0.0/0"}},
		{"TRUSTED_PROXIES", map[string]string{"TRUSTED_PROXIES": "10.0.0.1,::/0"}},
		{"", map[string]string{"TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1, 2001:db8::/32"}},
		{"ADMIN_IP_ALLOWLIST", map[string]string{"ADMIN_IP_ALLOWLIST": "0.0.0.0/0"}},
		{"TRUSTED_PROXY_HEADER", map[string]string{"TRUSTED_PROXY_HEADER": "X-Forwarded-For"}},
		{"TRUSTED_PROXY_HEADER", map[string]string{"TRUSTED_PROXIES": "10.0.0.1", "TRUSTED_PROXY_HEADER": "X-Real-IP"}},
		{"", map[string]string{"TRUSTED_PROXIES": "10.0.0.1", "TRUSTED_PROXY_HEADER": "Forwarded"}},
		{"PROXY_PROTOCOL", map[string]string{"PROXY_PROTOCOL": "true"}},
		{"CLIENT_CERTS", map[string]string{"CLIENT_CERTS": "sometimes"}},
		{"CLIENT_CERTS", map[string]string{"CLIENT_CERTS": "required"}},
		{"CLIENT_CRL_FILE", map[string]string{"CLIENT_CRL_FILE": "x.crl"}},
		{"GEO_DATABASE", map[string]string{"GEO_BLOCK": "KP"}},
		{"GEO_DATABASE", map[string]string{"GEO_ALLOW": "DE"}},
		{"DDOS_IP_LIMIT", map[string]string{"DDOS_IP_LIMIT": "0"}},
		{"DDOS_IP_LIMIT", map[string]string{"DDOS_IP_LIMIT": "lots"}},
		{"DDOS_BLOCK_DURATION", map[string]string{"DDOS_BLOCK_DURATION": "-1h"}},
		{"DDOS_BLOCK_DURATION", map[string]string{"DDOS_BLOCK_DURATION": "forever"}},
		{"MAX_CONNECTIONS", map[string]string{"MAX_CONNECTIONS": "0"}},
		{"RATE_LIMIT_ON_FAILURE", map[string]string{"RATE_LIMIT_ON_FAILURE": "allow"}},
		{"REPLICAS", map[string]string{"REPLICAS": "3"}},
		{"", map[string]string{"REPLICAS": "3", "REDIS_URL": "redis://cache:6379"}},
		{"RATE_LIMIT_LEASE", map[string]string{"RATE_LIMIT_LEASE": "20"}},
		{"RATE_LIMIT_TIMEOUT", map[string]string{"RATE_LIMIT_TIMEOUT": "1h", "REDIS_URL": "redis://cache:6379"}},
		{"ACME_DOMAINS", map[string]string{"ACME_DOMAINS": "a.example", "TLS_CERT_FILE": "a", "TLS_KEY_FILE": "b", "DATA_DIR": "d"}},
		{"TLS_KEY_FILE", map[string]string{"TLS_CERT_FILE": "a"}},
		{"ENABLE_DDOS_PROTECTION", map[string]string{"ENV": "production", "ENABLE_DDOS_PROTECTION": "false"}},
		{"ENABLE_RATE_LIMITING", map[string]string{"ENV": "production", "ENABLE_RATE_LIMITING": "false"}},
		{"ENABLE_SECURITY", map[string]string{"ENV": "production", "ENABLE_SECURITY": "false"}},
		{"CLIENT_CERTS", map[string]string{"ENV": "production", "CLIENT_CA_FILE": "ca.pem"}},
	} {
		_, err := app.Load(x.env)
		switch {
		case x.refuses == "" && err != nil:
			t.Errorf("%v is refused: %v", x.env, err)
		case x.refuses != "" && (err == nil || !strings.Contains(err.Error(), x.refuses+": ")):
			t.Errorf("%v: want a refusal of %s, got %v", x.env, x.refuses, err)
		}
	}
}

// What production does not start with, found only by looking at the files and
// servers that the settings name.
func TestProductionDoesNotStartWith(t *testing.T) {
	t.Parallel()
	evicting := redistest.Start(t, "--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru")
	w := newWorld(t, map[string]string{"ENV": "production"})
	off := filepath.Join(w.dir, "off.yaml")
	write(t, off, strings.Replace(tiers, "login: unlimited, probe", "login: off, probe", 1))
	for _, x := range []struct {
		refuses string
		env     map[string]string
	}{
		{"", nil},
		{"RATE_LIMIT_TIERS_FILE", map[string]string{"RATE_LIMIT_TIERS_FILE": off}},
		{"RATE_LIMIT_TIERS_FILE", map[string]string{"RATE_LIMIT_TIERS_FILE": w.dir + "/none.yaml"}},
		{"RATE_LIMIT_TIER", map[string]string{"RATE_LIMIT_TIER": "golden"}},
		{"RATE_LIMIT_REDIS_URL", map[string]string{"RATE_LIMIT_REDIS_URL": "redis://" + evicting.Addr()}},
		{"RATE_LIMIT_REDIS_URL", map[string]string{"RATE_LIMIT_REDIS_URL": "http://cache"}},
		{"TLS_CERT_FILE", map[string]string{"TLS_CERT_FILE": "", "TLS_KEY_FILE": ""}},
		{"CLIENT_CA_FILE", map[string]string{"CLIENT_CA_FILE": off}},
	} {
		c, err := app.Load(w.with(x.env))
		if err == nil {
			var a *app.App
			if a, err = app.Build(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil {
				a.Close()
			}
		}
		switch {
		case x.refuses == "" && err != nil:
			t.Errorf("%v does not start: %v", x.env, err)
		case x.refuses != "" && (err == nil || !strings.Contains(err.Error(), x.refuses)):
			t.Errorf("%v: want a refusal of %s, got %v", x.env, x.refuses, err)
		}
	}

	// In development the same Redis and table are a warning, and it runs.
	dev := maps.Clone(w.env)
	maps.Copy(dev, map[string]string{"ENV": "development", "RATE_LIMIT_REDIS_URL": "redis://" + evicting.Addr(), "RATE_LIMIT_TIERS_FILE": off})
	c, err := app.Load(dev)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Build(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}
