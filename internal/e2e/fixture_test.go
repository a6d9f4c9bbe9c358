package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// marker stands in every content that tests write: prompt text, in effect.
const marker = "zzcontentzz"

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("status %d: not a JSON object: %v: %.200s", a.status, err, a.body)
	}
	return v
}

func (a answer) str(t testing.TB, key string) string {
	t.Helper()
	s, _ := a.json(t)[key].(string)
	return s
}

func (a answer) items(t testing.TB) []map[string]any {
	t.Helper()
	var v struct {
		Items []map[string]any `json:"items"`
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("status %d: not a page: %v: %.200s", a.status, err, a.body)
	}
	return v.Items
}

func (a answer) code() string {
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.body, &p)
	return p.Code
}

// want fails unless the status is the one.
func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %.300s", a.status, status, a.body)
	}
	return a
}

// ask is a request under construction.
type ask struct {
	to     *replica
	client *http.Client // nil: the replica's own
	method string
	path   string
	token  string
	body   any // nil, []byte and string as they are, everything else as JSON
	header http.Header
}

// send does it, or fails the test.
func (q ask) send(t testing.TB) answer {
	t.Helper()
	a, err := q.try(context.Background())
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return a
}

func (q ask) try(ctx context.Context) (answer, error) {
	if q.to == nil {
		q.to = east
	}
	if q.client == nil {
		q.client = q.to.client
	}
	var body io.Reader
	switch b := q.body.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(b)
	case string:
		body = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.to.url+q.path, body)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	begun := time.Now()
	resp, err := q.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text, time.Since(begun)}, err
}

func get(t testing.TB, token, path string) answer {
	t.Helper()
	return ask{method: "GET", path: path, token: token}.send(t)
}

func post(t testing.TB, token, path string, body any) answer {
	t.Helper()
	return ask{method: "POST", path: path, token: token, body: body}.send(t)
}

func do(t testing.TB, method, token, path string, body any) answer {
	t.Helper()
	return ask{method: method, path: path, token: token, body: body}.send(t)
}

// customer is a tenant of one test.
type customer struct {
	id   tenant.ID
	name string
	room plane.Room
}

var customers atomic.Int64

func newCustomer(t testing.TB, tier string) *customer {
	t.Helper()
	name := fmt.Sprintf("t%d-%s", customers.Add(1), strings.ToLower(uuid.NewString()[:8]))
	ev := audit.Event{Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem, ID: "test"}}
	rec, err := dev.Identity.CreateTenant(t.Context(), dev.Store, ev, name, tier)
	if err != nil {
		t.Fatal(err)
	}
	room, err := dev.Identity.Enter(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return &customer{rec.ID, name, room}
}

// person is a user of a customer.
type person struct {
	of    *customer
	id    uuid.UUID
	email string
	roles []string
}

// person adds a user who holds roles. The password is passwordOfAll.
func (c *customer) person(t testing.TB, roles ...string) *person {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	p := &person{c, id, strings.ReplaceAll(id.String(), "-", "") + "@" + c.name + ".example", roles}
	if err := insert(t.Context(), c.room, identity.User{ID: id, Email: p.email, Hash: passhash, Roles: roles, Active: true}); err != nil {
		t.Fatal(err)
	}
	return p
}

// login goes through the front door.
func (p *person) login(t testing.TB) (access, refresh string) {
	t.Helper()
	a := post(t, "", "/v1/auth/login", map[string]string{"tenant": p.of.name, "email": p.email, "password": passwordOfAll}).want(t, 200)
	return secret("an access token", a.str(t, "access_token")), secret("a refresh token", a.str(t, "refresh_token"))
}

// token is an access token with a session of its own, as a login makes it,
// without the cost of the password.
func (p *person) token(t testing.TB) string {
	t.Helper()
	u, err := dev.Store.User(t.Context(), p.of.room.Scope(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := policy.ParseRoleSet(p.roles)
	if err != nil {
		t.Fatal(err)
	}
	kind := policy.KindUser
	if p.of.id == tenant.House {
		kind = policy.KindOperator
	}
	return p.of.mint(t, authn.Grant{Subject: p.id.String(), Kind: kind, Roles: roles, Epoch: u.Epoch})
}

// mint opens a session and signs a token for it.
func (c *customer) mint(t testing.TB, g authn.Grant) string {
	t.Helper()
	g.Tenant, g.Session = c.id, uuid.New()
	subject := uuid.MustParse(g.Subject)
	ev := audit.Event{Type: audit.LoginSuccess, Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem, ID: "test"}}
	if _, err := c.room.Change(t.Context(), ev, func(tx plane.Tx) error {
		return dev.Store.InsertSession(t.Context(), tx, identity.Session{ID: g.Session, Subject: subject, Expires: time.Now().Add(time.Hour)})
	}); err != nil {
		t.Fatal(err)
	}
	tok, err := dev.Identity.Minter.Mint(g)
	if err != nil {
		t.Fatal(err)
	}
	return secret("an access token", tok.Text)
}

// agentToken is a run's token, started by p.
func (p *person) agentToken(t testing.TB, agent string) string {
	t.Helper()
	u, err := dev.Store.User(t.Context(), p.of.room.Scope(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	return p.of.mint(t, authn.Grant{Subject: p.id.String(), Kind: policy.KindAgent, Roles: policy.NewRoleSet(policy.AgentRole),
		Agent: uuid.MustParse(agent), Epoch: u.Epoch})
}

// machine is a service account with its credentials.
type machine struct {
	of             *customer
	id             string
	client, secret string
	grants         []string
	version        string
}

func (c *customer) machine(t testing.TB, admin string, grants ...string) *machine {
	t.Helper()
	a := post(t, admin, "/v1/service-accounts", map[string]any{"name": "m-" + uuid.NewString()[:8], "grants": grants}).want(t, 201)
	return &machine{of: c, id: a.str(t, "id"), client: a.str(t, "client_id"), secret: secret("a client secret", a.str(t, "client_secret")),
		grants: grants, version: a.header.Get("ETag")}
}

// form posts to an OAuth endpoint.
func form(t testing.TB, to *replica, path string, values string, basic ...string) answer {
	t.Helper()
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if len(basic) == 2 {
		req := &http.Request{Header: http.Header{}}
		req.SetBasicAuth(basic[0], basic[1])
		h["Authorization"] = req.Header["Authorization"]
	}
	return ask{to: to, method: "POST", path: path, body: values, header: h}.send(t)
}

func (m *machine) login(t testing.TB) string {
	t.Helper()
	a := form(t, east, "/oauth/token", "grant_type=client_credentials", m.client, m.secret).want(t, 200)
	return secret("an access token", a.str(t, "access_token"))
}

// grow gives a customer an agent with memories of its own and one of the
// tenant's; content holds the marker and word.
func (c *customer) grow(t testing.TB, token, word string) (agent, memory string) {
	t.Helper()
	a := post(t, token, "/v1/agents", map[string]any{"name": "agent " + word, "instructions": marker + " " + word}).want(t, 201)
	agent = a.str(t, "id")
	m := post(t, token, "/v1/memories", map[string]any{"agent_id": agent, "text": marker + " " + word + " invoice", "tags": []string{word}}).want(t, 201)
	post(t, token, "/v1/memories", map[string]any{"text": marker + " " + word + " receipt", "tags": []string{word}}).want(t, 201)
	return agent, m.str(t, "id")
}

// events reads a tenant's whole log over the API.
func events(t testing.TB, token string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for cursor := ""; ; {
		a := get(t, token, "/v1/audit/events?limit=500"+cursor).want(t, 200)
		all = append(all, a.items(t)...)
		next := a.str(t, "next_cursor")
		if next == "" {
			return all
		}
		cursor = "&cursor=" + next
	}
}

// event finds the one event of a request id and type.
func event(t testing.TB, all []map[string]any, requestID, typ string) map[string]any {
	t.Helper()
	for _, e := range all {
		if e["request_id"] == requestID && e["type"] == typ {
			return e
		}
	}
	t.Fatalf("no %s with request id %s among %d events", typ, requestID, len(all))
	return nil
}

// root is a connection that walks through every wall.
func root(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), super)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// another runs one more replica on the same database for the test.
func another(t testing.TB, c app.Config) *replica {
	t.Helper()
	var err error
	if c.Port, err = app.FreePort(); err != nil {
		t.Fatal(err)
	}
	a, err := app.Build(t.Context(), c, slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	r, err := serve(a)
	if err != nil {
		a.Close()
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	return r
}

// quiet makes one last request with token and waits until it is on record: all
// that the tenant did before is then too.
func quiet(t testing.TB, db *pgx.Conn, c *customer, token string) {
	t.Helper()
	last := "last-" + uuid.NewString()
	ask{method: "GET", path: "/v1/me", token: token, header: http.Header{"X-Request-Id": {last}}}.send(t).want(t, 200)
	deadline := time.Now().Add(10 * time.Second)
	for n := 0; n == 0; {
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM audit_records WHERE tenant_id = $1 AND request_id = $2`, c.id.String(), last).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("a read is not on record after 10 s")
		}
	}
	settle(t, db, c.id)
}

// settle waits until every event of a tenant has its number.
func settle(t testing.TB, db *pgx.Conn, id tenant.ID) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		var open int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM audit_events e WHERE tenant_id = $1
			AND NOT EXISTS (SELECT 1 FROM audit_leaves l WHERE l.tenant_id = e.tenant_id AND l.event_id = e.id)`, id.String()).Scan(&open); err != nil {
			t.Fatal(err)
		}
		if open == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events of %s got no number in 10 s", open, id)
		}
		time.Sleep(20 * time.Millisecond) // the sequencer gives no signal to strangers
	}
}

// dump is everything a tenant has, as text.
func dump(t testing.TB, db *pgx.Conn, id tenant.ID, without ...string) string {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT c.table_name, c.column_name FROM information_schema.columns c
		JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
		  AND (c.column_name IN ('tenant_id', 'tenant') OR (c.table_name = 'tenants' AND c.column_name = 'id'))
		  AND c.table_name NOT LIKE 'audit_events_%' AND c.table_name NOT IN ('audit_nodes', 'audit_checkpoints', 'audit_summaries') ORDER BY 1`) // signed in their own time
	if err != nil {
		t.Fatal(err)
	}
	type column struct{ table, name string }
	tables, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (c column, err error) {
		err = r.Scan(&c.table, &c.name)
		return c, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) < 8 {
		t.Fatalf("only %d tables belong to tenants; is this the right database?", len(tables))
	}
	var b strings.Builder
	for _, c := range tables {
		if slices.Contains(without, c.table) {
			continue
		}
		table := pgx.Identifier{c.table}.Sanitize()
		var text *string
		if err := db.QueryRow(t.Context(), `SELECT string_agg(x::text, E'\n' ORDER BY x::text) FROM `+table+` x WHERE `+
			pgx.Identifier{c.name}.Sanitize()+` = $1`, id.String()).Scan(&text); err != nil {
			t.Fatal(err)
		}
		if text != nil {
			fmt.Fprintf(&b, "== %s\n%s\n", c.table, *text)
		}
	}
	return b.String()
}
