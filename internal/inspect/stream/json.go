package stream

import (
	"bytes"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// state is what a document may go on with.
type state uint8

const (
	wantValue   state = iota
	wantElement       // a value, or the array's end
	wantKey
	wantMember // a key, or the object's end
	wantColon
	wantMore // a comma, or the end of what is open
	inString
	inEscape
	inUnicode
	inNumber
	inLiteral
	finished
)

// frame is an open object or array.
type frame struct {
	object       bool
	index        int     // of the element being read
	path         int     // length of the path above it
	keys         int     // length of the list of key hashes above it
	serial       uint64  // sets its keys apart from other objects'
	alive, cover Cover   // of the container
	speaks       speaker // of the message that it is, or is in
	first        speaker // the same of the outermost such message
}

// speaker is who speaks in a message, and which that is; 0: none.
type speaker struct {
	role    role
	message uint64
}

// jsonParser reads one document of RFC 8259 as its bytes arrive.
type jsonParser struct {
	limits   Limits
	patterns Patterns
	visit    Visit

	state  state
	number numberState
	lit    string // what is left of a literal
	isKey  bool
	hex    int  // digits of \u read
	unit   rune // and their value
	high   rune // a first surrogate waiting for the second
	escRaw int64

	open    []frame
	path    []byte              // of the value being read, as a JSON pointer
	hashes  []uint64            // of the keys of all open objects
	seen    map[uint64]struct{} // the same, to look up
	serial  uint64
	seed    maphash.Seed
	members int
	alive   Cover // of the value being read
	cover   Cover
	w       window
	place   func() string // p.where, bound once

	join joiner
}

func newJSON(limits Limits, patterns Patterns, visit Visit) *jsonParser {
	p := jsonParsers.Get().(*jsonParser)
	p.limits, p.patterns, p.visit, p.seed = limits.withDefaults(), patterns, visit, maphash.MakeSeed()
	p.alive, p.cover = patterns.root()
	p.join = joiner{of: patterns.joins, visit: visit}
	return p
}

// jsonParsers are ready but for what the document is read for: their memory is
// most of what a short body's reading costs.
var jsonParsers = sync.Pool{New: func() any {
	p := &jsonParser{seen: map[uint64]struct{}{}}
	p.w.show, p.place = p.show, p.where
	return p
}}

// What a parser may keep of one document for the next.
const (
	keepKeys   = 64
	keepText   = 8 << 10
	keepFrames = 64
)

// release gives the parser back. Whoever calls it has no other use for it.
func (p *jsonParser) release() {
	if cap(p.hashes) > keepKeys || cap(p.w.buf) > keepText || cap(p.path) > keepText || cap(p.open) > keepFrames {
		return
	}
	clear(p.seen)
	clear(p.w.buf[:cap(p.w.buf)]) // the next document is somebody else's
	*p = jsonParser{
		open: p.open[:0], path: p.path[:0], hashes: p.hashes[:0], seen: p.seen, place: p.place,
		w: window{buf: p.w.buf[:0], show: p.w.show},
	}
	jsonParsers.Put(p)
}

func (p *jsonParser) where() string { return string(p.path) }

func (p *jsonParser) show(text string, at int) error {
	if !utf8.ValidString(text) {
		return invalid("the document is not UTF-8")
	}
	if p.isKey {
		return nil // shown once it is whole
	}
	cover := p.patterns.text(p.alive, p.cover)
	if err := p.visit(Piece{Text: text, Cover: cover, At: at, where: p.place}); err != nil || p.join.of == 0 {
		return err
	}
	return p.gather(text, at, cover&p.join.of)
}

// gather hands a string on to its thread. Who speaks is known if it was said
// before. What stands in an object with a role is one message, or in what a
// pattern covers. Roles inside a message, which few readers look at, do not keep
// its parts apart.
func (p *jsonParser) gather(text string, at int, cover Cover) error {
	var in, first speaker
	if n := len(p.open); n > 0 {
		f := &p.open[n-1]
		if f.object && len(p.path)-f.path == len("/role") && bytes.EqualFold(p.path[f.path:], []byte("/role")) {
			if r, known := roleOf(text); known {
				f.speaks = speaker{r, f.serial}
				if f.first.message == 0 {
					f.first = f.speaks
				}
				return nil
			}
		}
		in, first = f.speaks, f.first
	}
	if cover == 0 {
		return nil
	}
	place, plain := placeOf(p.path, cover&^p.patterns.all != 0)
	key, of := threadKey{cover, place, plain, in.role}, in.message
	if of != 0 && first.message != 0 {
		if of = first.message; first.role != in.role {
			if err := p.join.add(key, of, cover, text, at, p.path); err != nil {
				return err
			}
			key.role = first.role
		}
	}
	return p.join.add(key, of, cover, text, at, p.path)
}

func invalid(what string) error { return fault.New(fault.Invalid, "%s", what) }

func (p *jsonParser) safe(raw int64) int64 {
	switch p.state {
	case inString, inEscape, inUnicode:
		return p.w.from
	}
	return raw
}

func (p *jsonParser) close() error {
	if p.state == inNumber && len(p.open) == 0 && p.number.whole() {
		p.state = finished
	}
	if p.state == wantValue && len(p.open) == 0 {
		return ErrEmpty
	}
	if p.state != finished {
		return invalid("the document is not JSON: it ends too early")
	}
	return nil
}

func notJSON(raw int64) error {
	return fault.New(fault.Invalid, "the document is not JSON at byte %d", raw)
}

// plain are the bytes of a string that stand for themselves.
var plain = func() (t [256]bool) {
	for c := ' '; c < 256; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func (p *jsonParser) write(b []byte, raw int64) error {
	for i := 0; i < len(b); {
		c := b[i]
		at := raw + int64(i)
		switch p.state {
		case inString:
			if p.high != 0 && c != '\\' {
				if err := p.lone(); err != nil {
					return err
				}
			}
			j := i
			for j < len(b) && plain[b[j]] {
				j++
			}
			if j > i {
				if err := p.text(b[i:j], at); err != nil {
					return err
				}
				i = j
				continue
			}
			switch c {
			case '"':
				if err := p.stringEnd(); err != nil {
					return err
				}
			case '\\':
				p.state, p.escRaw = inEscape, at
			default:
				return notJSON(at)
			}
		case inEscape:
			if err := p.escape(c, at); err != nil {
				return err
			}
		case inUnicode:
			if err := p.hexDigit(c, at); err != nil {
				return err
			}
		case inNumber:
			if p.digit(c) {
				break
			}
			if !p.number.whole() {
				return notJSON(at)
			}
			p.ended()
			continue // c again
		case inLiteral:
			if c != p.lit[0] {
				return notJSON(at)
			}
			if p.lit = p.lit[1:]; p.lit == "" {
				p.ended()
			}
		default:
			if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
				break
			}
			if err := p.structure(c, at); err != nil {
				return err
			}
		}
		i++
	}
	return nil
}

// ended: a value is over.
func (p *jsonParser) ended() {
	if p.state = wantMore; len(p.open) == 0 {
		p.state = finished
	}
}

func (p *jsonParser) structure(c byte, at int64) error {
	switch p.state {
	case finished:
		return invalid("the document goes on after its end")
	case wantColon:
		if c != ':' {
			return notJSON(at)
		}
		p.state = wantValue
		return nil
	case wantMore:
		return p.more(c, at)
	case wantMember, wantKey:
		if c == '}' && p.state == wantMember {
			return p.pop()
		}
		if c != '"' {
			return notJSON(at)
		}
		p.isKey, p.state = true, inString
		p.w.reset(at)
		p.w.limit = windowSize
		if l := p.limits.String; l > 0 {
			p.w.limit = min(l, windowSize)
		}
		return nil
	case wantElement:
		if c == ']' {
			return p.pop()
		}
		if err := p.element(); err != nil {
			return err
		}
	}
	return p.value(c, at)
}

func (p *jsonParser) value(c byte, at int64) error {
	switch {
	case c == '"':
		p.isKey, p.state = false, inString
		p.w.reset(at)
		p.w.limit = p.limits.String
	case c == '{', c == '[':
		if len(p.open) >= p.limits.Depth {
			return fault.New(fault.TooLarge, "the document is nested deeper than %d", p.limits.Depth)
		}
		p.serial++
		f := frame{object: c == '{', index: -1, path: len(p.path), keys: len(p.hashes), serial: p.serial * 0x9E3779B97F4A7C15, alive: p.alive, cover: p.cover}
		if n := len(p.open); n > 0 {
			above := &p.open[n-1]
			f.speaks, f.first = above.speaks, above.first
			if f.first.message == 0 && above.object && oneMessage(p.path[above.path+1:]) {
				f.first = speaker{f.speaks.role, f.serial}
			}
		}
		if f.speaks.message == 0 && p.cover&p.join.of&^p.patterns.all != 0 { // all of what the route takes for one
			f.speaks.message = f.serial
		}
		p.open = append(p.open, f)
		p.state = wantElement
		if c == '{' {
			p.state = wantMember
		}
	case c == '-':
		p.state, p.number = inNumber, numMinus
	case c == '0':
		p.state, p.number = inNumber, numZero
	case c >= '1' && c <= '9':
		p.state, p.number = inNumber, numInt
	case c == 't':
		p.state, p.lit = inLiteral, "rue"
	case c == 'f':
		p.state, p.lit = inLiteral, "alse"
	case c == 'n':
		p.state, p.lit = inLiteral, "ull"
	default:
		return notJSON(at)
	}
	return nil
}

// more reads what follows a value inside an object or array.
func (p *jsonParser) more(c byte, at int64) error {
	f := &p.open[len(p.open)-1]
	switch {
	case c == ',' && f.object:
		p.state = wantKey
	case c == ',':
		p.state = wantValue
		return p.element()
	case c == '}' && f.object, c == ']' && !f.object:
		return p.pop()
	default:
		return notJSON(at)
	}
	return nil
}

func (p *jsonParser) pop() error {
	if len(p.open) == 1 { // before the last byte goes on
		if err := p.join.end(); err != nil {
			return err
		}
	}
	f := p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	for _, h := range p.hashes[f.keys:] {
		delete(p.seen, h)
	}
	p.path, p.hashes = p.path[:f.path], p.hashes[:f.keys]
	p.alive, p.cover = f.alive, f.cover
	p.ended()
	return nil
}

func (p *jsonParser) count() error {
	if p.members++; p.limits.Members > 0 && p.members > p.limits.Members {
		return fault.New(fault.TooLarge, "the document has more than %d members", p.limits.Members)
	}
	return nil
}

// element begins the next element of the innermost array.
func (p *jsonParser) element() error {
	if err := p.count(); err != nil {
		return err
	}
	f := &p.open[len(p.open)-1]
	f.index++
	p.path = strconv.AppendInt(append(p.path[:f.path], '/'), int64(f.index), 10)
	p.alive, p.cover = p.patterns.step(f.alive, f.cover, len(p.open)-1, "", true)
	return nil
}

// pathMax bounds the pointer that is kept for the record.
const pathMax = 4 << 10

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// member begins the member key of the innermost object.
func (p *jsonParser) member(key string) error {
	if err := p.count(); err != nil {
		return err
	}
	f := &p.open[len(p.open)-1]
	// 64 bits under a seed nobody knows: two keys do not meet by chance or design.
	h := maphash.String(p.seed, key) ^ f.serial
	if _, twice := p.seen[h]; twice {
		return invalid("the document has a key twice in one object")
	}
	if len(p.hashes) >= p.limits.Keys {
		return fault.New(fault.TooLarge, "the document has more than %d keys", p.limits.Keys)
	}
	p.hashes = append(p.hashes, h)
	p.seen[h] = struct{}{}
	p.path = append(p.path[:f.path], '/')
	if len(p.path)+len(key) <= pathMax {
		p.path = append(p.path, pointerEscaper.Replace(key)...)
	}
	p.alive, p.cover = p.patterns.step(f.alive, f.cover, len(p.open)-1, key, false)
	return p.visit(Piece{Text: key, Key: true, Cover: p.cover, where: p.place})
}

func (p *jsonParser) text(b []byte, at int64) error {
	return p.keyLimit(p.w.add(b, at))
}

func (p *jsonParser) keyLimit(err error) error {
	if err != nil && p.isKey && fault.CodeOf(err) == fault.TooLarge {
		return fault.New(fault.TooLarge, "a key is longer than %d bytes", p.w.limit)
	}
	return err
}

func (p *jsonParser) stringEnd() error {
	if !p.isKey {
		if err := p.w.end(); err != nil {
			return err
		}
		p.ended()
		return nil
	}
	key := string(p.w.buf)
	if !utf8.ValidString(key) {
		return invalid("the document is not UTF-8")
	}
	p.state = wantColon
	return p.member(key)
}
