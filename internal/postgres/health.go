package postgres

import (
	"fmt"
	"sync"
	"time"
)

// writing remembers whether the log takes events: a database that answers
// queries may have no room for one more row.
type writing struct {
	mu    sync.Mutex
	since time.Time // of the first commit that failed since the last that did not
	times int64
	err   error
}

// saw is told how a commit of events ended. What is one event's own fault says
// nothing about the log.
func (w *writing) saw(now time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.times, w.err = 0, nil
	case !apart(err):
		if w.times++; w.times == 1 {
			w.since = now
		}
		w.err = err
	}
}

// Writes answers why the audit log takes no events now, since when and in how
// many commits; nil, as long as the last commit of events did not fail.
func (s *Store) Writes() (since time.Time, times int64, err error) {
	w := &s.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		return time.Time{}, 0, nil
	}
	return w.since, w.times, fmt.Errorf("write to the audit log: %w", w.err)
}
