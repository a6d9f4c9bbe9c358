package fold

import (
	_ "embed"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// scripts.txt lists words in scripts other than the Latin one, folded and in
// small letters, one a line: as words.txt does for ASCII, it teaches which way a
// script is read.
//
//go:embed scripts.txt
var scriptList string

// direction knows of three letters in a row how common they are and how much
// more so than the same backwards, by hash. A gap between words is one letter.
type direction struct {
	lean   [1 << 14]int8      // -8..8, positive reads forwards
	common [1 << 14]uint8     // 0..7
	latin  [27 * 27 * 27]int8 // lean of ASCII letters and gaps, without a hash; 0 where two gaps end it
}

// leaning is the lean of three letters.
func (d *direction) leaning(a, b, c rune) int {
	if a|b|c < utf8.RuneSelf {
		return int(d.latin[(uint(inLatin[a])*27+uint(inLatin[b]))*27+uint(inLatin[c])])
	}
	return int(d.lean[triple(a, b, c)])
}

// inLatin numbers the ASCII letters from 1; the rest is a gap.
var inLatin = func() (t [utf8.RuneSelf]uint8) {
	for i := range uint8(26) {
		t['a'+i], t['A'+i] = 1+i, 1+i
	}
	return t
}()

// gapRune stands for whatever is between words.
const gapRune = ' '

func triple(a, b, c rune) uint32 {
	h := uint64(uint32(a))*0x9E3779B97F4A7C15 ^ uint64(uint32(b))*0xC2B2AE3D27D4EB4F ^ uint64(uint32(c))*0x165667B19E3779F9
	return uint32((h ^ h>>29) * 0xBF58476D1CE4E5B9 >> 50)
}

var reading = func() *direction {
	d := &direction{}
	var forward, backward [1 << 14]uint16
	for _, list := range []string{wordList, scriptList} {
		for w := range strings.Lines(list) {
			a, b := rune(gapRune), rune(gapRune)
			for _, c := range strings.TrimSpace(w) + " " {
				if b != gapRune || c != gapRune {
					forward[triple(a, b, c)]++
					backward[triple(c, b, a)]++
				}
				if spaceless(b) && spaceless(c) {
					forward[triple(0, b, c)]++
					backward[triple(0, c, b)]++
				}
				a, b = b, c
			}
		}
	}
	for i, f := range forward {
		f, k := int(f), int(backward[i])
		d.lean[i] = int8(8 * (f - k) / (f + k + 1))
		d.common[i] = uint8(min(7, bits.Len(uint(f))))
	}
	const order = " abcdefghijklmnopqrstuvwxyz"
	for i := range d.latin {
		if a, b, c := order[i/27/27], order[i/27%27], order[i%27]; b != gapRune || c != gapRune {
			d.latin[i] = d.lean[triple(rune(a), rune(b), rune(c))]
		}
	}
	return d
}()

// spaceless tells Thai and its like, kana, Han and Hangul: written without gaps,
// or a syllable to a letter.
func spaceless(r rune) bool {
	return r >= 0x0E00 && r <= 0x0EFF || r >= 0x3040 && r <= 0x30FF || r >= 0x3400 && r <= 0x9FFF || r >= 0xAC00 && r <= 0xD7A3
}

// letter is r in small, or gapRune for what is no letter.
func letter(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return r
	case r >= 'A' && r <= 'Z':
		return r | 0x20
	case r < utf8.RuneSelf || r >= 0x2000 && r <= 0x2FFF || r >= 0x3000 && r <= 0x3004 || r >= 0x3008 && r <= 0x3020:
		return gapRune
	case r == 0x060C || r == 0x061B || r == 0x061F || r == 0x0964 || r == 0x0965:
		return gapRune
	case r >= 0x0410 && r <= 0x042F: // the capitals that the lists have as small letters
		return r + 0x20
	case r >= 0x0391 && r <= 0x03A9:
		return r + 0x20
	}
	return r
}

// closing is the length of the mark that ends a sentence or a clause at b[i:],
// or 0.
func closing(b []byte, i int) int {
	switch b[i] {
	case '.', ',', '!', '?', ':', ';':
		return 1
	case 0xE3: // the ideographic comma and full stop
		if i+2 < len(b) && b[i+1] == 0x80 && (b[i+2] == 0x81 || b[i+2] == 0x82) {
			return 3
		}
	case 0xE0: // danda
		if i+2 < len(b) && b[i+1] == 0xA5 && (b[i+2] == 0xA4 || b[i+2] == 0xA5) {
			return 3
		}
	case 0xD8: // the Arabic comma, semicolon and question mark
		if i+1 < len(b) && (b[i+1] == 0x8C || b[i+1] == 0x9B || b[i+1] == 0x9F) {
			return 2
		}
	}
	return 0
}

// closes tells the bytes at which closing may find a mark.
var closes = [256]bool{'.': true, ',': true, '!': true, '?': true, ':': true, ';': true, 0xE3: true, 0xE0: true, 0xD8: true}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// misplaced tells whether a closing mark of n bytes at b[i:] stands before a
// word instead of after one.
func misplaced(b []byte, i, n int) bool {
	if i > 0 && !isSpace(b[i-1]) {
		return false
	}
	if i += n; i+1 < len(b) && (b[i] == '"' || b[i] == ')') {
		i++
	}
	return i < len(b) && (isAlpha(b[i]) || b[i] >= utf8.RuneSelf)
}

const (
	// mirrorBlock is what is looked at in one piece.
	mirrorBlock = 2048
	// mirrorLeast is the lean from which a run counts as written backwards: some
	// two words, for closing marks before words must agree.
	mirrorLeast = 28
	// mirrorDrop is how much that reads forwards ends a run: what stands beside a
	// reversed text must not be turned with it.
	mirrorDrop = 28
)

// mirror finds in the block from i the run that is written backwards, if closing
// marks stand before words there: Bytes[a:z], or nothing. end is how far it
// looked. Runs[at] is the first that begins at i or later.
func (t *Text) mirror(i, at int) (a, z, end int) {
	b := t.Bytes
	end = min(len(b), i+mirrorBlock)
	for end < len(b) && b[end]&0xC0 == 0x80 {
		end++
	}
	t.work += end - i
	if !t.marked(i, end, at) {
		return 0, 0, end
	}
	var sum, best, start, stop int
	p, q := rune(gapRune), rune(gapRune)
	start = i
	for k := i; k < end; {
		r, n := rune(b[k]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(b[k:end])
		}
		c := letter(r)
		if q != gapRune || c != gapRune {
			sum -= reading.leaning(p, q, c)
		}
		if spaceless(q) && spaceless(c) { // one is as much as a word elsewhere
			sum -= 2 * int(reading.lean[triple(0, q, c)])
		}
		k += n
		p, q = q, c
		if sum <= 0 || sum < best-mirrorDrop {
			if best >= mirrorLeast {
				break
			}
			sum, best, start = 0, 0, k
		} else if sum > best {
			best, stop = sum, k
		}
	}
	t.work += end - i
	if best < mirrorLeast {
		return 0, 0, end
	}
	// To whole words: one that lies more outside than inside stays out. Then over
	// what does not read forwards: numbers, and words as strange both ways.
	a, z = start, stop
	if from, to := wordAt(b, i, end, a); from < a {
		if a = from; 2*start > from+to {
			a = to
		}
	}
	if from, to := wordAt(b, i, end, z); from < z {
		if z = to; 2*stop < from+to {
			z = from
		}
	}
	for a > i {
		k := a
		for k > i && isSpace(b[k-1]) {
			k--
		}
		from, to := wordAt(b, i, end, max(i, k-1))
		if k == i || t.lean(from, to) > 0 {
			break
		}
		a = from
	}
	for z < end {
		k := z
		for k < end && isSpace(b[k]) {
			k++
		}
		from, to := wordAt(b, i, end, k)
		if k == end || t.lean(from, to) > 0 {
			break
		}
		z = to
	}
	for a < z && isSpace(b[a]) {
		a++
	}
	if before, after := marks(b, a, z); before == 0 || after > before {
		return 0, 0, end
	}
	return a, z, end
}

// wordAt is the extent in b[i:end] of what stands between spaces around k.
func wordAt(b []byte, i, end, k int) (from, to int) {
	for from = k; from > i && !isSpace(b[from-1]); from-- {
	}
	for to = k; to < end && !isSpace(b[to]); to++ {
	}
	return from, to
}

// lean is how much Bytes[a:z] reads forwards.
func (t *Text) lean(a, z int) (sum int) {
	t.work += z - a
	p, q := rune(gapRune), rune(gapRune)
	for k := a; k <= z; {
		c, n := rune(gapRune), 1
		if k < z {
			c, n = utf8.DecodeRune(t.Bytes[k:z])
			c = letter(c)
		}
		if q != gapRune || c != gapRune {
			sum += reading.leaning(p, q, c)
		}
		k += n
		p, q = q, c
	}
	return sum
}

// marked tells whether marks would find any before a word in Bytes[i:end]. It
// looks between the runs of letters only, of which Runs[at] is the first.
func (t *Text) marked(i, end, at int) bool {
	b := t.Bytes
	for at < len(t.Runs) && i < end {
		r := t.Runs[at]
		stop := min(int(r.Start), end)
		if stop-i == 1 && b[i] == ' ' { // as between most words
			i = int(r.End)
			at++
			continue
		}
		for ; i < stop; i++ {
			if closes[b[i]] {
				if n := closing(b, i); n > 0 && misplaced(b, i, n) {
					return true
				}
			}
		}
		i = int(r.End)
		at++
	}
	for ; i < end; i++ {
		if closes[b[i]] {
			if n := closing(b, i); n > 0 && misplaced(b, i, n) {
				return true
			}
		}
	}
	return false
}

// marks counts the closing marks in b[i:end] that stand before a word, and
// those after one.
func marks(b []byte, i, end int) (before, after int) {
	for ; i < end; i++ {
		if !closes[b[i]] {
			continue
		}
		if n := closing(b, i); n > 0 {
			switch {
			case misplaced(b, i, n):
				before++
			case i > 0 && !isSpace(b[i-1]) && (i+n >= len(b) || isSpace(b[i+n])):
				after++
			}
		}
	}
	return before, after
}

// turn writes Bytes[a:z] backwards, rune by rune, offsets exact.
func (t *Text) turn(a, z int) {
	start := len(t.alt)
	b := t.Bytes
	for k := z; k > a; {
		_, n := utf8.DecodeLastRune(b[a:k])
		k -= n
		t.alt = append(t.alt, b[k:k+n]...)
		t.afrom = append(t.afrom, t.from[k:k+n]...)
		t.ato = append(t.ato, t.to[k:k+n]...)
	}
	t.note(start, len(t.alt), Reversed)
}
