package stream

import (
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// formParser reads application/x-www-form-urlencoded (WHATWG URL, section 5.1).
type formParser struct {
	limits   Limits
	patterns Patterns
	visit    Visit

	name   string
	value  bool // reading a value
	fields int
	cover  Cover
	w      window
	esc    [2]byte // what of a %XX has been read
	nesc   int     // and how much: 0 none, 1 the sign, 2 a digit as well
	escRaw int64
	raw    int64
	join   joiner
	last   int64 // the raw place of what closed the last field
}

func newForm(limits Limits, patterns Patterns, visit Visit) *formParser {
	p := &formParser{limits: limits.withDefaults(), patterns: patterns, visit: visit, join: joiner{of: patterns.joins, visit: visit}}
	p.w.show = p.show
	p.begin(0)
	return p
}

func (p *formParser) where() string { return p.name }

// safe keeps the end of the last field back while its end may be refused for
// what several fields say.
func (p *formParser) safe(int64) int64 {
	if p.join.pending() {
		return min(p.last, p.w.from)
	}
	return p.w.from
}

// begin readies for a name at raw.
func (p *formParser) begin(raw int64) {
	p.value, p.name = false, ""
	p.w.reset(raw)
	p.w.limit = windowSize
	if l := p.limits.String; l > 0 {
		p.w.limit = min(l, windowSize)
	}
}

func (p *formParser) show(text string, at int) error {
	if !utf8.ValidString(text) {
		return invalid("the form is not UTF-8")
	}
	if !p.value {
		return nil // shown once it is whole
	}
	if err := p.visit(Piece{Text: text, Cover: p.cover, At: at, where: p.where}); err != nil {
		return err
	}
	return p.join.field(p.name, p.cover, text, at)
}

func (p *formParser) write(b []byte, raw int64) error {
	for i := 0; i < len(b); {
		c, at := b[i], raw+int64(i)
		if p.nesc > 0 {
			if err := p.digit(c); err != nil {
				return err
			}
			i++
			continue
		}
		j := i
		for j < len(b) && b[j] != '%' && b[j] != '+' && b[j] != '&' && b[j] != '=' {
			j++
		}
		if j > i {
			if err := p.w.add(b[i:j], at); err != nil {
				return err
			}
			i = j
			continue
		}
		var err error
		switch {
		case c == '%':
			p.nesc, p.escRaw = 1, at
		case c == '+':
			err = p.w.escaped([]byte{' '}, at)
		case c == '&':
			p.last = at
			err = p.end(at + 1)
		case p.value: // a further "=" is the value's
			err = p.w.add(b[i:i+1], at)
		default:
			err = p.named(at + 1)
		}
		if err != nil {
			return err
		}
		i++
	}
	p.raw = raw + int64(len(b))
	return nil
}

func (p *formParser) digit(c byte) error {
	if c-'0' >= 10 && c|0x20-'a' >= 6 {
		return invalid("a percent sign is not followed by two hexadecimal digits")
	}
	p.esc[p.nesc-1] = c
	if p.nesc++; p.nesc < 3 {
		return nil
	}
	p.nesc = 0
	return p.w.escaped([]byte{unhex(p.esc[0])<<4 | unhex(p.esc[1])}, p.escRaw)
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// named: the name is over.
func (p *formParser) named(raw int64) error {
	p.name = string(p.w.buf)
	if !utf8.ValidString(p.name) {
		return invalid("the form is not UTF-8")
	}
	if p.fields++; p.fields > p.limits.Keys {
		return fault.New(fault.TooLarge, "the form has more than %d fields", p.limits.Keys)
	}
	p.cover = p.patterns.field(p.name)
	if p.name != "" {
		if err := p.visit(Piece{Text: p.name, Key: true, Cover: p.cover, where: p.where}); err != nil {
			return err
		}
	}
	p.value = true
	p.w.reset(raw)
	p.w.limit = p.limits.String
	return nil
}

// end: the field is over.
func (p *formParser) end(raw int64) error {
	if !p.value {
		if len(p.w.buf) > 0 { // a name alone
			if err := p.named(raw); err != nil {
				return err
			}
		}
	} else if err := p.w.end(); err != nil {
		return err
	}
	p.begin(raw)
	return nil
}

func (p *formParser) close() error {
	if p.nesc > 0 {
		return invalid("a percent sign is not followed by two hexadecimal digits")
	}
	if err := p.end(p.raw); err != nil {
		return err
	}
	return p.join.end()
}
