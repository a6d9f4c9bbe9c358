package policy

import (
	"slices"
	"strings"
	"testing"
)

// TestCanGrant is the whole table: who hands on what.
func TestCanGrant(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	may := map[Role][]Role{
		TenantAdmin: {TenantAdmin, OrgAdmin, Developer, Operator, Analyst, Viewer},
		OrgAdmin:    {OrgAdmin, Developer, Operator, Analyst, Viewer},
	}
	for g := range Roles() {
		for r := Role(0); r < 20; r++ {
			if got, want := e.CanGrant(NewRoleSet(g), r), slices.Contains(may[g], r); got != want {
				t.Errorf("%s grants %q: %t", g, r, got)
			}
		}
	}
	if e.CanGrant(0, Viewer) {
		t.Error("nobody grants")
	}
	everyoneElse := NewRoleSet(Developer, Operator, Analyst, Viewer, AgentRole, ServiceAccount, PlatformAdmin)
	for r := range Roles() {
		if e.CanGrant(everyoneElse, r) {
			t.Errorf("all the others together grant %s", r)
		}
	}
	if e.CanGrant(everyoneElse.With(OrgAdmin), TenantAdmin) {
		t.Error("together they grant tenant_admin")
	}
}

func TestMayGrant(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	admin, org := user(TenantAdmin), user(OrgAdmin)
	for _, c := range []struct {
		who  Subject
		to   string
		role Role
		may  bool
	}{
		{admin, "u", TenantAdmin, true},
		{admin, "v", Viewer, true},
		{org, "v", Developer, true},
		{org, "u", Developer, false}, // to oneself, what one does not cover
		{org, "u", OrgAdmin, true},   // adds nothing
		{org, "u", TenantAdmin, false},
		{org, "", Viewer, false},
		{user(OrgAdmin, Developer), "u", Developer, true},
		{Subject{}, "v", Viewer, false},
		{Anonymous(), "v", Viewer, false},
		{Subject{Tenant: tryTenant, ID: "sa", Kind: KindService, Roles: NewRoleSet(ServiceAccount), Grants: NewActionSet(RolesGrant)}, "v", Viewer, false},
		{Subject{Tenant: tryTenant, ID: "u", Kind: KindAgent, Agent: tryAgent, Roles: NewRoleSet(TenantAdmin)}, "v", Viewer, false},
	} {
		if got := e.MayGrant(c.who, c.to, c.role); got != c.may {
			t.Errorf("%v of %q to %q: %s %t", c.who.Roles.Names(), c.who.ID, c.to, c.role, got)
		}
	}
}

func TestCanManage(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for _, c := range []struct {
		manager, target RoleSet
		may             bool
	}{
		{NewRoleSet(OrgAdmin), NewRoleSet(Developer, Viewer), true},
		{NewRoleSet(OrgAdmin), NewRoleSet(Viewer, TenantAdmin), false}, // a reset password would be a take-over
		{NewRoleSet(OrgAdmin), NewRoleSet(PlatformAdmin), false},
		{NewRoleSet(TenantAdmin), NewRoleSet(TenantAdmin), true},
		{NewRoleSet(TenantAdmin), NewRoleSet(PlatformAdmin), false},
		{NewRoleSet(Developer), 0, false},
		{NewRoleSet(OrgAdmin), 0, true},
		{0, 0, false},
	} {
		if got := e.CanManage(c.manager, c.target); got != c.may {
			t.Errorf("%v manages %v: %t", c.manager.Names(), c.target.Names(), got)
		}
	}
}

func TestCanGrantActions(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for a := range Actions() {
		one := NewActionSet(a)
		for g := range Roles() {
			want := a.Audience() == ForTenant && (g == TenantAdmin || g == OrgAdmin && e.Expected(g, a) == "yes")
			if got := e.CanGrantActions(NewRoleSet(g), one); got != want {
				t.Errorf("%s grants %s: %t", g, a, got)
			}
		}
	}
	if e.CanGrantActions(NewRoleSet(OrgAdmin), NewActionSet(UsersRead, AgentsRead)) {
		t.Error("one action too many")
	}
	if e.CanGrantActions(NewRoleSet(TenantAdmin), ActionSet{}) || e.CanGrantActions(0, NewActionSet(AgentsRead)) {
		t.Error("nothing, or by nobody")
	}
	if !e.CanGrantActions(NewRoleSet(OrgAdmin, Developer), NewActionSet(UsersRead, AgentsRead)) {
		t.Error("both roles together cover both")
	}
	// A bit beyond the set is no action that a granter could hold.
	if e.CanGrantActions(NewRoleSet(TenantAdmin), ActionSet{0, 1 << 63}) {
		t.Error("a bit that is no action")
	}
}

// TestPowerFollowsThePolicy: an operator's narrower text narrows what may be
// handed on, and a condition is not power.
func TestPowerFollowsThePolicy(t *testing.T) {
	t.Parallel()
	e, err := withText(string(defaultPolicy) + `
@id("night") forbid (principal in Role::"tenant_admin", action == Action::"memories.read", resource) when { resource.kind == "diary" };`)
	if err != nil {
		t.Fatal(err)
	}
	admin := NewRoleSet(TenantAdmin)
	if e.RoleActions(TenantAdmin).Has(MemoriesRead) || e.CanGrantActions(admin, NewActionSet(MemoriesRead)) {
		t.Error("conditional power is handed on")
	}
	if e.CanGrant(admin, Viewer) || e.CanGrant(admin, Developer) {
		t.Error("a role with more than the granter's power is handed on")
	}
	if !e.CanGrant(admin, Analyst) || !e.CanGrant(admin, TenantAdmin) {
		t.Error("what is within its power is not")
	}
	if !strings.Contains(strings.Join(e.RoleActions(Viewer).Names(), " "), "agents.read") || e.RoleActions(0) != (ActionSet{}) {
		t.Error("role actions")
	}
}
