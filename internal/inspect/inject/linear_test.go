package inject

import "testing"

// Twice the text is twice the work, whatever the text: bytes read by every pass
// and tokens read ahead are counted, not timed.
func TestWorkIsLinear(t *testing.T) {
	t.Parallel()
	work := func(text string) int {
		m := classify(text)
		s := pool.Get().(*scan)
		defer s.release()
		s.work = 0
		s.readings(text, m, true, true)
		return s.work
	}
	small, large := hostile(1<<17), hostile(1<<18)
	for name := range small {
		a, b := work(small[name]), work(large[name])
		if float64(b) > 2.2*float64(a)+4096 {
			t.Errorf("%s: %d steps for %d bytes, %d for %d", name, a, len(small[name]), b, len(large[name]))
		}
		if b > 64*len(large[name]) {
			t.Errorf("%s: %d steps for %d bytes", name, b, len(large[name]))
		}
	}
	// beyond what is decoded at once: in pieces that overlap
	if a, b := work(hostile(1 << 20)["percent"]), work(hostile(1 << 21)["percent"]); float64(b) > 2.3*float64(a) {
		t.Errorf("decoded in pieces: %d steps, then %d", a, b)
	}
}
