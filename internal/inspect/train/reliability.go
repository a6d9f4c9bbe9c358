package main

import (
	"math"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

// relBins is the number of ranges of confidence.
const relBins = 10

// Reliability is how confidences of one trust level compare with the share of
// attacks, in percent.
type Reliability struct {
	Texts [relBins]int     `json:"texts"`
	Share [relBins]float64 `json:"attacks"`
	ECE   float64          `json:"expected_calibration_error"`
}

// reliability judges the confidences by level, weighed as the curves are.
func reliability(js []judged) map[string]Reliability {
	w := weigh(js)
	out := map[string]Reliability{}
	for level, name := range map[inspect.Trust]string{inspect.User: "user", inspect.Document: "document", inspect.Tool: "tool"} {
		var p points
		var conf []float64
		for i := range js {
			if j := &js[i]; trust(j.sample) == level && j.Channel != "system" {
				p.add(j.p, j.Label, w[i])
				conf = append(conf, j.p)
			}
		}
		p.balance()
		var r Reliability
		var hit, sum, all [relBins]float64
		var total float64
		for i, c := range conf {
			k := min(relBins-1, int(c*relBins))
			r.Texts[k]++
			hit[k] += p.w[i] * float64(p.y[i])
			sum[k] += p.w[i] * c
			all[k] += p.w[i]
			total += p.w[i]
		}
		for k := range all {
			if all[k] > 0 {
				r.Share[k] = math.Round(1000*hit[k]/all[k]) / 10
				r.ECE += math.Abs(hit[k] - sum[k])
			}
		}
		r.ECE = math.Round(1000*r.ECE/max(total, 1e-9)) / 10
		out[name] = r
	}
	return out
}
