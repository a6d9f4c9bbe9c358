package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const (
	changeTries = 3
	abandonTime = 2 * time.Second
)

// Change runs fn in a transaction bound to scope and commits it together with
// ev. What fn only queued, because it needs no answer, travels with its
// neighbours' in the recorder's commit. Once fn asks something, the change has
// a transaction of its own: two round trips then, with what is queued.
func (s *Store) Change(ctx context.Context, scope tenant.Scope, ev audit.Event, fn func(plane.Tx) error) (audit.Receipt, error) {
	if err := scope.Check(); err != nil {
		return audit.Receipt{}, err
	}
	for try := 1; ; try++ {
		r, err := s.change(ctx, scope, ev, fn)
		if err != nil && again(err) && try < changeTries && ctx.Err() == nil {
			continue
		}
		return r, translate(err)
	}
}

func (s *Store) change(ctx context.Context, scope tenant.Scope, ev audit.Event, fn func(plane.Tx) error) (audit.Receipt, error) {
	tx := &Tx{scope: scope, pool: s.pool, ev: &ev, now: s.now, queue: &pgx.Batch{}}
	defer tx.abandon()
	if err := fn(tx); err != nil {
		return audit.Receipt{}, err
	}
	j, err := s.seal(scope, ev)
	if err != nil {
		return audit.Receipt{}, fault.Wrap(err, fault.NoRecord, "the act could not be recorded, so it was not done")
	}
	if tx.conn == nil {
		j.statements = tx.queue.QueuedQueries
		if err := s.recorder.do(ctx, j); err != nil {
			return audit.Receipt{}, err
		}
		return j.events[0].Receipt(), nil
	}
	queueEvent(tx.queue, scope.ID(), &j.events[0])
	tx.queue.Queue(`COMMIT`)
	if err := tx.flush(ctx); err != nil {
		return audit.Receipt{}, err
	}
	if tx.conn.Conn().PgConn().TxStatus() != 'I' {
		return audit.Receipt{}, errors.New("commit: the transaction did not end")
	}
	tx.done = true
	s.seq.poke(scope)
	return j.events[0].Receipt(), nil
}

// Tx is the inside of a change: plane.Tx, and for this package's other stores
// the statements themselves.
type Tx struct {
	scope tenant.Scope
	pool  *pgxpool.Pool
	conn  *pgxpool.Conn // nil until something is asked
	ev    *audit.Event
	now   nowFunc
	queue *pgx.Batch
	done  bool
}

var _ plane.Tx = (*Tx)(nil)

// Scope is the tenant the change happens in.
func (tx *Tx) Scope() tenant.Scope { return tx.scope }

// Documents writes documents.
func (tx *Tx) Documents() plane.DocumentWriter { return documentWriter{tx} }

// Detail adds to the event.
func (tx *Tx) Detail(key string, value any) {
	d := make(map[string]any, len(tx.ev.Details)+1)
	for k, v := range tx.ev.Details {
		d[k] = v
	}
	d[key] = value
	tx.ev.Details = d
}

// Once claims an idempotent key, or finds the earlier answer. A second claimant
// waits here for the first one's commit.
func (tx *Tx) Once(ctx context.Context, key plane.OnceKey) error {
	n, err := tx.exec(ctx, `INSERT INTO idempotency (tenant_id, key, digest, status, answer) VALUES ($1, $2, $3, 0, '')
		ON CONFLICT DO NOTHING`, tx.scope.ID().String(), key.Key[:], key.Digest[:])
	if err != nil || n == 1 {
		return err
	}
	var r plane.Replay
	var digest []byte
	err = tx.row(ctx, []any{&digest, &r.Status, &r.Answer},
		`SELECT digest, status, answer FROM idempotency WHERE tenant_id = $1 AND key = $2`, tx.scope.ID().String(), key.Key[:])
	if err != nil {
		return err
	}
	copy(r.Digest[:], digest)
	return &r
}

// Answer keeps the answer beside the claimed key.
func (tx *Tx) Answer(key plane.OnceKey, status int, answer []byte) {
	tx.later(`UPDATE idempotency SET status = $3, answer = $4 WHERE tenant_id = $1 AND key = $2`,
		tx.scope.ID().String(), key.Key[:], status, answer)
}

// begin takes a connection and puts the transaction's start before what is
// queued.
func (tx *Tx) begin(ctx context.Context) error {
	if tx.conn != nil {
		return nil
	}
	conn, err := tx.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	tx.conn = conn
	b := &pgx.Batch{}
	b.Queue(`BEGIN`)
	b.Queue(setTenant, tx.scope.ID().String())
	for _, q := range tx.queue.QueuedQueries {
		b.Queue(q.SQL, q.Arguments...)
	}
	tx.queue = b
	return nil
}

// flush sends what is queued and reads the answers; the first refusal wins.
func (tx *Tx) flush(ctx context.Context) error {
	b := tx.queue
	tx.queue = &pgx.Batch{}
	return tx.conn.SendBatch(ctx, b).Close()
}

// later queues a statement whose answer nobody needs.
func (tx *Tx) later(sql string, args ...any) { tx.queue.Queue(sql, args...) }

// send flushes the queue with one more statement and hands its rows to read.
func (tx *Tx) send(ctx context.Context, read func(pgx.Rows) error, sql string, args ...any) error {
	if err := tx.begin(ctx); err != nil {
		return err
	}
	b := tx.queue
	tx.queue = &pgx.Batch{}
	before := b.Len()
	b.Queue(sql, args...)
	br := tx.conn.SendBatch(ctx, b)
	err := func() error {
		for range before {
			if _, err := br.Exec(); err != nil {
				return err
			}
		}
		rows, err := br.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		if err := read(rows); err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	}()
	if cerr := br.Close(); err == nil {
		err = cerr
	}
	return err
}

func (tx *Tx) row(ctx context.Context, into []any, sql string, args ...any) error {
	return tx.send(ctx, one(func(r pgx.Rows) error { return r.Scan(into...) }), sql, args...)
}

func (tx *Tx) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	var tag pgconn.CommandTag
	err := tx.send(ctx, func(r pgx.Rows) error {
		for r.Next() {
		}
		r.Close()
		tag = r.CommandTag()
		return r.Err()
	}, sql, args...)
	return tag.RowsAffected(), err
}

// abandon rolls back what did not commit. A connection that cannot is closed,
// which rolls back too.
func (tx *Tx) abandon() {
	if tx.conn == nil {
		return
	}
	defer tx.conn.Release()
	conn := tx.conn.Conn()
	if tx.done || conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), abandonTime)
	defer cancel()
	if _, err := conn.Exec(ctx, `ROLLBACK`); err != nil {
		_ = conn.Close(ctx)
	}
}

// own is the transaction that this package made; any other is a wiring fault.
func own(tx plane.Tx) (*Tx, error) {
	t, ok := tx.(*Tx)
	if !ok {
		return nil, fmt.Errorf("postgres: a %T is not this store's transaction", tx)
	}
	return t, nil
}
