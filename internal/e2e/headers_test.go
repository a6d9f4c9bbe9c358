package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// secured are the headers on every answer, whatever it is.
var secured = map[string]string{
	"Strict-Transport-Security": "max-age=63072000; includeSubDomains", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
}

// TestHeaders looks at every kind of answer.
func TestHeaders(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	agent, _ := c.grow(t, tok, "headers")
	for name, q := range map[string]ask{
		"200": {method: "GET", path: "/v1/me", token: tok}, "201": {method: "POST", path: "/v1/memories", token: tok, body: map[string]any{"text": "x"}},
		"204": {method: "DELETE", path: "/v1/agents/" + agent, token: tok}, "400": {method: "POST", path: "/v1/memories", token: tok, body: "{"},
		"401": {method: "GET", path: "/v1/me"}, "403": {method: "GET", path: "/v1/tenants", token: tok}, "404": {method: "GET", path: "/nowhere"},
		"404 of an id": {method: "GET", path: "/v1/agents/" + uuid.NewString(), token: tok}, "405": {method: "DELETE", path: "/v1/me", token: tok},
		"413": {method: "POST", path: "/v1/auth/login", body: strings.Repeat(" ", 10<<10)}, "415": {method: "POST", path: "/v1/memories", token: tok, body: "x", header: http.Header{"Content-Type": {"text/plain"}}},
		"422": {method: "POST", path: "/v1/memories", token: tok, body: "{}"}, "docs": {method: "GET", path: "/docs"}, "script": {method: "GET", path: "/docs/docs.js"}, "style": {method: "GET", path: "/docs/docs.css"},
		"openapi": {method: "GET", path: "/openapi.json"}, "jwks": {method: "GET", path: "/.well-known/jwks.json"}, "security.txt": {method: "GET", path: "/.well-known/security.txt"},
		"health": {method: "GET", path: "/health"}, "HEAD": {method: "HEAD", path: "/v1/me", token: tok}, "OPTIONS": {method: "OPTIONS", path: "/v1/me"},
		"path with dots": {method: "GET", path: "/v1/../docs"}, "double slash": {method: "GET", path: "//v1//me"}, "TRACE": {method: "TRACE", path: "/v1/me"}, "strange method": {method: "BREW", path: "/v1/me"},
		"preflight":               {method: "OPTIONS", path: "/v1/me", header: http.Header{"Origin": {listedOrigin}, "Access-Control-Request-Method": {"GET"}}},
		"preflight of a stranger": {method: "OPTIONS", path: "/v1/me", header: http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"GET"}}},
		"OAuth":                   {method: "POST", path: "/oauth/token", body: "x", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
	} {
		a := q.send(t)
		if a.status >= 500 {
			t.Errorf("%s: %d", name, a.status)
		}
		for h, want := range secured {
			if got := a.header[h]; len(got) != 1 || got[0] != want {
				t.Errorf("%s (%d): %s is %q", name, a.status, h, got)
			}
		}
		csp, permissions := a.header.Get("Content-Security-Policy"), a.header.Get("Permissions-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: Content-Security-Policy %q", name, csp)
		}
		if !strings.Contains(permissions, "camera=()") {
			t.Errorf("%s: Permissions-Policy %q", name, permissions)
		}
		if a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no X-Request-Id", name)
		}
		if a.header.Get("Server") != "" || a.header.Get("X-Powered-By") != "" {
			t.Errorf("%s: says what runs: %v", name, a.header)
		}
		if a.status >= 400 && q.method != "HEAD" && a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s (%d): content type %q: %.100s", name, a.status, a.header.Get("Content-Type"), a.body)
		}
		if strings.HasPrefix(q.path, "/v1/") && a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, a.header.Get("Cache-Control"))
		}
		if a.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") && !strings.HasPrefix(q.path, "/oauth") {
			t.Errorf("%s: WWW-Authenticate %q", name, a.header.Get("WWW-Authenticate"))
		}
	}
	if a := get(t, "", "/docs"); a.status != 200 || len(a.body) == 0 {
		t.Errorf("/docs: %d", a.status)
	}
}

// TestHead gives a GET without its body, after the same checks.
func TestHead(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "viewer").token(t)
	for path, want := range map[string]int{"/v1/me": 200, "/health": 200, "/v1/agents/" + uuid.NewString(): 404, "/v1/users": 403} {
		a := ask{method: "HEAD", path: path, token: tok}.send(t)
		if a.status != want || len(a.body) != 0 {
			t.Errorf("HEAD %s: %d with %d bytes, want %d", path, a.status, len(a.body), want)
		}
	}
	if a := (ask{method: "HEAD", path: "/v1/me"}).send(t); a.status != 401 {
		t.Errorf("HEAD without a credential: %d", a.status)
	}
}

// TestMethods answers 405 where the path is known and the method is not.
func TestMethods(t *testing.T) {
	t.Parallel()
	has := map[string]map[string]bool{}
	for _, o := range operations(t) {
		if has[o.path] == nil {
			has[o.path] = map[string]bool{}
		}
		has[o.path][o.method] = true
	}
	for path, methods := range has {
		p := operation{path: path}.at(uuid.NewString())
		for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "BREW", "PROPFIND"} {
			if methods[m] {
				continue
			}
			a := ask{method: m, path: p}.send(t)
			// A path may be another one's, as /v1/memories/search is /v1/memories/{id} to GET.
			// TRACE is refused before anybody looks at the path.
			if a.status != 405 && !(m == "TRACE" && a.status == 400) && !(a.status == 401 && shadowed(has, p, m)) {
				t.Errorf("%s %s: %d, want 405", m, path, a.status)
			}
		}
	}
}

func shadowed(has map[string]map[string]bool, path, method string) bool {
	for p, methods := range has {
		if methods[method] && regexp.MustCompile("^"+regexp.MustCompile(`\\\{[^}]*\}`).ReplaceAllString(regexp.QuoteMeta(p), "[^/]+")+"$").MatchString(path) {
			return true
		}
	}
	return false
}

// TestOrigins lets listed origins read, and nobody else.
func TestOrigins(t *testing.T) {
	t.Parallel()
	for origin, listed := range map[string]bool{
		listedOrigin: true, "https://app.example.com.evil.example": false, "http://app.example.com": false, "https://APP.example.com": false, "null": false, "*": false,
		"https://app.example.com:443": false, "https://app.example.com/": false, "https://evil.example, " + listedOrigin: false,
	} {
		for _, q := range []ask{
			{method: "GET", path: "/v1/me"}, {method: "GET", path: "/openapi.json"}, {method: "GET", path: "/nowhere"},
			{method: "OPTIONS", path: "/v1/me", header: http.Header{"Access-Control-Request-Method": {"DELETE"}}},
		} {
			q.header = merged(q.header, http.Header{"Origin": {origin}})
			a := q.send(t)
			allow := a.header["Access-Control-Allow-Origin"]
			if listed && (len(allow) != 1 || allow[0] != origin) {
				t.Errorf("%s %s from %s: Access-Control-Allow-Origin %q", q.method, q.path, origin, allow)
			}
			if !listed && len(allow) > 0 {
				t.Errorf("%s %s: the origin %q may read", q.method, q.path, origin)
			}
			if a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("cookies may ride along")
			}
			if !strings.Contains(strings.Join(a.header["Vary"], ","), "Origin") {
				t.Errorf("%s %s from %s: Vary %q", q.method, q.path, origin, a.header["Vary"])
			}
			if q.method == "OPTIONS" {
				if want := map[bool]int{true: 204, false: 403}[listed]; a.status != want {
					t.Errorf("preflight from %s: %d, want %d", origin, a.status, want)
				}
			}
		}
	}
}

// TestRequestIDs takes an id that is one, and makes its own otherwise.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	for given, kept := range map[string]bool{
		"abc-123_4.5": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "": false, "a b": false, "a;b": false, "<script>": false, "ä": false, `a"b`: false, "a/b": false,
	} {
		a := ask{method: "GET", path: "/livez", header: http.Header{"X-Request-Id": {given}}}.send(t)
		got := a.header["X-Request-Id"]
		if len(got) != 1 || got[0] == "" {
			t.Errorf("%q: answered %q", given, got)
			continue
		}
		if kept != (got[0] == given) {
			t.Errorf("%q became %q", given, got[0])
		}
	}
	two := ask{method: "GET", path: "/livez", header: http.Header{"X-Request-Id": {"one", "two"}}}.send(t)
	if got := two.header["X-Request-Id"]; len(got) != 1 {
		t.Errorf("two ids became %q", got)
	}
}

// TestTraces joins a trace that W3C Trace Context allows, and starts one otherwise.
func TestTraces(t *testing.T) {
	t.Parallel()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for given, joined := range map[string]bool{
		"00-" + id + "-00f067aa0ba902b7-01": true, "00-" + id + "-00f067aa0ba902b7-00": true, "01-" + id + "-00f067aa0ba902b7-01-extra": true,
		"00-" + id + "-00f067aa0ba902b7-01-extra": false, "ff-" + id + "-00f067aa0ba902b7-01": false, "00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01": false,
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": false, "00-" + id + "-0000000000000000-01": false, "": false, "00-" + id: false,
	} {
		rid := "trace-" + uuid.NewString()
		ask{method: "GET", path: "/livez", header: http.Header{"Traceparent": {given}, "X-Request-Id": {rid}}}.send(t).want(t, 200)
		line := logLine(t, "request_id="+rid)
		if joined != strings.Contains(line, "trace_id="+id) {
			t.Errorf("%q: joined=%t expected: %s", given, joined, line)
		}
		if !regexp.MustCompile(`trace_id=[0-9a-f]{32} `).MatchString(line) || strings.Contains(line, "trace_id="+strings.Repeat("0", 32)) {
			t.Errorf("%q: no trace in %s", given, line)
		}
	}
}

// logLine finds a line of the platform's log. It is written before the answer
// is complete, not before the client has read it.
func logLine(t testing.TB, part string) string {
	t.Helper()
	for range 2_000_000 {
		text := logs.String()
		if at := strings.Index(text, part); at >= 0 {
			start := strings.LastIndexByte(text[:at], '\n') + 1
			line, _, _ := strings.Cut(text[start:], "\n")
			return line
		}
	}
	t.Fatalf("the log has no %s", part)
	return ""
}

// TestDocsStayHome searches the page for anything that a browser would fetch
// elsewhere or run inline.
func TestDocsStayHome(t *testing.T) {
	t.Parallel()
	elsewhere := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]|@import|url\(|data:|javascript:|<base|<iframe|<object|<embed|srcset|integrity`)
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|\son[a-z]+\s*=|style\s*=|<style`)
	page := get(t, "", "/docs").want(t, 200)
	files := []string{"/docs"}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllSubmatch(page.body, -1) {
		path := string(m[1])
		if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
			t.Errorf("the page refers to %s", path)
			continue
		}
		files = append(files, path)
	}
	if len(files) < 3 {
		t.Errorf("the page refers to %v only", files)
	}
	if m := inline.Find(page.body); m != nil {
		t.Errorf("the page runs something inline: %s", m)
	}
	for _, f := range files {
		a := get(t, "", f).want(t, 200)
		if f == "/openapi.json" {
			continue
		}
		if m := elsewhere.Find(a.body); m != nil {
			t.Errorf("%s reaches out: %s", f, m)
		}
		for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("} {
			if bytes.Contains(a.body, []byte(sink)) {
				t.Errorf("%s uses %s", f, sink)
			}
		}
	}
	var doc map[string]any
	if err := json.Unmarshal(get(t, "", "/openapi.json").body, &doc); err != nil || doc["openapi"] == nil || !strings.HasPrefix(doc["openapi"].(string), "3.1") {
		t.Errorf("the document: %v %v", doc["openapi"], err)
	}
}
