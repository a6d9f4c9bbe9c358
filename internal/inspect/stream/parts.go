package stream

import "unicode/utf8"

// parts are the strings of one name below a place that is covered: what a model
// gets as one text (the parts of a message) may have been cut anywhere.
type parts struct {
	name         string
	plain, lines []byte // one after the other, and on lines of their own
	n            int
}

// maxNames is how many names are kept apart at one place.
const maxNames = 4

// gather adds a string to the parts of its name. Only a long string's ends may
// belong to what its neighbours say.
func (p *jsonParser) gather(text string) error {
	name := ""
	if f := &p.open[len(p.open)-1]; f.object && len(p.path) > f.path {
		name = string(p.path[f.path+1:])
	}
	i := 0
	for i < len(p.parts) && p.parts[i].name != name && i < maxNames-1 {
		i++
	}
	if i == len(p.parts) {
		p.parts = append(p.parts, parts{name: name})
	}
	g := &p.parts[i]
	if len(text) > overlap {
		g.add(head(text))
		if err := p.together(g); err != nil {
			return err
		}
		*g = parts{name: name}
		g.add(tail(text))
		return nil
	}
	if len(g.lines)+len(text)+1 > windowSize {
		if err := p.together(g); err != nil {
			return err
		}
		g.plain, g.lines, g.n = []byte(tail(string(g.plain))), []byte(tail(string(g.lines))), 1
	}
	g.add(text)
	return nil
}

func (g *parts) add(text string) {
	if g.n++; g.n > 1 {
		g.lines = append(g.lines, '\n')
	}
	g.plain, g.lines = append(g.plain, text...), append(g.lines, text...)
}

// together shows what several strings say as one.
func (p *jsonParser) together(g *parts) error {
	if g.n < 2 {
		return nil
	}
	for _, text := range [][]byte{g.plain, g.lines} {
		if err := p.visit(Piece{Text: string(text), Joined: true, Cover: p.open[p.joining-1].cover, where: p.place}); err != nil {
			return err
		}
	}
	return nil
}

// joined ends the place that gathers.
func (p *jsonParser) joined() error {
	for i := range p.parts {
		if err := p.together(&p.parts[i]); err != nil {
			return err
		}
	}
	p.parts, p.joining = p.parts[:0], 0
	return nil
}

// head and tail are a text's ends, cut between characters.
func head(s string) string {
	n := min(len(s), overlap)
	for n < len(s) && n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func tail(s string) string {
	n := max(0, len(s)-overlap)
	for n < len(s) && !utf8.RuneStart(s[n]) {
		n++
	}
	return s[n:]
}
