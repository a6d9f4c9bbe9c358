package injecttest

import "github.com/Nissimmiracles/openclaw/internal/inspect"

// Side is how a detector does on one kind. Shares are in percent; macro is the
// mean over groups, so a large group does not hide a small one. Attacks of the
// other kind count neither way.
type Side struct {
	Recall      map[string]float64 `json:"recall"`
	FalseAlarms map[string]float64 `json:"false_alarms"`
	MacroRecall float64            `json:"macro_recall"`
	MacroFPR    float64            `json:"macro_fpr"`
	Attacks     int                `json:"attacks"`
	Innocents   int                `json:"innocents"`
}

// Balanced is the balanced accuracy in percent.
func (s Side) Balanced() float64 { return (s.MacroRecall + 100 - s.MacroFPR) / 2 }

// Least is the group with the lowest recall.
func (s Side) Least() (group string, recall float64) {
	recall = 101
	for g, r := range s.Recall {
		if r < recall || r == recall && g < group {
			group, recall = g, r
		}
	}
	return group, recall
}

// Measure asks flags about every sample of the kind and every innocent one.
func Measure(samples []Sample, kind inspect.Kind, flags func(text string) bool) Side {
	type count struct{ n, hit int }
	attacks, innocents := map[string]*count{}, map[string]*count{}
	s := Side{Recall: map[string]float64{}, FalseAlarms: map[string]float64{}}
	for _, x := range samples {
		into := innocents
		if x.Kind == kind {
			into = attacks
			s.Attacks++
		} else if x.Kind != "" {
			continue
		} else {
			s.Innocents++
		}
		c := into[x.Group]
		if c == nil {
			c = new(count)
			into[x.Group] = c
		}
		c.n++
		if flags(x.Text) {
			c.hit++
		}
	}
	mean := func(from map[string]*count, to map[string]float64) float64 {
		total := 0.0
		for g, c := range from {
			to[g] = 100 * float64(c.hit) / float64(c.n)
			total += to[g]
		}
		if len(from) == 0 {
			return 0
		}
		return total / float64(len(from))
	}
	s.MacroRecall = mean(attacks, s.Recall)
	s.MacroFPR = mean(innocents, s.FalseAlarms)
	return s
}
