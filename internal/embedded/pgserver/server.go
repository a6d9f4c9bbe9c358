package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	logName = "postgres.log"
	// maxLog is the size above which a start puts the old log aside.
	maxLog = 8 << 20
	// quitGrace bounds each step harsher than a fast shutdown.
	quitGrace = 5 * time.Second
)

// Server is a running PostgreSQL.
type Server struct {
	cmd         *exec.Cmd
	socket      string
	cluster     string
	logPath     string
	logStart    int64
	lock        *os.File
	log         *slog.Logger
	stopTimeout time.Duration
	stopping    atomic.Bool
	done        chan struct{}
	err         error // valid once done is closed
}

// Start starts the server of a data folder and returns once it takes
// connections. The folder is initialised when it is empty. ctx bounds the
// start alone: the server runs until Stop, or until this process dies. An
// *InUseError means that another process has the folder.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	begun := time.Now()
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()

	data, err := makeData(cfg.Data)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(ctx, data, orphanGrace, func() { quitOrphan(data, cfg.Logger) })
	if err != nil {
		return nil, err
	}
	launched := false
	defer func() {
		if !launched {
			unlockFolder(lock)
		}
	}()

	home, acc, err := settle(ctx, cfg, data)
	if err != nil {
		return nil, err
	}
	cluster := filepath.Join(home, clusterName)
	if pid, ok := postmaster(cluster); ok {
		return nil, &InUseError{Data: data, PID: pid, Command: processName(pid)}
	}
	fresh := clusterMajor(cluster) == 0
	if fresh {
		cfg.Logger.InfoContext(ctx, "making a private PostgreSQL cluster", "path", cluster, "account", acc.name, "version", cfg.Binaries.Version)
	}
	if err := initCluster(ctx, cfg.Binaries, acc, home, lock); err != nil {
		return nil, err
	}
	if m := clusterMajor(cluster); m != cfg.Binaries.Major {
		return nil, fmt.Errorf("starting postgres: %s was made by PostgreSQL %d and the binaries in %s are %d; install release %d or migrate with pg_upgrade", cluster, m, cfg.Binaries.Dir, cfg.Binaries.Major, m)
	}
	socket, err := socketDir(ctx, cfg.Binaries, acc, home)
	if err != nil {
		return nil, err
	}
	// We hold the lock and no server lives here, so these are leftovers of a
	// kill. Their process ids may by now belong to somebody else, which
	// PostgreSQL would take for a running server.
	for _, path := range []string{
		filepath.Join(cluster, "postmaster.pid"),
		filepath.Join(socket, socketName),
		filepath.Join(socket, socketName+".lock"),
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("starting postgres: clearing leftovers: %w", err)
		}
	}

	logPath := filepath.Join(home, logName)
	logFile, logStart, err := openLog(logPath)
	if err != nil {
		return nil, fmt.Errorf("starting postgres: %w", err)
	}
	defer logFile.Close()

	s := &Server{
		socket: socket, cluster: cluster, logPath: logPath, logStart: logStart,
		lock: lock, log: cfg.Logger, stopTimeout: cfg.StopTimeout, done: make(chan struct{}),
	}
	s.cmd = exec.Command(filepath.Join(cfg.Binaries.Dir, "postgres"), cfg.args(cluster, socket)...)
	s.cmd.Dir = cluster
	s.cmd.Env = cleanEnv()
	s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
	s.cmd.ExtraFiles = []*os.File{lock}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: acc.cred,
		// SIGQUIT is an immediate shutdown: the postmaster takes every child
		// with it. The next start recovers from the log.
		Pdeathsig: syscall.SIGQUIT,
		// A terminal's Ctrl-C goes to the whole foreground group; in a group
		// of its own the server waits for our ordered stop.
		Setpgid: true,
	}
	if err := s.launch(); err != nil {
		return nil, fmt.Errorf("starting postgres: %w", err)
	}
	launched = true
	if err := s.awaitReady(ctx); err != nil {
		s.stopping.Store(true)
		stopErr := s.force()
		return nil, errors.Join(err, stopErr)
	}
	s.log.InfoContext(ctx, "private PostgreSQL is ready", "version", cfg.Binaries.Version, "pid", s.PID(), "socket", socket, "fresh", fresh, "took", time.Since(begun).Round(time.Millisecond))
	return s, nil
}

// settle decides where the cluster lives and as whom the server runs.
func settle(ctx context.Context, cfg Config, data string) (home string, acc account, err error) {
	home, err = currentHome(data)
	if err != nil {
		return "", account{}, err
	}
	acc, err = chooseAccount(filepath.Join(home, clusterName))
	if err != nil {
		return "", account{}, err
	}
	if !acc.enters(ctx, cfg.Binaries, "/") {
		if err := ctx.Err(); err != nil {
			return "", account{}, fmt.Errorf("starting postgres: %w", err)
		}
		return "", account{}, fmt.Errorf("starting postgres: account %s cannot run the programs in %s; install them where every account can", acc.name, cfg.Binaries.Dir)
	}
	if acc.enters(ctx, cfg.Binaries, home) {
		return home, acc, nil
	}
	if err := ctx.Err(); err != nil {
		return "", account{}, fmt.Errorf("starting postgres: %w", err)
	}
	if home != data || clusterMajor(filepath.Join(home, clusterName)) != 0 {
		return "", account{}, fmt.Errorf("starting postgres: account %s can no longer enter %s; let it pass with chmod o+x on that folder and those above it", acc.name, home)
	}
	home, err = relocate(data, cfg.Fallback)
	if err != nil {
		return "", account{}, err
	}
	cfg.Logger.WarnContext(ctx, "the data folder cannot be entered by the account PostgreSQL runs as; its cluster goes elsewhere", "data", data, "account", acc.name, "cluster", home)
	if !acc.enters(ctx, cfg.Binaries, home) {
		return "", account{}, fmt.Errorf("starting postgres: account %s can enter neither %s nor %s; choose a data folder that other accounts can pass through", acc.name, data, home)
	}
	return home, acc, nil
}

// quitOrphan ends a server that outlived its parent in spite of the kernel.
func quitOrphan(data string, log *slog.Logger) {
	home, err := currentHome(data)
	if err != nil {
		return
	}
	if pid, ok := postmaster(filepath.Join(home, clusterName)); ok {
		log.Warn("ending a PostgreSQL whose parent is gone", "pid", pid)
		_ = syscall.Kill(pid, syscall.SIGQUIT)
	}
}

// launch starts the process from a thread that waits for it: the kernel sends
// the parent-death signal when the thread that forked ends, so that thread
// must live as long as the child and not a moment less.
func (s *Server) launch() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = s.cmd.Wait()
		unlockFolder(s.lock)
		_ = os.Remove(filepath.Join(s.socket, socketName)) // left over unless it stopped in order
		_ = os.Remove(filepath.Join(s.socket, socketName+".lock"))
		_ = os.Remove(s.socket)
		if !s.stopping.Load() {
			state := "exit status 0"
			if err != nil {
				state = err.Error()
			}
			s.err = fmt.Errorf("postgres ended by itself: %s: %s", state, s.logTail())
			s.log.Error("private PostgreSQL ended by itself", "state", state, "log", s.logPath)
		}
		close(s.done)
	}()
	return <-started
}

// awaitReady connects until the server answers. Anything but "starting up"
// and a missing socket ends the wait.
func (s *Server) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(pollInterval / 2)
	defer tick.Stop()
	for {
		conn, err := pgconn.Connect(ctx, s.DSN(Superuser, "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code != "57P03" { // cannot_connect_now
			return fmt.Errorf("starting postgres: %w", err)
		}
		select {
		case <-s.done:
			return fmt.Errorf("starting postgres: %w", s.err)
		case <-ctx.Done():
			return fmt.Errorf("starting postgres: not ready in time: %w: %s", ctx.Err(), s.logTail())
		case <-tick.C:
		}
	}
}

// Stop disconnects everybody and shuts down with a checkpoint. Past the
// deadline of ctx or Config.StopTimeout it takes harsher means and says so in
// its error; nothing acknowledged is lost either way. Stopping again, or
// after the server died, is fine.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Store(true)
	ctx, cancel := context.WithTimeout(ctx, s.stopTimeout)
	defer cancel()
	if ctx.Err() == nil {
		if err := s.signal(syscall.SIGINT); err != nil {
			return err
		}
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	if err := s.force(); err != nil {
		return err
	}
	return fmt.Errorf("stopping postgres: fast shutdown did not end in time, so it was cut short: %w", ctx.Err())
}

// force ends the server without its consent and waits for its death.
func (s *Server) force() error {
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if err := s.signal(sig); err != nil {
			return err
		}
		select {
		case <-s.done:
			return nil
		case <-time.After(quitGrace):
		}
	}
	return fmt.Errorf("stopping postgres: process %d survived SIGKILL", s.PID())
}

func (s *Server) signal(sig syscall.Signal) error {
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping postgres: %w", err)
	}
	return nil
}

// Done is closed once the server process is gone.
func (s *Server) Done() <-chan struct{} { return s.done }

// Wait blocks until the server is gone. It returns nil after Stop, and
// otherwise why the server ended by itself.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// PID is the process id of the postmaster.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Socket is the folder of the unix socket.
func (s *Server) Socket() string { return s.socket }

// Cluster is PostgreSQL's data directory.
func (s *Server) Cluster() string { return s.cluster }

// LogPath is the server's log file.
func (s *Server) LogPath() string { return s.logPath }

// DSN is a postgres:// URL for pgx and libpq. It holds no secret: reaching
// the socket is the authority.
func (s *Server) DSN(user, database string) string {
	q := url.Values{"host": {s.socket}, "port": {"5432"}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// openLog opens the log for appending and says where this run begins.
func openLog(path string) (*os.File, int64, error) {
	if st, err := os.Lstat(path); err == nil && st.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// logTail is the end of what the server logged since this start.
func (s *Server) logTail() string {
	f, err := os.Open(s.logPath)
	if err != nil {
		return "no log"
	}
	defer f.Close()
	start := s.logStart
	if st, err := f.Stat(); err == nil {
		start = max(start, st.Size()-4096)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, start, 4096))
	if err != nil || len(b) == 0 {
		return "no log"
	}
	return lastLines(b, 5)
}
