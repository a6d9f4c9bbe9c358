package inspect_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
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
		"plain":         "my prompt says " + c.Line(),
		"upper":         strings.ToUpper(tok),
		"spaced":        each("%c", " "),
		"hyphens":       each("%c", "-"),
		"lines":         each("%c", "\n"),
		"markdown":      each("**%c**", ""),
		"zero width":    each("%c", "\u200b"),
		"reversed":      string(rev),
		"hex":           hex.EncodeToString([]byte(tok)),
		"hex pairs":     each("%02X", " "),
		"percent":       each("%%%02x", ""),
		"base64":        base64.StdEncoding.EncodeToString([]byte(tok)),
		"base64 around": base64.StdEncoding.EncodeToString([]byte("a prompt: " + tok + " and more")),
		"base64 offset": base64.StdEncoding.EncodeToString([]byte("ab" + tok + "cdefg")),
		"base64 url":    base64.RawURLEncoding.EncodeToString([]byte("xyz1" + tok)),
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
