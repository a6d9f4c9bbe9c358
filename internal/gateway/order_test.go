package gateway

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// trace is what happened to one request, in order: stages, "handler",
// "recorded" when an event became durable, "promised" when one was counted that
// will follow, "noted" when it was queued, and
// "answered" when the status went out.
type trace struct {
	mu    sync.Mutex
	steps []string
}

func (t *trace) add(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, s)
}

// register is the log of this test: it keeps events in memory, or refuses.
type register struct {
	plane.Store // nothing else of a store is asked here
	trace       *trace
	down        bool
	mu          sync.Mutex
	events      []audit.Event
}

func (r *register) keep(ev audit.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

func (r *register) Record(_ context.Context, _ tenant.Scope, ev audit.Event) (audit.Receipt, error) {
	if r.down {
		return audit.Receipt{}, fault.New(fault.NoRecord, "the log is away")
	}
	r.keep(ev)
	r.trace.add("recorded")
	return audit.Receipt{}, nil
}

func (r *register) AuditSettings(context.Context, tenant.Scope) (audit.Settings, error) {
	return audit.Settings{}, nil
}

func (r *register) Promise(context.Context, tenant.Scope) error {
	r.trace.add("promised")
	return nil
}

func (r *register) Note(ctx context.Context, s tenant.Scope, ev audit.Event) error {
	return r.Keep(ctx, s, ev)
}

func (r *register) Keep(_ context.Context, _ tenant.Scope, ev audit.Event) error {
	r.keep(ev)
	r.trace.add("noted")
	return nil
}

// tenants is a directory; callers is an authenticator by token.
type tenants map[tenant.ID]tenant.Record

func (d tenants) Find(_ context.Context, id tenant.ID) (tenant.Record, error) {
	rec, ok := d[id]
	if !ok {
		return rec, fault.New(fault.NotFound, "there is no such tenant")
	}
	return rec, nil
}

type callers map[string]authn.Principal

func (c callers) Authenticate(_ context.Context, r authn.Request) (authn.Principal, error) {
	if len(r.Authorization) == 1 {
		if p, ok := c[strings.TrimPrefix(r.Authorization[0], "Bearer ")]; ok {
			return p, nil
		}
	}
	return authn.Principal{}, fault.New(fault.Unauthorized, "the credential is not valid")
}

func (callers) Stands(context.Context, authn.Principal, *tls.ConnectionState) error { return nil }

// answering tells when the status goes out.
type answering struct {
	*httptest.ResponseRecorder
	trace *trace
}

func (a answering) WriteHeader(status int) {
	a.trace.add("answered")
	a.ResponseRecorder.WriteHeader(status)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

type fixture struct {
	gate  *Gateway
	log   *register
	trace *trace
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{trace: &trace{}}
	f.log = &register{trace: f.trace}
	acme, asleep := tenant.NewID(), tenant.NewID()
	dir := tenants{
		tenant.House: {ID: tenant.House, Name: "platform", Status: tenant.Active, Tier: "dedicated"},
		acme:         {ID: acme, Name: "acme", Status: tenant.Active, Tier: "standard"},
		asleep:       {ID: asleep, Name: "asleep", Status: tenant.Suspended, Tier: "standard"},
	}
	who := func(id tenant.ID, r policy.Role) authn.Principal {
		return authn.Principal{Tenant: id, Subject: uuid.NewString(), Kind: policy.KindUser, Roles: policy.NewRoleSet(r), Method: authn.ByToken}
	}
	door := tenant.NewDoor(dir)
	rooms := plane.New(f.log)
	house := must[plane.Room](t)(rooms.Enter(must[tenant.Scope](t)(door.AdmitAnyStatus(t.Context(), tenant.House))))
	tiers := quota.NewTiers()
	routes := NewRoutes()
	for _, r := range []struct {
		method, path, class string
		action              policy.Action
	}{
		{"POST", "/things", "write", policy.AgentsCreate}, {"GET", "/open", "probe", policy.PublicHealth}, {"POST", "/panics", "write", policy.AgentsCreate},
	} {
		class := must[quota.Class](t)(tiers.Table().Class(r.class))
		if err := routes.Handle(Route{Method: r.method, Pattern: r.path, Action: r.action, Class: class, MaxBody: 100}, func(x *Exchange) {
			f.trace.add("handler")
			if r.path == "/panics" {
				panic("on purpose")
			}
			x.Writer.WriteHeader(http.StatusOK)
		}); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{
		Routes: routes, Door: door, Tenants: dir, Plane: rooms, House: house, Policy: must[*policy.Engine](t)(policy.Load(policy.Sources{})),
		Auth:   callers{"developer": who(acme, policy.Developer), "viewer": who(acme, policy.Viewer), "asleep": who(asleep, policy.Developer)},
		Shield: must[*shield.Shield](t)(shield.New(shield.Config{})), Resolver: &shield.Resolver{},
		Limiter: quota.NewLocal(quota.LocalConfig{}), Tiers: tiers, Inspection: &Inspection{Fields: inject.New(), SQL: true, XSS: true},
		Origins: []string{"https://app.example.com"},
	}
	f.gate = must[*Gateway](t)(New(cfg))
	for i, s := range f.gate.stages { // spies: what a stage is called stays its business
		f.gate.stages[i].check = func(x *Exchange) error {
			f.trace.add(s.name)
			err := s.check(x)
			if !slices.Equal(x.trail, f.stagesSoFar()) {
				t.Errorf("the exchange's trail is %v, the stages ran as %v", x.trail, f.stagesSoFar())
			}
			return err
		}
	}
	return f
}

func (f *fixture) stagesSoFar() (out []string) {
	f.trace.mu.Lock()
	defer f.trace.mu.Unlock()
	for _, s := range f.trace.steps {
		if s != "recorded" && s != "noted" && s != "promised" && s != "answered" && s != "handler" {
			out = append(out, s)
		}
	}
	return out
}

// ask sends one request and returns its status and what happened.
func (f *fixture) ask(r *http.Request) (int, string) {
	f.trace.steps = nil
	w := answering{httptest.NewRecorder(), f.trace}
	f.gate.ServeHTTP(w, r)
	return w.Code, strings.Join(f.trace.steps, " ")
}

func request(method, path, token, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:4711"
	r.Header.Set("User-Agent", "curl/8")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

const attackBody = `{"name":"x' UNION SELECT password FROM users --"}`

// TestOrder sends requests that more than one stage would refuse, and wants the
// first of them in the one order to do it, before anything behind it looks.
func TestOrder(t *testing.T) {
	t.Parallel()
	tooLong := strings.Repeat(" ", 101)
	preflight := request("OPTIONS", "/things", "", "")
	preflight.Header.Set("Origin", "https://app.example.com")
	preflight.Header.Set("Access-Control-Request-Method", "POST")
	for name, k := range map[string]struct {
		r      *http.Request
		status int
		trace  string
	}{
		"allowed":                                    {request("POST", "/things", "developer", `{"name":"x"}`), 200, "shield limits authn quota policy scope inspect handler promised answered noted"},
		"public":                                     {request("GET", "/open", "", ""), 200, "shield limits authn quota policy scope inspect handler answered"},
		"preflight":                                  {preflight, 204, "shield limits answered"},
		"a malformed target, too long, nobody":       {request("POST", "/"+strings.Repeat("a", 9000), "", tooLong), 404, ""},
		"no such path, nobody, an attack":            {request("POST", "/nothing", "", attackBody), 404, "shield limits recorded answered"},
		"another method, nobody":                     {request("PUT", "/things", "", ""), 405, "shield limits recorded answered"},
		"too long, nobody":                           {request("POST", "/things", "", tooLong), 413, "shield limits recorded answered"},
		"nobody, an attack":                          {request("POST", "/things", "", attackBody), 401, "shield limits authn recorded answered"},
		"not allowed, an attack":                     {request("POST", "/things", "viewer", attackBody), 403, "shield limits authn quota policy recorded answered"},
		"a suspended tenant, an attack":              {request("POST", "/things", "asleep", attackBody), 403, "shield limits authn quota policy scope recorded answered"},
		"an attack":                                  {request("POST", "/things", "developer", attackBody), 403, "shield limits authn quota policy scope inspect recorded answered"},
		"a panic is recorded before it is confessed": {request("POST", "/panics", "developer", `{}`), 500, "shield limits authn quota policy scope inspect handler recorded answered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			status, got := f.ask(k.r)
			if k.trace == "" { // refused by the shield, which samples its own events
				if status < 400 || !strings.HasPrefix(got, "shield answered") {
					t.Errorf("%d after %q", status, got)
				}
				return
			}
			if status != k.status || got != k.trace {
				t.Errorf("%d after\n\t%s, want %d after\n\t%s", status, got, k.status, k.trace)
			}
			for _, ev := range f.log.events {
				if strings.Contains(ev.Reason+ev.Resource, "UNION") {
					t.Errorf("the event repeats the attack: %+v", ev)
				}
			}
		})
	}
}

// TestQuotaStandsBeforePolicy charges a tenant for what it may not do as well.
func TestQuotaStandsBeforePolicy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 200 {
		status, got := f.ask(request("POST", "/things", "viewer", attackBody))
		if status == http.StatusForbidden {
			continue
		}
		if status != http.StatusTooManyRequests || got != "shield limits authn quota recorded answered" {
			t.Errorf("%d after %s", status, got)
		}
		return
	}
	t.Error("200 requests in a row and the standard tier never ran out")
}

// TestNoRecordNoAnswer takes the log away: a refusal then says nothing but that.
func TestNoRecordNoAnswer(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*http.Request{
		"nobody": request("POST", "/things", "", ""), "forbidden": request("POST", "/things", "viewer", ""), "no route": request("GET", "/nothing", "", ""), "attack": request("POST", "/things", "developer", attackBody),
	} {
		f := newFixture(t)
		f.log.down = true
		w := httptest.NewRecorder()
		f.gate.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"code":"audit_unavailable"`) || strings.Contains(w.Body.String(), "may not") {
			t.Errorf("%s without a log: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestUnlistedMeansRefused registers routes that lack something.
func TestUnlistedMeansRefused(t *testing.T) {
	t.Parallel()
	class := must[quota.Class](t)(quota.NewTiers().Table().Class("read"))
	for name, r := range map[string]Route{
		"no action": {Method: "GET", Pattern: "/x", Class: class}, "no limit": {Method: "GET", Pattern: "/x", Action: policy.AgentsRead},
		"no method": {Pattern: "/x", Action: policy.AgentsRead, Class: class}, "no path": {Method: "GET", Action: policy.AgentsRead, Class: class},
		"lower case": {Method: "get", Pattern: "/x", Action: policy.AgentsRead, Class: class},
	} {
		if err := NewRoutes().Declare(r); err == nil {
			t.Errorf("a route with %s is taken", name)
		}
	}
	routes := NewRoutes()
	if err := routes.Declare(Route{Method: "GET", Pattern: "/x", Action: policy.AgentsRead, Class: class}); err != nil {
		t.Fatal(err)
	}
	if err := routes.Check(); err == nil {
		t.Error("a route that nobody serves passes")
	}
	defer func() {
		if recover() == nil {
			t.Error("a handler without a declared route is taken")
		}
	}()
	routes.HandleFunc("GET /undeclared", func(http.ResponseWriter, *http.Request) {})
}
