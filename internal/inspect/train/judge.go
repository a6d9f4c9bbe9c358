package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// judged is a text with the score of a model that saw nothing of its source.
type judged struct {
	*sample
	z float64
	p float64
}

// result is what a cross-validation found: every corpus text and every text
// written by hand judged by a model and a curve that saw nothing of its source or
// author, and the model and the curves that ship, by which the over-defence set
// is judged.
type result struct {
	folds  []judged
	apart  []judged // written by hand
	ships  *linear
	curves [3]prompt.Curve
	pleas  []judged
}

// crossValidate scores every corpus text by a model trained on all other
// sources and the generated texts. The model that ships is the one that holds
// out validateOnly.
func crossValidate(samples []sample, d *prompt.Detector, o options) (*result, error) {
	var out []judged
	var ships *linear
	var names []string
	seen := map[string]bool{}
	for i := range samples {
		if g := group(samples[i].Source); !seen[g] && g != "generated" {
			seen[g] = true
			names = append(names, g)
		}
	}
	sort.Strings(names)
	models := make([]*linear, len(names))
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for k, g := range names {
		wait.Go(func() {
			slots <- struct{}{}
			models[k] = fit(samples, func(s *sample) bool { return group(s.Source) != validateOnly && group(s.Source) != g }, o, len(d.Rules()))
			<-slots
		})
	}
	wait.Wait()
	var apart []judged
	for k, g := range names {
		m := models[k]
		if g == validateOnly {
			ships = m
		}
		for i := range samples {
			s := &samples[i]
			if group(s.Source) != g {
				continue
			}
			z, _, _ := m.best(s)
			j := judged{sample: s, z: float64(z)}
			if !strings.HasPrefix(g, corpus.WrittenPrefix) {
				out = append(out, j)
			} else if plainSource(s.Source) == s.Source {
				apart = append(apart, j)
			}
		}
	}
	// The curve that turns a score into a confidence is made without the group
	// it is judged on, like the weights.
	pool := slices.Concat(out, apart)
	for _, g := range names {
		curves := calibrate(pool, g)
		for _, js := range [][]judged{out, apart} {
			for i := range js {
				if j := &js[i]; group(j.Source) == g {
					j.p = curves[trust(j.sample)].At(float32(j.z))
				}
			}
		}
	}
	r := &result{folds: out, apart: apart, ships: ships, curves: calibrate(pool, "")}
	var err error
	r.pleas, err = plead(d, ships, r.curves)
	return r, err
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
