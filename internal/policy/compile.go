package policy

import (
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// A policy, for one action, becomes a disjunction of terms over facts. Every
// expression whose meaning is exactly one of our facts is replaced by it; it
// cannot fail to evaluate, because every attribute it reads is always there.
// Everything else is opaque: it counts as true wherever it stands, negated or
// not, so the terms say when the policy may match, never less, and a match is
// decided by Cedar itself. A Cedar expression that errors does not match, which
// is less than "may match".

// term matches when all of all, none of none and one of any hold; an empty any
// asks nothing.
type term struct {
	all, none, any fact
	policy         uint16 // index in text order
	maybe          bool   // Cedar decides
}

func (t *term) matches(f fact) bool {
	return f&t.all == t.all && f&t.none == 0 && (t.any == 0 || f&t.any != 0)
}

// certain and possible are matches where the facts in unknown are not known.
func (t *term) certain(f, unknown fact) bool {
	return (t.all|t.none)&unknown == 0 && t.matches(f&^unknown)
}

func (t *term) possible(f, unknown fact) bool {
	return t.all&^(f|unknown) == 0 && f&t.none&^unknown == 0 && (t.any == 0 || (f|unknown)&t.any != 0)
}

// maxTerms bounds the disjunction of one policy and maxSteps the work on it:
// conjunctions multiply terms, and a condition inside a condition is compiled
// twice. Beyond either the policy is opaque.
const (
	maxTerms = 64
	maxSteps = 2000
)

var always = []term{{}}

// compiler turns one policy's expression into terms for one action.
type compiler struct {
	action Action
	opaque bool
	steps  int
}

// dnf compiles n, or its negation.
func (c *compiler) dnf(n ast.IsNode, neg bool) []term {
	if c.steps++; c.steps > maxSteps {
		return c.unknown()
	}
	switch v := n.(type) {
	case ast.NodeValue:
		if b, ok := v.Value.(types.Boolean); ok {
			return c.constant(bool(b), neg)
		}
	case ast.NodeTypeNot:
		return c.dnf(v.Arg, !neg)
	case ast.NodeTypeAnd:
		if neg {
			return c.or(c.dnf(v.Left, true), c.dnf(v.Right, true))
		}
		return c.and(c.dnf(v.Left, false), c.dnf(v.Right, false))
	case ast.NodeTypeOr:
		if neg {
			return c.and(c.dnf(v.Left, true), c.dnf(v.Right, true))
		}
		return c.or(c.dnf(v.Left, false), c.dnf(v.Right, false))
	case ast.NodeTypeIfThenElse:
		return c.or(c.and(c.dnf(v.If, false), c.dnf(v.Then, neg)), c.and(c.dnf(v.If, true), c.dnf(v.Else, neg)))
	case ast.NodeTypeEquals:
		return c.equals(v.Left, v.Right, neg)
	case ast.NodeTypeNotEquals:
		return c.equals(v.Left, v.Right, !neg)
	case ast.NodeTypeIn:
		return c.in(v.Left, v.Right, neg)
	case ast.NodeTypeIs:
		switch {
		case path(v.Left) == "principal":
			return c.constant(v.EntityType == subjectType, neg)
		case path(v.Left) == "resource":
			return c.constant(v.EntityType == resourceType, neg)
		}
	case ast.NodeTypeIsIn:
		if path(v.Left) == "principal" && v.EntityType == subjectType {
			return c.in(v.Left, v.Entity, neg)
		}
	case ast.NodeTypeAccess:
		switch path(v) {
		case "context.admin_channel":
			return literal(adminChannel, neg)
		case "context.granted":
			return literal(granted, neg)
		}
	case ast.NodeTypeContains:
		switch path(v.Left) + " " + path(v.Right) {
		case "principal.models resource.model":
			return literal(modelAllowed, neg)
		case "principal.tools resource.tool":
			return literal(toolAllowed, neg)
		}
	}
	return c.unknown()
}

func (c *compiler) equals(l, r ast.IsNode, neg bool) []term {
	lp, rp := path(l), path(r)
	if lp == "" {
		r, lp, rp = l, rp, lp
	}
	switch lp + " " + rp {
	case "principal.tenant resource.tenant", "resource.tenant principal.tenant":
		return literal(sameTenant, neg)
	case "principal.agent resource.agent", "resource.agent principal.agent":
		return literal(sameAgent, neg)
	}
	lit, ok := r.(ast.NodeValue)
	if !ok {
		return c.unknown()
	}
	switch v := lit.Value.(type) {
	case types.EntityUID:
		switch {
		case lp == "action":
			return c.constant(v == actionUID(c.action), neg)
		case lp == "principal.tenant" && v == houseUID:
			return literal(subjectInHouse, neg)
		case lp == "resource.tenant" && v == houseUID:
			return literal(resourceInHouse, neg)
		}
	case types.String:
		if lp == "principal.kind" {
			for k := KindUser; k <= KindAnonymous; k++ {
				if string(v) == k.String() {
					return literal(kindFact(k), neg)
				}
			}
		}
		if f := hasFact[lp]; f != 0 && v == "" {
			return literal(f, !neg)
		}
	}
	return c.unknown()
}

// hasFact names the fact that a path is not "".
var hasFact = map[string]fact{
	"principal.agent": subjectHasAgent, "resource.agent": resourceHasAgent,
	"resource.model": resourceHasModel, "resource.tool": resourceHasTool,
}

// in compiles principal in roles and action in groups.
func (c *compiler) in(l, r ast.IsNode, neg bool) []term {
	uids, ok := entities(r)
	if !ok {
		return c.unknown()
	}
	switch path(l) {
	case "action":
		hit := false
		for _, u := range uids {
			hit = hit || inAction(c.action, u)
		}
		return c.constant(hit, neg)
	case "principal":
		out := c.constant(false, neg)
		for _, u := range uids {
			if u.Type != roleType {
				return c.unknown()
			}
			role, err := ParseRole(string(u.ID))
			if err != nil {
				return c.unknown()
			}
			if neg {
				out = c.and(out, literal(roleFact(role), true))
			} else {
				out = c.or(out, literal(roleFact(role), false))
			}
		}
		return out
	}
	return c.unknown()
}

func (c *compiler) unknown() []term {
	c.opaque = true
	return always
}

func (c *compiler) constant(b, neg bool) []term {
	if b != neg {
		return always
	}
	return nil
}

func literal(f fact, neg bool) []term {
	if neg {
		return []term{{none: f}}
	}
	return []term{{all: f}}
}

func (c *compiler) or(a, b []term) []term {
	out := append(append(make([]term, 0, len(a)+len(b)), a...), b...)
	return c.simplify(out)
}

func (c *compiler) and(a, b []term) []term {
	if len(a)*len(b) > 2*maxTerms {
		return c.unknown()
	}
	out := make([]term, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			t := term{all: x.all | y.all, none: x.none | y.none}
			if t.all&t.none == 0 {
				out = append(out, t)
			}
		}
	}
	return c.simplify(out)
}

// simplify drops terms that another covers.
func (c *compiler) simplify(ts []term) []term {
	var out []term
next:
	for i, t := range ts {
		for j, u := range ts {
			covers := u.all&^t.all == 0 && u.none&^t.none == 0
			same := u.all == t.all && u.none == t.none
			if i != j && covers && (!same || j < i) {
				continue next
			}
		}
		out = append(out, t)
	}
	if len(out) > maxTerms {
		return c.unknown()
	}
	return out
}

// merge joins terms that differ in one role, or in one kind, into one with any.
func merge(ts []term) []term {
	out := ts
	for _, group := range []fact{anyRole, anyKind} {
		var next []term
		index := map[[2]fact]int{}
		for _, t := range out {
			bit := t.all & group
			if t.any != 0 || bit == 0 || bit&(bit-1) != 0 {
				next = append(next, t)
				continue
			}
			key := [2]fact{t.all &^ bit, t.none}
			if i, ok := index[key]; ok {
				next[i].any |= bit | next[i].all&group
				next[i].all &^= group
				continue
			}
			index[key] = len(next)
			next = append(next, t)
		}
		out = next
	}
	return out
}

// path is "principal", "resource.model" and the like for a variable or an
// attribute of one, and "" for anything else.
func path(n ast.IsNode) string {
	switch v := n.(type) {
	case ast.NodeTypeVariable:
		return string(v.Name)
	case ast.NodeTypeAccess:
		if o, ok := v.Arg.(ast.NodeTypeVariable); ok {
			return string(o.Name) + "." + string(v.Value)
		}
	}
	return ""
}

// entities reads a literal entity or a literal set of entities.
func entities(n ast.IsNode) ([]types.EntityUID, bool) {
	switch v := n.(type) {
	case ast.NodeValue:
		switch x := v.Value.(type) {
		case types.EntityUID:
			return []types.EntityUID{x}, true
		case types.Set:
			var out []types.EntityUID
			for e := range x.All() {
				u, ok := e.(types.EntityUID)
				if !ok {
					return nil, false
				}
				out = append(out, u)
			}
			return out, true
		}
	case ast.NodeTypeSet:
		var out []types.EntityUID
		for _, e := range v.Elements {
			u, ok := entities(e)
			if !ok || len(u) != 1 {
				return nil, false
			}
			out = append(out, u[0])
		}
		return out, true
	}
	return nil, false
}
