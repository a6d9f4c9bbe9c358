// Package stream reads the body of a request for inspection while it passes:
// bytes go in as they arrive, strings come out decoded, and the frontier says
// how many bytes stand behind what was inspected and may be handed on.
//
// A string up to windowSize is inspected whole; a longer one by windows that
// overlap, cut at places that depend on the string alone and never on how the
// network cut the body. Memory is bounded by Limits and one window, whatever
// the body's length.
//
// Every parser is stricter than the readers behind it may be: what two readers
// could understand in two ways (a key twice in one object, a multipart preamble,
// text that is no UTF-8) is refused.
package stream

import (
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Limits bound what a body may hold. A zero field means its default, for Members
// that there is none.
type Limits struct {
	Depth   int // of nested objects and arrays; default 64
	Keys    int // of all objects open at once, or fields of a form; default 10,000
	Members int // keys and elements of the whole document
	String  int // bytes of one decoded string; default none, a key has at most windowSize
}

func (l Limits) withDefaults() Limits {
	if l.Depth <= 0 {
		l.Depth = 64
	}
	if l.Keys <= 0 {
		l.Keys = 10_000
	}
	return l
}

// A Piece is a decoded string, or one window of a long one.
type Piece struct {
	Text  string
	Key   bool  // the name of a member or field, or of a file
	Cover Cover // the patterns that this place, or one above it, matches
	At    int   // of Text in the whole string, in bytes
	// Seams is set where Text is several strings run together, each of which was a
	// piece before: a reader may take them for one text. One string ends before and
	// the next begins at or after each seam. Apart says that they are of several
	// messages; seams between parts of one are not listed then. Tool says that by
	// their role a tool said them.
	Seams       []int
	Apart, Tool bool

	where func() string
}

// Where is the place: a JSON pointer (RFC 6901), a form field's name, "" for a
// text. It is good until the visitor returns.
func (p Piece) Where() string {
	if p.where == nil {
		return ""
	}
	return p.where()
}

// Visit judges a piece. Its error ends the body and comes back to the reader.
type Visit func(Piece) error

// parser takes a body apart. raw counts the bytes of the body.
type parser interface {
	// write takes the bytes [raw, raw+len(p)).
	write(p []byte, raw int64) error
	// close says that the body is over.
	close() error
	// safe is how many bytes may go on when those before raw have been written.
	safe(raw int64) int64
}

// Windows of a long string. Between two windows' beginnings lie stride bytes, so
// what fits into the overlap is seen whole by one of them.
const (
	windowSize = 64 << 10
	overlap    = 8 << 10
	stride     = windowSize - overlap
)

// window gathers one string.
type window struct {
	buf   []byte
	fresh bool  // buf holds bytes no window has shown
	at    int   // of buf in the string
	mark  int   // where the next window begins in buf, 0 while unknown
	from  int64 // the raw place of the string's beginning, then of the mark
	next  int64 // the raw place of the mark
	limit int
	show  func(text string, at int) error
}

func (w *window) reset(raw int64) {
	w.buf, w.fresh, w.at, w.mark, w.from = w.buf[:0], false, 0, 0, raw
}

// begins says whether a character may begin with c.
func begins(c byte) bool { return c&0xC0 != 0x80 }

// add appends bytes that stand for themselves, the first at raw.
func (w *window) add(p []byte, raw int64) error {
	for len(p) > 0 {
		if err := w.turn(p[0], raw); err != nil {
			return err
		}
		until := windowSize
		if w.mark == 0 {
			until = stride
		}
		n := min(len(p), max(1, until-len(w.buf)))
		w.buf = append(w.buf, p[:n]...)
		w.fresh = true
		p, raw = p[n:], raw+int64(n)
	}
	if w.limit > 0 && w.at+len(w.buf) > w.limit {
		return fault.New(fault.TooLarge, "a string is longer than %d bytes", w.limit)
	}
	return nil
}

// escaped appends a decoded character whose source begins at raw.
func (w *window) escaped(p []byte, raw int64) error {
	if len(p) == 0 {
		return nil
	}
	if err := w.turn(p[0], raw); err != nil {
		return err
	}
	w.buf = append(w.buf, p...)
	w.fresh = true
	if w.limit > 0 && w.at+len(w.buf) > w.limit {
		return fault.New(fault.TooLarge, "a string is longer than %d bytes", w.limit)
	}
	return nil
}

// turn notes the next window's beginning and shows a full one. It cuts between
// characters; what is no UTF-8 it cuts anywhere.
func (w *window) turn(c byte, raw int64) error {
	n := len(w.buf)
	if w.mark == 0 && n >= stride && (begins(c) || n >= stride+3) {
		w.mark, w.next = n, raw
	}
	if n < windowSize || !begins(c) && n < windowSize+3 {
		return nil
	}
	if err := w.show(string(w.buf), w.at); err != nil {
		return err
	}
	w.at += w.mark
	w.buf = w.buf[:copy(w.buf, w.buf[w.mark:])]
	w.from, w.mark, w.fresh = w.next, 0, false
	return nil
}

// end shows what is left of the string.
func (w *window) end() error {
	if !w.fresh {
		return nil
	}
	w.fresh = false
	return w.show(string(w.buf), w.at)
}
