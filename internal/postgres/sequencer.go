package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const (
	sequenceEvery = 100 * time.Millisecond // how long a committed event usually stays unnumbered
	sequencers    = 2                      // tenants at a time
	sequenceSweep = 5 * time.Second        // other replicas' leftovers, after their crash
	sequenceBatch = 2000                   // rows in one transaction
	sequenceTime  = 20 * time.Second
)

const (
	// The tree trails the commits by at most a second: half of it is the
	// sequencer's, half the publisher's.
	trail      = 500 * time.Millisecond
	restFactor = 4 // a round is followed by so many times its own length, within the trail
	restLeast  = 20 * time.Millisecond
)

// rest is how long a loop stays quiet after a round of the given length, at least
// least. On a machine that cannot keep up rounds grow, and more of the log goes
// in each; but whoever comes as one begins waits for it, the rest and the next.
func rest(round, least time.Duration) time.Duration {
	return max(min(max(restFactor*round, least), trail-2*round), restLeast)
}

// sequencer numbers committed events: those of this store soon after their
// commit, everybody's in a slow sweep, and a reader's own before it reads.
type sequencer struct {
	s       *Store
	mu      sync.Mutex
	dirty   map[tenant.ID]tenant.Scope
	wake    chan struct{}
	closing chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

func startSequencer(s *Store) *sequencer {
	q := &sequencer{s: s, dirty: map[tenant.ID]tenant.Scope{}, wake: make(chan struct{}, 1), closing: make(chan struct{})}
	q.wg.Add(1)
	go q.run()
	return q
}

func (q *sequencer) stop() {
	q.once.Do(func() { close(q.closing) })
	q.wg.Wait()
}

// poke says that the tenant has events to number.
func (q *sequencer) poke(scope tenant.Scope) {
	q.mu.Lock()
	_, known := q.dirty[scope.ID()]
	q.dirty[scope.ID()] = scope
	q.mu.Unlock()
	if !known {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

func (q *sequencer) run() {
	defer q.wg.Done()
	sweep := time.NewTicker(sequenceSweep)
	defer sweep.Stop()
	q.sweep()
	pause := sequenceEvery
	for {
		select {
		case <-q.closing:
			q.round()
			return
		case <-sweep.C:
			q.sweep()
		case <-q.wake:
			// Let a burst gather: one search then numbers all of it.
			select {
			case <-time.After(pause):
			case <-q.closing:
			}
			begun := time.Now()
			q.round()
			pause = rest(time.Since(begun), sequenceEvery)
		}
	}
}

func (q *sequencer) round() {
	q.mu.Lock()
	scopes := q.dirty
	q.dirty = map[tenant.ID]tenant.Scope{}
	q.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(sequencers)
	for _, scope := range scopes {
		g.Go(func() error {
			if err := q.number(context.Background(), q.s.work, scope); err != nil {
				q.s.log.Warn("number audit events", "tenant", scope.ID().String(), "error", err)
				q.poke(scope)
				return nil
			}
			q.summarise(scope.ID())
			return nil
		})
	}
	_ = g.Wait()
}

// summarise is for listings alone: it may fail, and the next round makes good.
func (q *sequencer) summarise(id tenant.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), sequenceTime)
	defer cancel()
	if err := q.s.summarise(ctx, id); err != nil {
		q.s.log.Warn("summarise the audit log", "tenant", id.String(), "error", err)
	}
}

// number gives every event of the tenant that is committed now its number. on
// says whose connections it takes.
func (q *sequencer) number(ctx context.Context, on *pgxpool.Pool, scope tenant.Scope) error {
	ctx, cancel := context.WithTimeout(ctx, sequenceTime)
	defer cancel()
	for {
		var n int
		err := queryOn(ctx, on, scope.ID(), one(func(r pgx.Rows) error { return r.Scan(&n) }), `SELECT audit_sequence($1)`, sequenceBatch)
		if n > 0 {
			q.s.pub.poke(scope.ID())
		}
		if err != nil || n < sequenceBatch {
			return err
		}
	}
}

// sweep numbers what a crashed replica left, for all tenants in one round trip.
func (q *sequencer) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), sequenceTime)
	defer cancel()
	if err := q.sweepAll(ctx); err != nil && ctx.Err() == nil {
		q.s.log.Warn("sweep unnumbered audit events", "error", err)
	}
}

func (q *sequencer) sweepAll(ctx context.Context) error {
	rows, err := q.s.work.Query(ctx, `SELECT id::text FROM tenants`)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if err := q.closeOrphans(ctx, ids); err != nil {
		return err
	}
	if err := q.s.reads.sweep(ctx, ids); err != nil {
		return err
	}
	b := &pgx.Batch{}
	for _, id := range ids {
		b.Queue(setTenant, id)
		b.Queue(`SELECT audit_sequence($1)`, sequenceBatch)
	}
	if err := q.s.work.SendBatch(ctx, b).Close(); err != nil || q.s.pub == nil {
		return err
	}
	late, err := q.s.pub.behind(ctx, ids)
	q.s.pub.poke(late...)
	if err != nil {
		return err
	}
	return q.s.pub.arrivals(ctx, ids)
}

// closeOrphans ends what acts on the outside world left open.
func (q *sequencer) closeOrphans(ctx context.Context, ids []string) error {
	b := &pgx.Batch{}
	q.s.acts.beat(b)
	var found []orphan
	for _, text := range ids {
		id, err := tenant.ParseID(text)
		if err != nil {
			return err
		}
		b.Queue(setTenant, text)
		q.s.acts.orphans(b, id, &found)
	}
	if err := q.s.work.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	for _, o := range found {
		if err := q.s.closeIntent(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
