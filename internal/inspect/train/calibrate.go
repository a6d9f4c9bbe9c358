package main

import (
	"fmt"
	"math"
	"sort"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// documents are the sources of texts that people wrote for people: pages,
// books, manuals. What else a tool returned is records, listings, code.
var documents = map[string]bool{"piarena": true, "prompt_book": true, "ui_strings": true, "payloads_all_the_things": true, "software_docs": true, "gpt_system_prompts": true}

// trust is the level a gateway would give a text of that origin.
func trust(s *sample) inspect.Trust {
	switch {
	case s.Channel == "user":
		return inspect.User
	case s.Channel == "document" || documents[plainSource(s.Source)]:
		return inspect.Document
	}
	return inspect.Tool
}

// prior is the share of attacks at which a confidence means what it says.
const prior = 0.155

// points are scores with their weights, ready to be calibrated.
type points struct {
	z, w []float64
	y    []int
}

func (p *points) add(z float64, y int, w float64) {
	p.z, p.y, p.w = append(p.z, z), append(p.y, y), append(p.w, w)
}

// attacks is the weight of the attacks, and their number.
func (p *points) attacks() (weight float64, n int) {
	for i, l := range p.y {
		if l == 1 {
			weight += p.w[i]
			n++
		}
	}
	return weight, n
}

// balance gives the attacks the share prior.
func (p *points) balance() {
	var all float64
	for _, w := range p.w {
		all += w
	}
	pos, n := p.attacks()
	if n == 0 {
		return
	}
	boost := (all - pos) * prior / (1 - prior) / pos
	for i, l := range p.y {
		if l == 1 {
			p.w[i] *= boost
		}
	}
}

// weigh returns a weight per text: every source and label counts the same, but
// a small one not more than its texts.
func weigh(js []judged) []float64 {
	count := map[string]float64{}
	key := func(j *judged) string { return fmt.Sprint(trust(j.sample), j.Source, j.Label) }
	for i := range js {
		count[key(&js[i])]++
	}
	w := make([]float64, len(js))
	for i := range js {
		w[i] = math.Min(1, 300/count[key(&js[i])])
	}
	return w
}

// fewAttacks is below which a level has no curve of its own.
const fewAttacks = 20

// calibrate makes a curve per trust level from scores of unseen sources, those
// of the group without and of validateOnly left out. System prompts are no texts
// that a gateway meets in a document: they score as persona attacks do, and
// would raise the line for every page. A level with too few attacks takes the
// curve of all that no user wrote.
func calibrate(js []judged, without string) (curves [3]prompt.Curve) {
	w := weigh(js)
	var by [3]points
	var rest points
	for i := range js {
		j := &js[i]
		if g := group(j.Source); g == without || g == validateOnly || j.Channel == "system" {
			continue
		}
		t := trust(j.sample)
		by[t].add(j.z, j.Label, w[i])
		if t != inspect.User {
			rest.add(j.z, j.Label, w[i])
		}
	}
	for t := range by {
		p := &by[t]
		if _, n := p.attacks(); n < fewAttacks {
			p = &rest
		}
		p.balance()
		curves[t] = curve(p)
	}
	return curves
}

// line is the share of the straight fit in a curve. It keeps the curve rising
// where the points would make it flat, and tames bins with few texts.
const line = 0.2

// curve fits the logarithm of the odds: a straight line first (Platt), then the
// rates of bins of equal weight in its uncertain part, made to rise (pool
// adjacent violators).
func curve(p *points) prompt.Curve {
	a, b := platt(p.z, p.y, p.w)
	at := func(z float64) float64 { return 1 / (1 + math.Exp(-(a*z + b))) }
	order := make([]int, 0, len(p.z))
	var total float64
	for i, z := range p.z {
		if q := at(z); q > 0.004 && q < 0.996 {
			order = append(order, i)
			total += p.w[i]
		}
	}
	sort.SliceStable(order, func(x, y int) bool { return p.z[order[x]] < p.z[order[y]] })
	type bin struct{ z, y, w float64 }
	bins := make([]bin, prompt.Knots)
	var done float64
	for _, i := range order {
		k := min(prompt.Knots-1, int(done/total*prompt.Knots))
		done += p.w[i]
		bins[k].z += p.w[i] * p.z[i]
		bins[k].y += p.w[i] * float64(p.y[i])
		bins[k].w += p.w[i]
	}
	type block struct {
		y, w float64
		n    int
	}
	var blocks []block
	for k := range bins {
		g := &bins[k]
		if g.w == 0 {
			return prompt.Line(float32(a), float32(b))
		}
		g.z /= g.w
		blocks = append(blocks, block{g.y + 0.05*g.w*at(g.z), 1.05 * g.w, 1})
		for n := len(blocks); n > 1 && blocks[n-2].y/blocks[n-2].w >= blocks[n-1].y/blocks[n-1].w; n-- {
			blocks[n-2].y += blocks[n-1].y
			blocks[n-2].w += blocks[n-1].w
			blocks[n-2].n += blocks[n-1].n
			blocks = blocks[:n-1]
		}
	}
	c := prompt.Curve{Slope: float32(a)}
	k := 0
	for _, g := range blocks {
		q := min(0.999, max(0.001, g.y/g.w))
		for range g.n {
			z := bins[k].z
			c.X[k] = float32(z)
			c.Y[k] = float32((1-line)*math.Log(q/(1-q)) + line*(a*z+b))
			if k > 0 && c.X[k] <= c.X[k-1] { // one score, many texts
				return prompt.Line(float32(a), float32(b))
			}
			k++
		}
	}
	return c
}

// platt fits confidence = sigmoid(a*z+b) by Newton steps, with a prior that
// keeps a positive.
func platt(z []float64, label []int, weight []float64) (a, b float64) {
	a, b = 1, 0
	for range 50 {
		var ga, gb, haa, hab, hbb float64
		for i, x := range z {
			p := 1 / (1 + math.Exp(-(a*x + b)))
			d := (p - float64(label[i])) * weight[i]
			h := p * (1 - p) * weight[i]
			ga += d * x
			gb += d
			haa += h * x * x
			hab += h * x
			hbb += h
		}
		ga += 0.01 * (a - 1)
		haa += 0.01
		hbb += 1e-6
		det := haa*hbb - hab*hab
		if det < 1e-12 {
			break
		}
		da, db := (hbb*ga-hab*gb)/det, (haa*gb-hab*ga)/det
		a, b = a-da, b-db
		if math.Abs(da)+math.Abs(db) < 1e-9 {
			break
		}
	}
	return max(a, 0.05), b
}
