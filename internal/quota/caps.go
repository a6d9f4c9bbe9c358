package quota

import (
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Budget is what a tier lets one scope use in a period. The zero value is no
// budget: nothing is limited, which a table says by leaving the scope out.
type Budget struct {
	Every string // "day", "month", or "life"
	Limit Amounts
}

// Set reports whether there is anything to keep to.
func (b Budget) Set() bool { return b.Every != "" }

// Budgets are a tier's, by scope.
type Budgets struct{ Run, Agent, User, Tenant Budget }

func (b Budget) capAt(now time.Time) Cap {
	switch b.Every {
	case "day":
		return Cap{b.Limit, Day(now)}
	case "month":
		return Cap{b.Limit, Month(now)}
	case "life":
		return Cap{b.Limit, Lifetime()}
	}
	return Cap{UnlimitedAmounts(), Month(now)} // counted, and limited by nothing
}

// Caps are what a Ledger is asked with at a time.
func (b Budgets) Caps(now time.Time) Caps {
	return Caps{Run: b.Run.capAt(now), Agent: b.Agent.capAt(now), User: b.User.capAt(now), Tenant: b.Tenant.capAt(now)}
}

// Of is one scope's.
func (b Budgets) Of(s Scope) Budget { return [...]Budget{b.Run, b.Agent, b.User, b.Tenant}[s] }

// Resources are the names of Amounts' fields as tables and answers write them,
// in the order of Vector.
func Resources() [5]string {
	return [5]string{"requests", "tokens", "money_micros", "sandbox_seconds", "egress_bytes"}
}

// budgets reads a tier's budgets; every scope may be left out.
func budgets(n ast.Node, b *Budgets) error {
	read := func(into *Budget) func(ast.Node) error {
		return func(n ast.Node) error { return budget(n, into) }
	}
	return fields(n, nil, map[string]func(ast.Node) error{
		"run": read(&b.Run), "agent": read(&b.Agent), "user": read(&b.User), "tenant": read(&b.Tenant),
	})
}

func budget(n ast.Node, b *Budget) error {
	v := UnlimitedAmounts().Vector()
	read := map[string]func(ast.Node) error{
		"every": func(n ast.Node) error {
			s, ok := n.(*ast.StringNode)
			if !ok || s.Value != "day" && s.Value != "month" && s.Value != "life" {
				return at(n, "every: want day, month or life")
			}
			b.Every = s.Value
			return nil
		},
	}
	for i, name := range Resources() {
		read[name] = func(n ast.Node) error { return integer(n, 0, MaxAmount, &v[i]) }
	}
	if err := fields(n, []string{"every"}, read); err != nil {
		return err
	}
	if b.Limit = AmountsOf(v); b.Limit == UnlimitedAmounts() {
		return at(n, "no budget is given; leave the scope out if that is meant")
	}
	return nil
}
