package archive

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"
)

// RunConfig is what a Runner goes by.
type RunConfig struct {
	Archiver *Archiver
	Bucket   Bucket
	Tenants  func(context.Context) iter.Seq2[Tenant, error]
	Every    time.Duration
	Notice   func(Notice) // called between two steps; may take its time
	Log      *slog.Logger
}

// Notice is something that a person should hear of, once: that the archive
// stopped (Err), that one tenant's did (Tenant, Object, Err), or that all that
// was due is archived again (After: how long it had stopped).
type Notice struct {
	Tenant string
	Object string
	Err    error
	After  time.Duration
}

// Status is what a Runner knows. Pending and Lag are as of its last round; Lag
// grows by itself.
type Status struct {
	Stopped                           bool
	Pending                           int64
	Lag                               time.Duration
	Halted                            int
	Segments, Events, Bytes, Failures int64
}

// Runner archives all tenants, round after round, until it is stopped.
type Runner struct {
	cfg     RunConfig
	checked bool // the bucket, since it last failed
	halted  map[string]bool
	busy    []Tenant // that others held when they were last looked at

	mu      sync.Mutex
	status  Status
	oldest  time.Time
	stopped time.Time // when; zero: it is not

	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once
}

// NewRunner returns a Runner that Start starts.
func NewRunner(cfg RunConfig) *Runner {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Notice == nil {
		cfg.Notice = func(Notice) {}
	}
	return &Runner{cfg: cfg, halted: map[string]bool{}, done: make(chan struct{})}
}

// Start begins the rounds. Once.
func (r *Runner) Start() {
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		for ctx.Err() == nil {
			r.Round(ctx)
			for next := time.Now().Add(r.cfg.Every); ctx.Err() == nil && time.Now().Before(next); {
				wait := time.Until(next)
				if len(r.busy) > 0 {
					wait = min(wait, r.cfg.Archiver.cfg.Lease/4)
				}
				select {
				case <-ctx.Done():
				case <-time.After(wait):
					r.revisit(ctx)
				}
			}
		}
	}()
}

// Stop ends a round where it is: what was put and not counted is found by the
// next one. Stopping twice, or without a start, is fine.
func (r *Runner) Stop() {
	r.once.Do(func() {
		if r.cancel != nil {
			r.cancel()
			<-r.done
		}
	})
}

// Status tells where the archive is.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	if !r.oldest.IsZero() {
		s.Lag = max(0, r.cfg.Archiver.cfg.Now().Sub(r.oldest))
	}
	return s
}

// Round archives what is due of every tenant. What concerns all of them ends
// it; what concerns one does not keep it from the others.
func (r *Runner) Round(ctx context.Context) {
	if !r.checked {
		if err := r.cfg.Bucket.Check(ctx); err != nil {
			r.stop(ctx, err)
			return
		}
		r.checked = true
	}
	sum, ok := r.each(ctx, r.cfg.Tenants(ctx))
	if !ok {
		return
	}
	r.halted, r.busy = sum.halted, sum.busy
	r.mu.Lock()
	r.oldest, r.status.Pending, r.status.Halted = sum.oldest, sum.pending, len(sum.halted)
	since := r.stopped
	r.stopped, r.status.Stopped = time.Time{}, false
	r.mu.Unlock()
	if !since.IsZero() {
		r.cfg.Notice(Notice{After: r.cfg.Archiver.cfg.Now().Sub(since)})
	}
}

// revisit looks again at the tenants that others held: one of those may have
// died, and a round is long.
func (r *Runner) revisit(ctx context.Context) {
	again := r.busy
	if len(again) == 0 || !r.checked {
		return
	}
	sum, _ := r.each(ctx, func(yield func(Tenant, error) bool) {
		for _, t := range again {
			if !yield(t, nil) {
				return
			}
		}
	})
	r.busy = sum.busy
	for id := range sum.halted {
		r.halted[id] = true
	}
}

// sum is what a walk through tenants found.
type sum struct {
	oldest  time.Time
	pending int64
	halted  map[string]bool
	busy    []Tenant
}

// each archives what is due of tenants. ok is false when it was ended before the
// last one.
func (r *Runner) each(ctx context.Context, tenants iter.Seq2[Tenant, error]) (s sum, ok bool) {
	s.halted = map[string]bool{}
	for t, err := range tenants {
		if ctx.Err() != nil {
			return s, false
		}
		var p Progress
		if err == nil {
			p, err = r.cfg.Archiver.Advance(ctx, t)
		}
		r.count(p)
		s.pending += p.Pending
		if !p.Oldest.IsZero() && (s.oldest.IsZero() || p.Oldest.Before(s.oldest)) {
			s.oldest = p.Oldest
		}
		if p.Halted != "" {
			s.halted[t.ID] = true
		}
		if p.Busy {
			s.busy = append(s.busy, t)
		}
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, ErrForeign):
			r.fail()
			if !r.halted[t.ID] {
				r.cfg.Notice(Notice{Tenant: t.ID, Object: objectOf(err), Err: err})
			}
		case errors.Is(err, ErrAway), errors.Is(err, ErrUnfit), errors.Is(err, ErrClock):
			r.stop(ctx, err)
			return s, false
		default:
			r.fail()
			r.cfg.Log.Error("a log was not archived", "tenant", t.ID, "error", err)
		}
	}
	return s, true
}

func (r *Runner) count(p Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Segments += p.Segments
	r.status.Events += p.Events
	r.status.Bytes += p.Bytes
}

func (r *Runner) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Failures++
}

// stop notes that nothing can be archived, and tells of it the first time. The
// bucket is looked at again before anything is put.
func (r *Runner) stop(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.fail()
	r.checked = false
	r.mu.Lock()
	first := r.stopped.IsZero()
	if first {
		r.stopped, r.status.Stopped = r.cfg.Archiver.cfg.Now(), true
	}
	r.mu.Unlock()
	if first {
		r.cfg.Notice(Notice{Err: err})
	} else {
		r.cfg.Log.Warn("the archive is still stopped", "error", err)
	}
}

// foreign is ErrForeign with its object.
type foreign struct {
	key string
	why error
}

func (f *foreign) Error() string {
	s := ErrForeign.Error() + ": " + f.key
	if f.why != nil {
		s += ": " + f.why.Error()
	}
	return s
}

// Is says its kind. The cause is for people: an error inside it must not be
// taken for one of the archive's.
func (f *foreign) Is(target error) bool { return target == ErrForeign }

func objectOf(err error) string {
	var f *foreign
	if errors.As(err, &f) {
		return f.key
	}
	return ""
}

// Word is a stable word for what stopped the archive.
func Word(err error) string {
	for word, kind := range map[string]error{"bucket_away": ErrAway, "bucket_unfit": ErrUnfit, "clocks_disagree": ErrClock, "key_taken": ErrForeign} {
		if errors.Is(err, kind) {
			return word
		}
	}
	return "failed"
}
