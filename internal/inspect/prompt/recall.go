package prompt

import (
	"math/bits"

	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// A recalled word is one of ASCII letters that was read before: what word finds
// out about it letter by letter, by its letters.
type recalled struct {
	low, high uint64 // the letters in small, see fold.Spelling
	lexeme
}

const (
	// recallLongest is the most letters of a recalled word.
	recallLongest = 16
	// recallSize is how many words a scan remembers: those of a piece, mostly, in
	// 128 KB. A word takes the place of the one it collides with.
	recallSize = 1 << 12
)

// What stands behind the letters of a word.
const (
	goesOn uint8 = iota // what may belong to it
	ended
	blank
	linked // it may begin an address
)

var wordEnd = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c == ' ':
			t[i] = blank
		case c == ':' || c == '@' || c == '.':
			t[i] = linked
		case class[c] == 0 || class[c] == 3 || class[c] == 2 && c != '\'':
			t[i] = ended
		}
	}
	return t
}()

// recallAt is the place in scan.recall that a word has.
func recallAt(x *fold.Spelling) uint64 {
	return (x.Low ^ bits.RotateLeft64(x.High*mixFirst, 32)) * mixFirst >> (64 - 12)
}

const _ = uint(recallSize - 1<<12) // else it does not compile

// capitals are the flags of a word that has some: what lacks the bit of a small
// letter.
func capitals(x *fold.Spelling) uint8 {
	few := bits.OnesCount64(x.Low^x.Raw) + bits.OnesCount64(x.High^x.RawHigh)
	n := (bits.Len64(x.Low) + bits.Len64(x.High) + 7) / 8
	switch {
	case few >= 3 && few == n:
		return capsFlag
	case x.Raw&0x20 == 0:
		return titleFlag
	}
	return 0
}

// learn is lexicon.word for letters alone.
func (s *scan) learn(w *recalled, x *fold.Spelling) {
	*w = recalled{low: x.Low, high: x.High}
	h := uint64(fnvOffset)
	letters, more := x.Low, x.High
	for n := 1; letters != 0; n++ {
		h = (h ^ letters&0xff) * fnvPrime
		if letters >>= 8; letters == 0 {
			letters, more = more, 0
		}
		if n >= 3 && s.lex.stemBit(h) {
			if x := fold32(h); s.lex.isStem(x) {
				w.stem = x
			}
		}
		if n == 4 {
			w.pre = prefixed(fold32(h))
		}
	}
	if x.Low>>40 == 0 { // no sixth letter
		w.pre = 0
	}
	w.hash = fold32(h)
	if w.root = s.lex.root(w.hash); w.stem != 0 {
		w.stemRoot = s.lex.root(w.stem ^ stemMark)
	}
}
