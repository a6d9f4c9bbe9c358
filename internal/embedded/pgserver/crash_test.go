package pgserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestCrashDuringInit(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	// What a kill in the middle of initdb leaves: a sibling without an end.
	half := filepath.Join(cfg.Data, initPrefix+"123", "base")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
	if left, _ := filepath.Glob(filepath.Join(cfg.Data, initPrefix+"*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestInitCancelled(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	start(t, cfg)
}

func TestStalePidOfSomebodyElse(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	s := start(t, cfg)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The number of the dead server now belongs to some other program of the
	// same account, which is what PostgreSQL itself cannot tell apart.
	acc, err := chooseAccount(s.Cluster())
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("cat")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: acc.cred}
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = other.Wait()
	}()
	stale := fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n\n", other.Process.Pid, s.Cluster(), s.Socket())
	if err := os.WriteFile(filepath.Join(s.Cluster(), "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := acc.own(filepath.Join(s.Cluster(), "postmaster.pid")); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
}

func TestDiesByItself(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	s := start(t, cfg)
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("Done is still open")
	}
	if err := s.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Wait: got %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("stopping a dead server: %v", err)
	}
	// Its children may still be leaving; the next start waits for them.
	s = start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select 1"); got != "1" {
		t.Error("no restart after a kill")
	}
}

// program starts the test binary as a parent of a server, as another account
// when cred is given.
func program(t *testing.T, data string, cred *syscall.Credential) (*exec.Cmd, io.Closer, hello) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if cred != nil { // go test builds where only we can enter
		b, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		exe = filepath.Join(folder(t), "program")
		if err := os.WriteFile(exe, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+data)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the program said nothing: %v", err)
	}
	var h hello
	if err := json.Unmarshal(line, &h); err != nil {
		t.Fatalf("the program said %q: %v", line, err)
	}
	return cmd, in, h
}

// family returns every live process that works in the cluster's folder: the
// postmaster and all its children.
func family(t *testing.T, cluster string) []int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == cluster {
			pid, err := strconv.Atoi(strings.Split(l, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func awaitGone(t *testing.T, cluster string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		pids := family(t, cluster)
		if len(pids) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("processes %v outlived their parent", pids)
		case <-time.After(pollInterval):
		}
	}
}

func TestKilledParent(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	cmd, _, h := program(t, cfg.Data, nil)
	if h.Err != "" {
		t.Fatal(h.Err)
	}
	query(t, h.DSN, "create table kept (v int); insert into kept values (42)")
	if n := len(family(t, h.Cluster)); n < 3 {
		t.Fatalf("only %d processes before the kill: the test would prove nothing", n)
	}

	_, err := Start(t.Context(), cfg)
	var used *InUseError
	if !errors.As(err, &used) || used.PID != cmd.Process.Pid {
		t.Fatalf("folder of another process: got %v, want an InUseError naming %d", err, cmd.Process.Pid)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	awaitGone(t, h.Cluster)
	s := start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select v from kept"); got != "42" {
		t.Errorf("committed row: got %q", got)
	}
}

// The new start meets the dying server of the old parent, open transactions
// and all. Held still, that server shows that the start waits for it.
func TestRestartRightAfterKill(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	cmd, _, h := program(t, cfg.Data, nil)
	if h.Err != "" {
		t.Fatal(h.Err)
	}
	query(t, h.DSN, "create table kept (v int); insert into kept values (1)")
	conn, err := pgconn.Connect(t.Context(), h.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "begin; insert into kept values (2)").ReadAll(); err != nil {
		t.Fatal(err)
	}
	// The children, not the postmaster: the kernel wakes a stopped process
	// group whose parent dies.
	var children []int
	for _, pid := range family(t, h.Cluster) {
		if pid != h.PID {
			children = append(children, pid)
		}
	}
	hold(t, children...)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	mustWait(t, cfg)
	resume(t, children...)
	s := start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select string_agg(v::text, ',') from kept"); got != "1" {
		t.Errorf("rows: got %q, want the committed one alone", got)
	}
}

// byHand runs the server of a stopped folder as if somebody else had started
// it: not tied to this process, with the lock in hand when one is given.
func byHand(t *testing.T, cfg Config, s *Server, lock *os.File) *exec.Cmd {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	acc, err := chooseAccount(s.Cluster())
	if err != nil {
		t.Fatal(err)
	}
	socket, err := socketDir(t.Context(), cfg.Binaries, acc, filepath.Dir(s.Cluster()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(cfg.Binaries.Dir, "postgres"), cfg.args(s.Cluster(), socket)...)
	cmd.Dir, cmd.Env = s.Cluster(), cleanEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: acc.cred}
	if lock != nil {
		cmd.ExtraFiles = []*os.File{lock}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
	})
	deadline := time.After(30 * time.Second)
	for {
		if conn, err := pgconn.Connect(t.Context(), s.DSN(Superuser, "postgres")); err == nil {
			_ = conn.Close(t.Context())
			return cmd
		}
		select {
		case <-deadline:
			t.Fatal("the server by hand does not answer")
		case <-time.After(pollInterval):
		}
	}
}

func TestServerOfAnother(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	s := start(t, cfg)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	cmd := byHand(t, cfg, s, nil)
	_, err := Start(t.Context(), cfg)
	var used *InUseError
	if !errors.As(err, &used) || used.PID != cmd.Process.Pid {
		t.Fatalf("got %v, want an InUseError naming %d", err, cmd.Process.Pid)
	}
	if got := query(t, s.DSN(Superuser, "postgres"), "select 1"); got != "1" {
		t.Error("the refused start hurt the running server")
	}
}

func TestOrphanIsEnded(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	s := start(t, cfg)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	lock, err := lockFolder(t.Context(), cfg.Data, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	cmd := byHand(t, cfg, s, lock)
	unlockFolder(lock)
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		_ = cmd.Wait()
	}()

	var used *InUseError
	if _, err := lockFolder(t.Context(), cfg.Data, 50*time.Millisecond, nil); !errors.As(err, &used) {
		t.Fatalf("the orphan does not hold the lock: %v", err)
	}
	lock, err = lockFolder(t.Context(), cfg.Data, 6*time.Second, func() { quitOrphan(cfg.Data, quiet()) })
	if err != nil {
		t.Fatal(err)
	}
	unlockFolder(lock)
	<-reaped
	start(t, cfg)
}

// kill -9 in the middle of initdb, which a second start meets at once.
// hold stops processes in their tracks until resume or the test's end.
func hold(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { resume(t, pids...) })
}

func resume(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

// holds says whether a process has a file open, or is gone already.
func holds(pid int, path string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == path {
			return true
		}
	}
	return processStart(pid) == ""
}

// mustWait starts a server that has to wait for another's remains.
func mustWait(t *testing.T, cfg Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	s, err := Start(ctx, cfg)
	if err == nil {
		_ = s.Stop(t.Context())
	}
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "locking") {
		t.Errorf("beside the remains of another server: got %v, want a wait for the lock", err)
	}
}

func TestKilledDuringInit(t *testing.T) {
	t.Parallel()
	cfg := config(t, folder(t))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+cfg.Data)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	var writers []int
	for {
		if half, _ := filepath.Glob(filepath.Join(cfg.Data, initPrefix+"*", "base", "1")); len(half) > 0 {
			if writers = family(t, filepath.Dir(filepath.Dir(half[0]))); len(writers) > 1 {
				break
			}
		}
		select {
		case <-deadline:
			t.Fatal("initdb makes nothing")
		case <-time.After(time.Millisecond):
		}
	}
	for _, pid := range writers {
		if !holds(pid, filepath.Join(cfg.Data, lockName)) {
			t.Errorf("process %d (%s) writes without the lock", pid, processName(pid))
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if ClusterMajor(cfg.Data) != 0 {
		t.Fatal("the cluster was complete before the kill: the test proves nothing")
	}
	s := start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select 1"); got != "1" {
		t.Error("no answer")
	}
}
