package http1

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
)

// Bounds of what an upstream may send in a head, a trailer section or a line.
const (
	MaxHead     = 64 << 10
	maxFields   = 256
	maxTrailers = 8 << 10
	maxChunkExt = 512     // a chunk's size line
	maxExts     = 4 << 10 // chunk extensions of one body, which carry nothing
	MaxInterim  = 8       // 1xx before the final response
)

// ErrProtocol means that the upstream did not answer in HTTP/1.1.
var ErrProtocol = errors.New("http1: the upstream broke the protocol")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// framing is how a response's end is found (RFC 9112 section 6.3).
type framing uint8

const (
	noBody framing = iota
	sized
	chunked
	untilClose
)

// head is a parsed response head.
type head struct {
	status  int
	fields  []Field
	framing framing
	length  int64 // of the body when sized; as announced, or -1, when there is no body
	keep    bool  // the connection may be used again
}

// headEnd finds the end of a head in b, looking only at what was not looked at
// before; -1 means that more is needed. An LF without a CR never ends a head.
func headEnd(b []byte, seen int) int {
	from := max(seen-3, 0)
	if i := bytes.Index(b[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 4
	}
	return -1
}

// parse reads a whole response head, the last empty line included. method is
// the request's. fields are reused.
func (h *head) parse(raw []byte, method string) error {
	text := string(raw) // one allocation; every value is a slice of it
	*h = head{fields: h.fields[:0], length: -1}
	line, rest, err := cutLine(text)
	if err != nil {
		return err
	}
	// "HTTP/1.1 200 OK"; the reason, and by long custom the space before an
	// empty one, may be missing.
	if len(line) < 12 || line[:7] != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' || !validValue(line) {
		return broken("bad status line")
	}
	for _, c := range []byte(line[9:12]) {
		if c < '0' || c > '9' {
			return broken("bad status code")
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || h.status > 599 {
		return broken("status %d", h.status)
	}
	if h.fields, err = parseFields(h.fields, rest); err != nil {
		return err
	}
	return h.frame(method, line[7] == '1')
}

// frame decides where the response ends.
func (h *head) frame(method string, v11 bool) error {
	var te bool
	cl := int64(-1)
	h.keep = v11
	for i := range h.fields {
		switch f := &h.fields[i]; f.Name {
		case "Content-Length":
			if cl >= 0 {
				return broken("Content-Length twice") // even when equal: nobody honest does it
			}
			var ok bool
			if cl, ok = parseLength(f.Value); !ok {
				return broken("bad Content-Length")
			}
		case "Transfer-Encoding":
			if te || !v11 || !strings.EqualFold(f.Value, "chunked") {
				return broken("Transfer-Encoding other than one chunked")
			}
			te = true
		case "Connection", "Proxy-Connection":
			if hasToken(f.Value, "close") {
				h.keep = false
			}
		}
	}
	if te && cl >= 0 {
		return broken("Transfer-Encoding beside Content-Length") // smuggling: RFC 9112 section 6.1
	}
	h.length = cl
	switch {
	case h.status < 200, h.status == 204:
		if te || cl > 0 {
			return broken("a body announced with status %d", h.status)
		}
		h.length = -1
	case h.status == 304, method == "HEAD":
	case te:
		h.framing = chunked
	case cl >= 0:
		if h.framing = sized; cl == 0 {
			h.framing = noBody
		}
	default:
		h.framing, h.keep = untilClose, false
	}
	return nil
}

// cutLine takes a line off s. It ends in CRLF and holds neither alone.
func cutLine(s string) (line, rest string, err error) {
	i := strings.IndexByte(s, '\n')
	if i < 1 || s[i-1] != '\r' {
		return "", "", broken("a line does not end in CRLF")
	}
	return s[:i-1], s[i+1:], nil
}

// parseFields reads field lines up to the empty one, which ends s.
func parseFields(fs []Field, s string) ([]Field, error) {
	for {
		line, rest, err := cutLine(s)
		if err != nil {
			return fs, err
		}
		if line == "" {
			if rest != "" {
				return fs, broken("bytes after the head")
			}
			return fs, nil
		}
		if len(fs) == maxFields {
			return fs, broken("more than %d fields", maxFields)
		}
		colon := strings.IndexByte(line, ':')
		if colon < 1 || !IsToken(line[:colon]) { // a folded line starts with white space, which is no token
			return fs, broken("bad field line")
		}
		value := strings.Trim(line[colon+1:], " \t")
		if !validValue(value) {
			return fs, broken("a field value holds control characters")
		}
		fs = append(fs, Field{Name: textproto.CanonicalMIMEHeaderKey(line[:colon]), Value: value})
		s = rest
	}
}

// parseLength reads 1*DIGIT; no sign, no list, no white space.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 { // 18 digits fit an int64
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

func hasToken(list, token string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}
