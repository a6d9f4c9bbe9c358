package record

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync"
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

	ip string
}

// Receipt is what the caller keeps.
func (s *Sealed) Receipt() audit.Receipt { return audit.Receipt{EventID: s.ID, Leaf: s.Leaf} }

// IPString is the address as committed to, or "".
func (s *Sealed) IPString() string { return s.ip }

// Personal are the values beside the body, nil for none. They are s's own.
func (s *Sealed) Personal() (name, ip, agent *string) {
	own := func(text *string) *string {
		if *text == "" {
			return nil
		}
		return text
	}
	return own(&s.Actor.Name), own(&s.ip), own(&s.UserAgent)
}

// Limits keep one event small whatever a client sends.
const (
	maxText   = 512     // bytes of a text from outside
	maxDetail = 1 << 10 // bytes of one text in Details
	maxBody   = 8 << 10

	usualBody = 896 // an act's outcome with all that it says; larger ones grow
)

// Seal completes and checks an event of the tenant and computes its leaf. Text
// from outside is cut to 512 bytes of valid UTF-8. An unknown type, a missing
// outcome or details beyond strings, booleans, integers and lists of strings
// are a programming error and answer ErrEvent.
func Seal(tenant string, e audit.Event, now func() time.Time) (Sealed, error) {
	var s Sealed
	err := s.seal(nil, tenant, &e, now)
	return s, err
}

// Room is memory in which events are sealed, time and again: what one Seal gave
// is gone with the next. It saves half of what sealing many costs. The zero value
// is ready; it is not safe for concurrent use.
type Room struct {
	sealed []Sealed
	bytes  []byte // bodies
}

// Seal seals events in their order.
func (r *Room) Seal(tenant string, events []audit.Event, now func() time.Time) ([]Sealed, error) {
	if cap(r.sealed) < len(events) {
		r.sealed = make([]Sealed, len(events))
	}
	out := r.sealed[:len(events)]
	room, full := r.bytes[:0], 0
	for i := range events {
		if cap(room)-len(room) < maxBody/4 {
			full += len(room)
			room = make([]byte, 0, max(2*full, min(len(events)-i, 64)*maxBody/8+maxBody/4)) // the bodies so far keep the old one
		}
		if err := out[i].seal(room[len(room):], tenant, &events[i], now); err != nil {
			return nil, err
		}
		if n := len(room) + len(out[i].Body); n <= cap(room) {
			room = room[:n]
		}
		out[i].Body = out[i].Body[:len(out[i].Body):len(out[i].Body)]
	}
	r.bytes = room
	return out, nil
}

// Check answers ErrEvent for an event that says neither what nor how it ended,
// long before it is sealed.
func Check(e *audit.Event) error {
	switch {
	case !known[e.Type]:
		return fmt.Errorf("%w: its type is unknown", ErrEvent)
	case e.Outcome == "":
		return fmt.Errorf("sealing %s: %w: no outcome", e.Type, ErrEvent)
	}
	return nil
}

// Seal makes s ready whose Event alone is set, and answers room with the body
// appended; the body stays there. It is for whoever seals many and has the room.
func (s *Sealed) Seal(room []byte, tenant string, now func() time.Time) ([]byte, error) {
	if cap(room)-len(room) < maxBody/4 {
		room = make([]byte, 0, max(2*cap(room), maxBody))
	}
	if err := s.seal(room[len(room):], tenant, &s.Event, now); err != nil {
		return room, err
	}
	if n := len(room) + len(s.Body); n <= cap(room) {
		room = room[:n]
	}
	s.Body = s.Body[:len(s.Body):len(s.Body)]
	return room, nil
}

// seal appends the body to room, which may be nil.
func (s *Sealed) seal(room []byte, tenant string, ev *audit.Event, now func() time.Time) error {
	s.Event = *ev
	e := &s.Event
	if e.Outcome == "" {
		return fmt.Errorf("sealing %s: %w: no outcome", e.Type, ErrEvent)
	}
	random := takeRandom()
	s.Salts = SaltsOf([3 * len(Salt{})]byte(random[:48]))
	if e.Time.IsZero() {
		e.Time = now()
	}
	if e.ID == (uuid.UUID{}) {
		e.ID = newID(e.Time, [8]byte(random[48:]))
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
		s.ip = e.IP.String()
	} else {
		e.IP, s.ip = netip.Addr{}, ""
	}
	if room == nil {
		room = make([]byte, 0, usualBody)
	}
	w := writer{dst: room[:0], lenient: true}
	w.event(tenant, e, s.ip, &s.Salts)
	if w.err != nil {
		return fmt.Errorf("sealing %s: %w: %w", e.Type, ErrEvent, w.err)
	}
	if s.Body = w.dst; len(s.Body) > maxBody {
		return fmt.Errorf("sealing %s: %w: its body has %d bytes, more than %d", e.Type, ErrEvent, len(s.Body), maxBody)
	}
	s.Leaf = Leaf(s.Body)
	return nil
}

// NewID is an event's id, for whoever has to know it before the event is sealed.
func NewID(t time.Time) uuid.UUID {
	random := takeRandom()
	return newID(t, [8]byte(random[48:]))
}

// newID is a UUIDv7 of t with its sub-millisecond part (RFC 9562 sections 5.7
// and 6.2, method 3).
func newID(t time.Time, random [8]byte) (id uuid.UUID) {
	ms := t.UnixMilli()
	fraction := uint64(t.Nanosecond()%int(time.Millisecond)) << 12 / uint64(time.Millisecond)
	binary.BigEndian.PutUint64(id[:], uint64(ms)<<16|7<<12|fraction)
	copy(id[8:], random[:])
	id[8] = id[8]&0x3f | 0x80
	return id
}

// randoms are blocks of random bytes: a system call for each salt costs more
// than the rest of an event. What was handed out is wiped from its block.
var randoms = sync.Pool{New: func() any { return &randomBlock{used: len(randomBlock{}.bytes)} }}

type randomBlock struct {
	bytes [64 * randomSize]byte
	used  int
}

const randomSize = 3*len(Salt{}) + 8 // three salts and an id

func takeRandom() (out [randomSize]byte) {
	b := randoms.Get().(*randomBlock)
	if b.used == len(b.bytes) {
		_, _ = rand.Read(b.bytes[:]) // never fails (Go 1.24)
		b.used = 0
	}
	from := b.bytes[b.used : b.used+randomSize]
	copy(out[:], from)
	clear(from)
	b.used += randomSize
	randoms.Put(b)
	return out
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

// reflected takes the named kinds (type Code string) to the plain ones.
func reflected(v reflect.Value) (any, bool) {
	switch v.Kind() {
	case reflect.String:
		return clean(v.String(), maxDetail), true
	case reflect.Bool:
		return v.Bool(), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return strconv.FormatUint(v.Uint(), 10), true
		}
		return int64(v.Uint()), true
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
