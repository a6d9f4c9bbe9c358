package fold

import (
	_ "embed"
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

// vocabulary is a bit per hash (fits the first-level cache) before an exact
// open-addressed table, read-only after init.
type vocabulary struct {
	bits   [1 << 11]uint64
	table  [1 << 14]uint64
	begins [1 << 12]uint64 // a bit per hash of the beginning of a word
}

// spread mixes a hash: the high bits of FNV over two or three letters are nearly
// the same for all of them.
func spread(h uint64) uint64 { return (h ^ h>>32) * 0x9E3779B97F4A7C15 }

var vocab = func() *vocabulary {
	v := &vocabulary{}
	for w := range strings.Lines(wordList) {
		w = strings.TrimSpace(w)
		if w == "" {
			continue
		}
		h := uint64(fnvOffset)
		for i := 0; i < len(w); i++ {
			h = (h ^ uint64(w[i])) * fnvPrime
			g := spread(h)
			v.begins[g>>52] |= 1 << (g >> 46 & 63)
		}
		g := spread(h)
		x := g >> 47
		v.bits[x>>6] |= 1 << (x & 63)
		s := g >> 50
		for v.table[s] != 0 && v.table[s] != h {
			s = (s + 1) & (1<<14 - 1)
		}
		v.table[s] = h
	}
	return v
}()

func (v *vocabulary) has(h uint64) bool {
	g := spread(h)
	x := g >> 47
	if v.bits[x>>6]&(1<<(x&63)) == 0 {
		return false
	}
	for s := g >> 50; v.table[s] != 0; s = (s + 1) & (1<<14 - 1) {
		if v.table[s] == h {
			return true
		}
	}
	return false
}

// leads tells whether a word may begin with what hashes to h. It errs on the side
// of yes.
func (v *vocabulary) leads(h uint64) bool {
	g := spread(h)
	return v.begins[g>>52]>>(g>>46&63)&1 != 0
}

// Common tells whether the ASCII word is a common English one, in any case.
func Common(w []byte) bool {
	h := uint64(fnvOffset)
	for _, c := range w {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		h = (h ^ uint64(c)) * fnvPrime
	}
	return vocab.has(h)
}
