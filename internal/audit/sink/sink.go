// Package sink sends tenants' audit logs to the operator's receivers: at least
// once, in each tenant's order, behind a durable cursor for each sink and
// tenant.
//
// A sink reads the log after the fact, so it never stands in a request's way,
// and each has a worker of its own, so none stands in another's. One replica
// works on a sink at a time, under a lease of a few seconds. What the receiver
// has acknowledged moves the cursor; whatever else happens (a crash, a lost
// answer, a lease that changes hands) sends some events twice and skips none.
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// action is that of the events which sinks record about themselves: that one
// begins, stops, has caught up, or has set an event aside. They leave like any
// other event, and what becomes of them makes no further event.
const action = "audit.sink"

// Item is an entry on its way out.
type Item struct {
	Tenant string // the tenant's id
	Name   string // and its short name
	Entry  audit.Entry
}

// Sender speaks one receiver's protocol. One goroutine uses it at a time.
type Sender interface {
	// Send answers nil when the receiver has taken all of batch, as far as its
	// protocol can tell. Any other answer is a *Failure, or counts as a
	// temporary one. It must not outlive ctx, which has a deadline.
	Send(ctx context.Context, batch []Item) error
	// Close lets go of connections. Closing twice is fine.
	Close()
}

// Kind says what a failure means for what was sent.
type Kind string

const (
	// Temporary: try again later. Connections, time-outs, 408, 425, 429, 5xx.
	Temporary Kind = "temporary"
	// Denied: the receiver wants nothing from us as we are configured (401, 403,
	// 404, a redirect, a certificate that does not verify). Nothing is skipped.
	Denied Kind = "denied"
	// Refused: the receiver will not have this content (400, 413, 422).
	Refused Kind = "refused"
)

// Failure is a Send that did not deliver everything. Err goes into logs, the
// list of sinks and events: it must not quote what the receiver answered, nor
// a secret.
type Failure struct {
	Kind       Kind
	Done       int           // so many from the front were taken
	RetryAfter time.Duration // as the receiver asked; 0 for nothing
	Final      bool          // Refused, and the protocol forbids to send it again
	Err        error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Fail makes a *Failure.
func Fail(k Kind, format string, args ...any) *Failure {
	return &Failure{Kind: k, Err: fmt.Errorf(format, args...)}
}

// failure brings any error of a Send to a *Failure.
func failure(err error) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Kind: Temporary, Err: err}
}

// Filter selects events; zero fields select all.
type Filter struct {
	Types    []audit.Type
	Severity audit.Severity // at least
	Outcomes []audit.Outcome
}

var severityRank = map[audit.Severity]int{audit.Info: 1, audit.Warning: 2, audit.High: 3, audit.Critical: 4}

// Takes reports whether the filter lets an entry through. An unknown severity
// counts as the highest: in doubt it is sent.
func (f *Filter) Takes(e *audit.Entry) bool {
	if f.Severity != "" {
		if rank, ok := severityRank[e.Severity]; ok && rank < severityRank[f.Severity] {
			return false
		}
	}
	return among(f.Types, e.Type) && among(f.Outcomes, e.Outcome)
}

func among[T comparable](list []T, v T) bool {
	for _, w := range list {
		if w == v {
			return true
		}
	}
	return len(list) == 0
}

// OnRefused is what becomes of an event that the receiver refuses for good.
type OnRefused string

const (
	// SetAside: after Spec.Attempts, and only if the receiver takes other events,
	// it is written to a list, with an event in its tenant's log, and passed over.
	SetAside OnRefused = "set_aside"
	// Halt: its tenant's log waits behind it, visibly.
	Halt OnRefused = "halt"
)

// Spec is one sink as configured.
type Spec struct {
	Name   string
	Kind   string // syslog, splunk_hec, otlp, webhook
	To     string // where, for people: no secret in it
	Digest string // of the whole entry: another one is another sink under that name

	Tenants   []string // short names; nil: all
	Filter    Filter
	Personal  bool // send names, addresses and user agents
	FromFirst bool // a new sink begins with each log's first event, not with the next
	Batch     int  // events in one Send, at most
	Attempts  int  // at an event that is refused
	OnRefused OnRefused
	Timeout   time.Duration // of one Send
	FirstWait time.Duration // after a first failure; doubles
	MostWait  time.Duration // the ceiling

	Open func() (Sender, error)
}

func (s *Spec) takesTenant(name string) bool { return among(s.Tenants, name) }

// terms are what a tenant's log records about the way out.
func (s *Spec) terms() string {
	return fmt.Sprintf("%s %s personal=%t", s.Kind, s.To, s.Personal)
}

// item leaves out what the sink may not have.
func (s *Spec) item(tenant, name string, e audit.Entry) Item {
	if !s.Personal {
		e.Actor.Name, e.IP, e.UserAgent = "", "", ""
	}
	e.Details = sound(e.Details)
	return Item{tenant, name, e}
}

// sound makes sure that details are JSON in UTF-8, so that no sender can be made
// to write anything else. The log holds nothing else: this is the second lock.
func sound(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || utf8.Valid(raw) && json.Valid(raw) {
		return raw
	}
	text, err := json.Marshal(map[string]string{"unreadable": string(raw)})
	if err != nil {
		return nil
	}
	return text
}
