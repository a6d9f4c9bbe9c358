package upstream

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

// fileParser reads typed values off a YAML tree and knows where they stand.
type fileParser struct {
	yamlfile.File
	classes Classes
}

// sequence is Sequence of a list that may be empty.
func (p *fileParser) sequence(n ast.Node) (*ast.SequenceNode, error) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, p.At(n, "", "want a list")
	}
	return s, nil
}

// text is Text of any length: what it is for bounds it.
func (p *fileParser) text(n ast.Node) (string, error) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		return "", p.At(n, "quote it", "want a text")
	}
	for _, c := range []byte(s.Value) {
		if c < ' ' || c == 0x7f {
			return "", p.At(n, "", "control characters have no place here")
		}
	}
	return s.Value, nil
}

// words is Words, statuses among them.
func (p *fileParser) words(n ast.Node, known []string) ([]string, error) {
	list, err := p.sequence(n)
	if err != nil {
		return nil, err
	}
	if len(list.Values) == 0 {
		return nil, p.At(n, "leave the key out for the default", "the list is empty")
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
			return nil, p.At(v, "known here: "+strings.Join(known, ", "), "unknown value %q", w)
		}
		if slices.Contains(out, w) {
			return nil, p.At(v, "", "%q is given twice", w)
		}
		out = append(out, w)
	}
	return out, nil
}

func (p *fileParser) share(n ast.Node) (float64, error) {
	var f float64
	switch v := n.(type) {
	case *ast.FloatNode:
		f = v.Value
	case *ast.IntegerNode:
		i, err := p.Number(n, 0, 1)
		if err != nil {
			return 0, err
		}
		f = float64(i)
	default:
		f = -1
	}
	if math.IsNaN(f) || f < 0 || f > 1 {
		return 0, p.At(n, "0.1 lets one request in ten be tried again", "want a share from 0 to 1")
	}
	return f, nil
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
	return 0, p.At(n, "as in 65536, 64KiB, 10MiB", "want a size of at most 64GiB")
}
