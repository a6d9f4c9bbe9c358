package prompt

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"math"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

// weights.bin is what the trainer wrote; see Weights.
//
//go:embed data/weights.bin
var weightsFile []byte

// Windows are runs of whole sentences.
const (
	// MaxWindow is the longest window in tokens, MaxUnits in sentences.
	MaxWindow = 160
	MaxUnits  = 16
	// Smooth keeps very short windows from extreme scores: the sum of weights
	// is divided by sqrt(tokens+Smooth).
	Smooth = 6
	// RuleCap bounds what rules add to or take from a window.
	RuleCap = 4
	// LengthBuckets are the powers of two of a window's tokens.
	LengthBuckets = 9
)

// Weights is the learned part.
type Weights struct {
	Scale  float32 // of Table
	Bias   float32
	Length [LengthBuckets]float32
	Rules  []float32
	Curves [3]Curve // calibration, by trust level
	Table  [tableSize]int8
}

const magic = "ocpi\x02"

// Marshal writes the weights in the form weights.bin has: the magic, the
// number of rules, then little-endian float32 and the table.
func (w *Weights) Marshal() []byte {
	b := []byte(magic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(w.Rules)))
	put := func(v float32) { b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v)) }
	put(w.Scale)
	put(w.Bias)
	for _, v := range w.Length {
		put(v)
	}
	for _, v := range w.Rules {
		put(v)
	}
	for i := range w.Curves {
		c := &w.Curves[i]
		put(c.Slope)
		for k := range c.X {
			put(c.X[k])
			put(c.Y[k])
		}
	}
	for _, v := range w.Table {
		b = append(b, byte(v))
	}
	return b
}

// UnmarshalWeights reads what Marshal wrote.
func UnmarshalWeights(b []byte) (*Weights, error) {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return nil, errors.New("read weights: not a weights file")
	}
	b = b[len(magic):]
	n := int(binary.LittleEndian.Uint32(b))
	b = b[4:]
	if want := 4*(2+LengthBuckets+n+3*(1+2*Knots)) + tableSize; n > 1<<12 || len(b) != want {
		return nil, errors.New("read weights: wrong length")
	}
	get := func() float32 {
		v := math.Float32frombits(binary.LittleEndian.Uint32(b))
		b = b[4:]
		return v
	}
	w := &Weights{Scale: get(), Bias: get(), Rules: make([]float32, n)}
	for i := range w.Length {
		w.Length[i] = get()
	}
	for i := range w.Rules {
		w.Rules[i] = get()
	}
	for i := range w.Curves {
		c := &w.Curves[i]
		c.Slope = get()
		for k := range c.X {
			c.X[k], c.Y[k] = get(), get()
		}
	}
	for i := range w.Table {
		w.Table[i] = int8(b[i])
	}
	return w, nil
}

// inverseRoot[n] is 1/sqrt(n+Smooth).
var inverseRoot = func() (t [MaxWindow + hardSplit + 8]float32) {
	for i := range t {
		t[i] = float32(1 / math.Sqrt(float64(i)+Smooth))
	}
	return t
}()

func lengthBucket(n int) int {
	b := 0
	for n > 1 && b < LengthBuckets-1 {
		n >>= 1
		b++
	}
	return b
}

// window is a run of units [first,last) and its score.
type window struct {
	first, last int
	score       float32
}

// best returns the highest scoring window. Every run of sentences within the
// limits is tried, so text around an attack only adds candidates. A sentence
// that stands in the window already adds nothing, or what is innocent once would
// be an attack when repeated.
func (s *scan) best(w *Weights) window {
	top := window{score: float32(math.Inf(-1))}
	length, scale := &s.length, w.Scale
	for i := range s.units {
		units := s.units[i:min(i+MaxUnits, len(s.units))]
		var sum, rules float32
		n := 0
		for j := range units {
			u := &units[j]
			if j > 0 {
				if int(u.same) >= i {
					continue
				}
				if n+int(u.tokens) > MaxWindow {
					break
				}
				sum += u.sum + u.seam
				rules += u.rule
				rules += u.rseam
			} else {
				sum, rules = u.sum, u.rule
			}
			n += int(u.tokens)
			m := min(uint(n), uint(len(inverseRoot)-1))
			z := length[m] + sum*inverseRoot[m]*scale
			if rules != 0 {
				z += max(-RuleCap, min(RuleCap, rules))
			}
			if z > top.score {
				top = window{i, i + j + 1, z}
			}
		}
	}
	if len(s.units) == 0 {
		top.score = w.Bias + w.Length[0]
	}
	return top
}

func (w *Weights) confidence(score float32, t inspect.Trust) float64 {
	if int(t) >= len(w.Curves) {
		t = inspect.Tool
	}
	return w.Curves[t].At(score)
}
