package cli_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// What was opened by somebody who may no longer ask does not go on: a stolen
// session's open streams end with the session, a tenant's with its suspension,
// the upstream sees its client leave, and the log says that it was cut.
func TestStreamsEndWithTheirBearer(t *testing.T) {
	t.Parallel()
	left := make(chan string, 16)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Header.Get("X-Name")
		defer func() { left <- name }()
		if r.URL.Path == "/s/socket" {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			_, _, _ = c.Read(context.Background()) // until the other side goes
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(backend.Close)
	routes := filepath.Join(t.TempDir(), "routes.yaml")
	text := "version: 1\nroutes:\n  - {match: /s/, upstream: \"" + backend.URL + "\", limit: write}\n"
	if err := os.WriteFile(routes, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, dataFolder(t), "ROUTES_FILE="+routes)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	// open returns what tells how the stream ended.
	open := func(name, token, method, path string) <-chan error {
		t.Helper()
		ended := make(chan error, 1)
		h := http.Header{"Authorization": {"Bearer " + token}, "X-Name": {name}}
		if path == "/s/socket" {
			c, _, err := websocket.Dial(ctx, strings.Replace(p.URL, "https", "wss", 1)+path,
				&websocket.DialOptions{HTTPClient: &http.Client{Transport: p.client.Transport}, HTTPHeader: h})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			go func() { _, _, err := c.Read(ctx); _ = c.CloseNow(); ended <- err }()
			return ended
		}
		req, err := http.NewRequestWithContext(ctx, method, p.URL+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		resp, err := (&http.Client{Transport: p.client.Transport}).Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		lines := bufio.NewReader(resp.Body)
		if line, err := lines.ReadString('\n'); err != nil || line != "data: first\n" {
			t.Fatalf("%s: %q, %v", name, line, err)
		}
		go func() { _, err := io.Copy(io.Discard, lines); _ = resp.Body.Close(); ended <- err }()
		return ended
	}
	cut := func(name string, ended <-chan error) {
		t.Helper()
		select {
		case err := <-ended:
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s ended with %v; want it cut", name, err)
			}
		case <-ctx.Done():
			t.Fatalf("%s goes on", name)
		}
	}
	gone := func(names ...string) {
		t.Helper()
		want := map[string]bool{}
		for _, n := range names {
			want[n] = true
		}
		for range names {
			select {
			case n := <-left:
				if !want[n] {
					t.Errorf("the upstream lost %q, want one of %v", n, names)
				}
			case <-ctx.Done():
				t.Fatal("the upstream still serves what was cut")
			}
		}
	}

	stolen, own, other := p.login(t, 0), p.login(t, 0), p.login(t, 1)
	streams := map[string]<-chan error{}
	for _, s := range []struct{ name, token, method, path string }{
		{"stolen get", stolen, "GET", "/s/events"}, {"stolen post", stolen, "POST", "/s/events"}, {"stolen socket", stolen, "GET", "/s/socket"},
		{"own get", own, "GET", "/s/events"}, {"own socket", own, "GET", "/s/socket"}, {"other get", other, "GET", "/s/events"},
	} {
		streams[s.name] = open(s.name, s.token, s.method, s.path)
	}
	if status, err := p.call("POST", "/v1/auth/logout", stolen, nil, nil); err != nil || status != 204 {
		t.Fatal(status, err)
	}
	for _, name := range []string{"stolen get", "stolen post", "stolen socket"} {
		cut(name, streams[name])
	}
	gone("stolen get", "stolen post", "stolen socket")

	var page struct {
		Items []struct {
			Type, Outcome, Reason string
			Details               map[string]any
		}
	}
	if status, err := p.call("GET", "/v1/audit/events?type=UNAUTHORIZED_ACCESS", own, nil, &page); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	statuses := map[any]int{}
	for _, e := range page.Items {
		if e.Outcome == "refused" && e.Reason == "unauthorized" && e.Details["stage"] == "authn" {
			statuses[e.Details["status"]]++
		}
	}
	if statuses[200.0] != 2 || statuses[101.0] != 1 {
		t.Errorf("the log says of the cuts %+v", page.Items)
	}

	cert, err := tls.LoadX509KeyPair(p.Operator, p.Operator)
	if err != nil {
		t.Fatal(err)
	}
	operator := p.client.Transport.(*http.Transport).Clone()
	operator.TLSClientConfig.Certificates = []tls.Certificate{cert}
	defer operator.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, "POST", p.URL+"/v1/tenants/"+p.Tenants[0].ID+"/suspend", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: operator}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != 200 {
		t.Fatalf("suspend: %d", resp.StatusCode)
	}
	cut("own get", streams["own get"])
	cut("own socket", streams["own socket"])
	gone("own get", "own socket")
	select {
	case err := <-streams["other get"]:
		t.Errorf("another tenant's stream ended: %v", err)
	default:
	}
}
