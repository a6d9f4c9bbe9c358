package fold

import (
	"html"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// percent decodes a run of %XX; bytes that are no UTF-8 stay.
func (t *Text) percent(i int) (dec []byte, z int) {
	b := t.Bytes
	s := t.scratch[:0]
	for z = i; z+2 < len(b) && b[z] == '%' && isHexDigit(b[z+1]) && isHexDigit(b[z+2]); z += 3 {
		s = append(s, byte(hexValue(b[z+1])<<4|hexValue(b[z+2])))
	}
	t.scratch = s
	if len(s) == 0 || !utf8.Valid(s) {
		return nil, 0
	}
	return s, z
}

// entity decodes one HTML character reference.
func (t *Text) entity(i int) (dec []byte, z int) {
	b := t.Bytes
	z = i + 1
	for z < len(b) && z-i < 32 && (isDigit(b[z]) || isAlpha(b[z]) || b[z] == '#') {
		z++
	}
	if z >= len(b) || b[z] != ';' || z-i < 3 {
		return nil, 0
	}
	z++
	if r := reference(b[i+1 : z-1]); r > 0 {
		t.scratch = utf8.AppendRune(t.scratch[:0], r)
		return t.scratch, z
	}
	raw := string(b[i:z])
	s := html.UnescapeString(raw)
	if s == raw {
		return nil, 0
	}
	return []byte(s), z
}

// reference reads the references that make up nearly all: numbers of printable
// characters, and the five of XML. 0 leaves it to package html.
func reference(name []byte) rune {
	if name[0] != '#' {
		switch string(name) {
		case "amp":
			return '&'
		case "lt":
			return '<'
		case "gt":
			return '>'
		case "quot":
			return '"'
		}
		return 0
	}
	digits, base := name[1:], rune(10)
	if len(digits) > 0 && digits[0]|0x20 == 'x' {
		digits, base = digits[1:], 16
	}
	if len(digits) == 0 || len(digits) > 6 {
		return 0
	}
	r := rune(0)
	for _, c := range digits {
		if !isDigit(c) && (base == 10 || !isHexDigit(c)) {
			return 0
		}
		r = r*base + rune(hexValue(c))
	}
	if r < ' ' || r >= 0x7f && r < 0xA0 || r >= 0xD800 && r < 0xE000 || r > unicode.MaxRune {
		return 0
	}
	return r
}

// escape decodes one backslash escape of JSON, JavaScript, C or CSS.
func (t *Text) escape(i int) (dec []byte, z int) {
	b := t.Bytes
	if i+1 >= len(b) {
		return nil, 0
	}
	s := t.scratch[:0]
	switch b[i+1] {
	case 'n', 'r', 't':
		// a path or a macro, not a line break
		if i+2 < len(b) && i > 0 && isAlpha(b[i-1]) && b[i-1] != 'n' && isAlpha(b[i+2]) && b[i+2] >= 'a' {
			return nil, 0
		}
		c := byte('\n')
		if b[i+1] == 't' {
			c = '\t'
		}
		t.scratch = append(s, c)
		return t.scratch, i + 2
	case '"', '/', '\'':
		t.scratch = append(s, b[i+1])
		return t.scratch, i + 2
	case 'x', 'u', 'U':
	default:
		return nil, 0
	}
	for z = i; z+3 < len(b) && b[z] == '\\'; {
		k, w := z+2, 0
		switch b[z+1] {
		case 'x':
			w = 2
		case 'u':
			w = 4
		case 'U':
			w = 8
		default:
			w = -1
		}
		if w < 0 {
			break
		}
		brace := k < len(b) && b[k] == '{'
		if brace {
			for k, w = k+1, 0; k+w < len(b) && w < 7 && isHexDigit(b[k+w]); w++ {
			}
			if w == 0 || k+w >= len(b) || b[k+w] != '}' {
				break
			}
		}
		if k+w > len(b) {
			break
		}
		v, err := strconv.ParseUint(string(b[k:k+w]), 16, 32)
		if err != nil || v > unicode.MaxRune {
			break
		}
		z = k + w
		if brace {
			z++
		}
		// a surrogate pair is one rune
		if v >= 0xD800 && v < 0xDC00 && z+5 < len(b) && b[z] == '\\' && b[z+1] == 'u' {
			if lo, err := strconv.ParseUint(string(b[z+2:z+6]), 16, 32); err == nil && lo >= 0xDC00 && lo < 0xE000 {
				v = (v-0xD800)<<10 + (lo - 0xDC00) + 0x10000
				z += 6
			}
		}
		s = utf8.AppendRune(s, rune(v))
	}
	t.scratch = s
	if len(s) == 0 {
		return nil, 0
	}
	return s, z
}
