package policy

import (
	"fmt"
	"iter"
	"math/bits"
	"strings"
)

// Action is one thing a request can be, from the closed set in actions.csv. The
// zero Action is none of them and is always refused.
type Action uint8

// ActionKind is what an action does to the tenant's things.
type ActionKind string

const (
	Read  ActionKind = "read"
	Write ActionKind = "write" // changes, spends or starts something
)

// Audience is whom an action is for.
type Audience string

const (
	ForTenant   Audience = "tenant"   // inside a tenant, on its own things
	ForSelf     Audience = "self"     // a person on their own account
	ForPlatform Audience = "platform" // the platform operator, on tenants
	ForPublic   Audience = "public"   // no credential, said out loud
)

type actionInfo struct {
	name     string
	kind     ActionKind
	audience Audience
	about    string
}

// Actions yields the closed set in the order of actions.csv.
func Actions() iter.Seq[Action] {
	return func(yield func(Action) bool) {
		for a := Action(1); a.Valid(); a++ {
			if !yield(a) {
				return
			}
		}
	}
}

// ParseAction refuses every name that is not in the set.
func ParseAction(name string) (Action, error) {
	for a := range Actions() {
		if actions[a].name == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("policy action: %q is not one", name)
}

// Valid reports whether a is one of the set.
func (a Action) Valid() bool { return a > 0 && int(a) < len(actions) }

func (a Action) info() actionInfo {
	if !a.Valid() {
		return actionInfo{}
	}
	return actions[a]
}

// String is the action's name, as in audit events; "" for no action.
func (a Action) String() string { return a.info().name }

// Kind is read or write.
func (a Action) Kind() ActionKind { return a.info().kind }

// Audience tells whom the action is for.
func (a Action) Audience() Audience { return a.info().audience }

// Description is one line for people.
func (a Action) Description() string { return a.info().about }

// area is the name's first word: agents of agents.read.
func (a Action) area() string {
	area, _, _ := strings.Cut(a.String(), ".")
	return area
}

// MarshalText and UnmarshalText make an Action its name in JSON.
func (a Action) MarshalText() ([]byte, error) {
	if !a.Valid() {
		return nil, fmt.Errorf("policy action: %d is not one", a)
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads a name of the set.
func (a *Action) UnmarshalText(b []byte) error {
	p, err := ParseAction(string(b))
	if err == nil {
		*a = p
	}
	return err
}

// ActionSet is a set of actions. The zero value is empty.
type ActionSet [2]uint64

// NewActionSet holds the given actions; what is not valid is left out.
func NewActionSet(as ...Action) ActionSet {
	var s ActionSet
	for _, a := range as {
		s = s.With(a)
	}
	return s
}

// ParseActionSet refuses a name that is not an action.
func ParseActionSet(names []string) (ActionSet, error) {
	var s ActionSet
	for _, n := range names {
		a, err := ParseAction(n)
		if err != nil {
			return ActionSet{}, err
		}
		s = s.With(a)
	}
	return s, nil
}

// With is s and a.
func (s ActionSet) With(a Action) ActionSet {
	if a.Valid() {
		s[a>>6] |= 1 << (a & 63)
	}
	return s
}

// Has reports whether a is in s.
func (s ActionSet) Has(a Action) bool { return a.Valid() && s[a>>6]&(1<<(a&63)) != 0 }

// Contains reports whether all of t is in s.
func (s ActionSet) Contains(t ActionSet) bool { return t[0]&^s[0] == 0 && t[1]&^s[1] == 0 }

// Union is what is in s or in t.
func (s ActionSet) Union(t ActionSet) ActionSet { return ActionSet{s[0] | t[0], s[1] | t[1]} }

// Len counts.
func (s ActionSet) Len() int { return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) }

// All yields the actions of s in order.
func (s ActionSet) All() iter.Seq[Action] {
	return func(yield func(Action) bool) {
		for a := range Actions() {
			if s.Has(a) && !yield(a) {
				return
			}
		}
	}
}

// Names lists s as it is stored and shown.
func (s ActionSet) Names() []string {
	names := make([]string, 0, s.Len())
	for a := range s.All() {
		names = append(names, a.String())
	}
	return names
}
