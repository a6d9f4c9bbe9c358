package postgres_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// A person's values are erased from every event that names them. Proofs made
// before hold, exports of all kinds are made and have none of the values, and no
// table of the database has them any more.
func TestAnErasedPersonIsNowhere(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	scope := db.Tenant(t, s, "acme")
	r := room(t, s, scope)
	const gone, stays = "Wilhelmina-Zzyzx", "Ann-Qwghlm"
	events := various(600)
	for i := range events {
		events[i].Actor.ID, events[i].Actor.Name, events[i].UserAgent = "user-1", stays, "agent of "+stays
		if i%3 == 0 {
			events[i].Actor.ID, events[i].Actor.Name, events[i].UserAgent = "user-2", gone, "agent of "+gone
			events[i].IP = netip.MustParseAddr("198.51.100.77")
		}
	}
	if _, err := r.RecordAll(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	kept := published(t, r)
	export := func(f audit.Format, q audit.Query) string {
		t.Helper()
		var b bytes.Buffer
		if _, _, err := r.Log().Export(t.Context(), &b, f, q); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		return b.String()
	}
	if !strings.Contains(export(audit.CSV, audit.Query{}), gone) {
		t.Fatal("never there")
	}

	op := db.Operator(t)
	tag, err := op.Exec(t.Context(), `WITH v AS (SELECT event_row, place FROM audit_records WHERE tenant_id = $1 AND (body::jsonb)->'actor'->>'id' = 'user-2'),
		new AS (SELECT p.event_id,
			(SELECT string_agg(CASE WHEN i IN (SELECT place FROM v WHERE event_row = p.event_id) THEN decode(repeat('00', 48), 'hex') ELSE substring(p.salts FROM (48 * i - 47)::int FOR 48) END, '' ORDER BY i) FROM generate_series(1, cardinality(p.ip)) i) AS salts,
			(SELECT array_agg(CASE WHEN i IN (SELECT place FROM v WHERE event_row = p.event_id) THEN NULL ELSE p.actor_name[i] END ORDER BY i) FROM generate_series(1, cardinality(p.ip)) i) AS actor_name,
			(SELECT array_agg(CASE WHEN i IN (SELECT place FROM v WHERE event_row = p.event_id) THEN NULL ELSE p.ip[i] END ORDER BY i) FROM generate_series(1, cardinality(p.ip)) i) AS ip,
			(SELECT array_agg(CASE WHEN i IN (SELECT place FROM v WHERE event_row = p.event_id) THEN NULL ELSE p.user_agent[i] END ORDER BY i) FROM generate_series(1, cardinality(p.ip)) i) AS user_agent
			FROM audit_personal p WHERE p.tenant_id = $1)
		UPDATE audit_personal p SET salts = new.salts, actor_name = new.actor_name, ip = new.ip, user_agent = new.user_agent FROM new WHERE p.tenant_id = $1 AND p.event_id = new.event_id`, scope.ID().String())
	if err != nil || tag.RowsAffected() == 0 {
		t.Fatal(tag, err)
	}

	for _, f := range []audit.Format{audit.JSONL, audit.CSV, audit.OCSF} {
		for _, q := range []audit.Query{{}, {Actor: "user-2"}, {Actor: "user-1"}} {
			out := export(f, q)
			if strings.Contains(out, gone) || strings.Contains(out, "198.51.100.77") || q.Actor != "user-2" && !strings.Contains(out, stays) {
				t.Errorf("%s of %+v has the erased or lacks the rest", f, q)
			}
		}
	}
	file := bundleOf(t, r, audit.Range{Since: kept.Size})
	o := optionsFor(kept)
	o.Since = kept.Checkpoint
	rep := verified(t, file, o)
	if rep.Wrong != nil || len(rep.Missing) > 0 || bytes.Contains(file, []byte(gone)) || !strings.Contains(rep.String(), "600 personal values that are not disclosed here or were erased") {
		t.Errorf("the bundle: %v", rep)
	}
	// Every row of every table, as text.
	rows, err := op.Query(t.Context(), `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil || len(tables) < 20 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	found := map[string]int{}
	for _, name := range tables {
		for _, word := range []string{gone, "198.51.100.77", stays} {
			var n int
			if err := op.QueryRow(t.Context(), fmt.Sprintf(`SELECT count(*) FROM %s t WHERE t::text LIKE '%%' || $1 || '%%'`, name), word).Scan(&n); err != nil {
				t.Fatal(err)
			}
			found[word] += n
		}
	}
	if found[gone] != 0 || found["198.51.100.77"] != 0 || found[stays] == 0 {
		t.Errorf("in the tables: %v", found)
	}
}

// Salts come from the system's generator: none is twice, none is the start of
// another, and those of one event have nothing to do with each other.
func TestSaltsDoNotRepeat(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	same := make([]audit.Event, 2000)
	for i := range same {
		same[i] = audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorUser, ID: "u", Name: "Ann"}, IP: netip.MustParseAddr("203.0.113.9"), UserAgent: "curl"}
	}
	if _, err := r.RecordAll(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	remember(t, r, "one at a time")
	rows, err := db.Operator(t).Query(t.Context(), `SELECT salts FROM audit_personal`)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var ones, bits int
	for rows.Next() {
		var all []byte
		if err := rows.Scan(&all); err != nil {
			t.Fatal(err)
		}
		for ; len(all) > 0; all = all[16:] {
			for _, half := range []string{string(all[:8]), string(all[8:16])} {
				if seen[half] {
					t.Fatalf("half a salt twice: %x", half)
				}
				seen[half] = true
			}
			for _, b := range all[:16] {
				for ; b > 0; b &= b - 1 {
					ones++
				}
			}
			bits += 128
		}
	}
	if err := rows.Err(); err != nil || len(seen) < 12000 {
		t.Fatalf("%d halves, %v", len(seen), err)
	}
	if share := float64(ones) / float64(bits); share < 0.49 || share > 0.51 { // 20 standard deviations
		t.Errorf("%.4f of the bits are set", share)
	}
}
