package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Sealed is an event made ready for the log: checked, complete, with the bytes
// its leaf commits to.
type Sealed struct {
	Event
	Body []byte   // RFC 8785 canonical JSON; personal fields as commitments
	Leaf [32]byte // SHA-256(0x00 || Body), RFC 6962 section 2.1
	Salt [16]byte // of the commitments
}

// Receipt is what the caller keeps.
func (s Sealed) Receipt() Receipt { return Receipt{EventID: s.ID, Leaf: s.Leaf} }

// IPString is the address without a zone, or "".
func (s Sealed) IPString() string {
	if !s.IP.IsValid() {
		return ""
	}
	return s.IP.Unmap().WithZone("").String()
}

// Limits keep one event small whatever a client sends.
const (
	maxText    = 512
	maxDetails = 8 << 10
)

// Seal completes and checks an event and computes its leaf. Text from outside
// is cut to 512 bytes of valid UTF-8; an unknown type or details that are not
// plain JSON are a programming error and answer an error.
func Seal(e Event, now func() time.Time) (Sealed, error) {
	if !e.Type.Known() {
		return Sealed{}, fmt.Errorf("seal event: unknown type %q", e.Type)
	}
	if e.Outcome == "" {
		return Sealed{}, fmt.Errorf("seal event %s: no outcome", e.Type)
	}
	if e.ID == (uuid.UUID{}) {
		id, err := uuid.NewV7()
		if err != nil {
			return Sealed{}, fmt.Errorf("seal event: %w", err)
		}
		e.ID = id
	}
	if e.Time.IsZero() {
		e.Time = now()
	}
	e.Time = e.Time.UTC().Truncate(time.Microsecond) // what PostgreSQL keeps
	if e.Severity == "" {
		e.Severity = Info
	}
	if e.Actor.Kind == "" {
		e.Actor.Kind = ActorNobody
	}
	for _, s := range []*string{&e.Actor.ID, &e.Actor.Name, &e.Action, &e.Resource, &e.Reason, &e.UserAgent, &e.RequestID} {
		*s = clean(*s)
	}
	s := Sealed{Event: e}
	if _, err := rand.Read(s.Salt[:]); err != nil {
		return Sealed{}, fmt.Errorf("seal event: %w", err)
	}
	body, err := s.body()
	if err != nil {
		return Sealed{}, fmt.Errorf("seal event %s: %w", e.Type, err)
	}
	s.Body = body
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(body)
	h.Sum(s.Leaf[:0])
	return s, nil
}

// clean makes text from outside fit for the log: valid UTF-8, no NUL (which
// PostgreSQL refuses), bounded.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return s
}

// body is the event's public half. encoding/json sorts map keys by byte, which
// for the ASCII names used here is RFC 8785's order.
func (s Sealed) body() ([]byte, error) {
	m := map[string]any{
		"v":        1,
		"id":       s.ID.String(),
		"time":     s.Time.Format("2006-01-02T15:04:05.000000Z"),
		"type":     string(s.Type),
		"severity": string(s.Severity),
		"outcome":  string(s.Outcome),
	}
	actor := map[string]any{"kind": string(s.Actor.Kind)}
	put(actor, "id", s.Actor.ID)
	s.commit(actor, "name", s.Actor.Name)
	m["actor"] = actor
	put(m, "action", s.Action)
	put(m, "resource", s.Resource)
	put(m, "reason", s.Reason)
	put(m, "request_id", s.RequestID)
	put(m, "policy_hash", s.PolicyHash)
	s.commit(m, "ip", s.IPString())
	s.commit(m, "user_agent", s.UserAgent)
	if len(s.Details) > 0 {
		m["details"] = s.Details
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	if b.Len() > maxDetails {
		return nil, fmt.Errorf("the event has %d bytes, more than %d", b.Len(), maxDetails)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func put(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}

func (s Sealed) commit(m map[string]any, field, value string) {
	if value == "" {
		return
	}
	h := sha256.New()
	fmt.Fprintf(h, "openclaw audit commitment v1\x00%s\x00", field)
	h.Write(s.Salt[:])
	h.Write([]byte(value))
	m[field] = map[string]any{"commit": base64.RawURLEncoding.EncodeToString(h.Sum(nil))}
}
