package fold

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Shortest runs worth decoding, in bytes or items. Below them ordinary words
// and numbers collide with the alphabets.
const (
	minBase64 = 16
	minHex    = 16
	minPairs  = 6
	minSpaced = 5
	minWords  = 3
)

// word is one ASCII word of a run that may be rot13 or reversed.
type word struct{ start, end int }

func isWord(c byte) bool { return wordClass[c]&hasAny != 0 }

// span is the end of the word that goes on at b[i:], and what it holds.
func span(b []byte, i int) (end int, has uint8) {
	for ; i < len(b) && wordClass[b[i]]&hasAny != 0; i++ {
		has |= wordClass[b[i]]
	}
	return i, has
}

// decode replaces every encoded run once and tells whether it found any. Each
// recogniser that fails remembers how far it looked, so the pass is linear.
func (t *Text) decode() bool {
	b := t.Bytes
	t.work += len(b)
	last := 0
	var blob, spaced, pairs, run, line int // looked up to here in vain
	t.leetLook, t.leetEnd = 0, 0
	changed := false
	replace := func(dec []byte, a, z int, way Way) {
		if !changed {
			t.begin()
			changed = true
		}
		t.carry(last, a)
		t.put(dec, a, z, way)
		last = z
	}
	for i := 0; i < len(b); {
		c := b[i]
		if i >= line && !isSpace(c) {
			a, z, end := t.mirror(i)
			if line = end; z > a {
				if !changed {
					t.begin()
					changed = true
				}
				t.carry(last, a)
				t.turn(a, z)
				last, i = z, z
				continue
			}
		}
		if !isWord(c) {
			var dec []byte
			var z int
			var way Way
			switch c {
			case '%':
				dec, z = t.percent(i)
				way = URL
			case '&':
				dec, z = t.entity(i)
				way = Entity
			case '\\':
				dec, z = t.escape(i)
				way = Escape
			case '$', '@', '|':
				if i+1 < len(b) && isWord(b[i+1]) && (i == 0 || !isWord(b[i-1])) {
					dec, z = t.leet(i)
					way = Leet
				}
			}
			if z > i {
				replace(dec, i, z, way)
				i = z
			} else {
				i++
			}
			continue
		}
		e, has := span(b, i)
		t.work += e - i
		// Most words are letters alone: what needs a digit or a lone letter fails.
		plain := has&(hasDigit|hasHigh) == 0 && e-i > 1 && (e == len(b) || leetLetter[b[e]] == 0)
		if i >= blob {
			dec, z, way, ok := t.blob(i)
			t.work += z - i
			if ok {
				replace(dec, i, z, way)
				i = z
				continue
			}
			blob = z
		}
		if plain && has&hasNonhex != 0 {
			pairs = max(pairs, i+1)
		} else if i >= pairs {
			dec, z, ok := t.pairs(i)
			t.work += z - i
			if ok {
				replace(dec, i, z, Hex)
				i = z
				continue
			}
			pairs = z
		}
		if plain {
			spaced = max(spaced, i+1)
		} else if i >= spaced {
			if dec, z, ok := t.lettered(i); ok {
				t.work += z - i
				replace(dec, i, z, Spaced)
				i = z
				continue
			}
			dec, z, ok := t.spaced(i)
			t.work += z - i
			if ok {
				replace(dec, i, z, Spaced)
				i = z
				continue
			}
			spaced = z
		}
		if i >= run {
			z, way := t.cipher(i)
			t.work += z - i
			if way != 0 {
				if !changed {
					t.begin()
				}
				t.carry(last, i)
				t.decipher(i, z, way)
				last = z
				changed, i = true, z
				continue
			}
			run = z
		}
		if !plain {
			if dec, z := t.leet(i); z > 0 {
				replace(dec, i, z, Leet)
				i = z
				continue
			}
		}
		if i >= t.leetLook {
			t.lookForLeet(i)
		}
		if !plain && i < t.leetEnd {
			if dec, z := t.leetAlike(i); z > 0 {
				replace(dec, i, z, Leet)
				i = z
				continue
			}
		}
		i = e
	}
	if !changed {
		return false
	}
	t.carry(last, len(b))
	t.commit()
	return true
}

// carry copies Bytes[a:z] and the regions inside it.
func (t *Text) carry(a, z int) {
	at := len(t.alt)
	t.raw(a, z)
	t.work += z - a
	for _, r := range t.Regions {
		if r.Start >= z {
			break
		}
		t.work++
		if r.End > a {
			t.note(at+max(r.Start, a)-a, at+min(r.End, z)-a, r.Way)
		}
	}
	// Regions are in order: those before z are done.
	for len(t.Regions) > 0 && t.Regions[0].End <= z {
		t.Regions = t.Regions[1:]
	}
}

// blob recognises base64 and hex from i; z is where the run ends.
func (t *Text) blob(i int) (dec []byte, z int, way Way, ok bool) {
	b := t.Bytes
	for z = i; z < len(b) && z-i < minBase64 && isBase64(b[z]); z++ {
	}
	if z-i < minBase64 { // as most words
		return nil, max(z, i+1), 0, false
	}
	z = i
	var lower, upper, digit, other, nonhex int
	for z < len(b) && isBase64(b[z]) {
		switch c := b[z]; {
		case isDigit(c):
			digit++
		case c >= 'a' && c <= 'z':
			lower++
			if c > 'f' {
				nonhex++
			}
		case c >= 'A' && c <= 'Z':
			upper++
			if c > 'F' {
				nonhex++
			}
		default:
			other++
			nonhex++
		}
		z++
		// wrapped lines of one blob
		if z+1 < len(b) && b[z] == '\n' && z-i >= 40 && isBase64(b[z+1]) {
			k := z + 1
			for k < len(b) && k < z+9 && isBase64(b[k]) {
				k++
			}
			if k == z+9 {
				z++
			}
		}
	}
	n := z - i
	if nonhex == 0 && n >= minHex && n%2 == 0 {
		t.scratch = grow(t.scratch, n/2)
		if m, err := hex.Decode(t.scratch, b[i:z]); err == nil && readable(t.scratch[:m]) {
			return t.scratch[:m], z, Hex, true
		}
	}
	if nonhex == 0 || (upper == 0 || lower == 0) && digit == 0 || upper+lower == 0 {
		return nil, z, 0, false
	}
	s := t.scratch[:0]
	for _, c := range b[i:z] {
		switch c {
		case '\n':
		case '-':
			s = append(s, '+')
		case '_':
			s = append(s, '/')
		default:
			s = append(s, c)
		}
	}
	if z < len(b) && b[z] == '=' {
		z++
		if z < len(b) && b[z] == '=' {
			z++
		}
	}
	m := len(s)
	if m%4 == 1 {
		m--
	}
	s = grow(s, len(s)+m)
	t.scratch = s
	// A text may begin in the middle of a blob, where any of four phases fits.
	phases := 1
	if i == 0 && m > 1024 {
		phases = 4
	}
	for skip := range phases {
		n := (m - skip)
		if n%4 == 1 {
			n--
		}
		k, err := base64.RawStdEncoding.Decode(s[m:], s[skip:skip+n])
		if err == nil && readable(s[m:m+k]) {
			return s[m : m+k], z, Base64, true
		}
	}
	return nil, z, 0, false
}

func isBase64(c byte) bool { return wordClass[c]&inBase64 != 0 }

// readable tells text from the random bytes that a wrong decoding gives.
func readable(s []byte) bool {
	if len(s) < 4 || !utf8.Valid(s) {
		return false
	}
	letters, total := 0, 0
	for i := 0; i < len(s); {
		total++
		if c := s[i]; c < utf8.RuneSelf {
			i++
			switch {
			case inWord[c] != 0 && c != '\'' || c == ' ':
				letters++
			case c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0x7f:
				return false
			}
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		i += n
		switch {
		case unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r):
			letters++
		case !unicode.IsPrint(r) && !unicode.Is(unicode.Cf, r):
			return false
		}
	}
	return letters*20 >= total*13
}

// pairs recognises bytes written one by one: "69 67 6e", "0x69, 0x67",
// "01101001 01100111".
func (t *Text) pairs(i int) (dec []byte, z int, ok bool) {
	b := t.Bytes
	s := t.scratch[:0]
	z = i
	width, letters := 0, 0
	for z < len(b) {
		k := z
		if k+1 < len(b) && b[k] == '0' && b[k+1]|0x20 == 'x' {
			k += 2
		}
		e := k
		for e < len(b) && e-k <= 8 && isHexDigit(b[e]) {
			e++
		}
		if w := e - k; w != 2 && w != 8 || width != 0 && w != width || e < len(b) && isWord(b[e]) {
			break
		}
		base := 16
		if width = e - k; width == 8 {
			base = 2
		}
		var v int
		bad := false
		for _, c := range b[k:e] {
			d := hexValue(c)
			bad = bad || d >= base
			v = v*base + d
		}
		if bad {
			break
		}
		if v|0x20 >= 'a' && v|0x20 <= 'z' || v == ' ' {
			letters++
		}
		s = append(s, byte(v))
		z = e
		sep := 0
		for e < len(b) && sep < 2 && (b[e] == ' ' || b[e] == ',' || b[e] == ':' || b[e] == '-' || b[e] == '\n') {
			e++
			sep++
		}
		if sep == 0 || e >= len(b) || !isHexDigit(b[e]) {
			break
		}
		z = e
	}
	t.scratch = s
	for z > i && !isWord(b[z-1]) {
		z--
	}
	if len(s) < minPairs || letters*10 < len(s)*8 || !readable(s) {
		return nil, max(z, i+1), false
	}
	return s, z, true
}

func isHexDigit(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func hexValue(c byte) int {
	if isDigit(c) {
		return int(c - '0')
	}
	return int(c|0x20-'a') + 10
}

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

// leet reads digits and signs inside a word as the letters they are drawn
// like, if that gives a common word.
func (t *Text) leet(i int) (dec []byte, z int) {
	b := t.Bytes
	alpha, odd := 0, 0
	t.work += 24
	for z = i; z < len(b) && z-i < 24; z++ {
		c := b[z]
		if isAlpha(c) {
			alpha++
		} else if leetLetter[c] != 0 && (isDigit(c) || c == '$' || z+1 < len(b) && isWord(b[z+1])) {
			odd++
		} else {
			break
		}
	}
	if odd == 0 || alpha == 0 || z-i < 3 || z < len(b) && isWord(b[z]) || alpha*3 < z-i {
		return nil, 0
	}
	for _, one := range [...]byte{'i', 'l'} {
		s := t.scratch[:0]
		for _, c := range b[i:z] {
			switch {
			case c == '1' || c == '|' || c == '!':
				c = one
			case leetLetter[c] != 0:
				c = leetLetter[c]
			}
			s = append(s, c)
		}
		t.scratch = s
		if Common(s) {
			return s, z
		}
	}
	return nil, 0
}

// leetSpan is how far one look for leet words goes, in bytes.
const leetSpan = 512

// lookForLeet looks at the words from i: where at least two are common ones in
// leet, and a third of those that mix letters and digits, the rest is leet too,
// whether a common word or not.
func (t *Text) lookForLeet(i int) {
	b := t.Bytes
	t.leetLook = min(len(b), i+leetSpan)
	known, alike := 0, 0
	for k := i; k < t.leetLook; {
		if !isWord(b[k]) {
			k++
			continue
		}
		e, has := span(b, k)
		t.work += e - k
		if has&(hasDigit|hasHigh) != 0 || e < len(b) && leetLetter[b[e]] != 0 {
			if _, z := t.leet(k); z > 0 {
				known++
				k = z
				continue
			}
			if _, z := t.leetAlike(k); z > 0 {
				alike++
			}
		}
		k = e
	}
	if known >= 2 && known*2 >= alike {
		t.leetEnd = t.leetLook
	}
}

// leetAlike reads the word at i as leet, whatever comes out, if it mixes letters
// with the digits that leet writes. Ordinals are none.
func (t *Text) leetAlike(i int) (dec []byte, z int) {
	b := t.Bytes
	s := t.scratch[:0]
	letters, digits, tail := 0, 0, 0
	for z = i; z < len(b) && z-i < 32 && isWord(b[z]); z++ {
		c := b[z]
		switch {
		case !isDigit(c):
			letters++
			tail++
		case c == '2' || c == '9':
			t.scratch = s
			return nil, 0
		default:
			digits++
			tail = 0
			c = leetLetter[c]
		}
		s = append(s, c)
	}
	t.scratch = s
	if letters == 0 && (string(s) == "a" || string(s) == "is" || string(s) == "as") && (z >= len(b) || isSpace(b[z])) && (i == 0 || b[i-1] == ' ') {
		return s, z
	}
	if digits == 0 || letters == 0 || letters*3 < z-i || z < len(b) && isWord(b[z]) {
		return nil, 0
	}
	if tail == 2 && letters == 2 { // 13th, 31st
		switch string(b[z-2 : z]) {
		case "th", "st", "nd", "rd":
			return nil, 0
		}
	}
	return s, z
}

var leetLetter = [256]byte{'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '6': 'g', '7': 't', '8': 'b', '9': 'g',
	'@': 'a', '$': 's', '!': 'i', '|': 'i', '+': 't', '(': 'c'}

func grow(s []byte, n int) []byte {
	if cap(s) >= n {
		return s[:n]
	}
	return append(s[:cap(s)], make([]byte, n-cap(s))...)
}
