package record

import (
	"crypto/rand"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/canon"
)

// Sealed is an event made ready for its tenant's log: checked, complete, with
// the bytes its leaf commits to.
type Sealed struct {
	audit.Event
	Body  []byte
	Leaf  [32]byte
	Salts Salts
}

// Receipt is what the caller keeps.
func (s *Sealed) Receipt() audit.Receipt { return audit.Receipt{EventID: s.ID, Leaf: s.Leaf} }

// IPString is the address as committed to, or "".
func (s *Sealed) IPString() string {
	if !s.IP.IsValid() {
		return ""
	}
	return s.IP.String()
}

// Limits keep one event small whatever a client sends.
const (
	maxText   = 512     // bytes of a text from outside
	maxDetail = 1 << 10 // bytes of one text in Details
	maxBody   = 8 << 10
)

// Seal completes and checks an event of the tenant and computes its leaf. Text
// from outside is cut to 512 bytes of valid UTF-8. An unknown type, a missing
// outcome or details beyond strings, booleans, integers and lists of strings
// are a programming error and answer ErrEvent.
func Seal(tenant string, e audit.Event, now func() time.Time) (Sealed, error) {
	if e.Outcome == "" {
		return Sealed{}, fmt.Errorf("sealing %s: %w: no outcome", e.Type, ErrEvent)
	}
	if e.ID == (uuid.UUID{}) {
		id, err := uuid.NewV7()
		if err != nil {
			return Sealed{}, fmt.Errorf("sealing %s: %w", e.Type, err)
		}
		e.ID = id
	}
	if e.Time.IsZero() {
		e.Time = now()
	}
	e.Time = e.Time.UTC().Truncate(time.Microsecond) // what PostgreSQL keeps
	if e.Severity == "" {
		e.Severity = audit.Info
	}
	if e.Actor.Kind == "" {
		e.Actor.Kind = audit.ActorNobody
	}
	e.Actor.ID, e.Actor.Name = clean(e.Actor.ID, maxText), clean(e.Actor.Name, maxText)
	e.Action, e.Resource, e.Reason = clean(e.Action, maxText), clean(e.Resource, maxText), clean(e.Reason, maxText)
	e.UserAgent, e.RequestID, e.PolicyHash = clean(e.UserAgent, maxText), clean(e.RequestID, maxText), clean(e.PolicyHash, maxText)
	if e.IP.IsValid() {
		e.IP = e.IP.Unmap().WithZone("")
	} else {
		e.IP = netip.Addr{}
	}
	var err error
	if e.Details, err = plain(e.Details); err != nil {
		return Sealed{}, fmt.Errorf("sealing %s: %w", e.Type, err)
	}
	s := Sealed{Event: e}
	var random [3 * len(Salt{})]byte
	_, _ = rand.Read(random[:]) // never fails (Go 1.24)
	s.Salts = SaltsOf(random)
	if s.Body, _, err = Append(make([]byte, 0, 640), nil, tenant, &s.Event, &s.Salts); err != nil {
		return Sealed{}, fmt.Errorf("sealing %s: %w", e.Type, err)
	}
	if len(s.Body) > maxBody {
		return Sealed{}, fmt.Errorf("sealing %s: %w: its body has %d bytes, more than %d", e.Type, ErrEvent, len(s.Body), maxBody)
	}
	s.Leaf = Leaf(s.Body)
	return s, nil
}

// SaltsOf splits the stored form: name, address, user agent.
func SaltsOf(b [3 * len(Salt{})]byte) (s Salts) {
	copy(s.Name[:], b[:16])
	copy(s.IP[:], b[16:32])
	copy(s.UserAgent[:], b[32:])
	return s
}

// Bytes is what SaltsOf reads.
func (s *Salts) Bytes() (b [3 * len(Salt{})]byte) {
	copy(b[:16], s.Name[:])
	copy(b[16:32], s.IP[:])
	copy(b[32:], s.UserAgent[:])
	return b
}

// Disclose rebuilds the personal values of a stored event; an empty one was
// never there or is erased.
func Disclose(salts Salts, name, ip, agent string) []Personal {
	var out []Personal
	for _, p := range [...]struct {
		field string
		salt  Salt
		value string
	}{{FieldName, salts.Name, name}, {FieldIP, salts.IP, ip}, {FieldUserAgent, salts.UserAgent, agent}} {
		if p.value == "" {
			continue
		}
		value, err := canon.AppendString(make([]byte, 0, len(p.value)+2), p.value)
		if err == nil {
			out = append(out, Personal{p.field, p.salt, value})
		}
	}
	return out
}

// clean makes text from outside fit for the log: valid UTF-8, no NUL (which
// PostgreSQL refuses), bounded.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\ufffd")
	}
	return s
}

// plain brings details to the few kinds a body holds. The caller's map is not
// changed. An integer that no double holds becomes its decimal text, and so
// does a fraction: the body has no other numbers than exact ones.
func plain(m map[string]any) (map[string]any, error) {
	if len(m) == 0 {
		return nil, nil
	}
	out := make(map[string]any, len(m))
	for name, v := range m {
		switch v := v.(type) {
		case nil, bool:
			out[name] = v
		case string:
			out[name] = clean(v, maxDetail)
		case int:
			out[name] = number(int64(v))
		case int64:
			out[name] = number(v)
		case []string:
			list := make([]string, len(v))
			for i, s := range v {
				list[i] = clean(s, maxDetail)
			}
			out[name] = list
		default:
			p, ok := reflected(reflect.ValueOf(v))
			if !ok {
				return nil, fmt.Errorf("%w: details: %s is a %T", ErrEvent, name, v)
			}
			out[name] = p
		}
	}
	return out, nil
}

func number(n int64) any {
	if n > canon.MaxInt || n < -canon.MaxInt {
		return strconv.FormatInt(n, 10)
	}
	return n
}

// reflected takes the named kinds (type Code string) to the plain ones.
func reflected(v reflect.Value) (any, bool) {
	switch v.Kind() {
	case reflect.String:
		return clean(v.String(), maxDetail), true
	case reflect.Bool:
		return v.Bool(), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return number(v.Int()), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return strconv.FormatUint(v.Uint(), 10), true
		}
		return number(int64(v.Uint())), true
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	case reflect.Slice, reflect.Array:
		list := make([]string, v.Len())
		for i := range list {
			e := v.Index(i)
			if e.Kind() == reflect.Interface {
				e = e.Elem()
			}
			if e.Kind() != reflect.String {
				return nil, false
			}
			list[i] = clean(e.String(), maxDetail)
		}
		return list, true
	}
	return nil, false
}
