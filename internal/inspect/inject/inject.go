// Package inject finds injections of the SQL family (SQL, document-store
// operators, Cypher) and of script (XSS) in structured fields: names, numbers,
// addresses, query strings, strings of JSON. Text meant for a model is not its
// business, for there SQL is a topic.
//
// One pass over the bytes decides for almost every innocent text. What is left
// is decoded (URL, HTML, escapes, full-width and overlong forms, base64 and hex
// where a whole text is that, at most four layers) and read by a tokenizer that
// knows no string literals: since a breakout may begin at any quote, quotes are
// tokens like others, and rules look for structure — a quote and then a
// comparison, a comment that swallows the rest, a second statement, a union of
// queries. Script is sought at its anchors: "<", "=", ":", "(" and the like.
//
// Every rule is bounded in how far it looks, so time is linear in the text, and
// memory is bounded by the token window and maxDecoded. Nothing is rewritten.
package inject

import (
	"cmp"
	"slices"
	"sync"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

// Scanner reads texts for both kinds. It is safe for concurrent use; the zero
// value works.
type Scanner struct{}

// New returns a Scanner.
func New() *Scanner { return &Scanner{} }

// SQL is the detector for the SQL family alone.
func (*Scanner) SQL() inspect.Detector { return detector(inspect.SQL) }

// XSS is the detector for script injection alone.
func (*Scanner) XSS() inspect.Detector { return detector(inspect.XSS) }

// ScanBoth inspects text for both kinds in one pass. Findings point at the
// bytes of text itself, also where the attack was found in a decoded reading.
func (*Scanner) ScanBoth(text string) (sql, xss inspect.Verdict) {
	return scanText(text, true, true)
}

type detector inspect.Kind

func (d detector) Kind() inspect.Kind { return inspect.Kind(d) }

// Inspect ignores trust: a structured field has no business with either kind
// whoever sent it.
func (d detector) Inspect(text string, _ inspect.Trust) inspect.Verdict {
	if inspect.Kind(d) == inspect.SQL {
		v, _ := scanText(text, true, false)
		return v
	}
	_, v := scanText(text, false, true)
	return v
}

// Thresholds of the default decision.
const (
	blockAbove = 0.5
	flagAbove  = 0.3
	faint      = 0.15 // below this, reasons are not worth their allocations
)

// hit is the best evidence of one rule: its score and its place in the text.
type hit struct {
	score      float64
	start, end int
}

// scan is the state of one inspection, kept in a pool.
type scan struct {
	lex  lexer
	view *view
	toks [window]token
	n    int // tokens held
	base int // tokens shifted out: 0 means toks[0] is the text's first
	// semiTo is what follows the row of semicolons met last in these tokens.
	semiTo    int
	gen       uint32             // of these tokens; what was read of others is not true of them
	whole     [window]read       // operands by the token they begin at
	single    [window]read       // the same without sums
	closes    [window + 1]uint16 // see pair
	closesGen uint32
	passed    int // tokens looked at for want of closes
	anchors   [window]uint16
	hits      [ruleCount]hit
	dirty     bool
	views     [maxDepth + 4]view
	bufs      [maxDepth + 4][]byte
	offs      [maxDepth + 4][]int32
	x         xssState
	work      int // bytes and tokens looked at, for the test that it is linear
}

var pool = sync.Pool{New: func() any { return new(scan) }}

// keptBuffer is the largest decoding buffer that goes back to the pool.
const keptBuffer = 64 << 10

func (s *scan) release() {
	if s.dirty {
		s.hits = [ruleCount]hit{}
		s.dirty = false
	}
	for i := range s.bufs {
		if cap(s.bufs[i]) > keptBuffer {
			s.bufs[i], s.offs[i] = nil, nil
		}
		s.views[i] = view{}
	}
	s.lex, s.view = lexer{}, nil
	pool.Put(s)
}

// hit notes evidence for r over tokens a to b of the current view.
func (s *scan) hit(r rule, score float64, a, b int) {
	if score <= s.hits[r].score || score < 0.05 {
		return
	}
	b = min(max(a, b), s.n-1)
	s.note(r, score, int(s.toks[a].start), int(s.toks[b].end))
}

// note is hit with bytes of the current view.
func (s *scan) note(r rule, score float64, start, end int) {
	if score <= s.hits[r].score || score < 0.05 {
		return
	}
	start, end = s.view.origin(start, end)
	s.hits[r] = hit{score, start, end}
	s.dirty = true
}

// confidence joins the evidence of rules from to below: each rule's score is
// the chance that it speaks of an attack, taken as independent.
func (s *scan) confidence(from, below rule) float64 {
	if !s.dirty {
		return 0
	}
	doubt := 1.0
	for r := from; r < below; r++ {
		doubt *= 1 - s.hits[r].score
	}
	return min(1-doubt, 0.999)
}

// settled says whether more evidence would change nothing.
func (s *scan) settled(from, below rule) bool { return s.confidence(from, below) > 0.99 }

func (s *scan) verdict(kind inspect.Kind, from, below rule) inspect.Verdict {
	v := inspect.Verdict{Kind: kind}
	c := s.confidence(from, below)
	if c == 0 {
		return v
	}
	if v.Confidence = c; c < faint {
		return v
	}
	switch {
	case v.Confidence > blockAbove:
		v.Decision = inspect.Block
	case v.Confidence > flagAbove:
		v.Decision = inspect.Flag
	}
	total, n := 0.0, 0
	for r := from; r < below; r++ {
		if s.hits[r].score > 0 {
			total += s.hits[r].score
			n++
		}
	}
	v.Findings, v.Families = make([]inspect.Finding, 0, n), make([]string, 0, n)
	for r := from; r < below; r++ {
		h := s.hits[r]
		if h.score == 0 {
			continue
		}
		v.Findings = append(v.Findings, inspect.Finding{Rule: rules[r].id, Family: rules[r].family, Start: h.start, End: h.end, Share: h.score / total})
		v.Families = append(v.Families, rules[r].family)
	}
	slices.SortStableFunc(v.Findings, func(a, b inspect.Finding) int { return cmp.Compare(b.Share, a.Share) })
	slices.Sort(v.Families)
	v.Families = slices.Compact(v.Families)
	return v
}

func scanText(text string, doSQL, doXSS bool) (sql, xss inspect.Verdict) {
	sql, xss = inspect.Verdict{Kind: inspect.SQL}, inspect.Verdict{Kind: inspect.XSS}
	m := classify(text)
	coded := m&maskCoded != 0 || m&mSpace == 0 && len(text) >= minBlob
	doSQL = doSQL && (m&maskSQL != 0 || coded)
	doXSS = doXSS && (m&maskXSS != 0 || coded)
	if !doSQL && !doXSS {
		return sql, xss
	}
	s := pool.Get().(*scan)
	s.work = len(text)
	s.readings(text, m, doSQL, doXSS)
	if doSQL {
		sql = s.verdict(inspect.SQL, rNone+1, rTag)
	}
	if doXSS {
		xss = s.verdict(inspect.XSS, rTag, ruleCount)
	}
	s.release()
	return sql, xss
}
