package stream

import (
	"errors"
	"strings"
)

// Cover is a set of patterns, by their place in the list.
type Cover uint64

// Has says whether pattern i is in the set.
func (c Cover) Has(i int) bool { return c>>i&1 != 0 }

// Patterns are places in a document, compiled. The zero value has none.
type Patterns struct {
	list [][]string
	all  Cover // those that match the whole document
}

// maxPatterns is how many bits a Cover has.
const maxPatterns = 64

// ErrPattern says what a pattern may be.
var ErrPattern = errors.New("want at most 64 patterns such as \"\", .name or .messages[*].content")

// Compile reads patterns such as .messages[*].content; "" is the whole document.
// A pattern covers what stands at its place and everything below.
func Compile(patterns []string) (Patterns, error) {
	var p Patterns
	if len(patterns) > maxPatterns {
		return p, ErrPattern
	}
	for i, text := range patterns {
		var steps []string
		for rest := text; rest != ""; {
			if after, ok := strings.CutPrefix(rest, "[*]"); ok {
				steps, rest = append(steps, ""), after
				continue
			}
			if rest[0] != '.' {
				return p, ErrPattern
			}
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			if end == 0 {
				return p, ErrPattern
			}
			steps, rest = append(steps, rest[1:1+end]), rest[1+end:]
		}
		p.list = append(p.list, steps)
		if len(steps) == 0 {
			p.all |= 1 << i
		}
	}
	return p, nil
}

// Pointers compiles JSON pointers without escapes, such as /text.
func Pointers(pointers []string) (Patterns, error) {
	dotted := make([]string, len(pointers))
	for i, s := range pointers {
		dotted[i] = strings.ReplaceAll(s, "/", ".")
	}
	return Compile(dotted)
}

// root is the state before the document's value.
func (p *Patterns) root() (alive, cover Cover) {
	alive = Cover(1)<<len(p.list) - 1 // 64 patterns: all bits, since 1<<64 is 0
	return alive &^ p.all, p.all
}

// step goes down to the member key of an object, or to an element of an array,
// at the given depth (0 is the document's own value).
func (p *Patterns) step(alive, cover Cover, depth int, key string, element bool) (Cover, Cover) {
	if alive == 0 {
		return 0, cover
	}
	var still Cover
	for i, steps := range p.list {
		if !alive.Has(i) {
			continue
		}
		if s := steps[depth]; (s == "") == element && (element || s == key) {
			if depth+1 == len(steps) {
				cover |= 1 << i
			} else {
				still |= 1 << i
			}
		}
	}
	return still, cover
}
