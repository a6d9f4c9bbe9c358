package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

// Limits bound a document, a query string or a path. A zero field means its
// default.
type Limits struct {
	Bytes   int // of the whole input; default 1 MiB
	Depth   int // of nested objects and arrays; default 32
	Members int // keys of all objects and elements of all arrays together, or query parameters, or path segments; default 10,000
	String  int // bytes of one string or key, decoded; default 64 KiB
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Bytes, 1<<20)
	set(&l.Depth, 32)
	set(&l.Members, 10_000)
	set(&l.String, 64<<10)
	return l
}

// Found is one field that is flagged or blocked. Where is a JSON pointer
// (RFC 6901) for documents, "query.name" or "path.2" otherwise; Key says that
// the name is at fault and not the value. Spans point into Text, the decoded
// string.
type Found struct {
	Where    string
	Text     string
	Key      bool
	SQL, XSS inspect.Verdict
}

// Blocks says whether either kind is to be refused by default.
func (f Found) Blocks() bool {
	return f.SQL.Decision == inspect.Block || f.XSS.Decision == inspect.Block
}

// maxFound is how many findings one input yields; an input with more is refused
// for the first of them anyway.
const maxFound = 64

// JSON inspects every string and every key of doc. skip, which may be nil, is
// asked once for each member by its JSON pointer; what it claims, such as a
// prompt, is not inspected, nor is anything below it, but still counts towards
// the limits. A document that is not JSON, or has a key twice in one object, is
// invalid_request; one beyond a limit is too_large.
func (sc *Scanner) JSON(doc []byte, limits Limits, skip func(pointer string) bool) ([]Found, error) {
	limits = limits.withDefaults()
	if len(doc) > limits.Bytes {
		return nil, fault.New(fault.TooLarge, "the document is larger than %d bytes", limits.Bytes)
	}
	if !utf8.Valid(doc) {
		return nil, fault.New(fault.Invalid, "the document is not UTF-8")
	}
	w := walker{sc: sc, limits: limits, skip: skip, dec: json.NewDecoder(bytes.NewReader(doc))}
	w.dec.UseNumber()
	if err := w.value(0, false); err != nil {
		return nil, err
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Invalid, "the document goes on after its end")
	}
	return w.found, nil
}

type walker struct {
	sc      *Scanner
	limits  Limits
	skip    func(string) bool
	dec     *json.Decoder
	path    []byte
	members int
	found   []Found
}

func (w *walker) token() (json.Token, error) {
	t, err := w.dec.Token()
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the document is not JSON at byte %d", w.dec.InputOffset())
	}
	return t, nil
}

// value reads one value. Its depth is bounded by Limits.Depth, so is recursion.
func (w *walker) value(depth int, skipped bool) error {
	t, err := w.token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case string:
		return w.text(t, false, skipped)
	case json.Delim:
		if depth++; depth > w.limits.Depth {
			return fault.New(fault.TooLarge, "the document is nested deeper than %d", w.limits.Depth)
		}
		if t == '{' {
			return w.object(depth, skipped)
		}
		return w.array(depth, skipped)
	}
	return nil
}

func (w *walker) object(depth int, skipped bool) error {
	length := len(w.path)
	seen := map[string]struct{}{}
	for w.dec.More() {
		t, err := w.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fault.New(fault.Invalid, "the document has a key that is no string")
		}
		if _, twice := seen[key]; twice {
			return fault.New(fault.Invalid, "the document has a key twice in one object")
		}
		seen[key] = struct{}{}
		if err := w.count(); err != nil {
			return err
		}
		if len(key) > w.limits.String {
			return fault.New(fault.TooLarge, "a key is longer than %d bytes", w.limits.String)
		}
		w.path = append(append(w.path[:length], '/'), pointerEscaper.Replace(key)...)
		s := skipped || w.skip != nil && w.skip(string(w.path))
		if err := w.text(key, true, s); err != nil {
			return err
		}
		if err := w.value(depth, s); err != nil {
			return err
		}
	}
	w.path = w.path[:length]
	_, err := w.token()
	return err
}

func (w *walker) array(depth int, skipped bool) error {
	length := len(w.path)
	for i := 0; w.dec.More(); i++ {
		if err := w.count(); err != nil {
			return err
		}
		w.path = strconv.AppendInt(append(w.path[:length], '/'), int64(i), 10)
		if err := w.value(depth, skipped || w.skip != nil && w.skip(string(w.path))); err != nil {
			return err
		}
	}
	w.path = w.path[:length]
	_, err := w.token()
	return err
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

func (w *walker) count() error {
	if w.members++; w.members > w.limits.Members {
		return fault.New(fault.TooLarge, "the document has more than %d members", w.limits.Members)
	}
	return nil
}

func (w *walker) text(t string, key, skipped bool) error {
	if len(t) > w.limits.String {
		return fault.New(fault.TooLarge, "a string is longer than %d bytes", w.limits.String)
	}
	if skipped || len(w.found) >= maxFound {
		return nil
	}
	if f := w.sc.Field(t, key); f.flagged() {
		f.Where = string(w.path)
		w.found = append(w.found, f)
	}
	return nil
}

func (f Found) flagged() bool {
	return f.SQL.Decision != inspect.Allow || f.XSS.Decision != inspect.Allow
}

// Field inspects one string, or the name of a member. Where is left empty.
func (sc *Scanner) Field(t string, key bool) Found {
	f := Found{Key: key, Text: t}
	f.SQL, f.XSS = sc.ScanBoth(t)
	if key && len(t) > 1 && t[0] == '$' && mongoOps[t[1:]] && f.SQL.Decision != inspect.Block {
		s := pool.Get().(*scan)
		s.views[0] = view{text: t}
		s.view = &s.views[0]
		s.note(rMongo, 0.93, 0, len(t))
		f.SQL = s.verdict(inspect.SQL, rNone+1, rTag)
		s.release()
	}
	return f
}

// Query inspects the names and values of a raw query string, and the forms in
// which brackets in a name become operators ("user[$ne]=1"). It decodes as
// Parameters does.
func (sc *Scanner) Query(raw string, limits Limits, skip func(name string) bool) ([]Found, error) {
	var found []Found
	err := Parameters(raw, limits, func(name, value string) error {
		if skip != nil && skip(name) || len(found) >= maxFound {
			return nil
		}
		if f := sc.Field(name, true); f.flagged() {
			f.Where = "query." + name
			found = append(found, f)
		}
		if f := sc.Field(value, false); f.flagged() {
			f.Where = "query." + name
			found = append(found, f)
		}
		return nil
	})
	return found, err
}

// Parameters takes a raw query string apart as application/x-www-form-urlencoded
// and shows every name with its value; a malformed escape is invalid_request. A
// pair that holds a semicolon is shown whole and in the parts that a reader
// who separates by semicolons (HTML 4.01, appendix B.2.2) would see.
func Parameters(raw string, limits Limits, visit func(name, value string) error) error {
	limits = limits.withDefaults()
	if len(raw) > limits.Bytes {
		return fault.New(fault.TooLarge, "the query is larger than %d bytes", limits.Bytes)
	}
	n := 0
	show := func(pair string) error {
		if pair == "" {
			return nil
		}
		if n++; n > limits.Members {
			return fault.New(fault.TooLarge, "the query has more than %d parameters", limits.Members)
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName, true)
		if err != nil {
			return err
		}
		value, err := unescape(rawValue, true)
		if err != nil {
			return err
		}
		if max(len(name), len(value)) > limits.String {
			return fault.New(fault.TooLarge, "a parameter is longer than %d bytes", limits.String)
		}
		return visit(name, value)
	}
	for pair := range strings.SplitSeq(raw, "&") {
		if err := show(pair); err != nil {
			return err
		}
		if strings.IndexByte(pair, ';') < 0 {
			continue
		}
		for part := range strings.SplitSeq(pair, ";") {
			if err := show(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// Path inspects the segments of an escaped path; "path.0" is the first.
func (sc *Scanner) Path(escaped string, limits Limits) ([]Found, error) {
	limits = limits.withDefaults()
	if len(escaped) > limits.Bytes {
		return nil, fault.New(fault.TooLarge, "the path is larger than %d bytes", limits.Bytes)
	}
	var found []Found
	rest := strings.TrimPrefix(escaped, "/")
	for i := 0; rest != ""; i++ {
		if i >= limits.Members {
			return nil, fault.New(fault.TooLarge, "the path has more than %d segments", limits.Members)
		}
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		text, err := unescape(segment, false)
		if err != nil {
			return nil, err
		}
		if len(text) > limits.String {
			return nil, fault.New(fault.TooLarge, "a segment is longer than %d bytes", limits.String)
		}
		if len(found) >= maxFound {
			continue
		}
		if f := sc.Field(text, false); f.flagged() {
			f.Where = "path." + strconv.Itoa(i)
			found = append(found, f)
		}
	}
	return found, nil
}

func unescape(s string, plus bool) (string, error) {
	if strings.IndexByte(s, '%') < 0 && (!plus || strings.IndexByte(s, '+') < 0) {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", fault.New(fault.Invalid, "a percent sign is not followed by two hexadecimal digits")
			}
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		case c == '+' && plus:
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
