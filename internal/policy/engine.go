// Package policy decides who may do what.
//
// The rule is Cedar text (policy.cedar), the expectation is a table (roles.csv),
// and loading proves that they agree. What is decided is compiled from the text
// to a few masks per action; where a condition of an operator's own text is
// beyond the masks, Cedar itself decides. Deny by default: an unknown action, a
// zero Subject and a policy that cannot be evaluated are all refused, and every
// decision says why and under which policy.
package policy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/cedar-policy/cedar-go"
)

var (
	//go:embed policy.cedar
	defaultPolicy []byte
	//go:embed roles.csv
	defaultRoles []byte
	//go:embed actions.csv
	actionsFile []byte
	//go:embed samples.csv
	samplesFile []byte
)

// Sources are the operator's own files. An empty path means the embedded one.
// A policy file that changes who may do what needs a roles file that says so.
type Sources struct {
	PolicyFile string // Cedar text
	RolesFile  string // CSV, shaped as the embedded roles.csv
}

// Decision is an answer and its reason: the @id of the policy that decided, or
// one of the Reason constants. Hash names the policy it was decided under.
type Decision struct {
	Allowed bool
	Reason  string
	Hash    string
	// Conditional is set by Consider alone: the answer still depends on the
	// resource, and whoever holds it must Decide.
	Conditional bool
}

// Err is nil for what is allowed (Consider's conditional answers too), and
// otherwise the fault that a client sees: unauthorized where no credential, or
// none that makes sense, was shown, and forbidden elsewhere. The reason is for
// the audit event; the client is not told which rule stood in the way.
func (d Decision) Err() error {
	switch {
	case d.Allowed:
		return nil
	case d.Reason == ReasonNoSubject || d.Reason == ReasonBadSubject || d.Reason == ReasonNoCredential:
		return fault.New(fault.Unauthorized, "the credential is not valid")
	}
	return fault.New(fault.Forbidden, "this credential may not do that")
}

// Engine decides. It is immutable; many may ask at once.
type Engine struct {
	rules []rule
	set   cedar.PolicyMap
	order map[cedar.PolicyID]int
	plans []plan // by Action
	hash  string
	table *table
	power [len(roleNames)]ActionSet // what each role may do in its own tenant without conditions
}

// plan is what remains of all policies for one action. In both lists what is
// certain stands before what Cedar must decide.
type plan struct {
	needs   fact
	forbids []term
	permits []term
}

// Load reads the policy, tries it on the samples that hold whatever an operator
// writes, compares it with the table of roles, and refuses it otherwise.
func Load(src Sources) (*Engine, error) {
	policyName, policyText, err := source(src.PolicyFile, "policy.cedar", defaultPolicy)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	rolesName, rolesText, err := source(src.RolesFile, "roles.csv", defaultRoles)
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	return load(policyName, policyText, rolesName, rolesText)
}

func source(path, name string, embedded []byte) (string, []byte, error) {
	if path == "" {
		return name, embedded, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return path, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	return path, text, err
}

func load(policyName string, policyText []byte, rolesName string, rolesText []byte) (*Engine, error) {
	rules, err := parse(policyName, policyText)
	if err != nil {
		return nil, err
	}
	e := newEngine(rules, hashOf(actionsFile, policyText, rolesText))
	if e.table, err = parseTable(rolesName, rolesText); err != nil {
		return nil, err
	}
	samples, err := parseSamples(samplesFile)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(e.trySamples(samples), e.prove()); err != nil {
		return nil, fmt.Errorf("refuse policy %s: %w", policyName, err)
	}
	if err := e.compare(e.table); err != nil {
		return nil, fmt.Errorf("compare policy %s with %s: %w", policyName, rolesName, err)
	}
	for r := range Roles() {
		e.power[r] = e.powerOf(r)
	}
	return e, nil
}

// newEngine compiles rules that nobody has tried yet.
func newEngine(rules []rule, hash string) *Engine {
	e := &Engine{
		rules: rules, hash: hash, plans: make([]plan, len(actions)),
		set: cedar.PolicyMap{}, order: map[cedar.PolicyID]int{},
	}
	for i, r := range rules {
		e.set[cedar.PolicyID(r.id)] = r.policy
		e.order[cedar.PolicyID(r.id)] = i
	}
	for a := range Actions() {
		e.plans[a] = compile(a, rules)
	}
	return e
}

// hashOf keeps its parts apart by their lengths.
func hashOf(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// compile reduces the rules to what matters for one action.
func compile(a Action, rules []rule) plan {
	var sure, maybe [2][]term
	var p plan
	for i, r := range rules {
		c := compiler{action: a}
		effect := 0
		if r.permit {
			effect = 1
		}
		for _, t := range merge(c.dnf(r.node, false)) {
			t.policy, t.maybe = uint16(i), c.opaque
			p.needs |= t.all | t.none | t.any
			if t.maybe {
				maybe[effect] = append(maybe[effect], t)
			} else {
				sure[effect] = append(sure[effect], t)
			}
		}
	}
	p.forbids = append(sure[0], maybe[0]...)
	p.permits = append(sure[1], maybe[1]...)
	return p
}

// Hash is the SHA-256, in hex, of the effective actions, policy and table.
func (e *Engine) Hash() string { return e.hash }

// Decide answers whether s may do a to r.
func (e *Engine) Decide(s Subject, a Action, r Resource) Decision {
	if !a.Valid() {
		return Decision{Reason: ReasonUnknownAction, Hash: e.hash}
	}
	if why := s.unfit(a); why != "" {
		return Decision{Reason: why, Hash: e.hash}
	}
	return e.decide(&s, a, &r)
}

// decide takes the subject as it is.
func (e *Engine) decide(s *Subject, a Action, r *Resource) Decision {
	p := &e.plans[a]
	f := gather(s, a, r, p.needs)
	for i := range p.forbids {
		if t := &p.forbids[i]; t.matches(f) {
			if t.maybe {
				return e.ask(s, a, r)
			}
			return Decision{Reason: e.rules[t.policy].id, Hash: e.hash}
		}
	}
	for i := range p.permits {
		if t := &p.permits[i]; t.matches(f) {
			if t.maybe {
				return e.ask(s, a, r)
			}
			return Decision{Allowed: true, Reason: e.rules[t.policy].id, Hash: e.hash}
		}
	}
	return Decision{Reason: ReasonNoPermit, Hash: e.hash}
}

// ask has Cedar decide. Cedar passes over a policy whose evaluation fails; for
// a forbid that could have matched, that would open the door, so it is a
// refusal here.
func (e *Engine) ask(s *Subject, a Action, r *Resource) Decision {
	s2, r2 := *s, *r // the originals stay on the caller's stack
	req, entities := request(&s2, a, &r2)
	verdict, diag := cedar.Authorize(e.set, entities, req)
	p := &e.plans[a]
	f := gather(&s2, a, &r2, p.needs)
	for _, bad := range diag.Errors {
		for _, t := range p.forbids {
			if int(t.policy) == e.order[bad.PolicyID] && t.matches(f) {
				return Decision{Reason: ReasonPolicyError, Hash: e.hash}
			}
		}
	}
	d := Decision{Allowed: verdict == cedar.Allow, Reason: ReasonNoPermit, Hash: e.hash}
	first := len(e.rules)
	for _, reason := range diag.Reasons {
		if at := e.order[reason.PolicyID]; at < first {
			first, d.Reason = at, string(reason.PolicyID)
		}
	}
	return d
}

// Consider answers before the resource is known, for a stage that stands before
// the body is read: whether s may do a to anything in its own tenant (for the
// platform's actions, in any). Allowed with Conditional is no permission: the
// one who learns the resource must Decide.
func (e *Engine) Consider(s Subject, a Action) Decision {
	if !a.Valid() {
		return Decision{Reason: ReasonUnknownAction, Hash: e.hash}
	}
	if why := s.unfit(a); why != "" {
		return Decision{Reason: why, Hash: e.hash}
	}
	p := &e.plans[a]
	r := Resource{Tenant: s.Tenant}
	unknown := aboutResource
	if a.Audience() == ForPlatform {
		unknown |= aboutTenant
	}
	return e.consider(p, gather(&s, a, &r, p.needs)&^unknown, unknown)
}

func (e *Engine) consider(p *plan, f, unknown fact) Decision {
	d := Decision{Reason: ReasonNoPermit, Hash: e.hash}
	for i := range p.forbids {
		t := &p.forbids[i]
		if !t.maybe && t.certain(f, unknown) {
			return Decision{Reason: e.rules[t.policy].id, Hash: e.hash}
		}
		d.Conditional = d.Conditional || t.possible(f, unknown)
	}
	for i := range p.permits {
		t := &p.permits[i]
		if !t.maybe && t.certain(f, unknown) {
			d.Allowed, d.Reason = true, e.rules[t.policy].id
			return d
		}
		if !d.Allowed && t.possible(f, unknown) {
			d.Allowed, d.Reason = true, e.rules[t.policy].id
		}
	}
	if !d.Allowed {
		d.Conditional = false
		return d
	}
	d.Conditional = true
	return d
}
