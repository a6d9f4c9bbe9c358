package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const (
	beatLost    = "30 seconds" // by the database's clock; a replica beats with every sweep
	outcomeTime = 10 * time.Second
)

// acts are this replica's acts on the outside world that are under way.
type acts struct {
	replica uuid.UUID
	mu      sync.Mutex
	open    map[uuid.UUID]bool
}

func newActs() *acts { return &acts{replica: uuid.New(), open: map[uuid.UUID]bool{}} }

func (a *acts) begin(id uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[id] = true
}

func (a *acts) end(id uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, id)
}

func (a *acts) underWay(id uuid.UUID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open[id]
}

// Act runs do between two durable events: the intent before, the outcome after,
// whose detail "intent" names it. Without the intent nothing is done. An act
// that was done and whose outcome cannot be written answers audit_unavailable;
// its intent is closed as unknown by the next sweep that can write.
func (s *Store) Act(ctx context.Context, scope tenant.Scope, ev audit.Event, do plane.Deed) (audit.Receipt, error) {
	if err := scope.Check(); err != nil {
		return audit.Receipt{}, err
	}
	intent := ev
	intent.Outcome = audit.Intent
	if intent.Time.IsZero() {
		intent.Time = s.now()
	}
	if intent.ID == uuid.Nil {
		intent.ID = record.NewID(intent.Time)
	}
	s.acts.begin(intent.ID)
	defer s.acts.end(intent.ID)
	j, err := s.ask(scope, intent)
	if err != nil {
		return audit.Receipt{}, fault.Wrap(err, fault.NoRecord, "the act could not be recorded, so it was not done")
	}
	j.opens = intent.ID
	if _, err := s.asked(ctx, j); err != nil {
		return audit.Receipt{}, translate(err)
	}

	after := ev
	after.ID, after.Time = uuid.Nil, time.Time{}
	finish := func(outcome audit.Outcome, reason string, details map[string]any) (audit.Receipt, error) {
		after.Outcome, after.Details = outcome, map[string]any{}
		if reason != "" {
			after.Reason = reason
		}
		for _, m := range []map[string]any{ev.Details, details, {"intent": intent.ID.String()}} {
			for k, v := range m {
				after.Details[k] = v
			}
		}
		// The deed is done whatever became of its caller.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTime)
		defer cancel()
		var r audit.Receipt
		j, err := s.ask(scope, after)
		if err == nil {
			j.closes = intent.ID
			r, err = s.asked(ctx, j)
		}
		if err != nil {
			return audit.Receipt{}, fault.Wrap(err, fault.NoRecord, "the act was begun and its outcome could not be recorded")
		}
		return r, nil
	}
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			_, _ = finish(audit.Unknown, "panic", nil)
		}
	}()
	outcome, details, derr := do(ctx)
	returned = true
	reason := ""
	if outcome == "" {
		outcome = audit.Success
		if derr != nil {
			outcome = audit.Failed
		}
	}
	if derr != nil {
		reason = string(fault.CodeOf(derr))
	}
	r, err := finish(outcome, reason, details)
	return r, errors.Join(derr, err)
}

// beat says that this replica lives, and forgets those long gone.
func (a *acts) beat(b *pgx.Batch) {
	b.Queue(`INSERT INTO replicas (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET beat = now()`, a.replica)
	b.Queue(`DELETE FROM replicas WHERE beat < now() - interval '1 day'`)
}

// orphan is an open intent that nobody will close.
type orphan struct {
	tenant tenant.ID
	id     uuid.UUID
	body   string
}

// orphans queues the search for one tenant's: of replicas that are gone, and of
// this one's whose outcome could not be written.
func (a *acts) orphans(b *pgx.Batch, id tenant.ID, found *[]orphan) {
	b.Queue(`SELECT i.id, i.replica, COALESCE((SELECT e.body FROM audit_events e WHERE e.tenant_id = $1 AND e.at = i.at AND e.id = i.event_row), '')
		FROM audit_intents i WHERE i.tenant_id = $1 AND (i.replica = $2
		   OR NOT EXISTS (SELECT 1 FROM replicas r WHERE r.id = i.replica AND r.beat > now() - interval '`+beatLost+`'))`,
		id.String(), a.replica).Query(each(func(r pgx.Rows) error {
		o := orphan{tenant: id}
		var replica uuid.UUID
		if err := r.Scan(&o.id, &replica, &o.body); err != nil {
			return err
		}
		// Of the row's bodies, the intent's own.
		mine := ""
		for body := range strings.SplitSeq(o.body, "\n") {
			if strings.Contains(body, `"id":"`+o.id.String()+`"`) {
				mine = body
			}
		}
		o.body = mine
		if replica != a.replica || !a.underWay(o.id) {
			*found = append(*found, o)
		}
		return nil
	}))
}

// closeIntent writes that nobody knows how an act ended. Of several replicas one
// does: whoever deletes the row.
func (s *Store) closeIntent(ctx context.Context, o orphan) error {
	entry, err := (&row{body: o.body}).entry()
	var syntax *json.SyntaxError
	if o.body == "" || errors.As(err, &syntax) {
		entry, err = audit.Entry{Type: audit.SecurityError, Actor: audit.EntryActor{Kind: audit.ActorSystem}}, nil
	}
	if err != nil {
		return err
	}
	ev := audit.Event{
		Type: entry.Type, Severity: audit.Warning, Actor: audit.Actor{Kind: entry.Actor.Kind, ID: entry.Actor.ID},
		Action: entry.Action, Resource: entry.Resource, RequestID: entry.RequestID, Outcome: audit.Unknown, Reason: "crash",
		Details: map[string]any{"intent": o.id.String()},
	}
	sealed, err := record.Seal(o.tenant.String(), ev, s.now)
	if err != nil {
		return err
	}
	closed := false // not by its own outcome or by another replica, since it was found
	err = pgx.BeginFunc(ctx, s.work, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setTenant, o.tenant.String()); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM audit_intents WHERE tenant_id = $1 AND id = $2`, o.tenant.String(), o.id)
		if closed = err == nil && tag.RowsAffected() > 0; !closed {
			return err
		}
		b := &pgx.Batch{}
		queueEvent(b, o.tenant, &sealed)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("close intent %s: %w", o.id, err)
		}
		return nil
	})
	if err == nil && closed {
		s.log.Warn("an act's outcome is unknown", "tenant", o.tenant.String(), "intent", o.id.String())
	}
	return err
}
