package cli_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit/sink/sinktest"
)

// lastEvent is the number of a log's newest event.
func (p *platform) lastEvent(t testing.TB, token string) int64 {
	t.Helper()
	var page struct{ Items []struct{ Seq int64 } }
	if status, err := p.call("GET", "/v1/audit/events?order=desc&limit=1", token, nil, &page); err != nil || status != 200 || len(page.Items) != 1 {
		t.Fatalf("events: %d, %v", status, err)
	}
	return page.Items[0].Seq
}

func (p *platform) remember(t testing.TB, token string, n int) {
	t.Helper()
	for i := range n {
		if status, err := p.call("POST", "/v1/memories", token, map[string]any{"text": fmt.Sprintf("note %d", i)}, nil); err != nil || status != 201 {
			t.Fatalf("a write: %d, %v", status, err)
		}
	}
}

// A platform that is killed in the middle of deliveries, with its database, goes
// on where it was: no receiver misses an event. A bad file leaves the old sinks
// at work.
func TestSinksSurviveKill(t *testing.T) {
	t.Parallel()
	certs := sinktest.NewCerts(t)
	siem := sinktest.NewSyslog(t, &tls.Config{Certificates: []tls.Certificate{certs.Server}, MinVersion: tls.VersionTLS12})
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hook := sinktest.NewWebhook(t, certs, func() string { return secret })
	file := filepath.Join(t.TempDir(), "sinks.yaml")
	text := fmt.Sprintf(`version: 1
sinks:
  - name: siem
    from: first
    batch: 40
    retry: {first: 10ms, most: 200ms}
    timeout: 2s
    syslog: {address: %q, server_name: localhost, ca_file: %q}
  - name: hook
    from: first
    personal: true
    batch: 10
    retry: {first: 10ms, most: 200ms}
    webhook: {url: %q, ca_file: %q, secret_file: %q}
`, siem.Address, certs.CAFile, hook.URL, certs.CAFile, sinktest.File(t, "secret", secret))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tiers := filepath.Join(t.TempDir(), "tiers.yaml")
	if err := os.WriteFile(tiers, unlimitedTiers(t), 0o644); err != nil {
		t.Fatal(err)
	}
	data := dataFolder(t)
	env := []string{"AUDIT_SINKS_FILE=" + file, "RATE_LIMIT_TIERS_FILE=" + tiers, "DDOS_IP_LIMIT=1000000"}

	siem.Dies.Store(15) // batches never come through: the kill meets them under way
	p := start(t, data, env...)
	acme := p.Tenants[0].ID
	p.remember(t, p.login(t, 0), 120)
	siem.AwaitSome(t, acme, 10)
	hook.AwaitSome(t, acme, 30)
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	gone(t, data)
	siem.Dies.Store(0)

	p = start(t, data, env...)
	token := p.login(t, 0)
	last := p.lastEvent(t, token)
	siem.Await(t, acme, last)
	hook.Await(t, acme, last)
	if wrong := append(siem.Wrong(), hook.Wrong()...); len(wrong) > 0 {
		t.Errorf("wrong: %q", wrong)
	}
	if n, twice := hook.Tally(acme, last); n != last || twice > 20 {
		t.Errorf("of %d events %d arrived, %d twice", last, n, twice)
	}

	list := func() map[string]map[string]any {
		t.Helper()
		cmd := command(t, "audit", "sinks", "--json", "--data", data)
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var all []map[string]any
		if err := json.Unmarshal(out, &all); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		byName := map[string]map[string]any{}
		for _, s := range all {
			byName[s["sink"].(string)] = s
		}
		return byName
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) { // polls another process
			if time.Now().After(end) {
				t.Fatalf("not in 30 s: %s: %v\n%s", what, list(), p.errs)
			}
		}
	}
	until("both are current", func() bool {
		l := list()
		return len(l) == 2 && l["siem"]["state"] == "current" && l["hook"]["state"] == "current" && l["siem"]["held"] == true && l["hook"]["kind"] == "webhook"
	})
	if l := list(); l["siem"]["error"] == nil || l["siem"]["failures"].(float64) == 0 {
		t.Errorf("the list says %v", l["siem"])
	}
	resp, err := http.Get(p.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	for _, want := range []string{`openclaw_audit_sink_state{sink="siem",state="current"} 1`, `openclaw_audit_sink_behind{sink="hook"} 0`, `openclaw_audit_sink_holding{sink="hook"} 1`} {
		if err != nil || !strings.Contains(string(metrics), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}

	// A bad file changes nothing but the log; a good one comes into force.
	if err := os.WriteFile(file, []byte(strings.Replace(text, "batch: 10", "batch: none", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	house := func(outcome, reason string) int {
		cmd := command(t, "audit", "export", "--tenant", "platform", "--data", data, "-o", filepath.Join(t.TempDir(), "x"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b, err := os.ReadFile(cmd.Args[len(cmd.Args)-1])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), `"outcome":"`+outcome+`","reason":"`+reason+`"`)
	}
	until("the bad file is refused", func() bool { return house("refused", "sinks_refused") == 1 })
	p.remember(t, token, 5)
	last = p.lastEvent(t, token)
	hook.Await(t, acme, last)
	if err := os.WriteFile(file, []byte(strings.Replace(text, "batch: 10", "batch: 11", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	until("the new file is in force", func() bool { return house("success", "sinks_loaded") == 3 }) // two starts and this
	p.remember(t, token, 5)
	last = p.lastEvent(t, token)
	hook.Await(t, acme, last)
	siem.Await(t, acme, last)

	// A bad file refuses the start, with its line.
	bad := command(t, "dev", "--json", "--data", dataFolder(t), "--port", "0")
	if err := os.WriteFile(file+".bad", []byte("version: 1\nsinks:\n  - name: x\n    otpl: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bad.Env = append(bad.Env, "AUDIT_SINKS_FILE="+file+".bad")
	if out, err := bad.CombinedOutput(); err == nil || !strings.Contains(string(out), "sinks.yaml.bad:4:5") || !strings.Contains(string(out), "did you mean otlp?") {
		t.Errorf("a bad file at the start: %v\n%s", err, out)
	}
}
