package verify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// Canonical reports whether b is exactly one value in the JSON Canonicalization
// Scheme (RFC 8785) as records use it: numbers are integers that fit a double
// exactly, member names are ASCII without escapes, so that bytes sort them. Two
// different byte strings that pass never mean the same value.
func Canonical(b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(p.(*Wrong).Why) // anything else goes on panicking
		}
	}()
	new(scanner).scan(b)
	return nil
}

// scanner walks one value and keeps the outermost members (or elements, which
// have no name) as parts of the input.
type scanner struct {
	b       []byte
	i       int
	members []member
	odd     bool // the last string has an escape or bytes beyond ASCII
}

type member struct{ name, value []byte } // name without quotes, still escaped

func (s *scanner) scan(b []byte) {
	s.b, s.i, s.members = b, 0, s.members[:0]
	s.value(0)
	require(s.i == len(b) && utf8.Valid(b), "canonical", "not one value in UTF-8")
}

func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *scanner) take(c byte) bool {
	ok := s.at(c)
	if ok {
		s.i++
	}
	return ok
}

func (s *scanner) value(depth int) {
	require(s.i < len(s.b) && depth <= 32, "canonical", "no value, or nested too deep") // records need 4
	switch c := s.b[s.i]; {
	case c == '"':
		s.str()
	case c == '{' || c == '[':
		s.container(depth, c+2) // '}' is '{'+2, ']' is '['+2
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	default:
		word := s.b[s.i:min(s.i+4, len(s.b))]
		if c == 'f' {
			word = s.b[s.i:min(s.i+5, len(s.b))]
		}
		require(string(word) == "true" || string(word) == "false" || string(word) == "null", "canonical", "unknown word")
		s.i += len(word)
	}
}

func (s *scanner) container(depth int, closer byte) {
	if s.i++; s.take(closer) {
		return
	}
	for name := []byte(nil); ; {
		if closer == '}' {
			start, prev := s.i+1, name
			s.str()
			name = s.b[start : s.i-1]
			require(!s.odd && (prev == nil || bytes.Compare(prev, name) < 0), "canonical", "a member is unsorted, a duplicate or not plain")
			require(s.take(':'), "canonical", "no colon")
		}
		start := s.i
		if s.value(depth + 1); depth == 0 {
			s.members = append(s.members, member{name, s.b[start:s.i]})
		}
		if s.take(closer) {
			return
		}
		require(s.take(','), "canonical", "no comma or end")
	}
}

func (s *scanner) str() {
	require(s.take('"'), "canonical", "no string")
	s.odd = false
	const ones = 0x0101010101010101
	for i := s.i; i < len(s.b); i++ {
		for i+8 < len(s.b) { // to the first byte that is not plain, eight at a time
			x := binary.LittleEndian.Uint64(s.b[i:])
			x = (x | (x - ones*' ') | ((x ^ ones*'"') - ones) | ((x ^ ones*'\\') - ones)) & (ones << 7)
			if i += bits.TrailingZeros64(x) / 8; x != 0 {
				break
			}
		}
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return
		case c == '\\':
			n := escape(s.b[i+1:])
			require(n > 0, "canonical", "an escape that is not the one way")
			i += n
			s.odd = true
		case c >= 0x80:
			s.odd = true
		default:
			require(c >= ' ', "canonical", "a bare control character")
		}
	}
	require(false, "canonical", "a string without end")
}

// escape gives the length of the one escape RFC 8785 section 3.2.2.2 allows for a
// character, the backslash not counted, or 0.
func escape(b []byte) int {
	if len(b) > 0 && bytes.IndexByte([]byte(`"\bfnrt`), b[0]) >= 0 {
		return 1
	}
	if len(b) > 4 && (string(b[:4]) == "u001" || string(b[:4]) == "u000" && bytes.IndexByte([]byte("89acd"), b[4]) < 0) &&
		bytes.IndexByte([]byte("0123456789abcdef"), b[4]) >= 0 {
		return 5
	}
	return 0
}

func (s *scanner) number() {
	start := s.i
	for s.i++; s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9'; s.i++ {
	}
	raw := s.b[start:s.i]
	n, err := strconv.ParseInt(string(raw), 10, 64)
	require(err == nil && max(n, -n) < 1<<53 && (len(raw) == 1 || bytes.TrimPrefix(raw, []byte("-"))[0] != '0'),
		"canonical", "not an exact integer in its only form")
}
