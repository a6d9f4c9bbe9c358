package policy

import (
	"slices"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// SubjectKind is what sort of being asks. The words are the audit log's.
type SubjectKind uint8

const (
	KindUser      SubjectKind = iota + 1
	KindService               // holds ServiceAccount and nothing else
	KindAgent                 // holds AgentRole and nothing else
	KindOperator              // of the platform; lives in tenant.House
	KindAnonymous             // showed no credential: an explicit value, never a default
)

var kindNames = [...]string{
	KindUser: "user", KindService: "service_account", KindAgent: "agent",
	KindOperator: "operator", KindAnonymous: "anonymous",
}

func (k SubjectKind) String() string {
	if int(k) >= len(kindNames) {
		return ""
	}
	return kindNames[k]
}

// Subject is who asks, as a verified credential says. The zero Subject is
// refused everything; Anonymous is the value for a request without a credential.
type Subject struct {
	Tenant       tenant.ID
	ID           string
	Kind         SubjectKind
	Roles        RoleSet
	Grants       ActionSet // what a service account was granted
	Agent        uuid.UUID // the agent whose run this is
	Models       []string  // models the run may call
	Tools        []string  // tools the run may use
	AdminChannel bool      // came by mTLS or from the operators' address list
}

// Anonymous is a request without a credential. Only public actions are open to it.
func Anonymous() Subject { return Subject{Kind: KindAnonymous} }

// Resource is what is asked for. Tenant is the tenant it belongs to; for an
// action of the platform, the tenant acted upon, or tenant.House. Agent, Model
// and Tool are set where the resource has them: an agent's token is refused
// without them.
type Resource struct {
	Tenant tenant.ID
	Kind   string
	ID     string
	Agent  uuid.UUID
	Model  string
	Tool   string
}

// Reasons that come from no policy.
const (
	ReasonNoSubject     = "no_subject"        // the zero Subject
	ReasonBadSubject    = "malformed_subject" // kind, roles and tenant contradict each other
	ReasonNoCredential  = "no_credential"     // anonymous, and the action is not public
	ReasonUnknownAction = "unknown_action"
	ReasonNoPermit      = "no_policy_permits"
	ReasonPolicyError   = "policy_error" // a forbid could not be evaluated
)

// fact is one bit that a compiled policy may ask about.
type fact uint32

// The first nine bits are the roles, in their order, then the kinds.
const (
	factRoles = 9

	isUser fact = 1 << (factRoles + iota - 1)
	isService
	isAgent
	isOperator
	isAnonymous
	sameTenant
	subjectInHouse
	resourceInHouse
	adminChannel
	granted
	sameAgent
	subjectHasAgent
	resourceHasAgent
	resourceHasModel
	resourceHasTool
	modelAllowed
	toolAllowed

	anyRole = fact(1)<<factRoles - 1
	anyKind = isUser | isService | isAgent | isOperator | isAnonymous
	// aboutResource changes with the resource inside one tenant.
	aboutResource = sameAgent | resourceHasAgent | resourceHasModel | resourceHasTool | modelAllowed | toolAllowed
	// aboutTenant changes with the resource's tenant.
	aboutTenant = sameTenant | resourceInHouse
)

func roleFact(r Role) fact        { return 1 << (r - 1) }
func kindFact(k SubjectKind) fact { return isUser << (k - 1) }

// gather computes the facts. The two that walk a list are computed only if
// needs asks for them.
func gather(s *Subject, a Action, r *Resource, needs fact) fact {
	f := fact(s.Roles) & anyRole
	if s.Kind > 0 {
		f |= kindFact(s.Kind) & anyKind
	}
	if s.Tenant == r.Tenant {
		f |= sameTenant
	}
	if s.Tenant == tenant.House {
		f |= subjectInHouse
	}
	if r.Tenant == tenant.House {
		f |= resourceInHouse
	}
	if s.AdminChannel {
		f |= adminChannel
	}
	if s.Grants.Has(a) {
		f |= granted
	}
	if needs&(aboutResource|subjectHasAgent) == 0 {
		return f
	}
	if s.Agent == r.Agent {
		f |= sameAgent
	}
	if s.Agent != uuid.Nil {
		f |= subjectHasAgent
	}
	if r.Agent != uuid.Nil {
		f |= resourceHasAgent
	}
	if r.Model != "" {
		f |= resourceHasModel
	}
	if r.Tool != "" {
		f |= resourceHasTool
	}
	if needs&modelAllowed != 0 && slices.Contains(s.Models, r.Model) {
		f |= modelAllowed
	}
	if needs&toolAllowed != 0 && slices.Contains(s.Tools, r.Tool) {
		f |= toolAllowed
	}
	return f
}

// unfit names what makes s nobody who could do a, before any policy is asked,
// or "".
func (s *Subject) unfit(a Action) string {
	const special = RoleSet(1<<(AgentRole-1) | 1<<(ServiceAccount-1) | 1<<(PlatformAdmin-1))
	ok := false
	switch s.Kind {
	case 0:
		return ReasonNoSubject
	case KindUser:
		ok = s.Roles&special == 0 && s.ID != "" && !s.Tenant.IsZero()
	case KindService:
		ok = s.Roles == 1<<(ServiceAccount-1) && s.ID != "" && !s.Tenant.IsZero()
	case KindAgent:
		ok = s.Roles == 1<<(AgentRole-1) && s.Agent != uuid.Nil && s.ID != "" && !s.Tenant.IsZero()
	case KindOperator:
		ok = s.Roles&(special&^(1<<(PlatformAdmin-1))) == 0 && s.ID != "" && s.Tenant == tenant.House
	case KindAnonymous:
		ok = s.Roles == 0 && s.Tenant.IsZero() && s.Grants == ActionSet{}
	}
	if !ok || s.Roles>>factRoles != 0 {
		return ReasonBadSubject
	}
	if s.Kind == KindAnonymous && a.Audience() != ForPublic {
		return ReasonNoCredential
	}
	return ""
}
