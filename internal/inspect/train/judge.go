package main

import (
	"fmt"
	"io"
	"math"
	"sort"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// judged is a text with the score of a model that saw nothing of its source.
type judged struct {
	*sample
	z float64
	p float64
}

func trust(channel string) inspect.Trust {
	switch channel {
	case "user":
		return inspect.User
	case "tool", "model":
		return inspect.Tool
	}
	return inspect.Document
}

// crossValidate scores every corpus text by a model trained on all other
// sources and the generated texts. It also returns the model that ships, which
// is the one that holds out validateOnly.
func crossValidate(samples []sample, d *prompt.Detector, seed uint64) (out []judged, ships *linear) {
	o := defaults
	o.seed = seed
	var names []string
	seen := map[string]bool{}
	for i := range samples {
		if g := group(samples[i].Source); !seen[g] && g != "generated" {
			seen[g] = true
			names = append(names, g)
		}
	}
	sort.Strings(names)
	for _, g := range names {
		m := fit(samples, func(s *sample) bool { return group(s.Source) != validateOnly && group(s.Source) != g }, o, len(d.Rules()))
		if g == validateOnly {
			ships = m
		}
		for i := range samples {
			if s := &samples[i]; group(s.Source) == g {
				z, _, _ := m.best(s)
				out = append(out, judged{sample: s, z: float64(z)})
			}
		}
	}
	a, b := calibrate(out)
	for i := range out {
		t := trust(out[i].Channel)
		out[i].p = 1 / (1 + math.Exp(-(float64(a[t])*out[i].z + float64(b[t]))))
	}
	return out, ships
}

// calibrate fits a line per trust level on scores of unseen sources, every
// source and label weighing the same.
func calibrate(js []judged) (a, b [3]float32) {
	var z, w [3][]float64
	var y [3][]int
	count := map[string]float64{}
	key := func(j *judged) string { return fmt.Sprint(trust(j.Channel), j.Source, j.Label) }
	for i := range js {
		count[key(&js[i])]++
	}
	for i := range js {
		j := &js[i]
		t := trust(j.Channel)
		z[t] = append(z[t], j.z)
		y[t] = append(y[t], j.Label)
		w[t] = append(w[t], math.Min(1, 300/count[key(j)]))
	}
	for t := range z {
		pos := 0.0
		for i, l := range y[t] {
			pos += float64(l) * w[t][i]
		}
		// The corpora hold few attacks by weight; a confidence means what it says
		// where one text in four is an attack.
		all := 0.0
		for _, v := range w[t] {
			all += v
		}
		if boost := (all - pos) / 3 / max(pos, 1); boost > 1 {
			for i, l := range y[t] {
				if l == 1 {
					w[t][i] *= boost
				}
			}
		}
		if pos < 20 { // too few attacks of this level to fit: see below
			a[t], b[t] = 0, 0
			continue
		}
		x, c := platt(z[t], y[t], w[t])
		a[t], b[t] = float32(x), float32(c)
	}
	// Documents are judged like tool output: the corpora have no attacks apart.
	if a[inspect.Document] == 0 {
		a[inspect.Document], b[inspect.Document] = a[inspect.Tool], b[inspect.Tool]
	}
	return a, b
}

// auc is the chance that an attack scores above a benign text.
func auc(pos, neg []float64) float64 {
	if len(pos) == 0 || len(neg) == 0 {
		return math.NaN()
	}
	sort.Float64s(neg)
	var u float64
	for _, p := range pos {
		lo := sort.SearchFloat64s(neg, p)
		hi := sort.Search(len(neg), func(i int) bool { return neg[i] > p })
		u += float64(lo) + float64(hi-lo)/2
	}
	return u / float64(len(pos)) / float64(len(neg))
}

func quantile(xs []float64, q float64) float64 {
	s := append([]float64(nil), xs...)
	sort.Float64s(s)
	if len(s) == 0 {
		return math.Inf(1)
	}
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func report(w io.Writer, js []judged) {
	type row struct{ tp, fn, fp, tn int }
	rows := map[string]*row{}
	var pos, neg []float64
	for i := range js {
		j := &js[i]
		k := j.Source
		if strings.HasSuffix(k, corpus.Suffix) {
			k = "(disguised)"
		}
		if rows[k] == nil {
			rows[k] = &row{}
		}
		r := rows[k]
		hit := j.p > 0.5
		switch {
		case j.Label == 1 && hit:
			r.tp++
		case j.Label == 1:
			r.fn++
		case hit:
			r.fp++
		default:
			r.tn++
		}
		if j.Label == 1 {
			pos = append(pos, j.p)
		} else if j.Channel != "system" {
			neg = append(neg, j.p)
		}
	}
	line := quantile(neg, 0.99)
	at1 := map[string][2]int{}
	for i := range js {
		if js[i].Label == 1 {
			k := js[i].Source
			if strings.HasSuffix(k, corpus.Suffix) {
				k = "(disguised)"
			}
			v := at1[k]
			v[1]++
			if js[i].p > line {
				v[0]++
			}
			at1[k] = v
		}
	}
	var names []string
	for k := range rows {
		names = append(names, k)
	}
	sort.Strings(names)
	var mr, mf, m1 float64
	var nr, nf int
	for _, k := range names {
		r := rows[k]
		rec, fpr := "    -", "    -"
		if n := r.tp + r.fn; n > 4 {
			v := 100 * float64(r.tp) / float64(n)
			rec = fmt.Sprintf("%5.1f", v)
			mr += v
			m1 += 100 * float64(at1[k][0]) / float64(n)
			nr++
			rec += fmt.Sprintf(" (%5.1f@1%%)", 100*float64(at1[k][0])/float64(n))
		}
		if n := r.fp + r.tn; n > 0 {
			v := 100 * float64(r.fp) / float64(n)
			fpr = fmt.Sprintf("%5.2f", v)
			mf += v
			nf++
		}
		fmt.Fprintf(w, "%-26s recall %-16s fpr %s  n %d\n", k, rec, fpr, r.tp+r.fn+r.fp+r.tn)
	}
	fmt.Fprintf(w, "macro recall %.1f fpr %.2f BA %.1f AUC %.4f R@1%% %.1f\n", mr/float64(nr), mf/float64(nf), (mr/float64(nr)+100-mf/float64(nf))/2, auc(pos, neg), m1/float64(nr))
}
