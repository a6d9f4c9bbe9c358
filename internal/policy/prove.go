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
		for _, wall := range []struct {
			f     fact
			whose string
		}{
			{roleFact(PlatformAdmin), "who is no platform_admin"},
			{subjectInHouse, "outside the house"},
			{adminChannel, "outside the admin channel"},
		} {
			if !p.forbidsWithout(wall.f) {
				return fmt.Errorf("proof: %s: no forbid holds for everyone %s", a, wall.whose)
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
	if !p.refusesAll(kindFact(KindService)|roleFact(ServiceAccount), granted) {
		return fmt.Errorf("proof: %s: no forbid holds for every service account that was not granted it", a)
	}
	return p.proveAgent(a)
}

// proveAgent holds a run's token to its own agent, its models and its tools, and
// away from what administers the tenant.
func (p *plan) proveAgent(a Action) error {
	var bound fact
	switch a {
	case ModelsCall, EmbeddingsCreate:
		bound = modelAllowed
	case UpstreamCall:
		bound = toolAllowed
	}
	switch a.area() {
	case "memories", "graph":
		bound = sameAgent
	case "users", "roles", "service_accounts", "settings", "keys", "audit", "privacy", "compliance", "incidents", "blocks":
		if !p.refusesAll(roleFact(AgentRole), 0) {
			return fmt.Errorf("proof: %s: no forbid keeps every agent from it, whatever else it holds", a)
		}
	}
	if bound != 0 && !p.refusesAll(roleFact(AgentRole), bound) {
		return fmt.Errorf("proof: %s: no forbid holds for every agent on what is not its own or not allowed to it", a)
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
