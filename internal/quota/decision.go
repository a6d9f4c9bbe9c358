package quota

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Limiter decides whether a request may go on. Implementations pass
// quotatest.Limiter.
type Limiter interface {
	// Take charges ask.Cost to every bucket of the plan and takes one slot of
	// every cap, all of them or none. A refusal is a Decision; an error is a
	// fault (no key, no plan, a cost no bucket can hold, the store away) and
	// never lets a request through.
	Take(ctx context.Context, ask Ask) (Decision, error)
	// Usage shows what is left, charging nothing.
	Usage(ctx context.Context, key Key, plan *Plan) ([]State, error)
}

// Ask is one request to be counted.
type Ask struct {
	Key  Key
	Plan *Plan     // from Table.Plan
	Cost int64     // tokens to charge; 0 means 1
	At   time.Time // when it came; zero means now by the limiter's clock
}

// Outcome is what a Decision says. The zero Outcome refuses.
type Outcome uint8

const (
	Refused     Outcome = iota
	Admitted            // counted
	Exempt              // the plan is Unlimited: nothing was counted
	SwitchedOff         // the plan is Off: nothing was counted, and somebody should know
)

func (o Outcome) String() string {
	return [...]string{"refused", "admitted", "exempt", "switched_off"}[o]
}

// Decision is the answer to an Ask.
type Decision struct {
	Outcome    Outcome
	Degraded   bool          // decided by this replica's share alone, the store being away
	Plan       *Plan         // the one that was asked
	Policy     *Policy       // the tightest window; on refusal the one to wait for; nil if nothing was counted
	Remaining  int64         // tokens left under Policy
	Reading    Reading       // of Policy's bucket after the decision; zero for a cap
	RetryAfter time.Duration // on refusal: when the same ask can succeed
	Slot       Slot          // release it when the request ends; released twice or never taken is fine
}

// Allowed reports whether the request may go on.
func (d Decision) Allowed() bool { return d.Outcome != Refused }

// Next is the time until Policy has one token more; 0 when full or unknown.
func (d Decision) Next() time.Duration { return d.Reading.Next() }

// Reset is the time until Policy is full again; 0 when full or unknown.
func (d Decision) Reset() time.Duration { return d.Reading.Reset() }

// Err is nil, or the fault for a refusal: rate_limit_exceeded.
func (d Decision) Err() error {
	if d.Allowed() {
		return nil
	}
	err := fault.New(fault.RateLimited, "too many requests")
	if d.Policy != nil {
		err = fault.New(fault.RateLimited, "too many requests: limit %s is reached", d.Policy.Name)
	}
	err.RetryAfter = d.RetryAfter
	return err
}

// WriteHeader sets RateLimit-Policy, RateLimit and, on a refusal, Retry-After:
// draft-ietf-httpapi-ratelimit-headers-11 sections 3 and 4 (lists of Strings
// with parameters, RFC 9651) and RFC 9110 section 10.2.3. q and w are the
// sustained limit; r counts what the bucket holds and so exceeds q while a
// burst is available. Nothing is written for plans that count nothing.
func (d Decision) WriteHeader(h http.Header) {
	if d.Policy == nil || d.Plan == nil {
		return
	}
	values := []string{d.Plan.header, ""} // of two fields, in one piece
	h["Ratelimit-Policy"] = values[:1:1]
	b := make([]byte, 0, 64)
	b = append(b, '"')
	b = append(b, d.Policy.Name...) // a word: needs no escaping
	b = append(b, `";r=`...)
	b = strconv.AppendInt(b, max(d.Remaining, 0), 10)
	wait := d.Next()
	if !d.Allowed() {
		wait = d.RetryAfter
	}
	if wait > 0 {
		b = append(b, ";t="...)
		b = strconv.AppendInt(b, seconds(wait), 10)
	}
	values[1] = string(b)
	h["Ratelimit"] = values[1:]
	if !d.Allowed() {
		h["Retry-After"] = []string{strconv.FormatInt(max(1, seconds(d.RetryAfter)), 10)}
	}
}

// seconds rounds up: a client that waits as told must not come too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// State is what is left of one bucket or cap.
type State struct {
	Policy    *Policy
	Remaining int64
	Reset     time.Duration // until full again; 0 for a cap
}

// Holder keeps what stands behind a Slot. Both methods are safe to call at any
// time, any number of times, from any goroutine.
type Holder interface {
	Release(token uint64)
	Renew(token uint64) bool
}

// Slot is one running request's place under the caps on concurrent requests.
// Copies are the same slot. The zero Slot holds nothing.
type Slot struct {
	holder Holder
	token  uint64
}

// NewSlot is for implementations of Limiter.
func NewSlot(h Holder, token uint64) Slot { return Slot{h, token} }

// Release gives the place back. Only the first call does anything.
func (s Slot) Release() {
	if s.holder != nil {
		s.holder.Release(s.token)
	}
}

// Renew keeps the place for another term; a request that may outlive the
// limiter's SlotTerm calls it at least once per term. False means the place is
// lost and the request should end. The zero Slot renews.
func (s Slot) Renew() bool { return s.holder == nil || s.holder.Renew(s.token) }

// Reading is what an implementation of Limiter saw of one window: Depth is how
// far the bucket is below full, in µs.
type Reading struct {
	Window *Window
	Depth  int64
}

// Remaining is the number of whole tokens in the bucket.
func (r Reading) Remaining() int64 {
	if r.Window.Span == 0 || r.Depth >= r.Window.Span {
		return 0
	}
	return (r.Window.Span - max(r.Depth, 0)) / r.Window.Interval
}

// Next is the time until there is one token more.
func (r Reading) Next() time.Duration {
	if r.Window == nil {
		return 0
	}
	depth := max(r.Depth, 0)
	if depth == 0 || r.Window.Span == 0 {
		return 0
	}
	left := r.Window.Span - depth
	if left < 0 {
		return micros(r.Window.Interval - left)
	}
	return micros(r.Window.Interval - left%r.Window.Interval)
}

// Reset is the time until the bucket is full.
func (r Reading) Reset() time.Duration { return micros(max(r.Depth, 0)) }

// Wait is the time until cost tokens are there; 0 if they are.
func (r Reading) Wait(cost int64) time.Duration {
	if r.Window.Span == 0 {
		return r.Window.Policy.Window // a share of nothing: ask again when things may have changed
	}
	return micros(max(0, max(r.Depth, 0)+cost*r.Window.Interval-r.Window.Span))
}

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// SlotRetry is the Retry-After of a cap on concurrent requests: when one ends
// is unknown.
const SlotRetry = time.Second

// Check refuses an ask that no implementation may decide: without key or plan,
// or with a cost that is negative or larger than a bucket of the plan. It
// returns the cost to charge.
func (a Ask) Check() (cost int64, err error) {
	if err := a.Key.Check(); err != nil {
		return 0, err
	}
	if a.Plan.Mode() == Unset {
		return 0, errNoPlan
	}
	cost = a.Cost
	if cost == 0 || cost == 1 {
		return 1, nil
	}
	if a.Plan.share && cost > 0 {
		return cost, nil
	}
	if cost < 0 {
		return 0, fault.New(fault.Invalid, "negative cost")
	}
	for _, l := range a.Plan.For(a.Key) {
		for _, w := range l.Windows {
			if w.Policy != nil && cost > w.Policy.Capacity {
				return 0, fault.New(fault.Invalid, "the request costs %d, and limit %s never holds more than %d", cost, w.Policy.Name, w.Policy.Capacity)
			}
		}
	}
	return cost, nil
}

var errNoPlan = fault.New(fault.Internal, "no rate limit plan for this request")
