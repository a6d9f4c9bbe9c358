package shield

import (
	"strings"
	"testing"
)

func TestEverySignatureFires(t *testing.T) {
	t.Parallel()
	s, err := newScanners(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.signatures) < 150 {
		t.Fatalf("only %d signatures", len(s.signatures))
	}
	for _, g := range s.signatures {
		for _, text := range []string{g.Text, strings.ToUpper(g.Text)} {
			text = map[string]string{"contains": "/xyz" + text + "xyz", "prefix": text + "xyz", "suffix": "/xyz" + text, "exact": text}[g.Match]
			var got *Signature
			switch g.In {
			case "path":
				got = s.probe(text, "")
			case "query":
				got = s.probe("/", text)
			case "agent":
				got = s.tool(text)
			}
			if got == nil {
				t.Errorf("%s does not fire on %q", g.ID, text)
			}
		}
	}
}

func TestOrdinaryRequestsDoNotFire(t *testing.T) {
	t.Parallel()
	s, err := newScanners(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/", "/v1/agents", "/v1/agents/01JABC/runs", "/v1/chat/completions", "/oauth/token", "/.well-known/jwks.json",
		"/.well-known/security.txt", "/openapi.json", "/health", "/livez", "/readyz", "/metrics", "/robots.txt", "/favicon.ico",
		"/docs/environment", "/docs/.environments", "/blog/git/config", "/a..b/c", "/v1/memories/search", "/assets/app.4f2a.js",
		"/users/admin", "/v1/audit/events", "/v1/keys/rotate", "/login", "/static/php-guide.html", "/release/1.24/notes", "/wp",
	} {
		if g := s.probe(path, ""); g != nil {
			t.Errorf("%s fires on %s", g.ID, path)
		}
	}
	for _, query := range []string{"", "q=how+do+i+use+wget", "limit=20&cursor=abc", "code=4/0A&state=xyz", "q=%24%7Bname%7D", "x=-d", "s=index"} {
		if g := s.probe("/v1/agents", query); g != nil {
			t.Errorf("%s fires on ?%s", g.ID, query)
		}
	}
	for _, agent := range []string{
		"", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "curl/8.5.0", "Go-http-client/2.0",
		"python-requests/2.32", "python-httpx/0.27", "OpenAI/Python 1.50.0", "kube-probe/1.31", "Prometheus/2.55", "ELB-HealthChecker/2.0",
		"okhttp/4.12", "node", "GoogleHC/1.0", "Better Uptime Bot", "PostmanRuntime/7.42",
	} {
		if g := s.tool(agent); g != nil {
			t.Errorf("%s fires on %s", g.ID, agent)
		}
	}
}

// The automaton agrees with the obvious implementation, whatever the text.
func FuzzScan(f *testing.F) {
	s, err := newScanners(nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"/.env", "/.git/HEAD", "..%2f..%2fetc/passwd", "${jndi:ldap://x}", "/wp-wp-login.php", "/ETC/PASSWD", "/.env.", "\x00", "/cgi-bin/luci"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, field := range []struct {
			name string
			find func(string) *Signature
		}{{"path", func(x string) *Signature { return s.probe(x, "") }}, {"query", func(x string) *Signature { return s.probe("", x) }}, {"agent", s.tool}} {
			got := field.find(text) != nil
			want := false
			seen := text[:min(len(text), scanLength)]
			low := []byte(seen)
			for i, b := range low {
				if b >= 'A' && b <= 'Z' {
					low[i] += 'a' - 'A'
				}
			}
			x := string(low)
			for _, g := range s.signatures {
				if g.In == field.name {
					want = want || g.Match == "contains" && strings.Contains(x, g.Text) ||
						g.Match == "prefix" && strings.HasPrefix(x, g.Text) || g.Match == "suffix" && strings.HasSuffix(x, g.Text) ||
						g.Match == "exact" && x == g.Text
				}
			}
			if got != want {
				t.Fatalf("%s of %q: automaton %v, plain search %v", field.name, text, got, want)
			}
		}
	})
}
