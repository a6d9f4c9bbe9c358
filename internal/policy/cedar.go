package policy

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
	"github.com/google/uuid"
)

const (
	subjectType  types.EntityType = "Subject"
	resourceType types.EntityType = "Resource"
	roleType     types.EntityType = "Role"
	tenantType   types.EntityType = "Tenant"
	actionType   types.EntityType = "Action"
)

var houseUID = types.NewEntityUID(tenantType, "house")

func actionUID(a Action) types.EntityUID {
	return types.NewEntityUID(actionType, types.String(a.String()))
}

// actionGroups are the groups that an action is in, as policies name them.
func actionGroups(a Action) []types.EntityUID {
	return []types.EntityUID{
		types.NewEntityUID(actionType, types.String("kind:"+string(a.Kind()))),
		types.NewEntityUID(actionType, types.String("audience:"+string(a.Audience()))),
		types.NewEntityUID(actionType, types.String("area:"+a.area())),
	}
}

func inAction(a Action, u types.EntityUID) bool {
	if u == actionUID(a) {
		return true
	}
	for _, g := range actionGroups(a) {
		if u == g {
			return true
		}
	}
	return false
}

func tenantUID(id tenant.ID) types.EntityUID {
	if id == tenant.House {
		return houseUID
	}
	return types.NewEntityUID(tenantType, types.String(id.String()))
}

func agentString(id uuid.UUID) types.String {
	if id == uuid.Nil {
		return ""
	}
	return types.String(id.String())
}

func stringSet(ss []string) types.Set {
	vs := make([]types.Value, len(ss))
	for i, s := range ss {
		vs[i] = types.String(s)
	}
	return types.NewSet(vs...)
}

// request is the same question in Cedar's words.
func request(s *Subject, a Action, r *Resource) (types.Request, types.EntityMap) {
	principal := types.NewEntityUID(subjectType, types.String(s.ID))
	resource := types.NewEntityUID(resourceType, types.String(r.Kind+"/"+r.ID))
	var roles []types.EntityUID
	for role := range s.Roles.All() {
		roles = append(roles, types.NewEntityUID(roleType, types.String(role.String())))
	}
	entities := types.EntityMap{
		principal: {UID: principal, Parents: types.NewEntityUIDSet(roles...), Attributes: types.NewRecord(types.RecordMap{
			"tenant": tenantUID(s.Tenant),
			"kind":   types.String(s.Kind.String()),
			"id":     types.String(s.ID),
			"agent":  agentString(s.Agent),
			"models": stringSet(s.Models),
			"tools":  stringSet(s.Tools),
		})},
		resource: {UID: resource, Attributes: types.NewRecord(types.RecordMap{
			"tenant": tenantUID(r.Tenant),
			"kind":   types.String(r.Kind),
			"id":     types.String(r.ID),
			"agent":  agentString(r.Agent),
			"model":  types.String(r.Model),
			"tool":   types.String(r.Tool),
		})},
		actionUID(a): {UID: actionUID(a), Parents: types.NewEntityUIDSet(actionGroups(a)...)},
	}
	return types.Request{
		Principal: principal, Action: actionUID(a), Resource: resource,
		Context: types.NewRecord(types.RecordMap{
			"admin_channel": types.Boolean(s.AdminChannel),
			"granted":       types.Boolean(s.Grants.Has(a)),
		}),
	}, entities
}

// cedarSchema is what policies may look at, so that a misspelt attribute or
// action is an error when the file is read and not a rule that never matches.
// It depends on the set of actions alone and is only read.
var cedarSchema = sync.OnceValues(newSchema)

func newSchema() (*validate.Validator, error) {
	var b strings.Builder
	b.WriteString(`entity Tenant;
entity Role enum [`)
	for r := range Roles() {
		if r > TenantAdmin {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", r)
	}
	b.WriteString(`];
entity Subject in [Role] { tenant: Tenant, kind: String, id: String, agent: String, models: Set<String>, tools: Set<String> };
entity Resource { tenant: Tenant, kind: String, id: String, agent: String, model: String, tool: String };
`)
	for _, g := range groupNames() {
		fmt.Fprintf(&b, "action %q;\n", g)
	}
	for a := range Actions() {
		var gs []string
		for _, g := range actionGroups(a) {
			gs = append(gs, fmt.Sprintf("%q", string(g.ID)))
		}
		fmt.Fprintf(&b, "action %q in [%s] appliesTo { principal: Subject, resource: Resource, context: { admin_channel: Bool, granted: Bool } };\n",
			a, strings.Join(gs, ", "))
	}
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(b.String())); err != nil {
		return nil, fmt.Errorf("policy schema: %w", err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("policy schema: %w", err)
	}
	return validate.New(resolved), nil
}

func groupNames() []string {
	var names []string
	seen := map[string]bool{}
	for a := range Actions() {
		for _, g := range actionGroups(a) {
			if id := string(g.ID); !seen[id] {
				seen[id] = true
				names = append(names, id)
			}
		}
	}
	return names
}

// limits of a policy file; far above what people write, low enough that
// hostile nesting cannot exhaust the stack or the start.
const (
	maxText     = 64 << 10
	maxPolicies = 256
)

// rule is one policy of the file.
type rule struct {
	id     string
	policy *cedar.Policy
	node   ast.IsNode // scope and conditions as one expression
	permit bool
}

// parse reads policy text; name is for messages. It returns the rules in text
// order.
func parse(name string, text []byte) ([]rule, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("read policy %s: %d bytes, at most %d", name, len(text), maxText)
	}
	list, err := cedar.NewPolicyListFromBytes(name, text)
	if err != nil {
		// The parser calls every text <input>; people look for file:line:column.
		return nil, fmt.Errorf("read policy: %s", strings.ReplaceAll(err.Error(), "<input>", name))
	}
	if len(list) == 0 || len(list) > maxPolicies {
		return nil, fmt.Errorf("read policy %s: %d policies, want 1 to %d", name, len(list), maxPolicies)
	}
	check, err := cedarSchema()
	if err != nil {
		return nil, err
	}
	rules := make([]rule, 0, len(list))
	lines := map[string]int{}
	for _, p := range list {
		line := p.Position().Line
		fail := func(format string, args ...any) ([]rule, error) {
			return nil, fmt.Errorf("read policy %s: line %d: %w", name, line, fmt.Errorf(format, args...))
		}
		id := string(p.Annotations()["id"])
		if !stableWord(id) {
			return fail(`the policy needs @id("word") of a to z, 0 to 9 and _, not %q`, id)
		}
		if at, taken := lines[id]; taken {
			return fail("@id(%q) is taken by the policy at line %d", id, at)
		}
		lines[id] = line
		tree := (*ast.Policy)(p.AST())
		if err := check.Policy(id, tree); err != nil {
			return fail("policy %s: %w", id, err)
		}
		node := eval.PolicyToNode(tree).AsIsNode()
		if err := checkNames(node); err != nil {
			return fail("policy %s: %w", id, err)
		}
		rules = append(rules, rule{id: id, policy: p, node: node, permit: p.Effect() == cedar.Permit})
	}
	return rules, nil
}

// checkNames finds roles that do not exist, which the schema lets pass, and
// reserved words of ours.
func checkNames(n ast.IsNode) error {
	var err error
	see := func(v types.Value) {
		if u, ok := v.(types.EntityUID); ok && u.Type == roleType {
			if _, e := ParseRole(string(u.ID)); e != nil {
				err = errors.Join(err, e)
			}
		}
	}
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		if v, ok := n.(ast.NodeValue); ok {
			see(v.Value)
			if set, ok := v.Value.(types.Set); ok {
				for e := range set.All() {
					see(e)
				}
			}
		}
		return true
	})
	return err
}

func stableWord(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	switch s {
	case ReasonNoSubject, ReasonBadSubject, ReasonNoCredential, ReasonUnknownAction, ReasonNoPermit, ReasonPolicyError:
		return false
	}
	return true
}
