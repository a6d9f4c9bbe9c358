package fold

import (
	"encoding/base64"
	"encoding/hex"
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

// sort is what decode wants to know of a run of letters, see suspect.
type sort uint8

const (
	// whole: the run is a word of at most 16 letters, with no digit or foreign
	// letter on either side.
	whole sort = 1 << iota
	// common: a word of the vocabulary; or one in rot13, or backwards.
	common
	commonRot
	commonBack
	// hexPair: it may be one byte or eight bits, see pairs.
	hexPair
	// sorted: it is none of these.
	sorted
)

// sortOf is the sort of the word of hash g, see spread.
func sortOf(g uint64) sort {
	if vocab.has(g) {
		return common
	}
	return sort(vocab.turns(g)) << 2
}

// decode replaces every encoded run once and tells whether it found any. Each
// recogniser that fails remembers how far it looked, so the pass is linear.
func (t *Text) decode() bool {
	b := t.Bytes
	t.work += len(b)
	runs, at := t.Runs, 0 // at counts runs
	last := 0
	var blob, spaced, pairs, run, line int // looked up to here in vain
	t.leetLook, t.leetEnd, t.numbers, t.numbersEnd = 0, 0, 0, 0
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
		if c == ' ' {
			i++
			continue
		}
		for at < len(runs) && int(runs[at].Start) < i {
			at++
		}
		if i >= line && !isSpace(c) {
			a, z, end := t.mirror(i, at)
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
		// Most words are letters alone, and begin no blob.
		if at < len(runs) && int(runs[at].Start) == i {
			e := int(runs[at].End)
			behind := b[:cap(b)][e]
			if n := e - i; n > 1 && n < minBase64 && leetLetter[behind] == 0 && !isWord(behind) &&
				(i < blob || !isBase64(behind)) && t.sortAt(at)&(whole|hexPair) == whole {
				t.work += n
				blob, pairs, spaced = max(blob, e), max(pairs, i+1), max(spaced, i+1)
				if i < run {
				} else if is := t.sorts[at]; is&common != 0 || n == 2 && t.beforeCommon(at) {
					run = e // where cipher would come to
				} else {
					z, way := t.cipher(i, at)
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
				if i >= t.leetLook {
					t.lookForLeet(i, at)
				}
				i = e
				at++
				continue
			}
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
			z, way := t.cipher(i, at)
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
			t.lookForLeet(i, at)
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

// beforeCommon tells whether the run is one blank before a common word.
func (t *Text) beforeCommon(at int) bool {
	return at+1 < len(t.Runs) && t.Runs[at+1].Start == t.Runs[at].End+1 && t.Bytes[t.Runs[at].End] == ' ' && t.sortAt(at+1)&common != 0
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

func grow(s []byte, n int) []byte {
	if cap(s) >= n {
		return s[:n]
	}
	return append(s[:cap(s)], make([]byte, n-cap(s))...)
}
