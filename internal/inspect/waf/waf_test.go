package waf

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// core is shared: loading the rule set takes a second, inspecting changes nothing.
var core = sync.OnceValues(func() (*WAF, error) { return New(Options{}) })

var remote = &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 5000}

func request(method, target, contentType, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "api.example"
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("Accept", "application/json")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestCoreRuleSet(t *testing.T) {
	t.Parallel()
	w, err := core()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		r    *http.Request
		skip bool
		want bool
	}{
		"innocent query": {request("GET", "/v1/agents?limit=10", "", ""), false, false},
		"innocent json":  {request("POST", "/v1/agents", "application/json", `{"name":"billing helper","tags":["a","b"]}`), false, false},
		"sql in query":   {request("GET", "/v1/agents?id=1%27%20OR%20%271%27=%271%20--", "", ""), false, true},
		"xss in json":    {request("POST", "/v1/agents", "application/json", `{"name":"<script>alert(1)</script>"}`), false, true},
		"sql in form":    {request("POST", "/x", "application/x-www-form-urlencoded", "a=1+UNION+SELECT+password+FROM+users"), false, true},
		"body skipped":   {request("POST", "/x", "application/json", `{"name":"<script>alert(1)</script>"}`), SkipBody, false},
		"header":         {header(request("GET", "/x", "", ""), "Referer", "<script>alert(1)</script>"), false, true},
		"broken json":    {request("POST", "/x", "application/json", `{"a":`), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := readable(c.r)
			d, err := w.Inspect(context.Background(), c.r, remote, c.skip)
			if err != nil || d.Blocked != c.want {
				t.Fatalf("%+v, %v", d, err)
			}
			if d.Blocked != (fault.CodeOf(d.Err()) == fault.Forbidden) {
				t.Error(d.Err())
			}
			if d.Blocked && strings.Contains(d.Err().(*fault.Error).Detail, "9") {
				t.Error("the client learns the rule")
			}
			left, _ := io.ReadAll(c.r.Body)
			if string(left) != body {
				t.Errorf("body became %q", left)
			}
		})
	}
}

// readable gives the body's text and puts it back.
func readable(r *http.Request) string {
	b, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(b)))
	return string(b)
}

func header(r *http.Request, k, v string) *http.Request {
	r.Header.Set(k, v)
	return r
}

func TestLimitsAndFaultsRefuse(t *testing.T) {
	t.Parallel()
	w, err := New(Options{NoCoreSet: true, RulesFiles: []string{rules(t, `SecRule ARGS "@rx nothing" "id:1,phase:2,deny"`)}, BodyLimit: 100, Concurrent: 1})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 101)
	for name, r := range map[string]*http.Request{
		"declared": request("POST", "/", "text/plain", long),
		"chunked":  func() *http.Request { r := request("POST", "/", "text/plain", long); r.ContentLength = -1; return r }(),
	} {
		if _, err := w.Inspect(context.Background(), r, remote, false); fault.CodeOf(err) != fault.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := request("POST", "/", "text/plain", "")
	broken.Body, broken.ContentLength = io.NopCloser(failing{}), -1
	if _, err := w.Inspect(context.Background(), broken, remote, false); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("broken body: %v", err)
	}
	w.slots <- struct{}{} // all places taken
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Inspect(ctx, request("GET", "/", "", ""), remote, false); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("busy: %v", err)
	}
	<-w.slots
	if d, err := w.Inspect(context.Background(), request("GET", "/", "", ""), nil, false); err != nil || d.Blocked {
		t.Errorf("after all that: %+v, %v", d, err)
	}
	off, err := New(Options{NoCoreSet: true, RulesFiles: []string{rules(t, "SecRuleEngine Off\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := off.Inspect(context.Background(), request("GET", "/", "", ""), remote, false); fault.CodeOf(err) != fault.Internal {
		t.Errorf("engine off: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("reset") }

func rules(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "custom.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCustomRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("words.data", "forbidden\nwords\n")
	file := write("ours.conf", "# ours\nSecRule ARGS:q \"@pmFromFile words.data\" \\\n  \"id:100,\\\n  phase:2,deny,status:403,msg:'ours'\"\n")
	w, err := New(Options{NoCoreSet: true, RulesFiles: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.Inspect(context.Background(), request("GET", "/?q=forbidden", "", ""), remote, false)
	if err != nil || !d.Blocked || d.Rule != 100 || d.Status != 403 || len(d.Rules) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestErrorsNameFileAndLine(t *testing.T) {
	t.Parallel()
	good := "SecRule ARGS \"@rx x\" \"id:1,phase:2,deny\"\n"
	for name, c := range map[string]struct {
		text string
		line string
	}{
		"unknown directive": {"# c\n\n" + good + "SecNonsense On\n", ":4:"},
		"bad regex":         {good + "# c\nSecRule ARGS \"@rx (\" \\\n \"id:2,phase:2,deny\"\n" + strings.ReplaceAll(good, "id:1", "id:3"), ":3:"},
		"id twice":          {good + good, ":2:"},
		"unknown action":    {"SecRule ARGS \"@rx x\" \"id:1,phase:2,fly\"", ":1:"},
		"open backtick":     {good + "SecDataset x `\na\n", ":2:"},
		"missing data file": {good + "\n\nSecRule ARGS \"@pmFromFile none.data\" \"id:2,phase:2,deny\"\n", ":4:"},
	} {
		f := rules(t, c.text)
		_, err := New(Options{RulesFiles: []string{f}})
		if err == nil || !strings.Contains(err.Error(), f+c.line) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, o := range map[string]Options{
		"missing file": {RulesFiles: []string{"/does/not/exist.conf"}},
		"paranoia":     {Paranoia: 5},
		"no rules":     {NoCoreSet: true},
		"negative":     {BodyLimit: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	w, err := core()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Inspect(context.Background(), request("POST", "/v1/agents?limit=3", "application/json", `{"name":"billing helper","tags":["a","b"]}`), remote, false); err != nil {
			b.Fatal(err)
		}
	}
}
