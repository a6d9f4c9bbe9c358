package pgserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"
)

// childEnv makes the test binary a program that runs a server on the folder
// it names, says so on standard output and then waits to be killed.
const childEnv = "PGSERVER_TEST_CHILD"

func TestMain(m *testing.M) {
	if data := os.Getenv(childEnv); data != "" {
		child(data)
	}
	goleak.VerifyTestMain(m)
}

type hello struct {
	PID     int
	DSN     string
	Cluster string
	Err     string
}

func child(data string) {
	say := func(h hello) { _ = json.NewEncoder(os.Stdout).Encode(h) }
	ctx := context.Background()
	b, err := Find(ctx, Options{Bin: os.Getenv("OPENCLAW_PG_BIN")})
	if err != nil {
		say(hello{Err: err.Error()})
		os.Exit(1)
	}
	s, err := Start(ctx, Config{Data: data, Binaries: b, Logger: quiet()})
	if err != nil {
		say(hello{Err: err.Error()})
		os.Exit(1)
	}
	say(hello{PID: s.PID(), DSN: s.DSN(Superuser, "postgres"), Cluster: s.Cluster()})
	// The parent's end of standard input closes when the test dies.
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = s.Stop(ctx)
	os.Exit(0)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func binaries(t *testing.T) Binaries {
	t.Helper()
	b, err := Find(t.Context(), Options{Bin: os.Getenv("OPENCLAW_PG_BIN")})
	if err != nil {
		t.Fatalf("the tests need a PostgreSQL server: %v", err)
	}
	return b
}

// folder is an empty folder that every account can pass through, which
// t.TempDir is not.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgserver-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func config(t *testing.T, data string) Config {
	return Config{Data: data, Binaries: binaries(t), MaxConnections: 20, SharedBuffers: "16MB", Fallback: filepath.Join(data, "never"), Logger: quiet()}
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// query returns the first column of the last statement's only row.
func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	res, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if last := res[len(res)-1]; len(last.Rows) == 1 {
		return string(last.Rows[0][0])
	}
	return ""
}

func TestDataSurvivesRestart(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(folder(t), "made", "by", "start"))
	s := start(t, cfg)
	query(t, s.DSN(Superuser, "postgres"), "create table kept (v text); insert into kept values ('ünïcode')")
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("waiting for a stopped server: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.Cluster(), "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("postmaster.pid after an orderly stop: %v", err)
	}
	s = start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select upper(v) from kept"); got != "ÜNÏCODE" {
		t.Errorf("after a restart: got %q", got)
	}
	if got := ClusterMajor(cfg.Data); got != cfg.Binaries.Major {
		t.Errorf("ClusterMajor: got %d, want %d", got, cfg.Binaries.Major)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	cfg.Settings = map[string]string{"work_mem": "5MB"}
	s := start(t, cfg)
	for name, want := range map[string]string{
		"listen_addresses": "", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
		"data_checksums": "on", "wal_level": "replica", "max_connections": "20", "shared_buffers": "16MB",
		"server_encoding": "UTF8", "work_mem": "5MB", "is_superuser": "on",
		"log_min_error_statement": "panic", "log_error_verbosity": "terse",
	} {
		if got := query(t, s.DSN(Superuser, "postgres"), "select current_setting('"+name+"')"); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for dir, perm := range map[string]os.FileMode{s.Cluster(): 0o700, s.Socket(): 0o700} {
		st, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != perm {
			t.Errorf("%s: mode %v, want %v", dir, st.Mode().Perm(), perm)
		}
	}
	// A process group of its own keeps a terminal's Ctrl-C away from it.
	if pgid, err := syscall.Getpgid(s.PID()); err != nil || pgid != s.PID() {
		t.Errorf("process group: got %d, %v, want %d", pgid, err, s.PID())
	}
	for _, port := range listening(t, s.PID()) {
		t.Errorf("listens on TCP port %d", port)
	}
}

// listening returns the TCP ports that a process listens on, from its own
// sockets and /proc/net/tcp(6).
func listening(t *testing.T, pid int) []int {
	t.Helper()
	mine := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("reading the server's descriptors: %d, %v", len(fds), err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.Trim(strings.TrimPrefix(to, "socket:"), "[]")] = true
		}
	}
	var ports []int
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !mine[f[9]] {
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			port, err := strconv.ParseInt(hex, 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, int(port))
		}
	}
	return ports
}

func TestContractSettingsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"fsync", "listen_addresses", "full_page_writes", "synchronous_commit", "unix_socket_directories", "log_min_error_statement", "FSYNC", "full-page-writes", "fsync=off", "", "work_mem -c fsync"} {
		cfg := config(t, filepath.Join(folder(t), "data"))
		cfg.Settings = map[string]string{name: "x"}
		if _, err := Start(t.Context(), cfg); err == nil {
			t.Errorf("%q was accepted", name)
		}
		if _, err := os.Stat(cfg.Data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: a refused start left a folder", name)
		}
	}
}

func TestSideBySideAndTwice(t *testing.T) {
	t.Parallel()
	one, two := config(t, folder(t)), config(t, folder(t))
	a, b := start(t, one), start(t, two)
	query(t, a.DSN(Superuser, "postgres"), "create table only_in_a ()")
	if got := query(t, b.DSN(Superuser, "postgres"), "select count(*) from pg_class where relname = 'only_in_a'"); got != "0" {
		t.Errorf("the two share a table")
	}

	_, err := Start(t.Context(), one)
	var used *InUseError
	if !errors.As(err, &used) || used.PID != os.Getpid() {
		t.Fatalf("same folder twice: got %v, want an InUseError naming process %d", err, os.Getpid())
	}
	if !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), one.Data) {
		t.Errorf("the error names neither holder nor folder: %v", err)
	}
	if got := query(t, a.DSN(Superuser, "postgres"), "select 1"); got != "1" {
		t.Error("the refused start hurt the running server")
	}
}

func TestStopPastItsDeadline(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	s := start(t, cfg)
	dsn := s.DSN(Superuser, "postgres")
	query(t, dsn, "create table kept (v int); insert into kept values (7)")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	select {
	case <-s.Done():
	default:
		t.Fatal("Stop returned before the server was gone")
	}
	s = start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select v from kept"); got != "7" {
		t.Errorf("committed row after a forced stop: got %q", got)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(folder(t), strings.Repeat("long/", 30), strings.Repeat("x", 120)))
	s := start(t, cfg)
	if n := len(filepath.Join(s.Socket(), socketName)); n > maxSocketPath {
		t.Errorf("socket path has %d bytes", n)
	}
	if got := query(t, s.DSN(Superuser, "postgres"), "select 1"); got != "1" {
		t.Error("no answer")
	}
	st, err := os.Stat(s.Socket())
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("socket folder: %v, %v", st, err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket folder was left behind: %v", err)
	}
}

// A neighbour may plant the foreseeable folder in /tmp; the server must not
// move in.
func TestLongPathSquatted(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(folder(t), strings.Repeat("y", 120)))
	s := start(t, cfg)
	foreseen := s.Socket()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	trap := folder(t)
	if err := os.Symlink(trap, foreseen); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(foreseen)
	s = start(t, cfg)
	if s.Socket() == foreseen {
		t.Error("moved into a planted folder")
	}
	if entries, err := os.ReadDir(trap); err != nil || len(entries) != 0 {
		t.Errorf("the trap holds %v, %v", entries, err)
	}
}

func TestForeignFolderKept(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	file := filepath.Join(cfg.Data, clusterName, "thesis.txt")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("years of work"), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Dir(file), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "not a PostgreSQL data directory") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "years of work" {
		t.Errorf("the folder was touched: %q, %v", b, err)
	}
}

func TestWrongRelease(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	s := start(t, cfg)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.Binaries.Major++
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "pg_upgrade") {
		t.Errorf("got %v", err)
	}
}

func TestBadSetting(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	cfg.Settings = map[string]string{"work_mem": "rubbish"}
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "work_mem") {
		t.Errorf("got %v, want the server's own words", err)
	}
	cfg.Settings = nil
	start(t, cfg)
}

// What a client sent must not come to rest in a file beside the database.
func TestLogHoldsNoStatements(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, folder(t)))
	conn, err := pgconn.Connect(t.Context(), s.DSN(Superuser, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{
		"create table once (v text primary key); insert into once values ('tenant-text')",
		"insert into once values ('tenant-text')", // its DETAIL would quote the value
		"select 1/0 as tenant_text",
	} {
		_, _ = conn.Exec(t.Context(), sql).ReadAll()
	}
	b, err := os.ReadFile(s.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "division by zero") {
		t.Fatalf("the errors are not in the log, so their text cannot be missed: %s", b)
	}
	for _, word := range []string{"tenant-text", "tenant_text"} {
		if strings.Contains(string(b), word) {
			t.Errorf("the log holds %q", word)
		}
	}
}

// BenchmarkRestart is one start on existing data and one stop.
func BenchmarkRestart(b *testing.B) {
	bin, err := Find(b.Context(), Options{Bin: os.Getenv("OPENCLAW_PG_BIN")})
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pgserver-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := Config{Data: filepath.Join(dir, "data"), Binaries: bin, Fallback: dir, Logger: quiet()}
	if err := os.Chmod(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	var starting time.Duration
	once := func() {
		begun := time.Now()
		s, err := Start(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		starting += time.Since(begun)
		if err := s.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	once() // initdb
	starting = 0
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
	b.ReportMetric(float64(starting.Milliseconds())/float64(b.N), "ms/start")
}
