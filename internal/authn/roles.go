package authn

import (
	"errors"
	"slices"
)

// RoleSet and GrantSet are names in ascending order.
type (
	RoleSet  = []string
	GrantSet = []string
)

func roleNames(s RoleSet) []string   { return s }
func grantNames(s GrantSet) []string { return s }

func parseRoles(names []string) (RoleSet, error) {
	if !slices.IsSorted(names) || len(names) == 0 {
		return nil, errors.New("roles")
	}
	return names, nil
}

func parseGrants(names []string) (GrantSet, error) { return names, nil }

func (p *Principal) rolesFit() error { return nil }
