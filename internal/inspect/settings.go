package inspect

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Default thresholds: a text is blocked above the first, and people are told
// above the second.
const (
	DefaultBlock = 0.5
	DefaultAlert = 0.7
	// DefaultFlag is where a text that passes leaves a record.
	DefaultFlag = 0.35
)

// Limits of one tenant's settings.
const (
	maxAllowedSpans = 256
	maxSpanBytes    = 4096
	// minSpanBytes keeps an allow-listed span from being a word that every
	// attack contains.
	minSpanBytes = 8
	// MaxShadow is the longest that shadow mode may be asked for.
	MaxShadow = 90 * 24 * time.Hour
)

// Settings are one tenant's wishes. The zero value blocks above 0.5 and alerts
// above 0.7, and allows no span.
type Settings struct {
	// BlockAbove and AlertAbove are confidences in (0,1]; 0 means the default.
	BlockAbove float64 `json:"block_above,omitempty"`
	AlertAbove float64 `json:"alert_above,omitempty"`
	// Action is the most that may be done per kind; a kind without an entry is
	// blocked.
	Action map[Kind]Decision `json:"action,omitempty"`
	// ShadowUntil turns blocks into flags until then; the zero time is never.
	ShadowUntil time.Time `json:"shadow_until,omitzero"`
	// Allowed are spans the tenant answers for.
	Allowed []AllowedSpan `json:"allowed,omitempty"`
	// EncodeEntities writes <, >, & and quotes in every string of our JSON answers
	// as HTML entities, for tenants whose own pages do not escape. It changes
	// texts.
	EncodeEntities bool `json:"encode_entities,omitempty"`
}

// AllowedSpan is a text that a tenant has looked at and lets pass: a verdict
// whose every placed finding lies within occurrences of it does not block, if
// the text without them would pass too. Owner is who answers for it.
type AllowedSpan struct {
	Text    string    `json:"text"`
	Owner   string    `json:"owner"`
	Kind    Kind      `json:"kind,omitempty"` // empty: every kind
	Expires time.Time `json:"expires,omitzero"`
}

// ErrSettings is the kind of every error Check returns.
var ErrSettings = errors.New("invalid inspection settings")

// Check refuses settings that say nothing clear: thresholds outside (0,1], an
// unknown kind or action, a shadow beyond MaxShadow, spans that are too many,
// too short, too long or without an owner.
func (s *Settings) Check(now time.Time) error {
	for _, v := range []float64{s.BlockAbove, s.AlertAbove} {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("%w: a threshold lies between 0 and 1", ErrSettings)
		}
	}
	for k, d := range s.Action {
		if k != Prompt && k != SQL && k != XSS {
			return fmt.Errorf("%w: unknown kind", ErrSettings)
		}
		if d > Block {
			return fmt.Errorf("%w: unknown action", ErrSettings)
		}
	}
	if s.ShadowUntil.After(now.Add(MaxShadow)) {
		return fmt.Errorf("%w: shadow mode ends within %d days", ErrSettings, int(MaxShadow.Hours()/24))
	}
	if len(s.Allowed) > maxAllowedSpans {
		return fmt.Errorf("%w: more than %d allowed spans", ErrSettings, maxAllowedSpans)
	}
	for _, a := range s.Allowed {
		if n := len(a.Text); n < minSpanBytes || n > maxSpanBytes {
			return fmt.Errorf("%w: an allowed span has %d to %d bytes", ErrSettings, minSpanBytes, maxSpanBytes)
		}
		if strings.TrimSpace(a.Owner) == "" {
			return fmt.Errorf("%w: an allowed span has an owner", ErrSettings)
		}
	}
	return nil
}

// Decide says what to do with text, given its verdict, at the time now, and
// whether to tell people. The order is: thresholds, allowed spans, the most
// that may be done for the kind, shadow mode. A shadowed block still alerts.
//
// rest inspects what is left of the text without the allowed spans: what the
// learned model saw around them has no place, and would ride along. Without
// rest no span is allowed.
func (s *Settings) Decide(v Verdict, text string, now time.Time, rest func(string) Verdict) (d Decision, alert bool) {
	block, tell := s.BlockAbove, s.Alert()
	if block <= 0 {
		block = DefaultBlock
	}
	// A confidence that is no number is a fault of the detector: the door
	// stays shut.
	switch c := v.Confidence; {
	case !(c <= block):
		d = Block
	case c > min(DefaultFlag, block):
		d = Flag
	}
	alert = !(v.Confidence <= tell)
	if d == Allow {
		return Allow, alert
	}
	if len(s.Allowed) > 0 && rest != nil && s.allowed(v, text, now) {
		left := s.without(v.Kind, text, now)
		if strings.TrimSpace(left) == "" || rest(left).Confidence <= block {
			return Flag, false
		}
	}
	if most, ok := s.Action[v.Kind]; ok {
		d = min(d, most)
	}
	if d == Block && now.Before(s.ShadowUntil) {
		d = Flag
	}
	return d, alert
}

// Alert is the confidence above which people are told.
func (s *Settings) Alert() float64 {
	if s.AlertAbove <= 0 {
		return DefaultAlert
	}
	return s.AlertAbove
}

// allowed tells whether every placed finding lies inside an allowed span. A
// verdict without a placed finding is never allowed: there is nothing that the
// owner could have looked at.
func (s *Settings) allowed(v Verdict, text string, now time.Time) bool {
	placed := 0
	for _, f := range v.Findings {
		if f.Start >= f.End || f.End > len(text) {
			continue
		}
		placed++
		if !s.covers(v.Kind, text, f.Start, f.End, now) {
			return false
		}
	}
	return placed > 0
}

func (s *Settings) covers(k Kind, text string, start, end int, now time.Time) bool {
	for i := range s.Allowed {
		a := &s.Allowed[i]
		if !a.holds(k, now) || len(a.Text) < end-start {
			continue
		}
		// Only occurrences that could hold [start,end) matter.
		from, to := max(0, end-len(a.Text)), min(len(text), start+len(a.Text))
		if strings.Contains(text[from:to], a.Text) {
			return true
		}
	}
	return false
}

// holds says whether the span counts for a kind, now.
func (a *AllowedSpan) holds(k Kind, now time.Time) bool {
	return (a.Kind == "" || a.Kind == k) && a.Owner != "" && len(a.Text) >= minSpanBytes && (a.Expires.IsZero() || now.Before(a.Expires))
}

// without is the text with a space in place of each allowed span.
func (s *Settings) without(k Kind, text string, now time.Time) string {
	for i := range s.Allowed {
		if a := &s.Allowed[i]; a.holds(k, now) {
			text = strings.ReplaceAll(text, a.Text, " ")
		}
	}
	return text
}

// String is the word used on the wire.
func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Flag:
		return "flag"
	}
	return "block"
}

// MarshalText implements encoding.TextMarshaler.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Decision) UnmarshalText(b []byte) error {
	switch string(b) {
	case "allow":
		*d = Allow
	case "flag":
		*d = Flag
	case "block":
		*d = Block
	default:
		return fmt.Errorf("%w: unknown action", ErrSettings)
	}
	return nil
}

// String is the word used on the wire.
func (t Trust) String() string {
	switch t {
	case User:
		return "user"
	case Document:
		return "document"
	}
	return "tool"
}

// ParseTrust reads the word used on the wire.
func ParseTrust(s string) (Trust, bool) {
	switch s {
	case "user":
		return User, true
	case "document":
		return Document, true
	case "tool":
		return Tool, true
	}
	return Tool, false
}
