package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

type nowFunc = func() time.Time

const (
	recordQueue   = 4096 // jobs waiting for a commit; a full queue makes writers wait
	recordBatch   = 1024 // events in one commit
	recordTimeout = 10 * time.Second
	recordWriters = 3 // of large groups, at a time
	recordAlone   = 4 // commits of those that their group's would not take

	// Those who were just answered may come back before the next group goes: else
	// two halves take turns, and each pays a commit. It waits for them a share of
	// the last commit's time.
	gatherShare = 4

	noteWait = 4 * time.Millisecond // how long notes gather while nobody waits

	// groupWait is how long a group's statements wait for a row that another
	// transaction holds. After it each goes alone, with the usual patience.
	groupWait = "100ms"
)

// recorder commits what asks nothing of the database: events by themselves,
// acts' intents and outcomes, and changes that are statements without answers.
// Whoever waits shares the next commit: throughput without weaker durability.
//
// There are two lanes. Events, and the rows of open acts that only their owner
// touches, wait for nobody's locks, and large groups of them are committed side
// by side. Statements may wait, so theirs go one after another: two groups of one
// process, each holding what the other wants next, cannot be. A group that is refused is taken apart
// until the one that is at fault is alone with its error.
type recorder struct {
	s      *Store
	queue  *lane
	stated *lane
	gate   sync.RWMutex // held for reading while something is put in a queue
	closed bool
	lost   atomic.Int64
	beside chan struct{}
	alone  chan struct{}
	wg     sync.WaitGroup
}

// job is what is committed together whatever else the commit holds.
type job struct {
	scope      tenant.Scope
	events     []record.Sealed
	one        [1]record.Sealed // room for the usual events
	room       *record.Room     // events' own, if they are many
	raw        bool             // its one event is sealed with its group
	opens      uuid.UUID        // an intent that is then open, or Nil
	closes     uuid.UUID
	statements []*pgx.QueuedQuery
	done       chan error // nil for a note
	state      atomic.Int32
}

const (
	jobWaits int32 = iota
	jobTaken
	jobLeft // by its owner, before it was taken
)

// notes are jobs of one event that nobody waits for, asks those that somebody
// does, used again: most of what is written is one of them. A room holds the
// bodies of a group's.
var (
	notes = sync.Pool{New: func() any { return new(job) }}
	asks  = sync.Pool{New: func() any { return &job{done: make(chan error, 1)} }}
	rooms = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}
)

const keepRoom = 256 << 10 // the largest that is kept

func startRecorder(s *Store) *recorder {
	r := &recorder{s: s, queue: newLane(recordQueue), stated: newLane(recordQueue / 8), beside: make(chan struct{}, recordWriters), alone: make(chan struct{}, recordAlone)}
	r.wg.Add(2)
	go r.run(r.queue)
	go r.run(r.stated)
	return r
}

func (r *recorder) stop() {
	r.gate.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue.jobs)
		close(r.stated.jobs)
	}
	r.gate.Unlock()
	r.wg.Wait()
}

// do waits for the job's commit. A caller that leaves before the job is taken
// takes it along; later it may still commit.
func (r *recorder) do(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.enqueue(ctx, j); err != nil {
		return err
	}
	return r.wait(ctx, j)
}

func (r *recorder) wait(ctx context.Context, j *job) error {
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		j.state.CompareAndSwap(jobWaits, jobLeft)
		return ctx.Err()
	}
}

func (r *recorder) enqueue(ctx context.Context, j *job) error {
	// stop closes the queues' readers; nothing may be put in after that.
	r.gate.RLock()
	defer r.gate.RUnlock()
	if r.closed {
		return fault.New(fault.NoRecord, "the audit log is closing")
	}
	if len(j.statements) > 0 {
		return r.stated.put(ctx, j)
	}
	return r.queue.put(ctx, j)
}

// run commits what waits in a lane, a group at a time. Groups that are large
// already have company: their rows, not their commits, are what they cost, and
// backends work on rows side by side.
func (r *recorder) run(l *lane) {
	defer r.wg.Done()
	var company int
	var took time.Duration
	for j := range l.jobs {
		if j.done == nil {
			l.await(1, noteWait)
		} else {
			l.await(company, took/gatherShare)
		}
		batch, events := l.collect(j)
		begun := time.Now()
		if events < rowEvents || len(j.statements) > 0 {
			company = waiting(batch)
			r.group(batch)
			company, took = company+int(l.owed.Load()), time.Since(begun)
			continue
		}
		company = 0
		r.beside <- struct{}{}
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			defer func() { <-r.beside }()
			r.group(batch)
		}()
	}
}

func waiting(batch []*job) (n int) {
	for _, j := range batch {
		if j.done != nil {
			n++
		}
	}
	return n
}

// group seals a group's events, as far as they are not, and commits it: the
// sealing code and one stretch of memory at hand, an event costs a third. One
// that cannot be sealed is answered alone.
func (r *recorder) group(batch []*job) {
	if slices.ContainsFunc(batch, func(j *job) bool { return j.raw }) { // never beside statements, whose writing may outlast this
		room := rooms.Get().(*[]byte)
		batch, *room = r.seal(batch, (*room)[:0])
		defer func() {
			if cap(*room) <= keepRoom {
				rooms.Put(room)
			}
		}()
	}
	r.write(batch)
}

func (r *recorder) seal(batch []*job, room []byte) ([]*job, []byte) {
	var id tenant.ID
	var text string
	kept := batch[:0]
	for _, j := range batch {
		if j.raw {
			if j.scope.ID() != id || text == "" {
				id, text = j.scope.ID(), j.scope.ID().String()
			}
			var err error
			if room, err = j.one[0].Seal(room, text, r.s.now); err != nil {
				if j.done == nil {
					r.noted(j, err)
				} else {
					j.done <- fault.Wrap(err, fault.NoRecord, "the event could not be recorded")
				}
				continue
			}
		}
		kept = append(kept, j)
	}
	return kept, room
}

// noted ends a note, written or lost.
func (r *recorder) noted(j *job, err error) {
	r.s.reads.answer(j.scope.ID(), err)
	if err != nil {
		r.lost.Add(1)
		e := &j.one[0]
		r.s.log.Error("an event was not recorded", "tenant", j.scope.ID().String(), "type", e.Type, "request_id", e.RequestID, "error", err)
	}
	*j = job{}
	notes.Put(j)
}

// write commits a group. If the database refuses it, its members go in halves,
// then alone: one's trouble must not become its neighbours'.
func (r *recorder) write(batch []*job) {
	if len(batch) == 0 {
		return
	}
	stated := len(batch[0].statements) > 0
	err := r.commit(batch, stated)
	switch {
	case err == nil || !apart(err):
	case len(batch) > 1:
		r.write(batch[:len(batch)/2])
		r.write(batch[len(batch)/2:])
		return
	case stated && waited(err):
		// It waits for somebody's lock; the lane does not.
		r.alone <- struct{}{}
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			defer func() { <-r.alone }()
			r.answer(batch, r.commit(batch, false))
		}()
		return
	}
	r.answer(batch, err)
}

// apart reports whether the transaction is known to be undone for a reason that
// may be one member's. After a lost connection nobody knows.
func apart(err error) bool {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.SeverityUnlocalized != "ERROR" {
		return false
	}
	switch pe.Code[:2] {
	case "08", "25", "53", "58", "XX": // connection, read-only, resources, system, internal: everybody's
		return false
	}
	return true
}

func waited(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == lockNotAvailable || pe.Code == deadlock)
}

func (r *recorder) answer(batch []*job, err error) {
	r.s.writing.saw(r.s.now(), err)
	for _, j := range batch {
		if err == nil {
			r.s.seq.poke(j.scope)
		}
		if j.done == nil {
			r.noted(j, err)
			continue
		}
		j.done <- err
	}
}

const (
	openIntents  = `INSERT INTO audit_intents (tenant_id, id, event_row, replica) SELECT $1, *, $4 FROM unnest($2::uuid[], $3::uuid[])`
	closeIntents = `DELETE FROM audit_intents WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`
	setGroup     = `SELECT set_config('app.current_tenant_id', $1, true), set_config('lock_timeout', '` + groupWait + `', true)`
)

// commit writes jobs in one transaction: one pipeline, one Sync, one commit.
// Each tenant's part runs with that tenant set.
func (r *recorder) commit(batch []*job, hurry bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	set := setTenant
	if hurry {
		set = setGroup
	}
	b := &pgx.Batch{}
	var rest []*job
	var rows []*packed
	for len(batch) > 0 {
		id := batch[0].scope.ID()
		b.Queue(set, id.String())
		rest = rest[:0:0]
		mine := batch[:0:0]
		for _, j := range batch {
			if j.scope.ID() == id {
				mine = append(mine, j)
			} else {
				rest = append(rest, j)
			}
		}
		rows = append(rows, r.enter(b, id, mine)...)
		batch = rest
	}
	defer func() {
		for _, p := range rows {
			p.free()
		}
	}()
	if len(rows) > 0 && rows[0].n == rowEvents {
		return r.s.sendLarge(ctx, b)
	}
	return r.s.work.SendBatch(ctx, b).Close()
}

// enter adds one tenant's jobs: what changes comes before what tells of it, and
// an intent's row, which only finds its event again, after both. It answers the
// rows of events.
func (r *recorder) enter(b *pgx.Batch, id tenant.ID, jobs []*job) []*packed {
	var closes [][16]byte
	events := make([]*record.Sealed, 0, len(jobs))
	notes := 0
	opening := false
	for _, j := range jobs {
		if j.done == nil {
			notes++
		}
		for _, q := range j.statements {
			b.Queue(q.SQL, q.Arguments...)
		}
		if j.closes != uuid.Nil {
			closes = append(closes, j.closes)
		}
		opening = opening || j.opens != uuid.Nil
		for i := range j.events {
			events = append(events, &j.events[i])
		}
	}
	rows := queueEvents(b, id, events)
	if opening {
		var opens, at [][16]byte
		n := 0
		for _, j := range jobs {
			if j.opens != uuid.Nil {
				opens, at = append(opens, j.opens), append(at, rowOf(rows, n))
			}
			n += len(j.events)
		}
		b.Queue(openIntents, [16]byte(id), opens, at, [16]byte(r.s.acts.replica))
	}
	if closes != nil {
		b.Queue(closeIntents, [16]byte(id), closes)
	}
	r.s.reads.tally(b, id, notes)
	return rows
}
