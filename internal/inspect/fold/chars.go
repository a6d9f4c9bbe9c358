package fold

import (
	"encoding/binary"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// chars is the pass that writes the plain form of every rune.
func (t *Text) chars() {
	t.begin()
	src := t.Bytes
	t.work += len(src)
	p := pen{t: t, word: 0, limit: t.n*maxGrowth + 4096}
	open := 0
	for i := 0; i < len(src); {
		for open < len(t.Regions) && t.Regions[open].End <= i {
			t.Regions[open].End = len(t.alt)
			open++
		}
		stop := len(src) // where a region begins or ends
		if open < len(t.Regions) {
			r := &t.Regions[open]
			if r.Start == i {
				r.Start = len(t.alt)
			}
			if r.Start > i {
				stop = min(stop, r.Start)
			}
			if r.End > i {
				stop = min(stop, r.End)
			}
		}
		if c := src[i]; c < utf8.RuneSelf {
			i = p.plain(i, stop)
			continue
		}
		// Full-width ASCII is frequent and needs no tables.
		if r := fullwidth(src[i:]); r != 0 {
			p.rune(r, i, i+3)
			i += 3
			continue
		}
		j := i
		for j < stop && src[j] >= utf8.RuneSelf && (src[j] != 0xEF || fullwidth(src[j:]) == 0) {
			j++
		}
		p.run(i, max(j, i+1))
		i = max(j, i+1)
	}
	p.end()
	for ; open < len(t.Regions); open++ {
		t.Regions[open].End = len(t.alt)
	}
	// The regions were moved in place; words found to mix scripts were noted apart.
	t.aregions = mergeRegions(t.Regions, t.aregions)
	t.commit()
}

// kindOf sorts a rune by what NFKC may do to it.
func kindOf(r rune, size int) (k runeKind, p *page, e *entry) {
	if ideograph(r) {
		return alone, nil, nil
	}
	p = pageOf(r)
	e = &p.runes[r&0xff]
	switch {
	case r == utf8.RuneError && size == 1: // no UTF-8
		return alone, p, e
	case e.flags&settled != 0:
		return alone, p, e
	case e.grown > 0:
		return growing, p, e
	}
	return joining, p, e
}

type runeKind uint8

const (
	alone   runeKind = iota // it stays, and joins nothing before it
	growing                 // it has another form, and joins nothing before it
	joining                 // it may join what stands before it
)

// stable tells whether b is in NFKC.
func stable(b []byte) bool {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		switch k, _, _ := kindOf(r, n); k {
		case growing:
			return false
		case joining:
			return norm.NFKC.IsNormal(b)
		}
		i += n
	}
	return true
}

// run writes the runes of Bytes[i:j], none of them ASCII. Runes that stand alone
// need no normalizing; what joins does, with the rune before it.
func (p *pen) run(i, j int) {
	src := p.t.Bytes[:j]
	known, normal := false, false // the whole run
	r, n := utf8.DecodeRune(src[i:])
	k, pg, e := kindOf(r, n)
	for at := i; at < j; {
		if r >= 0x0300 && r <= 0x036F { // a mark on what is ASCII: no reader needs it
			if e.flags&hiding != 0 {
				p.t.Ways |= Invisible
			}
			if at += n; at < j {
				r, n = utf8.DecodeRune(src[at:])
				k, pg, e = kindOf(r, n)
			}
			continue
		}
		end := at + n
		var r2 rune // the first that does not join
		var n2 int
		var k2 runeKind
		var pg2 *page
		var e2 *entry
		for end < j {
			r2, n2 = utf8.DecodeRune(src[end:])
			if k2, pg2, e2 = kindOf(r2, n2); k2 != joining {
				break
			}
			k, end = joining, end+n2
		}
		switch k {
		case alone:
			p.write(r, pg, e, at, end)
		case growing:
			for form := pg.whole(e); len(form) > 0; {
				q, m := utf8.DecodeRune(form)
				p.rune(q, at, end)
				form = form[m:]
			}
		default:
			if !known {
				known, normal = true, norm.NFKC.IsNormal(src[i:j])
			}
			if normal {
				for at < end {
					r, n := utf8.DecodeRune(src[at:])
					p.rune(r, at, at+n)
					at += n
				}
			} else {
				p.joined(src[at:end], at)
			}
		}
		at = end
		r, n, k, pg, e = r2, n2, k2, pg2, e2
	}
}

// joined normalizes a rune with what joins it. It stands at Bytes[base:].
func (p *pen) joined(run []byte, base int) {
	it := &p.t.iter
	it.Init(norm.NFKC, run)
	var from, to int // a rune that grows comes in pieces, the later ones of no width
	for !it.Done() {
		at := it.Pos()
		seg := it.Next()
		if q := it.Pos(); q > at {
			from, to = at, q
		} else if at == 0 || at != to {
			_, n := utf8.DecodeRune(run[at:])
			from, to = at, at+n
		}
		for len(seg) > 0 {
			r, n := utf8.DecodeRune(seg)
			p.rune(r, base+from, base+to)
			seg = seg[n:]
		}
	}
}

// fullwidth returns the ASCII character whose full-width form begins s, or 0.
func fullwidth(s []byte) rune {
	if len(s) < 3 || s[0] != 0xEF || s[1] != 0xBC && s[1] != 0xBD {
		return 0
	}
	r := rune(0xF000) | rune(s[1]&0x3F)<<6 | rune(s[2]&0x3F)
	if s[2]&0xC0 != 0x80 || r < 0xFF01 || r > 0xFF5E {
		return 0
	}
	return r - 0xFEE0
}

// pen writes to the other buffer and watches the word it is in.
type pen struct {
	t              *Text
	limit          int  // of the other buffer
	word           int  // where the word began
	latin, foreign bool // what it holds so far
	after          bool // the word before was Latin
}

// inWord tells the ASCII characters that words are made of: 2 for letters.
var inWord = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c >= utf8.RuneSelf:
		case isAlpha(c):
			t[i] = 2
		case isDigit(c), c == '\'':
			t[i] = 1
		}
	}
	return t
}()

// plain copies the ASCII characters from i on, at most to stop, and returns
// where it came to.
func (p *pen) plain(i, stop int) int {
	t := p.t
	src := t.Bytes[:stop]
	for i < stop && src[i] < utf8.RuneSelf {
		j := i
		var has uint8
		for j < stop && inWord[src[j]] != 0 {
			has |= inWord[src[j]]
			j++
		}
		p.latin = p.latin || has&2 != 0
		if j == i { // the word ends before it
			p.end()
			j = p.words(i, stop)
		}
		t.alt = append(t.alt, src[i:j]...)
		t.afrom = append(t.afrom, t.from[i:j]...)
		t.ato = append(t.ato, t.to[i:j]...)
		i = j
	}
	return i
}

// words looks at the ASCII characters from i on, where a word has ended, at most
// to stop, and returns where they end. Only the last words among them matter to
// what follows.
func (p *pen) words(i, stop int) int {
	src := p.t.Bytes[:stop]
	j := i + 1
	for j+8 <= stop && binary.LittleEndian.Uint64(src[j:])&0x8080808080808080 == 0 {
		j += 8
	}
	for j < stop && src[j] < utf8.RuneSelf {
		j++
	}
	var has uint8
	k := j
	for ; inWord[src[k-1]] != 0; k-- { // it ends at i
		has |= inWord[src[k-1]]
	}
	p.word = len(p.t.alt) + k - i
	p.latin = has&2 != 0
	for k > i && inWord[src[k-1]] == 0 {
		k--
	}
	if k > i {
		for has = 0; k > i && inWord[src[k-1]] != 0; k-- {
			has |= inWord[src[k-1]]
		}
		p.after = has&2 != 0
	}
	return j
}

func (p *pen) end() {
	if p.foreign {
		p.latin = p.t.unmix(p.word, p.latin, p.after) || p.latin
	}
	if len(p.t.alt) > p.word {
		p.after = p.latin
	}
	p.latin, p.foreign = false, false
}

// rune writes the plain form of r, which stands for Bytes[from:to].
func (p *pen) rune(r rune, from, to int) {
	if r < utf8.RuneSelf {
		if len(p.t.alt) < p.limit {
			p.ascii(byte(r), from, to)
		}
		return
	}
	var pg *page
	var e *entry
	if !ideograph(r) {
		pg = pageOf(r)
		e = &pg.runes[r&0xff]
	}
	p.write(r, pg, e, from, to)
}

func (p *pen) ascii(c byte, from, to int) {
	switch inWord[c] {
	case 2:
		p.latin = true
	case 0:
		p.end()
		p.word = len(p.t.alt) + 1
	}
	t := p.t
	t.alt, t.afrom, t.ato = append(t.alt, c), append(t.afrom, t.from[from]), append(t.ato, t.to[to-1])
}

// write is rune for one whose entry is known.
func (p *pen) write(r rune, pg *page, e *entry, from, to int) {
	t := p.t
	if len(t.alt) >= p.limit {
		return
	}
	f, z := t.from[from], t.to[to-1]
	if e == nil {
		t.alt = utf8.AppendRune(t.alt, r)
		t.afrom, t.ato = append(t.afrom, f, f, f), append(t.ato, z, z, z)
		return
	}
	if e.flags&hiding != 0 {
		t.Ways |= Invisible
	}
	if e.n == 0 {
		return
	}
	q := pg.plain(e)
	start := len(t.alt)
	n := start + len(q)
	if r >= 0xE0020 && r <= 0xE007E {
		t.note(start, n, Tags)
	}
	c := q[0]
	if c < utf8.RuneSelf && len(q) == 1 {
		p.ascii(c, from, to)
		return
	}
	t.alt = append(t.alt, q...)
	for range q {
		t.afrom, t.ato = append(t.afrom, f), append(t.ato, z)
	}
	switch {
	case c >= utf8.RuneSelf:
		p.foreign = p.foreign || e.flags&twinned != 0
	case isAlpha(c):
		p.latin = true
	default:
		p.end()
		p.word = n
	}
}
