package render

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func TestEscapeJSON(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"a":"<script>&</script>"}`: `{"a":"\u003cscript\u003e\u0026\u003c/script\u003e"}`,
		`{"a<b":1}`:                  `{"a\u003cb":1}`,
		`["\u003c","\\<"]`:           `["\u003c","\\\u003c"]`,
		"[\"\u2028\u2029\u2027\"]":   "[\"\\u2028\\u2029\u2027\"]",
		`null`:                       `null`,
	} {
		if got := string(EscapeJSON(nil, []byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzJSONWriter: whatever the document and however it is cut, nothing is lost
// and nothing live is left.
func FuzzJSONWriter(f *testing.F) {
	f.Add([]byte(`{"a":["<img src=x onerror=alert(1)>&",1,true,null,"\u2028"]}`), 3)
	f.Add([]byte("[\"\u2028\xe2\x80\"]"), 1)
	f.Fuzz(func(t *testing.T, doc []byte, cut int) {
		if !json.Valid(doc) {
			return
		}
		if cut < 1 {
			cut = 1 - cut%7
		}
		var out bytes.Buffer
		w := NewJSONWriter(&out)
		for rest := doc; len(rest) > 0; {
			n := min(cut, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(out.Bytes(), "<>&") {
			t.Fatalf("live markup in %q", out.Bytes())
		}
		var a, b any
		if err := json.Unmarshal(doc, &a); err != nil {
			return // a number no float holds, say
		}
		if err := json.Unmarshal(out.Bytes(), &b); err != nil {
			t.Fatalf("%q: %v", out.Bytes(), err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q", doc, out.Bytes())
		}
	})
}

func TestEncodeEntities(t *testing.T) {
	t.Parallel()
	in := `{"z":{"<b>":["<img src=x onerror=alert(1)>",1.50,12345678901234567890,true,null]},"a":"\"'&"}`
	got, err := EncodeEntities([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"z":{"\u0026lt;b\u0026gt;":["\u0026lt;img src=x onerror=alert(1)\u0026gt;",1.50,12345678901234567890,true,null]},"a":"\u0026#34;\u0026#39;\u0026amp;"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, bad := range []string{``, `{`, `{} {}`, `{"a":}`, strings.Repeat("[", 200) + strings.Repeat("]", 200), "\"\xff\""} {
		if out, err := EncodeEntities([]byte(bad)); err == nil {
			t.Errorf("%.20q gave %s", bad, out)
		}
	}
}

// harmless parses a fragment as a browser would and fails on anything active.
func harmless(t *testing.T, s string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(s))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			switch tok.Data {
			case "p", "br", "hr", "b", "strong", "i", "em", "code", "pre", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4", "a":
			default:
				t.Fatalf("element %s in %q", tok.Data, s)
			}
			for _, a := range tok.Attr {
				switch {
				case a.Key == "href" && (strings.HasPrefix(a.Val, "https:") || strings.HasPrefix(a.Val, "mailto:")):
				case a.Key == "rel" || a.Key == "target":
				default:
					t.Fatalf("attribute %s=%q in %q", a.Key, a.Val, s)
				}
			}
		}
	}
}

func TestHTML(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`<p>Hi <b>there</b></p><ul><li>x</li></ul>`: `<p>Hi <b>there</b></p><ul><li>x</li></ul>`,
		`<script>alert(1)</script>ok`:               `ok`,
		`<a href="javascript:alert(1)">x</a>`:       `x`,
		`<a href="data:text/html,x">x</a>`:          `x`,
		`<img src=x onerror=alert(1)>t`:             `t`,
		`<b onclick=alert(1)>x</b>`:                 `<b>x</b>`,
		`<svg><script>alert(1)</script></svg>`:      ``,
		`<style>*{}</style><form><input></form>x`:   `x`,
		`1 < 2 & 3`: `1 &lt; 2 &amp; 3`,
		`<math><mtext><style><img src onerror=a()>`:   ``,
		`<a href="/relative">x</a>`:                   `x`,
		`<a href="//evil.example" style="x">protocol`: `protocol`,
	} {
		got := HTML(in)
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
		harmless(t, got)
	}
	link := HTML(`<a href="https://a.example/x">x</a>`)
	for _, must := range []string{"nofollow", "noreferrer", `target="_blank"`, "noopener"} {
		if !strings.Contains(link, must) {
			t.Errorf("%s lacks %s", link, must)
		}
	}
}

func FuzzHTML(f *testing.F) {
	f.Add(`<p title="</p><img src=x onerror=alert(1)>">`)
	f.Add(`<noscript><p title="</noscript><img src=x onerror=alert(1)>">`)
	f.Fuzz(func(t *testing.T, s string) { harmless(t, HTML(s)) })
}

func TestCSP(t *testing.T) {
	t.Parallel()
	n := Nonce()
	if len(n) < 22 || n == Nonce() {
		t.Error("nonce is short or repeats")
	}
	h := http.Header{}
	(CSP{Connect: []string{"https://api.example"}}).SetPage(h, n)
	got := h.Get("Content-Security-Policy")
	for _, want := range []string{"script-src 'self' 'nonce-" + n + "'", "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "default-src 'none'", "object-src 'none'", "connect-src 'self' https://api.example"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	if strings.Contains(got, "unsafe") {
		t.Error(got)
	}
	for _, bad := range []string{"*", "https://*.example", "https://a.example; script-src *", "https://a.example/x", "javascript:alert(1)", "a.example", "https://a b", ""} {
		if (CSP{Images: []string{bad}}).Check() == nil {
			t.Errorf("%q passed", bad)
		}
	}
	if err := (CSP{Ancestors: []string{"https://a.example", "http://localhost:3000"}}).Check(); err != nil {
		t.Error(err)
	}
	SetJSON(h)
	if h.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("JSON may be sniffed")
	}
}

func BenchmarkEscapeJSON(b *testing.B) {
	doc := bytes.Repeat([]byte(`{"name":"Anna <anna@example.com>","note":"plain text goes here and on"},`), 1000)
	dst := make([]byte, 0, 2*len(doc))
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		dst = EscapeJSON(dst[:0], doc)
	}
}
