// Command httpbench measures what proxying one request through the whole
// gateway costs, beside the reverse proxy alone, a bare httputil.ReverseProxy
// and nginx, in turns.
//
// The gateway is a replica as it is started in earnest, behind its own listener,
// on a PostgreSQL that really commits. On are: connection caps, body pace and
// strict framing of the listener; the shield's allowance per address;
// authentication and standing; three windows of the tenant and of the user and
// the cap on requests at once, with limits that do not bind; policy; the
// tenant's scope; the prompt detector over every string of a JSON body; the
// upstream's assertion; and the audit log: an act's intent and outcome, each
// durable before the next step, for a POST, a promised event for a GET.
// Numbering and publishing those events goes on in the same process. The others
// do none of this.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream/httpbench"
)

// childEnv hands the platform's pieces to the process that serves.
const childEnv = "OPENCLAW_HTTPBENCH_PLATFORM"

type pieces struct{ Database, JWTKey, AuditKey, Cert, CA, Tiers, Data, Token string }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "httpbench:", err)
		os.Exit(1)
	}
}

func run() error {
	var p pieces
	if text := os.Getenv(childEnv); text != "" {
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return err
		}
	} else {
		stop, err := platform(&p)
		if err != nil {
			return err
		}
		defer stop()
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if err := os.Setenv(childEnv, string(text)); err != nil {
			return err
		}
	}
	httpbench.Main(httpbench.Server{
		Name: "gateway, all on", Serve: func(at httpbench.Site, ready func(string)) error { return gateway(p, at, ready) },
		Header: http.Header{"Authorization": {"Bearer " + p.Token}, "Accept-Language": {"en"}},
	})
	return nil
}

// platform brings up a database, keys and a tenant whose limits do not bind.
func platform(p *pieces) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "openclaw-httpbench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // root's database passes through
		return nil, err
	}
	p.Tiers = filepath.Join(dir, "tiers.yaml")
	text, err := os.ReadFile("internal/quota/tiers.yaml")
	if err != nil {
		return nil, fmt.Errorf("run this from the root of the repository: %w", err)
	}
	text = bytes.Replace(text, []byte("per_minute: 60, per_hour: 2000, per_day: 20000"), []byte("per_minute: 5000000, per_hour: 50000000, per_day: 500000000"), 1)
	text = bytes.Replace(text, []byte("concurrent: 10}"), []byte("concurrent: 1000}"), 1)
	if err := os.WriteFile(p.Tiers, text, 0o644); err != nil {
		return nil, err
	}
	port, err := app.FreePort()
	if err != nil {
		return nil, err
	}
	c, err := app.Load(map[string]string{"PORT": fmt.Sprint(port), "METRICS_PORT": "0", "DATA_DIR": filepath.Join(dir, "data"), "RATE_LIMIT_TIERS_FILE": p.Tiers})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d, err := app.StartDev(ctx, c, slog.New(slog.DiscardHandler), func(string, ...any) {})
	if err != nil {
		cancel()
		return nil, err
	}
	ready, ended := make(chan app.Addresses, 1), make(chan error, 1)
	go func() {
		ended <- d.Serve(ctx, func(at app.Addresses) error { ready <- at; return nil })
	}()
	stop = func() { cancel(); <-ended; d.Stop(); _ = os.RemoveAll(dir) }
	select {
	case at := <-ready:
		p.Token, err = login(at.API, d)
	case err = <-ended:
	}
	dc := d.Config
	p.Database, p.JWTKey, p.AuditKey, p.Cert, p.CA, p.Data = dc.DatabaseURL.Expose(), dc.JWTKeyFile, dc.AuditKeyFile, dc.TLSCertFile, dc.ClientCAFile, dc.Data
	if err != nil {
		stop()
	}
	return stop, err
}

func login(url string, d *app.Dev) (string, error) {
	a := d.Tenants[0]
	body, err := json.Marshal(map[string]string{"email": a.Email, "password": a.Password})
	if err != nil {
		return "", err
	}
	// The certificate is our own, of a minute ago, on loopback.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Post(url+"/v1/auth/login", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var t struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &t); err != nil || t.Token == "" {
		return "", errors.New("log in: " + string(text))
	}
	return t.Token, nil
}

// gateway is a replica on the platform's database with one route, behind its own
// listener.
func gateway(p pieces, at httpbench.Site, ready func(string)) error {
	routes := filepath.Join(filepath.Dir(p.Tiers), "routes.yaml")
	text := "version: 1\nroutes:\n  - match: /\n    upstream: " + at.Upstream + "\n    limit: write\n    inspect:\n      - {field: body, for: [prompt]}\n"
	if err := os.WriteFile(routes, []byte(text), 0o644); err != nil {
		return err
	}
	port, err := app.FreePort()
	if err != nil {
		return err
	}
	c, err := app.Load(map[string]string{
		"DATABASE_URL": p.Database, "JWT_PRIVATE_KEY_FILE": p.JWTKey, "AUDIT_SIGNING_KEY_FILE": p.AuditKey, "TLS_CERT_FILE": at.CertFile, "TLS_KEY_FILE": at.KeyFile,
		"ROUTES_FILE": routes, "RATE_LIMIT_TIERS_FILE": p.Tiers, "DDOS_IP_LIMIT": "10000000", "DATA_DIR": p.Data,
		"PUBLIC_URL": "https://bench.example", "LOG_LEVEL": "error", "PORT": fmt.Sprint(port), "METRICS_PORT": "0",
	})
	if err != nil {
		return err
	}
	c.URL = issuer(p.Token)
	ctx := context.Background()
	a, err := app.Build(ctx, c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	return a.Serve(ctx, func(app.Addresses) error { ready(fmt.Sprintf("127.0.0.1:%d", port)); return nil })
}

// issuer reads a token's own iss: the replica has to be the same installation.
func issuer(token string) string {
	parts := strings.Split(token, ".")
	var c struct {
		Issuer string `json:"iss"`
	}
	if len(parts) == 3 {
		if text, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(text, &c)
		}
	}
	return c.Issuer
}
