package postgres_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/Nissimmiracles/openclaw/verify"
)

// elder makes a tenant's log old, as years would: events, leaves and checkpoints
// so far move back together. Only the superuser past the triggers can.
type elder struct {
	intruder
	db pgtest.DB
}

func newElder(t *testing.T, db pgtest.DB, id tenant.ID) elder {
	t.Helper()
	e := elder{intruder{t, db.Operator(t), id}, db}
	e.do(`SET session_replication_role = replica`)
	return e
}

func (e elder) age(months int) {
	e.t.Helper()
	e.do(`UPDATE audit_events SET at = at - make_interval(months => $2) WHERE tenant_id = $1`, e.id.String(), months)
	e.do(`UPDATE audit_leaves SET at = at - make_interval(months => $2) WHERE tenant_id = $1`, e.id.String(), months)
	e.do(`UPDATE audit_checkpoints SET at = at - make_interval(months => $2) WHERE tenant_id = $1`, e.id.String(), months)
}

func (e elder) count(sql string) (n int64) {
	e.t.Helper()
	if err := e.conn.QueryRow(e.t.Context(), sql, e.id.String()).Scan(&n); err != nil {
		e.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (e elder) bodies() int64 {
	return e.count(`SELECT COALESCE(sum(n), 0) FROM audit_events WHERE tenant_id = $1`)
}

// history gives a tenant three months of so many events each that are past seven
// years, published in their month, and 20 of today. It answers the kept
// checkpoint of the first month.
func history(t *testing.T, db pgtest.DB, r plane.Room, each int) (elder, audit.Published) {
	t.Helper()
	e := newElder(t, db, r.Scope().ID())
	var kept audit.Published
	for month := range 3 {
		fill(t, r, each)
		p := published(t, r)
		if month == 0 {
			kept = p
		}
		e.age(1)
	}
	e.age(12*7 + 1)
	fill(t, r, 20)
	published(t, r)
	return e, kept
}

func expire(t *testing.T, s *postgres.Store) postgres.Expired {
	t.Helper()
	e, err := s.Expire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExpiryDeletesBodiesAndKeepsTheProof(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	young := room(t, s, db.Tenant(t, s, "globex"))
	fill(t, young, 10)
	e, kept := history(t, db, r, 300)

	got := expire(t, s)
	if got.Statements != 3 || got.Records != 900 || got.Held != 0 {
		t.Fatalf("expired %+v, want three months of 300", got)
	}
	if n := e.bodies(); n != 20+3 {
		t.Errorf("%d bodies stay, want the 20 young ones and three events of the deletions", n)
	}
	if n := e.count(`SELECT count(*) FROM audit_personal p JOIN audit_leaves l USING (tenant_id, event_id) WHERE tenant_id = $1 AND l.seq <= 900`); n != 0 {
		t.Errorf("%d expired records keep personal values", n)
	}
	if n := e.count(`SELECT sum(n) FROM audit_leaves WHERE tenant_id = $1`); n != 923 {
		t.Errorf("%d leaf hashes, want all 923", n)
	}
	if again := expire(t, s); again != (postgres.Expired{}) {
		t.Errorf("a second pass did %+v", again)
	}
	if n := len(log(t, young)); n != 10 {
		t.Errorf("the neighbour has %d of its 10 events", n)
	}

	// Proofs over what is left, and of what is gone, against a checkpoint from
	// before the deletion.
	p := published(t, r)
	file := bundleOf(t, r, audit.Range{Since: kept.Size})
	rep := verified(t, file, verify.Options{Key: p.Key, HouseKey: p.HouseKey, Since: kept.Checkpoint})
	if rep.Wrong != nil || len(rep.Missing) != 0 || rep.From != 901 || !strings.Contains(rep.String(), "expired, by signed deletion 3 of ") {
		t.Errorf("the bundle of what is left: %v", rep)
	}
	if in, err := r.Log().Inclusion(t.Context(), 7); err != nil || in.Leaf == "" {
		t.Errorf("inclusion of an expired record: %v", err)
	}
	// What asks for expired records is told which statement they went by.
	for name, ask := range map[string]func() error{
		"bundle": func() error { return r.Log().Bundle(t.Context(), &bytes.Buffer{}, audit.Range{From: 350, To: 360}) },
		"export": func() error {
			_, _, err := r.Log().Export(t.Context(), &bytes.Buffer{}, audit.JSONL, audit.Query{})
			return err
		},
		"filtered": func() error {
			_, _, err := r.Log().Export(t.Context(), &bytes.Buffer{}, audit.CSV, audit.Query{Actor: "1", After: 300})
			return err
		},
	} {
		err := ask()
		if fault.CodeOf(err) != fault.Expired || !strings.Contains(err.Error(), "signed deletion") {
			t.Errorf("%s over expired records: %v", name, err)
		}
	}
	if n, last, err := r.Log().Export(t.Context(), &bytes.Buffer{}, audit.JSONL, audit.Query{After: 900}); err != nil || n != 23 || last != 923 {
		t.Errorf("an export of the rest: %d to %d, %v", n, last, err)
	}
	k, err := r.Log().Keeping(t.Context())
	if err != nil || len(k.Deletions) != 3 || k.Deletions[1].First != 301 || k.Deletions[1].Last != 600 || !k.Deletions[2].Done || k.Retention.Days != 2555 {
		t.Errorf("keeping: %+v, %v", k, err)
	}
	// Each statement is in the log that it speaks of, and none passes for a
	// checkpoint.
	es, _, err := r.Log().Events(t.Context(), audit.Query{After: 920, Limit: 10})
	if err != nil || len(es) != 3 {
		t.Fatalf("%d events of deletions, %v", len(es), err)
	}
	for i, ev := range es {
		if ev.Type != audit.DataDeleted || !strings.Contains(string(ev.Details), fmt.Sprintf(`"deletion":%d`, i+1)) || !strings.Contains(string(ev.Details), "/deletions") {
			t.Errorf("the event of deletion %d: %+v", i+1, ev)
		}
		if rep := verified(t, []byte(k.Deletions[i].Signed), verify.Options{Key: p.Key}); rep.Wrong == nil || rep.Wrong.Check != "checkpoint" {
			t.Errorf("a deletion passes for a checkpoint: %v", rep)
		}
	}
}

func TestMonthsAreDroppedWhenNobodyIsLeftInThem(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	gone, held := room(t, s, db.Tenant(t, s, "acme")), room(t, s, db.Tenant(t, s, "globex"))
	op := db.Operator(t)
	for _, sql := range []string{
		`CREATE TABLE audit_events_2015_03 PARTITION OF audit_events FOR VALUES FROM ('2015-03-01+00') TO ('2015-04-01+00')`,
		`SELECT openclaw_isolate('audit_events_2015_03')`,
		`ALTER TABLE audit_events_2015_03 OWNER TO openclaw_owner`,
	} {
		if _, err := op.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []plane.Room{gone, held} {
		fill(t, r, 10)
		published(t, r)
		e := newElder(t, db, r.Scope().ID())
		for _, table := range []string{"audit_events", "audit_leaves", "audit_checkpoints"} {
			e.do(`UPDATE ` + table + ` SET at = '2015-03-10+00' WHERE tenant_id = $1`)
		}
	}
	hold := func(on bool) {
		if _, err := held.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
			return s.SetHold(t.Context(), tx, audit.Hold{Held: on, Owner: "counsel", Reason: "matter 9"})
		}); err != nil {
			t.Fatal(err)
		}
	}
	hold(true)
	if got := expire(t, s); got.Records != 10 || got.Months != 0 || got.Held != 1 {
		t.Errorf("with one tenant held: %+v", got)
	}
	hold(false)
	if got := expire(t, s); got.Records != 10 || got.Months != 1 {
		t.Errorf("with nobody held: %+v", got)
	}
	var there bool
	if err := op.QueryRow(t.Context(), `SELECT to_regclass('audit_events_2015_03') IS NOT NULL`).Scan(&there); err != nil || there {
		t.Errorf("the month's partition is still there: %v, %v", there, err)
	}
}
