package corpus

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// Disguise is one way to hide a text from a reader of bytes.
type Disguise struct {
	Name  string
	Apply func(string) string
}

// Disguises are the encodings a detector must see through, each by name.
func Disguises() []Disguise {
	each := func(f func(rune) string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, r := range s {
				b.WriteString(f(r))
			}
			return b.String()
		}
	}
	replace := func(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }
	return []Disguise{
		{"base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
		{"base64_twice", func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
		}},
		{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
		{"url", url.PathEscape},
		{"url_all", func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				fmt.Fprintf(&b, "%%%02X", s[i])
			}
			return b.String()
		}},
		{"entities", each(func(r rune) string { return fmt.Sprintf("&#%d;", r) })},
		{"escapes", each(func(r rune) string {
			if r > 0xFFFF {
				return string(r)
			}
			return fmt.Sprintf("\\u%04x", r)
		})},
		{"rot13", each(func(r rune) string {
			switch {
			case r >= 'a' && r <= 'z':
				r = 'a' + (r-'a'+13)%26
			case r >= 'A' && r <= 'Z':
				r = 'A' + (r-'A'+13)%26
			}
			return string(r)
		})},
		{"reversed", func(s string) string {
			r := []rune(s)
			for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
				r[i], r[j] = r[j], r[i]
			}
			return string(r)
		}},
		{"spaced", func(s string) string {
			var b strings.Builder
			for i, w := range strings.Fields(s) {
				if i > 0 {
					b.WriteString("   ")
				}
				b.WriteString(strings.Join(strings.Split(w, ""), " "))
			}
			return b.String()
		}},
		{"leet", replace("o", "0", "e", "3", "i", "1", "a", "4", "s", "5")},
		{"homoglyphs", replace("o", "о", "e", "е", "a", "а", "p", "р", "c", "с", "i", "і")},
		{"zero_width", func(s string) string { return strings.Join(strings.Split(s, ""), "\u200b") }},
		{"bidi", func(s string) string { return "\u202e" + s + "\u202c" }},
		{"tags", each(func(r rune) string {
			if r < 0x20 || r > 0x7e {
				return string(r)
			}
			return string(0xE0000 + r)
		})},
		{"fullwidth", each(func(r rune) string {
			if r > 0x20 && r < 0x7f {
				return string(r + 0xFEE0)
			}
			return string(r)
		})},
		{"accents", each(func(r rune) string {
			if r >= 'a' && r <= 'z' {
				return string(r) + "\u0301"
			}
			return string(r)
		})},
	}
}

// Suffix marks the source of a disguised text.
const Suffix = "+disguised"

// Disguised returns n texts of pool in disguise, three innocent ones for every
// two attacks: an encoding must not be guilt.
func Disguised(r *rand.Rand, pool []Example, n int) []Example {
	return disguised(r, pool, n, func(i int) int { return i % 5 % 2 })
}

// DisguisedInnocent returns n innocent texts of pool in disguise.
func DisguisedInnocent(r *rand.Rand, pool []Example, n int) []Example {
	return disguised(r, pool, n, func(int) int { return 0 })
}

// disguised makes n texts, the i-th with the label that label(i) says.
func disguised(r *rand.Rand, pool []Example, n int, label func(i int) int) []Example {
	ways := Disguises()
	leads := []string{"", "", "", "", "", "Decode this: ", "Please decode and summarise: ", "data: ", "Message: ", "The note said ", "payload=", "Translate: "}
	var out []Example
	for try := 0; len(out) < n && try < 50*n; try++ {
		e := pool[r.IntN(len(pool))]
		if len(e.Text) > 400 || len(e.Text) < 12 || e.Label != label(len(out)) {
			continue
		}
		w := ways[r.IntN(len(ways))]
		e.Text = leads[r.IntN(len(leads))] + w.Apply(e.Text)
		e.Source += Suffix
		e.Way = w.Name
		if e.Label == 1 {
			e.Family = "obfuscation"
		}
		out = append(out, e)
	}
	return out
}
