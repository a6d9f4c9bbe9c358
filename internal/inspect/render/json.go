// Package render keeps what leaves the house from being run by a browser: JSON
// that carries no live markup, entity-encoded documents for tenants that ask for
// them, harmless HTML where HTML must be shown, and a content security policy
// for pages.
package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"unicode/utf8"
)

// JSONWriter escapes <, > and & as \u003c, \u003e and \u0026, and the line
// separators U+2028 and U+2029, in JSON that streams through it. Outside
// strings JSON has none of these, and inside, the escape means the same
// character (RFC 8259, section 7): nothing is lost. A body that a browser is
// talked into reading as HTML then has no tag to run.
type JSONWriter struct {
	w    io.Writer
	buf  []byte
	tail []byte // the beginning of a line separator that the last chunk ended in
}

// NewJSONWriter wraps w. Close it to flush; it does not close w.
func NewJSONWriter(w io.Writer) *JSONWriter { return &JSONWriter{w: w} }

// Write takes any cut of the document.
func (j *JSONWriter) Write(p []byte) (int, error) {
	src := p
	if len(j.tail) > 0 {
		src = append(append([]byte(nil), j.tail...), p...)
		j.tail = j.tail[:0]
	}
	if n := partial(src); n > 0 {
		j.tail = append(j.tail, src[len(src)-n:]...)
		src = src[:len(src)-n]
	}
	j.buf = EscapeJSON(j.buf[:0], src)
	if _, err := j.w.Write(j.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what was held back.
func (j *JSONWriter) Close() error {
	if len(j.tail) == 0 {
		return nil
	}
	_, err := j.w.Write(j.tail)
	j.tail = j.tail[:0]
	return err
}

// partial is how many bytes at the end of b may begin U+2028 or U+2029.
func partial(b []byte) int {
	if bytes.HasSuffix(b, []byte{0xe2, 0x80}) {
		return 2
	}
	if bytes.HasSuffix(b, []byte{0xe2}) {
		return 1
	}
	return 0
}

// EscapeJSON appends the JSON document src to dst, escaped as JSONWriter does.
func EscapeJSON(dst, src []byte) []byte {
	start := 0
	for i := 0; i < len(src); i++ {
		var esc string
		n := 1
		switch src[i] {
		case '<':
			esc = `\u003c`
		case '>':
			esc = `\u003e`
		case '&':
			esc = `\u0026`
		case 0xe2:
			if i+2 >= len(src) || src[i+1] != 0x80 || src[i+2]&^1 != 0xa8 {
				continue
			}
			esc, n = `\u2028`, 3
			if src[i+2] == 0xa9 {
				esc = `\u2029`
			}
		default:
			continue
		}
		dst = append(append(dst, src[start:i]...), esc...)
		i += n - 1
		start = i + 1
	}
	return append(dst, src[start:]...)
}

// maxDepth bounds the nesting of documents that EncodeEntities reads.
const maxDepth = 128

// EncodeEntities writes a JSON document again with every string and key
// entity-encoded (&lt; &gt; &amp; &#34; &#39;), however deep. It is for tenants
// whose own pages put strings into HTML without escaping; numbers, order and
// structure stay. Texts are changed, so it is never on by default.
func EncodeEntities(doc []byte) ([]byte, error) {
	if !utf8.Valid(doc) {
		return nil, errors.New("encode entities: the document is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	e := encoder{dec: dec, out: make([]byte, 0, len(doc)+len(doc)/8)}
	if err := e.value(0); err != nil {
		return nil, fmt.Errorf("encode entities: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("encode entities: the document goes on after its end")
	}
	return EscapeJSON(nil, e.out), nil
}

type encoder struct {
	dec *json.Decoder
	out []byte
}

func (e *encoder) value(depth int) error {
	t, err := e.dec.Token()
	if err != nil {
		return err
	}
	d, ok := t.(json.Delim)
	if !ok {
		return e.scalar(t)
	}
	if depth == maxDepth {
		return errors.New("the document is nested too deep")
	}
	e.out = append(e.out, byte(d))
	for i := 0; e.dec.More(); i++ {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		if d == '{' {
			key, err := e.dec.Token()
			if err != nil {
				return err
			}
			if err := e.scalar(key); err != nil {
				return err
			}
			e.out = append(e.out, ':')
		}
		if err := e.value(depth + 1); err != nil {
			return err
		}
	}
	end, err := e.dec.Token()
	if err != nil {
		return err
	}
	e.out = append(e.out, byte(end.(json.Delim)))
	return nil
}

func (e *encoder) scalar(t json.Token) error {
	if s, ok := t.(string); ok {
		t = html.EscapeString(s)
	}
	b, err := json.Marshal(t)
	e.out = append(e.out, b...)
	return err
}
