package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

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
	err := queryOn(ctx, r.s.work, p.id, each(func(pgx.Rows) error { return nil }),
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
		return queryOn(ctx, r.s.work, p.id, each(func(pgx.Rows) error { return nil }),
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
