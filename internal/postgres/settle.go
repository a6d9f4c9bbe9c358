package postgres

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/audit/tally"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

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
	if err := r.s.work.SendBatch(ctx, b).Close(); err != nil {
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
	err = pgx.BeginFunc(ctx, r.s.work, func(tx pgx.Tx) error {
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
