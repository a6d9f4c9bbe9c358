package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// SQL and script are refused in fields and are a topic in prompts.
func TestFields(t *testing.T) {
	t.Parallel()
	c := start(t, nil).customer(t)
	for attack, code := range map[string]string{
		"x' UNION SELECT password_hash FROM users --":        "sql_injection_detected",
		"O'Connell St' OR '1'='1":                            "sql_injection_detected",
		"1; DROP TABLE agents":                               "sql_injection_detected",
		"%27%20UNION%20SELECT%201%2C2--":                     "sql_injection_detected",
		"x' OR 1=1 WITH 1 as a MATCH (n) DETACH DELETE n //": "sql_injection_detected",
		"<script>alert(1)</script>":                          "xss_detected",
		"&lt;img src=x onerror=alert(1)&gt;":                 "xss_detected",
	} {
		fields := map[string]answer{
			"name":     c.do(t, "POST", "/v1/agents", map[string]any{"name": attack}),
			"metadata": c.do(t, "POST", "/v1/agents", map[string]any{"name": "fine", "metadata": map[string]any{"a": []any{map[string]any{"b": attack}}}}),
			"key":      c.do(t, "POST", "/v1/agents", map[string]any{"name": "fine", "metadata": map[string]any{attack: 1}}),
			"query":    c.do(t, "GET", "/v1/agents?cursor="+url.QueryEscape(attack), nil),
		}
		for where, a := range fields {
			if a.status != 403 || a.code() != code {
				t.Errorf("%q as %s: %d %s", attack, where, a.status, a.body)
				continue
			}
			typ := map[string]audit.Type{"sql_injection_detected": audit.SQLInjectionDetected, "xss_detected": audit.XSSDetected}[code]
			if ev := c.event(t, a.id, typ); strings.Contains(fmt.Sprintf("%+v", ev), attack) || len(details(t, ev)["rules"].([]any)) == 0 {
				t.Errorf("%q as %s: the event holds the attack or no rules: %+v", attack, where, ev)
			}
		}
	}
	for _, text := range []string{"Explain: SELECT * FROM users WHERE name = 'x' OR 1=1 --", "Why does '; DROP TABLE students; -- break a form?", "What does <script>alert(1)</script> do on a page?"} {
		if a := c.remember(t, text); a.status != 201 {
			t.Errorf("a prompt about code: %q: %d %s", text, a.status, a.body)
		}
	}
	c.do(t, "POST", "/v1/agents", map[string]any{"name": "O'Connell's helper: select and order by room"}).want(t, 201)
}

// markup in everything that an answer may carry.
const markup = `<b title="x">R&D</b>`

// routes lists every GET route without a parameter.
func routes(t *testing.T, c *customer) (paths []string) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(c.do(t, "GET", "/openapi.json", nil).want(t, 200).body, &doc); err != nil {
		t.Fatal(err)
	}
	for path, ops := range doc.Paths {
		if ops["get"] != nil && !strings.Contains(path, "{") {
			paths = append(paths, path)
		}
	}
	if len(paths) < 8 {
		t.Fatalf("only %v", paths)
	}
	return append(paths, "/openapi.json", "/nothing/here", "/v1/agents/"+url.PathEscape("<b>&"), "/v1/agents?limit=%3Cb%3E", "/v1/agents?%3Cb%3E=1", "/"+url.PathEscape("<b>&"))
}

// speak makes the platform answer in every way a test can.
func speak(t *testing.T, c *customer) []answer {
	t.Helper()
	made := c.do(t, "POST", "/v1/agents", map[string]any{"name": "R&D <3", "instructions": markup, "metadata": map[string]any{"team": "R&D"}})
	all := []answer{made, c.remember(t, markup),
		c.do(t, "POST", "/v1/memories/search", map[string]any{"query": markup}),
		c.do(t, "POST", "/v1/agents", map[string]any{"name": "x", markup: 1}), c.do(t, "POST", "/v1/agents", map[string]any{"name": 5}),
		c.do(t, "POST", "/v1/agents", "{<b>&"), c.do(t, "POST", "/v1/agents", "<b>", "Content-Type", "text/<b>"), c.do(t, "POST", "/v1/agents", "{}", "If-Match", "<b>"),
		c.do(t, "PUT", "/v1/agents", map[string]any{}), c.do(t, "POST", "/v1/agents", map[string]any{"name": "<script>alert(1)</script>"}),
		c.remember(t, families[0].attack), c.do(t, "POST", "/v1/inspect", map[string]any{"text": markup, "kind": "xss"}),
	}
	for _, path := range routes(t, c) {
		all = append(all, c.do(t, "GET", path, nil))
	}
	return append(all, (&customer{of: c.of, token: "<b>"}).do(t, "GET", "/v1/me", nil))
}

// No JSON answer, whatever its kind, carries live markup or may be sniffed.
func TestAnswersCarryNoMarkup(t *testing.T) {
	t.Parallel()
	c := start(t, nil).customer(t)
	carried, statuses := false, map[int]bool{}
	for _, a := range speak(t, c) {
		statuses[a.status] = true
		if a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d without nosniff: %.100s", a.status, a.body)
		}
		kind := a.header.Get("Content-Type")
		if !strings.Contains(kind, "json") {
			if strings.Contains(string(a.body), "R&D") {
				t.Errorf("markup of ours in %s", kind)
			}
			continue
		}
		if i := bytes.IndexAny(a.body, "<>&"); i >= 0 {
			t.Errorf("%d %s: %.80s", a.status, kind, a.body[i:])
		}
		var v any
		if err := json.Unmarshal(a.body, &v); err != nil && kind != "application/x-ndjson" {
			t.Errorf("%d %s is not JSON: %v", a.status, kind, err)
		}
		carried = carried || strings.Contains(fmt.Sprint(v), markup)
	}
	if !carried {
		t.Error("no answer gave the markup back, so nothing was tried")
	}
	for _, want := range []int{200, 201, 401, 403, 404, 405, 422} {
		if !statuses[want] {
			t.Errorf("no answer with status %d", want)
		}
	}
}

// A tenant that asks for it gets answers without markup even after decoding;
// others get their texts as they are.
func TestEncodeEntities(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	c, other := p.customer(t), p.customer(t)
	id, _ := c.do(t, "POST", "/v1/agents", map[string]any{"name": "R&D"}).want(t, 201).json(t)["id"].(string)
	c.set(t, map[string]any{"encode_entities": true}).want(t, 200)
	until(t, "the setting is in force", func() bool {
		return strings.Contains(fmt.Sprint(c.do(t, "GET", "/v1/agents/"+id, nil).json(t)), "R&amp;D")
	})
	carried := false
	for _, a := range speak(t, c) {
		kind := a.header.Get("Content-Type")
		if !strings.Contains(kind, "json") || strings.Contains(kind, "ndjson") || a.status == 401 || a.status == 404 || a.status == 405 {
			continue // refused before a tenant was known, nobody's text, or an export that signatures cover
		}
		if got := a.header.Get("Content-Length"); got != "" && got != fmt.Sprint(len(a.body)) {
			t.Errorf("Content-Length %s of %d bytes", got, len(a.body))
		}
		var v any
		if err := json.Unmarshal(a.body, &v); err != nil {
			t.Errorf("%d %s is not JSON: %v", a.status, kind, err)
		}
		each(v, func(s string) {
			carried = carried || strings.Contains(s, "&lt;b title=&#34;x&#34;&gt;R&amp;D&lt;/b&gt;")
			for _, entity := range []string{"&lt;", "&gt;", "&amp;", "&#34;", "&#39;"} {
				s = strings.ReplaceAll(s, entity, "")
			}
			if strings.ContainsAny(s, "<>&") && !public(a) {
				t.Errorf("%d: %.100q", a.status, s)
			}
		})
	}
	if !carried {
		t.Error("no answer gave the markup back encoded")
	}
	if got := other.do(t, "POST", "/v1/agents", map[string]any{"name": "R&D", "instructions": markup}).want(t, 201).json(t); got["instructions"] != markup || got["name"] != "R&D" {
		t.Errorf("another tenant's texts are changed: %v", got)
	}
	// the stored text is the one that was sent
	c.set(t, map[string]any{}).want(t, 200)
	until(t, "the setting is gone", func() bool {
		return strings.Contains(fmt.Sprint(c.do(t, "GET", "/v1/agents", nil).json(t)), markup)
	})
}

// public answers belong to no tenant: the API's own description.
func public(a answer) bool { return bytes.Contains(a.body, []byte(`"openapi":`)) }

func each(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []any:
		for _, e := range v {
			each(e, f)
		}
	case map[string]any:
		for k, e := range v {
			f(k)
			each(e, f)
		}
	}
}

// The firewall: rules of one's own and the Core Rule Set before chosen routes,
// and never over what a model reads.
func TestFirewall(t *testing.T) {
	t.Parallel()
	rules := filepath.Join(t.TempDir(), "own.conf")
	text := "# ours\nSecRule ARGS \"@contains zanzibar\" \"id:9001,phase:2,deny,status:403,msg:'a word of ours'\"\n" +
		"SecRule REQUEST_HEADERS:X-Probe \"@streq yes\" \"id:9002,phase:1,deny,status:403,msg:'a header of ours'\"\n"
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(backend.Close)
	table := filepath.Join(t.TempDir(), "routes.yaml")
	upstreams := "version: 1\nroutes:\n" +
		"  - match: /guarded/\n    upstream: " + backend.URL + "\n    limit: write\n    waf: true\n" +
		"  - match: /model/\n    upstream: " + backend.URL + "\n    limit: write\n    waf: true\n    inspect:\n      - {field: body.text, for: [prompt]}\n" +
		"  - match: /free/\n    upstream: " + backend.URL + "\n    limit: write\n"
	if err := os.WriteFile(table, []byte(upstreams), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, map[string]string{"ROUTES_FILE": table, "WAF_RULES": "core, " + rules, "WAF_ROUTES": "POST /v1/service-accounts, POST /v1/memories,POST /v1/inspect", "ENABLE_SQL_INJECTION": "false", "ENABLE_XSS": "false"})
	c := p.customer(t)
	account := func(name string, header ...string) answer {
		return c.do(t, "POST", "/v1/service-accounts", map[string]any{"name": name, "grants": []string{"agents.read"}}, header...)
	}
	for name, k := range map[string]struct {
		a    answer
		rule string // refused by it; "": passes
	}{
		"innocent":          {account("billing helper"), ""},
		"own rule":          {account("to zanzibar"), "9001"},
		"own header rule":   {account("fine", "X-Probe", "yes"), "9002"},
		"core rule":         {account("x' UNION SELECT password_hash FROM users -- "), "949110"},
		"in chunks":         {c.do(t, "POST", "/v1/service-accounts", bytes.NewBufferString(`{"name":"\u007aanzibar"}`)), "9001"},
		"prompt":            {c.remember(t, "zanzibar: SELECT * FROM users WHERE 1=1; -- <script>alert(1)</script>"), ""},
		"prompt, header":    {c.do(t, "POST", "/v1/memories", map[string]string{"text": "fine"}, "X-Probe", "yes"), "9002"},
		"prompt, query":     {c.do(t, "POST", "/v1/memories?a=zanzibar", map[string]string{"text": "fine"}), "9001"},
		"text to judge":     {c.do(t, "POST", "/v1/inspect", map[string]string{"text": "zanzibar"}), ""},
		"upstream":          {c.do(t, "POST", "/guarded/x", map[string]string{"text": "to zanzibar"}), "9001"},
		"upstream, fine":    {c.do(t, "POST", "/guarded/x", map[string]string{"text": "to lisbon"}), ""},
		"upstream, prompt":  {c.do(t, "POST", "/model/x", map[string]string{"text": "to zanzibar"}), ""},
		"upstream, query":   {c.do(t, "POST", "/model/x?a=zanzibar", map[string]string{"text": "fine"}), "9001"},
		"upstream, free":    {c.do(t, "POST", "/free/x", map[string]string{"text": "to zanzibar"}), ""},
		"a route left free": {c.do(t, "POST", "/v1/agents", map[string]string{"name": "zanzibar"}, "X-Probe", "yes"), ""},
	} {
		if k.rule == "" {
			if k.a.status >= 300 {
				t.Errorf("%s: %d %s", name, k.a.status, k.a.body)
			}
			continue
		}
		if k.a.status != 403 || k.a.code() != "forbidden" || strings.Contains(string(k.a.body), k.rule) {
			t.Errorf("%s: %d %s", name, k.a.status, k.a.body)
			continue
		}
		ev := c.event(t, k.a.id, audit.UnauthorizedAccess)
		d := details(t, ev)
		ids, _ := d["rules"].([]any)
		if d["kind"] != "waf" || !slices.Contains(ids, any(k.rule)) || ev.Severity != audit.High || strings.Contains(fmt.Sprintf("%+v", ev), "zanzibar") {
			t.Errorf("%s: event %+v", name, ev)
		}
	}
}

func TestFirewallIsCheckedAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := file("bad.conf", "# one\n\nSecRule ARGS \"@contains x\" \"id:1,phase:2,deny\"\nSecRule ARGS \"@nosuch x\" \"id:2,phase:2,deny\"\n")
	upstreams := file("routes.yaml", "version: 1\nroutes:\n  - match: /agents/\n    upstream: http://127.0.0.1:9\n    limit: write\n    waf: true\n")
	db := pgtest.New(t).App
	for want, env := range map[string]map[string]string{
		"WAF_RULES: load waf rules: " + bad + ":4:":   {"WAF_RULES": bad},
		"WAF_RULES: load waf rules: open ":            {"WAF_RULES": filepath.Join(dir, "nothing.conf")},
		"WAF_RULES: a name is empty":                  {"WAF_RULES": "core,,x"},
		`WAF_ROUTES: "POST /v1/nothing" is no route`:  {"WAF_RULES": "core", "WAF_ROUTES": "POST /v1/nothing"},
		"ROUTES_FILE: " + upstreams + ":3: waf: true": {"ROUTES_FILE": upstreams},
	} {
		a, err := build(t, db, env)
		if a != nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q, got %v", env, want, err)
		}
	}
}
