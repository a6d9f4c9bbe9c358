package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/audit/tally"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const (
	leaseStep = 256    // notes that a lease is ahead of those promised, at first
	leaseMost = 16_384 // and for a tenant that reads a lot
	leaseIdle = time.Minute
	leaseTime = 5 * time.Second
)

// reads counts notes, so that a crash can tell how many it swallowed. A note is
// promised before what it tells of is shown: counted in memory that outlives the
// process (package tally) and covered by a lease, a durable row that says how
// many this replica may have promised. Each commit of notes adds how many they
// were to note_counts, in its own transaction. After a crash the difference is
// what was lost: exactly, by the next process that finds the file; at most, by
// the lease, for whoever sees that the replica has fallen silent.
//
// The file's finder locks and deletes the lease, which note_counts refers to: a
// commit of the dead process that is still under way ends first and counts, and
// one that comes later is refused, with its notes.
type reads struct {
	s    *Store
	dir  string      // of tally files, "" for none
	file *tally.File // nil: counted in plain memory

	gate   sync.RWMutex // held for reading while a counter is used
	closed bool
	mu     sync.RWMutex
	m      map[tenant.ID]*promises
	wg     sync.WaitGroup
}

// promises are one tenant's.
type promises struct {
	id       tenant.ID
	count    *atomic.Int64 // promised
	leased   atomic.Int64  // may be promised
	answered atomic.Int64  // of those promised, written or given up
	failed   atomic.Int64  // given up since the last report, perhaps written

	mu       sync.Mutex // one extends the lease at a time
	asked    atomic.Bool
	extended time.Time
	swept    int64 // answered at the last sweep
	since    time.Time
}

func startReads(s *Store, dir string) (*reads, error) {
	r := &reads{s: s, dir: dir, m: map[tenant.ID]*promises{}}
	if dir == "" {
		return r, nil
	}
	var err error
	r.file, err = tally.Create(dir, s.acts.replica)
	return r, err
}

func (r *reads) of(id tenant.ID) *promises {
	r.mu.RLock()
	p := r.m[id]
	r.mu.RUnlock()
	if p != nil {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p = r.m[id]; p == nil {
		p = &promises{id: id, count: new(atomic.Int64)}
		if r.file != nil {
			if c := r.file.Counter(id); c != nil {
				p.count = c
			}
		}
		r.m[id] = p
	}
	return p
}

// Promise counts a note that Keep will bring: from here on a crash reports it.
func (s *Store) Promise(ctx context.Context, scope tenant.Scope) error {
	if err := scope.Check(); err != nil {
		return err
	}
	r := s.reads
	r.gate.RLock()
	defer r.gate.RUnlock()
	if r.closed {
		return fault.New(fault.NoRecord, "the audit log is closing")
	}
	p := r.of(scope.ID())
	n := p.count.Add(1)
	leased := p.leased.Load()
	if n > leased {
		if err := r.extend(ctx, p, n); err != nil {
			p.count.Add(-1)
			return fault.Wrap(err, fault.NoRecord, "the read could not be promised to the audit log")
		}
		return nil
	}
	if leased-n < leaseStep/2 && p.asked.CompareAndSwap(false, true) {
		r.wg.Add(1)
		go func() { // before anybody has to wait for it
			defer r.wg.Done()
			defer p.asked.Store(false)
			if err := r.extend(context.Background(), p, leased+1); err != nil {
				s.log.Warn("extend the lease of reads", "tenant", p.id.String(), "error", err)
			}
		}()
	}
	return nil
}

// extend makes durable that n notes, and some more, may be promised.
func (r *reads) extend(ctx context.Context, p *promises, n int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	leased := p.leased.Load()
	if n <= leased {
		return nil
	}
	step := int64(leaseStep)
	now := r.s.now()
	if now.Sub(p.extended) < 10*time.Second {
		step = min(leaseMost, max(leaseStep, leased))
	}
	p.extended = now
	return r.lease(ctx, p, n+step)
}

func (r *reads) lease(ctx context.Context, p *promises, upto int64) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	err := r.s.queryIn(ctx, p.id, each(func(pgx.Rows) error { return nil }),
		`INSERT INTO note_leases (tenant_id, replica, upto) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, replica) DO UPDATE SET upto = $3`,
		p.id.String(), r.s.acts.replica, upto)
	if err == nil {
		p.leased.Store(upto)
	}
	return err
}

// tally queues, in the transaction that commits n notes of the tenant, that it
// does.
func (r *reads) tally(b *pgx.Batch, id tenant.ID, n int) {
	if n > 0 {
		b.Queue(`INSERT INTO note_counts (tenant_id, replica, n) VALUES ($1, $2, $3)`, id.String(), r.s.acts.replica, n)
	}
}

// answer says that a promised note was written, or given up.
func (r *reads) answer(id tenant.ID, err error) {
	r.mu.RLock()
	p := r.m[id] // promised, so it is there
	r.mu.RUnlock()
	if err != nil {
		p.failed.Add(1)
	}
	p.answered.Add(1)
}

// sweep does the slow work: what dead processes of this machine lost, and those
// elsewhere; this one's own counts and failures.
func (r *reads) sweep(ctx context.Context, ids []string) error {
	if err := r.leftovers(ctx); err != nil {
		return err
	}
	if err := r.silent(ctx, ids); err != nil {
		return err
	}
	r.mu.Lock()
	all := make([]*promises, 0, len(r.m))
	for _, p := range r.m {
		all = append(all, p)
	}
	r.mu.Unlock()
	for _, p := range all {
		if err := r.tidy(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// tidy adds a tenant's counts up, reports what was given up, and takes back an
// idle lease, so that another replica's bound on it is narrow.
func (r *reads) tidy(ctx context.Context, p *promises) error {
	r.gate.RLock()
	defer r.gate.RUnlock()
	if r.closed {
		return nil
	}
	now := r.s.now()
	answered := p.answered.Load()
	if failed := p.failed.Load(); failed > 0 && p.count.Load() == answered {
		lost, err := r.settle(ctx, settlement{tenant: p.id, replica: r.s.acts.replica, promised: answered, lives: true})
		if err != nil {
			return err
		}
		p.failed.Add(-failed)
		r.s.log.Error("reads were not recorded", "tenant", p.id.String(), "lost", lost)
	}
	if answered != p.swept || p.since.IsZero() {
		p.swept, p.since = answered, now
		return r.s.queryIn(ctx, p.id, each(func(pgx.Rows) error { return nil }),
			`WITH d AS (DELETE FROM note_counts WHERE tenant_id = $1 AND replica = $2 RETURNING n)
			INSERT INTO note_counts (tenant_id, replica, n) SELECT $1, $2, sum(n) FROM d HAVING count(*) > 0`, p.id.String(), r.s.acts.replica)
	}
	if now.Sub(p.since) < leaseIdle || p.leased.Load() == p.count.Load() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	was, count := p.leased.Load(), p.count.Load()
	p.leased.Store(count) // whoever promises now waits for the lock
	if p.count.Load() > count {
		p.leased.Store(was)
		return nil
	}
	return r.lease(ctx, p, count)
}

// leftovers settles what processes of this machine promised that are gone.
func (r *reads) leftovers(ctx context.Context) error {
	if r.dir == "" {
		return nil
	}
	found, err := tally.Leftovers(r.dir)
	if err != nil {
		r.s.log.Warn("look for counters of processes that are gone", "error", err)
	}
	for i, l := range found {
		if err := r.takeOver(ctx, l); err != nil {
			for _, l := range found[i:] {
				l.Release()
			}
			return fmt.Errorf("settle the reads of replica %s: %w", l.ID, err)
		}
		if err := l.Remove(); err != nil {
			return err
		}
	}
	return nil
}

func (r *reads) takeOver(ctx context.Context, l *tally.Left) error {
	for key, n := range l.Counts {
		lost, err := r.settle(ctx, settlement{tenant: tenant.ID(key), replica: l.ID, promised: n, bound: !l.Exact})
		if err != nil {
			return err
		}
		if lost > 0 {
			r.s.log.Error("a crash lost reads", "tenant", tenant.ID(key).String(), "replica", l.ID, "lost", lost, "exact", l.Exact)
		}
	}
	return nil
}

// silent reports, at most, what replicas lost that have not been heard of.
func (r *reads) silent(ctx context.Context, ids []string) error {
	var found []settlement
	b := &pgx.Batch{}
	for _, text := range ids {
		id, err := tenant.ParseID(text)
		if err != nil {
			return err
		}
		b.Queue(setTenant, text)
		// A replica that was taken for dead is heard of again: what was reported
		// of it stays true, and its end will be looked at anew.
		b.Queue(`UPDATE note_leases SET reported = NULL WHERE tenant_id = $1 AND replica = $2 AND reported IS NOT NULL`, text, r.s.acts.replica)
		b.Queue(`SELECT l.replica FROM note_leases l WHERE l.tenant_id = $1 AND l.replica <> $2 AND l.reported IS NULL
			AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.id = l.replica AND r.beat > now() - interval '`+beatLost+`')`,
			text, r.s.acts.replica).Query(each(func(rows pgx.Rows) error {
			st := settlement{tenant: id, bound: true, absent: true}
			err := rows.Scan(&st.replica)
			found = append(found, st)
			return err
		}))
	}
	if err := r.s.pool.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	for _, st := range found {
		lost, err := r.settle(ctx, st)
		if err != nil {
			return err
		}
		if lost > 0 {
			r.s.log.Error("a replica that fell silent may have lost reads", "tenant", st.tenant.String(), "replica", st.replica, "at_most", lost)
		}
	}
	return nil
}

// settlement compares what a replica promised one tenant with what it wrote.
type settlement struct {
	tenant   tenant.ID
	replica  uuid.UUID
	promised int64
	bound    bool // promised is not exact: the lease is what counts
	absent   bool // no file was found; one may be, later
	lives    bool // the replica goes on
}

// settle writes the difference to the tenant's log, if there is one, and what
// remembers the replica in the same transaction. It answers the difference.
func (r *reads) settle(ctx context.Context, st settlement) (lost int64, err error) {
	err = pgx.BeginFunc(ctx, r.s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setTenant, st.tenant.String()); err != nil {
			return err
		}
		var upto, written int64
		var reported *int64
		err := tx.QueryRow(ctx, `SELECT upto, reported FROM note_leases WHERE tenant_id = $1 AND replica = $2 FOR UPDATE`,
			st.tenant.String(), st.replica).Scan(&upto, &reported)
		if err == pgx.ErrNoRows || err == nil && st.absent && reported != nil {
			return nil // nothing was promised, or somebody else was faster
		}
		if err != nil {
			return err
		}
		// Under the lock: whatever was under way has ended and counts.
		if err := tx.QueryRow(ctx, `SELECT COALESCE(sum(n), 0) FROM note_counts WHERE tenant_id = $1 AND replica = $2`,
			st.tenant.String(), st.replica).Scan(&written); err != nil {
			return err
		}
		if st.bound {
			st.promised = upto
		}
		lost = max(st.promised-written, 0)
		out := &pgx.Batch{}
		if lost > 0 || reported != nil && *reported > 0 && !st.bound {
			sealed, err := record.Seal(st.tenant.String(), st.event(lost, written, reported), r.s.now)
			if err != nil {
				return err
			}
			queueEvents(out, st.tenant, []*record.Sealed{&sealed})
		}
		switch {
		case st.lives:
			out.Queue(`INSERT INTO note_counts (tenant_id, replica, n) VALUES ($1, $2, $3)`, st.tenant.String(), st.replica, lost)
		case st.absent:
			out.Queue(`UPDATE note_leases SET reported = $3 WHERE tenant_id = $1 AND replica = $2`, st.tenant.String(), st.replica, lost)
		default:
			out.Queue(`DELETE FROM note_counts WHERE tenant_id = $1 AND replica = $2`, st.tenant.String(), st.replica)
			out.Queue(`DELETE FROM note_leases WHERE tenant_id = $1 AND replica = $2`, st.tenant.String(), st.replica)
		}
		return tx.SendBatch(ctx, out).Close()
	})
	return lost, translate(err)
}

// event says how many reads are missing from the log: "lost" of them, or
// "lost_at_most". An exact count after a bound says which bound it corrects.
func (st settlement) event(lost, written int64, reported *int64) audit.Event {
	ev := audit.Event{Type: audit.SecurityError, Severity: audit.High, Outcome: audit.Failed, Reason: "reads_lost", Resource: "audit",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Details: map[string]any{"replica": st.replica.String(), "recorded": written}}
	if st.bound {
		ev.Details["lost_at_most"] = lost
		return ev
	}
	ev.Details["lost"] = lost
	if reported != nil {
		ev.Details["reported_at_most"] = *reported
		if lost == 0 {
			ev.Severity, ev.Outcome, ev.Reason = audit.Info, audit.Success, "reads_not_lost"
		}
	}
	return ev
}

// stop settles what this process promised. What cannot be settled now is found
// by the next start.
func (r *reads) stop() {
	r.gate.Lock()
	if r.closed {
		r.gate.Unlock()
		return
	}
	r.closed = true
	r.gate.Unlock()
	r.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	clean := true
	for _, p := range r.m {
		if _, err := r.settle(ctx, settlement{tenant: p.id, replica: r.s.acts.replica, promised: p.count.Load()}); err != nil {
			clean = false
			r.s.log.Warn("settle the reads of this process", "tenant", p.id.String(), "error", err)
		}
	}
	if r.file == nil {
		return
	}
	if !clean {
		return // the lock goes with the process
	}
	if err := r.file.Remove(); err != nil {
		r.s.log.Warn("remove the counters of this process", "error", err)
	}
}
