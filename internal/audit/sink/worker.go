package sink

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// worker runs one sink, while this replica holds its lease.
type worker struct {
	cfg    Config
	spec   Spec
	holder uuid.UUID
	heads  *heads
	wake   chan struct{} // a log has grown
	leave  chan struct{} // stop at the next pause
	cancel context.CancelFunc
	once   sync.Once
	done   chan struct{}

	mu      sync.Mutex // guards what snapshot reads
	st      Status
	holding bool

	// Of one lease's time.
	sender  Sender
	lines   map[tenant.ID]*line
	turn    int // where the next round among tenants begins
	tries   int // failures in a row
	failing time.Time
	took    time.Time // when the receiver last took something
	saved   time.Time
}

func startWorker(cfg Config, spec Spec, holder uuid.UUID, h *heads) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{
		cfg: cfg, spec: spec, holder: holder, heads: h, wake: make(chan struct{}, 1), leave: make(chan struct{}), cancel: cancel, done: make(chan struct{}),
		st: Status{Sink: spec.Name, State: Starting, Holder: holder, Since: cfg.Now()},
	}
	h.join(w)
	go w.run(ctx)
	return w
}

// stop lets a Send under way end, for a moment.
func (w *worker) stop() {
	w.once.Do(func() { close(w.leave) })
	late := time.AfterFunc(leaveTime, w.cancel)
	<-w.done
	late.Stop()
	w.cancel()
	w.heads.leave(w)
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) snapshot() Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Snapshot{Status: w.st, Kind: w.spec.Kind, Holding: w.holding}
}

func (w *worker) leaving() bool {
	select {
	case <-w.leave:
		return true
	default:
		return false
	}
}

// pause waits; false: the worker is to stop. A wake-up ends it only where it is
// given one.
func (w *worker) pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
		return false
	case <-w.leave:
		return false
	}
	return true
}

func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	for !w.leaving() && ctx.Err() == nil {
		hctx, cancel := context.WithTimeout(ctx, w.cfg.Lease/2)
		held, err := w.cfg.Store.HoldSink(hctx, w.spec.Name, w.holder, w.cfg.Lease)
		cancel()
		if err != nil && ctx.Err() == nil {
			w.cfg.Log.Warn("take a sink's lease", "sink", w.spec.Name, "error", err)
		}
		if held {
			w.hold(ctx)
		}
		if !w.pause(ctx, w.cfg.Lease/6, nil) {
			return
		}
	}
}

// hold works until the lease is lost or the worker stops.
func (w *worker) hold(ctx context.Context) {
	ctx, lost := context.WithCancel(ctx)
	defer lost()
	w.setHolding(true)
	defer w.setHolding(false)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		w.renew(ctx, lost)
	}()
	w.work(ctx)
	lost()
	<-renewed
	end, cancel := within(ctx, w.cfg.Lease/2)
	defer cancel()
	if err := w.cfg.Store.LeaveSink(end, w.spec.Name, w.holder); err != nil {
		w.cfg.Log.Warn("give a sink's lease back", "sink", w.spec.Name, "error", err)
	}
}

func (w *worker) setHolding(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = on
}

// renew keeps the lease, and calls lost before it can have run out: the
// database's clock starts it no earlier than our question.
func (w *worker) renew(ctx context.Context, lost func()) {
	asked := time.Now()
	tick := time.NewTicker(w.cfg.Lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		hctx, cancel := context.WithTimeout(ctx, w.cfg.Lease/4)
		held, err := w.cfg.Store.HoldSink(hctx, w.spec.Name, w.holder, w.cfg.Lease)
		cancel()
		switch {
		case err == nil && held:
			asked = now
		case err == nil || time.Since(asked) > w.cfg.Lease*3/4:
			if ctx.Err() == nil {
				w.cfg.Log.Warn("a sink's lease is lost", "sink", w.spec.Name, "error", err)
			}
			lost()
			return
		}
	}
}

// work is one lease's time.
func (w *worker) work(ctx context.Context) {
	if !w.begin(ctx) {
		return
	}
	defer w.end(ctx)
	for ctx.Err() == nil && !w.leaving() {
		b, err := w.gather(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f := Fail(Temporary, "read the log: %w", err)
			w.fail(ctx, f, inTime)
			w.pause(ctx, w.backoff(f), nil)
		case len(b.items) == 0:
			if w.settle(ctx, b, nil) {
				continue // over what the filter leaves out
			}
			w.rest(ctx, b)
			w.pause(ctx, b.wait(w.cfg.Now(), w.cfg.Idle), w.wake)
		default:
			w.waits(b)
			f := w.deliver(ctx, b)
			if f == nil {
				continue
			}
			w.fail(ctx, f, inTime)
			w.pause(ctx, w.backoff(f), nil)
		}
	}
}

// begin reads where the sink stood and opens its sender.
func (w *worker) begin(ctx context.Context) bool {
	w.lines, w.tries, w.failing, w.took, w.turn = map[tenant.ID]*line{}, 0, time.Time{}, time.Time{}, 0
	sctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	old, known, err := w.cfg.Store.SinkStatus(sctx, w.spec.Name)
	if err != nil {
		w.cfg.Log.Warn("read a sink's state", "sink", w.spec.Name, "error", err)
		return false
	}
	if !known {
		if err := w.plant(ctx); err != nil {
			w.cfg.Log.Warn("begin a sink", "sink", w.spec.Name, "error", err)
			return false
		}
	}
	w.mu.Lock()
	if known {
		old.Holder = w.holder
		w.st = old
	}
	w.st.State, w.st.Since = Starting, w.cfg.Now()
	w.mu.Unlock()
	for ctx.Err() == nil && !w.leaving() {
		if w.sender, err = w.spec.Open(); err == nil {
			return true
		}
		// A file that went away, say. It is looked for again.
		f := &Failure{Kind: Denied, Err: err}
		w.fail(ctx, f, inTime)
		w.pause(ctx, w.backoff(f), nil)
	}
	return false
}

func (w *worker) end(ctx context.Context) {
	w.sender.Close()
	w.save(ctx, true)
}

// backoff is how long to wait after a failure: doubling to the ceiling, the
// upper half of it at random so that replicas and sinks do not fall in step;
// longer if the receiver asked for it.
func (w *worker) backoff(f *Failure) time.Duration {
	w.tries++
	d := grown(w.spec.FirstWait, w.spec.MostWait, w.tries)
	if f.Kind == Denied && w.tries > 2 {
		d = w.spec.MostWait
	}
	d = d/2 + rand.N(d/2+1)
	return max(d, min(f.RetryAfter, maxRetryAfter))
}

const maxRetryAfter = 15 * time.Minute

func grown(first, most time.Duration, tries int) time.Duration {
	d := first
	for i := 1; i < tries && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// voice says when a failure becomes an event of the platform.
type voice int

const (
	inTime voice = iota // when it has lasted
	atOnce              // no later attempt is expected to help
	never               // it is about such an event
)

// fail shows a failure: in the state at once, in the platform's log when it is
// not one of a moment, and then not again before the sink has caught up.
func (w *worker) fail(ctx context.Context, f *Failure, v voice) {
	if ctx.Err() != nil {
		return
	}
	now := w.cfg.Now()
	if w.failing.IsZero() {
		w.failing = now
	}
	state := map[Kind]State{Temporary: Retrying, Denied: Stopped, Refused: Refusing}[f.Kind]
	w.mu.Lock()
	w.st.Failures++
	w.st.Error, w.st.ErrorAt = clip(f.Error(), 300), now
	changed := w.setState(state, now)
	lasting := v == atOnce || v == inTime && (f.Kind == Denied && w.tries > 0 || now.Sub(w.failing) >= w.cfg.Quiet)
	speak := lasting && !w.st.Announced && now.Sub(w.st.Spoke) >= w.cfg.Quiet
	text := w.st.Error
	w.mu.Unlock()
	if changed {
		w.cfg.Log.Warn("a sink does not deliver", "sink", w.spec.Name, "state", state, "error", text)
	}
	if speak {
		w.announce(ctx, audit.Event{Type: audit.SecurityError, Severity: audit.High, Outcome: audit.Failed, Reason: "sink_stopped",
			Details: map[string]any{"sink": w.spec.Name, "state": string(state), "error": text}}, true)
	}
	w.save(ctx, changed || speak)
}

// waits shows what is to be sent, before it is known whether it can be.
func (w *worker) waits(b *batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.st.Behind, w.st.Oldest = b.behind, b.oldest
}

// rest is what to show when nothing is left to send.
func (w *worker) rest(ctx context.Context, b *batch) {
	now := w.cfg.Now()
	w.mu.Lock()
	w.st.Behind, w.st.Oldest = b.behind, b.oldest
	if b.held > 0 { // some logs wait behind an event that is refused
		changed := w.setState(Refusing, now)
		w.mu.Unlock()
		w.save(ctx, changed)
		return
	}
	changed := w.setState(Current, now)
	speak := w.st.Announced
	w.mu.Unlock()
	w.tries, w.failing = 0, time.Time{}
	if speak {
		w.announce(ctx, audit.Event{Type: audit.SecurityError, Severity: audit.Info, Outcome: audit.Success, Reason: "sink_caught_up",
			Details: map[string]any{"sink": w.spec.Name}}, false)
	}
	w.save(ctx, changed || speak)
}

// delivered is what to show after a Send.
func (w *worker) delivered(ctx context.Context, n int, b *batch) {
	now := w.cfg.Now()
	w.tries, w.failing, w.took = 0, time.Time{}, now
	w.mu.Lock()
	w.st.Delivered += int64(n)
	w.st.Behind, w.st.Oldest = max(b.behind-int64(n), 0), b.oldest
	changed := w.setState(Delivering, now)
	w.mu.Unlock()
	w.save(ctx, changed)
}

func (w *worker) setState(s State, now time.Time) (changed bool) {
	if w.st.State == s {
		return false
	}
	w.st.State, w.st.Since = s, now
	return true
}

// announce records a change of state. Only these are events, never a delivery:
// a delivery that made an event would have to be delivered.
func (w *worker) announce(ctx context.Context, ev audit.Event, stopped bool) {
	ctx, cancel := within(ctx, storeTime)
	defer cancel()
	ev.Actor, ev.Action, ev.Resource = audit.Actor{Kind: audit.ActorSystem}, action, "sink/"+w.spec.Name
	if _, err := w.cfg.House.Record(ctx, ev); err != nil {
		w.cfg.Log.Error("a sink's change of state was not recorded", "sink", w.spec.Name, "error", err)
		return // the next failure, or the next rest, tries again
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.st.Announced, w.st.Spoke = stopped, w.cfg.Now()
}

// saveEvery bounds how often counters alone are saved.
const saveEvery = time.Second

func (w *worker) save(ctx context.Context, now bool) {
	if t := w.cfg.Now(); !now && t.Sub(w.saved) < saveEvery {
		return
	}
	w.mu.Lock()
	w.st.Updated = w.cfg.Now()
	st := w.st
	w.mu.Unlock()
	ctx, cancel := within(ctx, storeTime)
	defer cancel()
	if err := w.cfg.Store.SaveSinkStatus(ctx, st); err != nil {
		w.cfg.Log.Warn("save a sink's state", "sink", w.spec.Name, "error", err)
		return
	}
	w.saved = st.Updated
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 {
		most--
	}
	return s[:most] + "…"
}
