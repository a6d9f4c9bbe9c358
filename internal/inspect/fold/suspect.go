package fold

import "unicode/utf8"

// suspect tells in one cheap pass whether a decoder could find anything, and sorts
// the runs of letters on the way, as far as it must look. It errs on the side of yes, but seldom: ordinary text must
// not pay for decode.
func (t *Text) suspect() (yes bool) {
	t.survey()
	b, runs := t.Bytes, t.Runs
	t.work += len(b)
	if cap(t.sorts) < len(runs) {
		t.sorts = make([]sort, cap(runs))
	}
	t.sorts = t.sorts[:len(runs)]
	sorts := t.sorts[:len(runs)]
	clear(sorts)
	ciphered, singles, pairs := 0, 0, 0
	run := 0 // where the current run of base64 characters began
	k := 0   // counts runs
	for i := 0; i < len(b); {
		start := i
		if yes { // decode sorts what it comes to
			break
		}
		if k < len(runs) && int(runs[k].Start) == i && runs[k].plain(b) {
			w := runs[k].Spell(b)
			n := int(runs[k].End) - i
			i += n
			is := whole
			if i-run >= minBase64 && (w.Capital() || w.hex() || n < i-run) {
				yes = true
			}
			if (n == 2 || n == 8) && w.hex() {
				is |= hexPair
				if pairs++; pairs >= minPairs {
					yes = true
				}
			} else {
				pairs = 0
			}
			if n == 1 {
				sorts[k] = is
				k++
				if singles++; singles >= minSpaced {
					yes = true
				}
				continue
			}
			singles = 0
			if n >= 3 {
				if g := spread(w.Low, w.High); vocab.has(g) {
					is |= common
					ciphered = max(0, ciphered-1)
				} else if way := vocab.turns(g); way != 0 {
					is |= sort(way) << 2
					if ciphered++; ciphered >= minWords-1 {
						yes = true
					}
				}
			}
			sorts[k] = is
			k++
		} else if c := b[i]; !isWord(c) {
			if i++; wordClass[c]&inBase64 == 0 {
				run = i
			}
			if marksDecoder[c] {
				yes = t.begins(start, c)
			}
			continue
		} else {
			if c >= utf8.RuneSelf {
				n := closing(b, i)
				yes = n > 0 && misplaced(b, i, n)
			}
			var has uint8
			for i, has = span(b, i); k < len(runs) && int(runs[k].Start) < i; k++ {
			}
			digit, nonhex := has&hasDigit != 0, has&hasNonhex != 0
			n := i - start
			if has&hasHigh != 0 {
				run = i
				if n > 2 {
					ciphered, singles, pairs = 0, 0, 0
					continue
				}
			} else if i-run >= minBase64 && (digit || has&hasUpper != 0 || !nonhex || n < i-run) {
				yes = true
			}
			if !nonhex && (n == 2 || n == 8) || n == 4 && digit && b[start] == '0' {
				if pairs++; pairs >= minPairs {
					yes = true
				}
			} else {
				pairs = 0
			}
			if n == 1 || n == 2 && has&hasHigh != 0 {
				if singles++; singles >= minSpaced {
					yes = true
				}
				continue
			}
			singles = 0
			switch {
			case digit:
				if has&hasAlpha != 0 && !yes {
					_, z := t.leet(start)
					yes = z > 0
				}
			case n > 40:
				ciphered = max(0, ciphered-1)
			}
		}
		if i < len(b) {
			switch b[i] {
			case ' ':
				i++
				run = i
			case '@', '!', '|', '+', '$':
				if !yes {
					_, z := t.leet(start)
					yes = z > 0
				}
			}
		}
	}
	return yes
}

// sortAt is the sort of Runs[k].
func (t *Text) sortAt(k int) sort {
	if is := t.sorts[k]; is != 0 {
		return is
	}
	b, r, is := t.Bytes, t.Runs[k], sorted
	if r.plain(b) && (r.Start == 0 || !isWord(b[r.Start-1])) {
		n, w := r.End-r.Start, r.Spell(b)
		if is |= whole; (n == 2 || n == 8) && w.hex() {
			is |= hexPair
		}
		if n >= 3 {
			is |= sortOf(spread(w.Low, w.High))
		}
	}
	t.sorts[k] = is
	return is
}

// marksDecoder tells the marks that begins knows.
var marksDecoder = func() (t [256]bool) {
	for _, c := range `.,!?:;%\&$@|` {
		t[c] = true
	}
	return t
}()

// begins tells whether the mark c at Bytes[i] may begin what is encoded, or
// stands before a word as where text is written backwards.
func (t *Text) begins(i int, c byte) bool {
	b := t.Bytes
	switch c {
	case '%':
		return i+2 < len(b) && isHexDigit(b[i+1]) && isHexDigit(b[i+2])
	case '\\':
		return true
	case '&':
		return i+2 < len(b) && (b[i+1] == '#' || isAlpha(b[i+1]))
	case '$', '@', '|':
		if i+1 == len(b) || !isAlpha(b[i+1]) {
			return false
		}
		_, z := t.leet(i)
		return z > 0
	}
	return misplaced(b, i, 1)
}

// What a word holds.
const (
	hasDigit uint8 = 1 << iota
	hasAlpha
	hasUpper
	hasNonhex
	hasHigh
	inBase64 // also of signs that no word holds

	hasAny = hasDigit | hasAlpha | hasHigh
)

// wordClass tells what a byte adds to a word; without hasAny it ends one.
var wordClass = func() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		switch {
		case c >= utf8.RuneSelf:
			t[i] = hasHigh
		case isDigit(c):
			t[i] = hasDigit
		case isAlpha(c):
			t[i] = hasAlpha
			if isUpper(c) {
				t[i] |= hasUpper
			}
			if !isHexDigit(c) {
				t[i] |= hasNonhex
			}
		}
		if isAlpha(c) || isDigit(c) || c == '+' || c == '/' || c == '-' || c == '_' {
			t[i] |= inBase64
		}
	}
	return t
}()
