// Package record turns an event into the bytes that its tenant's log commits to.
//
// The body is canonical JSON. Personal values (the actor's name, the address, the
// user agent) do not stand in it: in their place stands a salted commitment, and
// salt and value are kept beside the body, where they can be erased while every
// proof stays valid. With the 16 random salt bytes gone, a commitment says
// nothing about its value.
package record

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/canon"
)

// Salt hides one personal value. Salts are random and used once: with one salt
// for two values, disclosing one would open the other to guessing.
type Salt [16]byte

// Salts are an event's, one for each personal field.
type Salts struct{ Name, IP, UserAgent Salt }

// Personal is a value that the body only commits to. Field is its path there,
// Value its canonical JSON.
type Personal struct {
	Field string
	Salt  Salt
	Value []byte
}

// Fields that are committed to.
const (
	FieldName      = "actor.name"
	FieldIP        = "ip"
	FieldUserAgent = "user_agent"
)

// Version is the body's "v".
const Version = 1

// TimeFormat is RFC 3339 in UTC with microseconds, always 27 bytes.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// ErrEvent refuses an event that the log cannot hold.
var ErrEvent = errors.New("event cannot be recorded")

// Leaf is the body's RFC 6962 leaf hash.
func Leaf(body []byte) tlog.Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(body)
	var leaf tlog.Hash
	h.Sum(leaf[:0])
	return leaf
}

// Append appends an event's body to dst and its personal values to personal.
// ID, Time and Type must be set; an empty Severity is Info, an empty Outcome
// Success. Strings that are not UTF-8 (a stranger's user agent) have their bad
// bytes replaced by U+FFFD: an attacker must not be able to choose an event that
// cannot be recorded. Names in Details must be printable ASCII without quote or
// backslash, so that any JSON reader sorts them alike.
func Append(dst []byte, personal []Personal, tenant string, e *audit.Event, salts *Salts) ([]byte, []Personal, error) {
	w := writer{dst: dst, personal: personal, keep: true}
	ip := ""
	if e.IP.IsValid() {
		ip = e.IP.String()
	}
	w.event(tenant, e, ip, salts)
	if w.err != nil {
		return dst, personal, fmt.Errorf("%w: %w", ErrEvent, w.err)
	}
	return w.dst, w.personal, nil
}

var known = func() map[audit.Type]bool {
	m := map[audit.Type]bool{}
	for _, t := range audit.Types() {
		m[t] = true
	}
	return m
}()

// event writes the body; ip is the address's text.
func (w *writer) event(tenant string, e *audit.Event, ip string, salts *Salts) {
	if e.ID == [16]byte{} || e.Time.IsZero() || !known[e.Type] {
		w.err = errors.New("id, time or type is missing")
		return
	}
	if y := e.Time.UTC().Year(); y < 1 || y > 9999 {
		w.err = fmt.Errorf("year %d", y)
		return
	}
	w.dst = append(w.dst, '{')
	w.text("action", e.Action)
	w.name("actor")
	w.dst = append(w.dst, '{')
	w.text("id", e.Actor.ID)
	w.text("kind", string(e.Actor.Kind))
	w.secret("name", FieldName, e.Actor.Name, salts.Name)
	w.dst = append(w.dst, '}')
	w.details(e.Details)
	w.name("id")
	w.dst = append(w.dst, '"')
	w.dst = appendID(w.dst, e.ID)
	w.dst = append(w.dst, '"')
	w.secret("ip", FieldIP, ip, salts.IP)
	w.text("outcome", or(string(e.Outcome), string(audit.Success)))
	w.text("policy_hash", e.PolicyHash)
	w.text("reason", e.Reason)
	w.text("request_id", e.RequestID)
	w.text("resource", e.Resource)
	w.text("severity", or(string(e.Severity), string(audit.Info)))
	w.text("tenant", tenant)
	w.name("time")
	w.dst = append(w.dst, '"')
	w.dst = appendTime(w.dst, e.Time)
	w.dst = append(w.dst, '"')
	w.text("type", string(e.Type))
	w.secret("user_agent", FieldUserAgent, e.UserAgent, salts.UserAgent)
	w.name("v")
	w.dst = append(w.dst, '0'+Version, '}')
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// appendID writes a UUID's 36 characters without allocating (RFC 9562 section 4).
func appendID(dst []byte, id uuid.UUID) []byte {
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
	}
	return dst
}

// appendTime writes TimeFormat, in a quarter of AppendFormat's time.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	for _, part := range [...]struct {
		n, digits int
		end       byte
	}{{year, 4, '-'}, {int(month), 2, '-'}, {day, 2, 'T'}, {hour, 2, ':'}, {minute, 2, ':'}, {second, 2, '.'}, {t.Nanosecond() / 1000, 6, 'Z'}} {
		start := len(dst)
		dst = append(dst, "000000"[:part.digits]...)
		for i, n := len(dst)-1, part.n; i >= start; i, n = i-1, n/10 {
			dst[i] = '0' + byte(n%10)
		}
		dst = append(dst, part.end)
	}
	return dst
}

// writer appends members; they must come in sorted order.
type writer struct {
	dst      []byte
	personal []Personal
	keep     bool // list the personal values
	lenient  bool // bring details to the kinds that a body holds
	err      error
}

func (w *writer) name(name string) {
	if last := w.dst[len(w.dst)-1]; last != '{' {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, name...)
	w.dst = append(w.dst, '"', ':')
}

func (w *writer) value(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	w.dst, _ = canon.AppendString(w.dst, s)
}

// appendCommitment appends what stands for a personal value: SHA-256 over 0x02
// (RFC 6962 leaves start with 0x00, nodes with 0x01), a label, 0x00, the salt, the
// field, 0x00 and the value's canonical JSON, in base64url without padding.
func appendCommitment(dst []byte, field string, salt Salt, value []byte) []byte {
	var room [512]byte
	b := append(append(room[:0], "\x02openclaw commitment v1\x00"...), salt[:]...)
	b = append(append(append(b, field...), 0), value...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.AppendEncode(dst, sum[:])
}

// text leaves out what is empty.
func (w *writer) text(name, s string) {
	if s != "" {
		w.name(name)
		w.value(s)
	}
}

func (w *writer) secret(name, field, s string, salt Salt) {
	if s == "" {
		return
	}
	start := len(w.dst)
	w.value(s)
	value := w.dst[start:]
	var room [2*sha256.Size - 21]byte // base64 of a digest
	commitment := appendCommitment(room[:0], field, salt, value)
	if w.keep {
		w.personal = append(w.personal, Personal{field, salt, slices.Clone(value)})
	}
	w.dst = w.dst[:start]
	w.name(name)
	w.dst = append(w.dst, `{"commit":"`...)
	w.dst = append(w.dst, commitment...)
	w.dst = append(w.dst, '"', '}')
}

func (w *writer) details(m map[string]any) {
	if len(m) == 0 {
		return
	}
	var few [16]string // keeps the usual event off the heap
	names := few[:0]
	for name := range m {
		for i := range len(name) {
			if c := name[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
				w.err = fmt.Errorf("details: member name %q", name)
				return
			}
		}
		if name == "" {
			w.err = errors.New("details: a member without a name")
			return
		}
		names = append(names, name)
	}
	slices.Sort(names) // ASCII: bytes and UTF-16 sort alike
	w.name("details")
	w.dst = append(w.dst, '{')
	for _, name := range names {
		w.name(name)
		if err := w.detail(m[name]); err != nil && w.err == nil {
			w.err = fmt.Errorf("details: %s: %w", name, err)
		}
	}
	w.dst = append(w.dst, '}')
}

func (w *writer) detail(v any) (err error) {
	switch v := v.(type) {
	case nil, bool:
		w.dst, err = canon.Append(w.dst, v)
	case string:
		w.loose(v)
	case int:
		return w.integer(int64(v))
	case int64:
		return w.integer(v)
	case int32:
		return w.integer(int64(v))
	case uint32:
		return w.integer(int64(v))
	case []string:
		w.dst = append(w.dst, '[')
		for i, s := range v {
			if i > 0 {
				w.dst = append(w.dst, ',')
			}
			w.loose(s)
		}
		w.dst = append(w.dst, ']')
	default:
		if w.lenient {
			if p, ok := reflected(reflect.ValueOf(v)); ok {
				return w.detail(p)
			}
		}
		return fmt.Errorf("a %T", v)
	}
	return err
}

func (w *writer) loose(s string) {
	if w.lenient {
		s = clean(s, maxDetail)
	}
	w.value(s)
}

func (w *writer) integer(n int64) (err error) {
	if w.lenient && (n > canon.MaxInt || n < -canon.MaxInt) {
		w.value(strconv.FormatInt(n, 10))
		return nil
	}
	w.dst, err = canon.AppendInt(w.dst, n)
	return err
}
