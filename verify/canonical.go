package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// Canonical reports whether b is exactly one value in the JSON Canonicalization
// Scheme (RFC 8785) as records use it: numbers are integers that fit a double
// exactly, member names are ASCII without escapes, so that bytes sort them. Two
// different byte strings that pass never mean the same value.
func Canonical(b []byte) error { return new(scanner).scan(b) }

// scanner walks one value and keeps the outermost members (or elements, which
// have no name) as parts of the input. After the first fault every position is
// past the end, so that the walk runs out by itself.
type scanner struct {
	b       []byte
	members []member
	odd     bool // the last string has an escape or bytes beyond ASCII
	err     error
}

type member struct{ name, value []byte } // name without quotes, still escaped

func (s *scanner) scan(b []byte) error {
	s.b, s.members, s.err = b, s.members[:0], nil
	if end := s.value(0, 0); end != len(b) {
		s.fail(end, "bytes after the value")
	} else if !utf8.Valid(b) {
		s.fail(0, "not UTF-8")
	}
	return s.err
}

func (s *scanner) fail(i int, what string) int {
	if s.err == nil {
		s.err = fmt.Errorf("not canonical JSON: %s at byte %d", what, i)
	}
	return len(s.b) + 1
}

func (s *scanner) at(i int) byte {
	if i < len(s.b) {
		return s.b[i]
	}
	return 0
}

func (s *scanner) value(i, depth int) int {
	switch c := s.at(i); {
	case depth > 32: // recursion on strangers' bytes; records need 4
		return s.fail(i, "nested too deep")
	case c == '"':
		return s.str(i)
	case c == '{' || c == '[':
		return s.container(i, depth, c+2) // '}' is '{'+2, ']' is '['+2
	case c == '-' || c >= '0' && c <= '9':
		return s.number(i)
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if i < len(s.b) && bytes.HasPrefix(s.b[i:], []byte(word)) {
			return i + len(word)
		}
	}
	return s.fail(i, "no value")
}

func (s *scanner) container(i, depth int, closer byte) int {
	if s.at(i+1) == closer {
		return i + 2
	}
	var name []byte
	for {
		if i++; closer == '}' {
			start, prev := i+1, name
			if i = s.str(i); s.odd || s.at(i) != ':' {
				return s.fail(start, "no plain member name")
			}
			if name = s.b[start : i-1]; prev != nil && bytes.Compare(prev, name) >= 0 {
				return s.fail(start, "duplicate or unsorted member")
			}
			i++
		}
		start := i
		if i = s.value(i, depth+1); depth == 0 && s.err == nil {
			s.members = append(s.members, member{name, s.b[start:i]})
		}
		if c := s.at(i); c == closer {
			return i + 1
		} else if c != ',' {
			return s.fail(i, "no comma or end")
		}
	}
}

// plain bytes stand for themselves in a string and need no look.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func (s *scanner) str(i int) int {
	if s.at(i) != '"' {
		return s.fail(i, "no string")
	}
	s.odd = false
	const ones = 0x0101010101010101
	for i++; i < len(s.b); i++ {
		for i+8 < len(s.b) { // to the first byte that is not plain, eight at a time
			x := binary.LittleEndian.Uint64(s.b[i:])
			x = (x | (x - ones*' ') | ((x ^ ones*'"') - ones) | ((x ^ ones*'\\') - ones)) & (ones << 7)
			if i += bits.TrailingZeros64(x) / 8; x != 0 {
				break
			}
		}
		c := s.b[i]
		if plain[c] {
			continue
		}
		if c == '"' {
			return i + 1
		}
		if s.odd = true; c == '\\' {
			n := escape(s.b[i+1:])
			if n == 0 {
				return s.fail(i, "needless escape")
			}
			i += n
		} else if c < ' ' {
			return s.fail(i, "control character")
		}
	}
	return s.fail(i, "unfinished string")
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

func (s *scanner) number(i int) int {
	start := i
	for i++; s.at(i) >= '0' && s.at(i) <= '9'; i++ {
	}
	raw := s.b[start:i]
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || max(n, -n) >= 1<<53 || len(raw) > 1 && bytes.TrimPrefix(raw, []byte("-"))[0] == '0' {
		return s.fail(start, "not an exact integer in its only form")
	}
	return i
}
