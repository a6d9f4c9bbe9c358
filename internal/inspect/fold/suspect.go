package fold

import "unicode/utf8"

// suspect tells in one cheap pass whether a decoder could find anything. It
// errs on the side of yes, but seldom: ordinary text must not pay for decode.
func (t *Text) suspect() bool {
	b := t.Bytes
	t.work += len(b)
	ciphered, singles, pairs := 0, 0, 0
	run := 0 // where the current run of base64 characters began
	for i := 0; i < len(b); {
		c := b[i]
		if !isWord(c) {
			switch c {
			case '.', ',', '!', '?', ':', ';':
				if misplaced(b, i, 1) {
					return true
				}
			case '%':
				if i+2 < len(b) && isHexDigit(b[i+1]) && isHexDigit(b[i+2]) {
					return true
				}
			case '\\':
				return true
			case '&':
				if i+2 < len(b) && (b[i+1] == '#' || isAlpha(b[i+1])) {
					return true
				}
			case '$', '@', '|':
				if i+1 < len(b) && isAlpha(b[i+1]) {
					if _, z := t.leet(i); z > 0 {
						return true
					}
				}
			}
			i++
			if wordClass[c]&inBase64 == 0 {
				run = i
			}
			continue
		}
		start := i
		if c >= utf8.RuneSelf {
			if n := closing(b, i); n > 0 && misplaced(b, i, n) {
				return true
			}
		}
		h := uint64(fnvOffset)
		var has uint8
		for i < len(b) && wordClass[b[i]]&hasAny != 0 {
			has |= wordClass[b[i]]
			h = (h ^ uint64(b[i]|0x20)) * fnvPrime
			i++
		}
		digit, alpha, upper := has&hasDigit != 0, has&hasAlpha != 0, has&hasUpper != 0
		high, nonhex := has&hasHigh != 0, has&hasNonhex != 0
		n := i - start
		if high {
			run = i
			if n > 2 {
				ciphered, singles, pairs = 0, 0, 0
				continue
			}
		} else if i-run >= minBase64 && (digit || upper || !nonhex || n < i-run) {
			return true
		}
		if !nonhex && (n == 2 || n == 8) || n == 4 && digit && b[start] == '0' {
			if pairs++; pairs >= minPairs {
				return true
			}
		} else {
			pairs = 0
		}
		if n == 1 || n == 2 && high {
			if singles++; singles >= minSpaced {
				return true
			}
			continue
		}
		singles = 0
		switch {
		case digit:
			if alpha {
				if _, z := t.leet(start); z > 0 {
					return true
				}
			}
		case n >= 3 && n <= 40 && !vocab.has(h):
			if ciphers(b[start:i]) {
				if ciphered++; ciphered >= minWords-1 {
					return true
				}
			}
		case n >= 3:
			ciphered = max(0, ciphered-1)
		}
		if i < len(b) {
			switch b[i] {
			case '@', '!', '|', '+', '$':
				if _, z := t.leet(start); z > 0 {
					return true
				}
			}
		}
	}
	return false
}

// ciphers tells whether the unknown word w is a common one in rot13 or
// reversed.
func ciphers(w []byte) bool {
	hr, hv := uint64(fnvOffset), uint64(fnvOffset)
	for k := range w {
		hr = (hr ^ uint64(rot13(w[k])|0x20)) * fnvPrime
		hv = (hv ^ uint64(w[len(w)-1-k]|0x20)) * fnvPrime
	}
	return vocab.has(hr) || vocab.has(hv)
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
