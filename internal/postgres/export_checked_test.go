package postgres_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// The operator, past the triggers, does to rows and indices what would keep an
// event out of a filtered export, or show another in a table. What is exported is
// held against the signed tree, and an export that does not fit never ends well.
func TestTamperedExportsBreakOff(t *testing.T) {
	t.Parallel()
	const n = 700
	refused := audit.Query{Outcome: audit.Refused}
	for name, c := range map[string]struct {
		tamper  func(intruder)
		q       audit.Query
		cut     bool // or else whole, with what was to be hidden in it
		listing int  // refused ones that a listing still finds
	}{
		"nothing":              {func(intruder) {}, refused, false, 2},
		"a block's summary":    {func(i intruder) { i.do(`UPDATE audit_summaries SET words = repeat('0', 8192)::varbit`) }, refused, false, 1},
		"a block's times":      {func(i intruder) { i.do(`UPDATE audit_summaries SET first_at = '2999-01-01', last_at = '2999-01-01'`) }, refused, false, 2},
		"a row's words":        {func(i intruder) { i.do(`UPDATE audit_events SET words = '\x00000000'`) }, refused, false, 0},
		"the body":             {func(i intruder) { i.edit(func(a []kept) []kept { soften(&a[98]); return a }) }, refused, true, 1},
		"and its hash":         {func(i intruder) { i.edit(func(a []kept) []kept { soften(&a[98]); a[98].rehash(); return a }) }, refused, true, 1},
		"a record":             {func(i intruder) { i.edit(func(a []kept) []kept { return slices.Delete(a, 98, 99) }) }, refused, true, 1},
		"a stored name":        {func(i intruder) { i.one(false, func(k *kept) { k.name = new("Mallory") }) }, audit.Query{}, true, 2},
		"a name and its salts": {func(i intruder) { i.one(false, func(k *kept) { k.name, k.salts = new("Mallory"), make([]byte, 48) }) }, audit.Query{}, true, 2},
		"a name, salts gone": {func(i intruder) {
			i.do(`UPDATE audit_personal SET actor_name[1] = 'Mallory', salts = decode(repeat('00', 48), 'hex')`)
		}, audit.Query{}, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			s := db.OpenSigning(t, firstKey)
			scope := db.Tenant(t, s, "acme")
			r := room(t, s, scope)
			events := various(n)
			for i := range events {
				events[i].Outcome = audit.Success
			}
			events[98].Outcome, events[650].Outcome = audit.Refused, audit.Refused
			if _, err := r.RecordAll(t.Context(), events); err != nil {
				t.Fatal(err)
			}
			published(t, r)
			await(t, db, `SELECT count(*) FROM audit_summaries`, n/256)
			conn := db.Operator(t)
			op := intruder{t, conn, scope.ID()}
			op.do(`SET session_replication_role = replica`)
			c.tamper(op)
			for _, f := range []audit.Format{audit.JSONL, audit.CSV, audit.OCSF} {
				if f == audit.JSONL && c.q.Outcome == "" {
					continue // whole, it is verified by who reads it
				}
				var b bytes.Buffer
				_, _, err := r.Log().Export(t.Context(), &b, f, c.q)
				if (err != nil) != c.cut || c.cut && fault.CodeOf(err) != fault.Unavailable {
					t.Errorf("%s: %v", f, err)
				}
				if !c.cut && (!strings.Contains(b.String(), "request-98\"") || !strings.Contains(b.String(), "request-650\"")) {
					t.Errorf("%s hides an event: %s", f, &b)
				}
			}
			found, _, err := r.Log().Events(t.Context(), audit.Query{Outcome: audit.Refused, Limit: 10})
			if err != nil || len(found) != c.listing {
				t.Errorf("the listing has %d, %v; want %d", len(found), err, c.listing)
			}
		})
	}
}

func soften(k *kept) { k.replace(`"outcome":"refused"`, `"outcome":"success"`) }

// A checked export selects what an unchecked one does, and resumed wherever it
// broke off the parts are the whole, byte for byte.
func TestExportsResumeByteForByte(t *testing.T) {
	t.Parallel()
	const n = 700
	for name, open := range map[string]bool{"with the key": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			s := db.Open(t)
			if open {
				s = db.OpenSigning(t, firstKey)
			}
			r := room(t, s, db.Tenant(t, s, "acme"))
			if _, err := r.RecordAll(t.Context(), various(n)); err != nil {
				t.Fatal(err)
			}
			for _, f := range []audit.Format{audit.JSONL, audit.CSV, audit.OCSF} {
				for _, q := range []audit.Query{{}, {Actor: "user-1"}, {Severity: []audit.Severity{audit.Warning}}} {
					var whole, quick bytes.Buffer
					count, last, err := r.Log().Export(t.Context(), &whole, f, q)
					if err != nil || count == 0 || last > n {
						t.Fatal(count, last, err)
					}
					q.Unchecked = true
					if _, _, err := r.Log().Export(t.Context(), &quick, f, q); err != nil || quick.String() != whole.String() {
						t.Errorf("%s %+v: unchecked it is %d bytes, checked %d, %v", f, q, quick.Len(), whole.Len(), err)
					}
					q.Unchecked = false
					for _, cut := range []int{0, 1, 300, whole.Len() / 3, whole.Len() - 1} {
						got, after := survivor(whole.Bytes()[:cut], f)
						q.After = after
						rest := bytes.NewBuffer(got)
						if _, _, err := r.Log().Export(t.Context(), rest, f, q); err != nil || rest.String() != whole.String() {
							t.Errorf("%s %+v: cut after %d bytes and resumed after %d it has %d bytes, unbroken %d, %v", f, q, cut, after, rest.Len(), whole.Len(), err)
						}
					}
				}
			}
		})
	}
}

// survivor is what is whole of an export that was cut, and the last number in it.
func survivor(b []byte, f audit.Format) (whole []byte, last int64) {
	whole = bytes.Clone(b[:bytes.LastIndexByte(b, '\n')+1])
	lines := bytes.SplitAfter(whole, []byte("\n"))
	if len(lines) < 2 {
		return nil, 0
	}
	line := string(lines[len(lines)-2])
	switch f {
	case audit.JSONL:
		_, _ = fmt.Sscanf(line[strings.LastIndex(line, `"seq":`):], `"seq":%d`, &last)
	case audit.CSV:
		if _, err := fmt.Sscanf(line, "%d,", &last); err != nil {
			return nil, 0 // the header alone: it begins anew
		}
	case audit.OCSF:
		_, _ = fmt.Sscanf(line[strings.Index(line, `"sequence":`):], `"sequence":%d`, &last)
	}
	return whole, last
}
