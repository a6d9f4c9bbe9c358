package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/verify"
)

// TestAuditProofs follows a tenant that trusts nobody: it keeps a checkpoint,
// and what it fetches later has to agree with it, on either replica.
func TestAuditProofs(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	c.grow(t, tok, "proofs")
	kept := get(t, tok, "/v1/audit/checkpoint").want(t, 200)
	size := int64(kept.json(t)["size"].(float64))
	if size < 3 || kept.str(t, "key") == "" || kept.str(t, "house_key") == "" {
		t.Fatalf("checkpoint: %s", kept.body)
	}
	c.grow(t, tok, "more")

	p := get(t, tok, "/v1/audit/proof?seq=2").want(t, 200).json(t)["inclusion"].(map[string]any)
	if p["seq"] != 2.0 || len(p["proof"].([]any)) == 0 {
		t.Errorf("inclusion: %v", p)
	}
	g := get(t, tok, fmt.Sprintf("/v1/audit/proof?from=%d", size)).want(t, 200).json(t)["consistency"].(map[string]any)
	if g["from_root"] != kept.str(t, "root") || g["to"].(float64) <= float64(size) {
		t.Errorf("consistency: %v", g)
	}
	for path, status := range map[string]int{
		"/v1/audit/proof": 422, "/v1/audit/proof?seq=1&from=1": 422, "/v1/audit/proof?seq=0": 422, "/v1/audit/proof?seq=x": 422,
		"/v1/audit/proof?seq=999999": 404, "/v1/audit/proof?from=5&to=2": 404, "/v1/audit/proof?from=1&to=999999": 404,
		"/v1/audit/bundle?since=999999": 404, "/v1/audit/bundle?from_seq=3&to_seq=2": 422, "/v1/audit/bundle?from=yesterday": 422,
		"/v1/audit/export?format=xml": 422, "/v1/audit/export?type=NOT_ONE": 422, "/v1/audit/export?cursor=-1": 422, "/v1/audit/export?nonsense=1": 422,
	} {
		if a := get(t, tok, path); a.status != status {
			t.Errorf("%s: %d, want %d: %.200s", path, a.status, status, a.body)
		}
	}

	options := verify.Options{Key: kept.str(t, "key"), HouseKey: kept.str(t, "house_key"), Since: kept.str(t, "checkpoint")}
	for _, to := range []*replica{east, west} {
		a := ask{to: to, method: "GET", path: fmt.Sprintf("/v1/audit/bundle?since=%d", size), token: tok}.send(t).want(t, 200)
		rep, err := verify.Verify(bytes.NewReader(a.body), options)
		if err != nil || rep.Wrong != nil || len(rep.Missing) > 0 || rep.Size <= size || rep.From != 1 || rep.To != rep.Size {
			t.Errorf("the bundle: %v, %v", rep, err)
		}
		if !strings.Contains(a.header.Get("Content-Disposition"), "audit.bundle") {
			t.Errorf("headers: %v", a.header)
		}
	}
}

// TestAuditExports holds exports to the listing, resumes one in the middle, and
// looks for the event that went before them.
func TestAuditExports(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	c.grow(t, tok, "exports")
	whole := get(t, tok, "/v1/audit/export").want(t, 200)
	lines := bytes.SplitAfter(bytes.TrimSuffix(whole.body, nil), []byte("\n"))
	lines = lines[:len(lines)-1]
	last := string(lines[len(lines)-1])
	// Its own event is the last: durable before the first byte left.
	if !strings.Contains(last, `"type":"DATA_EXPORTED"`) || !strings.Contains(last, fmt.Sprintf(`"seq":%d}`, len(lines))) {
		t.Errorf("the last of %d lines is %.300s", len(lines), last)
	}
	note := get(t, tok, "/v1/audit/checkpoint").want(t, 200)
	whole = get(t, tok, "/v1/audit/export").want(t, 200)
	rep, err := verify.Verify(bytes.NewReader(whole.body), verify.Options{Key: note.str(t, "key"), Checkpoint: get(t, tok, "/v1/audit/checkpoint").want(t, 200).str(t, "checkpoint")})
	if err != nil || rep.Wrong != nil && rep.Wrong.Check != "truncated" { // other events may have come in between
		t.Errorf("the export: %v, %v", rep, err)
	}
	rest := get(t, tok, "/v1/audit/export?cursor=2").want(t, 200)
	if !bytes.HasPrefix(rest.body, bytes.Join(lines[2:], nil)) {
		t.Errorf("resumed after 2 it begins %.200s", rest.body)
	}
	only := get(t, tok, "/v1/audit/export?format=csv&type=DATA_EXPORTED").want(t, 200)
	rows, err := csv.NewReader(bytes.NewReader(only.body)).ReadAll()
	if err != nil || len(rows) < 4 || !strings.HasPrefix(only.header.Get("Content-Type"), "text/csv") {
		t.Errorf("CSV: %d rows, %v, %v", len(rows), err, only.header)
	}
	for _, r := range rows[1:] {
		if r[3] != "DATA_EXPORTED" {
			t.Errorf("CSV holds %v", r)
		}
	}
	ocsf := get(t, tok, "/v1/audit/export?format=ocsf").want(t, 200)
	for _, l := range bytes.Split(bytes.TrimSpace(ocsf.body), []byte("\n")) {
		var e struct {
			ClassUID int `json:"class_uid"`
			Metadata struct {
				Tenant string `json:"tenant_uid"`
			}
		}
		if err := json.Unmarshal(l, &e); err != nil || e.ClassUID == 0 || e.Metadata.Tenant != c.id.String() {
			t.Errorf("OCSF: %v: %.200s", err, l)
		}
	}
	if a := get(t, tok, "/v1/audit/export?actor="+url.QueryEscape("nobody")).want(t, http.StatusOK); len(a.body) != 0 {
		t.Errorf("an export of nothing has %d bytes", len(a.body))
	}
}

// TestDurableReads holds back a plain read's answer until its event is durable,
// for the tenant that asked, and shows nothing when it cannot be.
func TestDurableReads(t *testing.T) {
	t.Parallel()
	db := root(t)
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	if _, err := db.Exec(t.Context(), `INSERT INTO audit_settings VALUES ($1, true)`, c.id.String()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; { // until the replica's half second is over
		id := strings.ReplaceAll(uuid.NewString(), "-", "")
		a := ask{method: "GET", path: "/v1/agents", token: tok, header: http.Header{"X-Request-Id": {id}}}.send(t).want(t, 200)
		var n int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM audit_records WHERE tenant_id = $1 AND request_id = $2`, c.id.String(), a.header.Get("X-Request-Id")).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 1 {
			t.Fatalf("one read has %d events", n)
		}
		if n == 1 && time.Now().After(end.Add(-9*time.Second)) { // twice the half second
			break
		}
		if time.Now().After(end) {
			t.Fatal("a read is answered before its event")
		}
	}
	for range 50 {
		a := get(t, tok, "/v1/agents").want(t, 200)
		var n int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM audit_records WHERE tenant_id = $1 AND request_id = $2`, c.id.String(), a.header.Get("X-Request-Id")).Scan(&n); err != nil || n != 1 {
			t.Fatalf("answered with %d events, %v", n, err)
		}
	}
}
