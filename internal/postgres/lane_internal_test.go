package postgres

import (
	"context"
	"testing"
	"time"
)

// Notes gather for as long as nobody waits; whoever does ends it, and so does
// the last of an expected company. Nothing here ends by the clock.
func TestLaneAwaits(t *testing.T) {
	t.Parallel()
	note := func() *job { return &job{} }
	waited := func() *job { return &job{done: make(chan error, 1)} }
	for name, k := range map[string]struct {
		n    int
		jobs []*job
	}{
		"notes, then a record":    {1, []*job{note(), note(), waited()}},
		"a company":               {3, []*job{waited(), note(), waited(), waited()}},
		"nobody is expected":      {0, nil},
		"more came than expected": {2, []*job{waited(), waited(), waited(), waited()}},
	} {
		l := newLane(8)
		for round := range 100 { // a waking that is left over must not end the next wait
			ended := make(chan int64, 1)
			go func() {
				l.await(k.n, time.Hour)
				ended <- l.owed.Load()
			}()
			for _, j := range k.jobs {
				if err := l.put(t.Context(), j); err != nil {
					t.Fatal(err)
				}
			}
			if owed := <-ended; owed < int64(k.n) {
				t.Fatalf("%s, round %d: it went with %d of %d", name, round, owed, k.n)
			}
			if len(k.jobs) == 0 {
				continue
			}
			if batch, _ := l.collect(<-l.jobs); len(batch) != len(k.jobs) || l.owed.Load() != 0 {
				t.Fatalf("%s, round %d: took %d, %d still owed", name, round, len(batch), l.owed.Load())
			}
			for _, j := range k.jobs {
				j.state.Store(jobWaits)
			}
		}
	}
}

// A note that finds no place leaves with its caller, and nothing is owed.
func TestLaneFull(t *testing.T) {
	t.Parallel()
	l := newLane(1)
	if err := l.put(t.Context(), &job{}); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.put(gone, &job{done: make(chan error, 1)}); err == nil || l.owed.Load() != 0 {
		t.Errorf("a full lane took one more: %v, owed %d", err, l.owed.Load())
	}
}
