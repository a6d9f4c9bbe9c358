package postgres_test

import (
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

func TestRetentionIsRaisedFreelyAndLoweredByDecision(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	scope, err := tenant.NewDoor(s).AdmitAnyStatus(t.Context(), tenant.House)
	if err != nil {
		t.Fatal(err)
	}
	house, acme := room(t, s, scope), room(t, s, db.Tenant(t, s, "acme"))
	days := func(r plane.Room) audit.Retention {
		t.Helper()
		k, err := r.Log().Keeping(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return k.Retention
	}
	decide := func(r plane.Room, n int) error {
		_, err := r.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
			return s.SetRetention(t.Context(), tx, n, "board", "storage is paid for")
		})
		return err
	}
	start := func(n, want int) {
		t.Helper()
		if got, err := s.KeepFor(t.Context(), scope, n); err != nil || got != want {
			t.Errorf("a start with %d days goes by %d, %v; want %d", n, got, err, want)
		}
	}
	start(2555, 2555)
	if n := len(log(t, house)); n != 0 {
		t.Errorf("a start that changes nothing wrote %d events", n)
	}
	start(365, 2555) // less than in force: nothing but a decision lowers
	start(3000, 3000)
	if es := log(t, house); len(es) != 1 || es[0].Type != audit.ConfigChanged || es[0].Reason != "retention_raised" {
		t.Errorf("the raise is recorded as %+v", es)
	}
	for _, n := range []int{0, 29, 36_501, -1} {
		if err := decide(house, n); fault.CodeOf(err) != fault.Unprocessable {
			t.Errorf("a retention of %d days: %v", n, err)
		}
	}
	if err := decide(house, 400); err != nil {
		t.Fatal(err)
	}
	if r := days(acme); r.Days != 3000 || r.Platform != 3000 {
		t.Errorf("a lowering is in force at once: %+v", r)
	}
	if r := days(house); r.Next != 400 || time.Until(r.NextAt) < 6*24*time.Hour || r.Owner != "board" {
		t.Errorf("the decision: %+v", r)
	}
	start(400, 3000)
	later := func() {
		e := newElder(t, db, tenant.House)
		e.do(`UPDATE audit_retention SET force_at = force_at - interval '7 days' WHERE tenant_id = $1`)
	}
	later()
	if r := days(acme); r.Days != 400 {
		t.Errorf("after seven days: %+v", r)
	}
	// A tenant's own can only be longer, and a new decision takes back one that
	// waits.
	if err := decide(acme, 900); err != nil || days(acme).Days != 900 || days(acme).Platform != 400 {
		t.Errorf("a tenant's own: %+v, %v", days(acme), err)
	}
	if err := decide(house, 60); err != nil {
		t.Fatal(err)
	}
	if err := decide(house, 500); err != nil {
		t.Fatal(err)
	}
	later()
	if r := days(house); r.Days != 500 {
		t.Errorf("a lowering that was taken back comes into force: %+v", r)
	}
}
