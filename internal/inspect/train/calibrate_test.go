package main

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
)

// drawn are texts whose attacks are as frequent as truth says at their score.
func drawn(source, channel string, n int, truth func(z float64) float64) []judged {
	r := rand.New(rand.NewPCG(3, 4))
	var out []judged
	for range n {
		z := 8*r.Float64() - 4
		label := 0
		if r.Float64() < truth(z) {
			label = 1
		}
		out = append(out, judged{sample: &sample{Example: corpus.Example{Source: source, Channel: channel, Label: label}}, z: z})
	}
	return out
}

// bent rises in two steps, which no straight line of odds does.
func bent(z float64) float64 {
	switch {
	case z < -2:
		return 0.02
	case z < 2:
		return 0.3
	}
	return 0.95
}

// A curve says how frequent attacks are, where a line cannot.
func TestCurveFollowsRates(t *testing.T) {
	t.Parallel()
	var p points
	for _, j := range drawn("deepset", "user", 20000, bent) {
		p.add(j.z, j.Label, 1)
	}
	c := curve(&p)
	for _, z := range []float64{-3.5, -1, 0, 1, 3.5} {
		if got := c.At(float32(z)); math.Abs(got-bent(z)) > 0.12 {
			t.Errorf("at %v: %.2f, attacks are %.2f", z, got, bent(z))
		}
	}
	for z := float32(-6); z < 6; z += 0.05 {
		if c.At(z+0.05) <= c.At(z) {
			t.Fatalf("the curve is flat or falls at %v", z)
		}
	}
}

// A group has no part in the curve it is judged by; validateOnly and system
// prompts have none in any.
func TestCalibrateLeavesOut(t *testing.T) {
	t.Parallel()
	base := drawn("deepset", "user", 4000, func(z float64) float64 { return 1 / (1 + math.Exp(-z)) })
	odd := func(source string) []judged {
		return append(drawn(source, "user", 4000, func(z float64) float64 { return 1 / (1 + math.Exp(z)) }), base...)
	}
	want := calibrate(base, "")[inspect.User]
	if got := calibrate(odd(validateOnly), "")[inspect.User]; got != want {
		t.Errorf("%s moved the curve", validateOnly)
	}
	pages := append(drawn("piarena", "document", 4000, bent), base...)
	prompts := append(drawn("gpt_system_prompts", "system", 4000, func(z float64) float64 { return 0 }), pages...)
	if calibrate(prompts, "") != calibrate(pages, "") {
		t.Error("system prompts moved the curves")
	}
	if got := calibrate(odd("handwritten"), "handwritten")[inspect.User]; got != want {
		t.Error("a group moved the curve it is judged by")
	}
	if got := calibrate(odd("handwritten"), "")[inspect.User]; got == want {
		t.Error("a group that should count did not")
	}
}

func TestReliability(t *testing.T) {
	t.Parallel()
	js := drawn("deepset", "user", 40000, func(z float64) float64 { return 0.4 }) // weighed to the prior
	for i := range js {
		js[i].p = prior
	}
	bin := int(math.Floor(prior * relBins))
	if r := reliability(js)["user"]; r.ECE > 1 || r.Texts[bin] != len(js) || math.Abs(r.Share[bin]-100*prior) > 1 {
		t.Errorf("honest confidences: %+v", r)
	}
	for i := range js {
		js[i].p = prior + 0.45
	}
	if r := reliability(js)["user"]; math.Abs(r.ECE-45) > 1 {
		t.Errorf("confidences 45 points too high: %+v", r)
	}
}
