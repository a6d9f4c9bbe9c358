package policy

import (
	"errors"
	"fmt"
)

// Samples try; these prove. A condition may hide from every sample (a permit
// for one name, a forbid that spares one), so the walls are checked on the
// compiled terms, which say everything a policy can do.
func (e *Engine) prove() error {
	var errs []error
	for a := range Actions() {
		if err := e.proveAction(a); err != nil {
			errs = append(errs, err)
			break // one action's words are enough; the others fail alike
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) proveAction(a Action) error {
	p := &e.plans[a]
	switch a.Audience() {
	case ForTenant, ForSelf:
		if !p.forbidsWithout(sameTenant) {
			return fmt.Errorf("proof: %s: no forbid holds for everyone whose tenant is not the resource's", a)
		}
	case ForPlatform:
		for f, what := range map[fact]string{
			roleFact(PlatformAdmin): "who is no platform_admin", subjectInHouse: "outside the house",
			adminChannel: "outside the admin channel",
		} {
			if !p.forbidsWithout(f) {
				return fmt.Errorf("proof: %s: no forbid holds for everyone %s", a, what)
			}
		}
	}
	if a.Audience() == ForPublic {
		return nil
	}
	if id, may := e.mayPermit(p, isAnonymous, 0); may {
		return fmt.Errorf("proof: %s: policy %s may permit it without a credential", a, id)
	}
	if a.Audience() != ForTenant {
		return nil
	}
	for kind := KindUser; kind <= KindOperator; kind++ {
		if id, may := e.mayPermit(p, kindFact(kind), 0); may {
			return fmt.Errorf("proof: %s: policy %s may permit it to a %s without a role", a, id, kind)
		}
	}
	if a.Kind() == Write {
		for _, r := range []Role{Viewer, Analyst} {
			if id, may := e.mayPermit(p, isUser, NewRoleSet(r)); may {
				return fmt.Errorf("proof: %s: policy %s may permit it to a %s, who changes nothing", a, id, r)
			}
		}
	}
	// A service account may do only what it was granted.
	if !p.refusesAll(kindFact(KindService)|roleFact(ServiceAccount), granted) {
		return fmt.Errorf("proof: %s: no forbid holds for every service account that was not granted it", a)
	}
	return nil
}

// forbidsWithout reports whether the lack of f alone is refused, whatever else holds.
func (p *plan) forbidsWithout(f fact) bool {
	for _, t := range p.forbids {
		if !t.maybe && t.all == 0 && t.any == 0 && t.none&^f == 0 {
			return true
		}
	}
	return false
}

// refusesAll reports whether everyone for whom the facts in has hold and those
// in lacks do not is refused.
func (p *plan) refusesAll(has, lacks fact) bool {
	for _, t := range p.forbids {
		if !t.maybe && t.certain(has, ^(has|lacks)) {
			return true
		}
	}
	return false
}

// mayPermit finds a permit that could match a subject of the given kind with
// exactly these roles, in its own tenant.
func (e *Engine) mayPermit(p *plan, kind fact, roles RoleSet) (id string, may bool) {
	known := kind | fact(roles) | sameTenant
	unknown := ^(anyRole | anyKind | sameTenant)
	if p.refusesAll(known, (anyRole|anyKind)&^known) {
		return "", false
	}
	for _, t := range p.permits {
		if t.possible(known, unknown) {
			return e.rules[t.policy].id, true
		}
	}
	return "", false
}
