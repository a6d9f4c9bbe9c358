package policy

import (
	"errors"
	"fmt"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// cell is what the table expects of one role and one action.
type cell string

const (
	cellYes     cell = "yes"
	cellOwn     cell = "own"
	cellModel   cell = "model"
	cellTool    cell = "tool"
	cellGranted cell = "granted"
	cellChannel cell = "channel"
	cellIf      cell = "if"
	cellNo      cell = "-"
)

// anonymousColumn stands beside the roles in the table.
const anonymousColumn = "anonymous"

// table holds a cell for each action and column; column 0 is anonymous, the
// others are roles.
type table struct {
	cells [][len(roleNames)]cell
}

// parseTable refuses a table that does not name each role and each action once.
func parseTable(name string, text []byte) (*table, error) {
	rows, err := readCSV(name, text, len(roleNames)+1)
	if err != nil {
		return nil, err
	}
	fail := func(line int, format string, args ...any) (*table, error) {
		return nil, fmt.Errorf("read roles %s: line %d: %w", name, line, fmt.Errorf(format, args...))
	}
	columns, seen := make([]Role, len(roleNames)), map[string]bool{}
	head := rows[0]
	if head.cells[0] != "action" {
		return fail(head.line, `the first column is "action", not %q`, head.cells[0])
	}
	for i, word := range head.cells[1:] {
		if seen[word] {
			return fail(head.line, "%s stands twice", word)
		}
		seen[word] = true
		if word == anonymousColumn {
			continue
		}
		if columns[i], err = ParseRole(word); err != nil {
			return fail(head.line, "%w", err)
		}
	}
	t := &table{cells: make([][len(roleNames)]cell, len(actions))}
	for _, row := range rows[1:] {
		a, err := ParseAction(row.cells[0])
		if err != nil {
			return fail(row.line, "%w", err)
		}
		if t.cells[a][0] != "" {
			return fail(row.line, "%s stands twice", a)
		}
		for i, word := range row.cells[1:] {
			c := cell(word)
			switch c {
			case cellYes, cellOwn, cellModel, cellTool, cellGranted, cellChannel, cellIf, cellNo:
			default:
				return fail(row.line, "%s: %q is not an answer", a, word)
			}
			t.cells[a][columns[i]] = c
		}
	}
	for a := range Actions() {
		if t.cells[a][0] == "" {
			return nil, fmt.Errorf("read roles %s: no row for action %s", name, a)
		}
	}
	return t, nil
}

// scene is one setting in which a cell is compared with the policy.
type scene struct {
	same, own, model, tool, granted, channel bool
}

func (sc scene) expect(c cell, a Action) (allow, compared bool) {
	switch c {
	case cellYes:
		return sc.same || a.Audience() == ForPublic, true
	case cellOwn:
		return sc.same && sc.own, true
	case cellModel:
		return sc.same && sc.model, true
	case cellTool:
		return sc.same && sc.tool, true
	case cellGranted:
		return sc.same && sc.granted, true
	case cellChannel:
		return sc.channel, true
	case cellIf:
		return false, !sc.same && a.Audience() != ForPublic && a.Audience() != ForPlatform
	}
	return false, true
}

// subject is the typical holder of a role (role 0: nobody), asking for a.
func (sc scene) subject(r Role, a Action) Subject {
	s := Subject{Tenant: tryTenant, ID: "try", Kind: KindUser, Roles: NewRoleSet(r), AdminChannel: sc.channel}
	switch r {
	case 0:
		s = Anonymous()
		s.AdminChannel = sc.channel
	case AgentRole:
		s.Kind, s.Agent = KindAgent, tryAgent
		s.Models, s.Tools = []string{"allowed"}, []string{"allowed"}
	case ServiceAccount:
		s.Kind = KindService
		if sc.granted {
			s.Grants = s.Grants.With(a)
		}
	case PlatformAdmin:
		s.Kind, s.Tenant = KindOperator, tenant.House
	}
	return s
}

func (sc scene) resource(s Subject) Resource {
	r := Resource{Tenant: s.Tenant, Kind: "try", ID: "1", Agent: uuid.UUID{0: 9}, Model: "other", Tool: "other"}
	if !sc.same {
		r.Tenant = tryOther
	}
	if sc.own {
		r.Agent = tryAgent
	}
	if sc.model {
		r.Model = "allowed"
	}
	if sc.tool {
		r.Tool = "allowed"
	}
	return r
}

// scenes are all combinations.
func scenes() []scene {
	var out []scene
	for i := range 1 << 6 {
		out = append(out, scene{i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0, i&16 != 0, i&32 != 0})
	}
	return out
}

// compare reports where the policy does not do what the table says, the first
// few cells.
func (e *Engine) compare(t *table) error {
	const enough = 5
	var errs []error
	for a := range Actions() {
		for col := range len(roleNames) {
			if err := e.compareCell(t, a, Role(col)); err != nil {
				if errs = append(errs, err); len(errs) == enough {
					return errors.Join(errs...)
				}
			}
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) compareCell(t *table, a Action, r Role) error {
	for _, sc := range scenes() {
		want, compared := sc.expect(t.cells[a][r], a)
		if !compared {
			continue
		}
		s := sc.subject(r, a)
		res := sc.resource(s)
		if d := e.decide(&s, a, &res); d.Allowed != want {
			who := r.String()
			if r == 0 {
				who = anonymousColumn
			}
			return fmt.Errorf("%s, %s: the table says %q, so %s, and the policy says %s (%s) with same tenant %t, own agent %t, allowed model %t, allowed tool %t, granted %t, admin channel %t",
				a, who, t.cells[a][r], verdict(want), verdict(d.Allowed), d.Reason, sc.same, sc.own, sc.model, sc.tool, sc.granted, sc.channel)
		}
	}
	return nil
}

// Expected is what the table of roles says of a role and an action: yes, own,
// model, tool, granted, channel, if or -. The zero Role stands for a request
// without a credential. Loading has proven the policy to agree with it.
func (e *Engine) Expected(r Role, a Action) string {
	if !a.Valid() || r != 0 && !r.Valid() {
		return string(cellNo)
	}
	return string(e.table.cells[a][r])
}
