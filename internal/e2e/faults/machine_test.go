package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/embedded/pgserver"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
)

// tiers: no limits.
var tiers = func() string {
	text := "version: 1\nclasses: [read, write, expensive, login, probe]\ntiers:\n"
	for _, name := range []string{"standard", "enhanced", "dedicated"} {
		text += "  " + name + `:
    tenant: unlimited
    user: unlimited
    classes: {read: unlimited, write: unlimited, expensive: unlimited, login: unlimited, probe: unlimited}
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
`
	}
	return text
}()

// machine is one computer: a PostgreSQL, platforms that come and go, and
// something outside that they act on.
type machine struct {
	dir     string
	pgc     pgserver.Config
	pg      *pgserver.Server
	env     map[string]string
	outside *outside
	plain   *customer // its reads follow their answers
	strict  *customer // its reads are durable first
}

// customer is a tenant with one administrator.
type customer struct {
	id, name, email, token string
}

// quiet is a log that nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newMachine starts a PostgreSQL in data ("": a folder of the test's own) and
// makes two tenants.
func newMachine(t *testing.T, data string) *machine {
	t.Helper()
	m := &machine{dir: folder(t), outside: newOutside(t)}
	if data == "" {
		data = m.dir
	}
	bin, err := pgserver.Find(t.Context(), pgserver.Options{Bin: os.Getenv("OPENCLAW_PG_BIN")})
	if err != nil {
		t.Fatalf("a real PostgreSQL is needed: %v: run `make deps`", err)
	}
	m.pgc = pgserver.Config{
		Data: filepath.Join(data, "pg"), Binaries: bin, MaxConnections: 100, SharedBuffers: "32MB", Logger: quiet(),
		Settings: map[string]string{"min_wal_size": "32MB", "max_wal_size": "64MB", "wal_recycle": "off"},
	}
	m.startPG(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = m.pg.Stop(ctx)
	})
	if err := postgres.Bootstrap(t.Context(), m.super("postgres"), "openclaw"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Migrate(t.Context(), m.pg.DSN(postgres.OwnerRole, "openclaw")); err != nil {
		t.Fatal(err)
	}
	tiersFile, routes := filepath.Join(m.dir, "tiers.yaml"), filepath.Join(m.dir, "routes.yaml")
	write(t, tiersFile, tiers)
	write(t, routes, "version: 1\nroutes:\n  - match: /outside/\n    upstream: "+m.outside.URL+"\n    limit: write\n")
	m.env = map[string]string{
		"DATABASE_URL": m.pg.DSN(postgres.AppRole, "openclaw"), "PORT": "0", "PUBLIC_URL": "https://localhost:3000", "MONITORING_ENABLED": "false",
		"TLS_CERT_FILE": certFile, "TLS_KEY_FILE": certFile, "JWT_PRIVATE_KEY_FILE": jwtFile, "AUDIT_SIGNING_KEY_FILE": auditFile,
		"RATE_LIMIT_TIERS_FILE": tiersFile, "ROUTES_FILE": routes, "DDOS_IP_LIMIT": "10000000", "JWT_ACCESS_EXPIRY": "2h",
		"DATA_DIR": filepath.Join(m.dir, "data"), "LOG_LEVEL": "info",
	}
	m.settle(t)
	return m
}

// folder can be passed through by the account that root's PostgreSQL runs as.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ocf-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// settle makes the tenants, as an operator would before anything goes wrong.
func (m *machine) settle(t *testing.T) {
	t.Helper()
	c, err := app.Load(m.env)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Build(t.Context(), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m.plain, m.strict = newCustomer(t, a, "plain"), newCustomer(t, a, "strict")
	room, err := a.Identity.Enter(t.Context(), m.strict.name)
	if err != nil {
		t.Fatal(err)
	}
	ev := setup
	ev.Type, ev.Resource = audit.ConfigChanged, "audit"
	if _, err := room.Change(t.Context(), ev, func(tx plane.Tx) error {
		return a.Store.SetAuditSettings(t.Context(), tx, audit.Settings{DurableReads: true})
	}); err != nil {
		t.Fatal(err)
	}
}

var setup = audit.Event{Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem, ID: "test"}}

func newCustomer(t testing.TB, a *app.App, name string) *customer {
	t.Helper()
	rec, err := a.Identity.CreateTenant(t.Context(), a.Store, setup, name, "standard")
	if err != nil {
		t.Fatal(err)
	}
	room, err := a.Identity.Enter(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	u := identity.User{ID: uuid.Must(uuid.NewV7()), Email: "admin@" + name + ".example", Hash: passhash, Roles: []string{"tenant_admin"}, Active: true}
	session := uuid.New()
	ev := setup
	ev.Type, ev.Resource = audit.UserChanged, "user/"+u.ID.String()
	if _, err := room.Change(t.Context(), ev, func(tx plane.Tx) error {
		if err := a.Store.InsertUser(t.Context(), tx, u, identity.EmailDigest(u.Email)); err != nil {
			return err
		}
		if err := a.Store.GrantRole(t.Context(), tx, u.ID, "tenant_admin", "test"); err != nil {
			return err
		}
		return a.Store.InsertSession(t.Context(), tx, identity.Session{ID: session, Subject: u.ID, Expires: time.Now().Add(48 * time.Hour)})
	}); err != nil {
		t.Fatal(err)
	}
	kept, err := a.Store.User(t.Context(), room.Scope(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := policy.ParseRoleSet(u.Roles)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := a.Identity.Minter.Mint(authn.Grant{Tenant: room.Scope().ID(), Subject: u.ID.String(), Kind: policy.KindUser, Roles: roles, Session: session, Epoch: kept.Epoch})
	if err != nil {
		t.Fatal(err)
	}
	return &customer{id: rec.ID.String(), name: name, email: u.Email, token: tok.Text}
}

func (m *machine) super(database string) string { return m.pg.DSN(pgserver.Superuser, database) }

// startPG starts the database again, on whatever the last one left.
func (m *machine) startPG(t testing.TB) {
	t.Helper()
	if err := m.tryPG(); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) tryPG() error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	pg, err := pgserver.Start(ctx, m.pgc)
	if err == nil {
		m.pg = pg
	}
	return err
}

// killPG is kill -9 of the postmaster; what it started notices and goes.
func (m *machine) killPG(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(m.pg.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-m.pg.Done()
}

// sql runs a statement as the cluster's superuser: for what is no evidence.
func (m *machine) sql(text string, into ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, m.super("openclaw"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if len(into) > 0 {
		return conn.QueryRow(ctx, text).Scan(into...)
	}
	_, err = conn.Exec(ctx, text)
	return err
}

func (m *machine) number(t testing.TB, text string) (n int64) {
	t.Helper()
	if err := m.sql(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (m *machine) with(env map[string]string) map[string]string {
	all := maps.Clone(m.env)
	maps.Copy(all, env)
	return all
}

// outside is the world that acts change: it counts what really arrived.
type outside struct {
	*httptest.Server
	mu      sync.Mutex
	arrived map[string]int
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{arrived: map[string]int{}}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		o.mu.Lock()
		o.arrived[r.Header.Get("X-Request-Id")]++
		o.mu.Unlock()
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *outside) effects() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.arrived)
}

var errEnded = errors.New("the process ended")

// dialer of a process that may be gone: a refused connection is an answer too.
func dialer(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errEnded, err)
		}
		return c, nil
	}
}

// quitPG is pg_ctl stop -m immediate.
func (m *machine) quitPG(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(m.pg.PID(), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-m.pg.Done()
}
