package file

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/sinktest"
	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

var about = About{Host: "openclaw.example.com", URL: "https://openclaw.example.com", Version: "0.1.0"}

// example uses every key; docs/SINKS.md shows the same.
func example(t testing.TB) string {
	c := sinktest.NewCerts(t)
	token := sinktest.File(t, "token", "B5A79AAD-D822-46CC-80D1-819F80D7BFB0\n")
	headers := sinktest.File(t, "headers", "Authorization: Bearer x\n")
	secret := sinktest.File(t, "secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
	return fmt.Sprintf(`version: 1
sinks:
  - name: siem
    tenants: all
    filter: {types: [LOGIN_FAILED, ROLE_GRANTED], severity: WARNING, outcomes: [refused, failed]}
    personal: true
    from: first
    batch: 250
    attempts: 3
    on_refused: halt
    timeout: 10s
    retry: {first: 1s, most: 5m}
    syslog: {address: "logs.example.com:6514", transport: tls, ca_file: %[1]q, cert_file: %[2]q, key_file: %[3]q, server_name: logs.internal,
      format: cef, facility: local3, hostname: edge-1, app_name: claw, sd_id: claw@32473, max_message: 4096, bom: false}
  - name: splunk
    tenants: [acme, platform]
    splunk_hec: {url: "https://hec.example.com:8088", token_file: %[4]q, index: audit, source: s, sourcetype: t, host: h, ack: true, gzip: true, ca_file: %[1]q}
  - name: otel
    otlp: {url: "http://127.0.0.1:4318/v1/logs", plaintext: true, headers_file: %[5]q, service_name: claw}
  - name: hook
    webhook: {url: "https://hooks.example.com/audit", secret_file: %[6]q, batched: true, source: "https://claw.example.com"}
`, c.CAFile, c.CertFile, c.KeyFile, token, headers, secret)
}

func TestExample(t *testing.T) {
	t.Parallel()
	text := example(t)
	table, err := Parse("sinks.yaml", []byte(text), about)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Specs) != 4 {
		t.Fatalf("%d sinks", len(table.Specs))
	}
	s := table.Specs[0]
	if s.Name != "siem" || s.Kind != "syslog" || s.To != "syslog+tls://logs.example.com:6514" || s.Tenants != nil || !s.Personal || !s.FromFirst ||
		s.Batch != 250 || s.Attempts != 3 || s.OnRefused != sink.Halt || s.Timeout != 10*time.Second || s.FirstWait != time.Second || s.MostWait != 5*time.Minute ||
		len(s.Filter.Types) != 2 || s.Filter.Severity != audit.Warning || len(s.Filter.Outcomes) != 2 {
		t.Errorf("%+v", s)
	}
	d := table.Specs[2]
	if d.Personal || d.FromFirst || d.Batch != 500 || d.Attempts != 5 || d.OnRefused != sink.SetAside || d.MostWait != time.Minute {
		t.Errorf("the defaults are %+v", d)
	}
	// A sink is the same wherever it stands, and another one when its entry is.
	moved := strings.Replace(text, "sinks:\n", "# a remark\nsinks:\n", 1)
	again, err := Parse("sinks.yaml", []byte(moved), about)
	if err != nil || again.Specs[0].Digest != s.Digest || again.Digest == table.Digest {
		t.Errorf("a remark changes a sink: %v", err)
	}
	other, err := Parse("sinks.yaml", []byte(strings.Replace(text, "batch: 250", "batch: 251", 1)), about)
	if err != nil || other.Specs[0].Digest == s.Digest || other.Specs[1].Digest != table.Specs[1].Digest {
		t.Errorf("a change does not change its sink alone: %v", err)
	}
	if table, err := Parse("f", []byte("version: 1\nsinks: []\n"), about); err != nil || len(table.Specs) != 0 {
		t.Errorf("no sinks: %v", err)
	}
}

func TestRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	text := example(t)
	for _, c := range []struct {
		old, new string
		line     int
		words    string
	}{
		{"version: 1", "version: 2", 1, "whole number from 1 to 1"},
		{"sinks:\n", "sink:\n", 2, "did you mean sinks?"},
		{"name: siem", "name: SIEM", 3, "is no name"},
		{"name: hook", "name: siem", 20, "already a sink, at line 3"},
		{"tenants: all", "tenants: acme", 4, "want all, or a list"},
		{"LOGIN_FAILED", "LOGIN_LOST", 5, "LOGIN_LOST"},
		{"severity: WARNING", "severity: LOUD", 5, "LOUD"},
		{"personal: true", "personal: maybe", 6, "true or false"},
		{"personal: true", "personnel: true", 6, "did you mean personal?"},
		{"batch: 250", "batch: 0", 8, "from 1 to 5000"},
		{"batch: 250", "batch: 250\n    batch: 2", 9, "already defined"},
		{"on_refused: halt", "on_refused: drop", 10, "drop"},
		{"timeout: 10s", "timeout: 10", 11, "duration"},
		{"most: 5m", "most: 10ms", 3, "most is less than first"},
		{"logs.example.com:6514", "logs.example.com", 13, "host and a port"},
		{"transport: tls", "transport: tcp", 13, "no use for certificates"},
		{"transport: tls", "transport: udp", 13, "udp"},
		{"sd_id: claw@32473", "sd_id: claw", 14, "name and a number"},
		{"facility: local3", "facility: local9", 14, "local9"},
		{"https://hec.example.com:8088", "http://hec.example.com:8088", 17, "plaintext: true"},
		{"https://hec.example.com:8088", "https://u:p@hec.example.com", 17, "without user"},
		{"https://hec.example.com:8088", "file:///etc/passwd", 17, "want a URL"},
		{"url: \"https://hooks.example.com/audit\", ", "", 21, "\"url\" is missing"},
		{"index: audit", "index: 7", 17, "quote it"},
		{"webhook: {", "otlp: {url: \"https://x\"}\n    webhook: {", 20, "exactly one of"},
		{"version: 1", "version: &a 1", 1, ""},
	} {
		if !strings.Contains(text, c.old) {
			t.Fatalf("the example has no %q", c.old)
		}
		_, err := Parse("sinks.yaml", []byte(strings.Replace(text, c.old, c.new, 1)), about)
		var le *yamlfile.LineError
		if !errors.As(err, &le) || le.Line != c.line || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: want line %d, %q: got %v", c.new, c.line, c.words, err)
		}
	}
	for _, bad := range []string{"", "x", "\x00", "version: 1", "[]", "version: 1\nsinks: x", "{{{{", strings.Repeat("[", 100), "a: 1\n---\nb: 2", "version: 1\nsinks: [*a]"} {
		if _, err := Parse("f", []byte(bad), about); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	// Files that are not there, or hold something else, are refused too.
	for name, content := range map[string]string{"ca_file": "no certificate", "secret_file": "no secret"} {
		path := sinktest.File(t, "bad", content)
		entry := "otlp: {url: \"https://x\", ca_file: " + path + "}"
		if name == "secret_file" {
			entry = "webhook: {url: \"https://x\", secret_file: " + path + "}"
		}
		_, err := Parse("f", []byte("version: 1\nsinks:\n  - name: a\n    "+entry+"\n"), about)
		var le *yamlfile.LineError
		if !errors.As(err, &le) || le.Line != 4 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever the file holds, reading it ends in a table or in a complaint that
// names the file, and never panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte("version: 1\nsinks:\n  - name: a\n    otlp: {url: \"https://x/v1/logs\"}\n"))
	f.Add([]byte("version: 1\nsinks:\n  - {name: a, syslog: {address: \"a:1\", transport: tcp}}\n"))
	f.Add([]byte("a: &b [*b]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := Parse("f", text, about)
		if err == nil {
			for _, s := range table.Specs {
				if s.Name == "" || s.Open == nil || s.Batch < 1 || s.Attempts < 1 || s.Timeout <= 0 {
					t.Errorf("%+v", s)
				}
			}
			return
		}
		var le *yamlfile.LineError
		if !errors.As(err, &le) || le.File != "f" {
			t.Errorf("%T: %v", err, err)
		}
	})
}
