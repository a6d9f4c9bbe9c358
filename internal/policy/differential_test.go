package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/cedar-policy/cedar-go"
	"github.com/google/uuid"
)

// judge is Cedar alone: no masks, nothing of ours but the request's shape.
func judge(e *Engine, s Subject, a Action, r Resource) (allow bool, first string) {
	req, entities := request(&s, a, &r)
	verdict, diag := cedar.Authorize(e.set, entities, req)
	at := len(e.rules)
	for _, reason := range diag.Reasons {
		if i := e.order[reason.PolicyID]; i < at {
			at, first = i, string(reason.PolicyID)
		}
	}
	if first == "" {
		first = ReasonNoPermit
	}
	return verdict == cedar.Allow, first
}

var (
	someTenants = []tenant.ID{tryTenant, tryOther, tenant.House, {}}
	someAgents  = []uuid.UUID{tryAgent, {0: 9}, uuid.Nil}
	someNames   = []string{"", "small", "large", "secret"}
)

func oneOf[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func randomNames(rng *rand.Rand) []string {
	var out []string
	for range rng.IntN(3) {
		out = append(out, oneOf(rng, someNames))
	}
	return out
}

// randomSubject is not limited to what makes sense: the masks must agree with
// Cedar on nonsense too.
func randomSubject(rng *rand.Rand, roles RoleSet) Subject {
	return Subject{
		Tenant: oneOf(rng, someTenants), ID: oneOf(rng, someNames), Kind: SubjectKind(rng.IntN(6)), Roles: roles,
		Grants: ActionSet{rng.Uint64(), rng.Uint64()}, Agent: oneOf(rng, someAgents),
		Models: randomNames(rng), Tools: randomNames(rng), AdminChannel: rng.IntN(2) == 0,
	}
}

func randomResource(rng *rand.Rand, s Subject) Resource {
	r := Resource{
		Tenant: s.Tenant, Kind: oneOf(rng, someNames), ID: oneOf(rng, someNames),
		Agent: oneOf(rng, someAgents), Model: oneOf(rng, someNames), Tool: oneOf(rng, someNames),
	}
	if rng.IntN(2) == 0 {
		r.Tenant = oneOf(rng, someTenants)
	}
	return r
}

// TestCompiledIsCedar: every role, every pair of roles, every action, random
// attributes; the same answer for the same reason.
func TestCompiledIsCedar(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	rng := rand.New(rand.NewPCG(1, 2))
	sets := []RoleSet{0, 1<<factRoles - 1}
	for a := range Roles() {
		for b := range Roles() {
			if a <= b {
				sets = append(sets, NewRoleSet(a, b))
			}
		}
	}
	allowed, asked := 0, 0
	for _, roles := range sets {
		for a := range Actions() {
			for range 4 {
				s := randomSubject(rng, roles)
				r := randomResource(rng, s)
				got := e.decide(&s, a, &r)
				want, first := judge(e, s, a, r)
				if got.Allowed != want || got.Reason != first {
					t.Fatalf("%s by %+v on %+v: compiled %+v, cedar %t %s", a, s, r, got, want, first)
				}
				asked++
				if want {
					allowed++
				}
			}
		}
	}
	if allowed < asked/20 || allowed > asked*19/20 {
		t.Fatalf("%d of %d allowed: the questions are too much alike to tell", allowed, asked)
	}
}

// grammar writes random conditions, of what compiles and of what does not.
type grammar struct{ rng *rand.Rand }

func (g grammar) bool(depth int) string {
	if depth > 0 {
		switch g.rng.IntN(5) {
		case 0:
			return "(" + g.bool(depth-1) + " && " + g.bool(depth-1) + ")"
		case 1:
			return "(" + g.bool(depth-1) + " || " + g.bool(depth-1) + ")"
		case 2:
			return "!(" + g.bool(depth-1) + ")"
		case 3:
			return "(if " + g.bool(depth-1) + " then " + g.bool(depth-1) + " else " + g.bool(depth-1) + ")"
		}
	}
	return oneOf(g.rng, []string{
		`principal.tenant == resource.tenant`, `resource.tenant != principal.tenant`,
		`principal.tenant == Tenant::"house"`, `Tenant::"house" == resource.tenant`,
		`context.admin_channel`, `context.granted`,
		`principal in Role::"viewer"`, `principal in [Role::"developer", Role::"agent"]`, `principal is Subject`,
		`principal is Subject in Role::"operator"`,
		`principal.kind == "user"`, `"agent" == principal.kind`, `principal.kind != "anonymous"`, `principal.kind == "robot"`,
		`principal.agent == resource.agent`, `principal.agent == ""`, `resource.agent != ""`, `"" != resource.model`, `resource.tool == ""`,
		`principal.models.contains(resource.model)`, `principal.tools.contains(resource.tool)`,
		`action == Action::"agents.read"`, `action in Action::"area:memories"`, `action in [Action::"kind:write", Action::"self.read"]`,
		`true`, `false`,
		// beyond the masks
		`resource.kind == "secret"`, `principal.id like "s*"`, `resource.model == principal.id`, `principal.models.contains("small")`,
		`principal.models.containsAny(["small", resource.tool])`, `principal == Subject::"small"`, `resource == Resource::"secret/small"`,
		`principal.models == principal.tools`, `principal.tenant in Tenant::"house"`,
		`9223372036854775807 + (if resource.id == "small" then 1 else 0) > 0`, // may fail to evaluate
		`ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))`,
		`[1, 2].contains(if context.granted then 1 else 3)`,
	})
}

func (g grammar) policy(i int) string {
	effect := oneOf(g.rng, []string{"permit", "permit", "forbid"})
	principal := oneOf(g.rng, []string{`principal`, `principal`, `principal in Role::"developer"`, `principal is Subject in Role::"viewer"`, `principal == Subject::"small"`, `principal is Subject`})
	action := oneOf(g.rng, []string{`action`, `action in Action::"audience:tenant"`, `action == Action::"agents.read"`, `action in [Action::"kind:write", Action::"area:public"]`})
	resource := oneOf(g.rng, []string{`resource`, `resource`, `resource is Resource`, `resource == Resource::"secret/small"`})
	text := fmt.Sprintf("@id(\"p%d\")\n%s (%s, %s, %s)", i, effect, principal, action, resource)
	for range g.rng.IntN(3) {
		text += oneOf(g.rng, []string{" when { ", " unless { "}) + g.bool(g.rng.IntN(4)) + " }"
	}
	return text + ";\n"
}

// TestCompiledIsCedarOnAnyText: the same for texts that nobody wrote, so that
// an operator's own text means what Cedar says it means.
func TestCompiledIsCedarOnAnyText(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	g := grammar{rng}
	all := make([]Action, 0, len(actions))
	for a := range Actions() {
		all = append(all, a)
	}
	compiled, left, allowed, refused, failed := 0, 0, 0, 0, 0
	for range 150 {
		var text strings.Builder
		for i := range 1 + rng.IntN(6) {
			text.WriteString(g.policy(i))
		}
		rules, err := parse("random", []byte(text.String()))
		if err != nil {
			refused++ // the schema proves some of it senseless
			continue
		}
		e := newEngine(rules, "")
		for range 60 {
			s := randomSubject(rng, RoleSet(rng.IntN(1<<factRoles)))
			r, a := randomResource(rng, s), oneOf(rng, all)
			got := e.decide(&s, a, &r)
			want, _ := judge(e, s, a, r)
			if got.Reason == ReasonPolicyError {
				failed++ // stricter than Cedar, by intent
				continue
			}
			if got.Allowed != want {
				t.Fatalf("%s\n%s by %+v on %+v: compiled %+v, cedar %t", text.String(), a, s, r, got, want)
			}
			f := gather(&s, a, &r, e.plans[a].needs)
			if early := e.consider(&e.plans[a], f&^aboutResource, aboutResource); want && !early.Allowed || !want && early.Allowed && !early.Conditional {
				t.Fatalf("%s\n%s by %+v on %+v: considered %+v, cedar %t", text.String(), a, s, r, early, want)
			}
			if want {
				allowed++
			}
		}
		for _, a := range all {
			for _, tm := range append(e.plans[a].forbids, e.plans[a].permits...) {
				if tm.maybe {
					left++
				} else {
					compiled++
				}
			}
		}
	}
	if refused > 75 || compiled < 1000 || left < 1000 || allowed < 500 || failed == 0 {
		t.Fatalf("too little was tried: %d texts refused, %d terms compiled, %d left to Cedar, %d allowed, %d failed", refused, compiled, left, allowed, failed)
	}
}
