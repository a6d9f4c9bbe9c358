package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
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
	// disguised texts by their encoding
	Encodings map[string]Figures `json:"encodings"`
	// by language, disguised texts left out; und holds several
	Languages map[string]Figures `json:"languages"`
	// languages other than English: means over those with at least 5 attacks,
	// and over those with at least 20 benign texts
	OtherRecall float64 `json:"other_languages_recall"`
	OtherFPR    float64 `json:"other_languages_fpr"`
	// the over-defence set, by trust level and for all
	Pleas map[string]Figures `json:"over_defence"`
	// texts written by hand, by author, and by language of the others than English
	Written     map[string]Figures     `json:"written"`
	Tongues     map[string]Figures     `json:"written_languages"`
	Reliability map[string]Reliability `json:"reliability"`
	Texts       float64                `json:"texts_per_cpu_second"`
	Regex       float64                `json:"regex_texts_per_cpu_second"`
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

func evaluate(r *result) Baseline {
	js := r.folds
	b := Baseline{Sources: map[string]Figures{}, Families: map[string]Figures{}, Encodings: map[string]Figures{}, Languages: map[string]Figures{}, Pleas: map[string]Figures{}, Written: map[string]Figures{}, Tongues: map[string]Figures{}, Reliability: reliability(slices.Concat(js, r.apart))}
	langs := map[string][]*judged{}
	sources, fams, ways := map[string][]*judged{}, map[string][]*judged{}, map[string][]*judged{}
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
		if j.Way != "" {
			ways[j.Way] = append(ways[j.Way], j)
		}
		if plainSource(j.Source) == j.Source {
			langs[j.Lang] = append(langs[j.Lang], j)
		}
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
	for k, v := range ways {
		b.Encodings[k] = figures(v, line, neg)
	}
	var lr, lf, nlr, nlf float64
	for k, v := range langs {
		f := figures(v, line, neg)
		b.Languages[k] = f
		if k == "en" || k == "und" {
			continue
		}
		if f.Attacks >= 5 {
			lr, nlr = lr+f.Recall, nlr+1
		}
		if f.Benign >= 20 {
			lf, nlf = lf+f.FPR, nlf+1
		}
	}
	kinds := map[string][]*judged{}
	for i := range r.pleas {
		j := &r.pleas[i]
		for _, k := range []string{"all", j.Channel, j.Family} {
			kinds[k] = append(kinds[k], j)
		}
		if j.Lang != "en" {
			kinds["not English"] = append(kinds["not English"], j)
		}
	}
	for k, v := range kinds {
		b.Pleas[k] = figures(v, line, neg)
	}
	authors, tongues := map[string][]*judged{}, map[string][]*judged{}
	for i := range r.apart {
		j := &r.apart[i]
		for _, k := range []string{"all", strings.TrimPrefix(j.Source, corpus.WrittenPrefix)} {
			authors[k] = append(authors[k], j)
		}
		if j.Lang != "en" {
			tongues[j.Lang] = append(tongues[j.Lang], j)
		}
	}
	for k, v := range authors {
		b.Written[k] = figures(v, line, neg)
	}
	for k, v := range tongues {
		b.Tongues[k] = figures(v, line, neg)
	}
	round := func(v float64) float64 { return math.Round(10*v) / 10 }
	b.Macro = Figures{Attacks: len(pos), Benign: len(neg), Recall: round(recalls / nr), FPR: math.Round(100*fprs/nf) / 100, At1: round(at1 / nr),
		RegexRecall: round(rr / nr), RegexFPR: math.Round(100*rf/nf) / 100, AUC: math.Round(10000*auc(pos, append([]float64(nil), neg...))) / 10000}
	b.OtherRecall, b.OtherFPR = round(lr/nlr), math.Round(100*lf/nlf)/100
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

func write(r *result) error {
	b := evaluate(r)
	d, err := prompt.With(r.ships.quantise(r.curves))
	if err != nil {
		return err
	}
	texts := shortTexts(r.folds)
	b.Texts = rate(texts, func(s string) { d.Inspect(s, 0) })
	b.Regex = rate(texts, func(s string) { regexHit(s) })
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(baselinePath, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return rewrite()
}

// rewrite makes the document from the committed figures.
func rewrite() error {
	b, err := readBaseline()
	if err != nil {
		return err
	}
	d, err := prompt.With(nil)
	if err != nil {
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
