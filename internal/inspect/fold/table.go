package fold

import (
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// entry is what the character pass needs to know of one rune.
type entry struct {
	at    uint16 // of its plain form in the page's arena
	n     uint8  // and its length
	grown uint8  // length of its NFKC form, which stands behind; 0 where that is no answer
	flags runeFlag
}

type runeFlag uint8

const (
	// settled: NFKC leaves the rune as it is, whatever stands beside it, but for
	// marks that follow. A run of such runes needs no normalizing.
	settled runeFlag = 1 << iota
	// hiding: invisible, with no honest use inside a word.
	hiding
	// twinned: its plain form begins with a letter drawn like a Latin one.
	twinned
)

// page holds 256 runes. Pages are made when a text first needs them, in some
// hundred microseconds; all of Unicode takes a few megabytes.
type page struct {
	runes [256]entry
	arena []byte
}

var pages [(utf8.MaxRune + 1) >> 8]atomic.Pointer[page]

func pageOf(r rune) *page {
	if p := pages[r>>8].Load(); p != nil {
		return p
	}
	p := newPage(r >> 8 << 8)
	pages[r>>8].Store(p) // two who make it at once make the same
	return p
}

func newPage(first rune) *page {
	p := &page{}
	for i := range p.runes {
		r := first + rune(i)
		e := &p.runes[i]
		start := len(p.arena)
		p.arena = appendStable(p.arena, r)
		e.at, e.n = uint16(start), uint8(len(p.arena)-start)
		if q, _ := utf8.DecodeRune(p.arena[start:]); e.n > 0 && twinOf(q) != 0 {
			e.flags |= twinned
		}
		if hides(r) {
			e.flags |= hiding
		}
		if r == utf8.RuneError || r >= 0xD800 && r < 0xE000 {
			continue // also stands for bytes that are no UTF-8
		}
		s := string(r)
		if !norm.NFKC.PropertiesString(s).BoundaryBefore() {
			continue
		}
		if norm.NFKC.IsNormalString(s) {
			e.flags |= settled
		} else if form := norm.NFKC.String(s); len(form) < 256 {
			e.grown = uint8(len(form))
			p.arena = append(p.arena, form...)
		}
	}
	return p
}

// plain is the form of an entry that readers see.
func (p *page) plain(e *entry) []byte { return p.arena[e.at : int(e.at)+int(e.n)] }

// whole is the NFKC form of an entry that has one of its own.
func (p *page) whole(e *entry) []byte {
	i := int(e.at) + int(e.n)
	return p.arena[i : i+int(e.grown)]
}

// ideograph tells the runes that are most of all text and have no other form:
// Han and Hangul syllables.
func ideograph(r rune) bool { return r >= 0x3400 && r <= 0x9FFF || r >= 0xAC00 && r <= 0xD7A3 }
