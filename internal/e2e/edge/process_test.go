package edge

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/app"
)

// process is openclaw in a process of its own, which the kernel tells about:
// the test's own memory and descriptors are not in its figures.
type process struct {
	*replica
	pid int
}

// spawn runs `openclaw serve` and stops it with the test.
func (w *world) spawn(t *testing.T, env map[string]string) *process {
	t.Helper()
	all := w.with(env)
	port, err := strconv.Atoi(all["PORT"])
	if port == 0 {
		port, err = app.FreePort()
	}
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "serve")
	cmd.Dir = w.dir
	cmd.Env = []string{beOpenclaw + "=1", "HOME=" + w.dir, "PATH=" + os.Getenv("PATH")}
	all["PORT"] = strconv.Itoa(port)
	for k, v := range all {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving, ended := make(chan struct{}), make(chan struct{})
	var said bytes.Buffer // read after ended
	go func() {
		defer close(ended)
		up := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if said.Len() < 64<<10 {
				said.WriteString(lines.Text() + "\n")
			}
			if !up && strings.Contains(lines.Text(), "serving") {
				up = true
				close(serving)
			}
		}
	}()
	p := &process{&replica{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, cmd.Process.Pid}
	p.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		<-ended
		_ = cmd.Wait()
		late.Stop()
	})
	t.Cleanup(p.stop)
	select {
	case <-serving:
	case <-ended:
		t.Fatalf("openclaw did not start: %s", said.String())
	}
	p.client = closing(t, p.dial(nil, nil))
	return p
}

// memory is the process's resident memory, and its highest so far, in bytes.
func (p *process) memory(t testing.TB) (now, most int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			most = n << 10
		}
	}
	return now, most
}

// descriptors is how many files and sockets the process has open.
func (p *process) descriptors(t testing.TB) int {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// room is how many connections the limit on descriptors leaves to a test.
func room(t testing.TB, want int) int {
	t.Helper()
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	lim.Cur = lim.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	if have := int(lim.Cur) - 2000; have < want {
		t.Logf("the limit of %d descriptors leaves %d connections", lim.Cur, have)
		return have
	}
	return want
}
