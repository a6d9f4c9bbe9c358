package http1

import (
	"errors"
	"strconv"
	"strings"
)

// Field is one header or trailer field line.
type Field struct {
	Name  string // in canonical form (Content-Type)
	Value string // without surrounding white space
}

// ErrRequest means that a request could not be written as HTTP/1.1.
var ErrRequest = errors.New("http1: the request holds bytes that HTTP/1.1 cannot carry")

// Head builds a request's head in a buffer that is used again and again. Bytes
// that could start another line or another request spoil it; Err then refuses.
type Head struct {
	Buf []byte
	bad bool
}

// Start begins with the request line and Host. target is in origin form
// (RFC 9112 section 3.2.1).
func (h *Head) Start(method, target, host string) {
	h.Buf, h.bad = h.Buf[:0], false
	if !IsToken(method) || target == "" || target[0] != '/' || host == "" {
		h.bad = true
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f {
			h.bad = true
		}
	}
	h.Buf = append(h.Buf, method...)
	h.Buf = append(h.Buf, ' ')
	h.Buf = append(h.Buf, target...)
	h.Buf = append(h.Buf, " HTTP/1.1\r\n"...)
	h.Field("Host", host)
}

// Field appends one field line. A value may hold whatever cannot end its line:
// net/http has judged the rest, and this is a kilobyte on each request.
func (h *Head) Field(name, value string) {
	if !IsToken(name) || strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 || strings.IndexByte(value, 0) >= 0 {
		h.bad = true
		return
	}
	h.Buf = append(h.Buf, name...)
	h.Buf = append(h.Buf, ": "...)
	h.Buf = append(h.Buf, value...)
	h.Buf = append(h.Buf, '\r', '\n')
}

// Length appends Content-Length for n >= 0 and chunked coding for less.
func (h *Head) Length(n int64) {
	if n < 0 {
		h.Buf = append(h.Buf, "Transfer-Encoding: chunked\r\n"...)
		return
	}
	h.Buf = append(h.Buf, "Content-Length: "...)
	h.Buf = strconv.AppendInt(h.Buf, n, 10)
	h.Buf = append(h.Buf, '\r', '\n')
}

// End closes the head.
func (h *Head) End() error {
	h.Buf = append(h.Buf, '\r', '\n')
	if h.bad {
		return ErrRequest
	}
	return nil
}

const (
	isTchar = 1 << iota // RFC 9110 section 5.6.2
	isValue             // field-content, SP and HTAB: RFC 9110 section 5.5
)

var class = func() (t [256]byte) {
	for c := range 256 {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			t[c] |= isTchar
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= isValue
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= isTchar
	}
	return t
}()

// IsToken reports whether s is a token (RFC 9110 section 5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		if class[s[i]]&isTchar == 0 {
			return false
		}
	}
	return s != ""
}

func validValue(s string) bool {
	for i := range len(s) {
		if class[s[i]]&isValue == 0 {
			return false
		}
	}
	return true
}
