package sink

import (
	"context"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const (
	pageEntries = 500     // what one reading of a log gives at most
	batchBytes  = 4 << 20 // about; a batch ends with the entry that goes beyond
	leastShare  = 20      // entries a log may have in a batch however many wait
)

// line is a sink's way through one log.
type line struct {
	room   plane.Room
	cursor int64 // all up to here is out, filtered or set aside
	saved  int64 // the same in the store
	// Beyond a refused event: what the receiver took, and what it refused. Both
	// are within one page of the cursor.
	taken   map[int64]bool
	refused map[int64]*refusal
	until   time.Time // the log waits so long
}

// refusal is an event that was refused.
type refusal struct {
	attempts int
	since    time.Time
}

// batch is what one Send is to deliver, and what reading for it told.
type batch struct {
	items  []outgoing
	parts  []part
	behind int64     // numbers between cursors and logs
	oldest time.Time // of what was read to be sent
	held   int       // logs that wait behind a refused event
	due    time.Time // when the first of them may go on; zero: none
}

// outgoing is an item and the line it goes by.
type outgoing struct {
	Item
	line *line
}

// part is one log's: read to last, and of that the items wait.
type part struct {
	line *line
	last int64
	seqs []int64 // of its items, ascending
}

// wait is how long to rest with nothing to send.
func (b *batch) wait(now time.Time, idle time.Duration) time.Duration {
	if b.due.IsZero() {
		return idle
	}
	return min(max(b.due.Sub(now), time.Millisecond), idle)
}

// plant makes the cursors of a sink that was never seen, before it is: each
// tenant's log says first that it leaves, from where, and whereto. A tenant met
// later begins with its first event, which is none that was there before.
func (w *worker) plant(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rooms, err := w.cfg.Rooms.Rooms(ctx)
	if err != nil {
		return err
	}
	for _, r := range rooms {
		if !w.spec.takesTenant(r.Scope().Name()) {
			continue
		}
		if _, known, err := w.cfg.Store.SinkCursor(ctx, r.Scope(), w.spec.Name); err != nil || known {
			if err != nil {
				return err
			}
			continue // planted before a crash
		}
		var from int64
		if !w.spec.FromFirst {
			if from, err = newest(ctx, r); err != nil {
				return err
			}
		}
		if err := w.tell(ctx, r, Cursor{Seq: from, Terms: w.spec.terms()}); err != nil {
			return err
		}
	}
	return w.cfg.Store.SaveSinkStatus(ctx, Status{Sink: w.spec.Name, State: Starting, Since: w.cfg.Now(), Holder: w.holder, Updated: w.cfg.Now()})
}

// tell makes a cursor, or gives it new terms, with the tenant's own event of it:
// nothing leaves a log that does not say so.
func (w *worker) tell(ctx context.Context, r plane.Room, c Cursor) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	_, err := r.Change(ctx, audit.Event{
		Type: audit.DataExported, Severity: audit.Warning, Outcome: audit.Success, Reason: "sink_begins",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Action: action, Resource: "sink/" + w.spec.Name,
		Details: map[string]any{"terms": c.Terms, "after": c.Seq},
	}, func(tx plane.Tx) error { return w.cfg.Store.BeginSink(ctx, tx, w.spec.Name, c) })
	return err
}

// line finds or loads a tenant's.
func (w *worker) line(ctx context.Context, id tenant.ID, r plane.Room) (*line, error) {
	if l := w.lines[id]; l != nil {
		return l, nil
	}
	sctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	c, known, err := w.cfg.Store.SinkCursor(sctx, r.Scope(), w.spec.Name)
	if err != nil {
		return nil, err
	}
	if !known || c.Terms != w.spec.terms() {
		c.Terms = w.spec.terms()
		if err := w.tell(ctx, r, c); err != nil {
			return nil, err
		}
	}
	l := &line{room: r, cursor: c.Seq, saved: c.Seq, taken: map[int64]bool{}, refused: map[int64]*refusal{}}
	w.lines[id] = l
	return l, nil
}

// gather reads what waits, a fair share of each log that is behind.
func (w *worker) gather(ctx context.Context) (*batch, error) {
	b := &batch{}
	now := w.cfg.Now()
	all := w.heads.all()
	var behind []*line
	for id, h := range all {
		if !w.spec.takesTenant(h.room.Scope().Name()) {
			continue
		}
		l, err := w.line(ctx, id, h.room)
		if err != nil {
			return nil, err
		}
		if h.seq <= l.cursor {
			continue
		}
		b.behind += h.seq - l.cursor
		if len(l.refused) > 0 {
			b.held++
			if b.due.IsZero() || l.until.Before(b.due) {
				b.due = l.until
			}
			if now.Before(l.until) {
				continue
			}
		}
		behind = append(behind, l)
	}
	for id := range w.lines {
		if _, live := all[id]; !live {
			delete(w.lines, id)
		}
	}
	if len(behind) == 0 {
		return b, nil
	}
	share := max(w.spec.Batch/len(behind), min(leastShare, w.spec.Batch))
	size := 0
	for i := range behind {
		if len(b.items) >= w.spec.Batch || size >= batchBytes {
			break
		}
		l := behind[(i+w.turn)%len(behind)]
		n, err := w.read(ctx, b, l, min(share, w.spec.Batch-len(b.items), pageEntries), batchBytes-size)
		if err != nil {
			if len(b.items) > 0 {
				w.cfg.Log.Warn("read a log for a sink", "sink", w.spec.Name, "tenant", l.room.Scope().ID().String(), "error", err)
				continue // one log's trouble is not the others'
			}
			return nil, err
		}
		size += n
	}
	w.turn++
	return b, nil
}

// read takes up to most entries of a log into b.
func (w *worker) read(ctx context.Context, b *batch, l *line, most, room int) (size int, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	// Filtered here, not by the database: a page is read in bounded time
	// whatever the filter, and a rare type does not scan the whole log.
	entries, _, err := l.room.Log().Events(ctx, audit.Query{After: l.cursor, Limit: max(most, pageEntries/5)})
	if err != nil {
		return 0, err
	}
	p := part{line: l, last: l.cursor}
	id, name := l.room.Scope().ID().String(), l.room.Scope().Name()
	for i := range entries {
		e := &entries[i]
		if size >= room || len(p.seqs) >= most {
			break
		}
		if w.spec.Filter.Takes(e) && !l.taken[e.Seq] {
			b.items = append(b.items, outgoing{w.spec.item(id, name, *e), l})
			p.seqs = append(p.seqs, e.Seq)
			size += len(e.Details) + 700
			if b.oldest.IsZero() || e.Time.Before(b.oldest) {
				b.oldest = e.Time
			}
		}
		p.last = e.Seq
	}
	b.parts = append(b.parts, p)
	return size, nil
}
