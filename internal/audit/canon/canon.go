// Package canon writes and checks canonical JSON, the JSON Canonicalization
// Scheme of RFC 8785: one value has one spelling, so a hash over the spelling is
// a hash over the value.
//
// The Append functions extend a slice and allocate nothing themselves beyond it.
package canon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxInt is the largest magnitude of an integer that a double holds exactly with
// all its neighbours (RFC 7493 section 2.2). Beyond it two integers can share a
// spelling, so they are refused.
const MaxInt = 1<<53 - 1

var (
	// ErrUTF8 refuses strings that are not UTF-8: RFC 8785 section 3.2.2.2.
	ErrUTF8 = errors.New("canon: string is not valid UTF-8")
	// ErrNumber refuses NaN, infinities and integers beyond MaxInt.
	ErrNumber = errors.New("canon: number has no canonical form")
	// ErrForm is returned by Verify and Decode for bytes that are JSON but not
	// in canonical form.
	ErrForm = errors.New("canon: not in canonical form")
)

// Appender is a value that writes itself.
type Appender interface {
	AppendCanonical(dst []byte) ([]byte, error)
}

// Append writes nil, booleans, strings, integers, float64, json.Number, slices
// of any, string or int64, maps from string to any or string, and Appenders.
func Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return AppendString(dst, v)
	case int:
		return AppendInt(dst, int64(v))
	case int8:
		return AppendInt(dst, int64(v))
	case int16:
		return AppendInt(dst, int64(v))
	case int32:
		return AppendInt(dst, int64(v))
	case int64:
		return AppendInt(dst, v)
	case uint:
		return appendUint(dst, uint64(v))
	case uint8:
		return appendUint(dst, uint64(v))
	case uint16:
		return appendUint(dst, uint64(v))
	case uint32:
		return appendUint(dst, uint64(v))
	case uint64:
		return appendUint(dst, v)
	case float64:
		return AppendFloat(dst, v)
	case json.Number:
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return dst, fmt.Errorf("%w: %q", ErrNumber, string(v))
		}
		return AppendFloat(dst, f)
	case []any:
		return appendSlice(dst, v, Append)
	case []string:
		return appendSlice(dst, v, AppendString)
	case []int64:
		return appendSlice(dst, v, AppendInt)
	case map[string]any:
		return appendMap(dst, v, Append)
	case map[string]string:
		return appendMap(dst, v, AppendString)
	case Appender:
		return v.AppendCanonical(dst)
	}
	return dst, fmt.Errorf("canon: cannot write a %T", v)
}

func appendSlice[T any](dst []byte, list []T, each func([]byte, T) ([]byte, error)) ([]byte, error) {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = each(dst, v); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendMap[T any](dst []byte, m map[string]T, each func([]byte, T) ([]byte, error)) ([]byte, error) {
	var few [16]string // keeps the usual object off the heap
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, CompareNames)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = AppendString(dst, name); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		if dst, err = each(dst, m[name]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// CompareNames orders member names by their UTF-16 code units (RFC 8785 section
// 3.2.3). That differs from byte order only where a surrogate pair meets
// U+E000 to U+FFFF.
func CompareNames(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n {
		return len(a) - len(b)
	}
	if a[i] < 0xee || b[i] < 0xee { // no first byte of U+E000 and up on one side
		return int(a[i]) - int(b[i])
	}
	for i > 0 && !utf8.RuneStart(a[i]) {
		i--
	}
	return slices.Compare(utf16.Encode([]rune(a[i:])), utf16.Encode([]rune(b[i:])))
}

const hex = "0123456789abcdef"

// plain bytes need no escape; those of longer characters are looked at once, by
// utf8.ValidString.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x100; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// AppendString writes a string with the escapes of RFC 8785 section 3.2.2.2 and
// no others.
func AppendString(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return dst, ErrUTF8
	}
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain[c] {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"'), nil
}

// AppendInt writes an integer of at most MaxInt's magnitude.
func AppendInt(dst []byte, n int64) ([]byte, error) {
	if n > MaxInt || n < -MaxInt {
		return dst, ErrNumber
	}
	return strconv.AppendInt(dst, n, 10), nil
}

func appendUint(dst []byte, n uint64) ([]byte, error) {
	if n > MaxInt {
		return dst, ErrNumber
	}
	return strconv.AppendUint(dst, n, 10), nil
}

// AppendFloat writes a double as ECMAScript's Number::toString does (ECMA-262
// section 6.1.6.1.20), which RFC 8785 section 3.2.2.3 adopts.
func AppendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, ErrNumber
	}
	if f == 0 {
		return append(dst, '0'), nil // minus zero too
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go writes two exponent digits at least, ECMAScript as many as needed.
	if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst, nil
}

// Decode reads canonical JSON and nothing else. Objects become map[string]any,
// arrays []any, numbers json.Number in their canonical spelling.
func Decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("decoding canonical JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, ErrForm
	}
	// What the decoder tolerates (duplicates, order, white space, other
	// spellings, bad UTF-8) does not survive the way back.
	again, err := Append(make([]byte, 0, len(b)), v)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, ErrForm
	}
	return v, nil
}

// Verify reports whether b is exactly one value in canonical form.
func Verify(b []byte) error {
	_, err := Decode(b)
	return err
}
