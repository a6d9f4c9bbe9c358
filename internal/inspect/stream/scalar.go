package stream

import (
	"unicode/utf16"
	"unicode/utf8"
)

// numberState is where a number stands (RFC 8259, section 6).
type numberState uint8

const (
	numMinus numberState = iota
	numZero
	numInt
	numDot
	numFrac
	numE
	numSign
	numExp
)

// whole says whether a number may end here.
func (n numberState) whole() bool {
	return n == numZero || n == numInt || n == numFrac || n == numExp
}

func (p *jsonParser) escape(c byte, at int64) error {
	if p.high != 0 && c != 'u' {
		if err := p.lone(); err != nil {
			return err
		}
	}
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		p.state, p.hex, p.unit = inUnicode, 0, 0
		return nil
	default:
		return notJSON(at)
	}
	p.state = inString
	return p.keyLimit(p.w.escaped([]byte{c}, p.escRaw))
}

func (p *jsonParser) hexDigit(c byte, at int64) error {
	var d byte
	switch {
	case c >= '0' && c <= '9':
		d = c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		d = c | 0x20 - 'a' + 10
	default:
		return notJSON(at)
	}
	p.unit = p.unit<<4 | rune(d)
	if p.hex++; p.hex < 4 {
		return nil
	}
	p.state = inString
	if p.high != 0 {
		if r := utf16.DecodeRune(p.high, p.unit); r != utf8.RuneError {
			p.high = 0
			return p.rune(r)
		}
		if err := p.lone(); err != nil {
			return err
		}
	}
	if p.unit >= 0xD800 && p.unit < 0xDC00 {
		p.high = p.unit
		return nil
	}
	return p.rune(p.unit) // the second half alone becomes U+FFFD
}

// lone is a first surrogate that nothing followed: U+FFFD, as readers do.
func (p *jsonParser) lone() error {
	p.high = 0
	return p.rune(utf8.RuneError)
}

func (p *jsonParser) rune(r rune) error {
	var b [utf8.UTFMax]byte
	return p.keyLimit(p.w.escaped(b[:utf8.EncodeRune(b[:], r)], p.escRaw))
}

// digit takes c into a number, if it belongs there.
func (p *jsonParser) digit(c byte) bool {
	d := c >= '0' && c <= '9'
	switch p.number {
	case numMinus:
		switch {
		case c == '0':
			p.number = numZero
		case d:
			p.number = numInt
		default:
			return false
		}
		return true
	case numZero, numInt:
		switch {
		case d && p.number == numInt:
		case c == '.':
			p.number = numDot
		case c == 'e' || c == 'E':
			p.number = numE
		default:
			return false
		}
		return true
	case numDot:
		if d {
			p.number = numFrac
		}
	case numFrac:
		if c == 'e' || c == 'E' {
			p.number = numE
			return true
		}
		return d
	case numE:
		if c == '+' || c == '-' {
			p.number = numSign
			return true
		}
		if d {
			p.number = numExp
		}
	case numSign:
		if d {
			p.number = numExp
		}
	}
	return d
}
