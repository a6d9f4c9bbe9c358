package sink

import (
	"context"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// allRefused single events, and none taken, means that the receiver takes
// nothing of ours: it is asked no more for now.
const allRefused = 8

// result is what became of a batch.
type result struct {
	begun   time.Time
	took    map[*line]map[int64]bool
	n       int
	refused []refusedItem
}

type refusedItem struct {
	outgoing
	f *Failure
}

func (r *result) take(items []outgoing) {
	for _, it := range items {
		if r.took[it.line] == nil {
			r.took[it.line] = map[int64]bool{}
		}
		r.took[it.line][it.Entry.Seq] = true
	}
	r.n += len(items)
}

// deliver sends a batch and moves the cursors. The failure is one of the whole
// sink; an event that is refused holds up its own log alone.
func (w *worker) deliver(ctx context.Context, b *batch) *Failure {
	r := &result{begun: w.cfg.Now(), took: map[*line]map[int64]bool{}}
	f := w.push(ctx, b.items, r)
	if r.n > 0 {
		w.took = w.cfg.Now()
	}
	w.settle(ctx, b, r)
	if r.n > 0 {
		w.delivered(ctx, r.n, b)
	}
	if f == nil && len(r.refused) > 0 {
		w.refuse(ctx, r)
	}
	return f
}

// push sends items, and halves what is refused until the refused events stand
// alone. It answers what is not about an event.
func (w *worker) push(ctx context.Context, items []outgoing, r *result) *Failure {
	if len(items) == 0 {
		return nil
	}
	f := w.send(ctx, items)
	if f == nil {
		r.take(items)
		return nil
	}
	done := min(max(f.Done, 0), len(items))
	r.take(items[:done])
	items = items[done:]
	switch {
	case f.Kind != Refused || len(items) == 0:
		return f
	case len(items) == 1:
		r.refused = append(r.refused, refusedItem{items[0], f})
		if len(r.refused) >= allRefused && r.n == 0 {
			return &Failure{Kind: Refused, Err: f.Err}
		}
		return nil
	}
	half := len(items) / 2
	if f := w.push(ctx, items[:half], r); f != nil {
		return f
	}
	return w.push(ctx, items[half:], r)
}

func (w *worker) send(ctx context.Context, items []outgoing) *Failure {
	batch := make([]Item, len(items))
	for i := range items {
		batch[i] = items[i].Item
	}
	ctx, cancel := context.WithTimeout(ctx, w.spec.Timeout)
	defer cancel()
	return failure(w.sender.Send(ctx, batch))
}

// settle moves each log's cursor over what is out, and reports whether one
// moved. r is nil when nothing was to be sent.
func (w *worker) settle(ctx context.Context, b *batch, r *result) (moved bool) {
	for _, p := range b.parts {
		l, to := p.line, p.last
		for _, seq := range p.seqs {
			if r != nil && r.took[l][seq] {
				l.taken[seq] = true
			} else {
				to = min(to, seq-1)
			}
		}
		moved = moved || to > l.cursor
		l.cursor = max(l.cursor, to)
		for seq := range l.taken {
			if seq <= l.cursor {
				delete(l.taken, seq)
			}
		}
		for seq := range l.refused {
			if seq <= l.cursor {
				delete(l.refused, seq)
			}
		}
		if l.cursor == l.saved {
			continue
		}
		sctx, cancel := within(ctx, storeTime)
		err := w.cfg.Store.AdvanceSink(sctx, l.room.Scope(), w.spec.Name, l.cursor)
		cancel()
		if err != nil { // saved with the next one; a crash before that sends again
			w.cfg.Log.Warn("save a sink's cursor", "sink", w.spec.Name, "tenant", l.room.Scope().ID().String(), "error", err)
			continue
		}
		l.saved = l.cursor
	}
	return moved
}

// refuse counts what was refused and sets aside what had its attempts, if the
// receiver takes other events: one that takes none is wrong about us all, and
// skipping would lose a log.
func (w *worker) refuse(ctx context.Context, r *result) {
	now, waiting := w.cfg.Now(), int64(0)
	for _, it := range r.refused {
		l := it.line
		e := l.refused[it.Entry.Seq]
		if e == nil {
			e = &refusal{since: r.begun}
			l.refused[it.Entry.Seq] = e
		}
		e.attempts++
		enough := it.f.Final || e.attempts >= w.spec.Attempts
		if w.spec.OnRefused == SetAside && enough && !w.took.Before(e.since) {
			err := w.setAside(ctx, it)
			if err == nil {
				l.taken[it.Entry.Seq] = true // the next reading passes over it
				delete(l.refused, it.Entry.Seq)
				l.until = time.Time{}
				continue
			}
			w.cfg.Log.Error("a refused event could not be set aside, so it is not", "sink", w.spec.Name, "error", err)
		}
		// Beyond the heads that were known, more may have been delivered than
		// seemed to wait: what was refused waits all the same.
		waiting++
		w.mu.Lock()
		w.st.Behind = max(w.st.Behind, waiting)
		w.mu.Unlock()
		l.until = now.Add(grown(w.spec.FirstWait, w.spec.MostWait, e.attempts))
		v := inTime
		switch {
		case it.Entry.Action == action:
			v = never
		case enough:
			v = atOnce
		}
		w.fail(ctx, it.f, v)
	}
}

// setAside lists the event in the transaction of its own event. Of a sink's own
// events nothing more is said: a receiver that refuses those would otherwise
// make one of each.
func (w *worker) setAside(ctx context.Context, it refusedItem) error {
	ctx, cancel := within(ctx, storeTime)
	defer cancel()
	seq, reason := it.Entry.Seq, clip(it.f.Error(), 300)
	list := func(tx plane.Tx) error { return w.cfg.Store.SetSinkAside(ctx, tx, w.spec.Name, seq, reason) }
	var err error
	if it.Entry.Action == action {
		err = w.cfg.Store.ListAside(ctx, it.line.room.Scope(), w.spec.Name, seq, reason)
	} else {
		_, err = it.line.room.Change(ctx, audit.Event{
			Type: audit.SecurityError, Severity: audit.High, Outcome: audit.Failed, Reason: "sink_set_aside",
			Actor: audit.Actor{Kind: audit.ActorSystem}, Action: action, Resource: "sink/" + w.spec.Name,
			Details: map[string]any{"seq": seq, "error": reason},
		}, list)
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.st.SetAside++
	w.mu.Unlock()
	w.cfg.Log.Warn("an event was set aside", "sink", w.spec.Name, "tenant", it.Tenant, "seq", seq, "error", reason)
	return nil
}
