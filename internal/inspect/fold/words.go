package fold

import (
	_ "embed"
	"math/bits"
	"strings"
)

// words.txt lists common English words, one a line, lower case, from frequency
// counts over ordinary prose, plus the words attacks turn on.
//
//go:embed words.txt
var wordList string

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// vocabulary has a bit per hash (fits the first-level cache) before each of its
// open-addressed tables of hashes. It is read-only after init.
type vocabulary struct {
	bits       [1 << 11]uint64
	table      [1 << 14]uint64
	turnedBits [1 << 12]uint64
	turned     [1 << 15]uint64 // words in rot13 and backwards; the low bits say which
	begins     [1 << 12]uint64 // a bit per hash of the beginning of a word
}

// What an unknown word is a common one in.
const (
	turnedRot uint64 = 1 << iota
	turnedBack
)

// longest is the longest word the vocabulary holds, in bytes.
const longest = 16

// spread mixes the letters of a word of at most 16, in small, the first lowest
// and 0 behind the last. No two words of at most 8 share a value.
func spread(low, high uint64) uint64 {
	g := low*0x9E3779B97F4A7C15 ^ bits.RotateLeft64(high*0xC2B2AE3D27D4EB4F, 29)
	return (g ^ g>>32) * 0x9E3779B97F4A7C15
}

// prefixBit is the bit of vocabulary.begins that letters have whose FNV hash is
// h: the high bits of FNV over two or three letters are nearly the same for all.
func prefixBit(h uint64) uint64 { return (h ^ h>>32) * 0x9E3779B97F4A7C15 >> 46 }

// spell is what spread takes, of a word of at most 16 bytes.
func spell(w []byte) (low, high uint64) {
	for i, c := range w {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if i < 8 {
			low |= uint64(c) << (8 * i)
		} else {
			high |= uint64(c) << (8 * (i - 8))
		}
	}
	return low, high
}

var vocab = func() *vocabulary {
	v := &vocabulary{}
	var turned [longest]byte
	for w := range strings.Lines(wordList) {
		w := []byte(strings.TrimSpace(w))
		if len(w) == 0 {
			continue
		}
		h := uint64(fnvOffset)
		for _, c := range w {
			h = (h ^ uint64(c)) * fnvPrime
			x := prefixBit(h)
			v.begins[x>>6] |= 1 << (x & 63)
		}
		g := spread(spell(w))
		x := g >> 47
		v.bits[x>>6] |= 1 << (x & 63)
		s := g >> 50
		for v.table[s] != 0 && v.table[s] != g {
			s = (s + 1) % (1 << 14)
		}
		v.table[s] = g
		for i, c := range w {
			turned[i] = rot13(c)
		}
		v.turn(turned[:len(w)], turnedRot)
		for i, c := range w {
			turned[len(w)-1-i] = c
		}
		v.turn(turned[:len(w)], turnedBack)
	}
	return v
}()

func (v *vocabulary) turn(w []byte, way uint64) {
	g := spread(spell(w)) &^ 3
	x := g >> 46
	v.turnedBits[x>>6] |= 1 << (x & 63)
	s := g >> 49
	for v.turned[s] != 0 && v.turned[s]&^3 != g {
		s = (s + 1) % (1 << 15)
	}
	v.turned[s] = v.turned[s] | g | way
}

// has tells whether the word of hash g, see spread, is a common one.
func (v *vocabulary) has(g uint64) bool {
	x := g >> 47
	return v.bits[x>>6]>>(x&63)&1 != 0 && v.finds(g)
}

func (v *vocabulary) finds(g uint64) bool {
	for s := g >> 50; v.table[s] != 0; s = (s + 1) % (1 << 14) {
		if v.table[s] == g {
			return true
		}
	}
	return false
}

// turns tells in which ways the word of hash g is a common one.
func (v *vocabulary) turns(g uint64) uint64 {
	x := g >> 46
	if v.turnedBits[x>>6]>>(x&63)&1 == 0 {
		return 0
	}
	for s := g >> 49; v.turned[s] != 0; s = (s + 1) % (1 << 15) {
		if (v.turned[s]^g)&^3 == 0 {
			return v.turned[s] & 3
		}
	}
	return 0
}

// leads tells whether a word may begin with letters whose FNV hash is h. It errs
// on the side of yes.
func (v *vocabulary) leads(h uint64) bool {
	x := prefixBit(h)
	return v.begins[x>>6]>>(x&63)&1 != 0
}

// Common tells whether the ASCII word is a common English one, in any case.
func Common(w []byte) bool {
	return len(w) <= longest && vocab.has(spread(spell(w)))
}
