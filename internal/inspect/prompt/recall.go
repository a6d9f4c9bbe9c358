package prompt

import (
	"math/bits"

	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// A recalled word is one of ASCII letters that was read before: what word finds
// out about it letter by letter, by its letters.
type recalled struct {
	low, high       uint64 // the letters in small, see fold.Spelling
	hash, stem, pre uint32
	root, stemRoot  uint16
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

// known is what word says of a run of letters that is a whole word, and its
// flags. It reads the letters together, not one by one.
func (s *scan) known(b []byte, r fold.Run) (w *recalled, flags uint8) {
	x := r.Spell(b)
	w = &s.recall[(x.Low^bits.RotateLeft64(x.High*mixFirst, 32))*mixFirst>>(64-12)]
	if w.low != x.Low || w.high != x.High {
		s.learn(w, int(r.End-r.Start), &x)
	}
	// The capitals: what has the bit of a small letter in small only.
	if up, up2 := x.Low^x.Raw, x.High^x.RawHigh; up|up2 != 0 {
		if n := r.End - r.Start; n >= 3 && bits.OnesCount64(up)+bits.OnesCount64(up2) == int(n) {
			flags = capsFlag
		} else if up&0x20 != 0 {
			flags = titleFlag
		}
	}
	return w, flags
}

// learn is word for letters alone.
func (s *scan) learn(w *recalled, n int, x *fold.Spelling) {
	*w = recalled{low: x.Low, high: x.High}
	h := uint64(fnvOffset)
	letters, more := x.Low, x.High
	for i := range n {
		h = (h ^ letters&0xff) * fnvPrime
		if letters >>= 8; letters == 0 {
			letters, more = more, 0
		}
		if i >= 2 && s.lex.stemBit(h) {
			if x := fold32(h); s.lex.isStem(x) {
				w.stem = x
			}
		}
		if i == 3 && n > 5 {
			w.pre = fold32(h)
		}
	}
	w.hash = fold32(h)
	if w.root = s.lex.root(w.hash); w.stem != 0 {
		w.stemRoot = s.lex.root(w.stem ^ stemMark)
	}
}
