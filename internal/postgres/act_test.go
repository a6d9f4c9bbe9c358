package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

func egress() audit.Event {
	return audit.Event{Type: audit.Egress, Action: "tools.call", Resource: "host/example.com", Details: map[string]any{"bytes": 7}}
}

func TestAnActStandsBetweenTwoEvents(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	boom := fault.New(fault.Upstream, "the other end hung up")
	for name, c := range map[string]struct {
		do      plane.Deed
		outcome audit.Outcome
		reason  string
		err     error
	}{
		"done": {func(context.Context) (audit.Outcome, map[string]any, error) {
			return "", map[string]any{"status": 200}, nil
		}, audit.Success, "", nil},
		"failed":  {func(context.Context) (audit.Outcome, map[string]any, error) { return "", nil, boom }, audit.Failed, "upstream_failed", boom},
		"refused": {func(context.Context) (audit.Outcome, map[string]any, error) { return audit.Refused, nil, nil }, audit.Refused, "", nil},
	} {
		before := len(log(t, r))
		during := 0
		receipt, err := r.Act(t.Context(), egress(), func(ctx context.Context) (audit.Outcome, map[string]any, error) {
			during = len(log(t, r)) // the intent is there already
			return c.do(ctx)
		})
		if !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		es := log(t, r)[before:]
		if len(es) != 2 || during != before+1 || es[0].Outcome != audit.Intent || es[1].Outcome != c.outcome || es[1].Reason != c.reason ||
			es[1].ID != receipt.EventID || !strings.Contains(string(es[1].Details), es[0].ID.String()) || es[1].Resource != es[0].Resource {
			t.Errorf("%s: during it %d, after it %+v", name, during, es)
		}
	}
	// No intent, no act.
	bad := egress()
	bad.Type = "NO_SUCH"
	if _, err := r.Act(t.Context(), bad, func(context.Context) (audit.Outcome, map[string]any, error) {
		t.Error("done without a record")
		return "", nil, nil
	}); fault.CodeOf(err) != fault.NoRecord {
		t.Errorf("an unwritable intent: %v", err)
	}
	// A caller that hangs up does not take the outcome with it.
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := r.Act(ctx, egress(), func(context.Context) (audit.Outcome, map[string]any, error) { cancel(); return "", nil, nil }); err != nil {
		t.Errorf("a caller that left: %v", err)
	}
	// Nor does a panic.
	func() {
		defer func() { _ = recover() }()
		_, _ = r.Act(t.Context(), egress(), func(context.Context) (audit.Outcome, map[string]any, error) { panic("x") })
	}()
	if es := log(t, r); es[len(es)-1].Outcome != audit.Unknown {
		t.Errorf("after a panic: %+v", es[len(es)-1])
	}
	var open int
	if err := db.Operator(t).QueryRow(t.Context(), `SELECT count(*) FROM audit_intents`).Scan(&open); err != nil || open != 0 {
		t.Errorf("%d intents are open, %v", open, err)
	}
}

// What a crashed replica began is closed once, as unknown; what a living one is
// at is left alone.
func TestACrashLeavesNoOpenIntent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	dying, living := db.Open(t), db.Open(t)
	scope := db.Tenant(t, dying, "acme")
	r := room(t, dying, scope)
	op := db.Operator(t)
	hang, hung := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := room(t, living, scope).Act(context.Background(), egress(), func(context.Context) (audit.Outcome, map[string]any, error) {
			close(hung)
			<-hang
			return "", nil, nil
		})
		ended <- err
	}()
	<-hung
	// The crash: the process is gone between intent and outcome, and its beat
	// stops. The row is what it leaves.
	intent, err := r.Record(t.Context(), audit.Event{Type: audit.Egress, Outcome: audit.Intent, Resource: "host/lost.example", Action: "tools.call"})
	if err != nil {
		t.Fatal(err)
	}
	dying.Close()
	if _, err := op.Exec(t.Context(), `INSERT INTO audit_intents (tenant_id, id, replica, event_row, at)
		SELECT tenant_id, id, gen_random_uuid(), event_row, at FROM audit_records WHERE tenant_id = $1 AND id = $2`, scope.ID().String(), intent.EventID); err != nil {
		t.Fatal(err)
	}
	third, fourth := db.Open(t), db.Open(t) // sweep at their start, both
	_ = fourth
	r = room(t, third, scope)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // the sweep gives strangers no signal
		var lost int
		if err := op.QueryRow(t.Context(), `SELECT count(*) FROM audit_intents WHERE id = $1`, intent.EventID).Scan(&lost); err != nil {
			t.Fatal(err)
		}
		if lost == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the intent stays open")
		}
	}
	unknown := 0
	for _, e := range log(t, r) {
		if e.Outcome == audit.Unknown {
			unknown++
			if e.Resource != "host/lost.example" || e.Reason != "crash" || !strings.Contains(string(e.Details), intent.EventID.String()) {
				t.Errorf("closed as %+v", e)
			}
		}
	}
	if unknown != 1 {
		t.Errorf("%d intents were closed as unknown, want the crashed one, once", unknown)
	}
	close(hang)
	if err := <-ended; err != nil {
		t.Errorf("the living one's act: %v", err)
	}
}
