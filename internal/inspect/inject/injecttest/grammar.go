// Package injecttest makes attacks and innocent texts for the evaluation of
// package inject: two grammars with different templates and vocabularies, one to
// tune on and one that only judges. Seeds are fixed, so every run reads the same
// texts.
package injecttest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"sort"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

// Sample is one labelled text. Kind is empty for an innocent one.
type Sample struct {
	Text  string
	Kind  inspect.Kind
	Group string
}

// grammar maps a symbol to its alternatives; ‹name› in an alternative stands
// for one of name's.
type grammar map[string][]string

func (g grammar) expand(r *rand.Rand, s string, depth int) string {
	var b strings.Builder
	for {
		i := strings.Index(s, "‹")
		if i < 0 || depth > 12 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+len("‹"):]
		j := strings.Index(s, "›")
		name := s[:j]
		s = s[j+len("›"):]
		switch name {
		case "n":
			fmt.Fprint(&b, r.IntN(99)+1)
		case "N":
			fmt.Fprint(&b, r.IntN(99999)+100)
		case "d":
			fmt.Fprint(&b, r.IntN(9)+1)
		case "w":
			n := r.IntN(5) + 3
			for range n {
				b.WriteByte("bcdfghklmnprstvw"[r.IntN(16)])
				b.WriteByte("aeiou"[r.IntN(5)])
			}
		default:
			alt, ok := g[name]
			if !ok {
				panic("no symbol " + name)
			}
			b.WriteString(g.expand(r, alt[r.IntN(len(alt))], depth+1))
		}
	}
}

// set is one side of the evaluation: groups of attacks and of innocent texts.
type set struct {
	g        grammar
	sql, xss map[string][]string
	innocent map[string][]string
	perSQL   int
	perXSS   int
	perGood  int
	mutators []func(*rand.Rand, string) string
	names    []string
}

func (st set) make(seed uint64) []Sample {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	seen := map[string]bool{}
	var out []Sample
	add := func(kind inspect.Kind, groups map[string][]string, n int) {
		for _, name := range sortedKeys(groups) {
			alts := groups[name]
			for made, tries := 0, 0; made < n && tries < n*6; tries++ {
				text := st.g.expand(r, alts[r.IntN(len(alts))], 0)
				if kind != "" {
					text = st.vary(r, text)
				}
				if text == "" || seen[text] {
					continue
				}
				seen[text] = true
				out = append(out, Sample{text, kind, name})
				made++
			}
		}
	}
	add(inspect.SQL, st.sql, st.perSQL)
	add(inspect.XSS, st.xss, st.perXSS)
	out = append(out, st.encoded(r, out)...)
	add("", st.innocent, st.perGood)
	return out
}

// vary changes case and spacing of an attack now and then.
func (st set) vary(r *rand.Rand, s string) string {
	switch r.IntN(8) {
	case 0:
		if !strings.ContainsAny(s, "$`{") {
			return strings.ToUpper(s)
		}
	case 1:
		if !strings.ContainsAny(s, "$`{") {
			return strings.ToLower(s)
		}
	}
	return s
}

// encoded disguises some of the attacks made so far.
func (st set) encoded(r *rand.Rand, made []Sample) []Sample {
	var out []Sample
	for i, enc := range st.mutators {
		for _, kind := range []inspect.Kind{inspect.SQL, inspect.XSS} {
			n := st.perSQL
			if kind == inspect.XSS {
				n = st.perXSS
			}
			for range n / 3 {
				for {
					s := made[r.IntN(len(made))]
					if s.Kind != kind {
						continue
					}
					if text := enc(r, s.Text); text != s.Text && len(text) < 4000 {
						out = append(out, Sample{text, kind, "encoded:" + st.names[i]})
						break
					}
				}
			}
		}
	}
	return out
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func urlOnce(_ *rand.Rand, s string) string  { return url.QueryEscape(s) }
func urlPath(_ *rand.Rand, s string) string  { return url.PathEscape(s) }
func urlTwice(_ *rand.Rand, s string) string { return url.PathEscape(url.PathEscape(s)) }
func urlAll(_ *rand.Rand, s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

func entityNamed(_ *rand.Rand, s string) string { return html.EscapeString(s) }
func entityAll(r *rand.Rand, s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch r.IntN(3) {
		case 0:
			fmt.Fprintf(&b, "&#x%x;", s[i])
		case 1:
			fmt.Fprintf(&b, "&#%d;", s[i])
		default:
			fmt.Fprintf(&b, "&#%07d", s[i])
			if i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
				b.WriteByte(';')
			}
		}
	}
	return b.String()
}

func unicodeEscape(_ *rand.Rand, s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'a' && c <= 'z' || c == ' ' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "\\u%04x", c)
		}
	}
	return b.String()
}

func hexEscape(_ *rand.Rand, s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "\\x%02x", s[i])
	}
	return b.String()
}

func fullwidth(_ *rand.Rand, s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && (c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z') {
			b.WriteRune(rune(c) + 0xfee0)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func overlong(_ *rand.Rand, s string) string {
	return strings.NewReplacer("'", "%c0%a7", `"`, "%c0%a2", "<", "%c0%bc", "=", "%c0%bd", "$", "%c0%a4", "(", "%c0%a8").Replace(s)
}

func percentU(_ *rand.Rand, s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%u%04X", c)
		}
	}
	return b.String()
}

func b64(_ *rand.Rand, s string) string       { return base64.StdEncoding.EncodeToString([]byte(s)) }
func b64url(_ *rand.Rand, s string) string    { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
func hexString(_ *rand.Rand, s string) string { return hex.EncodeToString([]byte(s)) }
func hex0x(_ *rand.Rand, s string) string     { return "0x" + hex.EncodeToString([]byte(s)) }

// comments stand for spaces between words.
func comments(r *rand.Rand, s string) string {
	with := []string{"/**/", "/*x*/", "/* */", "\t", "\n", "  "}
	return strings.ReplaceAll(s, " ", with[r.IntN(len(with))])
}

func mixedCase(r *rand.Rand, s string) string {
	if strings.ContainsAny(s, "$`{") {
		return s + " "
	}
	b := []byte(s)
	for i, c := range b {
		if r.IntN(2) == 0 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}
