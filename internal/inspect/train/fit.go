package main

import (
	"math"
	"math/rand/v2"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

const table = 1 << 19

// linear is the model in training.
type linear struct {
	w, g   []float32 // table weights and squared gradients
	rw, rg []float32
	lw, lg [prompt.LengthBuckets]float32
	b, bg  float32
}

type options struct {
	epochs     int
	rate, l2   float32
	rateR, l2R float32
	seed       uint64
	hard       int // rounds of mining
	models     int
}

var defaults = options{epochs: 5, rate: 0.35, l2: 4e-4, rateR: 0.05, l2R: 1e-3, seed: 7, hard: 2, models: 3}

func newLinear(rules int) *linear {
	return &linear{w: make([]float32, table), g: make([]float32, table), rw: make([]float32, rules), rg: make([]float32, rules)}
}

func root(n int) float32 { return float32(1 / math.Sqrt(float64(n)+prompt.Smooth)) }

func bucket(n int) int {
	b := 0
	for n > 1 && b < prompt.LengthBuckets-1 {
		n >>= 1
		b++
	}
	return b
}

func (m *linear) score(x *window) (z, rules float32) {
	var s float32
	for _, f := range x.feats {
		s += m.w[f]
	}
	for _, r := range x.rules {
		rules += m.rw[r]
	}
	return m.b + m.lw[bucket(x.tokens)] + s*root(x.tokens) + max(-prompt.RuleCap, min(prompt.RuleCap, rules)), rules
}

// train runs AdaGrad over the windows; the order depends on the seed only.
func (m *linear) train(ws []window, o options) {
	r := rand.New(rand.NewPCG(o.seed, 99))
	order := r.Perm(len(ws))
	for e := range o.epochs {
		rate := o.rate / float32(math.Sqrt(1+float64(e)))
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, k := range order {
			x := &ws[k]
			z, rules := m.score(x)
			p := float32(1 / (1 + math.Exp(-float64(z))))
			d := (p - x.label) * x.weight
			if d < 1e-4 && d > -1e-4 {
				continue
			}
			v := root(x.tokens)
			for _, f := range x.feats {
				g := d*v + o.l2*m.w[f]
				m.g[f] += g * g
				m.w[f] -= rate * g / float32(math.Sqrt(float64(m.g[f])+1e-6)+0.05)
			}
			if rules > -prompt.RuleCap && rules < prompt.RuleCap {
				for _, f := range x.rules {
					g := d + o.l2R*m.rw[f]
					m.rg[f] += g * g
					m.rw[f] -= o.rateR * g / float32(math.Sqrt(float64(m.rg[f])+1e-6)+0.1)
				}
			}
			b := bucket(x.tokens)
			m.lg[b] += d * d
			m.lw[b] -= 0.02 * d / float32(math.Sqrt(float64(m.lg[b])+1e-6)+0.1)
			m.bg += d * d
			m.b -= 0.05 * d / float32(math.Sqrt(float64(m.bg)+1e-6)+0.1)
		}
	}
}

// best scores a text as the detector does.
func (m *linear) best(s *sample) (z float32, first, last int) {
	n := len(s.units)
	sum, seam := make([]float32, n), make([]float32, n)
	rule, rseam := make([]float32, n), make([]float32, n)
	for k := range s.units {
		u := &s.units[k]
		for _, f := range u.Feats {
			sum[k] += m.w[f]
		}
		for _, f := range u.Seam {
			seam[k] += m.w[f]
		}
		for _, f := range u.Rules {
			rule[k] += m.rw[f]
		}
		for _, f := range u.SeamRules {
			rseam[k] += m.rw[f]
		}
	}
	z = float32(math.Inf(-1))
	for i := range n {
		var a, b float32
		t := 0
		for j := i; j < n && j < i+prompt.MaxUnits; j++ {
			if repeats(s, sum, rule, i, j) {
				continue
			}
			if t += s.units[j].Tokens; t > prompt.MaxWindow && j > i {
				break
			}
			a += sum[j]
			b += rule[j]
			if j > i {
				a += seam[j]
				b += rseam[j]
			}
			v := m.b + m.lw[bucket(t)] + a*root(t) + max(-prompt.RuleCap, min(prompt.RuleCap, b))
			if v > z {
				z, first, last = v, i, j+1
			}
		}
	}
	return z, first, last
}

// repeats tells whether unit j says what one from i on said.
func repeats(s *sample, sum, rule []float32, i, j int) bool {
	for k := i; k < j; k++ {
		if s.units[k].Tokens == s.units[j].Tokens && sum[k] == sum[j] && rule[k] == rule[j] {
			return true
		}
	}
	return false
}

// The weight of a text falls with how many of its kind there are, but not below
// leastWeight; that of a generated innocent request, whose kind has the most and
// the most various, not below innocentWeight. What is written by hand weighs the
// same whatever its number; of its attacks many are sly, and at the weight of the
// rest would shout too loud. Those after a prompt say what they want.
const (
	leastWeight    = 0.3
	innocentWeight = 1.0
	writtenWeight  = 1.0
	slyWeight      = 0.5
)

// fit is the mean of as many models as o.models, which differ in their seeds.
func fit(samples []sample, use func(*sample) bool, o options, rules int) *linear {
	var mean average
	for range o.models {
		mean.fit(samples, use, o, rules)
		o.seed++
	}
	return mean.model()
}

// fit trains on the samples chosen by use, in rounds: after the first, the
// windows the model itself would pick join the set. Of a sly attack that would be
// any of its sentences, so those written by hand stay whole.
func (mean *average) fit(samples []sample, use func(*sample) bool, o options, rules int) {
	r := rand.New(rand.NewPCG(o.seed, 1))
	wanted := use
	use = func(s *sample) bool { return !s.mute && wanted(s) }
	count := map[string]float64{}
	for i := range samples {
		if s := &samples[i]; use(s) {
			count[weightKey(s)]++
		}
	}
	weight := func(s *sample) float32 {
		if strings.HasPrefix(s.Source, corpus.WrittenPrefix) {
			if s.Label == 1 && s.Family != "system_prompt_extraction" {
				return slyWeight
			}
			return writtenWeight
		}
		least := leastWeight
		if s.Label == 0 && s.Source == "generated" && s.Channel == "user" {
			least = innocentWeight
		}
		return float32(math.Min(3, math.Max(least, math.Sqrt(800/count[weightKey(s)]))))
	}
	var ws []window
	for i := range samples {
		if s := &samples[i]; use(s) {
			ws = append(ws, windows(r, s, weight(s))...)
		}
	}
	m := newLinear(rules)
	m.train(ws, o)
	if o.hard == 0 {
		mean.add(m)
	}
	for range o.hard {
		for i := range samples {
			s := &samples[i]
			if !use(s) || len(s.units) < 2 {
				continue
			}
			z, a, b := m.best(s)
			if s.Label == 0 && z > -2.5 || s.Label == 1 && z < 3 && s.first == 0 && s.last == len(s.units) && !strings.HasPrefix(s.Source, corpus.WrittenPrefix) {
				ws = append(ws, cut(s, a, b, weight(s)))
			}
		}
		again := o
		again.epochs = (o.epochs + 1) / 2
		m.train(ws, again)
		mean.add(m)
	}
}

// average is the mean of models as training passes by: where the last step
// ended is chance, and a mean of linear models costs no more than one.
type average struct {
	sum *linear
	n   float32
}

func (a *average) add(m *linear) {
	if a.sum == nil {
		a.sum = newLinear(len(m.rw))
	}
	for i, v := range m.w {
		a.sum.w[i] += v
	}
	for i, v := range m.rw {
		a.sum.rw[i] += v
	}
	for i, v := range m.lw {
		a.sum.lw[i] += v
	}
	a.sum.b += m.b
	a.n++
}

func (a *average) model() *linear {
	m := a.sum
	for i := range m.w {
		m.w[i] /= a.n
	}
	for i := range m.rw {
		m.rw[i] /= a.n
	}
	for i := range m.lw {
		m.lw[i] /= a.n
	}
	m.b /= a.n
	return m
}

func weightKey(s *sample) string {
	k := s.Source
	if strings.HasSuffix(k, corpus.Suffix) {
		k = corpus.Suffix
	}
	if k == "generated" {
		k += s.Channel + s.Lang + s.Family
	}
	if s.Label == 1 {
		k += "+"
	}
	return k
}

// quantise writes the weights as the detector reads them.
func (m *linear) quantise(curves [3]prompt.Curve) *prompt.Weights {
	w := &prompt.Weights{Bias: m.b, Rules: m.rw, Length: m.lw, Curves: curves}
	var top float32
	for _, v := range m.w {
		top = max(top, v, -v)
	}
	// A few extreme weights must not cost the rest their precision.
	top = min(top, 2.5)
	w.Scale = top / 127
	for i, v := range m.w {
		q := math.Round(float64(v / w.Scale))
		w.Table[i] = int8(max(-127, min(127, q)))
	}
	return w
}
