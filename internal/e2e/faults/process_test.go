package faults

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a running `openclaw serve`.
type process struct {
	cmd    *exec.Cmd
	addr   string
	client *http.Client
	ended  chan struct{}
	said   said
	halt   func() // set for one that runs in this process
	halted sync.Once
}

// said is the end of what a process logged.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b.Len() > 256<<10 {
		s.b.Reset()
	}
	s.b.WriteString(text + "\n")
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var servingAt = regexp.MustCompile(`"msg":"serving","api":"https://localhost:(\d+)"`)

// command is this binary as openclaw, with the machine's configuration.
func (m *machine) command(t testing.TB, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = m.dir
	cmd.Env = []string{beOpenclaw + "=1", "HOME=" + m.dir, "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR")}
	for k, v := range m.with(env) {
		if v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	return cmd
}

// spawn starts a replica and waits until it serves.
func (m *machine) spawn(t testing.TB, env map[string]string) *process {
	t.Helper()
	p := &process{cmd: m.command(t, env, "serve"), ended: make(chan struct{})}
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan string, 1)
	go func() {
		defer close(p.ended)
		up := false
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadString('\n')
			if line = strings.TrimSpace(line); line != "" {
				p.said.line(line)
			}
			if at := servingAt.FindStringSubmatch(line); at != nil && !up {
				up = true
				serving <- at[1]
			}
			if err != nil {
				break
			}
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.kill() })
	select {
	case port := <-serving:
		p.addr = "127.0.0.1:" + port
	case <-p.ended:
		t.Fatalf("openclaw did not start: %s", p.said.String())
	case <-time.After(60 * time.Second):
		t.Fatalf("openclaw does not serve after a minute: %s", p.said.String())
	}
	p.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13, ServerName: "localhost"},
		MaxIdleConnsPerHost: 32, DisableCompression: true, DialContext: dialer(p.addr),
	}}
	return p
}

// patience is how long a client waits for any answer: more than every bound of
// the platform's own.
const patience = 30 * time.Second

// kill is kill -9.
func (p *process) kill() {
	if p.halt != nil {
		p.halted.Do(p.halt)
		if p.client != nil {
			p.client.CloseIdleConnections()
		}
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.ended
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
}

// stop asks it to end, as an operator does.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if p.halt != nil {
		p.kill()
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(60 * time.Second):
		t.Errorf("it does not stop: %s", p.said.String())
		p.kill()
	}
	p.client.CloseIdleConnections()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it stopped with %d: %s", code, p.said.String())
	}
}

// ask is one request.
type ask struct {
	method, path, token, id, key string
	ifMatch                      string
	body                         any
}

// answer is a response, read whole.
type answer struct {
	status int
	body   []byte
}

func (a answer) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.body, &p)
	return p.Code
}

func (a answer) into(v any) error { return json.Unmarshal(a.body, v) }

// send asks once. An error means that nobody knows whether it was done.
func (p *process) send(ctx context.Context, q ask) (answer, error) {
	var body io.Reader
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, "https://"+p.addr+q.path, body)
	if err != nil {
		return answer{}, err
	}
	// Go's client would send some requests again by itself; the count of what
	// was asked is ours.
	req.GetBody = nil
	for name, value := range map[string]string{"X-Request-Id": q.id, "Idempotency-Key": q.key, "If-Match": q.ifMatch} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, text}, err
}

// get is send for the test's own questions, which must be answered: at most
// once for each connection that the database's last end has left dead.
func (p *process) get(t testing.TB, path, token string, want int) (a answer) {
	t.Helper()
	var err error
	for range 20 {
		if a, err = p.send(t.Context(), ask{method: "GET", path: path, token: token}); err == nil && a.status == want {
			return a
		}
		if err != nil || a.status != http.StatusServiceUnavailable {
			break
		}
	}
	t.Fatalf("GET %s: %d %.300s, %v; want %d", path, a.status, a.body, err, want)
	return a
}
