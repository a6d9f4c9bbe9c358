package fold

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Most of a text is words of ASCII letters. Where they begin and end is found
// once, eight bytes at a time, and kept: who reads a word then knows where the
// next one is, and need not wait until he knows how this one ends.

// The same in each of eight bytes.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// letters8 has the high bit of each byte of x that is an ASCII letter.
func letters8(x uint64) uint64 {
	y := (x | 0x20*ones) &^ highs
	return (y + (0x80-'a')*ones) &^ (y + (0x80-'z'-1)*ones) &^ x & highs
}

// pack gathers the high bits of eight bytes into the low eight bits.
func pack(x uint64) uint64 { return x >> 7 * 0x0102040810204080 >> 56 }

// A Run is a longest row of ASCII letters, Bytes[Start:End].
type Run struct{ Start, End uint32 }

// Slack is how many bytes, all 0, stand behind Bytes in its array.
const Slack = 16

// survey fills t.Runs.
func (t *Text) survey() {
	t.Bytes = slices.Grow(t.Bytes, Slack)
	b := t.Bytes
	clear(b[len(b) : len(b)+Slack])
	if need := len(b)/2 + 2; cap(t.Runs) < need {
		t.Runs = make([]Run, need)
	}
	runs := t.Runs[:cap(t.Runs)]
	n := 0 // of runs that have ended
	var carry uint64
	for base := 0; base < len(b); base += 64 {
		var in uint64 // a bit for each letter
		if base+64 <= len(b) {
			c := b[base : base+64 : base+64]
			for k := 0; k < 64; k += 8 {
				in |= pack(letters8(binary.LittleEndian.Uint64(c[k:]))) << k
			}
		} else {
			for k := 0; base+k < len(b); k += 8 {
				in |= pack(letters8(binary.LittleEndian.Uint64(b[base+k:cap(b)]))) << k
			}
			in &= 1<<(len(b)-base) - 1
		}
		start, end := in&^(in<<1|carry), ^in&(in<<1|carry)
		if carry != 0 && end != 0 { // the run that came into this block
			runs[n].End = uint32(base + bits.TrailingZeros64(end))
			n++
			end &= end - 1
		}
		carry = in >> 63
		for end != 0 {
			runs[n] = Run{uint32(base + bits.TrailingZeros64(start)), uint32(base + bits.TrailingZeros64(end))}
			n++
			start &= start - 1
			end &= end - 1
		}
		if start != 0 {
			runs[n].Start = uint32(base + bits.TrailingZeros64(start))
		}
	}
	if carry != 0 {
		runs[n].End = uint32(len(b))
		n++
	}
	t.Runs = runs[:n]
}

// plain tells whether the run is a whole word of at most 16 letters, if it
// begins one.
func (r Run) plain(b []byte) bool {
	return r.End-r.Start <= longest && wordClass[b[:cap(b)][r.End]]&hasAny == 0
}

// Spelling are the letters of a word of at most 16: as they stand, and in small,
// the first lowest and 0 behind the last.
type Spelling struct{ Raw, RawHigh, Low, High uint64 }

// letterMask has the bytes of so many letters.
var letterMask = func() (t [32][2]uint64) {
	for n := 1; n <= longest; n++ {
		t[n][0] = ^uint64(0) >> (64 - 8*min(n, 8))
		t[n][1] = ^uint64(0) >> (128 - 8*max(n, 8))
	}
	return t
}()

// Spell reads the run, which has at most 16 letters, in Text.Bytes.
func (r Run) Spell(b []byte) (w Spelling) {
	p := b[r.Start : r.Start+Slack : cap(b)]
	m := &letterMask[(r.End-r.Start)%32]
	w.Raw, w.RawHigh = binary.LittleEndian.Uint64(p)&m[0], binary.LittleEndian.Uint64(p[8:])&m[1]
	w.Low, w.High = w.Raw|0x20*ones&m[0], w.RawHigh|0x20*ones&m[1]
	return w
}

// Capital tells whether there is one among the letters.
func (w *Spelling) Capital() bool { return w.Raw != w.Low || w.RawHigh != w.High }

// hex tells whether all letters are digits of hexadecimal.
func (w *Spelling) hex() bool {
	return (w.Low+(0x80-'g')*ones|w.High+(0x80-'g')*ones)&highs == 0
}
