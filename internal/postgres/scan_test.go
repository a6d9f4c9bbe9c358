package postgres_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// various makes events that differ in all that a query compares.
func various(n int) []audit.Event {
	out := make([]audit.Event, n)
	begun := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range out {
		out[i] = audit.Event{
			Time: begun.Add(time.Duration(i/3*3-i%3) * time.Minute), // not in the order of their numbers
			Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", RequestID: fmt.Sprint("request-", i),
			Actor: audit.Actor{Kind: audit.ActorUser, ID: fmt.Sprint("user-", i%5), Name: "Ann"}, Resource: fmt.Sprint("memory/", i%7), IP: netip.MustParseAddr("203.0.113.9"),
		}
		switch {
		case i%11 == 0:
			out[i].Type, out[i].Severity = audit.LoginFailed, audit.Warning
		case i%101 == 0:
			out[i].Type, out[i].Outcome = audit.UnauthorizedAccess, audit.Refused
		case i%13 == 0:
			// The needle stands in another place.
			out[i].Actor.ID, out[i].Details = "", map[string]any{"id": "user-1", "list": []string{"memory/3", "refused"}}
		}
	}
	return out
}

// Whatever rows, pages and summaries there are, a query selects what a plain loop
// over the whole log does: in both orders, from every cursor, singly and packed.
func TestQueriesSelectWhatALoopWould(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	events := various(1700)
	for from := 0; from < len(events); { // rows of 1, of a few, of 256
		n := []int{1, 1, 1, 3, 40, 300}[from%6]
		n = min(n, len(events)-from)
		if _, err := r.RecordAll(t.Context(), events[from:from+n]); err != nil {
			t.Fatal(err)
		}
		from += n
	}
	all := log(t, r)
	if len(all) != len(events) {
		t.Fatalf("%d of %d events", len(all), len(events))
	}
	begun := events[0].Time
	queries := map[string]audit.Query{
		"all": {}, "actor": {Actor: "user-1"}, "resource": {Resource: "memory/3"}, "rare": {Types: []audit.Type{audit.UnauthorizedAccess}},
		"outcome": {Outcome: audit.Refused}, "request": {RequestID: "request-777"}, "none": {RequestID: "request-7770"}, "nobody": {Actor: `"},"x":{"`},
		"types":    {Types: []audit.Type{audit.LoginFailed, audit.UnauthorizedAccess, audit.KeyRotated}, Severity: []audit.Severity{audit.Warning, audit.High}},
		"many":     {Types: audit.Types(), Severity: []audit.Severity{audit.Info}},
		"together": {Actor: "user-2", Resource: "memory/1", Types: []audit.Type{audit.APIRequest}},
		"from":     {From: begun.Add(1000 * time.Minute)}, "to": {To: begun.Add(31 * time.Minute)},
		"between":  {From: begun.Add(500 * time.Minute), To: begun.Add(503 * time.Minute)},
		"actor in": {From: begun.Add(500 * time.Minute), To: begun.Add(600 * time.Minute), Actor: "user-3"}, "never": {From: begun.Add(9000 * time.Minute)},
	}
	match := func(q audit.Query, e audit.Entry) bool {
		return (q.Actor == "" || q.Actor == e.Actor.ID) && (q.Resource == "" || q.Resource == e.Resource) && (q.Outcome == "" || q.Outcome == e.Outcome) &&
			(q.RequestID == "" || q.RequestID == e.RequestID) && (q.Types == nil || slices.Contains(q.Types, e.Type)) &&
			(q.Severity == nil || slices.Contains(q.Severity, e.Severity)) && (q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To))
	}
	for _, part := range []string{"as written", "summaries gone"} {
		if part != "as written" {
			// What is not summarised (yet) is looked through.
			if _, err := db.Operator(t).Exec(t.Context(), `DELETE FROM audit_summaries WHERE index >= 2`); err != nil {
				t.Fatal(err)
			}
		} else {
			await(t, db, `SELECT count(*) FROM audit_summaries`, (len(events)-1)/256)
		}
		for name, q := range queries {
			for _, newest := range []bool{false, true} {
				var want []int64
				for _, e := range all {
					if match(q, e) {
						want = append(want, e.Seq)
					}
				}
				if newest {
					slices.Reverse(want)
				}
				for _, limit := range []int{500, 7} {
					q := q
					q.Newest, q.Limit = newest, limit
					var got []int64
					for pages := 0; ; pages++ {
						es, more, err := r.Log().Events(t.Context(), q)
						if err != nil {
							t.Fatal(err)
						}
						for _, e := range es {
							got = append(got, e.Seq)
						}
						if more != (len(want) > len(got)) {
							t.Fatalf("%s, %s, newest %v: after %d of %d: more is %v", part, name, newest, len(got), len(want), more)
						}
						if !more || limit == 7 && pages == 12 {
							break
						}
						q.After = got[len(got)-1]
					}
					if !slices.Equal(got, want[:len(got)]) {
						t.Errorf("%s, %s, newest %v, by %d: got %d, want %d", part, name, newest, limit, len(got), len(want))
					}
				}
			}
		}
	}
	// A bundle by time has its first and last record in the range.
	first, last := int64(0), int64(0)
	for _, e := range all {
		if match(queries["between"], e) {
			first, last = cmp.Or(first, e.Seq), e.Seq
		}
	}
	var b bytes.Buffer
	if _, _, err := r.Log().Export(t.Context(), &b, audit.JSONL, queries["between"]); err != nil || bytes.Count(b.Bytes(), []byte("\n")) < 3 || first == 0 || last < first {
		t.Errorf("exported %d lines between %d and %d, %v", bytes.Count(b.Bytes(), []byte("\n")), first, last, err)
	}
}

// await asks until the count is reached: what it counts gives no signal.
func await(t *testing.T, db pgtest.DB, sql string, want int) {
	t.Helper()
	op := db.Operator(t)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var n int
		if err := op.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %d, want %d", sql, n, want)
		}
	}
}

// What a person is named in one event of a row is erased alone; bodies, hashes
// and neighbours stay.
func TestPersonalValuesOfOneEventAreErasedAlone(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	receipts, err := r.RecordAll(t.Context(), various(20))
	if err != nil {
		t.Fatal(err)
	}
	before := published(t, r)
	if _, err := db.Operator(t).Exec(t.Context(), `UPDATE audit_personal p SET actor_name[v.place] = NULL, ip[v.place] = NULL, user_agent[v.place] = NULL,
			salts = overlay(salts PLACING decode(repeat('00', 48), 'hex') FROM (48 * v.place - 47)::int)
		FROM audit_records v WHERE v.id = $1 AND p.tenant_id = v.tenant_id AND p.event_id = v.event_row`, receipts[6].EventID); err != nil {
		t.Fatal(err)
	}
	for i, e := range log(t, r) {
		if gone := i == 6; (e.Actor.Name == "") != gone || (e.IP == "") != gone || e.ID != receipts[i].EventID {
			t.Errorf("record %d: %+v", i+1, e)
		}
	}
	rep := verifiedBundle(t, r, before)
	if rep != "" {
		t.Error(rep)
	}
	for line := range bytes.Lines(bundleOf(t, r, audit.Range{From: 7, To: 7})) {
		if bytes.Contains(line, []byte(`"disclosed"`)) {
			t.Errorf("still disclosed: %s", line)
		}
	}
}

func verifiedBundle(t *testing.T, r plane.Room, p audit.Published) string {
	t.Helper()
	if rep := verified(t, bundleOf(t, r, audit.Range{}), optionsFor(p)); rep.Wrong != nil {
		return fmt.Sprintf("%+v", *rep.Wrong)
	}
	return ""
}

// Events recorded together keep their order and are each in the log once, also
// when they are many more than a row or a commit holds.
func TestRecordAll(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	events := various(3000)
	events[2].Details = map[string]any{"text": fmt.Sprintf("%2000s\n\x00", "x")}
	receipts, err := r.RecordAll(t.Context(), events)
	if err != nil || len(receipts) != len(events) {
		t.Fatal(len(receipts), err)
	}
	place := map[uuid.UUID]int64{}
	for _, e := range log(t, r) {
		place[e.ID] = e.Seq
	}
	for i, rec := range receipts {
		if place[rec.EventID] == 0 || i%1024 > 0 && place[rec.EventID] != place[receipts[i-1].EventID]+1 {
			t.Fatalf("event %d has number %d, the one before it %d", i, place[rec.EventID], place[receipts[max(i, 1)-1].EventID])
		}
		in, err := r.Log().Inclusion(t.Context(), place[rec.EventID])
		if i%500 == 0 && (err != nil || in.Leaf == "") {
			t.Fatal(err)
		}
	}
	if wrong := verifiedBundle(t, r, published(t, r)); wrong != "" {
		t.Error(wrong)
	}
	// One that cannot be recorded keeps what is with it out.
	events[1500].Type = "NO_SUCH"
	ctx := context.Background()
	if rs, err := r.RecordAll(ctx, events); err == nil || len(rs) > 2048 {
		t.Errorf("%d receipts, %v", len(rs), err)
	}
	if rs, err := r.RecordAll(ctx, nil); err != nil || len(rs) != 0 {
		t.Errorf("nothing: %v, %v", rs, err)
	}
	// The database's own view shows the same.
	var n int
	var body string
	if err := db.Operator(t).QueryRow(ctx, `SELECT count(*), min(body) FROM audit_records WHERE seq = 1500`).Scan(&n, &body); err != nil || n != 1 || !json.Valid([]byte(body)) {
		t.Errorf("audit_records: %d, %s, %v", n, body, err)
	}
}

func TestFiltersThatAreNoText(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	for _, q := range []audit.Query{{Actor: "\x00"}, {Resource: "a\xff"}, {RequestID: "\xc3"}, {Types: []audit.Type{"\x00"}}} {
		if _, _, err := r.Log().Events(t.Context(), q); fault.CodeOf(err) != fault.Unprocessable {
			t.Errorf("%+v: %v", q, err)
		}
		if _, _, err := r.Log().Export(t.Context(), &bytes.Buffer{}, audit.CSV, q); fault.CodeOf(err) != fault.Unprocessable {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
