package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

const (
	docPath      = "docs/DETECTION.md"
	baselinePath = "internal/inspect/train/baseline.json"
)

// Figures of a set of texts, in percent but for AUC and N.
type Figures struct {
	Attacks   int     `json:"attacks"`
	Benign    int     `json:"benign"`
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
	FPR       float64 `json:"fpr"`
	AUC       float64 `json:"auc"`
	At1       float64 `json:"recall_at_1_fpr"`
	// the 24 regexes on the same texts
	RegexRecall float64 `json:"regex_recall"`
	RegexFPR    float64 `json:"regex_fpr"`
}

// Baseline is what a later run is compared with.
type Baseline struct {
	Macro    Figures            `json:"macro"`
	Sources  map[string]Figures `json:"sources"`
	Families map[string]Figures `json:"families"`
	Texts    float64            `json:"texts_per_cpu_second"`
	Regex    float64            `json:"regex_texts_per_cpu_second"`
}

// figures judges js; line is the score above which one benign text in a
// hundred of the whole pool lies, others the scores of benign texts to rank
// attacks against where a set has none of its own.
func figures(js []*judged, line float64, others []float64) Figures {
	var f Figures
	var tp, fp, rtp, rfp, at1 float64
	var pos, neg []float64
	for _, j := range js {
		hit, old := j.p > 0.5, regexHit(j.Text)
		if j.Label == 1 {
			f.Attacks++
			pos = append(pos, j.p)
			if hit {
				tp++
			}
			if old {
				rtp++
			}
			if j.p > line {
				at1++
			}
			continue
		}
		f.Benign++
		neg = append(neg, j.p)
		if hit {
			fp++
		}
		if old {
			rfp++
		}
	}
	pct := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return math.Round(1000*a/b) / 10
	}
	p, n := float64(f.Attacks), float64(f.Benign)
	f.Precision, f.Recall, f.At1, f.RegexRecall = pct(tp, tp+fp), pct(tp, p), pct(at1, p), pct(rtp, p)
	if n > 0 {
		f.FPR, f.RegexFPR = math.Round(10000*fp/n)/100, math.Round(10000*rfp/n)/100
	}
	f.F1 = pct(2*tp, 2*tp+fp+p-tp)
	if len(neg) == 0 {
		neg = others
	}
	if len(pos) > 0 {
		f.AUC = math.Round(10000*auc(pos, append([]float64(nil), neg...))) / 10000
	}
	return f
}

// name of the row a text belongs to.
func rowOf(j *judged) string {
	if strings.HasSuffix(j.Source, corpus.Suffix) {
		return "disguised"
	}
	return j.Source
}

func evaluate(js []judged) Baseline {
	b := Baseline{Sources: map[string]Figures{}, Families: map[string]Figures{}}
	sources, fams := map[string][]*judged{}, map[string][]*judged{}
	var neg, pos []float64
	for i := range js {
		j := &js[i]
		if j.Label == 0 {
			if j.Channel != "system" { // no gateway inspects its own system prompts
				neg = append(neg, j.p)
			}
		} else {
			pos = append(pos, j.p)
			fams[j.Family] = append(fams[j.Family], j)
		}
		sources[rowOf(j)] = append(sources[rowOf(j)], j)
	}
	line := quantile(neg, 0.99)
	var recalls, fprs, at1, rr, rf float64
	var nr, nf float64
	for k, v := range sources {
		f := figures(v, line, neg)
		b.Sources[k] = f
		if f.Attacks >= 5 {
			recalls, at1, rr, nr = recalls+f.Recall, at1+f.At1, rr+f.RegexRecall, nr+1
		}
		if f.Benign >= 20 {
			fprs, rf, nf = fprs+f.FPR, rf+f.RegexFPR, nf+1
		}
	}
	for k, v := range fams {
		b.Families[k] = figures(v, line, neg)
	}
	round := func(v float64) float64 { return math.Round(10*v) / 10 }
	b.Macro = Figures{Attacks: len(pos), Benign: len(neg), Recall: round(recalls / nr), FPR: math.Round(100*fprs/nf) / 100, At1: round(at1 / nr),
		RegexRecall: round(rr / nr), RegexFPR: math.Round(100*rf/nf) / 100, AUC: math.Round(10000*auc(pos, append([]float64(nil), neg...))) / 10000}
	return b
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rate is how many of the texts f reads in one second of one core, whatever
// else the machine does meanwhile.
func rate(texts []string, f func(string)) float64 {
	start := cpu()
	n := 0
	for cpu()-start < time.Second {
		for range 64 {
			f(texts[n%len(texts)])
			n++
		}
	}
	return math.Round(float64(n) / (cpu() - start).Seconds())
}

func shortTexts(js []judged) []string {
	var out []string
	for i := range js {
		if len(js[i].Text) <= 400 {
			out = append(out, js[i].Text)
		}
	}
	sort.Strings(out)
	// a fixed shuffle: neighbours in the alphabet are too alike
	for i := range out {
		k := (i * 7919) % len(out)
		out[i], out[k] = out[k], out[i]
	}
	return out
}

func write(js []judged) error {
	b := evaluate(js)
	d, err := prompt.New()
	if err != nil {
		return err
	}
	texts := shortTexts(js)
	b.Texts = rate(texts, func(s string) { d.Inspect(s, 0) })
	b.Regex = rate(texts, func(s string) { regexHit(s) })
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(baselinePath, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return section(docPath, "prompt", document(b, d))
}

// section replaces what stands between the marks of name in the file.
func section(path, name, text string) error {
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->\n"
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte("# Detection: published error rates\n\n" + begin + end + "\n<!-- inject:begin -->\n<!-- inject:end -->\n")
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		return err
	}
	s := string(old)
	i, j := strings.Index(s, begin), strings.Index(s, end)
	if i < 0 || j < i {
		s += "\n" + begin + end
		i, j = strings.Index(s, begin), strings.Index(s, end)
	}
	return os.WriteFile(path, []byte(s[:i+len(begin)]+text+s[j:]), 0o644)
}

func document(b Baseline, d *prompt.Detector) string {
	var w strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&w, format, a...) }
	p("## Prompt injection\n\n")
	p("Written by `make eval`. Every figure comes from texts of a source that the judging model never saw: for each source a model was trained on all the others and on the generated texts, with the same settings as the weights that ship. `%s` never trains. One threshold, 0.5, everywhere; confidences are calibrated on the pooled unseen scores. Percent, but for AUC.\n\n", validateOnly)
	p("Macro over sources: recall **%.1f**, false positives **%.2f**, balanced accuracy **%.1f**, pooled AUC **%.4f**, recall at 1 %% pooled false positives **%.1f** (the pool leaves out `gpt_system_prompts`). The 24 regexes on the same texts: recall %.1f, false positives %.2f, balanced accuracy %.1f.\n\n",
		b.Macro.Recall, b.Macro.FPR, (b.Macro.Recall+100-b.Macro.FPR)/2, b.Macro.AUC, b.Macro.At1, b.Macro.RegexRecall, b.Macro.RegexFPR, (b.Macro.RegexRecall+100-b.Macro.RegexFPR)/2)
	p("Throughput over the short texts (at most 400 bytes), one core: %.0f texts a second; the 24 regexes %.0f. %d named rules.\n\n", b.Texts, b.Regex, len(d.Rules()))
	table := func(head string, rows map[string]Figures) {
		p("| %s | attacks | benign | precision | recall | F1 | FPR | AUC | R@1%% | regexes: recall | FPR |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n", head)
		var names []string
		for k := range rows {
			names = append(names, k)
		}
		sort.Strings(names)
		for _, k := range names {
			f := rows[k]
			cell := func(v float64, format string, ok bool) string {
				if !ok {
					return "–"
				}
				return fmt.Sprintf(format, v)
			}
			a, n := f.Attacks > 0, f.Benign > 0
			p("| %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %s |\n", k, f.Attacks, f.Benign,
				cell(f.Precision, "%.1f", a && n), cell(f.Recall, "%.1f", a), cell(f.F1, "%.1f", a && n), cell(f.FPR, "%.2f", n),
				cell(f.AUC, "%.3f", a), cell(f.At1, "%.1f", a), cell(f.RegexRecall, "%.1f", a), cell(f.RegexFPR, "%.2f", n))
		}
		p("\n")
	}
	p("### By source\n\nWhere a source has no benign texts, AUC ranks its attacks against all benign texts of the pool. `disguised` are corpus texts, attacks and innocent ones, under %d encodings.\n\n", len(corpus.Disguises()))
	table("source", b.Sources)
	p("### By family\n\nAttacks only; AUC against all benign texts.\n\n")
	table("family", b.Families)
	p("%s", aims(b))
	p("%s", reading)
	return w.String()
}

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

// check compares with the baseline and returns an error naming what worsened.
func check(js []judged) error {
	old, err := readBaseline()
	if err != nil {
		return err
	}
	now := evaluate(js)
	if bad := compare(old, now); len(bad) > 0 {
		return errors.New("detection worsened:\n  " + strings.Join(bad, "\n  "))
	}
	fmt.Printf("no figure worsened: macro recall %.1f, false positives %.2f, AUC %.4f\n", now.Macro.Recall, now.Macro.FPR, now.Macro.AUC)
	return nil
}

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
	if m, o := now.Macro, old.Macro; m.Recall < o.Recall-1 || m.FPR > o.FPR+0.5 || m.AUC < o.AUC-0.01 {
		bad = append(bad, fmt.Sprintf("macro: recall %.1f, false positives %.2f, AUC %.4f; were %.1f, %.2f, %.4f", m.Recall, m.FPR, m.AUC, o.Recall, o.FPR, o.AUC))
	}
	sort.Strings(bad)
	return bad
}
