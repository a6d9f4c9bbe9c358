// Package fold brings text that strangers wrote into one plain form, so that a
// detector reads what a model would understand and not how it was dressed.
//
// Characters first: NFKC (Unicode Annex 15), look-alike letters, accents on
// letters, invisible and bidi characters, Unicode tags. Encodings next:
// base64, hex, URL, HTML entities, backslash escapes, rot13, reversed,
// spaced-out and leet words; the decoded text takes the place of the raw run,
// and again up to MaxDepth times. Case stays, because base64 needs it: compare
// without case.
//
// Every folded byte keeps the extent of the original bytes it stands for.
package fold

import (
	"encoding/binary"
	"slices"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxDepth is how many encodings may be nested before the rest is left as it
// stands and Truncated is set.
const MaxDepth = 5

// maxGrowth bounds the folded text: len(src)*maxGrowth+4096 bytes. NFKC grows
// one rune to at most 18, but only a few letters do; past the bound a rune is
// dropped. No decoder grows its input.
const maxGrowth = 4

// keep is the largest buffer returned to the pool, in bytes.
const keep = 1 << 18

// Way is a set of the disguises met.
type Way uint16

const (
	Invisible Way = 1 << iota // zero-width, bidi, fillers, variation selectors
	Tags                      // Unicode tag characters
	Lookalike                 // a letter of another script inside a word
	Base64
	Hex
	URL
	Entity
	Escape
	Rot13
	Reversed
	Spaced
	Leet
)

// Hidden are the ways no ordinary writer needs for plain words.
const Hidden = Tags | Lookalike | Base64 | Hex | Rot13 | Reversed | Spaced | Leet

// Names lists the ways by their bit.
var names = [...]string{"invisible", "tags", "lookalike", "base64", "hex", "url",
	"entity", "escape", "rot13", "reversed", "spaced", "leet"}

// String names the lowest way in w.
func (w Way) String() string {
	for i, n := range names {
		if w&(1<<i) != 0 {
			return n
		}
	}
	return "plain"
}

// Region is a decoded run: Bytes[Start:End] of the folded text.
type Region struct {
	Start, End int
	Way        Way
}

// Text is a folded text. The zero value is ready; Release returns its buffers.
type Text struct {
	Bytes     []byte
	Runs      []Run    // the words of ASCII letters of Bytes
	Regions   []Region // decoded runs of the Hidden ways, of every depth, by Start
	Ways      Way
	Truncated bool // still encoded after MaxDepth
	// Exhausted: the text grew and seemed encoded so often that reading on was
	// refused, after MaxDepth+1 times the length of the original. What a text that
	// does not grow asks for is never that much. Who reads it must not trust it.
	Exhausted bool

	from, to []uint32 // per byte the original extent; empty when it is the identity
	n        int      // len of the original
	work     int      // bytes looked at, for the test that it is linear

	// the other buffer of each pass
	alt        []byte
	afrom, ato []uint32
	aregions   []Region
	scratch    []byte
	words      []word
	sorts      []sort    // of each of Runs, for decode
	numbers    int       // from here
	numbersEnd int       // to here each word has digits
	leetLook   int       // Bytes was looked at up to here for leet,
	leetEnd    int       // and up to here is leet whatever it says
	iter       norm.Iter // too large for the stack
}

var pool = sync.Pool{New: func() any { return new(Text) }}

// Get folds src into a pooled Text. The caller must Release it.
func Get(src string) *Text {
	t := pool.Get().(*Text)
	t.Fold(src)
	return t
}

// Release returns t to the pool; t and its Bytes must not be used afterwards.
func (t *Text) Release() {
	if cap(t.Bytes) > keep || cap(t.alt) > keep || cap(t.from) > keep || cap(t.scratch) > keep {
		return
	}
	pool.Put(t)
}

// Fold replaces the content of t by the plain form of src. Offsets are 32 bit:
// src beyond 1 GiB is cut there.
func (t *Text) Fold(src string) {
	if len(src) > 1<<30 {
		src = src[:1<<30]
	}
	t.n, t.work = len(src), 0
	t.Ways, t.Truncated, t.Exhausted = 0, false, false
	t.Regions = t.Regions[:0]
	t.from, t.to = t.from[:0], t.to[:0]
	t.Bytes = append(t.Bytes[:0], src...)
	t.plain()
	left := (MaxDepth + 1) * (t.n + 4096)
	for depth := 0; t.suspect(); depth++ {
		if left -= len(t.Bytes); left < 0 {
			t.Truncated, t.Exhausted = true, true
			return
		}
		if !t.decode() {
			return
		}
		t.plain()
		if depth == MaxDepth {
			t.Truncated = true
			t.survey()
			return
		}
	}
}

// Origin translates Bytes[start:end] to byte offsets of the original text.
func (t *Text) Origin(start, end int) (int, int) {
	if len(t.from) == 0 {
		return clamp(start, t.n), clamp(end, t.n)
	}
	if start >= len(t.from) {
		return t.n, t.n
	}
	if start < 0 {
		start = 0
	}
	a := int(t.from[start])
	if end <= start {
		return a, a
	}
	if end > len(t.to) {
		end = len(t.to)
	}
	// A reversed run maps its bytes backwards, so both ends vote.
	b := int(t.to[end-1])
	a, b = min(a, int(t.from[end-1])), max(b, int(t.to[start]))
	return a, b
}

func clamp(i, n int) int { return max(0, min(i, n)) }

// plain runs the character pass until nothing composes any more: a character
// dropped between two others may let them.
func (t *Text) plain() {
	if !high(t.Bytes) {
		return
	}
	for range 4 {
		n := len(t.Bytes)
		t.chars()
		if len(t.Bytes) == n || stable(t.Bytes) {
			return
		}
	}
	t.Truncated = true
}

func high(s []byte) bool {
	const each = 0x8080808080808080
	for ; len(s) >= 16; s = s[16:] {
		if (binary.LittleEndian.Uint64(s)|binary.LittleEndian.Uint64(s[8:]))&each != 0 {
			return true
		}
	}
	for _, c := range s {
		if c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// begin readies the other buffer for a pass over Bytes.
func (t *Text) begin() {
	t.alt = t.alt[:0]
	t.afrom, t.ato = t.afrom[:0], t.ato[:0]
	t.aregions = t.aregions[:0]
	if n := len(t.Bytes); len(t.from) == 0 && n > 0 {
		t.from, t.to = slices.Grow(t.from, n)[:n], slices.Grow(t.to, n)[:n]
		for i := range t.from {
			t.from[i], t.to[i] = uint32(i), uint32(i+1)
		}
	}
}

// commit makes the other buffer the text.
func (t *Text) commit() {
	t.Bytes, t.alt = t.alt, t.Bytes
	t.from, t.afrom = t.afrom, t.from
	t.to, t.ato = t.ato, t.to
	t.Regions, t.aregions = t.aregions, t.Regions
}

// raw copies Bytes[a:b] as it stands.
func (t *Text) raw(a, b int) {
	t.alt = append(t.alt, t.Bytes[a:b]...)
	t.afrom = append(t.afrom, t.from[a:b]...)
	t.ato = append(t.ato, t.to[a:b]...)
}

// put writes dec in place of Bytes[a:b].
func (t *Text) put(dec []byte, a, b int, way Way) {
	f, e := t.from[a], t.to[b-1]
	f, e = min(f, t.from[b-1]), max(e, t.to[a])
	start := len(t.alt)
	for _, c := range dec {
		t.alt = append(t.alt, c)
		t.afrom = append(t.afrom, f)
		t.ato = append(t.ato, e)
	}
	t.note(start, len(t.alt), way)
}

func (t *Text) note(start, end int, way Way) {
	t.Ways |= way
	if way&Hidden != 0 {
		if n := len(t.aregions); n > 0 && t.aregions[n-1].Way == way && start-t.aregions[n-1].End <= 1 {
			t.aregions[n-1].End = end
			return
		}
		t.aregions = append(t.aregions, Region{start, end, way})
	}
}
