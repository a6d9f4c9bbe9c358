package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// An allowed span lets itself pass in every kind, in the request's path as in
// POST /v1/inspect, and nothing that stands beside it.
func TestAllowedSpans(t *testing.T) {
	t.Parallel()
	c := start(t, nil).customer(t)
	const (
		sql = "x' UNION SELECT password_hash FROM users --"
		xss = "<img src=x onerror=alert(1)>"
	)
	prompt := families[0].attack
	carry := map[string]func(text string) answer{
		"prompt": func(text string) answer { return c.remember(t, text) },
		"sql":    func(text string) answer { return c.do(t, "POST", "/v1/agents", map[string]string{"name": text}) },
		"xss": func(text string) answer {
			return c.do(t, "POST", "/v1/agents", map[string]any{"name": "fine", "metadata": map[string]string{"a": text}})
		},
	}
	span := map[string]string{"prompt": prompt, "sql": sql, "xss": xss}
	more := map[string]string{"prompt": prompt + " " + families[3].attack, "sql": sql + "; DROP TABLE agents --", "xss": xss + "<script>alert(2)</script>"}
	for kind, carry := range carry {
		if a := carry(span[kind]); a.status != 403 {
			t.Errorf("%s before: %d", kind, a.status)
		}
	}
	var spans []map[string]string
	for kind, text := range span {
		spans = append(spans, map[string]string{"text": text, "kind": kind, "owner": "ann@customer.example"})
	}
	set := c.set(t, map[string]any{"allowed": spans}).want(t, 200)
	until(t, "the spans are in force", func() bool { return c.remember(t, prompt).status == 201 })
	for kind, carry := range carry {
		if a := carry(span[kind]); a.status != 201 {
			t.Errorf("%s: %d %s", kind, a.status, a.body)
		}
		if a := carry(more[kind]); a.status != 403 {
			t.Errorf("%s carries more: %d %s", kind, a.status, a.body)
		}
		for text, want := range map[string]string{span[kind]: "flag", more[kind]: "block"} {
			if got := c.do(t, "POST", "/v1/inspect", map[string]string{"text": text, "kind": kind}).want(t, 200).json(t)["decision"]; got != want {
				t.Errorf("%s: the endpoint says %v of %q", kind, got, text)
			}
		}
	}
	// who let what pass is on record, and the text is not
	ev := c.event(t, set.id, audit.ConfigChanged)
	digest := sha256.Sum256([]byte(sql))
	on, _ := details(t, ev)["allowed"].([]any)
	if len(on) != 3 || !slices.Contains(on, any(hex.EncodeToString(digest[:])+" ann@customer.example")) || strings.Contains(fmt.Sprint(ev), "UNION") {
		t.Errorf("on record: %s", ev.Details)
	}
}

// Shadow mode ends by itself, to the second.
func TestShadowEnds(t *testing.T) {
	t.Parallel()
	c := start(t, nil).customer(t)
	end := time.Now().Add(3 * time.Second).Truncate(time.Second)
	c.set(t, map[string]any{"shadow_until": end.Format(time.RFC3339)}).want(t, 200)
	passed := false
	until(t, "shadow mode is over", func() bool {
		before := time.Now()
		a := c.remember(t, families[0].attack)
		if a.status == 201 {
			if before.After(end) {
				t.Fatalf("passed %v after the end", before.Sub(end))
			}
			passed = true
		}
		return a.status == 403 && !before.Before(end)
	})
	if !passed {
		t.Error("shadow mode was never in force")
	}
}

// The verdict that the request's path acts on is the one that the endpoint gives.
func TestEndpointAgrees(t *testing.T) {
	t.Parallel()
	c := start(t, nil).customer(t)
	for _, f := range families {
		for _, text := range []string{f.attack, f.twin} {
			said := c.do(t, "POST", "/v1/inspect", map[string]string{"text": text}).want(t, 200).json(t)
			a := c.remember(t, text)
			if (said["decision"] == "block") != (a.status == 403) {
				t.Errorf("%q: the endpoint says %v, the path %d", text, said["decision"], a.status)
				continue
			}
			total := 0.0
			findings, _ := said["findings"].([]any)
			for _, x := range findings {
				total += x.(map[string]any)["share"].(float64)
			}
			if len(findings) > 0 && said["decision"] == "block" && (total < 0.98 || total > 1.02) {
				t.Errorf("%q: the shares add up to %v", text, total)
			}
			if a.status == 403 {
				score, _ := details(t, c.event(t, a.id, audit.PromptInjectionDetected))["score"].(float64)
				if confidence, _ := said["confidence"].(float64); score != float64(int(confidence*1000+0.5)) {
					t.Errorf("%q: %v on record, %v said", text, score, confidence)
				}
			}
		}
	}
}

// What a client may not say about a request: whom it trusts, which method was
// meant, under which type its body is to be read.
func TestClientDoesNotChoose(t *testing.T) {
	t.Parallel()
	c := start(t, nil).customer(t)
	attack := families[0].attack
	body := func(extra string) string { return `{"text":` + fmt.Sprintf("%q", attack) + extra + `}` }
	for name, a := range map[string]answer{
		"a trust":           c.do(t, "POST", "/v1/memories", body(`,"trust":"user"`)),
		"another case":      c.do(t, "POST", "/v1/memories", `{"TEXT":`+fmt.Sprintf("%q", attack)+`}`),
		"both cases":        c.do(t, "POST", "/v1/memories", `{"text":"fine","Text":`+fmt.Sprintf("%q", attack)+`}`),
		"twice":             c.do(t, "POST", "/v1/memories", `{"text":"fine","text":`+fmt.Sprintf("%q", attack)+`}`),
		"twice, escaped":    c.do(t, "POST", "/v1/memories", `{"text":"fine","\u0074ext":`+fmt.Sprintf("%q", attack)+`}`),
		"two documents":     c.do(t, "POST", "/v1/memories", `{"text":"fine"}`+body("")),
		"a BOM":             c.do(t, "POST", "/v1/memories", "\ufeff"+body("")),
		"UTF-16":            c.do(t, "POST", "/v1/memories", strings.Join(strings.Split(body(""), ""), "\x00")+"\x00"),
		"an override":       c.do(t, "POST", "/v1/memories", body(""), "X-HTTP-Method-Override", "GET"),
		"a form":            c.do(t, "POST", "/v1/memories", "text="+url.QueryEscape(attack), "Content-Type", "application/x-www-form-urlencoded"),
		"a form in json":    c.do(t, "POST", "/v1/memories", "text="+url.QueryEscape(attack)),
		"deep":              c.do(t, "POST", "/v1/memories", `{"metadata":`+strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 100)+`}`),
		"many keys":         c.do(t, "POST", "/v1/memories", `{"metadata":{`+strings.TrimSuffix(keys(10_001), ",")+`}}`),
		"compressed":        c.do(t, "POST", "/v1/memories", body(""), "Content-Encoding", "gzip"),
		"a GET with a body": c.do(t, "GET", "/v1/memories", body("")),
	} {
		if a.status < 400 && !strings.HasPrefix(name, "a GET") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a.status >= 500 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if got := c.do(t, "GET", "/v1/memories", nil).want(t, 200); strings.Contains(string(got.body), `"text"`) {
		t.Errorf("something was kept: %s", got.body)
	}
}

func keys(n int) string {
	var b strings.Builder
	for range n {
		fmt.Fprintf(&b, "%q:1,", uuid.NewString())
	}
	return b.String()
}
