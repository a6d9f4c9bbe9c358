package policy

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// Three tenants and two agents for trying a policy out. The house is tenant.House.
var (
	tryTenant = tenant.ID{0: 1, 6: 0x40, 8: 0x80, 15: 1}
	tryOther  = tenant.ID{0: 2, 6: 0x40, 8: 0x80, 15: 2}
	tryAgent  = uuid.UUID{0: 1, 6: 0x40, 8: 0x80, 15: 3}
)

// sample is one line of samples.csv.
type sample struct {
	line    int
	name    string
	kind    SubjectKind
	roles   []RoleSet
	home    tenant.ID
	channel bool
	actions []Action
	tenant  tenant.ID
	allow   bool
}

// parseSamples reads samples.csv; a word it does not know is an error, or a
// sample would silently test nothing.
func parseSamples(text []byte) ([]sample, error) {
	rows, err := readCSV("samples.csv", text, 8)
	if err != nil {
		return nil, err
	}
	var out []sample
	for _, row := range rows[1:] {
		s := sample{line: row.line, name: row.cells[0]}
		fail := func(err error) ([]sample, error) {
			return nil, fmt.Errorf("read samples.csv: line %d: %w", row.line, err)
		}
		for k := KindUser; k <= KindAnonymous; k++ {
			if k.String() == row.cells[1] {
				s.kind = k
			}
		}
		if s.kind == 0 {
			return fail(fmt.Errorf("kind %q", row.cells[1]))
		}
		switch row.cells[2] {
		case "-":
			s.roles = []RoleSet{0}
		case "each":
			for r := range Roles() {
				s.roles = append(s.roles, NewRoleSet(r))
			}
		default:
			set, err := ParseRoleSet(strings.Split(row.cells[2], "+"))
			if err != nil {
				return fail(err)
			}
			s.roles = []RoleSet{set}
		}
		var ok [4]bool
		s.home, ok[0] = pick(row.cells[3], "customer", tryTenant, "house", tenant.House)
		s.channel, ok[1] = pick(row.cells[4], "yes", true, "no", false)
		s.tenant, ok[2] = pick(row.cells[6], "other", tryOther, "house", tenant.House)
		if row.cells[6] == "own" {
			s.tenant, ok[2] = s.home, true
		}
		s.allow, ok[3] = pick(row.cells[7], "allow", true, "deny", false)
		if ok != [4]bool{true, true, true, true} {
			return fail(errors.New("an unknown word"))
		}
		if s.actions, err = parseActions(row.cells[5]); err != nil {
			return fail(err)
		}
		out = append(out, s)
	}
	return out, nil
}

// parseActions reads a name, a group, or a group's writes.
func parseActions(word string) ([]Action, error) {
	group, writes := strings.CutSuffix(word, "/write")
	var out []Action
	for a := range Actions() {
		hit := group == a.String()
		for _, g := range actionGroups(a) {
			hit = hit || string(g.ID) == group
		}
		if hit && (!writes || a.Kind() == Write) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q names no action", word)
	}
	return out, nil
}

func pick[T any](word, a string, av T, b string, bv T) (T, bool) {
	switch word {
	case a:
		return av, true
	case b:
		return bv, true
	}
	var zero T
	return zero, false
}

// trySamples reports the first wrong answer of each sample.
func (e *Engine) trySamples(samples []sample) error {
	var errs []error
	for _, sm := range samples {
		if err := e.try(sm); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) try(sm sample) error {
	for _, roles := range sm.roles {
		for _, a := range sm.actions {
			s := Subject{Tenant: sm.home, ID: "sample", Kind: sm.kind, Roles: roles, AdminChannel: sm.channel}
			if sm.kind == KindAgent {
				s.Agent = tryAgent
			}
			d := e.decide(&s, a, &Resource{Tenant: sm.tenant, Kind: "sample", ID: "1"})
			if d.Allowed != sm.allow {
				return fmt.Errorf("sample %s: %s by %s [%s] on %s: the policy says %s (%s), and must say %s",
					sm.name, a, sm.kind, strings.Join(roles.Names(), "+"), whose(sm), verdict(d.Allowed), d.Reason, verdict(sm.allow))
			}
		}
	}
	return nil
}

func whose(sm sample) string {
	switch sm.tenant {
	case sm.home:
		return "its own tenant"
	case tenant.House:
		return "the house"
	}
	return "another tenant"
}

func verdict(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

type csvRow struct {
	line  int
	cells []string
}

// readCSV reads rows of the given width; lines starting with # are comments and
// cells may be padded.
func readCSV(name string, text []byte, width int) ([]csvRow, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d", name, len(text), maxText)
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comment, r.TrimLeadingSpace, r.FieldsPerRecord = '#', true, width
	var rows []csvRow
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		line, _ := r.FieldPos(0)
		rows = append(rows, csvRow{line, cells})
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("read %s: nothing in it", name)
	}
	return rows, nil
}
