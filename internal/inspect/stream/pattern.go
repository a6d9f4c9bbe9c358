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
//
// Those of Compile say what is to be inspected, so in doubt they match: names
// whatever their case (as encoding/json reads them), an object where an array was
// meant and the other way round, a string above the place, fields such as
// messages[0][content] of a form. Those of Pointers may also say what is not, and
// match to the letter.
type Patterns struct {
	list [][]string
	all  Cover // those that match the whole document
	wide bool

	joins Cover
}

// maxPatterns is how many bits a Cover has.
const maxPatterns = 64

// ErrPattern says what a pattern may be.
var ErrPattern = errors.New("want at most 64 patterns such as \"\", .name or .messages[*].content")

// Compile reads patterns such as .messages[*].content; "" is the whole document.
// A pattern covers what stands at its place and everything below.
func Compile(patterns []string) (Patterns, error) {
	p := Patterns{wide: true}
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
	p, err := Compile(dotted)
	p.wide = false
	return p, err
}

// Joining is p, with the strings that those patterns cover shown together as well.
func (p Patterns) Joining(which Cover) Patterns {
	p.joins = which
	return p
}

// named says that some pattern names a place inside a document.
func (p *Patterns) named() bool { return p.all != Cover(1)<<len(p.list)-1 }

// text is the cover of a string at a place that some patterns would go beyond.
func (p *Patterns) text(alive, cover Cover) Cover {
	if p.wide {
		return cover | alive
	}
	return cover
}

// field is the cover of a field of a form. Frameworks make structures of names
// (a[0][b], a.b, a[]), each in its own way, so the first step decides.
func (p *Patterns) field(name string) Cover {
	alive, cover := p.root()
	if !p.wide {
		_, cover = p.step(alive, cover, 0, name, false)
		return cover
	}
	name = strings.TrimLeft(name, " .[")
	for i, steps := range p.list {
		if alive.Has(i) && (steps[0] == "" || len(name) >= len(steps[0]) && strings.EqualFold(name[:len(steps[0])], steps[0])) {
			cover |= 1 << i
		}
	}
	return cover
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
		s := steps[depth]
		switch {
		case s == "" && (element || p.wide), s != "" && !element && (s == key || p.wide && strings.EqualFold(s, key)):
			if depth+1 == len(steps) {
				cover |= 1 << i
			} else {
				still |= 1 << i
			}
		case element && p.wide: // a list where one was meant
			cover |= 1 << i
		}
	}
	return still, cover
}
