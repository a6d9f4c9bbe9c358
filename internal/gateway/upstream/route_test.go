package upstream

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

const wholeFile = `version: 1
routes:
  - match: agents.example.com/api/
    methods: [GET, POST]
    upstream: http://{tenant}.agents.svc:8080/v1/{tenant_id}/
    action: models.call
    limit: expensive
    inspect:
      - {field: "body.messages[*].content", for: [prompt, sql]}
      - {field: header.X-Note, for: [xss]}
      - {field: "body.documents[*]", for: [sql, prompt], trust: document}
    waf: true
    audience: https://agents.example.com
    strip: /api
    pass: [Authorization]
    max_body: 2MiB
    connections: 7
    timeouts: {connect: 1s, header: 2s, idle: 3s, total: none}
    retries: {count: 2, on: [connect, 503], budget: 0.5}
    breaker: {failures: 9, open: 1m, probes: 3}
    health: {path: /healthz, every: 5s, timeout: 1s}
  - {match: /, upstream: "h2c://[::1]:9000", limit: read}
`

func TestParseTable(t *testing.T) {
	t.Parallel()
	table, err := ParseTable("f", []byte(wholeFile), quota.DefaultTable())
	if err != nil {
		t.Fatal(err)
	}
	rt := table.Routes()[0]
	if rt.Action != policy.ModelsCall || rt.Class.String() != "expensive" || !rt.WAF || rt.MaxBody != 2<<20 || rt.Connections != 7 || rt.Strip != "/api" || rt.Line != 3 ||
		rt.Timeouts != (Timeouts{time.Second, 2 * time.Second, 3 * time.Second, 0}) || rt.Breaker != (Breaker{9, time.Minute, 3}) ||
		rt.Health != (Health{"/healthz", 5 * time.Second, time.Second}) || rt.Retries.Count != 2 || rt.Retries.Budget != 0.5 ||
		len(rt.Inspect) != 3 || rt.Inspect[0].For[1] != "sql" || rt.Inspect[0].Trust != "user" || rt.Inspect[1].Trust != "" || rt.Inspect[2].Trust != "document" || rt.Audience != "https://agents.example.com" {
		t.Errorf("%+v", rt)
	}
	authority, path, err := rt.target.resolve(acme)
	if err != nil || authority != "acme.agents.svc:8080" || path != "/v1/"+acme.TenantID {
		t.Errorf("%s %s %v", authority, path, err)
	}
	if d := table.Routes()[1]; d.Action != policy.UpstreamCall || d.MaxBody != DefaultMaxBody || len(d.Methods) != 7 {
		t.Errorf("%+v", d)
	}
}

func TestTrustIsChecked(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		`{field: body, for: [prompt], trust: stranger}`: `f:4:51: trust: unknown level "stranger" (user (typed by whoever asks), document `,
		`{field: body, for: [prompt], trust: [user]}`:   "f:4:51: want a text",
		`{field: body, for: [prompt], trust: }`:         "f:4:",
		`{field: body, for: [sql, xss], trust: tool}`:   "f:4:53: trust: only prompts have a level, and this is inspected for sql, xss (as in for: [prompt])",
		`{field: body, trust: tool}`:                    `key "for" is missing`,
	} {
		text := "version: 1\nroutes:\n  - {match: /, upstream: \"http://a\", limit: write,\n    inspect: [" + entry + "]}\n"
		if _, err := ParseTable("f", []byte(text), quota.DefaultTable()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", entry, err)
		}
	}
}

func TestParseTableRefuses(t *testing.T) {
	t.Parallel()
	for line, where := range map[string]string{
		`{match: /, upstream: "http://a", limit: write, upstraem: x}`:                    `3:52: unknown key "upstraem" (did you mean upstream?)`,
		`{match: /, upstream: "http://a", limit: write, match: /}`:                       "3:",
		`{match: /, upstream: "http://a"}`:                                               `3:6: key "limit" is missing`,
		`{match: /, limit: write}`:                                                       `key "upstream" is missing`,
		`{match: /, upstream: "ftp://a", limit: write}`:                                  "3:26: upstream: want http",
		`{match: /, upstream: "http://", limit: write}`:                                  "no host",
		`{match: /, upstream: "http://u:p@a", limit: write}`:                             "upstream",
		`{match: /, upstream: "http://a?x", limit: write}`:                               "upstream",
		`{match: /, upstream: "http://a:0", limit: write}`:                               "port",
		`{match: /, upstream: "http://a:99999", limit: write}`:                           "port",
		`{match: /, upstream: "http://a:{tenant}", limit: write}`:                        "port",
		`{match: /, upstream: "http://{tenant}", limit: write}`:                          "fixed labels after it",
		`{match: /, upstream: "http://a.{tenant}", limit: write}`:                        "fixed labels after it",
		`{match: /, upstream: "http://{tenant}.0.0.1", limit: write}`:                    "neither a name nor an address",
		`{match: /, upstream: "http://0x7f.1", limit: write}`:                            "neither a name nor an address",
		`{match: /, upstream: "http://2130706433", limit: write}`:                        "neither a name nor an address",
		`{match: /, upstream: "http://{host}.a", limit: write}`:                          "only places",
		`{match: /, upstream: "http://a/{user}", limit: write}`:                          "only places",
		`{match: /, upstream: "http://a/../b", limit: write}`:                            "dot segments",
		`{match: /, upstream: "http://169.254.169.254", limit: write}`:                   "link-local",
		`{match: /, upstream: "http://[fe80::1]", limit: write}`:                         "link-local",
		`{match: /, upstream: "http://[::ffff:169.254.169.254]", limit: write}`:          "link-local",
		`{match: /, upstream: "http://[fd00:ec2::254]", limit: write}`:                   "metadata",
		`{match: /, upstream: "http://0.0.0.0", limit: write}`:                           "no upstream stands there",
		`{match: /, upstream: "http://a", limit: nope}`:                                  `3:45: unknown limit class "nope" (the tiers file has expensive, `,
		`{match: /, upstream: "http://a", limit: write, action: nope}`:                   "unknown action",
		`{match: /, upstream: "http://a", limit: write, methods: [TRACE]}`:               "unknown value",
		`{match: /, upstream: "http://a", limit: write, methods: []}`:                    "empty",
		`{match: /, upstream: "http://a", limit: write, pass: [X-User]}`:                 "unknown value",
		`{match: /, upstream: "http://a", limit: write, max_body: -1}`:                   "want a size",
		`{match: /, upstream: "http://a", limit: write, max_body: 1e9}`:                  "want a size",
		`{match: /, upstream: "http://a", limit: write, waf: "yes"}`:                     "true or false",
		`{match: /, upstream: "http://a", limit: write, timeouts: {header: 0s}}`:         "want a duration",
		`{match: /, upstream: "http://a", limit: write, timeouts: {header: 5}}`:          "want a duration",
		`{match: /, upstream: "http://a", limit: write, retries: {budget: 2.5}}`:         "share",
		`{match: /, upstream: "http://a", limit: write, retries: {budget: .nan}}`:        "share",
		`{match: /, upstream: "http://a", limit: write, inspect: [{field: x, for: []}]}`: "field",
		`{match: "GET /", upstream: "http://a", limit: write}`:                           "match",
		`{match: "a:80/", upstream: "http://a", limit: write}`:                           "match",
		`{match: "/a/../b", upstream: "http://a", limit: write}`:                         "match",
		`{match: "/{", upstream: "http://a", limit: write}`:                              "match",
		`&a {match: /, upstream: "http://a", limit: write}`:                              "3:",
		`!!map {match: /, upstream: "http://a", limit: write}`:                           "3:",
	} {
		text := "version: 1\nroutes:\n  - " + line + "\n"
		_, err := ParseTable("routes.yaml", []byte(text), quota.DefaultTable())
		var le *yamlfile.LineError
		if !errors.As(err, &le) || !strings.Contains(err.Error(), where) || le.Line != 3 || !strings.HasPrefix(err.Error(), "routes.yaml:3:") {
			t.Errorf("%s: %v", line, err)
		}
	}
	for text, where := range map[string]string{
		"":                       "one document",
		"version: 2\nroutes: []": ":1:10: want a whole number",
		"version: 1":             "routes",
		"version: 1\nroutes: {}": "want a list",
		"version: 1\nroutes:\n  - {match: /, upstream: \"http://a\", limit: read}\n  - {match: /, upstream: \"http://b\", limit: read, methods: [GET]}":   ":4:6: GET / is already a route, at line 3",
		"version: 1\nroutes:\n  - {match: \"/a/{x}\", upstream: \"http://a\", limit: read}\n  - {match: \"/{y}/b\", upstream: \"http://b\", limit: read}": ":4:6: match",
		"version: 1\nroutes: [\n":                             "routes.yaml",
		"version: 1\nroutes: []\n---\nversion: 1\nroutes: []": "one document",
		strings.Repeat("[", 1000):                             "deeply",
		"a\x00b":                                              "NUL",
	} {
		_, err := ParseTable("routes.yaml", []byte(text), quota.DefaultTable())
		if err == nil || !strings.Contains(err.Error(), where) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add(wholeFile)
	f.Add("version: 1\nroutes: []")
	f.Add("version: 1\nroutes:\n  - {match: /, upstream: \"http://{tenant}.x\", limit: read}\n")
	classes := quota.DefaultTable()
	f.Fuzz(func(t *testing.T, text string) {
		table, err := ParseTable("f", []byte(text), classes)
		if err != nil {
			var le *yamlfile.LineError
			if !errors.As(err, &le) || le.Reason == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		for _, rt := range table.Routes() {
			if !rt.Action.Valid() || rt.Class == (quota.Class{}) || rt.MaxBody < 0 || rt.Line < 1 {
				t.Fatalf("%+v", rt)
			}
			u, err := url.Parse(rt.Upstream)
			if !rt.target.hostPlace && err == nil && u.Hostname() != strings.Trim(rt.target.host, "[]") {
				t.Fatalf("host %q, net/url %q", rt.target.host, u.Hostname())
			}
		}
	})
}

// FuzzTenantNeverMoves: whatever a tenant is called, the request goes to the
// template's own host.
func FuzzTenantNeverMoves(f *testing.F) {
	for _, s := range []string{"acme", "a.b", "evil.com/", "evil.com#", "a@evil.com", "a:80", "..", "%2e%2e", "a/b", "", "A", "é", "xn--a", "a\r\nHost: b", "127.0.0.1", "-a", strings.Repeat("a", 64)} {
		f.Add(s, acme.TenantID)
	}
	f.Fuzz(func(t *testing.T, name, id string) {
		tg, err := parseTarget("http://gw-{tenant}.agents.example.com:8080/t/{tenant}/{tenant_id}")
		if err != nil {
			t.Fatal(err)
		}
		authority, path, err := tg.resolve(Identity{TenantName: name, TenantID: id})
		if err != nil {
			return
		}
		u, err := url.Parse("http://" + authority + path + "/x?q")
		if err != nil {
			t.Fatal(err)
		}
		if u.Port() != "8080" || !strings.HasSuffix(u.Hostname(), ".agents.example.com") || strings.Count(u.Hostname(), ".") != 3 || u.User != nil ||
			strings.Count(u.Path, "/") != 4 || u.RawQuery != "q" || u.Fragment != "" || u.Path != "/t/"+name+"/"+id+"/x" {
			t.Fatalf("%q leads to %s%s", name, authority, path)
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for a, want := range map[string][2]bool{ // fixed host, filled host
		"10.0.0.1": {true, true}, "127.0.0.1": {true, false}, "::1": {true, false}, "::ffff:127.0.0.1": {true, false}, "8.8.8.8": {true, true},
		"169.254.169.254": {}, "::ffff:169.254.169.254": {}, "fe80::1": {}, "fd00:ec2::254": {}, "0.0.0.0": {}, "::": {}, "224.0.0.1": {}, "255.255.255.255": {},
		"100.100.100.200": {}, "168.63.129.16": {},
	} {
		addr := netip.MustParseAddr(a)
		if got := [2]bool{checkAddr(addr, false, false) == nil, checkAddr(addr, true, false) == nil}; got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

func TestTenantUpstreams(t *testing.T) {
	t.Parallel()
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host, " ", r.RequestURI) })
	_, port, _ := strings.Cut(strings.TrimPrefix(up.URL, "http://"), ":")
	b := setup(t, route("http://{tenant}.localhost:"+port+"/base/{tenant_id}", ", strip: /api"))
	_, got := b.do(t, "GET", "/api/x%2Fy?q=1", nil)
	if want := "acme.localhost:" + port + " /base/" + acme.TenantID + "/x%2Fy?q=1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, name := range []string{"evil.example.com/", "a@b", "a b", "", "..", "A", "a:1", "a%2e", "localhost:1#"} {
		b.mu.Lock()
		b.id.TenantName = name
		b.mu.Unlock()
		if resp, got := b.do(t, "GET", "/", nil); resp.StatusCode != 404 {
			t.Errorf("%q: %d %s", name, resp.StatusCode, got)
		}
	}
	// A tenant's name may not lead to loopback by DNS or otherwise.
	if err := control(true, false)("tcp", "127.0.0.1:80", nil); err == nil {
		t.Error("loopback from a template")
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	table, err := ParseTable("f", []byte(`version: 1
routes:
  - {match: a.example.com/, upstream: "http://a", limit: read}
  - {match: /api/, upstream: "http://b", limit: read, methods: [GET]}
  - {match: /api/, upstream: "http://c", limit: write, methods: [POST]}
  - {match: /api/admin/, upstream: "http://d", limit: write, methods: [POST], action: settings.update}
`), quota.DefaultTable())
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"GET a.example.com:8443 /api/x": "http://a", "GET b /api/x": "http://b", "POST b /api/x": "http://c", "POST b /api/admin/x": "http://d",
		"GET b /api/admin/x": "method_not_allowed", "HEAD b /api/x": "method_not_allowed", "GET b /": "not_found", "GET b /api": "not_found",
		"GET b /api/../x": "invalid_request", "GET b /api/%2e%2e/x": "invalid_request", "GET b /api/..%2fadmin": "invalid_request", "GET b /api/..;x/admin": "invalid_request",
		"GET b /api/%5c..%5cadmin": "invalid_request", "GET b /api/a%00": "invalid_request", "GET b /api/a%0d%0aX:": "invalid_request", "GET b //api/x": "not_found",
		"GET b /api/./x": "invalid_request", "GET b /api/.well-known/..hidden": "http://b", "GET b /api/a%2Fb": "http://b",
	} {
		f := strings.Fields(in)
		r, err := http.NewRequest(f[0], "http://"+f[1]+f[2], nil)
		if err != nil {
			t.Fatal(err)
		}
		rt, err := table.Match(r)
		got := string(fault.CodeOf(err))
		if rt != nil {
			got = rt.Upstream
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestHotReload(t *testing.T) {
	t.Parallel()
	one := backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "one") })
	two := backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "two") })
	b := setup(t, route(one.URL, ""))
	path := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(text string) { // as editors do: another file, renamed over it
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	type told struct {
		t   *Table
		err error
	}
	reports := make(chan told, 10)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	start := func() {
		done <- b.Watch(ctx, path, func() Classes { return quota.DefaultTable() }, func(t *Table, err error) { reports <- told{t, err} })
	}
	write("version: 1\nroutes:\n  - nonsense\n")
	go start()
	if err := <-done; err == nil {
		t.Fatal("a bad first file was taken")
	}
	write("version: 1\nroutes:\n" + route(one.URL, ""))
	go start()
	expect := func(want, refused string) {
		t.Helper()
		r := <-reports
		if refused == "" && r.err != nil || refused != "" && (r.err == nil || !strings.Contains(r.err.Error(), refused)) {
			t.Fatalf("told %v, want %q", r.err, refused)
		}
		if resp, got := b.do(t, "GET", "/", nil); resp.StatusCode != 200 || got != want {
			t.Fatalf("%d %q, want %q", resp.StatusCode, got, want)
		}
	}
	expect("one", "")
	write("version: 1\nroutes:\n" + route(two.URL, ""))
	expect("two", "")
	write("version: 1\nroutes:\n" + route(one.URL, ", bogus: 1"))
	expect("two", path+":3:")
	write("version: 1\nroutes:\n" + route(one.URL, ""))
	expect("one", "")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(b.Upstreams()); n != 1 {
		t.Errorf("%d upstreams are left", n)
	}
}

func TestAssertions(t *testing.T) {
	t.Parallel()
	got := make(chan string, 100)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { got <- r.Header.Get(AssertionHeader) })
	b := setup(t, route(up.URL, ""))
	read := func() (c Claims) {
		t.Helper()
		b.do(t, "GET", "/", nil)
		raw, err := hex.DecodeString(strings.TrimPrefix(<-got, AssertionType+"."))
		if err == nil {
			err = json.Unmarshal(raw, &c)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := read()
	now := b.clock.now().Unix()
	if c.Issuer != "https://gw.example" || c.Audience != up.URL || c.Subject != acme.Subject || c.TenantID != acme.TenantID || c.TenantName != "acme" || c.Kind != "user" ||
		fmt.Sprint(c.Roles) != "[developer viewer]" || c.IssuedAt != now || c.NotBefore != now || c.Expires != now+60 || c.ID == "" {
		t.Errorf("%+v", c)
	}
	if again := read(); again.ID != c.ID || b.signs.Load() != 1 {
		t.Errorf("%d signatures", b.signs.Load())
	}
	b.mu.Lock()
	b.id.Roles = []string{"viewer"} // a role was taken away: at once
	b.mu.Unlock()
	if c := read(); fmt.Sprint(c.Roles) != "[viewer]" {
		t.Errorf("%+v", c)
	}
	b.mu.Lock()
	b.id.TenantID = "01890a5d-ac96-774b-bcce-b302099a8059"
	b.mu.Unlock()
	if c := read(); c.TenantID != "01890a5d-ac96-774b-bcce-b302099a8059" {
		t.Errorf("%+v", c)
	}
	before := read()
	b.clock.add(assertionFresh)
	if c := read(); c.ID == before.ID || c.Expires != b.clock.now().Unix()+60 {
		t.Errorf("%+v", c)
	}
	b.mu.Lock()
	b.id = Identity{RequestID: "r"}
	b.mu.Unlock()
	b.do(t, "GET", "/", nil)
	if tok := <-got; tok != "" {
		t.Errorf("nobody is asserted: %q", tok)
	}
	// Together, they wait for one signature; and memory is bounded.
	var mu sync.Mutex
	signs := 0
	s := newAssertions("i", func(string, []byte) (string, error) { mu.Lock(); signs++; mu.Unlock(); return "t", nil }, b.clock.now)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = s.get(acme, "aud") })
	}
	wg.Wait()
	if signs != 1 {
		t.Errorf("%d signatures", signs)
	}
	for i := range maxAssertions + 100 {
		if _, err := s.get(Identity{Subject: fmt.Sprint(i)}, "aud"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.held); n > maxAssertions {
		t.Errorf("%d held", n)
	}
	s.sign = func(string, []byte) (string, error) { return "", errors.New("no key") }
	if tok, err := s.get(Identity{Subject: "new"}, "aud"); err == nil || tok != "" {
		t.Errorf("%q %v", tok, err)
	}
}
