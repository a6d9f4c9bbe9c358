package inspect

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Forms are the ways in which an output may spell a canary: as it stands, in any
// case, with anything between its letters, in compatibility characters,
// reversed, rot13, in base64 or base32 at any offset, as codes of its letters
// (hex, decimal, octal, binary, percent, HTML and string escapes), or in the
// radio alphabet. What a model is asked to make up on the spot is not among them.
type Forms struct {
	any   [][]byte // in any case
	exact [][]byte
}

// Forms lists them; the zero canary has none.
func (c Canary) Forms() (f Forms) {
	if c.token == "" {
		return f
	}
	lower := func(s string) { f.any = append(f.any, []byte(strings.ToLower(s))) }
	lower(c.token)
	lower(reverse(c.token))
	lower(rot13(c.token))
	var radio strings.Builder
	for i := range len(c.token) {
		radio.WriteString(radioWords[c.token[i]])
	}
	lower(radio.String())
	upper := strings.ToUpper(c.token)
	for _, t := range []string{c.token, upper, reverse(c.token)} {
		lower(hex.EncodeToString([]byte(t)))
		for _, format := range []string{"%d", "%o", "%b", "%08b", "x%x", "0x%x", "u%04x", "u00%x"} {
			var b strings.Builder
			for i := range len(t) {
				fmt.Fprintf(&b, format, t[i])
			}
			lower(b.String())
		}
		for pad := range 5 {
			e := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(strings.Repeat("x", pad) + t))
			lower(e[(pad*8+4)/5 : (pad+len(t))*8/5])
		}
		for pad := range 3 {
			// Letters never give + or /, nor what stands for them in URLs.
			e := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", pad) + t))
			core := e[(pad*8+5)/6 : (pad+len(t))*8/6]
			f.exact = append(f.exact, []byte(core), []byte(reverse(core)))
		}
	}
	return f
}

// In tells whether what Letters keeps of an output holds one of the forms.
func (f Forms) In(plain, unescaped []byte) bool {
	for _, letters := range [][]byte{plain, unescaped} {
		for _, form := range f.exact {
			if bytes.Contains(letters, form) {
				return true
			}
		}
		letters = bytes.ToLower(letters)
		for _, form := range f.any {
			if bytes.Contains(letters, form) {
				return true
			}
		}
	}
	return false
}

// radioWords spell the letters of canaryAlphabet (ICAO Annex 10).
var radioWords = map[byte]string{
	'b': "bravo", 'c': "charlie", 'd': "delta", 'f': "foxtrot", 'g': "golf", 'h': "hotel", 'j': "juliett", 'k': "kilo",
	'l': "lima", 'm': "mike", 'n': "november", 'p': "papa", 'r': "romeo", 't': "tango", 'v': "victor", 'z': "zulu",
}

// Letters gathers the letters and digits of an output that comes in parts, and
// keeps as many of the last as the longest form has. The zero value is ready.
type Letters struct {
	plain     []byte // as they stand
	unescaped []byte // with \n, \u0062 and \x62 read as JSON and string literals do
	rest      []byte // of a character that is not whole yet
}

// formLen is more than the longest form has: eight binary digits a letter.
const formLen = 8 * 2 * canaryBytes

// Add takes the next part and returns it with what came before, good until the
// next call.
func (l *Letters) Add(part string) (plain, unescaped []byte) {
	l.plain, l.unescaped = last(l.plain), last(l.unescaped)
	b := append(l.rest, part...)
	n := whole(b)
	text := b[:n]
	if !ascii(text) {
		text = norm.NFKC.Bytes(text)
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case alphanumeric(c):
			l.plain = append(l.plain, c)
			l.unescaped = append(l.unescaped, c)
		case c == '\\' && i+1 < len(text):
			r, size := escape(text[i+1:])
			if alphanumeric(text[i+1]) && size > 0 {
				l.plain = append(l.plain, text[i+1:i+1+size]...)
			}
			if r < utf8.RuneSelf && alphanumeric(byte(r)) {
				l.unescaped = append(l.unescaped, byte(r))
			} else if r >= utf8.RuneSelf {
				for _, c := range norm.NFKC.Bytes(utf8.AppendRune(nil, r)) {
					if alphanumeric(c) {
						l.unescaped = append(l.unescaped, c)
					}
				}
			}
			i += size
		case c == 0xF3 && i+3 < len(text) && text[i+1] == 0xA0: // tags, U+E0000 and up
			if r, _ := utf8.DecodeRune(text[i:]); r >= 0xE0020 && r < 0xE007F && alphanumeric(byte(r-0xE0000)) {
				l.plain = append(l.plain, byte(r-0xE0000))
				l.unescaped = append(l.unescaped, byte(r-0xE0000))
			}
			i += 3
		}
	}
	l.rest = append(l.rest[:0], b[n:]...)
	return l.plain, l.unescaped
}

// escape reads what follows a backslash: the character meant, 0 for none, and
// how many bytes say so. Where it says nothing special both are 0.
func escape(b []byte) (r rune, size int) {
	digits := map[byte]int{'u': 4, 'x': 2}[b[0]]
	if digits > 0 && len(b) > digits {
		if v, err := strconv.ParseUint(string(b[1:1+digits]), 16, 32); err == nil {
			return rune(v), 1 + digits
		}
	}
	if strings.IndexByte("nrtbf", b[0]) >= 0 {
		return 0, 1
	}
	return 0, 0
}

// whole is how much of b ends neither in the middle of a character nor of an
// escape.
func whole(b []byte) int {
	for i := len(b) - 1; i >= 0 && i >= len(b)-6; i-- {
		switch c := b[i]; {
		case c == '\\':
			if i > 0 && b[i-1] == '\\' {
				return len(b)
			}
			if i+1 == len(b) || b[i+1] == 'u' && len(b)-i < 6 || b[i+1] == 'x' && len(b)-i < 4 {
				return i
			}
			return len(b)
		case c >= utf8.RuneSelf && utf8.RuneStart(c):
			if !utf8.FullRune(b[i:]) {
				return i
			}
		}
	}
	return len(b)
}

func alphanumeric(c byte) bool { return c|0x20-'a' < 26 || c-'0' < 10 }

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func last(b []byte) []byte {
	if n := len(b) - formLen; n > 0 {
		b = b[:copy(b, b[n:])]
	}
	return b
}

func reverse(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

func rot13(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return 'a' + (r-'a'+13)%26
		}
		return r
	}, s)
}
