package policy

// What a role reaches decides who may hand it on. The rule: nobody hands on
// what they do not hold the power over. Power is either held (every action of
// the role is among the granter's own, without conditions) or delegated by
// design: org_admin hands on the roles below tenant_admin without doing their
// work itself.

// CanGrant reports whether a holder of granter may give, or take, role within
// its tenant. AgentRole and ServiceAccount belong to tokens and are given to
// nobody; PlatformAdmin is given offline; only TenantAdmin gives TenantAdmin.
// It does not know to whom: see MayGrant.
func (e *Engine) CanGrant(granter RoleSet, role Role) bool {
	if !e.reach(granter).Has(RolesGrant) {
		return false
	}
	switch role {
	case TenantAdmin:
		return granter.Has(TenantAdmin)
	case OrgAdmin, Developer, Operator, Analyst, Viewer:
		return granter.Has(OrgAdmin) || e.holds(granter, role)
	}
	return false // also the zero Role and what is no role
}

// MayGrant is CanGrant with both persons: delegated power does not reach its
// own holder, so nobody gives themselves a role they do not already cover.
func (e *Engine) MayGrant(granter Subject, to string, role Role) bool {
	if granter.unfit(RolesGrant) != "" || to == "" || !e.CanGrant(granter.Roles, role) {
		return false
	}
	return to != granter.ID || e.holds(granter.Roles, role)
}

// CanManage reports whether a holder of manager may change, reset, or remove a
// user who holds target: only one who could give each of those roles. Without
// it, whoever resets a password takes over its owner's roles.
func (e *Engine) CanManage(manager, target RoleSet) bool {
	if reach := e.reach(manager); !reach.Has(UsersUpdate) && !reach.Has(UsersDelete) {
		return false
	}
	for r := range target.All() {
		if !e.CanGrant(manager, r) {
			return false
		}
	}
	return true
}

// CanGrantActions reports whether a holder of granter may give a service
// account these actions: only actions on a tenant's own things, and only those
// that the granter may do without conditions.
func (e *Engine) CanGrantActions(granter RoleSet, grants ActionSet) bool {
	reach := e.reach(granter)
	if !reach.Has(ServiceAccountsCreate) && !reach.Has(ServiceAccountsUpdate) {
		return false
	}
	for a := range grants.All() {
		if a.Audience() != ForTenant {
			return false
		}
	}
	return reach.Contains(grants) && grants != ActionSet{}
}

// RoleActions lists what a role may do in its own tenant without conditions.
func (e *Engine) RoleActions(r Role) ActionSet {
	if !r.Valid() {
		return ActionSet{}
	}
	return e.power[r]
}

// holds reports whether everything role might do is among what granter may do.
// What role may do only under conditions counts as if it could.
func (e *Engine) holds(granter RoleSet, role Role) bool {
	var might ActionSet
	for a := range Actions() {
		if a.Audience() != ForTenant {
			continue
		}
		p := &e.plans[a]
		f := roleFact(role) | sameTenant | isUser
		if e.consider(p, f, ^(anyRole | anyKind | sameTenant)).Allowed {
			might = might.With(a)
		}
	}
	return e.reach(granter).Contains(might)
}

func (e *Engine) reach(rs RoleSet) ActionSet {
	var s ActionSet
	for r := range rs.All() {
		s = s.Union(e.power[r])
	}
	return s
}

// powerOf is what a role may do in its own tenant whatever the resource.
func (e *Engine) powerOf(r Role) ActionSet {
	s := scene{}.subject(r, 0)
	var out ActionSet
	for a := range Actions() {
		if d := e.Consider(s, a); a.Audience() == ForTenant && d.Allowed && !d.Conditional {
			out = out.With(a)
		}
	}
	return out
}
