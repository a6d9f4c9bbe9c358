package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/embedded/pgserver"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// replica is one running process's worth of platform.
type replica struct {
	*app.App
	url    string // where it answers, which is not always what it calls itself
	client *http.Client
	halt   func() // ends serving
	stop   func() // and what was built
}

// The platform under attack: two replicas on one database. East takes platform
// operators by certificate only, west by address.
var (
	dev      *app.Dev
	east     *replica
	west     *replica
	roots    *x509.CertPool
	operator tls.Certificate
	super    string // DSN of the database's superuser
	logs     = &logBuffer{}
	passhash string // of password, so that test users cost no argon2
)

const (
	passwordOfAll = "correct-horse-battery-staple-57"
	listedOrigin  = "https://app.example.com"
)

// tiers has room for the tests in one tier and next to none in another.
const tiers = `version: 1
classes: [read, write, expensive, login, probe]
tiers:
  standard:
    tenant: {per_minute: 6, per_hour: 60, per_day: 600, burst: 1, concurrent: 5}
    user: unlimited
    classes:
      read: shared
      write: shared
      expensive: shared
      login: {tenant: unlimited, user: {per_minute: 5, per_hour: 60, burst: 1}}
      probe: unlimited
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
  enhanced:
    tenant: {per_minute: 6, per_hour: 60, per_day: 600, burst: 1, concurrent: 5}
    user: unlimited
    classes:
      read: shared
      write: shared
      expensive: shared
      login: {tenant: unlimited, user: {per_minute: 5, per_hour: 60, burst: 1}}
      probe: unlimited
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
  dedicated:
    tenant: unlimited
    user: unlimited
    classes: {read: unlimited, write: unlimited, expensive: unlimited, login: unlimited, probe: unlimited}
    sandbox: {cpu_cores: 8, memory_mb: 8192, timeout: 1h, network_mbps: 1000, disk_mb: 51200}
`

// logBuffer keeps what the platform logs, for the search for secrets.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "openclaw-e2e-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	// Root's PostgreSQL drops to another account, which has to pass through.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fail(err)
	}
	if err := start(dir); err != nil {
		return fail(err)
	}
	code := m.Run()
	west.stop()
	east.stop()
	for _, complaint := range checkLogs(context.Background()) {
		code = max(code, fail(errors.New(complaint)))
	}
	dev.Stop()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil {
		code = max(code, fail(fmt.Errorf("the platform stopped and left: %w", err)))
	}
	for _, complaint := range secretsInLogs() {
		code = max(code, fail(fmt.Errorf("the log %s", complaint)))
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func start(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	table := filepath.Join(dir, "tiers.yaml")
	if err := os.WriteFile(table, []byte(tiers), 0o600); err != nil {
		return err
	}
	port, err := app.FreePort()
	if err != nil {
		return err
	}
	c, err := app.Load(map[string]string{
		"PORT": fmt.Sprint(port), "DATA_DIR": filepath.Join(dir, "data"), "METRICS_PORT": "0", "DDOS_IP_LIMIT": "1000000",
		"RATE_LIMIT_TIERS_FILE": table, "RATE_LIMIT_TIER": "dedicated", "ALLOWED_ORIGINS": listedOrigin, "LOG_LEVEL": "debug",
		"OPENCLAW_PG_BIN": os.Getenv("OPENCLAW_PG_BIN"), "PUBLIC_URL": fmt.Sprintf("https://localhost:%d", port),
	})
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if dev, err = app.StartDev(ctx, c, log, func(string, ...any) {}); err != nil {
		return err
	}
	roots = x509.NewCertPool()
	text, err := os.ReadFile(dev.CAFile)
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(text)
	if operator, err = tls.LoadX509KeyPair(dev.OperatorCert, dev.OperatorCert); err != nil {
		return err
	}
	if east, err = serve(dev.App); err != nil {
		return err
	}
	c = dev.Config
	if c.Port, err = app.FreePort(); err != nil {
		return err
	}
	allow, err := app.Load(map[string]string{"ADMIN_IP_ALLOWLIST": "127.0.0.0/8,::1/128"})
	if err != nil {
		return err
	}
	c.AdminAllow = allow.AdminAllow
	a, err := app.Build(ctx, c, log)
	if err != nil {
		return err
	}
	if west, err = serve(a); err != nil {
		return err
	}
	dsn, err := url.Parse(dev.Config.DatabaseURL.Expose())
	if err != nil {
		return err
	}
	dsn.User = url.User(pgserver.Superuser)
	super = dsn.String()
	passhash, err = dev.Identity.Passwords.Hash(ctx, passwordOfAll)
	return err
}

// serve runs a built platform until its stop is called; stopping twice is fine.
func serve(a *app.App) (*replica, error) {
	ctx, cancel := context.WithCancel(context.Background())
	at, ended := make(chan app.Addresses, 1), make(chan error, 1)
	go func() { ended <- a.Serve(ctx, func(x app.Addresses) error { at <- x; return nil }) }()
	select {
	case x := <-at:
		r := &replica{App: a, url: x.API, client: newClient(nil)}
		r.halt = sync.OnceFunc(func() {
			r.client.CloseIdleConnections()
			cancel()
			<-ended
		})
		r.stop = sync.OnceFunc(func() {
			r.halt()
			a.Close()
		})
		return r, nil
	case err := <-ended:
		cancel()
		return nil, err
	}
}

func nopLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newClient trusts the platform's CA and follows nothing.
func newClient(cert *tls.Certificate) *http.Client {
	c := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: c, MaxIdleConnsPerHost: 32, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// secrets are values that must never reach a log or an event.
var secrets struct {
	sync.Mutex
	seen map[string]string // value: what it is
}

// secret remembers v as one, and gives it back.
func secret(what, v string) string {
	if v != "" {
		secrets.Lock()
		defer secrets.Unlock()
		if secrets.seen == nil {
			secrets.seen = map[string]string{passwordOfAll: "a password"}
		}
		secrets.seen[v] = what
	}
	return v
}

func secretsIn(text string) (found []string) {
	secrets.Lock()
	defer secrets.Unlock()
	for v, what := range secrets.seen {
		if strings.Contains(text, v) {
			found = append(found, "holds "+what)
		}
	}
	return found
}

func secretsInLogs() []string {
	text := logs.String()
	found := secretsIn(text)
	for _, bad := range []string{"panicked", marker} {
		if at := strings.Index(text, bad); at >= 0 {
			found = append(found, fmt.Sprintf("holds %q: %s", bad, text[max(0, at-300):min(len(text), at+700)]))
		}
	}
	return found
}

// insert adds a user without the cost of a hash of its own.
func insert(ctx context.Context, room plane.Room, u identity.User) error {
	ev := audit.Event{Type: audit.UserChanged, Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem, ID: "test"}, Resource: "user/" + u.ID.String()}
	_, err := room.Change(ctx, ev, func(tx plane.Tx) error {
		if err := dev.Store.InsertUser(ctx, tx, u, identity.EmailDigest(u.Email)); err != nil {
			return err
		}
		for _, r := range u.Roles {
			if err := dev.Store.GrantRole(ctx, tx, u.ID, r, "test"); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
