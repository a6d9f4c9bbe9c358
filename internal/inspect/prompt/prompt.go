// Package prompt tells prompt injection from ordinary text.
//
// A text is folded (package fold), cut into tokens and sentences, and read once:
// words carry concepts in some thirty languages, concepts advance named rules,
// words and concepts together index a table of learned weights. Every run of
// sentences up to a window's length is scored from sums, the best one counts,
// and its score becomes a confidence calibrated for where the text came from.
package prompt

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// evasiveRule names what stands for a text that grows, and decodes again and
// again, until folding it is refused. Nobody writes that by chance, and what it
// hides was not read: it is blocked for all but the most lenient thresholds.
const (
	evasiveRule       = "hidden-exhausted"
	evasiveConfidence = 0.95
)

// modelRule names the learned model's own share among the findings.
const modelRule = "model"

// Detector finds prompt injection. Make one with New; it is safe for
// concurrent use.
type Detector struct {
	lex     *lexicon
	rules   *ruleset
	weights *Weights
	scans   sync.Pool
}

// shared is the lexicon and the rules, built once: they cost some milliseconds.
var shared = sync.OnceValues(func() (*Detector, error) {
	lex, err := parseLexicon(lexiconText)
	if err != nil {
		return nil, err
	}
	rules, err := parseRules(rulesText, lex)
	if err != nil {
		return nil, err
	}
	return &Detector{lex: lex, rules: rules}, nil
})

// New returns the detector with the embedded rules and weights. It fails only
// if those were built wrongly.
func New() (*Detector, error) {
	w, err := UnmarshalWeights(weightsFile)
	if err != nil {
		return nil, err
	}
	return With(w)
}

// With returns a detector with other weights; nil weights serve to Extract.
// Weights made for fewer rules leave the later rules without a share.
func With(w *Weights) (*Detector, error) {
	base, err := shared()
	if err != nil {
		return nil, err
	}
	if w == nil {
		w = &Weights{}
	}
	for len(w.Rules) < len(base.rules.rules) {
		w.Rules = append(w.Rules, 0)
	}
	d := &Detector{lex: base.lex, rules: base.rules, weights: w}
	d.scans.New = func() any {
		s := &scan{lex: d.lex, rules: d.rules, weights: &w.Table, rw: w.Rules}
		for n := range s.length {
			s.length[n] = w.Bias + w.Length[lengthBucket(n)]
		}
		return s
	}
	return d, nil
}

// Kind is inspect.Prompt.
func (*Detector) Kind() inspect.Kind { return inspect.Prompt }

// Rules returns the named rules, in the order of the data file.
func (d *Detector) Rules() []Rule { return slices.Clone(d.rules.rules) }

// keepTokens is the most tokens a returned scan may hold on to.
const keepTokens = 1 << 16

func (d *Detector) release(s *scan) {
	if cap(s.toks) <= keepTokens {
		d.scans.Put(s)
	}
}

// Long texts are read in pieces, so that memory stays bounded and buffers stay
// in the cache. Pieces overlap by more than the longest window of ordinary
// words, and start at a line or sentence if the overlap has one.
const (
	pieceSize    = 24 << 10
	pieceOverlap = 4 << 10
)

// next returns where the piece after the one that began at start begins, in
// text[start:], or 0 if that was the last.
func next(text string, start int) int {
	end := start + pieceSize
	if end >= len(text) {
		return 0
	}
	from := end - pieceOverlap
	for _, mark := range [...]string{"\n", ". ", " "} {
		if i := strings.Index(text[from:end-pieceOverlap/2], mark); i >= 0 {
			return from + i + len(mark)
		}
	}
	for i := 1; i < utf8.UTFMax && text[from]&0xC0 == 0x80; i++ { // not inside a rune
		from++
	}
	return from
}

// score finds the piece with the best window; evasive is the first that package
// fold gave up on, or -1.
func (d *Detector) score(s *scan, f *fold.Text, text string) (top window, at, evasive int) {
	evasive = -1
	for start := 0; ; {
		f.Fold(piece(text, start))
		s.read(f)
		if w := s.best(d.weights); w.score > top.score || start == 0 {
			top, at = w, start
		}
		if f.Exhausted && evasive < 0 {
			evasive = start
		}
		if start = next(text, start); start == 0 {
			return top, at, evasive
		}
	}
}

// pieceTail is how much a piece may be shortened to end with a line or a
// sentence: half of one may read as what the whole is not. The next piece has it.
const pieceTail = 512

// piece is what is read at once of the text from start on.
func piece(text string, start int) string {
	end := start + pieceSize
	if end >= len(text) {
		return text[start:]
	}
	for _, mark := range [...]string{"\n", ". "} {
		if i := strings.LastIndex(text[end-pieceTail:end], mark); i >= 0 {
			return text[start : end-pieceTail+i+len(mark)]
		}
	}
	for i := 1; i < utf8.UTFMax && text[end]&0xC0 == 0x80; i++ { // what is no UTF-8 is cut anywhere
		end--
	}
	return text[start:end]
}

// Score returns the raw score of a text before calibration; the trainer
// calibrates with it.
func (d *Detector) Score(text string) float64 {
	f := fold.Get("")
	s := d.scans.Get().(*scan)
	top, _, _ := d.score(s, f, text)
	d.release(s)
	f.Release()
	return float64(top.score)
}

// Inspect implements inspect.Detector. A text below the flag line costs no
// allocation.
func (d *Detector) Inspect(text string, trust inspect.Trust) inspect.Verdict {
	f := fold.Get("")
	s := d.scans.Get().(*scan)
	top, at, evasive := d.score(s, f, text)
	v := inspect.Verdict{Kind: inspect.Prompt, Confidence: d.weights.confidence(top.score, trust)}
	if v.Confidence > blockAbove {
		v.Decision = inspect.Block
	}
	if v.Confidence > explainAbove && len(s.units) > 0 {
		if len(text) > pieceSize {
			f.Fold(piece(text, at))
			s.read(f)
		}
		d.explain(&v, s, f, top)
		for i := range v.Findings {
			v.Findings[i].Start += at
			v.Findings[i].End += at
		}
	}
	if evasive >= 0 {
		v.Confidence, v.Decision = max(v.Confidence, evasiveConfidence), inspect.Block
		end := evasive + len(piece(text, evasive))
		v.Findings = append(v.Findings, inspect.Finding{Rule: evasiveRule, Family: "obfuscation", Start: evasive, End: end, Share: 1})
		v.Families = append(v.Families, "obfuscation")
		slices.Sort(v.Families)
		v.Families = slices.Compact(v.Families)
	}
	d.release(s)
	f.Release()
	return v
}

const (
	blockAbove = 0.5
	// explainAbove is where a verdict begins to carry reasons: a tenant's
	// thresholds may be lower than ours.
	explainAbove = 0.2
)

// explain fills the findings of the best window: the rules that fired in it,
// by their weight, and the rest to the model.
func (d *Detector) explain(v *inspect.Verdict, s *scan, f *fold.Text, top window) {
	var total, rules float32
	u := s.units[top.first:top.last]
	n := 0
	var sum float32
	for i := range u {
		n += int(u[i].tokens)
		sum += u[i].sum
		if i > 0 {
			sum += u[i].seam
		}
	}
	learned := max(0, sum*d.weights.Scale*inverseRoot[min(n, len(inverseRoot)-1)])
	for _, x := range s.fired {
		if int(x.seg) >= top.first && int(x.end) < top.last {
			rules += max(0, d.weights.Rules[x.rule])
		}
	}
	total = max(learned+min(rules, RuleCap), 1e-6)
	scale := min(rules, RuleCap) / max(rules, 1e-6)
	for _, x := range s.fired {
		w := d.weights.Rules[x.rule]
		if int(x.seg) < top.first || int(x.end) >= top.last || w <= 0 {
			continue
		}
		r := &d.rules.rules[x.rule]
		start, end := f.Origin(int(s.toks[x.first].start), int(s.toks[x.last-1].end))
		v.Findings = append(v.Findings, inspect.Finding{Rule: r.ID, Family: r.Family, Start: start, End: end, Share: float64(w * scale / total)})
		v.Families = append(v.Families, r.Family)
	}
	first, last := s.segs[top.first].first, s.segs[top.last-1].last
	a, b := s.toks[first].start, s.toks[last-1].end
	for _, r := range f.Regions {
		if uint32(r.Start) < b && uint32(r.End) > a {
			start, end := f.Origin(r.Start, r.End)
			v.Findings = append(v.Findings, inspect.Finding{Rule: "hidden-" + r.Way.String(), Family: "obfuscation", Start: start, End: end})
			v.Families = append(v.Families, "obfuscation")
			if len(v.Findings) >= maxFindings {
				break
			}
		}
	}
	if learned > 0 {
		start, end := f.Origin(int(a), int(b))
		v.Findings = append(v.Findings, inspect.Finding{Rule: modelRule, Family: "", Start: start, End: end, Share: float64(learned / total)})
	}
	slices.SortStableFunc(v.Findings, func(x, y inspect.Finding) int {
		switch {
		case x.Share > y.Share:
			return -1
		case x.Share < y.Share:
			return 1
		}
		return 0
	})
	if len(v.Findings) > maxFindings {
		v.Findings = v.Findings[:maxFindings]
	}
	slices.Sort(v.Families)
	v.Families = slices.Compact(v.Families)
}

// maxFindings bounds the explanation of one verdict.
const maxFindings = 32

// Extract returns what a text is made of, sentence by sentence, for training.
func (d *Detector) Extract(text string) []Unit {
	f := fold.Get(text)
	s := d.scans.Get().(*scan)
	s.keep = true
	s.read(f)
	out := slices.Clone(s.out)
	s.keep = false
	d.release(s)
	f.Release()
	return out
}

// Fired lists the ids of the rules that fire on text, whatever their weight.
func (d *Detector) Fired(text string) []string {
	f := fold.Get(text)
	s := d.scans.Get().(*scan)
	s.read(f)
	var ids []string
	for _, x := range s.fired {
		ids = append(ids, d.rules.rules[x.rule].ID)
	}
	d.release(s)
	f.Release()
	slices.Sort(ids)
	return slices.Compact(ids)
}
