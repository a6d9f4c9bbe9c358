package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

// Trace is a W3C Trace Context, level 1 (traceparent, version 00).
type Trace struct {
	ID, Span string
	Sampled  bool
}

// String is the traceparent to hand on.
func (t Trace) String() string {
	if t.Sampled {
		return "00-" + t.ID + "-" + t.Span + "-01"
	}
	return "00-" + t.ID + "-" + t.Span + "-00"
}

// identify names a request: the caller's id and trace, or new ones.
func identify(h http.Header) (id string, t Trace) {
	var b [40]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	var text [2 * len(b)]byte
	hex.Encode(text[:], b[:])
	fresh := string(text[:])
	return requestID(h.Get("X-Request-Id"), fresh[:32]), readTrace(h.Get("Traceparent"), fresh[32:64], fresh[64:])
}

// readTrace joins the caller's trace, or begins one: a malformed traceparent
// is ignored (section 4.3), never an error.
func readTrace(header, fresh, span string) Trace {
	t := Trace{ID: fresh, Span: span}
	if header == "" {
		return t
	}
	p := strings.Split(header, "-")
	if len(p) >= 4 && len(p[0]) == 2 && p[0] != "ff" && (p[0] != "00" || len(p) == 4) &&
		isHex(p[0], 2) && isHex(p[1], 32) && isHex(p[2], 16) && isHex(p[3], 2) &&
		strings.Trim(p[1], "0") != "" && strings.Trim(p[2], "0") != "" {
		t.ID = p[1]
		t.Sampled = strings.IndexByte("13579bdf", p[3][1]) >= 0
	}
	return t
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// requestID keeps the caller's X-Request-Id when it is a plain word, so that
// logs on both sides meet; anything else is replaced.
func requestID(given, fresh string) string {
	if n := len(given); n == 0 || n > 64 {
		return fresh
	}
	for i := range len(given) {
		c := given[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return fresh
		}
	}
	return given
}
