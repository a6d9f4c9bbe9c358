package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// SetRetention decides for how many days the bodies of the change's tenant are
// kept, in a change of the house for how many every tenant's are. More is in
// force at once, less in seven days, by the database's own trigger: whoever has
// stolen the application's role cannot lower and delete in one breath.
func (s *Store) SetRetention(_ context.Context, ptx plane.Tx, days int, owner, reason string) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	if days < audit.MinRetention || days > audit.MaxRetention {
		return fault.New(fault.Unprocessable, "a retention is %d to %d days", audit.MinRetention, audit.MaxRetention)
	}
	if err := answerable(owner, reason); err != nil {
		return err
	}
	tx.later(`INSERT INTO audit_retention (tenant_id, days, owner, reason) VALUES ($1, $2, $3, $4)`, tx.scope.ID().String(), days, owner, reason)
	tx.Detail("retention_days", days)
	tx.Detail("owner", owner)
	tx.Detail("why", reason)
	return nil
}

// SetHold places or lifts the legal hold of the change's tenant. It waits for a
// deletion that is at work on the tenant and stops the next.
func (s *Store) SetHold(_ context.Context, ptx plane.Tx, h audit.Hold) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	if err := answerable(h.Owner, h.Reason); err != nil {
		return err
	}
	tx.later(`INSERT INTO audit_holds (tenant_id, held, owner, reason) VALUES ($1, $2, $3, $4)`, tx.scope.ID().String(), h.Held, h.Owner, h.Reason)
	tx.Detail("held", h.Held)
	tx.Detail("owner", h.Owner)
	tx.Detail("why", h.Reason)
	return nil
}

func answerable(owner, reason string) error {
	if owner == "" || len(owner) > 200 || reason == "" || len(reason) > 500 {
		return fault.New(fault.Unprocessable, "want an owner (to 200 bytes) and a reason (to 500)")
	}
	return nil
}

// KeepFor takes what AUDIT_LOG_RETENTION_DAYS asks of the platform: more than is
// in force is recorded and in force at once; less changes nothing, because only
// a recorded decision lowers. It answers the days in force.
func (s *Store) KeepFor(ctx context.Context, house tenant.Scope, days int) (int, error) {
	k, err := s.Log(house).Keeping(ctx)
	if err != nil || days <= k.Retention.Platform {
		return k.Retention.Platform, err
	}
	ev := audit.Event{Type: audit.ConfigChanged, Severity: audit.Warning, Outcome: audit.Success, Reason: "retention_raised",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Resource: "audit", Details: map[string]any{"retention_days_before": k.Retention.Platform}}
	_, err = s.Change(ctx, house, ev, func(tx plane.Tx) error {
		return s.SetRetention(ctx, tx, days, "AUDIT_LOG_RETENTION_DAYS", "the configuration asks for more than was in force")
	})
	return days, err
}

const selectKeeping = `SELECT audit_retention_days($1), audit_retention_days('00000000-0000-4000-8000-000000000001'),
		COALESCE(r.days, 0), COALESCE(r.force_at, '-infinity') > clock_timestamp(), COALESCE(r.force_at, 'epoch'), COALESCE(r.owner, ''), COALESCE(r.reason, ''),
		COALESCE(h.held, false), COALESCE(h.owner, ''), COALESCE(h.reason, ''), COALESCE(h.at, 'epoch')
	FROM (SELECT 1) one
	LEFT JOIN (SELECT * FROM audit_retention WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1) r ON true
	LEFT JOIN (SELECT * FROM audit_holds WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1) h ON true`

// Keeping tells what becomes of the log with time.
func (l log) Keeping(ctx context.Context) (audit.Keeping, error) {
	k := audit.Keeping{Deletions: []audit.Deletion{}}
	var pending bool
	var next int
	var nextAt, holdAt time.Time
	id := l.scope.ID().String()
	r, h := &k.Retention, &k.Hold
	err := l.s.query(ctx, l.scope, one(func(rows pgx.Rows) error {
		return rows.Scan(&r.Days, &r.Platform, &next, &pending, &nextAt, &r.Owner, &r.Reason, &h.Held, &h.Owner, &h.Reason, &holdAt)
	}), selectKeeping, id)
	if err != nil {
		return k, err
	}
	if pending {
		r.Next, r.NextAt = next, nextAt.UTC()
	}
	if h.Owner != "" {
		h.At = holdAt.UTC()
	}
	k.Deletions, err = l.deletions(ctx)
	return k, err
}

// expiryEvery is often enough for months.
const expiryEvery = time.Hour

// StartExpiry deletes, in the background, what is past its retention; every
// replica may run it. The returned function stops it and may be called twice.
func (s *Store) StartExpiry() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(expiryEvery)
		defer tick.Stop()
		for {
			e, err := s.Expire(ctx)
			switch {
			case err != nil && !errors.Is(err, context.Canceled):
				s.log.Error("delete what is past its retention", "error", err)
			case e != Expired{}:
				s.log.Info("deleted what is past its retention", "statements", e.Statements, "records", e.Records, "months", e.Months, "held", e.Held, "waiting_for_archive", e.Waiting)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}
