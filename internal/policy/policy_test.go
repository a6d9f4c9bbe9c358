package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// embedded is the engine that ships.
func embedded(t testing.TB) *Engine {
	t.Helper()
	e, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func user(rs ...Role) Subject {
	return Subject{Tenant: tryTenant, ID: "u", Kind: KindUser, Roles: NewRoleSet(rs...)}
}

func TestActionNames(t *testing.T) {
	t.Parallel()
	prefix := map[string]Audience{"platform": ForPlatform, "public": ForPublic, "self": ForSelf}
	for a := range Actions() {
		want, special := prefix[a.area()]
		if !special {
			want = ForTenant
		}
		if a.Audience() != want {
			t.Errorf("%s is for %s, and its name says %s", a, a.Audience(), want)
		}
		if p, err := ParseAction(a.String()); p != a || err != nil {
			t.Errorf("%s parses as %s, %v", a, p, err)
		}
	}
	for _, bad := range []string{"", "agents", "agents.*", "Agents.read", "agents.read ", "audience:tenant", "agents.read\x00"} {
		if a, err := ParseAction(bad); err == nil || a != 0 {
			t.Errorf("%q parses as %s", bad, a)
		}
	}
	var got struct {
		A Action
		R Role
	}
	if err := json.Unmarshal([]byte(`{"A":"agents.read","R":"viewer"}`), &got); err != nil || got.A != AgentsRead || got.R != Viewer {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{`{"A":"root"}`, `{"R":"root"}`, `{"A":"","R":""}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
	if b, err := json.Marshal(Action(0)); err == nil {
		t.Errorf("no action writes itself as %s", b)
	}
}

func TestSets(t *testing.T) {
	t.Parallel()
	var all ActionSet
	for a := range Actions() {
		if all.Has(a) {
			t.Fatalf("%s shares its bit", a)
		}
		all = all.With(a)
	}
	if all.Len() != len(actions)-1 || all.With(0) != all || all.With(200) != all || all.Has(0) || all.Has(200) {
		t.Fatalf("a set of all has %d", all.Len())
	}
	back, err := ParseActionSet(all.Names())
	if err != nil || back != all {
		t.Fatalf("%v %v", back, err)
	}
	one := NewActionSet(AgentsRead, PublicDocs)
	if !all.Contains(one) || one.Contains(all) || !one.Contains(ActionSet{}) || one.Union(all) != all {
		t.Fatal("set algebra")
	}
	if s, err := ParseRoleSet([]string{"viewer", "root"}); err == nil || s != 0 {
		t.Fatalf("an unknown role is read as %v", s.Names())
	}
	rs, err := ParseRoleSet([]string{"viewer", "developer", "viewer"})
	if err != nil || rs.Len() != 2 || !slices.Equal(rs.Names(), []string{"developer", "viewer"}) || rs.Without(Viewer).Has(Viewer) {
		t.Fatalf("%v %v", rs.Names(), err)
	}
	if NewRoleSet(0, 77) != 0 || RoleSet(0xffff).Has(0) || RoleSet(0xffff).Has(77) {
		t.Fatal("what is no role is a member")
	}
}

// TestMatrix walks every role and action through the public door and compares
// with the table.
func TestMatrix(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for a := range Actions() {
		for col := range len(roleNames) {
			r := Role(col)
			cell := cell(e.Expected(r, a))
			for _, sc := range scenes() {
				s := sc.subject(r, a)
				want, _ := sc.expect(cell, a)
				if d := e.Decide(s, a, sc.resource(s)); d.Allowed != want || d.Reason == "" || d.Hash != e.Hash() || d.Conditional {
					t.Fatalf("%s by %q in %+v: %+v, want %t", a, r, sc, d, want)
				}
			}
		}
	}
}

// TestRoles spells out design-level promises, apart from the table.
func TestRoles(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for a := range Actions() {
		own := Resource{Tenant: tryTenant, Kind: "k", ID: "1", Agent: tryAgent, Model: "m", Tool: "t"}
		if d := e.Decide(user(TenantAdmin), a, own); d.Allowed != (a.Audience() != ForPlatform) {
			t.Errorf("tenant_admin, %s: %+v", a, d)
		}
		if a.Audience() == ForTenant && a.Kind() == Write {
			for _, r := range []Role{Viewer, Analyst} {
				if d := e.Decide(user(r), a, own); d.Allowed {
					t.Errorf("%s, %s: %+v", r, a, d)
				}
			}
		}
		own.Tenant = tryOther
		all := user(TenantAdmin, OrgAdmin, Developer, Operator, Analyst, Viewer)
		if d := e.Decide(all, a, own); d.Allowed != (a.Audience() == ForPublic) {
			t.Errorf("cross tenant, %s: %+v", a, d)
		}
		if d := e.Decide(Anonymous(), a, Resource{}); d.Allowed != (a.Audience() == ForPublic) {
			t.Errorf("anonymous, %s: %+v", a, d)
		}
		if d := e.Decide(Subject{}, a, Resource{}); d.Allowed || d.Reason != ReasonNoSubject {
			t.Errorf("nobody, %s: %+v", a, d)
		}
	}
	if d := e.Decide(user(TenantAdmin), 0, Resource{Tenant: tryTenant}); d.Allowed || d.Reason != ReasonUnknownAction {
		t.Errorf("no action: %+v", d)
	}
	if d := e.Decide(user(TenantAdmin), 255, Resource{Tenant: tryTenant}); d.Allowed || d.Reason != ReasonUnknownAction {
		t.Errorf("an unknown action: %+v", d)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	agent := Subject{Tenant: tryTenant, ID: "run", Kind: KindAgent, Roles: NewRoleSet(AgentRole), Agent: tryAgent, Models: []string{"small", ""}, Tools: []string{""}}
	operator := Subject{Tenant: tenant.House, ID: "op", Kind: KindOperator, Roles: NewRoleSet(PlatformAdmin)}
	admin := operator
	admin.AdminChannel = true
	service := Subject{Tenant: tryTenant, ID: "sa", Kind: KindService, Roles: NewRoleSet(ServiceAccount), Grants: NewActionSet(AgentsRead, SelfPassword, PlatformTenantsRead)}
	own := Resource{Tenant: tryTenant}
	for _, c := range []struct {
		s      Subject
		a      Action
		r      Resource
		allow  bool
		reason string
	}{
		{Anonymous(), PublicLogin, Resource{}, true, "public"},
		{Anonymous(), AgentsRead, own, false, ReasonNoCredential},
		{Anonymous(), SelfRead, Resource{}, false, ReasonNoCredential},
		{user(Viewer), AgentsRead, own, true, "viewer"},
		{user(Viewer), AgentsRead, Resource{Tenant: tryOther}, false, "cross_tenant"},
		{user(Viewer), AgentsRead, Resource{}, false, "cross_tenant"},
		{user(Viewer), AgentsCreate, own, false, ReasonNoPermit},
		{user(), SelfPassword, own, true, "own_account"},
		{agent, MemoriesRead, Resource{Tenant: tryTenant, Agent: tryAgent}, true, "agent"},
		{agent, MemoriesRead, own, false, "agent_foreign_memory"},
		{agent, MemoriesRead, Resource{Tenant: tryTenant, Agent: uuid.UUID{1}}, false, "agent_foreign_memory"},
		{agent, ModelsCall, Resource{Tenant: tryTenant, Model: "small"}, true, "agent"},
		{agent, ModelsCall, Resource{Tenant: tryTenant, Model: "large"}, false, "agent_model_not_allowed"},
		{agent, ModelsCall, own, false, "agent_model_not_allowed"}, // "" on the list allows nothing
		{agent, UpstreamCall, own, false, "agent_tool_not_allowed"},
		{agent, RunsRead, own, false, "agent_out_of_bounds"},
		{agent, SelfRead, own, false, "agent_out_of_bounds"},
		{service, AgentsRead, own, true, "service_account_granted"},
		{service, AgentsCreate, own, false, "service_account_not_granted"},
		{service, SelfPassword, own, false, ReasonNoPermit}, // a grant is no permit for a person's account
		{service, PlatformTenantsRead, own, false, "not_platform_admin"},
		{operator, PlatformTenantsErase, own, false, "not_admin_channel"},
		{admin, PlatformTenantsErase, own, true, "platform_admin"},
		{admin, AgentsRead, own, false, "cross_tenant"},
		{admin, AgentsRead, Resource{Tenant: tenant.House}, false, ReasonNoPermit},
	} {
		if d := e.Decide(c.s, c.a, c.r); d.Allowed != c.allow || d.Reason != c.reason {
			t.Errorf("%s by %v on %+v: %+v, want %t %s", c.a, c.s.Roles.Names(), c.r, d, c.allow, c.reason)
		}
	}
}

func TestDecisionErr(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	own := Resource{Tenant: tryTenant}
	for _, c := range []struct {
		s    Subject
		a    Action
		code fault.Code
	}{
		{user(Viewer), AgentsRead, ""},
		{user(Viewer), AgentsCreate, fault.Forbidden},
		{user(Viewer), 0, fault.Forbidden},
		{Subject{}, PublicHealth, fault.Unauthorized},
		{Anonymous(), AgentsRead, fault.Unauthorized},
		{user(AgentRole), AgentsRead, fault.Unauthorized},
	} {
		err := e.Decide(c.s, c.a, own).Err()
		if fault.CodeOf(err) != c.code {
			t.Errorf("%s by %v: %v, want %q", c.a, c.s.Roles.Names(), err, c.code)
		}
	}
}

func TestMalformedSubjects(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for name, s := range map[string]Subject{
		"no tenant":                {ID: "u", Kind: KindUser, Roles: NewRoleSet(TenantAdmin)},
		"no id":                    {Tenant: tryTenant, Kind: KindUser, Roles: NewRoleSet(TenantAdmin)},
		"unknown kind":             {Tenant: tryTenant, ID: "u", Kind: 77, Roles: NewRoleSet(TenantAdmin)},
		"agent among people":       user(TenantAdmin, AgentRole),
		"service among people":     user(TenantAdmin, ServiceAccount),
		"operator among people":    user(TenantAdmin, PlatformAdmin),
		"operator in a tenant":     {Tenant: tryTenant, ID: "u", Kind: KindOperator, Roles: NewRoleSet(PlatformAdmin)},
		"agent with a second role": {Tenant: tryTenant, ID: "u", Kind: KindAgent, Agent: tryAgent, Roles: NewRoleSet(AgentRole, TenantAdmin)},
		"agent without its agent":  {Tenant: tryTenant, ID: "u", Kind: KindAgent, Roles: NewRoleSet(AgentRole)},
		"agent without the role":   {Tenant: tryTenant, ID: "u", Kind: KindAgent, Agent: tryAgent, Roles: NewRoleSet(TenantAdmin)},
		"service with a role":      {Tenant: tryTenant, ID: "u", Kind: KindService, Roles: NewRoleSet(ServiceAccount, Viewer)},
		"service without the role": {Tenant: tryTenant, ID: "u", Kind: KindService, Roles: NewRoleSet(Viewer)},
		"anonymous in a tenant":    {Tenant: tryTenant, Kind: KindAnonymous},
		"anonymous with a role":    {Kind: KindAnonymous, Roles: NewRoleSet(TenantAdmin)},
		"anonymous with a grant":   {Kind: KindAnonymous, Grants: NewActionSet(AgentsRead)},
		"a bit that is no role":    {Tenant: tryTenant, ID: "u", Kind: KindUser, Roles: 1<<12 | NewRoleSet(TenantAdmin)},
	} {
		for a := range Actions() {
			if d := e.Decide(s, a, Resource{Tenant: s.Tenant}); d.Allowed || d.Reason != ReasonBadSubject {
				t.Errorf("%s, %s: %+v", name, a, d)
			}
			if d := e.Consider(s, a); d.Allowed {
				t.Errorf("%s, considered, %s: %+v", name, a, d)
			}
		}
	}
}

// TestConsider holds the early answer to the late one: what it refuses, every
// resource is refused; what it allows outright, every resource is allowed.
func TestConsider(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for a := range Actions() {
		for col := range len(roleNames) {
			for _, base := range scenes() {
				s := base.subject(Role(col), a)
				early := e.Consider(s, a)
				some, every := false, true
				for _, sc := range scenes() {
					if a.Audience() != ForPlatform && !sc.same {
						continue
					}
					d := e.Decide(s, a, sc.resource(s))
					some, every = some || d.Allowed, every && d.Allowed
				}
				if early.Allowed != some || early.Conditional != (some && !every) {
					t.Fatalf("%s by %q: considered %+v, and decided some %t every %t", a, Role(col), early, some, every)
				}
			}
		}
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	e := embedded(t)
	agent := Subject{Tenant: tryTenant, ID: "u", Kind: KindAgent, Agent: tryAgent, Roles: NewRoleSet(AgentRole), Models: []string{"a", "b"}}
	if n := testing.AllocsPerRun(100, func() {
		e.Decide(user(Developer), MemoriesRead, Resource{Tenant: tryTenant, Kind: "memory", ID: "m"})
		e.Decide(agent, ModelsCall, Resource{Tenant: tryTenant, Model: "b"})
		e.Decide(user(Viewer), MemoriesDelete, Resource{Tenant: tryTenant})
		e.Consider(agent, ModelsCall)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestEmbeddedNeedsNoCedar keeps our own text within what compiles.
func TestEmbeddedNeedsNoCedar(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for a := range Actions() {
		for _, tm := range append(e.plans[a].forbids, e.plans[a].permits...) {
			if tm.maybe {
				t.Errorf("%s: policy %s is left to Cedar", a, e.rules[tm.policy].id)
			}
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	e := embedded(b)
	cases := []struct {
		name string
		s    Subject
		a    Action
		r    Resource
	}{
		{"developer", user(Developer), MemoriesRead, Resource{Tenant: tryTenant, Kind: "memory", ID: "m"}},
		{"agent_model", Subject{Tenant: tryTenant, ID: "u", Kind: KindAgent, Agent: tryAgent, Roles: NewRoleSet(AgentRole), Models: []string{"a", "b", "c"}}, ModelsCall, Resource{Tenant: tryTenant, Model: "c"}},
		{"refused", user(Viewer), MemoriesDelete, Resource{Tenant: tryTenant, Kind: "memory", ID: "m"}},
	}
	for _, c := range cases {
		b.Run(c.name+"/compiled", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Decide(c.s, c.a, c.r)
			}
		})
		b.Run(c.name+"/cedar", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.ask(&c.s, c.a, &c.r)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		embedded(b)
	}
}

// words is for error messages in several lines.
func words(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", " | ")
}
