package quota

import (
	_ "embed"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

//go:embed tiers.yaml
var defaultTiers []byte

const maxNames = 256 // tiers, and classes, in one table

// LineError is what is wrong with a tiers file, and where.
type LineError struct {
	Line   int // from 1; 0 when the whole file is meant
	Reason string
}

func (e *LineError) Error() string {
	if e.Line == 0 {
		return "tiers: " + e.Reason
	}
	return fmt.Sprintf("tiers: line %d: %s", e.Line, e.Reason)
}

// DefaultTable is the table of the design, embedded in the binary.
func DefaultTable() *Table {
	t, err := ParseTable(defaultTiers)
	if err != nil {
		panic(err) // the embedded file is tested
	}
	return t
}

// ParseTable reads a tiers file strictly: an unknown, missing or repeated
// field, a number out of bounds, an alias or a tag is a *LineError.
func ParseTable(text []byte) (*Table, error) {
	doc, err := yamlfile.File("tiers").Document(text, "")
	var le *yamlfile.LineError
	if errors.As(err, &le) {
		return nil, &LineError{Line: le.Line, Reason: le.Reason}
	}
	var raw rawTable
	if err := raw.read(doc); err != nil {
		return nil, err
	}
	return raw.compile()
}

type rawTable struct {
	classes []string
	tiers   []Tier
	lines   map[string]int // where a tier stands
}

func (r *rawTable) read(n ast.Node) error {
	r.lines = map[string]int{}
	var version int64
	var tiers ast.Node
	err := fields(n, []string{"version", "classes", "tiers"}, map[string]func(ast.Node) error{
		"version": func(n ast.Node) error { return integer(n, 1, 1, &version) },
		"classes": func(n ast.Node) error {
			seq, ok := n.(*ast.SequenceNode)
			if !ok {
				return at(n, "classes: want a list of names")
			}
			seen := map[string]bool{}
			for _, v := range seq.Values {
				name, err := word(v)
				if err != nil {
					return err
				}
				if seen[name] {
					return at(v, "class %q is listed twice", name)
				}
				seen[name] = true
				r.classes = append(r.classes, name)
			}
			if len(r.classes) == 0 || len(r.classes) > maxNames {
				return at(n, "classes: want 1 to %d", maxNames)
			}
			return nil
		},
		"tiers": func(n ast.Node) error { tiers = n; return nil },
	})
	if err != nil {
		return err
	}
	return entries(tiers, func(name string, key, n ast.Node) error {
		if len(r.tiers) == maxNames {
			return at(key, "more than %d tiers", maxNames)
		}
		t := Tier{Name: name, Classes: map[string]ClassLimits{}}
		r.lines[name] = lineOf(key)
		err := fields(n, []string{"tenant", "user", "classes", "sandbox"}, map[string]func(ast.Node) error{
			"tenant":  func(n ast.Node) error { return limits(n, true, &t.Tenant) },
			"user":    func(n ast.Node) error { return limits(n, false, &t.User) },
			"sandbox": func(n ast.Node) error { return sandbox(n, &t.Sandbox) },
			"budgets": func(n ast.Node) error { return budgets(n, &t.Budgets) },
			"classes": func(n ast.Node) error {
				want := map[string]bool{}
				for _, c := range r.classes {
					want[c] = true
				}
				err := entries(n, func(class string, key, n ast.Node) error {
					if !want[class] {
						return at(key, "tier %s: class %q is not in the list of classes", name, class)
					}
					var c ClassLimits
					err := classLimits(n, &c)
					t.Classes[class] = c
					return err
				})
				if err != nil {
					return err
				}
				for _, c := range r.classes {
					if _, ok := t.Classes[c]; !ok {
						return at(n, "tier %s: class %q is missing", name, c)
					}
				}
				return nil
			},
		})
		r.tiers = append(r.tiers, t)
		return err
	})
}

func classLimits(n ast.Node, c *ClassLimits) error {
	if s, ok := n.(*ast.StringNode); ok {
		switch s.Value {
		case "shared":
			c.Mode = Shared
		case "unlimited":
			c.Mode = Unlimited
		case "off":
			c.Mode = Off
		default:
			return at(n, "want shared, unlimited, off or limits, not %q", s.Value)
		}
		return nil
	}
	c.Mode = Limited
	return fields(n, []string{"tenant", "user"}, map[string]func(ast.Node) error{
		"tenant": func(n ast.Node) error { return limits(n, false, &c.Tenant) },
		"user":   func(n ast.Node) error { return limits(n, false, &c.User) },
	})
}

// limits reads one subject's numbers; all of them are wanted when whole is set.
func limits(n ast.Node, whole bool, l *Limits) error {
	if s, ok := n.(*ast.StringNode); ok {
		switch s.Value {
		case "unlimited":
			l.Mode = Unlimited
		case "off":
			l.Mode = Off
		default:
			return at(n, "want unlimited, off or limits, not %q", s.Value)
		}
		return nil
	}
	l.Mode, l.Burst = Limited, 1
	all := []string{"per_minute", "per_hour", "per_day", "burst", "concurrent"}
	if !whole {
		all = nil
	}
	err := fields(n, all, map[string]func(ast.Node) error{
		"per_minute": func(n ast.Node) error { return integer(n, 1, maxPerMinute, &l.PerMinute) },
		"per_hour":   func(n ast.Node) error { return integer(n, 1, maxPerHour, &l.PerHour) },
		"per_day":    func(n ast.Node) error { return integer(n, 1, maxPerDay, &l.PerDay) },
		"concurrent": func(n ast.Node) error { return integer(n, 1, maxConcurrent, &l.Concurrent) },
		"burst": func(n ast.Node) error {
			switch v := n.(type) {
			case *ast.FloatNode:
				l.Burst = v.Value
			case *ast.IntegerNode:
				var i int64
				if err := integer(n, 1, maxBurst, &i); err != nil {
					return err
				}
				l.Burst = float64(i)
			default:
				return at(n, "burst: want a number")
			}
			if math.IsNaN(l.Burst) || l.Burst < 1 || l.Burst > maxBurst {
				return at(n, "burst: want 1 to %d", maxBurst)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	if l.PerMinute+l.PerHour+l.PerDay+l.Concurrent == 0 {
		return at(n, "no limit is given; write unlimited if that is meant")
	}
	if l.Burst != 1 && l.PerMinute == 0 {
		return at(n, "burst without per_minute")
	}
	return nil
}

func sandbox(n ast.Node, s *Sandbox) error {
	return fields(n, []string{"cpu_cores", "memory_mb", "timeout", "network_mbps", "disk_mb"}, map[string]func(ast.Node) error{
		"cpu_cores":    func(n ast.Node) error { return integer(n, 1, 1024, &s.CPUCores) },
		"memory_mb":    func(n ast.Node) error { return integer(n, 16, 1<<24, &s.MemoryMB) },
		"network_mbps": func(n ast.Node) error { return integer(n, 1, 1<<20, &s.NetworkMbps) },
		"disk_mb":      func(n ast.Node) error { return integer(n, 1, 1<<30, &s.DiskMB) },
		"timeout": func(n ast.Node) error {
			v, ok := n.(*ast.StringNode)
			if !ok {
				return at(n, "timeout: want a duration such as 5m")
			}
			d, err := time.ParseDuration(v.Value)
			if err != nil || d < time.Second || d > 24*time.Hour {
				return at(n, "timeout: want 1s to 24h, such as 5m")
			}
			s.Timeout = d
			return nil
		},
	})
}

// fields reads a mapping of the names in read: those in must are required,
// anything else and anything twice is refused.
func fields(n ast.Node, must []string, read map[string]func(ast.Node) error) error {
	seen := map[string]bool{}
	err := entries(n, func(name string, key, v ast.Node) error {
		f := read[name]
		if f == nil {
			return at(key, "unknown field %q", name)
		}
		seen[name] = true
		return f(v)
	})
	if err != nil {
		return err
	}
	for _, name := range must {
		if !seen[name] {
			return at(n, "field %q is missing", name)
		}
	}
	return nil
}

// entries walks a mapping in the file's order, once per name.
func entries(n ast.Node, each func(name string, key, value ast.Node) error) error {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return at(n, "want a mapping")
	}
	seen := map[string]bool{}
	for _, v := range values {
		name, err := word(v.Key)
		if err != nil {
			return err
		}
		if seen[name] {
			return at(v.Key, "%q is given twice", name)
		}
		seen[name] = true
		if err := each(name, v.Key, v.Value); err != nil {
			return err
		}
	}
	return nil
}

// word reads a name: 1 to 32 of a-z, 0-9, _ and -, a letter first. Names stand
// in headers and in keys, so nothing else gets in.
func word(n ast.Node) (string, error) {
	s, ok := n.(*ast.StringNode)
	if !ok || !isWord(s.Value) {
		return "", at(n, "want a name of 1 to 32 characters a-z, 0-9, _ and -, a letter first")
	}
	return s.Value, nil
}

func isWord(s string) bool {
	if len(s) == 0 || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func integer(n ast.Node, lo, hi int64, out *int64) error {
	v, ok := n.(*ast.IntegerNode)
	if !ok {
		return at(n, "want a whole number from %d to %d", lo, hi)
	}
	i, err := strconv.ParseInt(v.Token.Value, 10, 64) // decimal only: no 0x, no 0o, no 1_000
	if err != nil || i < lo || i > hi {
		return at(n, "want a whole number from %d to %d, not %q", lo, hi, v.Token.Value)
	}
	*out = i
	return nil
}

func at(n ast.Node, format string, args ...any) error {
	return &LineError{Line: lineOf(n), Reason: fmt.Sprintf(format, args...)}
}

func lineOf(n ast.Node) int {
	if n == nil {
		return 0
	}
	var t *token.Token
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		t = m.Values[0].Key.GetToken() // a mapping's own token is its first ":"
	} else {
		t = n.GetToken()
	}
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}
