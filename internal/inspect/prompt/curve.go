package prompt

import "math"

// Knots is the number of points of a calibration curve.
const Knots = 12

// Curve turns a raw score into a confidence. Y is the logarithm of the odds at
// the scores X, which rise; between two points it is straight, past the ends it
// goes on with Slope.
type Curve struct {
	X, Y  [Knots]float32
	Slope float32
}

// Line is the curve of confidence = sigmoid(a*score+b).
func Line(a, b float32) (c Curve) {
	c.Slope = a
	for i := range c.X {
		c.X[i] = float32(i)
		c.Y[i] = a*c.X[i] + b
	}
	return c
}

// At returns the confidence of a score.
func (c *Curve) At(score float32) float64 {
	var y float32
	switch {
	case score <= c.X[0]:
		y = c.Y[0] + c.Slope*(score-c.X[0])
	case score >= c.X[Knots-1]:
		y = c.Y[Knots-1] + c.Slope*(score-c.X[Knots-1])
	default:
		i := 1
		for score > c.X[i] {
			i++
		}
		x, w := c.X[i-1], c.X[i]-c.X[i-1]
		y = c.Y[i-1] + (c.Y[i]-c.Y[i-1])*(score-x)/w
	}
	return 1 / (1 + math.Exp(-float64(y)))
}
