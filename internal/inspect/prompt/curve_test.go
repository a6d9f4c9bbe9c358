package prompt

import (
	"math"
	"testing"
)

func TestCurve(t *testing.T) {
	t.Parallel()
	line := Line(2, -1)
	for z := -20.0; z <= 30; z += 0.25 {
		want := 1 / (1 + math.Exp(-(2*z - 1)))
		if got := line.At(float32(z)); math.Abs(got-want) > 1e-4 {
			t.Fatalf("at %v: %v, want %v", z, got, want)
		}
	}
	var none Curve // weights that only extract
	if got := none.At(3); got != 0.5 {
		t.Errorf("no curve says %v", got)
	}
}

// A higher score is never a lower confidence, at no level of trust, and the
// curves that ship cross one half.
func TestCurvesRise(t *testing.T) {
	t.Parallel()
	d := detector(t)
	for level := range d.weights.Curves {
		c := &d.weights.Curves[level]
		low, last := c.At(-30), -1.0
		for z := float32(-30); z <= 30; z += 0.01 {
			p := c.At(z)
			if p < last || p < 0 || p > 1 {
				t.Fatalf("level %d: %v at %v, after %v", level, p, z, last)
			}
			last = p
		}
		if low > 0.01 || last < 0.99 {
			t.Errorf("level %d runs from %v to %v", level, low, last)
		}
	}
}
