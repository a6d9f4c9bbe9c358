package shield

import (
	"net/netip"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Verdict is what to do with a request.
type Verdict uint8

const (
	Allow   Verdict = iota
	Limit           // 429: beyond the allowance, come back after RetryAfter
	Refused         // 400 or 413: this request is malformed
	Barred          // 403: the address is blocked, or its country
)

// Decision is the shield's answer to one request. The zero value allows.
type Decision struct {
	Verdict    Verdict
	RetryAfter time.Duration // Limit
	Until      time.Time     // Barred by a block
	Reason     string        // an Offence's name, "country", "address", or an operator's words
	Rule       string        // what of Reason: a signature's id, a part of the request, a country
	Prefix     netip.Prefix  // Barred by a block: which
}

// Err is nil for Allow, and otherwise the *fault.Error for the client. It does
// not say why an address is blocked: that is for the operator.
func (d Decision) Err() error {
	switch d.Verdict {
	case Allow:
		return nil
	case Limit:
		e := fault.New(fault.RateLimited, "too many requests from this address")
		e.RetryAfter = d.RetryAfter
		return e
	case Refused:
		if d.Reason == Oversize.String() || d.Reason == HeaderFlood.String() {
			return fault.New(fault.TooLarge, "the request's %s is too large", d.Rule)
		}
		return fault.New(fault.Invalid, "the request is malformed: %s", d.Rule)
	}
	return fault.New(fault.Blocked, "this address is blocked")
}

func barredBy(b Block) Decision {
	return Decision{Verdict: Barred, Until: b.Until, Reason: b.Reason, Prefix: b.Prefix}
}
