package sink

import (
	"testing"
	"time"
)

// A receiver that asks for patience gets it, to a bound; one that is fallen silent
// is asked ever more seldom, to another.
func TestBackoff(t *testing.T) {
	t.Parallel()
	w := &worker{spec: Spec{FirstWait: 500 * time.Millisecond, MostWait: time.Minute}}
	for i, c := range []struct{ asked, least, most time.Duration }{
		{0, 250 * time.Millisecond, 500 * time.Millisecond},
		{0, 500 * time.Millisecond, time.Second},
		{7 * time.Minute, 7 * time.Minute, 7 * time.Minute},
		{1<<63 - 1, 15 * time.Minute, 15 * time.Minute},
		{-time.Hour, 4 * time.Second, 8 * time.Second},
	} {
		if d := w.backoff(&Failure{Kind: Temporary, RetryAfter: c.asked}); d < c.least || d > c.most {
			t.Errorf("failure %d: %s, want %s to %s", i+1, d, c.least, c.most)
		}
	}
	for range 1000 { // nothing overflows
		if d := w.backoff(&Failure{Kind: Denied}); d < 4*time.Second || d > time.Minute {
			t.Fatalf("%s", d)
		}
	}
}
