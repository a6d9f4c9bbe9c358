package prompt

import (
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
}

// scan is the working memory of one inspection.
type scan struct {
	lex     *lexicon
	rules   *ruleset
	weights *[tableSize]int8
	rw      []float32                 // a weight per rule
	length  [len(inverseRoot)]float32 // bias and weight of a window of so many tokens

	toks    []token
	segs    []segment
	hits    []hit
	segHits int
	units   []unit
	fired   []firing

	prog      []progress
	lastFired []int32

	acc  int32 // of the segment being read
	rec  []uint32
	keep bool // record features instead of summing weights
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

func mix(a, b uint32) uint32 {
	x := (uint64(a)<<32 | uint64(b)) * 0x9E3779B97F4A7C15
	x ^= x >> 29
	x *= 0xBF58476D1CE4E5B9
	return uint32(x >> 32)
}

func (s *scan) add(h uint32) {
	h >>= 32 - tableBits
	if s.keep {
		s.rec = append(s.rec, h)
		return
	}
	s.acc += int32(s.weights[h])
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
	s.tokenize(f.Bytes)
	region := 0
	hiddenUntil := uint32(0)
	var way fold.Way
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
		// concepts
		s.segHits = len(s.hits)
		toks := s.toks[:sg.last]
		covered := sg.first
		open := int(sg.first) + 3 // a clause may open after a few words
		for i := int(sg.first); i < int(sg.last); i++ {
			t := &s.toks[i]
			if t.kind == punctTok && (t.hash == hashPunct+',' || t.hash == hashPunct+':' || t.hash == hashPunct+'"' || t.hash == hashPunct+'-' || t.hash == hashPunct+'>' || t.hash == hashPunct+'(') {
				open = i + 3
			}
			if !s.lex.begins(t.hash) && t.stem == 0 {
				continue
			}
			c, end := s.lex.match(toks, i)
			if c == 0 {
				continue
			}
			s.hits = append(s.hits, hit{c, uint32(i), uint32(end), i <= open})
			if uint32(end) > covered {
				covered = uint32(end)
			}
		}
		fired := len(s.fired)
		s.run(k)
		// features
		s.acc, s.rec = 0, s.rec[:0]
		var hi = s.segHits
		var p1, p2 uint32 = 1, 1 // words before
		var q1, q2 uint32 = 1, 1 // classes before
		for i := sg.first; i < sg.last; i++ {
			t := &s.toks[i]
			w := t.hash
			for region < len(f.Regions) && uint32(f.Regions[region].Start) <= t.start {
				hiddenUntil, way = uint32(f.Regions[region].End), f.Regions[region].Way
				region++
			}
			if t.start < hiddenUntil {
				t.flags |= hiddenFlag
			}
			cls := w
			for hi < len(s.hits) && s.hits[hi].first < i {
				hi++
			}
			if hi < len(s.hits) && s.hits[hi].first == i {
				c := uint32(s.hits[hi].c)
				cls = 0x7000 + c
				if t.flags&quoteFlag != 0 {
					s.add(mix(seedQuote, c))
				}
				if t.flags&hiddenFlag != 0 {
					s.add(mix(seedHide, c+16))
				}
			}
			s.add(mix(seedWord, w))
			s.add(mix(seedPair+p1*31, w))
			s.add(mix(seedSkip+p2*31, w))
			s.add(mix(seedTri+mix(p2, p1)*31, w))
			if cls != w || q1 != p1 {
				s.add(mix(seedClass+q1*31, cls))
			}
			if cls != w || q1 != p1 || q2 != p2 {
				s.add(mix(seedC3+mix(q2, q1)*31, cls))
			}
			if t.kind == wordTok && t.end-t.start > 5 {
				s.add(mix(seedStem, s.prefix(f.Bytes, t)))
			}
			if t.flags&(capsFlag|digitFlag|hiddenFlag) != 0 {
				s.add(mix(seedShape, uint32(t.flags&(capsFlag|digitFlag|hiddenFlag))))
				if t.flags&hiddenFlag != 0 {
					s.add(mix(seedHide, uint32(way)<<8|1))
				}
			}
			p2, p1 = p1, w
			q2, q1 = q1, cls
		}
		// the trail of concepts, whatever lies between them
		hits := s.hits[s.segHits:]
		for i := range hits {
			h := &hits[i]
			if h.opening {
				s.add(mix(seedOpen, uint32(h.c)))
				s.add(mix(seedMark+uint32(h.c)*31, uint32(sg.mark)))
			}
			if i > 0 {
				g := &hits[i-1]
				d := uint32(0)
				if h.first > g.last+2 {
					d = 1
				}
				s.add(mix(seedChain+uint32(g.c)*31, uint32(h.c)))
				s.add(mix(seedChain+uint32(g.c)*31, uint32(h.c)+64*(1+d)))
				if i > 1 {
					s.add(mix(seedTrail+mix(uint32(hits[i-2].c), uint32(g.c))*31, uint32(h.c)))
				}
			}
		}
		if sg.first < sg.last {
			s.add(mix(seedMark, s.toks[sg.first].hash)) // the opening word
			s.add(mix(seedMark+7, uint32(sg.mark)))
		}
		u := unit{tokens: int32(sg.last - sg.first)}
		own := len(s.rec)
		sum := s.acc
		s.acc = 0
		if k > 0 {
			if len(hits) > 0 {
				s.add(mix(seedSeam+uint32(prevConcept)*31, uint32(hits[0].c)))
				s.add(mix(seedSeam+uint32(prevMark)*31+1, uint32(hits[0].c)))
			}
		}
		u.sum, u.seam = float32(sum), float32(s.acc)
		if s.keep {
			s.record(f, sg, own, fired, k)
		} else {
			for _, x := range s.fired[fired:] {
				if int(x.seg) == k {
					u.rule += s.rw[x.rule]
				} else {
					u.rseam += s.rw[x.rule]
				}
			}
		}
		s.units = append(s.units, u)
		prevConcept, prevMark = 0, sg.mark
		if len(hits) > 0 {
			prevConcept = hits[len(hits)-1].c
		}
	}
}

// prefix hashes the first four code points of a long word.
func (s *scan) prefix(b []byte, t *token) uint32 {
	h := uint64(fnvOffset)
	points := 0
	for i := t.start; i < t.end; i++ {
		c := b[i]
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

func (s *scan) record(f *fold.Text, sg *segment, own, fired, k int) {
	u := Unit{Tokens: int(sg.last - sg.first), TokFirst: int(sg.first), TokLast: int(sg.last)}
	u.Feats = append([]uint32(nil), s.rec[:own]...)
	u.Seam = append([]uint32(nil), s.rec[own:]...)
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
