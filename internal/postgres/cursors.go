package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

var _ sink.Store = (*Store)(nil)

// HoldSink takes or prolongs a sink's lease, by the database's clock.
func (s *Store) HoldSink(ctx context.Context, name string, holder uuid.UUID, length time.Duration) (held bool, err error) {
	err = s.queryIn(ctx, tenant.House, each(func(pgx.Rows) error { held = true; return nil }),
		`INSERT INTO sink_states AS t (tenant_id, sink, holder, until) VALUES ($1, $2, $3, now() + make_interval(secs => $4))
		ON CONFLICT (tenant_id, sink) DO UPDATE SET holder = $3, until = now() + make_interval(secs => $4)
		WHERE t.holder IS NULL OR t.holder = $3 OR t.until < now() RETURNING 1`,
		tenant.House.String(), name, holder, length.Seconds())
	return held, err
}

// LeaveSink ends the holder's lease; another's stays.
func (s *Store) LeaveSink(ctx context.Context, name string, holder uuid.UUID) error {
	return s.queryIn(ctx, tenant.House, nothing,
		`UPDATE sink_states SET holder = NULL, until = NULL WHERE tenant_id = $1 AND sink = $2 AND holder = $3`,
		tenant.House.String(), name, holder)
}

// SinkStatus is what the sink's holder saved last.
func (s *Store) SinkStatus(ctx context.Context, name string) (st sink.Status, ok bool, err error) {
	all, err := s.sinkStatuses(ctx, &name)
	if err != nil || len(all) == 0 {
		return sink.Status{}, false, err
	}
	return all[0], true, nil
}

// SinkStatuses are those of all sinks that ever worked, by name.
func (s *Store) SinkStatuses(ctx context.Context) ([]sink.Status, error) {
	return s.sinkStatuses(ctx, nil)
}

func (s *Store) sinkStatuses(ctx context.Context, name *string) (out []sink.Status, err error) {
	err = s.queryIn(ctx, tenant.House, each(func(r pgx.Rows) error {
		var st sink.Status
		var text []byte
		var holder *uuid.UUID
		if err := r.Scan(&text, &holder); err != nil {
			return err
		}
		if err := json.Unmarshal(text, &st); err != nil {
			return fmt.Errorf("read the state of a sink: %w", err)
		}
		st.Holder = uuid.Nil
		if holder != nil {
			st.Holder = *holder
		}
		out = append(out, st)
		return nil
	}), `SELECT status, CASE WHEN until > now() THEN holder END FROM sink_states
		WHERE tenant_id = $1 AND ($2::text IS NULL OR sink = $2) AND status IS NOT NULL ORDER BY sink`, tenant.House.String(), name)
	return out, err
}

// SaveSinkStatus keeps a state while st.Holder holds the lease; a state of
// whoever lost it is dropped.
func (s *Store) SaveSinkStatus(ctx context.Context, st sink.Status) error {
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return s.queryIn(ctx, tenant.House, nothing, `UPDATE sink_states SET status = $3 WHERE tenant_id = $1 AND sink = $2 AND holder = $4`,
		tenant.House.String(), st.Sink, string(text), st.Holder)
}

// SinkCursor tells how far a sink came in the tenant's log.
func (s *Store) SinkCursor(ctx context.Context, scope tenant.Scope, name string) (c sink.Cursor, ok bool, err error) {
	if err := scope.Check(); err != nil {
		return c, false, err
	}
	err = s.query(ctx, scope, each(func(r pgx.Rows) error { ok = true; return r.Scan(&c.Seq, &c.Terms) }),
		`SELECT seq, terms FROM sink_cursors WHERE tenant_id = $1 AND sink = $2`, scope.ID().String(), name)
	return c, ok, err
}

// BeginSink makes a cursor inside a change of the tenant, or sets its terms.
func (s *Store) BeginSink(_ context.Context, ptx plane.Tx, name string, c sink.Cursor) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.later(`INSERT INTO sink_cursors (tenant_id, sink, seq, terms) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, sink) DO UPDATE SET terms = $4`, tx.scope.ID().String(), name, c.Seq, c.Terms)
	return nil
}

// AdvanceSink moves a cursor forward. One that is beyond already stays: a holder
// that lost its lease cannot take a newer one back.
func (s *Store) AdvanceSink(ctx context.Context, scope tenant.Scope, name string, seq int64) error {
	if err := scope.Check(); err != nil {
		return err
	}
	var known bool
	err := s.query(ctx, scope, each(func(pgx.Rows) error { known = true; return nil }),
		`UPDATE sink_cursors SET seq = GREATEST(seq, $3) WHERE tenant_id = $1 AND sink = $2 RETURNING 1`, scope.ID().String(), name, seq)
	if err == nil && !known {
		err = fault.New(fault.NotFound, "the sink has no cursor here")
	}
	return err
}

// SetSinkAside lists an event as refused, inside a change of the tenant.
func (s *Store) SetSinkAside(_ context.Context, ptx plane.Tx, name string, seq int64, reason string) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.later(insertAside, tx.scope.ID().String(), name, seq, reason)
	return nil
}

// ListAside lists an event about a sink as refused.
func (s *Store) ListAside(ctx context.Context, scope tenant.Scope, name string, seq int64, reason string) error {
	if err := scope.Check(); err != nil {
		return err
	}
	return s.query(ctx, scope, nothing, insertAside, scope.ID().String(), name, seq, reason)
}

const insertAside = `INSERT INTO sink_set_aside (tenant_id, sink, seq, reason) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`

// nothing reads no rows.
func nothing(pgx.Rows) error { return nil }
