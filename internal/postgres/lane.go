package postgres

import (
	"context"
	"sync/atomic"
	"time"
)

// lane is a queue of jobs whose one reader may wait for company.
type lane struct {
	jobs  chan *job
	owed  atomic.Int64  // jobs in it that somebody waits for
	want  atomic.Int64  // how many such jobs the reader waits for; 0: for none
	here  chan struct{} // as many have come
	timer *time.Timer
}

func newLane(size int) *lane {
	l := &lane{jobs: make(chan *job, size), here: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	l.timer.Stop()
	return l
}

// put waits while the lane is full. Only whoever completes the company that the
// reader waits for wakes it: one waking a group, not one a job.
func (l *lane) put(ctx context.Context, j *job) error {
	note := j.done == nil // before it is somebody else's
	select {
	case l.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	if note {
		return nil
	}
	owed := l.owed.Add(1)
	if n := l.want.Load(); n > 0 && owed >= n {
		select {
		case l.here <- struct{}{}:
		default:
		}
	}
	return nil
}

// await returns when n jobs that somebody waits for are in the lane, or the time
// is over.
func (l *lane) await(n int, most time.Duration) {
	if n <= 0 || most <= 0 {
		return
	}
	select {
	case <-l.here: // of an earlier wait
	default:
	}
	l.want.Store(int64(n))
	defer l.want.Store(0)
	if l.owed.Load() >= int64(n) { // they came before they could see that they are waited for
		return
	}
	l.timer.Reset(most)
	defer l.timer.Stop()
	select {
	case <-l.here:
	case <-l.timer.C:
	}
}

// collect takes what is waiting already; it never waits for more.
func (l *lane) collect(first *job) (batch []*job, n int) {
	take := func(j *job) {
		if j.done != nil {
			l.owed.Add(-1)
		}
		if j.state.CompareAndSwap(jobWaits, jobTaken) {
			batch = append(batch, j)
			n += len(j.events)
		}
	}
	for take(first); n < recordBatch; {
		select {
		case j, ok := <-l.jobs:
			if !ok {
				return batch, n
			}
			take(j)
		default:
			return batch, n
		}
	}
	return batch, n
}
