package yamlfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Fields says how each key of a mapping is read.
type Fields map[string]func(ast.Node) error

// At is a complaint about a value.
func (f File) At(n ast.Node, hint, format string, args ...any) error {
	line, col := Position(n)
	return &LineError{File: string(f), Line: line, Column: col, Reason: fmt.Sprintf(format, args...), Hint: hint}
}

// Position is where a value stands, from 1; 0 for nowhere.
func Position(n ast.Node) (line, column int) {
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

// Mapping reads a mapping: keys in must are wanted, unknown ones and repeats
// refused.
func (f File) Mapping(n ast.Node, must []string, read Fields) error {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return f.At(n, "", "want a mapping of names to values")
	}
	seen := map[string]bool{}
	for _, v := range values {
		k, ok := v.Key.(*ast.StringNode)
		if !ok {
			return f.At(v.Key, "", "want a plain name")
		}
		take := read[k.Value]
		switch {
		case take == nil:
			return f.At(v.Key, near(k.Value, read), "unknown key %q", k.Value)
		case seen[k.Value]:
			return f.At(v.Key, "", "%q is given twice", k.Value)
		}
		seen[k.Value] = true
		if err := take(v.Value); err != nil {
			return err
		}
	}
	for _, name := range must {
		if !seen[name] {
			return f.At(n, "", "key %q is missing", name)
		}
	}
	return nil
}

// near suggests the key that was probably meant, or lists them.
func near(word string, read Fields) string {
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

// Sequence reads a list of at least one value.
func (f File) Sequence(n ast.Node) ([]ast.Node, error) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, f.At(n, "", "want a list")
	}
	if len(s.Values) == 0 {
		return nil, f.At(n, "leave the key out for the default", "the list is empty")
	}
	return s.Values, nil
}

// Text reads a text of 1 to 1024 bytes without control characters.
func (f File) Text(n ast.Node) (string, error) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		return "", f.At(n, "quote it", "want a text")
	}
	if s.Value == "" || len(s.Value) > 1024 {
		return "", f.At(n, "", "want 1 to 1024 characters")
	}
	for _, c := range []byte(s.Value) {
		if c < ' ' || c == 0x7f {
			return "", f.At(n, "", "control characters have no place here")
		}
	}
	return s.Value, nil
}

// Word reads one of known.
func (f File) Word(n ast.Node, known ...string) (string, error) {
	w, err := f.Text(n)
	if err == nil && !slices.Contains(known, w) {
		err = f.At(n, "known here: "+strings.Join(known, ", "), "unknown value %q", w)
	}
	return w, err
}

// Texts reads a list of texts without repeats.
func (f File) Texts(n ast.Node) ([]string, error) {
	list, err := f.Sequence(n)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, v := range list {
		s, err := f.Text(v)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, s) {
			return nil, f.At(v, "", "%q is given twice", s)
		}
		out = append(out, s)
	}
	return out, nil
}

// Words reads a list without repeats out of known.
func (f File) Words(n ast.Node, known ...string) ([]string, error) {
	out, err := f.Texts(n)
	if err != nil {
		return nil, err
	}
	for i, w := range out {
		if !slices.Contains(known, w) {
			return nil, f.At(n.(*ast.SequenceNode).Values[i], "known here: "+strings.Join(known, ", "), "unknown value %q", w)
		}
	}
	return out, nil
}

// Number reads a whole number.
func (f File) Number(n ast.Node, lo, hi int) (int, error) {
	if v, ok := n.(*ast.IntegerNode); ok {
		if i, err := strconv.ParseInt(v.Token.Value, 10, 64); err == nil && i >= int64(lo) && i <= int64(hi) {
			return int(i), nil
		}
	}
	return 0, f.At(n, "", "want a whole number from %d to %d", lo, hi)
}

// Bool reads true or false.
func (f File) Bool(n ast.Node) (bool, error) {
	v, ok := n.(*ast.BoolNode)
	if !ok {
		return false, f.At(n, "", "want true or false")
	}
	return v.Value, nil
}

// Duration reads a Go duration.
func (f File) Duration(n ast.Node, lo, hi time.Duration) (time.Duration, error) {
	if s, ok := n.(*ast.StringNode); ok {
		if d, err := time.ParseDuration(s.Value); err == nil && d >= lo && d <= hi {
			return d, nil
		}
	}
	return 0, f.At(n, "as in 500ms, 30s, 5m", "want a duration from %s to %s", lo, hi)
}
