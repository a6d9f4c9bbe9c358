package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// codes are all that a problem may call itself.
var codes = []fault.Code{fault.Invalid, fault.Unauthorized, fault.Forbidden, fault.Suspended, fault.NotFound, fault.NoMethod,
	fault.Conflict, fault.Stale, fault.TooLarge, fault.MediaType, fault.Unprocessable, fault.RateLimited, fault.Prompt, fault.SQL, fault.XSS}

// attack stands in bad input and must not come back.
const attack = "zzattack<script>alert(1)</script>zz"

// refusedWell reports what is wrong with a refusal, or "".
func refusedWell(a answer) string {
	var p struct {
		Type, Title, Code string
		Status            int
	}
	switch err := json.Unmarshal(a.body, &p); {
	case a.status < 400 || a.status > 499:
		return fmt.Sprintf("status %d", a.status)
	case a.header.Get("Content-Type") != "application/problem+json":
		return "content type " + a.header.Get("Content-Type")
	case err != nil:
		return "not JSON: " + err.Error()
	case !slices.Contains(codes, fault.Code(p.Code)):
		return "unknown code " + p.Code
	case p.Status != a.status || p.Title == "" || p.Type != "urn:openclaw:problem:"+p.Code:
		return fmt.Sprintf("status, title or type do not fit: %+v", p)
	case bytes.Contains(a.body, []byte("zzattack")):
		return "it echoes what was sent"
	case !utf8.Valid(a.body):
		return "not valid UTF-8"
	}
	for _, inside := range []string{"pgx", "SQLSTATE", "goroutine", ".go:", "panic", "json:", "strconv", "huma"} {
		if bytes.Contains(a.body, []byte(inside)) {
			return "it shows the inside: " + inside
		}
	}
	return ""
}

// badBodies are refused by every JSON operation whatever its schema; good is
// one it accepts.
func badBodies(good map[string]any) map[string][]byte {
	text, _ := json.Marshal(good)
	first := slices.Sorted(maps.Keys(good))[0]
	with := func(value string) []byte {
		m := maps.Clone(good)
		m[first] = "CUT"
		b, _ := json.Marshal(m)
		return bytes.Replace(b, []byte(`"CUT"`), []byte(value), 1)
	}
	open := bytes.TrimSuffix(text, []byte("}"))
	join := func(s string) []byte { return append(bytes.Clone(open), s...) }
	out := map[string][]byte{
		"empty": {}, "null": []byte("null"), "array": []byte("[" + string(text) + "]"), "string": []byte(`"` + attack + `"`), "number": []byte("7"),
		"true": []byte("true"), "white space": []byte("  \n"), "cut off": text[:len(text)-1], "trailing": append(bytes.Clone(text), "}{"...),
		"two documents": append(bytes.Clone(text), text...), "single quotes": []byte(`{'a':1}`), "comment": append([]byte("/**/"), text...),
		"trailing comma": join(",}"), "NaN": with("NaN"), "byte order mark": append([]byte("\xef\xbb\xbf"), text...), "UTF-16": []byte("\xff\xfe{\x00}\x00"),
		"unknown field": join(`,"` + attack + `":1}`), "proto": join(`,"__proto__":{"admin":true}}`), "constructor": join(`,"constructor":1}`),
		"doubled key": join(`,"` + first + `":` + string(with(`1`)[len(with(`1`)):]) + `"x"}`), "doubled unknown": join(`,"q":1,"q":2}`),
		"escaped double": join(`,"\u00` + fmt.Sprintf("%02x", first[0]) + first[1:] + `":"x"}`),
		"other case":     bytes.Replace(text, []byte(`"`+first+`"`), []byte(`"`+strings.ToUpper(first)+`"`), 1),
		"invalid UTF-8":  with("\"\xff\xfe zzattack\""), "invalid UTF-8 key": join(",\"\xff\":1}"), "overlong": with("\"\xc0\xaf\""), "surrogate bytes": with("\"\xed\xa0\x80\""),
		"nesting":      with(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)),
		"nested field": with(strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)),
		"open nesting": with(strings.Repeat("[", 100_000)),
		"object":       with(`{"` + attack + `":1}`), "null field": with("null"), "list of wrong": with(`[[["` + attack + `"]]]`),
		"huge number": with("1e999999"), "long number": with(strings.Repeat("9", 10_000)), "minus": with("-7"), "hex": with("0x1"),
		"control character": with("\"a\x01b\""),
		"2 MB":              with(`"` + strings.Repeat("a", 2<<20) + `"`),
	}
	delete(out, "doubled key")
	out["doubled key"] = join(`,"` + first + `":"x"}`)
	return out
}

// TestBadBodies feeds every JSON operation what is no request.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	db := root(t)
	c := newCustomer(t, "dedicated")
	p := c.person(t, "tenant_admin")
	tok := p.token(t)
	agent, memory := c.grow(t, tok, "bodies")
	account := c.machine(t, tok, "agents.read")
	ids := map[string]string{"users": c.person(t, "viewer").id.String(), "agents": agent, "memories": memory, "service-accounts": account.id, "tenants": c.id.String()}
	client := newClient(&operator)
	t.Cleanup(client.CloseIdleConnections)
	quiet(t, db, c, tok)
	log := []string{"audit_events", "audit_leaves", "audit_heads", "audit_personal", "audit_summaries"}
	before := dump(t, db, c.id, log...)
	was, recorded := rows(t, db), changes(t, db, c.id)

	tried := 0
	for _, o := range operations(t) {
		if o.body == nil {
			continue
		}
		good, _ := goodBody[o.id].(map[string]any)
		if good == nil {
			t.Errorf("%s (%s): this test has no good body; teach it", o, o.id)
			continue
		}
		path := o.at(ids[strings.Split(o.path, "/")[2]])
		q := ask{method: o.method, path: path, token: tok}
		if o.action.Audience() == policy.ForPlatform {
			q.client, q.token = client, ""
		}
		if o.public {
			q.token = ""
		}
		for name, body := range badBodies(good) {
			if name == "null field" && o.body["required"] == nil { // an optional field that is null is one left out
				continue
			}
			tried++
			q := q
			q.body = body
			a, err := q.try(t.Context())
			if err != nil {
				if name == "2 MB" { // answered and closed before it was all sent
					continue
				}
				t.Errorf("%s, %s: %v", o, name, err)
				continue
			}
			if bad := refusedWell(a); bad != "" {
				t.Errorf("%s, %s: %s: %.300s", o, name, bad, a.body)
			}
		}
		text, _ := json.Marshal(good)
		for name, kind := range map[string][]string{
			"form": {"application/x-www-form-urlencoded"}, "text": {"text/plain"}, "XML": {"application/xml"}, "CBOR": {"application/cbor"},
			"nonsense": {"zzattack<script>"}, "multipart": {"multipart/form-data; boundary=x"}, "UTF-16": {"application/json; charset=utf-16"},
		} {
			q := q
			q.body, q.header = text, http.Header{"Content-Type": kind}
			if name == "UTF-16" { // RFC 8259 knows no charset: read as UTF-8 or refused, either will do, if it stays a refusal
				q.body = []byte("\xff\xfe{\x00}\x00")
			}
			if bad := refusedWell(q.send(t)); bad != "" {
				t.Errorf("%s, content type %s: %s", o, name, bad)
			}
		}
		q.body = nil
		if a := q.send(t); o.needsBody {
			if bad := refusedWell(a); bad != "" {
				t.Errorf("%s without a body: %s: %.200s", o, bad, a.body)
			}
		}
	}
	if tried < 400 {
		t.Errorf("tried %d bad bodies only", tried)
	}
	if after := dump(t, db, c.id, log...); after != before {
		t.Errorf("bad bodies changed something:\n%s", firstDifference(before, after))
	}
	if n := changes(t, db, c.id); n != recorded {
		t.Errorf("bad bodies left %d events of changes", n-recorded)
	}
	if now := rows(t, db); now.tenants < was.tenants || strings.Contains(dumpNames(t, db), "stolen-tenant") {
		t.Errorf("bad bodies made a tenant: %+v, then %+v", was, now)
	}
}

// changes counts the events that say something was changed.
func changes(t testing.TB, db *pgx.Conn, id tenant.ID) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM audit_records WHERE tenant_id = $1 AND outcome = 'success'
		AND type NOT IN ('API_REQUEST', 'LOGIN_SUCCESS')`, id.String()).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

type counts struct{ tenants int }

func rows(t testing.TB, db *pgx.Conn) (c counts) {
	t.Helper()
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM tenants`).Scan(&c.tenants); err != nil {
		t.Fatal(err)
	}
	return c
}

func dumpNames(t testing.TB, db *pgx.Conn) (names string) {
	t.Helper()
	if err := db.QueryRow(t.Context(), `SELECT string_agg(name, ' ') FROM tenants`).Scan(&names); err != nil {
		t.Fatal(err)
	}
	return names
}

// TestBadValues puts one bad value into an otherwise good request.
func TestBadValues(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	p := c.person(t, "tenant_admin")
	tok := p.token(t)
	agent, memory := c.grow(t, tok, "values")
	long := strings.Repeat("a", 70_000)
	nul, lone := `a\u0000zzattack`, `\ud800zzattack`
	user := "/v1/users/" + c.person(t, "viewer").id.String()
	for _, k := range []struct{ method, path, body string }{
		{"POST", "/v1/agents", `{"name":"` + nul + `"}`}, {"POST", "/v1/agents", `{"name":"` + long + `"}`}, {"POST", "/v1/agents", `{"name":""}`},
		{"POST", "/v1/agents", `{"name":"x","description":"` + nul + `"}`}, {"POST", "/v1/agents", `{"name":"x","metadata":{"k":"` + nul + `"}}`},
		{"POST", "/v1/agents", `{"name":"x","metadata":{"` + nul + `":1}}`}, {"POST", "/v1/agents", `{"name":"x","model":"` + nul + `"}`},
		{"POST", "/v1/agents", `{"name":"x","tools":["` + nul + `"]}`}, {"POST", "/v1/agents", `{"name":"x","instructions":"` + nul + `"}`},
		{"POST", "/v1/agents", `{"name":"x","metadata":{"k":1e999}}`},
		{"POST", "/v1/agents", `{"name":"x","tools":["` + strings.Repeat(`a","`, 101) + `"]}`},
		{"PATCH", "/v1/agents/" + agent, `{"description":"` + nul + `"}`}, {"PATCH", "/v1/agents/" + agent, `{"metadata":{"k":"` + nul + `"}}`},
		{"POST", "/v1/memories", `{"text":"` + nul + `"}`}, {"POST", "/v1/memories", `{"text":"x","tags":["` + nul + `"]}`}, {"POST", "/v1/memories", `{"text":"x","metadata":{"k":"` + nul + `"}}`},
		{"POST", "/v1/memories", `{"text":"x","agent_id":"` + nul + `"}`}, {"POST", "/v1/memories", `{"text":"` + long + `"}`}, {"POST", "/v1/memories", `{"text":7}`},
		{"POST", "/v1/memories", `{"text":"x","agent_id":"` + strings.ToUpper(agent) + `"}`}, {"POST", "/v1/memories", `{"text":"x","agent_id":"{` + agent + `}"}`},
		{"POST", "/v1/memories", `{"text":"x","agent_id":"` + memory + `"}`},
		{"PATCH", "/v1/memories/" + memory, `{"text":"` + nul + `"}`},
		{"POST", "/v1/memories/search", `{"query":"` + nul + `"}`}, {"POST", "/v1/memories/search", `{"query":"x","tag":"` + nul + `"}`}, {"POST", "/v1/memories/search", `{"query":"x","limit":201}`},
		{"POST", "/v1/memories/search", `{"query":"x","limit":-1}`}, {"POST", "/v1/memories/search", `{"query":"x","limit":1.5}`}, {"POST", "/v1/memories/search", `{"query":"x","limit":1e99}`},
		{"POST", "/v1/memories/search", `{"query":"x","limit":99999999999999999999}`},
		{"POST", "/v1/users", `{"email":"` + nul + `@example.com"}`}, {"POST", "/v1/users", `{"email":"zzattack"}`}, {"POST", "/v1/users", `{"email":"a@example.com\r\nBcc: x@example.com"}`},
		{"POST", "/v1/users", `{"email":"a@example.com","name":"` + nul + `"}`}, {"POST", "/v1/users", `{"email":"a@example.com","password":"short"}`},
		{"POST", "/v1/users", `{"email":"a@example.com","password":"password123456"}`}, {"POST", "/v1/users", `{"email":"a@example.com","roles":["zzattack"]}`},
		{"POST", "/v1/users", `{"email":"a@example.com","roles":["viewer","viewer","viewer","viewer","viewer","viewer","viewer","viewer","viewer","viewer","viewer"]}`},
		{"PATCH", user, `{"name":"` + nul + `"}`}, {"PATCH", user, `{"active":"yes"}`}, {"POST", user + "/roles", `{"role":"` + nul + `"}`}, {"POST", user + "/roles", `{"role":"zzattack"}`},
		{"POST", "/v1/service-accounts", `{"name":"` + nul + `","grants":["agents.read"]}`}, {"POST", "/v1/service-accounts", `{"name":"x","grants":["zzattack"]}`},
		{"POST", "/v1/service-accounts", `{"name":"x","grants":[]}`}, {"POST", "/v1/service-accounts", `{"name":"x","grants":["agents.read"],"certificate":"` + nul + `"}`},
		{"POST", "/v1/auth/login", `{"email":"` + nul + `@b.c","password":"x"}`}, {"POST", "/v1/auth/login", `{"tenant":"` + nul + `","email":"a@b.c","password":"x"}`},
		{"POST", "/v1/auth/login", `{"tenant":"` + c.name + `","email":"` + nul + `@b.c","password":"` + nul + `"}`}, {"POST", "/v1/auth/login", `{"tenant":"` + lone + `","email":"` + lone + `@b.c","password":"` + lone + `"}`},
		{"POST", "/v1/auth/refresh", `{"refresh_token":"` + nul + `"}`}, {"POST", "/v1/auth/refresh", `{"refresh_token":"ocr_` + strings.Repeat("_", 64) + `"}`},
		{"PUT", "/v1/me/password", `{"current_password":"` + passwordOfAll + `","new_password":"` + passwordOfAll + `"}`}, {"PUT", "/v1/me/password", `{"current_password":"` + nul + `","new_password":"long-enough-but-useless-57"}`},
	} {
		a := do(t, k.method, tok, k.path, k.body)
		if bad := refusedWell(a); bad != "" {
			t.Errorf("%s %s %.120s: %s: %.200s", k.method, k.path, k.body, bad, a.body)
		}
	}
	// A lone surrogate is either refused or kept as U+FFFD, never as a half.
	for _, k := range []struct{ path, body string }{
		{"/v1/agents", `{"name":"` + lone + `"}`}, {"/v1/memories", `{"text":"` + lone + `"}`}, {"/v1/memories", `{"text":"x","metadata":{"` + lone + `":"` + lone + `"}}`},
	} {
		if a := post(t, tok, k.path, k.body); a.status >= 500 || !utf8.Valid(a.body) || bytes.Contains(a.body, []byte(`\ud800`)) {
			t.Errorf("%s %s: %d %.200s", k.path, k.body, a.status, a.body)
		}
	}
}

// TestBadQueries tries cursors, limits, ids and parameters that are none.
func TestBadQueries(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	agent, _ := c.grow(t, tok, "queries")
	for _, o := range operations(t) {
		if o.public || o.action.Audience() == policy.ForPlatform {
			continue
		}
		// Nobody reads a parameter that nobody knows.
		if o.method == "GET" && !strings.Contains(o.path, "{") {
			if bad := refusedWell(get(t, tok, o.path+"?zzattack%3Cscript%3E=1")); bad != "" {
				t.Errorf("%s with an unknown parameter: %s", o, bad)
			}
		}
		for _, p := range o.params {
			if p.In != "query" {
				continue
			}
			values := []string{"%00", "%ff%fe", "a%00zzattack", strings.Repeat("a", 2000)}
			switch p.Name {
			case "limit":
				values = append(values, "0", "-1", "1.5", "1e3", "99999999999999999999", "zzattack", "0x10", "1;2", "%20")
			case "cursor":
				if o.path != "/v1/users" && o.path != "/v1/service-accounts" { // there the place is a name
					values = append(values, "zzattack", "-1", "e30", "bnVsbA", "eyJ4IjoxfQ", "99999999999999999999")
				}
			case "from", "to":
				values = append(values, "yesterday", "2026-13-01T00:00:00Z", "1.5")
			case "type", "severity", "order", "outcome":
				values = append(values, "zzattack")
			}
			for _, v := range values {
				a := get(t, tok, o.path+"?"+p.Name+"="+v)
				if bad := refusedWell(a); bad != "" {
					t.Errorf("%s?%s=%.60s: %s: %.200s", o, p.Name, v, bad, a.body)
				}
			}
			if p.Name == "limit" || p.Name == "order" { // twice: one answer or none, never a fault
				if a := get(t, tok, o.path+"?"+p.Name+"=1&"+p.Name+"=2"); a.status >= 500 {
					t.Errorf("%s with %s twice: %d", o, p.Name, a.status)
				}
			}
		}
		if !strings.Contains(o.path, "{id}") {
			continue
		}
		for _, id := range []string{"%2e%2e", "..%2f..", "%00", "%ff", strings.ToUpper(agent), "{" + agent + "}", "urn:uuid:" + agent, strings.ReplaceAll(agent, "-", ""),
			agent + "%20", "%20" + agent, agent + "%00", "0", "-1", "null", "undefined", uuid.Nil.String(), "zzattack", strings.Repeat("a", 300), "'%20OR%201=1--", "*", agent + "/", agent + "%2f"} {
			q := ask{method: o.method, path: o.at(id), token: tok}
			if o.body != nil {
				q.body = goodBody[o.id]
			}
			a := q.send(t)
			if a.status == 301 || a.status == 307 || a.status == 308 { // the path cleaned, nothing done
				continue
			}
			if bad := refusedWell(a); bad != "" {
				t.Errorf("%s with id %.60s: %s: %.200s", o, id, bad, a.body)
			}
		}
	}
	get(t, tok, "/v1/agents/"+agent).want(t, 200)
}

// TestBadHeaders puts into headers what the log or the database cannot hold.
func TestBadHeaders(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	for name, h := range map[string]http.Header{
		"agent of bad UTF-8":      {"User-Agent": {"a\xff\xfe\x80b"}},
		"long agent":              {"User-Agent": {strings.Repeat("a", 9000)}},
		"request id of bad UTF-8": {"X-Request-Id": {"\xff\xfe"}},
		"request id of markup":    {"X-Request-Id": {attack}},
		"traceparent":             {"Traceparent": {"\xff-" + attack}},
		"origin":                  {"Origin": {"\xff" + attack}},
		"forwarded":               {"X-Forwarded-For": {"203.0.113.1"}, "Forwarded": {"for=203.0.113.1"}},
		"method override":         {"X-Http-Method-Override": {"DELETE"}},
	} {
		for _, path := range []string{"/v1/me", "/v1/agents/" + uuid.NewString(), "/nowhere"} {
			a := ask{method: "GET", path: path, token: tok, header: h}.send(t)
			if a.status >= 500 {
				t.Errorf("%s on %s: %d %.200s", name, path, a.status, a.body)
			}
			if bytes.Contains(a.body, []byte("zzattack")) || strings.Contains(fmt.Sprint(a.header), "zzattack") {
				t.Errorf("%s on %s comes back", name, path)
			}
		}
		b := ask{method: "POST", path: "/v1/memories", token: tok, header: h, body: map[string]any{"text": "x"}}.send(t)
		if b.status != 201 {
			t.Errorf("%s on a change: %d %.200s", name, b.status, b.body)
		}
		l := ask{method: "POST", path: "/v1/auth/login", header: h, body: map[string]any{"tenant": c.name, "email": "a@b.c", "password": "x"}}.send(t)
		if l.status != 401 {
			t.Errorf("%s on a failed login: %d %.200s", name, l.status, l.body)
		}
	}
	for _, m := range []string{`"0"`, "1", `W/"1"`, `"1", "2"`, `"-1"`, `"zzattack"`, `"99999999999999999999"`, "\"\xff\""} {
		a := ask{method: "DELETE", path: "/v1/agents/" + uuid.NewString(), token: tok, header: http.Header{"If-Match": {m}}}.send(t)
		if bad := refusedWell(a); bad != "" {
			t.Errorf("If-Match %s: %s", m, bad)
		}
	}
	for _, k := range []string{strings.Repeat("k", 201), strings.Repeat("k", 5000)} {
		a := ask{method: "POST", path: "/v1/memories", token: tok, header: http.Header{"Idempotency-Key": {k}}, body: map[string]any{"text": "x"}}.send(t)
		if bad := refusedWell(a); bad != "" {
			t.Errorf("Idempotency-Key of %d bytes: %s", len(k), bad)
		}
	}
	for _, e := range events(t, tok) {
		if id, _ := e["request_id"].(string); strings.Contains(id, "zzattack") {
			t.Errorf("the log holds the request id as sent: %q", id)
		}
		if ip, _ := e["ip"].(string); strings.HasPrefix(ip, "203.0.113.") {
			t.Error("the log believes X-Forwarded-For of nobody's proxy")
		}
	}
}

// FuzzJSONEndpoints sends anything to any operation: 2xx or a 4xx problem.
func FuzzJSONEndpoints(f *testing.F) {
	c := newCustomer(f, "dedicated")
	admin := c.person(f, "tenant_admin")
	var ops []operation
	for _, o := range operations(f) {
		if o.body != nil && o.id != "login" && o.id != "change-password" && o.id != "create-user" { // those cost a password hash each
			ops = append(ops, o)
		}
	}
	for i, o := range ops {
		good, _ := json.Marshal(goodBody[o.id])
		f.Add(uint8(i), string(good), "")
		f.Add(uint8(i), `{"metadata":{"a":[1,2,{"b":null}]}}`, "?limit=1")
		f.Add(uint8(i), "{\"text\":\"\\u0000\\ud800\xff\"}", "?cursor=%00")
	}
	tok := admin.token(f)
	client := newClient(&operator)
	f.Cleanup(client.CloseIdleConnections)
	f.Fuzz(func(t *testing.T, which uint8, body, query string) {
		o := ops[int(which)%len(ops)]
		q := ask{method: o.method, path: o.at(c.id.String()), token: tok, body: body}
		if o.action.Audience() == policy.ForPlatform {
			q.client, q.token = client, ""
			if o.id == "create-tenant" || o.id == "create-block" {
				t.Skip("leaves things behind")
			}
		}
		if strings.HasPrefix(query, "?") && !strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
			q.path += query
		}
		a, err := q.try(t.Context())
		if err != nil {
			t.Skip(err) // not a request that the client would send
		}
		if a.status >= 200 && a.status < 300 {
			return
		}
		if bad := refusedWell(a); bad != "" && bad != "it echoes what was sent" {
			t.Errorf("%s %q %q: %s: %.300s", o, query, body, bad, a.body)
		}
	})
}
