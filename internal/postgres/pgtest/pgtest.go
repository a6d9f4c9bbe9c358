// Package pgtest gives a test a real PostgreSQL: one private server per test
// binary, a freshly migrated database per test. Tests connect as the
// application's role, never as the owner, unless they play the operator.
package pgtest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/embedded/pgserver"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Super is the cluster's superuser: the operator with root.
const Super = "openclaw_super"

var (
	once   sync.Once
	server *pgserver.Server
	failed error
	folder string
	number atomic.Int64
)

// Run is for TestMain: it runs the tests and stops the server that they
// started, if any did.
func Run(m *testing.M) int {
	code := m.Run()
	if server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			code = max(code, 1)
		}
	}
	if folder != "" {
		_ = os.RemoveAll(folder)
	}
	return code
}

func start() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	bin, err := pgserver.Find(ctx, pgserver.Options{Bin: os.Getenv("OPENCLAW_PG_BIN")})
	if err != nil {
		failed = fmt.Errorf("%w: run `make deps`", err)
		return
	}
	if folder, failed = os.MkdirTemp("", "openclaw-pg-"); failed != nil {
		return
	}
	// Root's server drops to another account, which has to pass through here.
	if failed = os.Chmod(folder, 0o711); failed != nil {
		return
	}
	if server, failed = pgserver.Start(ctx, pgserver.Config{Data: filepath.Join(folder, "data"), Binaries: bin, MaxConnections: 300}); failed != nil {
		return
	}
	if failed = postgres.Bootstrap(ctx, server.DSN(Super, "postgres"), "template"); failed != nil {
		return
	}
	_, failed = postgres.Migrate(ctx, server.DSN(postgres.OwnerRole, "template"))
}

// DB is one test's database.
type DB struct {
	Name string
	App  string // URL of the application's role
	// Owner and SuperURL are for tests that play the operator.
	Owner    string
	SuperURL string
}

// New makes a database for the test and drops it afterwards.
func New(t testing.TB) DB {
	t.Helper()
	once.Do(start)
	if failed != nil {
		t.Fatalf("a real PostgreSQL is needed: %v", failed)
	}
	db := DB{Name: fmt.Sprintf("t%d", number.Add(1))}
	exec(t, `CREATE DATABASE `+db.Name+` OWNER openclaw_owner TEMPLATE template`)
	t.Cleanup(func() { exec(t, `DROP DATABASE IF EXISTS `+db.Name+` WITH (FORCE)`) })
	db.App = server.DSN(postgres.AppRole, db.Name)
	db.Owner = server.DSN(postgres.OwnerRole, db.Name)
	db.SuperURL = server.DSN(Super, db.Name)
	return db
}

// Empty makes a database without a schema.
func Empty(t testing.TB) DB {
	t.Helper()
	once.Do(start)
	if failed != nil {
		t.Fatalf("a real PostgreSQL is needed: %v", failed)
	}
	db := DB{Name: fmt.Sprintf("t%d", number.Add(1))}
	exec(t, `CREATE DATABASE `+db.Name+` OWNER openclaw_owner TEMPLATE template0`)
	t.Cleanup(func() { exec(t, `DROP DATABASE IF EXISTS `+db.Name+` WITH (FORCE)`) })
	db.App = server.DSN(postgres.AppRole, db.Name)
	db.Owner = server.DSN(postgres.OwnerRole, db.Name)
	db.SuperURL = server.DSN(Super, db.Name)
	return db
}

// createMu: CREATE DATABASE needs its template to itself.
var createMu sync.Mutex

func exec(t testing.TB, sql string) {
	t.Helper()
	createMu.Lock()
	defer createMu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.DSN(Super, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Operator connects as the superuser: what the wall must hold against.
func (db DB) Operator(t testing.TB) *pgx.Conn { return connect(t, db.SuperURL) }

// Application connects as the application's role, beside the store.
func (db DB) Application(t testing.TB) *pgx.Conn { return connect(t, db.App) }

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Open opens a store on the database, with the house planted.
func (db DB) Open(t testing.TB) *postgres.Store {
	t.Helper()
	return db.OpenSigning(t, postgres.Signing{})
}

// SigningHost is in the origin of the logs that tests sign.
const SigningHost = "audit.test.example"

// Key is a key for audit logs, the same for the same name.
func Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// OpenSigning is Open for a store that signs the audit log.
func (db DB) OpenSigning(t testing.TB, keys postgres.Signing) *postgres.Store {
	t.Helper()
	if keys.Key != nil && keys.Host == "" {
		keys.Host = SigningHost
	}
	s, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, MaxConns: 12, Signing: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.PlantHouse(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// Tenant adds a tenant as the operator and admits to it.
func (db DB) Tenant(t testing.TB, s *postgres.Store, name string) tenant.Scope {
	t.Helper()
	id := tenant.NewID()
	if _, err := db.Operator(t).Exec(t.Context(), `INSERT INTO tenants (id, name, tier) VALUES ($1, $2, 'standard')`, id.String(), strings.ToLower(name)); err != nil {
		t.Fatal(err)
	}
	scope, err := tenant.NewDoor(s).Admit(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return scope
}
