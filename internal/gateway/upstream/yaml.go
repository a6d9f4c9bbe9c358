package upstream

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// fileParser reads typed values off a YAML tree and knows where they stand.
type fileParser struct {
	file    string
	classes Classes
}

func (p *fileParser) at(n ast.Node, hint, format string, args ...any) error {
	line, col := position(n)
	return &LineError{File: p.file, Line: line, Column: col, Reason: fmt.Sprintf(format, args...), Hint: hint}
}

func position(n ast.Node) (line, column int) {
	if n == nil {
		return 0, 0
	}
	var t *token.Token
	switch m := n.(type) {
	case *ast.MappingNode: // its own token is its first ":"
		if len(m.Values) > 0 {
			t = m.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		t = m.Key.GetToken()
	}
	if t == nil {
		t = n.GetToken()
	}
	if t == nil || t.Position == nil {
		return 0, 0
	}
	return t.Position.Line, t.Position.Column
}

// fields reads a mapping: those in must are wanted, others and repeats refused.
func (p *fileParser) fields(n ast.Node, must []string, read map[string]func(ast.Node) error) error {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return p.at(n, "", "want a mapping of names to values")
	}
	seen := map[string]bool{}
	for _, v := range values {
		k, ok := v.Key.(*ast.StringNode)
		if !ok {
			return p.at(v.Key, "", "want a plain name")
		}
		f := read[k.Value]
		switch {
		case f == nil:
			return p.at(v.Key, near(k.Value, read), "unknown key %q", k.Value)
		case seen[k.Value]:
			return p.at(v.Key, "", "%q is given twice", k.Value)
		}
		seen[k.Value] = true
		if err := f(v.Value); err != nil {
			return err
		}
	}
	for _, name := range must {
		if !seen[name] {
			return p.at(n, "", "key %q is missing", name)
		}
	}
	return nil
}

// near suggests the key that was probably meant, or lists them.
func near(word string, read map[string]func(ast.Node) error) string {
	keys := make([]string, 0, len(read))
	for k := range read {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if distance(word, k) <= 2 {
			return "did you mean " + k + "?"
		}
	}
	return "known here: " + strings.Join(keys, ", ")
}

// distance is Levenshtein's, for short words.
func distance(a, b string) int {
	if len(a) > 32 || len(b) > 32 {
		return 99
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}

func (p *fileParser) sequence(n ast.Node) (*ast.SequenceNode, error) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, p.at(n, "", "want a list")
	}
	return s, nil
}

func (p *fileParser) text(n ast.Node) (string, error) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		return "", p.at(n, "quote it", "want a text")
	}
	for _, c := range []byte(s.Value) {
		if c < ' ' || c == 0x7f {
			return "", p.at(n, "", "control characters have no place here")
		}
	}
	return s.Value, nil
}

// words reads a list without repeats out of known.
func (p *fileParser) words(n ast.Node, known []string) ([]string, error) {
	list, err := p.sequence(n)
	if err != nil {
		return nil, err
	}
	if len(list.Values) == 0 {
		return nil, p.at(n, "leave the key out for the default", "the list is empty")
	}
	var out []string
	for _, v := range list.Values {
		w := ""
		switch v := v.(type) {
		case *ast.StringNode:
			w = v.Value
		case *ast.IntegerNode:
			w = v.Token.Value
		}
		if !slices.Contains(known, w) {
			return nil, p.at(v, "known here: "+strings.Join(known, ", "), "unknown value %q", w)
		}
		if slices.Contains(out, w) {
			return nil, p.at(v, "", "%q is given twice", w)
		}
		out = append(out, w)
	}
	return out, nil
}

func (p *fileParser) number(n ast.Node, lo, hi int64) (int64, error) {
	v, ok := n.(*ast.IntegerNode)
	if ok {
		if i, err := strconv.ParseInt(v.Token.Value, 10, 64); err == nil && i >= lo && i <= hi {
			return i, nil
		}
	}
	return 0, p.at(n, "", "want a whole number from %d to %d", lo, hi)
}

func (p *fileParser) boolean(n ast.Node) (bool, error) {
	v, ok := n.(*ast.BoolNode)
	if !ok {
		return false, p.at(n, "", "want true or false")
	}
	return v.Value, nil
}

func (p *fileParser) share(n ast.Node) (float64, error) {
	var f float64
	switch v := n.(type) {
	case *ast.FloatNode:
		f = v.Value
	case *ast.IntegerNode:
		i, err := p.number(n, 0, 1)
		if err != nil {
			return 0, err
		}
		f = float64(i)
	default:
		f = -1
	}
	if math.IsNaN(f) || f < 0 || f > 1 {
		return 0, p.at(n, "0.1 lets one request in ten be tried again", "want a share from 0 to 1")
	}
	return f, nil
}

func (p *fileParser) duration(n ast.Node, lo, hi time.Duration) (time.Duration, error) {
	if s, ok := n.(*ast.StringNode); ok {
		if d, err := time.ParseDuration(s.Value); err == nil && d >= lo && d <= hi {
			return d, nil
		}
	}
	return 0, p.at(n, "as in 500ms, 30s, 5m", "want a duration from %s to %s", lo, hi)
}

// bytes reads a size: a number of bytes, or one with KiB, MiB or GiB.
func (p *fileParser) bytes(n ast.Node) (int64, error) {
	const most = 64 << 30
	if i, ok := n.(*ast.IntegerNode); ok {
		if v, err := strconv.ParseInt(i.Token.Value, 10, 64); err == nil && v >= 0 && v <= most {
			return v, nil
		}
	}
	if s, ok := n.(*ast.StringNode); ok {
		for unit, shift := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
			num, ok := strings.CutSuffix(s.Value, unit)
			v, err := strconv.ParseUint(strings.TrimSpace(num), 10, 32)
			if ok && err == nil && int64(v)<<shift <= most {
				return int64(v) << shift, nil
			}
		}
	}
	return 0, p.at(n, "as in 65536, 64KiB, 10MiB", "want a size of at most 64GiB")
}
