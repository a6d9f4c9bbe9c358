package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"
)

// exported is a record line as far as filters look at it.
type exported struct {
	Seq  int64
	Body struct {
		Type, Severity, Outcome, Resource string
		RequestID                         string `json:"request_id"`
		Time                              time.Time
		Actor                             struct{ ID string }
	}
}

func lines(t *testing.T, body []byte) (out []exported) {
	t.Helper()
	for l := range bytes.Lines(body) {
		var e exported
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatalf("%v: %.200s", err, l)
		}
		out = append(out, e)
	}
	return out
}

// TestExportFilters holds each filter of an export, and some together, to what
// an unfiltered export says, in each format, and resumes under a filter.
func TestExportFilters(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	admin, viewer := c.person(t, "tenant_admin"), c.person(t, "viewer")
	tok := admin.token(t)
	c.grow(t, tok, "filters")
	for range 3 { // refusals, by another actor
		post(t, viewer.token(t), "/v1/memories", map[string]string{"text": "mine?"}).want(t, 403)
	}
	get(t, tok, "/v1/audit/export?format=csv").want(t, 200)
	whole := lines(t, get(t, tok, "/v1/audit/export").want(t, 200).body)
	if len(whole) < 8 {
		t.Fatalf("%d events are too few to tell filters apart", len(whole))
	}
	last, middle := whole[len(whole)-1].Seq, whole[len(whole)/2]
	at := middle.Body.Time.Format(time.RFC3339Nano)
	var refused exported
	for _, e := range whole {
		if e.Body.Outcome == "refused" {
			refused = e
		}
	}
	for _, f := range []struct {
		name  string
		query url.Values
		takes func(exported) bool
	}{
		{"type", url.Values{"type": {"DATA_EXPORTED"}}, func(e exported) bool { return e.Body.Type == "DATA_EXPORTED" }},
		{"types", url.Values{"type": {"DATA_EXPORTED," + refused.Body.Type}}, func(e exported) bool { return e.Body.Type == "DATA_EXPORTED" || e.Body.Type == refused.Body.Type }},
		{"severity", url.Values{"severity": {"WARNING,HIGH"}}, func(e exported) bool { return e.Body.Severity == "WARNING" || e.Body.Severity == "HIGH" }},
		{"outcome", url.Values{"outcome": {"refused"}}, func(e exported) bool { return e.Body.Outcome == "refused" }},
		{"actor", url.Values{"actor": {viewer.id.String()}}, func(e exported) bool { return e.Body.Actor.ID == viewer.id.String() }},
		{"resource", url.Values{"resource": {"audit"}}, func(e exported) bool { return e.Body.Resource == "audit" }},
		{"request", url.Values{"request_id": {refused.Body.RequestID}}, func(e exported) bool { return e.Body.RequestID == refused.Body.RequestID }},
		{"from", url.Values{"from": {at}}, func(e exported) bool { return !e.Body.Time.Before(middle.Body.Time) }},
		{"to", url.Values{"to": {at}}, func(e exported) bool { return e.Body.Time.Before(middle.Body.Time) }},
		{"together", url.Values{"from": {at}, "outcome": {"refused"}, "actor": {viewer.id.String()}, "cursor": {fmt.Sprint(refused.Seq - 1)}},
			func(e exported) bool {
				return e.Seq >= refused.Seq && !e.Body.Time.Before(middle.Body.Time) && e.Body.Outcome == "refused" && e.Body.Actor.ID == viewer.id.String()
			}},
	} {
		var want []int64
		for _, e := range whole {
			if f.takes(e) {
				want = append(want, e.Seq)
			}
		}
		if len(want) == 0 || len(want) == len(whole) {
			t.Errorf("%s: takes %d of %d: the test shows nothing", f.name, len(want), len(whole))
		}
		have := func(q url.Values) (got []int64) {
			t.Helper()
			for _, e := range lines(t, get(t, tok, "/v1/audit/export?"+q.Encode()).want(t, 200).body) {
				if e.Seq <= last { // not the exports since
					got = append(got, e.Seq)
				}
			}
			return got
		}
		if got := have(f.query); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", f.name, got, want)
		}
		f.query.Set("format", "csv")
		rows, err := csv.NewReader(bytes.NewReader(get(t, tok, "/v1/audit/export?"+f.query.Encode()).want(t, 200).body)).ReadAll()
		var got []int64
		for _, r := range rows { // what follows a cursor has no header
			var seq int64
			if _, err := fmt.Sscan(r[0], &seq); err == nil && seq <= last {
				got = append(got, seq)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s as CSV: %v, want %v, %v", f.name, got, want, err)
		}
		f.query.Set("format", "ocsf")
		got = nil
		for l := range bytes.Lines(get(t, tok, "/v1/audit/export?"+f.query.Encode()).want(t, 200).body) {
			var e struct{ Metadata struct{ Sequence int64 } }
			if err := json.Unmarshal(l, &e); err != nil {
				t.Fatal(err)
			}
			if e.Metadata.Sequence <= last {
				got = append(got, e.Metadata.Sequence)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s as OCSF: %v, want %v", f.name, got, want)
		}
		// Resumed after the last that arrived, it goes on under the same filter.
		f.query.Del("format")
		f.query.Set("cursor", fmt.Sprint(want[0]))
		if got := have(f.query); !slices.Equal(got, want[1:]) {
			t.Errorf("%s resumed after %d: %v, want %v", f.name, want[0], got, want[1:])
		}
	}
}
