package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestInspectionHasNoBackDoor says one attack in every dress that the handler
// behind the inspection would undress.
func TestInspectionHasNoBackDoor(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	const sql = `x' UNION SELECT password_hash FROM users --`
	plain := `{"name":"` + sql + `"}`
	send := func(body, kind string) answer {
		h := http.Header{"Content-Type": {kind}}
		if kind == "" {
			h["Content-Type"] = nil
		}
		return ask{method: "POST", path: "/v1/agents", token: tok, body: body, header: h}.send(t)
	}
	if a := send(plain, "application/json"); a.code() != "sql_injection_detected" {
		t.Fatalf("the plain attack: %d %.200s", a.status, a.body)
	}
	escaped := "{\"na\\u006de\":\""
	for _, r := range sql {
		escaped += `\u00` + string("0123456789abcdef"[r>>4]) + string("0123456789abcdef"[r&15])
	}
	escaped += `"}`
	for name, k := range map[string][2]string{
		"escaped": {escaped, "application/json"}, "a +json type": {plain, "application/vnd.api+json"}, "a short +json type": {plain, "x+json"}, "text+json": {plain, "text/plain+json"},
		"json alone": {plain, "json"}, "no type": {plain, ""}, "upper case": {plain, "APPLICATION/JSON"}, "charset": {plain, "application/json; charset=utf-8"},
		"odd parameter": {plain, `application/json; x="+json"`}, "broken parameter": {plain, "application/json; ="}, "spaces": {plain, " application/json "},
		"two types": {plain, "text/plain, application/json"}, "form and json": {plain, "application/x-www-form-urlencoded+json"},
		"leading white space": {strings.Repeat("\n ", 1000) + plain, "application/json"},
	} {
		a := send(k[0], k[1])
		if a.status < 400 || !slices.Contains([]string{"sql_injection_detected", "unsupported_media_type", "invalid_request"}, a.code()) {
			t.Errorf("%s: the attack gets through: %d %.200s", name, a.status, a.body)
		}
	}
	for _, a := range get(t, tok, "/v1/agents").items(t) {
		t.Errorf("an agent of the attack's name is kept: %v", a["name"])
	}
}
