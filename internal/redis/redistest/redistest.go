// Package redistest starts private Redis servers for tests: loopback only,
// nothing on disk, gone with the test.
package redistest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is one redis-server of a test's own.
type Server struct {
	tb   testing.TB
	bin  string
	port int
	args []string

	mu   sync.Mutex
	quit chan struct{} // closing ends the process; nil while none runs
	done chan struct{} // closed when it has ended
	pid  int
}

// Start runs a server on a free port of 127.0.0.1 and waits until it answers.
// Without redis-server the test is skipped, or fails where CI is set. More
// arguments are handed on, e.g. "--maxmemory", "8mb".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatal("redis-server is not installed")
		}
		tb.Skip("redis-server is not installed")
	}
	s := &Server{tb: tb, bin: bin, args: args}
	tb.Cleanup(s.Kill)
	for range 5 { // another process may take the port in between
		s.port = freePort(tb)
		if err = s.run(); err == nil {
			return s
		}
	}
	tb.Fatalf("start redis-server: %v", err)
	return nil
}

// StartCluster is Start in cluster mode: one node that owns every slot and
// refuses what a cluster refuses, such as a script over keys of several slots.
func StartCluster(tb testing.TB) *Server {
	tb.Helper()
	s := Start(tb, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(tb)))
	s.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(s.Do("CLUSTER", "INFO"), "cluster_state:ok"); {
		if time.Now().After(deadline) {
			tb.Fatal("the cluster does not come up")
		}
		time.Sleep(10 * time.Millisecond) // the node decides by a timer of its own
	}
	return s
}

// StartMasters is a cluster of n masters that share the slots evenly.
func StartMasters(tb testing.TB, n int) []*Server {
	tb.Helper()
	all := make([]*Server, n)
	for i := range all {
		bus := fmt.Sprint(freePort(tb))
		all[i] = Start(tb, "--cluster-enabled", "yes", "--cluster-port", bus)
		all[i].Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*16384/n), fmt.Sprint((i+1)*16384/n-1))
		all[i].Do("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		if i > 0 {
			all[0].Do("CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(all[i].port), bus)
		}
	}
	for _, s := range all {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // nodes gossip by timers of their own
			info := s.Do("CLUSTER", "INFO")
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d", n)) {
				break
			}
			if time.Now().After(deadline) {
				tb.Fatalf("the cluster does not come up: %s", info)
			}
		}
	}
	return all
}

// Addr is host:port and stays the same over Kill and Restart.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Kill ends the server with SIGKILL and waits until it is gone. Its data goes
// with it. Killing twice is fine.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quit == nil {
		return
	}
	close(s.quit)
	<-s.done
	s.quit = nil
}

// Restart runs the server again, empty, at the same address.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		s.tb.Fatalf("restart redis-server: %v", err)
	}
}

// Pause stops the process without closing its connections, as a hung server or
// a lost network would look; Resume lets it go on.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quit != nil {
		_ = syscall.Kill(s.pid, sig)
	}
}

// Do sends one command on a connection of its own and returns the raw reply,
// e.g. "+OK\r\n": for looking behind an adapter's back.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := s.do(args...)
	if err != nil {
		s.tb.Fatalf("redis %s: %v", strings.Join(args, " "), err)
	}
	return reply
}

// Keys lists every key of the server.
func (s *Server) Keys() []string {
	s.tb.Helper()
	lines := strings.Split(s.Do("KEYS", "*"), "\r\n")
	var keys []string
	for i := 2; i < len(lines); i += 2 { // *n, then $len and the key, n times
		keys = append(keys, lines[i])
	}
	return keys
}

func (s *Server) do(args ...string) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(c, "$%d\r\n%s\r\n", len(a), a)
	}
	// One reply and the end: QUIT closes the connection after answering.
	fmt.Fprint(c, "*1\r\n$4\r\nQUIT\r\n")
	all, err := io.ReadAll(c)
	return strings.TrimSuffix(string(all), "+OK\r\n"), err
}

func (s *Server) run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	args := append([]string{
		"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--protected-mode", "yes",
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", s.tb.TempDir(),
	}, s.args...)
	cmd := exec.Command(s.bin, args...)
	// The server dies with us even when we are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	quit, done, started := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		// Pdeathsig follows the thread that forked, not the process (prctl(2)):
		// this thread stays until the server has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		<-quit
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return err
	}
	s.quit, s.done, s.pid = quit, done, cmd.Process.Pid
	ready := make(chan bool, 1)
	go func() { // ends when the pipe does, with the process
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			if strings.Contains(sc.Text(), "Ready to accept connections") {
				select {
				case ready <- true:
				default:
				}
			}
		}
		close(ready)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	select {
	case ok := <-ready:
		if ok {
			return nil
		}
		err = fmt.Errorf("it ended at once")
	case <-ctx.Done():
		err = ctx.Err()
	}
	close(quit)
	<-done
	s.quit = nil
	return err
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
