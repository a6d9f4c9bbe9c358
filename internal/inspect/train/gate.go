package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"sort"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// slack is how far a figure may fall before check fails: two standard errors of
// a share over n texts, at least a point. Training has its own noise: an
// addition that helps most sources moves each by a little.
func slack(n int, percent float64) float64 {
	p := math.Min(0.99, math.Max(0.01, percent/100))
	return math.Max(1, 200*math.Sqrt(p*(1-p)/float64(max(1, n)))) + 1
}

func readBaseline() (b Baseline, err error) {
	raw, err := os.ReadFile(baselinePath)
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return b, fmt.Errorf("read %s: %w", baselinePath, err)
	}
	return b, nil
}

// checkModels is how many models check trains for the mean of what ships: one
// moves the figures by less than the slack, at a third of the time.
const checkModels = 1

// check compares with the baseline and returns an error naming what worsened.
func check(r *result) error {
	old, err := readBaseline()
	if err != nil {
		return err
	}
	now := evaluate(r)
	d, err := prompt.With(r.ships.quantise(r.curves))
	if err != nil {
		return err
	}
	texts := shortTexts(r.folds)
	now.Texts = rate(texts, func(s string) { d.Inspect(s, 0) })
	now.Regex = rate(texts, func(s string) { regexHit(s) })
	if bad := compare(old, now); len(bad) > 0 {
		return errors.New("detection worsened:\n  " + strings.Join(bad, "\n  "))
	}
	fmt.Printf("no figure worsened: macro recall %.1f, false positives %.2f, AUC %.4f\n", now.Macro.Recall, now.Macro.FPR, now.Macro.AUC)
	return nil
}

// slowest is how much of its lead in throughput the detector may lose.
const slowest = 0.6

// compare lists what is worse now by more than noise.
func compare(old, now Baseline) (bad []string) {
	one := func(name string, o, n Figures) {
		if o.Attacks > 0 && n.Recall < o.Recall-slack(o.Attacks, o.Recall) {
			bad = append(bad, fmt.Sprintf("%s: recall %.1f, was %.1f", name, n.Recall, o.Recall))
		}
		if o.Benign > 0 && n.FPR > o.FPR+slack(o.Benign, o.FPR) {
			bad = append(bad, fmt.Sprintf("%s: false positives %.2f, were %.2f", name, n.FPR, o.FPR))
		}
		if o.Attacks > 0 && n.AUC < o.AUC-0.02-1/float64(o.Attacks) {
			bad = append(bad, fmt.Sprintf("%s: AUC %.3f, was %.3f", name, n.AUC, o.AUC))
		}
	}
	for k, o := range old.Sources {
		n, ok := now.Sources[k]
		if !ok {
			bad = append(bad, k+": missing")
			continue
		}
		one(k, o, n)
	}
	for k, o := range old.Families {
		one("family "+k, o, now.Families[k])
	}
	for k, o := range old.Encodings {
		one("encoding "+k, o, now.Encodings[k])
	}
	for k, o := range old.Pleas {
		n, ok := now.Pleas[k]
		if !ok {
			bad = append(bad, "over-defence "+k+": missing")
			continue
		}
		one("over-defence "+k, o, n)
	}
	for k, o := range old.Written {
		n, ok := now.Written[k]
		if !ok {
			bad = append(bad, "written by hand, "+k+": missing")
			continue
		}
		one("written by hand, "+k, o, n)
	}
	for k := range old.Languages {
		if _, ok := now.Languages[k]; !ok {
			bad = append(bad, "language "+k+": missing")
		}
	}
	if now.OtherRecall < old.OtherRecall-2 || now.OtherFPR > old.OtherFPR+0.7 {
		bad = append(bad, fmt.Sprintf("languages other than English: recall %.1f, false positives %.2f; were %.1f, %.2f", now.OtherRecall, now.OtherFPR, old.OtherRecall, old.OtherFPR))
	}
	for k, o := range old.Reliability {
		if n := now.Reliability[k]; n.ECE > o.ECE+2 {
			bad = append(bad, fmt.Sprintf("calibration of %s: error %.1f, was %.1f", k, n.ECE, o.ECE))
		}
	}
	// The regexes are the clock: how fast the machine is does not count, and on
	// a busy one neither figure is exact.
	if o, n := old.Texts/old.Regex, now.Texts/now.Regex; now.Regex > 0 && n < o*slowest {
		bad = append(bad, fmt.Sprintf("throughput: %.1f times that of the regexes, was %.1f", n, o))
	}
	if m, o := now.Macro, old.Macro; m.Recall < o.Recall-1 || m.FPR > o.FPR+0.5 || m.AUC < o.AUC-0.01 {
		bad = append(bad, fmt.Sprintf("macro: recall %.1f, false positives %.2f, AUC %.4f; were %.1f, %.2f, %.4f", m.Recall, m.FPR, m.AUC, o.Recall, o.FPR, o.AUC))
	}
	sort.Strings(bad)
	return bad
}
