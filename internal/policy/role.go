package policy

import (
	"fmt"
	"iter"
	"math/bits"
)

// Role is a job that a subject holds in its tenant. The zero Role is none.
type Role uint8

const (
	TenantAdmin Role = iota + 1
	OrgAdmin
	Developer
	Operator
	Analyst
	Viewer
	AgentRole      // one run's token
	ServiceAccount // machine to machine, only what was granted
	PlatformAdmin  // the platform operator's people, in the house only
)

var roleNames = [...]string{
	TenantAdmin: "tenant_admin", OrgAdmin: "org_admin", Developer: "developer", Operator: "operator",
	Analyst: "analyst", Viewer: "viewer", AgentRole: "agent", ServiceAccount: "service_account",
	PlatformAdmin: "platform_admin",
}

// Roles yields all roles.
func Roles() iter.Seq[Role] {
	return func(yield func(Role) bool) {
		for r := TenantAdmin; r.Valid(); r++ {
			if !yield(r) {
				return
			}
		}
	}
}

// ParseRole refuses every name that is not a role.
func ParseRole(name string) (Role, error) {
	for r := range Roles() {
		if roleNames[r] == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("policy role: %q is not one", name)
}

// Valid reports whether r is a role.
func (r Role) Valid() bool { return r > 0 && int(r) < len(roleNames) }

// String is the role's name, as in the claim "roles"; "" for no role.
func (r Role) String() string {
	if !r.Valid() {
		return ""
	}
	return roleNames[r]
}

// MarshalText and UnmarshalText make a Role its name in JSON.
func (r Role) MarshalText() ([]byte, error) {
	if !r.Valid() {
		return nil, fmt.Errorf("policy role: %d is not one", r)
	}
	return []byte(r.String()), nil
}

// UnmarshalText reads a role's name.
func (r *Role) UnmarshalText(b []byte) error {
	p, err := ParseRole(string(b))
	if err == nil {
		*r = p
	}
	return err
}

// RoleSet is a set of roles, one bit each. The zero value is empty.
type RoleSet uint16

// NewRoleSet holds the given roles; what is not valid is left out.
func NewRoleSet(rs ...Role) RoleSet {
	var s RoleSet
	for _, r := range rs {
		if r.Valid() {
			s |= 1 << (r - 1)
		}
	}
	return s
}

// ParseRoleSet refuses a name that is not a role: a token with a role we do not
// know is not a token of ours.
func ParseRoleSet(names []string) (RoleSet, error) {
	var s RoleSet
	for _, n := range names {
		r, err := ParseRole(n)
		if err != nil {
			return 0, err
		}
		s |= NewRoleSet(r)
	}
	return s, nil
}

// Has reports whether r is in s.
func (s RoleSet) Has(r Role) bool { return s&NewRoleSet(r) != 0 }

// With is s and r.
func (s RoleSet) With(r Role) RoleSet { return s | NewRoleSet(r) }

// Without is s less r.
func (s RoleSet) Without(r Role) RoleSet { return s &^ NewRoleSet(r) }

// Len counts.
func (s RoleSet) Len() int { return bits.OnesCount16(uint16(s)) }

// All yields the roles of s.
func (s RoleSet) All() iter.Seq[Role] {
	return func(yield func(Role) bool) {
		for r := range Roles() {
			if s.Has(r) && !yield(r) {
				return
			}
		}
	}
}

// Names lists s as claims carry it.
func (s RoleSet) Names() []string {
	names := make([]string, 0, s.Len())
	for r := range s.All() {
		names = append(names, r.String())
	}
	return names
}
