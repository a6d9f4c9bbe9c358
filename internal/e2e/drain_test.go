package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/app"
)

// TestDrain stops a replica while a request is half sent: that one ends well,
// new ones find nobody, and readiness says so first.
func TestDrain(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	cfg := dev.Config
	var err error
	if cfg.Port, err = app.FreePort(); err != nil {
		t.Fatal(err)
	}
	a, err := app.Build(t.Context(), cfg, nopLog())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	at, ended := make(chan app.Addresses, 1), make(chan error, 1)
	go func() { ended <- a.Serve(ctx, func(x app.Addresses) error { at <- x; return nil }) }()
	host := strings.TrimPrefix((<-at).API, "https://")
	dial := func() (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", host, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	}
	exchange := func(conn net.Conn, r *bufio.Reader, request string) (*http.Response, error) {
		_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
		if _, err := conn.Write([]byte(request)); err != nil {
			return nil, err
		}
		return http.ReadResponse(r, nil)
	}
	slow, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	probe, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	probeReader := bufio.NewReader(probe)
	ready := "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	resp, err := exchange(probe, probeReader, ready)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("readyz before: %v %v", resp, err)
	}
	_ = resp.Body.Close()

	// The slow request has begun: its head is sent and "100 Continue" proves
	// that the handler waits for the body.
	body := `{"text":"` + marker + ` drained"}`
	_ = slow.SetDeadline(time.Now().Add(15 * time.Second))
	fmt.Fprintf(slow, "POST /v1/memories HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", tok, len(body))
	slowReader := bufio.NewReader(slow)
	if line, err := slowReader.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("no 100 Continue: %q %v", line, err)
	}
	if _, err := slowReader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	// New connections are refused once the listener is closed.
	deadline := time.Now().Add(5 * time.Second)
	for {
		conn, err := dial()
		if err != nil {
			break
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("a draining replica takes new connections")
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("it stopped while a request was under way: %v", err)
	default:
	}
	resp, err = exchange(slow, slowReader, body)
	if err != nil {
		t.Fatalf("the request that had begun was cut: %v", err)
	}
	if resp.StatusCode != 201 {
		t.Errorf("the request that had begun: %d", resp.StatusCode)
	}
	_ = resp.Body.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(app.Drain):
		t.Error("it did not stop after its last request")
	}
	// What was acknowledged is there, on another replica.
	if n := len(post(t, tok, "/v1/memories/search", map[string]any{"query": "drained"}).want(t, 200).items(t)); n != 1 {
		t.Errorf("%d memories of the drained request", n)
	}
}

// TestReadyFlips asks a draining platform itself, past its closed listener.
func TestReadyFlips(t *testing.T) {
	t.Parallel()
	r := another(t, dev.Config)
	req := func() *answerRecorder {
		w := &answerRecorder{header: http.Header{}}
		q, _ := http.NewRequest("GET", "https://localhost/readyz", nil)
		q.RemoteAddr = "127.0.0.1:1"
		q.RequestURI = "/readyz"
		r.Gateway.ServeHTTP(w, q)
		return w
	}
	if w := req(); w.status != 200 {
		t.Fatalf("readyz before the stop: %d", w.status)
	}
	ask{to: r, method: "GET", path: "/readyz"}.send(t).want(t, 200)
	r.halt()
	if w := req(); w.status != 503 || !strings.Contains(w.body.String(), `"serving":"unavailable"`) {
		t.Errorf("readyz of a draining replica: %d %s", w.status, w.body.String())
	}
}

type answerRecorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (a *answerRecorder) Header() http.Header { return a.header }
func (a *answerRecorder) WriteHeader(s int)   { a.status = s }
func (a *answerRecorder) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = 200
	}
	return a.body.Write(b)
}
