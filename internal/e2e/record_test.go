package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// logged is an event as it lies in the database, where nobody renders it.
type logged struct {
	typ, actor, outcome, body string
	tenant                    string
	seq                       *int64
}

func (l logged) field(t testing.TB, path ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(l.body), &v); err != nil {
		t.Fatal(err)
	}
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// find waits for the events of a request id, wherever they are.
func find(t testing.TB, db *pgx.Conn, requestID string) []logged {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		rows, err := db.Query(t.Context(), `SELECT type, actor, outcome, body, tenant_id::text, seq FROM audit_records
			WHERE request_id = $1 ORDER BY xid, event_row, place`, requestID)
		if err != nil {
			t.Fatal(err)
		}
		out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (l logged, err error) {
			err = r.Scan(&l.typ, &l.actor, &l.outcome, &l.body, &l.tenant, &l.seq)
			return l, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 || time.Now().After(deadline) {
			return out
		}
		time.Sleep(5 * time.Millisecond) // a read's event follows its answer
	}
}

// TestRefusalsAreRecorded makes one refusal of each kind and looks for it in
// the log where it belongs.
func TestRefusalsAreRecorded(t *testing.T) {
	t.Parallel()
	db := root(t)
	north := another(t, dev.Config) // its sampling of floods has seen nothing yet
	c, poor, ended := newCustomer(t, "dedicated"), newCustomer(t, "standard"), newCustomer(t, "dedicated")
	boss, viewer := c.person(t, "tenant_admin"), c.person(t, "viewer")
	tok, weak := boss.token(t), viewer.token(t)
	agent, _ := c.grow(t, tok, "record")
	gone := c.person(t, "viewer")
	goneTok := gone.token(t)
	do(t, "DELETE", tok, "/v1/users/"+gone.id.String(), nil).want(t, 204)
	late := ended.person(t, "viewer")
	suspendedTok := late.token(t)
	operate(t, "POST", "/v1/tenants/"+ended.id.String()+"/suspend", nil).want(t, 200)
	machine := c.machine(t, tok, "agents.read")
	poorTok := poor.person(t, "tenant_admin").token(t)
	for range 6 {
		ask{to: north, method: "GET", path: "/v1/me", token: poorTok}.send(t).want(t, 200)
	}
	house, mine := tenant.House.String(), c.id.String()
	jsonBody := func(v any) any { return v }
	clientForm := func(id, sec string) ask {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(id, sec)
		return ask{method: "POST", path: "/oauth/token", body: "grant_type=client_credentials",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": r.Header["Authorization"]}}
	}
	for name, k := range map[string]struct {
		q                    ask
		status               int
		log, typ, reason     string
		actor, stage, policy string
	}{
		"no credential":    {ask{method: "GET", path: "/v1/me"}, 401, house, "UNAUTHORIZED_ACCESS", "unauthorized", "", "authn", ""},
		"tampered token":   {ask{method: "GET", path: "/v1/me", token: tok + "A"}, 401, house, "UNAUTHORIZED_ACCESS", "unauthorized", "", "authn", ""},
		"deleted user":     {ask{method: "GET", path: "/v1/me", token: goneTok}, 401, mine, "UNAUTHORIZED_ACCESS", "unauthorized", gone.id.String(), "authn", ""},
		"suspended tenant": {ask{method: "GET", path: "/v1/me", token: suspendedTok}, 403, ended.id.String(), "UNAUTHORIZED_ACCESS", "tenant_suspended", late.id.String(), "authn", ""},
		"forbidden":        {ask{method: "POST", path: "/v1/agents", token: weak, body: jsonBody(map[string]any{"name": "x"})}, 403, mine, "UNAUTHORIZED_ACCESS", "forbidden", viewer.id.String(), "policy", "hash"},
		"escalation": {ask{method: "POST", path: "/v1/users/" + viewer.id.String() + "/roles", token: tok, body: jsonBody(map[string]any{"role": "platform_admin"})},
			403, mine, "UNAUTHORIZED_ACCESS", "forbidden", boss.id.String(), "handler", "hash"},
		"not found":    {ask{method: "GET", path: "/v1/agents/" + uuid.NewString(), token: tok}, 404, mine, "API_REQUEST", "not_found", boss.id.String(), "handler", "hash"},
		"no route":     {ask{method: "GET", path: "/v1/nothing", token: tok}, 404, house, "API_REQUEST", "not_found", "", "limits", ""},
		"wrong method": {ask{method: "DELETE", path: "/v1/agents", token: tok}, 405, house, "INPUT_VALIDATION_FAILED", "method_not_allowed", "", "limits", ""},
		"invalid":      {ask{method: "POST", path: "/v1/agents", token: tok, body: "{"}, 400, mine, "INPUT_VALIDATION_FAILED", "invalid_request", boss.id.String(), "inspect", "hash"},
		"validation":   {ask{method: "POST", path: "/v1/agents", token: tok, body: jsonBody(map[string]any{"name": ""})}, 422, mine, "INPUT_VALIDATION_FAILED", "validation_failed", boss.id.String(), "handler", "hash"},
		"media type":   {ask{method: "POST", path: "/v1/agents", token: tok, body: "x", header: http.Header{"Content-Type": {"text/plain"}}}, 415, mine, "INPUT_VALIDATION_FAILED", "unsupported_media_type", boss.id.String(), "handler", "hash"},
		"too large":    {ask{method: "POST", path: "/v1/agents", token: tok, body: strings.Repeat(" ", 1<<20+1)}, 413, house, "INPUT_VALIDATION_FAILED", "too_large", "", "limits", ""},
		"conflict":     {ask{method: "POST", path: "/v1/agents", token: tok, body: jsonBody(map[string]any{"name": "agent record"})}, 409, mine, "API_REQUEST", "conflict", boss.id.String(), "handler", "hash"},
		"stale":        {ask{method: "DELETE", path: "/v1/agents/" + agent, token: tok, header: http.Header{"If-Match": {`"99"`}}}, 412, mine, "API_REQUEST", "precondition_failed", boss.id.String(), "handler", "hash"},
		"rate limited": {ask{method: "GET", path: "/v1/me", token: poorTok}, 429, poor.id.String(), "RATE_LIMIT_EXCEEDED", "rate_limit_exceeded", "*", "quota", ""},
		"wrong password": {ask{method: "POST", path: "/v1/auth/login", body: jsonBody(map[string]any{"tenant": c.name, "email": viewer.email, "password": "zz-wrong-password-zz"})},
			401, mine, "LOGIN_FAILED", "wrong_password", viewer.id.String(), "", ""},
		"unknown user": {ask{method: "POST", path: "/v1/auth/login", body: jsonBody(map[string]any{"tenant": c.name, "email": "zz-typed@example.com", "password": "zz-wrong-password-zz"})},
			401, mine, "LOGIN_FAILED", "unknown_user", "", "", ""},
		"unknown tenant": {ask{method: "POST", path: "/v1/auth/login", body: jsonBody(map[string]any{"tenant": "zz-no-tenant", "email": "zz-typed@example.com", "password": "zz-wrong-password-zz"})},
			401, house, "LOGIN_FAILED", "unknown_tenant", "", "", ""},
		"good login": {ask{method: "POST", path: "/v1/auth/login", body: jsonBody(map[string]any{"tenant": c.name, "email": viewer.email, "password": passwordOfAll})},
			200, mine, "LOGIN_SUCCESS", "", viewer.id.String(), "", ""},
		"wrong secret":  {clientForm(machine.client, "ocs_zz-wrong-secret-zz"), 401, mine, "LOGIN_FAILED", "wrong_secret", machine.id, "", ""},
		"good client":   {clientForm(machine.client, machine.secret), 200, mine, "LOGIN_SUCCESS", "", machine.id, "", ""},
		"refresh token": {ask{method: "POST", path: "/v1/auth/refresh", body: jsonBody(map[string]any{"refresh_token": "ocr_zz-not-a-token-zz"})}, 401, house, "UNAUTHORIZED_ACCESS", "unauthorized", "", "handler", ""},
	} {
		t.Run(name, func(t *testing.T) {
			rid := "rec-" + uuid.NewString()
			k.q.to = north
			k.q.header = merged(k.q.header, http.Header{"X-Request-Id": {rid}, "User-Agent": {"the-agent/1"}})
			a := k.q.send(t).want(t, k.status)
			if got := a.header.Get("X-Request-Id"); got != rid {
				t.Errorf("the answer's request id is %q", got)
			}
			found := find(t, db, rid)
			if len(found) != 1 {
				t.Fatalf("%d events: %v", len(found), found)
			}
			e := found[0]
			if k.log != "" && e.tenant != k.log {
				t.Errorf("it lies in the log of %s, want %s", e.tenant, k.log)
			}
			if e.typ != k.typ {
				t.Errorf("type %s, want %s", e.typ, k.typ)
			}
			want := "refused"
			if k.status < 300 {
				want = "success"
			}
			if e.outcome != want {
				t.Errorf("outcome %s, want %s", e.outcome, want)
			}
			if r, _ := e.field(t, "reason").(string); r != k.reason {
				t.Errorf("reason %q, want %q", r, k.reason)
			}
			if k.actor != "*" && e.actor != k.actor {
				t.Errorf("actor %q, want %q", e.actor, k.actor)
			}
			if stage, _ := e.field(t, "details", "stage").(string); stage != k.stage {
				t.Errorf("stage %q, want %q", stage, k.stage)
			}
			if hash, _ := e.field(t, "policy_hash").(string); k.policy != "" && hash != dev.Policy.Hash() {
				t.Errorf("policy hash %q, want %q", hash, dev.Policy.Hash())
			}
			for _, s := range []string{"zz-typed", "zz-wrong", "zz-not-a-token", viewer.email, marker} {
				if strings.Contains(e.body, s) {
					t.Errorf("the event holds %q: %s", s, e.body)
				}
			}
		})
	}
}

// TestChangesAreRecorded succeeds at every operation that changes something
// and wants exactly one event that says so.
func TestChangesAreRecorded(t *testing.T) {
	t.Parallel()
	db := root(t)
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin")
	tok := boss.token(t)
	client := newClient(&operator)
	t.Cleanup(client.CloseIdleConnections)
	made := map[string]string{} // ids by operation that made them
	mate := c.person(t, "viewer")
	changer, leaver := c.person(t, "viewer"), c.person(t, "viewer")
	newTenant := "rec-" + uuid.NewString()[:8]
	steps := []struct {
		op, id, typ string
		body        any
		as          string // a token other than the administrator's
		query       string
	}{
		{op: "create-user", typ: "USER_CHANGED", body: map[string]any{"email": "rec@example.com", "name": "R"}},
		{op: "update-user", id: mate.id.String(), typ: "USER_CHANGED", body: map[string]any{"name": "S"}},
		{op: "grant-role", id: mate.id.String(), typ: "ROLE_GRANTED", body: map[string]any{"role": "developer"}},
		{op: "revoke-role", id: mate.id.String(), typ: "ROLE_REVOKED"},
		{op: "reset-password", id: mate.id.String(), typ: "PASSWORD_CHANGED"},
		{op: "delete-user", id: mate.id.String(), typ: "USER_CHANGED"},
		{op: "create-service-account", typ: "API_KEY_CREATED", body: map[string]any{"name": "rec", "grants": []string{"agents.read"}}},
		{op: "update-service-account", id: "create-service-account", typ: "API_KEY_CREATED", body: map[string]any{"new_secret": true}},
		{op: "delete-service-account", id: "create-service-account", typ: "API_KEY_REVOKED"},
		{op: "create-agent", typ: "AGENT_CHANGED", body: map[string]any{"name": "rec", "instructions": marker}},
		{op: "update-agent", id: "create-agent", typ: "AGENT_CHANGED", body: map[string]any{"instructions": marker + "2"}},
		{op: "create-memory", typ: "MEMORY_CHANGED", body: map[string]any{"text": marker}},
		{op: "update-memory", id: "create-memory", typ: "MEMORY_CHANGED", body: map[string]any{"text": marker + "2"}},
		{op: "delete-memory", id: "create-memory", typ: "MEMORY_CHANGED"},
		{op: "delete-agent", id: "create-agent", typ: "AGENT_CHANGED"},
		{op: "set-inspection-settings", typ: "CONFIG_CHANGED", body: map[string]any{"block_above": 0.6}},
		{op: "change-password", typ: "PASSWORD_CHANGED", as: changer.token(t), body: map[string]any{"current_password": passwordOfAll, "new_password": secret("a password", "yet-another-horse-with-battery-7")}},
		{op: "logout", typ: "TOKEN_REVOKED", as: leaver.token(t)},
		{op: "create-tenant", typ: "TENANT_CREATED", body: map[string]any{"name": newTenant}},
		{op: "update-tenant", id: "create-tenant", typ: "TENANT_CHANGED", body: map[string]any{"tier": "enhanced"}},
		{op: "suspend-tenant", id: "create-tenant", typ: "TENANT_CHANGED"},
		{op: "resume-tenant", id: "create-tenant", typ: "TENANT_CHANGED"},
		{op: "isolate-tenant", id: "create-tenant", typ: "TENANT_ISOLATED"},
		{op: "hold-tenant", id: "create-tenant", typ: "CONFIG_CHANGED", body: map[string]any{"owner": "counsel", "reason": "matter 7"}},
		{op: "release-tenant", id: "create-tenant", typ: "CONFIG_CHANGED", query: "owner=counsel&reason=settled"},
		{op: "retain-tenant", id: "create-tenant", typ: "CONFIG_CHANGED", body: map[string]any{"days": 3000, "owner": "board", "reason": "contract"}},
		{op: "set-retention", typ: "CONFIG_CHANGED", body: map[string]any{"days": 2600, "owner": "board", "reason": "policy 4"}},
		{op: "create-block", typ: "DDOS_BLOCKED", body: map[string]any{"prefix": "203.0.113.77", "seconds": 60, "reason": "test"}},
		{op: "lift-block", typ: "DDOS_BLOCKED"},
	}
	byID := map[string]operation{}
	for _, o := range operations(t) {
		byID[o.id] = o
		// What changes nothing, and what this file's other test walks.
		if !o.writes() || o.public || o.id == "search-memories" || o.id == "inspect" {
			continue
		}
		if !slices.ContainsFunc(steps, func(s struct {
			op, id, typ string
			body        any
			as          string
			query       string
		}) bool {
			return s.op == o.id
		}) {
			t.Errorf("%s (%s) changes something and is not in this test; teach it", o, o.id)
		}
	}
	for _, s := range steps {
		o := byID[s.op]
		id := s.id
		if made[id] != "" {
			id = made[id]
		}
		rid := "chg-" + uuid.NewString()
		q := ask{method: o.method, path: o.at(id), token: tok, body: s.body, header: http.Header{"X-Request-Id": {rid}}}
		q.path = strings.Replace(q.path, "/roles/viewer", "/roles/developer", 1)
		if s.query != "" {
			q.path += "?" + s.query
		}
		if s.as != "" {
			q.token = s.as
		}
		log := []string{c.id.String()}
		if o.action.Audience() == policy.ForPlatform {
			q.client, q.token, log = client, "", []string{tenant.House.String()}
		}
		a := q.send(t)
		if a.status >= 300 {
			t.Errorf("%s: %d %.300s", s.op, a.status, a.body)
			continue
		}
		if len(a.body) > 0 {
			made[s.op] = a.str(t, "id")
			for key, what := range map[string]string{"one_time_password": "a one-time password", "client_secret": "a client secret"} {
				secret(what, a.str(t, key))
			}
		}
		if strings.HasSuffix(s.op, "-tenant") { // the tenant's own log has it as well
			log = append(log, made["create-tenant"])
		}
		found := find(t, db, rid)
		for _, of := range log {
			n := 0
			for _, e := range found {
				if e.tenant == of && e.typ == s.typ && e.outcome == "success" {
					n++
					if hash, _ := e.field(t, "policy_hash").(string); hash != dev.Policy.Hash() {
						t.Errorf("%s: policy hash %q", s.op, hash)
					}
					want := o.action.String()
					if s.op == "resume-tenant" { // one permission for both, and what was done
						want = "platform.tenants.resume"
					}
					if act, _ := e.field(t, "action").(string); act != want {
						t.Errorf("%s: action %q, want %q", s.op, act, want)
					}
				}
			}
			if n != 1 {
				t.Errorf("%s: %d events %s in the log of %s; found %v", s.op, n, s.typ, of, found)
			}
		}
		for _, e := range found {
			if !slices.Contains(log, e.tenant) {
				t.Errorf("%s: an event in a log where it does not belong: %v", s.op, e)
			}
		}
	}
}

// checkLogs is asked when all tests are over: every tenant's numbers have no
// gap, and nothing in any log is a secret or content.
func checkLogs(ctx context.Context) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	db, err := pgx.Connect(ctx, super)
	if err != nil {
		return []string{err.Error()}
	}
	defer db.Close(ctx)
	var (
		id                       string
		count, low, high, differ int64
		body                     string
		logs, events             int
	)
	rows, err := db.Query(ctx, `SELECT tenant_id::text, sum(n), min(seq), max(seq + n - 1), sum(n) - count(*) + count(DISTINCT seq) FROM audit_leaves GROUP BY 1`)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&id, &count, &low, &high, &differ}, func() error {
			logs++
			if low != 1 || high != count || differ != count {
				complain("the log of %s has %d events numbered %d to %d, %d different", id, count, low, high, differ)
			}
			return nil
		})
	}
	if err != nil {
		complain("read the numbers: %v", err)
	}
	rows, err = db.Query(ctx, `SELECT body || ' ' || coalesce(actor_name, '') || ' ' || coalesce(user_agent, '') FROM audit_records`)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&body}, func() error {
			events++
			for _, found := range secretsIn(body) {
				complain("an event %s: %s", found, body)
			}
			if strings.Contains(body, marker) {
				complain("an event holds content: %s", body)
			}
			return nil
		})
	}
	if err != nil {
		complain("read the events: %v", err)
	}
	if logs < 3 || events < 3 {
		complain("%d events in %d logs: nothing was tested", events, logs)
	}
	return complaints
}

// TestNoClassSkipsTheRecord: a route that is charged to nothing is refused on
// record like any other.
func TestNoClassSkipsTheRecord(t *testing.T) {
	t.Parallel()
	db := root(t)
	north := another(t, dev.Config) // its sampling of floods has seen nothing yet
	for name, h := range map[string]string{"anonymous": "", "bad token": "nonsense"} {
		rid := "usage-" + uuid.NewString()
		ask{to: north, method: "GET", path: "/v1/usage", token: h, header: http.Header{"X-Request-Id": {rid}}}.send(t).want(t, 401)
		if found := find(t, db, rid); len(found) != 1 || found[0].typ != "UNAUTHORIZED_ACCESS" {
			t.Errorf("%s: %v", name, found)
		}
	}
}
