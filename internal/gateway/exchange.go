package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/inspect/stream"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Exchange is one request from the door to the record: created outermost,
// filled stage by stage, written once. Handlers get it as an argument; nobody
// fishes identity out of a context.
type Exchange struct {
	Request   *http.Request
	Writer    http.ResponseWriter
	ID        string // X-Request-Id
	Trace     Trace
	Start     time.Time
	Client    netip.Addr
	Route     *Route
	Principal authn.Principal // zero on public routes
	Scope     tenant.Scope    // zero on public routes
	Room      plane.Room      // zero on public routes
	Decision  policy.Decision

	gate    *Gateway
	ids     [1]string // ID, as a header's values
	slot    quota.Slot
	cancel  context.CancelFunc
	last    context.Context // see lasting
	reached string          // the stage that refused, or "handler"
	fault   *fault.Error    // what was answered, when the answer is a refusal
	settled bool            // its event is written, or will be by whoever wrote the change
	trail   []string        // stages passed, for the test of their order
	guard   guard
	owed    *plane.Promise // a plain read's record, promised before its answer

	named       authn.Principal // whom a credential names that no longer stands
	upstream    *upstream.Route // nil: the platform's own API
	passage     *passage        // of that route
	passing     *passing        // its body, while it is inspected on its way
	watch       *stream.Watch   // what its answer must not hold; nil: anything may
	details     map[string]any  // why inspection refused, for the event
	severity    audit.Severity  // of that event
	encode      bool            // the tenant wants strings of answers entity-encoded
	failedLogin bool
	account     string // as typed; the shield keeps a keyed hash only
}

// Subject is who asks, as policy sees it.
func (x *Exchange) Subject() policy.Subject {
	if x.Principal.IsZero() {
		return policy.Anonymous()
	}
	s := x.Principal.PolicySubject()
	s.AdminChannel = s.AdminChannel || contains(x.gate.cfg.AdminAllow, x.Client)
	return s
}

// Decide asks policy about one resource: for handlers whose action depends on
// it. A resource of another tenant cannot be named; House is for the platform.
func (x *Exchange) Decide(r policy.Resource) error {
	r.Tenant = x.Principal.Tenant
	return x.decide(r)
}

// DecideTenant is Decide for the platform's actions on a tenant.
func (x *Exchange) DecideTenant(id tenant.ID) error {
	return x.decide(policy.Resource{Tenant: id, Kind: "tenant", ID: id.String()})
}

func (x *Exchange) decide(r policy.Resource) error {
	x.Decision = x.gate.cfg.Policy.Decide(x.Subject(), x.Route.Action, r)
	if !x.Decision.Allowed {
		return fault.New(fault.Forbidden, "you may not %s", x.Route.Action)
	}
	return nil
}

// Actor is who asks, as the log names it.
func (x *Exchange) Actor() audit.Actor {
	p := x.Principal
	if p.IsZero() {
		p = x.named
	}
	if p.IsZero() {
		return audit.Actor{Kind: audit.ActorNobody}
	}
	return audit.Actor{Kind: audit.ActorKind(p.Kind.String()), ID: p.Subject}
}

// Event fills what every event of this request shares.
func (x *Exchange) Event(typ audit.Type, resource string) audit.Event {
	ev := audit.Event{
		Type: typ, Actor: x.Actor(), Resource: resource, Outcome: audit.Success,
		IP: x.Client, UserAgent: x.Request.UserAgent(), RequestID: x.ID, PolicyHash: x.Decision.Hash,
	}
	if x.Route != nil {
		ev.Action = x.Route.Action.String()
	}
	return ev
}

// Change is Room.Change for this request: its event is the request's record.
func (x *Exchange) Change(ctx context.Context, ev audit.Event, fn func(plane.Tx) error) error {
	_, err := x.Room.Change(ctx, ev, fn)
	if err == nil {
		x.settled = true
	}
	return err
}

// Settle says that the request's event is already in the log.
func (x *Exchange) Settle() { x.settled = true }

// exchangeKey is private: only this package's From reads it, at the one seam
// where a library's handler signature has no room for an argument.
type exchangeKey struct{}

// From is for adapters of handler libraries; handlers take *Exchange.
func From(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

func contains(ps []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// LoginFailed tells the shield, once the answer is out, whose login failed.
func (x *Exchange) LoginFailed(account string) { x.failedLogin, x.account = true, account }
