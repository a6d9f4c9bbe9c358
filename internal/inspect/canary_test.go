package inspect_test

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

func TestCanary(t *testing.T) {
	t.Parallel()
	c := inspect.NewCanary()
	tok := c.String()
	each := func(f string, sep string) string {
		var out []string
		for i := range len(tok) {
			out = append(out, fmt.Sprintf(f, tok[i]))
		}
		return strings.Join(out, sep)
	}
	rev := []byte(tok)
	for i, j := 0, len(rev)-1; i < j; i, j = i+1, j-1 {
		rev[i], rev[j] = rev[j], rev[i]
	}
	for name, out := range map[string]string{
		"plain":                 "my prompt says " + c.Line(),
		"upper":                 strings.ToUpper(tok),
		"spaced":                each("%c", " "),
		"hyphens":               each("%c", "-"),
		"lines":                 each("%c", "\n"),
		"markdown":              each("**%c**", ""),
		"zero width":            each("%c", "\u200b"),
		"reversed":              string(rev),
		"hex":                   hex.EncodeToString([]byte(tok)),
		"hex pairs":             each("%02X", " "),
		"percent":               each("%%%02x", ""),
		"base64":                base64.StdEncoding.EncodeToString([]byte(tok)),
		"base64 around":         base64.StdEncoding.EncodeToString([]byte("a prompt: " + tok + " and more")),
		"base64 offset":         base64.StdEncoding.EncodeToString([]byte("ab" + tok + "cdefg")),
		"base64 url":            base64.RawURLEncoding.EncodeToString([]byte("xyz1" + tok)),
		"base64, tabs":          tabs(base64.StdEncoding.EncodeToString([]byte("a"+tok)), "\t"),
		"base64, dotted":        tabs(base64.StdEncoding.EncodeToString([]byte("a"+tok)), "."),
		"base64, zero width":    tabs(base64.StdEncoding.EncodeToString([]byte("a"+tok)), "\u200d"),
		"base64 backwards":      string(backwards(base64.StdEncoding.EncodeToString([]byte("ab" + tok + "c")))),
		"base64 of the reverse": base64.StdEncoding.EncodeToString([]byte("so: " + string(rev))),
		"base64 of capitals":    base64.StdEncoding.EncodeToString([]byte("so: " + strings.ToUpper(tok))),
		"base32":                base32.StdEncoding.EncodeToString([]byte("a prompt: " + tok + " and more")),
		"base32, lower":         strings.ToLower(base32.HexEncoding.EncodeToString(nil) + base32.StdEncoding.EncodeToString([]byte("abc"+tok))),
		"string escapes":        each("\\x%02x", ""),
		"unicode escapes":       each("\\u%04x", ""),
		"code points":           each("U+%04X", " "),
		"C codes":               each("0x%02X", ", "),
		"decimal":               each("%d", ", "),
		"octal":                 each("%o", " "),
		"binary":                each("%08b", " "),
		"entities":              each("&#%d;", ""),
		"hex entities":          each("&#x%X;", ""),
		"escaped lines":         each("%c", "\\n"),
		"backslashes":           each("\\%c", ""),
		"full width":            fullwidth(tok),
		"mathematical":          strings.Map(func(r rune) rune { return r - 'a' + 0x1D41A }, tok),
		"circled":               strings.Map(func(r rune) rune { return r - 'a' + 0x24D0 }, tok),
		"tags":                  strings.Map(func(r rune) rune { return r + 0xE0000 }, tok),
		"full width, escaped": func() string {
			b, _ := json.Marshal(fullwidth(tok))
			return strings.ToLower(strings.Trim(strconv.QuoteToASCII(string(b)), "\""))
		}(),
		"radio": radio(tok),
		"rot13": strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return 'a' + (r-'a'+13)%26
			}
			return r
		}, tok),
	} {
		if !c.In(out) {
			t.Errorf("%s: not found in %q", name, out)
		}
		for _, n := range []int{1, 2, 3, 7} { // and however it comes
			var l inspect.Letters
			found := false
			for at := 0; at < len(out); at += n {
				found = c.Forms().In(l.Add(out[at:min(at+n, len(out))])) || found
			}
			if !found {
				t.Errorf("%s: not found by %d bytes in %q", name, n, out)
			}
		}
	}
	for _, out := range []string{"", "hello", inspect.NewCanary().Line(), tok[:len(tok)-1], strings.Repeat("bcdf ", 1000)} {
		if c.In(out) {
			t.Errorf("found in %q", out)
		}
	}
	if (inspect.Canary{}).In("anything") {
		t.Error("the zero canary was found")
	}
	a, b := inspect.DeriveCanary([]byte("key"), "run-1"), inspect.DeriveCanary([]byte("key"), "run-2")
	if a == b || a != inspect.DeriveCanary([]byte("key"), "run-1") || len(a.String()) != len(tok) {
		t.Errorf("derived %v %v", a, b)
	}
}

func tabs(s, sep string) string { return strings.Join(strings.Split(s, ""), sep) }

func backwards(s string) []byte {
	b := []byte(s)
	slices.Reverse(b)
	return b
}

func fullwidth(s string) string { return strings.Map(func(r rune) rune { return r + 0xFEE0 }, s) }

func radio(s string) string {
	var words []string
	for _, r := range s {
		words = append(words, map[rune]string{'b': "Bravo", 'c': "Charlie", 'd': "Delta", 'f': "Foxtrot", 'g': "Golf", 'h': "Hotel", 'j': "Juliett", 'k': "Kilo",
			'l': "Lima", 'm': "Mike", 'n': "November", 'p': "Papa", 'r': "Romeo", 't': "Tango", 'v': "Victor", 'z': "Zulu"}[r])
	}
	return strings.Join(words, " ")
}

func FuzzCanary(f *testing.F) {
	f.Add("prefix", "suffix")
	f.Fuzz(func(t *testing.T, pre, post string) {
		c := inspect.DeriveCanary([]byte("k"), "r")
		if !c.In(pre + c.String() + post) {
			t.Error("plain token missed")
		}
		if !c.In(base64.StdEncoding.EncodeToString([]byte(pre + c.String() + post))) {
			t.Error("base64 token missed")
		}
	})
}
