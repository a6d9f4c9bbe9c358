package postgres_test

import (
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/verify"
)

func TestAHeldTenantLosesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	e, _ := history(t, db, r, 30)
	hold := func(held bool, why string) error {
		_, err := r.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
			return s.SetHold(t.Context(), tx, audit.Hold{Held: held, Owner: "counsel", Reason: why})
		})
		return err
	}
	if err := hold(true, ""); fault.CodeOf(err) != fault.Unprocessable {
		t.Errorf("a hold without a reason: %v", err)
	}
	if err := hold(true, "matter 7"); err != nil {
		t.Fatal(err)
	}
	if got := expire(t, s); got.Statements != 0 || got.Records != 0 || got.Held != 1 || e.bodies() != 111 {
		t.Errorf("under a hold: %+v, %d bodies", got, e.bodies())
	}
	if k, err := r.Log().Keeping(t.Context()); err != nil || !k.Hold.Held || k.Hold.Owner != "counsel" || k.Hold.At.IsZero() {
		t.Errorf("keeping: %+v, %v", k.Hold, err)
	}
	if err := hold(false, "matter 7 is settled"); err != nil {
		t.Fatal(err)
	}
	if got := expire(t, s); got.Records != 90 {
		t.Errorf("after the hold: %+v", got)
	}
}

// A hold that comes between the statement and its end stops it there.
func TestAHoldStopsADeletionUnderWay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	e, _ := history(t, db, r, 30)
	stateOnly(t, s, e)
	n, err := asApp(t, db.Application(t), r.Scope().ID(), `SELECT audit_expire(10)`)
	if err != nil || n < 10 || n >= 30 { // whole rows
		t.Fatalf("a step of 10 did %d, %v", n, err)
	}
	if _, err := r.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
		return s.SetHold(t.Context(), tx, audit.Hold{Held: true, Owner: "counsel", Reason: "matter 8"})
	}); err != nil {
		t.Fatal(err)
	}
	before := e.bodies()
	if got := expire(t, s); got.Held != 1 || got.Records != 0 || e.bodies() != before {
		t.Errorf("%+v, %d bodies of %d", got, e.bodies(), before)
	}
	// What is left of the month can still be had and proved.
	p := published(t, r)
	rep := verified(t, bundleOf(t, r, audit.Range{From: n + 1}), verify.Options{Key: p.Key})
	if rep.Wrong != nil || rep.From != n+1 {
		t.Errorf("the rest of a month that is half deleted: %v", rep)
	}
}
