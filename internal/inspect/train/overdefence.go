package main

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// The over-defence sets are innocent texts full of the words attacks use,
// written by hand for judging. Nothing trains on them.
var (
	//go:embed data/overdefence1.txt
	overdefence1 string
	//go:embed data/overdefence2.txt
	overdefence2 string
	//go:embed data/overdefence3.txt
	overdefence3 string
)

const overdefenceSource = "overdefence"

// plea is one text of the set.
type plea struct {
	corpus.Example // the family is the set
	trust          inspect.Trust
}

// pleas reads all sets.
func pleas() ([]plea, error) {
	var all []plea
	for _, set := range []struct{ name, text string }{{"first set", overdefence1}, {"second set", overdefence2}, {"third set", overdefence3}} {
		ps, err := readPleas(set.text, set.name)
		if err != nil {
			return nil, err
		}
		all = append(all, ps...)
	}
	return all, nil
}

func readPleas(text, set string) ([]plea, error) {
	levels := map[string]inspect.Trust{"user": inspect.User, "document": inspect.Document, "tool": inspect.Tool}
	var out []plea
	n := 0
	for raw := range strings.Lines(text) {
		n++
		raw = strings.TrimSpace(raw)
		if raw == "" || strings.HasPrefix(raw, "# ") {
			continue
		}
		f := strings.SplitN(raw, " ", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("read over-defence %s line %d: want trust, language, text", set, n)
		}
		t, ok := levels[f[0]]
		if !ok {
			return nil, fmt.Errorf("read over-defence %s line %d: no trust level %q", set, n, f[0])
		}
		out = append(out, plea{corpus.Example{Text: strings.ReplaceAll(f[2], `\n`, "\n"), Source: overdefenceSource, Family: set, Lang: f[1], Channel: f[0]}, t})
	}
	return out, nil
}

// plead judges the set by the model that ships and its curves.
func plead(d *prompt.Detector, m *linear, curves [3]prompt.Curve) ([]judged, error) {
	set, err := pleas()
	if err != nil {
		return nil, err
	}
	var out []judged
	for _, p := range set {
		s := extract(d, []corpus.Example{p.Example})
		if len(s) == 0 {
			continue
		}
		z, _, _ := m.best(&s[0])
		out = append(out, judged{sample: &s[0], z: float64(z), p: curves[p.trust].At(z)})
	}
	return out, nil
}
