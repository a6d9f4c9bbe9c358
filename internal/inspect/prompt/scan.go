package prompt

import (
	"math"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// tableBits is the size of the weight table: half a million bytes stay in the
// second-level cache.
const (
	tableBits = 19
	tableSize = 1 << tableBits
)

type hit struct {
	c           concept
	first, last uint32
	opening     bool
}

// unit is what one segment adds to every window that holds it, and what the
// seam with the segment before it adds to every window that holds both.
type unit struct {
	sum, seam   float32
	rule, rseam float32
	tokens      int32
	same        int32 // the last unit before with the same words, or -1
}

// scan is the working memory of one inspection.
type scan struct {
	lex     *lexicon
	rules   *ruleset
	weights *[tableSize]int8
	rw      []float32                 // a weight per rule
	length  [len(inverseRoot)]float32 // bias and weight of a window of so many tokens

	region      int // of the folded text, the next one
	hiddenUntil uint32
	way         fold.Way

	toks    []token
	segs    []segment
	hits    []hit
	segHits int
	units   []unit
	fired   []firing

	prog      []progress
	lastFired []int32

	recall [recallSize]recalled

	rec  features // of the segment being read
	keep bool     // record features instead of summing weights
	out  []Unit
}

// Unit is the record of a segment for training: the features and rules of its
// own, and of the seam with the segment before.
type Unit struct {
	Tokens            int
	Feats, Seam       []uint32
	Rules, SeamRules  []uint16
	Start, End        int // bytes of the original text
	TokFirst, TokLast int
}

// The multipliers of mix.
const (
	mixFirst  = 0x9E3779B97F4A7C15
	mixSecond = 0xBF58476D1CE4E5B9
	mixLow    = mixFirst & 0xffffffff
)

// mix hashes two values into one. Its first product splits into a part of each
// value, (a*mixLow)<<32 + b*mixFirst, so a word is multiplied once for all the
// features that it has a part in.
func mix(a, b uint32) uint32 { return uint32(blend(a*mixLow, uint64(b)*mixFirst) >> 32) }

// blend is mix of the two parts; its high bits are the hash.
func blend(a uint32, b uint64) uint64 {
	x := uint64(a)<<32 + b
	x ^= x >> 29
	return x * mixSecond
}

// features holds the places in the table that a segment's features have. A
// segment has at most hardSplit+shortSegment tokens of at most 11 features, and
// as many hits of 5 more.
type features struct {
	at [maxFeatures]uint32
	n  uint
}

const maxFeatures = 1 << 10

const _ = uint(maxFeatures - (hardSplit+shortSegment)*(11+5) - 5) // else it does not compile

func (f *features) add(h uint32) {
	f.at[f.n%maxFeatures] = h >> (32 - tableBits)
	f.n++
}

// slot is the place in the table of the feature whose hash is x's high half.
func slot(x uint64) uint32 { return uint32(x >> (64 - tableBits)) }

// sum adds up the weights of the features from a to b. Nothing depends on a
// look-up before it, so that the processor has many of them under way.
func (f *features) sum(table *[tableSize]int8, a, b uint) (sum int32) {
	for _, h := range f.at[a:b] {
		sum += int32(table[h&(tableSize-1)])
	}
	return sum
}

// Seeds keep the kinds of feature apart.
const (
	seedWord  = 0xA001
	seedPair  = 0xA002
	seedSkip  = 0xA003
	seedTri   = 0xA004
	seedStem  = 0xA005
	seedClass = 0xA006
	seedChain = 0xA007
	seedTrail = 0xA008
	seedOpen  = 0xA009
	seedMark  = 0xA00A
	seedShape = 0xA00B
	seedHide  = 0xA00C
	seedQuote = 0xA00D
	seedSeam  = 0xA00E
	seedC3    = 0xA00F
)

// read fills s.units and s.fired from the folded text.
func (s *scan) read(f *fold.Text) {
	s.tokenize(f.Bytes, f.Runs)
	s.region, s.hiddenUntil, s.way = 0, 0, 0
	s.units = s.units[:0]
	s.hits = s.hits[:0]
	s.fired = s.fired[:0]
	s.out = s.out[:0]
	n := len(s.rules.rules)
	if cap(s.prog) < n {
		s.prog = make([]progress, n)
		s.lastFired = make([]int32, n)
	}
	s.prog, s.lastFired = s.prog[:n], s.lastFired[:n]
	for i := range s.prog {
		s.prog[i].start = [longestRule]int32{-1, -1, -1, -1}
		s.lastFired[i] = 0
	}
	var prevConcept concept // across the seam
	var prevMark byte
	for k := range s.segs {
		sg := &s.segs[k]
		s.concepts(sg)
		fired := len(s.fired)
		hits := s.hits[s.segHits:]
		if len(hits) > 0 {
			s.run(k)
		}
		s.rec.n = 0
		s.words(f, sg)
		s.trail(sg)
		u := unit{tokens: int32(sg.last - sg.first)}
		own := s.rec.n
		if k > 0 && len(hits) > 0 {
			s.rec.add(mix(seedSeam+uint32(prevConcept)*31, uint32(hits[0].c)))
			s.rec.add(mix(seedSeam+uint32(prevMark)*31+1, uint32(hits[0].c)))
		}
		if s.keep {
			s.record(f, sg, own, fired, k)
		} else {
			u.sum = float32(s.rec.sum(s.weights, 0, own))
			u.seam = float32(s.rec.sum(s.weights, own, s.rec.n))
			for _, x := range s.fired[fired:] {
				if int(x.seg) == k {
					u.rule += s.rw[x.rule]
				} else {
					u.rseam += s.rw[x.rule]
				}
			}
		}
		u.same = s.echo(&u)
		s.units = append(s.units, u)
		prevConcept, prevMark = 0, sg.mark
		if len(hits) > 0 {
			prevConcept = hits[len(hits)-1].c
		}
	}
}

// opens is a bit per mark after which a clause begins, by its hash.
var opens = func() (t [2]uint64) {
	for _, c := range `,:"->(` {
		t[c>>6] |= 1 << (c & 63)
	}
	return t
}()

// concepts appends the hits of a segment.
func (s *scan) concepts(sg *segment) {
	s.segHits = len(s.hits)
	toks := s.toks[:sg.last]
	open := int(sg.first) + 3 // a clause may open after a few words
	for i := int(sg.first); i < len(toks); i++ {
		t := &toks[i]
		if t.flags&opensFlag != 0 {
			open = i + 3
		}
		if t.root|t.stemRoot == 0 {
			continue
		}
		if c, end := s.lex.match(toks, i); c != 0 {
			s.hits = append(s.hits, hit{c, uint32(i), uint32(end), i <= open})
			if c == s.lex.inert {
				i = end - 1
			}
		}
	}
}

// words adds the features of a segment's tokens: each alone, with the two
// before it, and the same with concepts in the place of words. How many there
// are is kept in a register: in memory each would wait for the one before.
func (s *scan) words(f *fold.Text, sg *segment) {
	at, n := &s.rec.at, s.rec.n
	hits := s.hits[s.segHits:]
	// The parts of mix that are the word's, and of the two words before it: p as
	// they stand, q as concepts. Both begin with 1.
	const one, oneWide = mixLow, mixFirst
	p1, p2, q1, q2 := uint32(one), uint32(one), uint32(one), uint32(one)
	p1Wide, q1Wide := uint64(oneWide), uint64(oneWide)
	same1, same2 := true, true // that the word before has no concept; and the one before that
	next := uint32(math.MaxUint32)
	if len(hits) > 0 {
		next = hits[0].first
	}
	region := uint32(math.MaxUint32) // where the next begins
	if s.region < len(f.Regions) {
		region = uint32(f.Regions[s.region].Start)
	}
	toks := s.toks[sg.first:sg.last]
	for i := range toks {
		t := &toks[i]
		if region <= t.start {
			region = s.enter(f, t.start)
		}
		if t.start < s.hiddenUntil {
			t.flags |= hiddenFlag
		}
		w, wWide := t.hash*mixLow, uint64(t.hash)*mixFirst
		cls, clsWide, same := w, wWide, true
		if next == sg.first+uint32(i) {
			c := uint32(hits[0].c)
			if hits = hits[1:]; len(hits) > 0 {
				next = hits[0].first
			}
			same = t.hash == 0x7000+c
			cls, clsWide = (0x7000+c)*mixLow, uint64(0x7000+c)*mixFirst
			if t.flags&quoteFlag != 0 {
				at[n%maxFeatures] = mix(seedQuote, c) >> (32 - tableBits)
				n++
			}
			if t.flags&hiddenFlag != 0 {
				at[n%maxFeatures] = mix(seedHide, c+16) >> (32 - tableBits)
				n++
			}
		}
		const step = 31
		at[n%maxFeatures] = slot(blend(seedWord*mixLow&0xffffffff, wWide))
		at[(n+1)%maxFeatures] = slot(blend(seedPair*mixLow&0xffffffff+p1*step, wWide))
		at[(n+2)%maxFeatures] = slot(blend(seedSkip*mixLow&0xffffffff+p2*step, wWide))
		before := uint32(blend(p2, p1Wide) >> 32)
		at[(n+3)%maxFeatures] = slot(blend((seedTri+before*step)*mixLow, wWide))
		n += 4
		if !same || !same1 || !same2 {
			at[n%maxFeatures] = slot(blend(seedClass*mixLow&0xffffffff+q1*step, clsWide))
			if !same || !same1 {
				n++
			}
			before := uint32(blend(q2, q1Wide) >> 32)
			at[n%maxFeatures] = slot(blend((seedC3+before*step)*mixLow, clsWide))
			n++
		}
		at[n%maxFeatures] = t.pre & (tableSize - 1)
		if t.pre != 0 {
			n++
		}
		if shape := t.flags & (capsFlag | digitFlag | hiddenFlag); shape != 0 {
			at[n%maxFeatures] = mix(seedShape, uint32(shape)) >> (32 - tableBits)
			n++
			if t.flags&hiddenFlag != 0 {
				at[n%maxFeatures] = mix(seedHide, uint32(s.way)<<8|1) >> (32 - tableBits)
				n++
			}
		}
		p2, p1, p1Wide = p1, w, wWide
		q2, q1, q1Wide = q1, cls, clsWide
		same2, same1 = same1, same
	}
	s.rec.n = n
}

// enter goes on to the last region that begins by start, and returns where the
// one after it begins.
func (s *scan) enter(f *fold.Text, start uint32) uint32 {
	for s.region < len(f.Regions) {
		r := &f.Regions[s.region]
		if uint32(r.Start) > start {
			return uint32(r.Start)
		}
		s.hiddenUntil, s.way = uint32(r.End), r.Way
		s.region++
	}
	return math.MaxUint32
}

// trail adds the features of a segment's concepts, whatever lies between them,
// and of its ends.
func (s *scan) trail(sg *segment) {
	rec := &s.rec
	hits := s.hits[s.segHits:]
	for i := range hits {
		h := &hits[i]
		if h.opening {
			rec.add(mix(seedOpen, uint32(h.c)))
			rec.add(mix(seedMark+uint32(h.c)*31, uint32(sg.mark)))
		}
		if i > 0 {
			g := &hits[i-1]
			d := uint32(0)
			if h.first > g.last+2 {
				d = 1
			}
			rec.add(mix(seedChain+uint32(g.c)*31, uint32(h.c)))
			rec.add(mix(seedChain+uint32(g.c)*31, uint32(h.c)+64*(1+d)))
			if i > 1 {
				rec.add(mix(seedTrail+mix(uint32(hits[i-2].c), uint32(g.c))*31, uint32(h.c)))
			}
		}
	}
	if sg.first < sg.last {
		rec.add(mix(seedMark, s.toks[sg.first].hash)) // the opening word
		rec.add(mix(seedMark+7, uint32(sg.mark)))
	}
}

// smaller is the lower case of ASCII.
var smaller = func() (t [256]byte) {
	for i := range t {
		if t[i] = byte(i); i >= 'A' && i <= 'Z' {
			t[i] |= 0x20
		}
	}
	return t
}()

// echo finds the unit that u repeats, in reach of a window. Sentences whose sums
// agree are as good as the same.
func (s *scan) echo(u *unit) int32 {
	from := max(0, len(s.units)-MaxUnits+1)
	units := s.units[from:]
	for k := len(units) - 1; k >= 0; k-- {
		if v := &units[k]; v.sum == u.sum && v.tokens == u.tokens && v.rule == u.rule {
			return int32(from + k)
		}
	}
	return -1
}

// prefixed is the place in the table of the feature that a long word has by the
// hash of its beginning, and a bit beyond the table, so that it is never 0.
func prefixed(h uint32) uint32 { return mix(seedStem, h)>>(32-tableBits) | tableSize }

// prefix hashes the first four code points of a long word.
func prefix(p []byte) uint32 {
	h := uint64(fnvOffset)
	if len(p) > 4 && (p[0]|p[1]|p[2]|p[3]) < utf8.RuneSelf && utf8.RuneStart(p[4]) {
		h = (h ^ uint64(smaller[p[0]])) * fnvPrime
		h = (h ^ uint64(smaller[p[1]])) * fnvPrime
		h = (h ^ uint64(smaller[p[2]])) * fnvPrime
		h = (h ^ uint64(smaller[p[3]])) * fnvPrime
		return fold32(h)
	}
	points := 0
	for _, c := range p {
		if c < 0x80 || c >= 0xC0 {
			if points++; points > 4 {
				break
			}
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
		}
		h = (h ^ uint64(c)) * fnvPrime
	}
	return fold32(h)
}

func (s *scan) record(f *fold.Text, sg *segment, own uint, fired, k int) {
	u := Unit{Tokens: int(sg.last - sg.first), TokFirst: int(sg.first), TokLast: int(sg.last)}
	u.Feats = append([]uint32(nil), s.rec.at[:own]...)
	u.Seam = append([]uint32(nil), s.rec.at[own:s.rec.n]...)
	for _, x := range s.fired[fired:] {
		if int(x.seg) == k {
			u.Rules = append(u.Rules, x.rule)
		} else {
			u.SeamRules = append(u.SeamRules, x.rule)
		}
	}
	u.Start, u.End = f.Origin(int(s.toks[sg.first].start), int(s.toks[sg.last-1].end))
	s.out = append(s.out, u)
}
