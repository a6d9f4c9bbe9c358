// Package framing watches the bytes of an HTTP/1 connection for requests that
// two servers could frame differently, which is what request smuggling needs.
//
// net/http is lenient where RFC 9112 lets it be: it drops a Content-Length
// beside Transfer-Encoding, joins folded lines, and takes a bare LF for a line
// end. Behind it nobody can tell any more. A Watcher reads the same bytes
// beside net/http and accepts only what has one reading.
package framing

import (
	"bytes"
	"errors"
	"fmt"
)

// Violation is what a client sent that has no single reading.
type Violation struct {
	Kind Kind
	What string // for logs; holds nothing the client wrote
}

// Kind groups violations.
type Kind uint8

const (
	Malformed   Kind = iota // not HTTP/1, or bad chunk framing
	Smuggling               // two readings: lengths, folded lines, bare line ends
	HeaderFlood             // more fields than allowed
	Oversize                // a head or line larger than allowed
)

func (v *Violation) Error() string { return "read request: " + v.What }

// ErrEnded is returned for bytes after a violation.
var ErrEnded = errors.New("read request: the connection has ended")

// Limits bound one request's head and its trailer. Zero fields take the default.
type Limits struct {
	Line   int // bytes of one line: 16 KiB
	Head   int // bytes of the whole head, chunk lines and trailer: 64 KiB
	Fields int // 100
}

// Phase is where in a request the next byte belongs.
type Phase uint8

const (
	Idle   Phase = iota // between requests
	Head                // in a request line or header section
	Body                // in content, chunk framing or trailer
	Opaque              // not HTTP/1 any more
	Ended               // after a violation
)

// Watcher follows one connection. It is not safe for concurrent use.
type Watcher struct {
	limits Limits
	state  state
	line   []byte // an unfinished line; nil mostly
	left   uint64 // content bytes to skip
	used   int    // bytes of this head, or of chunk lines in a row
	fields int

	old          bool // HTTP/1.0
	length       bool // Content-Length seen
	chunked      bool
	host         bool
	upgrade      bool
	contentBytes uint64
}

type state uint8

const (
	start    state = iota // before a request line; one empty line may precede it
	again                 // after that empty line
	header                // header lines
	content               // left bytes of content
	size                  // a chunk-size line
	chunk                 // left bytes of a chunk
	chunkEnd              // the CRLF after a chunk
	trailer               // trailer lines
	opaque
	ended
)

// New returns a Watcher at the beginning of a connection.
func New(l Limits) *Watcher {
	if l.Line == 0 {
		l.Line = 16 << 10
	}
	if l.Head == 0 {
		l.Head = 64 << 10
	}
	if l.Fields == 0 {
		l.Fields = 100
	}
	return &Watcher{limits: l}
}

// Phase is where the next byte belongs.
func (w *Watcher) Phase() Phase {
	switch w.state {
	case start, again:
		if len(w.line) > 0 {
			return Head
		}
		return Idle
	case header:
		return Head
	case opaque:
		return Opaque
	case ended:
		return Ended
	}
	return Body
}

// Upgrading says whether the last head asked to leave HTTP/1 (Upgrade).
func (w *Watcher) Upgrading() bool { return w.upgrade }

// Decline notes that the server answers in HTTP/1: what looks like an agreement
// later on is content.
func (w *Watcher) Decline() { w.upgrade = false }

// Release stops watching: the server has agreed to another protocol.
func (w *Watcher) Release() { w.state, w.line = opaque, nil }

// Feed takes the next bytes as they arrived. The error is a *Violation, once,
// and ErrEnded from then on. It keeps no reference to p.
func (w *Watcher) Feed(p []byte) error {
	for len(p) > 0 {
		switch w.state {
		case opaque:
			return nil
		case ended:
			return ErrEnded
		case content, chunk:
			n := min(uint64(len(p)), w.left)
			w.left -= n
			p = p[n:]
			if w.left == 0 {
				if w.state == chunk {
					w.state = chunkEnd
				} else {
					w.next()
				}
			}
			continue
		}
		end := bytes.IndexByte(p, '\n')
		line := p
		if end >= 0 {
			line, p = p[:end+1], p[end+1:]
		} else {
			p = nil
		}
		if w.used += len(line); w.used > w.limits.Head {
			return w.end(Oversize, "the head is too large")
		}
		if len(w.line)+len(line) > w.limits.Line {
			return w.end(Oversize, "a line is too long")
		}
		if end < 0 || len(w.line) > 0 {
			w.line = append(w.line, line...)
			line = w.line
		}
		if end < 0 {
			// What cannot become a request is refused now, not at its line end.
			if w.state == start && !plausible(line) {
				return w.end(Malformed, "this is not HTTP/1")
			}
			return nil
		}
		if v := w.take(line); v != nil {
			w.state, w.line = ended, nil
			return v
		}
		w.line = w.line[:0]
		if cap(w.line) > 4<<10 {
			w.line = nil
		}
	}
	return nil
}

func (w *Watcher) end(k Kind, format string, args ...any) error {
	w.state, w.line = ended, nil
	return violation(k, format, args...)
}

func violation(k Kind, format string, args ...any) *Violation {
	return &Violation{Kind: k, What: fmt.Sprintf(format, args...)}
}

// next begins a new request.
func (w *Watcher) next() {
	*w = Watcher{limits: w.limits, line: w.line[:0], upgrade: w.upgrade}
}

// take reads one line with its LF.
func (w *Watcher) take(line []byte) *Violation {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return violation(Smuggling, "a line ends in a bare LF")
	}
	line = line[:len(line)-2]
	for rest := line; ; {
		i := control(rest)
		if i < 0 {
			break
		}
		switch rest[i] {
		case '\t':
			rest = rest[i+1:]
			continue
		case '\r':
			return violation(Smuggling, "a bare CR stands in a line")
		}
		return violation(Malformed, "a control character stands in a line")
	}
	switch w.state {
	case start, again:
		if len(line) == 0 && w.state == start { // RFC 9112 section 2.2
			w.state = again
			return nil
		}
		return w.request(line)
	case header:
		if len(line) == 0 {
			return w.body()
		}
		return w.field(line, false)
	case size:
		return w.chunkSize(line)
	case chunkEnd:
		if len(line) != 0 {
			return violation(Malformed, "a chunk is longer than its size")
		}
		w.state = size
		return nil
	case trailer:
		if len(line) == 0 {
			w.next()
			return nil
		}
		return w.field(line, true)
	}
	return violation(Malformed, "unknown state")
}

// request reads method SP request-target SP HTTP-version (section 3).
func (w *Watcher) request(line []byte) *Violation {
	w.upgrade = false
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first <= 0 || last <= first+1 || bytes.IndexByte(line[first+1:last], ' ') >= 0 ||
		bytes.IndexByte(line, '\t') >= 0 || first > maxMethod || !isToken(line[:first]) {
		return violation(Malformed, "the request line is not method, target and version")
	}
	switch string(line[last+1:]) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		w.old = true
	default:
		return violation(Malformed, "the version is neither HTTP/1.1 nor HTTP/1.0")
	}
	w.state = header
	return nil
}

// field reads a header or trailer line (section 5).
func (w *Watcher) field(line []byte, trailing bool) *Violation {
	if w.fields++; w.fields > w.limits.Fields {
		return violation(HeaderFlood, "more than %d header fields", w.limits.Fields)
	}
	if line[0] == ' ' || line[0] == '\t' {
		return violation(Smuggling, "a header line is folded")
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !isToken(line[:colon]) {
		return violation(Smuggling, "a header field has no clean name")
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	switch {
	case equalFold(name, "content-length"):
		switch {
		case trailing || w.chunked:
			return violation(Smuggling, "Content-Length beside Transfer-Encoding or in a trailer")
		case w.length:
			return violation(Smuggling, "Content-Length is there twice")
		}
		n, ok := decimal(value)
		if !ok {
			return violation(Smuggling, "Content-Length is not one number")
		}
		w.length, w.contentBytes = true, n
	case equalFold(name, "transfer-encoding"):
		switch {
		case trailing || w.length:
			return violation(Smuggling, "Transfer-Encoding beside Content-Length or in a trailer")
		case w.chunked:
			return violation(Smuggling, "Transfer-Encoding is there twice")
		case w.old:
			return violation(Smuggling, "Transfer-Encoding in HTTP/1.0")
		case !equalFold(value, "chunked"):
			return violation(Smuggling, "Transfer-Encoding is not chunked")
		}
		w.chunked = true
	case equalFold(name, "host"):
		if w.host || trailing {
			return violation(Smuggling, "Host is there twice or in a trailer")
		}
		w.host = true
	case equalFold(name, "upgrade"):
		w.upgrade = true
	}
	return nil
}

// body decides what follows the head (section 6.3).
func (w *Watcher) body() *Violation {
	w.used, w.fields = 0, 0
	switch {
	case w.chunked:
		w.state = size
	case w.contentBytes > 0:
		w.state, w.left = content, w.contentBytes
	default:
		w.next()
	}
	return nil
}

// chunkSize reads chunk-size [ chunk-ext ] (section 7.1). w.used grows over
// chunk lines, so that a body of one-byte chunks with long extensions ends;
// content pays for its own lines.
func (w *Watcher) chunkSize(line []byte) *Violation {
	digits := 0
	var n uint64
	for digits < len(line) {
		d, ok := hexDigit(line[digits])
		if !ok {
			break
		}
		if digits++; digits > 15 {
			return violation(Malformed, "a chunk size is too large")
		}
		n = n<<4 | uint64(d)
	}
	if digits == 0 {
		return violation(Malformed, "a chunk has no size")
	}
	// Extensions have been a way to smuggle and nobody uses them; what follows
	// the size must at least look like one.
	if rest := bytes.TrimLeft(line[digits:], " \t"); len(rest) > 0 && (rest[0] != ';' || len(rest) > 256) {
		return violation(Malformed, "a chunk size is followed by something else")
	} else if len(rest) == 0 && len(line) != digits {
		return violation(Malformed, "a chunk size is followed by white space")
	}
	if n == 0 {
		w.state = trailer
		return nil
	}
	w.used = max(w.used-int(min(n, 1<<20))-digits-4, 0) // size CRLF and content CRLF are no overhead
	w.state, w.left = chunk, n
	return nil
}

// maxMethod is the longest method's length. It holds for a line that came whole
// as for one that comes in pieces: the answer must not depend on the reads.
const maxMethod = 32

// plausible says whether an unfinished first line may still become a request
// line.
func plausible(line []byte) bool {
	method, _, found := bytes.Cut(line, []byte{' '})
	if len(method) == 0 {
		return false
	}
	if !found && len(method) == 1 && method[0] == '\r' {
		return true
	}
	return len(method) <= maxMethod && isToken(method)
}
