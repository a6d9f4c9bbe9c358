package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream/http1"
)

// ErrCut means that nothing can be answered any more: the client is gone, or the
// answer had begun when the upstream went. The caller cuts the client's
// connection (panic(http.ErrAbortHandler), once its record is closed), so that
// half an answer never looks whole.
var ErrCut = errors.New("upstream: the exchange was cut")

// Config wires a Proxy; Sign and Issuer are required.
type Config struct {
	Issuer string // iss of assertions, as in our JWKS' metadata
	Sign   Signer
	TLS    *tls.Config // for https upstreams; nil means the system's roots
	Logger *slog.Logger
	Now    func() time.Time
}

// Proxy serves requests from the upstreams of the table in force.
type Proxy struct {
	cfg        Config
	assertions *assertions
	relay      *relay
	live       atomic.Pointer[live]

	mu        sync.Mutex
	endpoints map[endpointKey]*endpoint
	closed    bool

	cancel context.CancelFunc
	done   chan struct{}
}

// live is a table with the endpoints that need no tenant to be known.
type live struct {
	table *Table
	fixed map[*Route]*endpoint
}

const (
	sweepEvery   = 15 * time.Second
	endpointIdle = 10 * time.Minute // a tenant's endpoint nobody used
	maxEndpoints = 8192
)

// New returns a proxy without routes: Load gives it some. Close stops it.
func New(cfg Config) (*Proxy, error) {
	if cfg.Sign == nil || cfg.Issuer == "" {
		return nil, errors.New("upstream: a proxy needs an issuer and a signer for assertions")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		cfg: cfg, assertions: newAssertions(cfg.Issuer, cfg.Sign, cfg.Now),
		endpoints: map[endpointKey]*endpoint{}, cancel: cancel, done: make(chan struct{}),
	}
	p.relay = newRelay(p)
	p.live.Store(&live{table: &Table{mux: http.NewServeMux()}})
	go p.sweep(ctx)
	return p, nil
}

// Table is the table in force.
func (p *Proxy) Table() *Table { return p.live.Load().table }

// Load puts a table in force. Upstreams that both tables have keep their
// connections and what their breakers know; requests under way end as they
// began.
func (p *Proxy) Load(t *Table) {
	l := &live{table: t, fixed: map[*Route]*endpoint{}}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	keep := map[endpointKey]bool{}
	for _, rt := range t.routes {
		if rt.target.hostPlace {
			continue
		}
		k := rt.endpointKey(rt.target.authority(Identity{}))
		keep[k] = true
		l.fixed[rt] = p.endpointLocked(k)
	}
	var gone []*endpoint
	for k, e := range p.endpoints {
		if !keep[k] && (!k.filled || e.using.Load() == 0) {
			gone = append(gone, e)
			delete(p.endpoints, k)
		}
	}
	p.live.Store(l)
	p.mu.Unlock()
	for _, e := range gone {
		e.close()
	}
}

// Close stops health checks and closes idle connections. Twice is fine.
func (p *Proxy) Close() {
	p.mu.Lock()
	gone := p.endpoints
	p.endpoints, p.closed = map[endpointKey]*endpoint{}, true
	p.mu.Unlock()
	p.cancel()
	<-p.done
	for _, e := range gone {
		e.close()
	}
}

// Status is how one upstream stands.
type Status struct {
	Upstream    string `json:"upstream"` // scheme://host:port
	Breaker     string `json:"breaker"`  // closed, open, half_open
	Healthy     bool   `json:"healthy"`
	InUse       int64  `json:"in_use"`
	Connections int    `json:"idle_connections"`
}

// Upstreams lists the upstreams known now.
func (p *Proxy) Upstreams() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Status, 0, len(p.endpoints))
	for k, e := range p.endpoints {
		out = append(out, Status{Upstream: k.scheme + "://" + k.authority, Breaker: e.breaker.state(), Healthy: !e.down.Load(), InUse: e.using.Load(), Connections: e.client.Idle()})
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Upstream, b.Upstream) })
	return out
}

func (rt *Route) endpointKey(authority string) endpointKey {
	k := endpointKey{
		scheme: rt.target.scheme, authority: authority, filled: rt.target.hostPlace, connect: rt.Timeouts.Connect,
		header: rt.Timeouts.Header, breaker: rt.Breaker, health: rt.Health, audience: rt.Audience,
	}
	if k.audience == "" {
		k.audience = k.scheme + "://" + authority
	}
	return k
}

func (p *Proxy) endpointLocked(k endpointKey) *endpoint {
	e := p.endpoints[k]
	if e == nil {
		e = newEndpoint(k, p.cfg.TLS, p.cfg.Now)
		e.used.Store(p.cfg.Now().Unix())
		p.endpoints[k] = e
	}
	return e
}

// endpoint is where a request goes, and the path before its own.
func (p *Proxy) endpoint(rt *Route, id Identity) (*endpoint, string, error) {
	if e := p.live.Load().fixed[rt]; e != nil && !rt.target.pathPlace {
		return e, rt.target.path, nil
	}
	authority, path, err := rt.target.resolve(id)
	if err != nil {
		return nil, "", err
	}
	k := rt.endpointKey(authority)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, "", fault.New(fault.Unavailable, "the gateway is stopping")
	}
	if p.endpoints[k] == nil && len(p.endpoints) >= maxEndpoints {
		return nil, "", &fault.Error{Code: fault.Unavailable, Detail: "too many upstreams are in use", RetryAfter: sweepEvery}
	}
	e := p.endpointLocked(k)
	e.used.Store(p.cfg.Now().Unix())
	return e, path, nil
}

// sweep closes idle connections, and the endpoints of tenants who left.
func (p *Proxy) sweep(ctx context.Context) {
	defer close(p.done)
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p.sweepOnce()
	}
}

func (p *Proxy) sweepOnce() {
	old := p.cfg.Now().Add(-endpointIdle).Unix()
	fixed := map[*endpoint]bool{}
	for _, e := range p.live.Load().fixed {
		fixed[e] = true
	}
	var gone, here []*endpoint
	p.mu.Lock()
	for k, e := range p.endpoints {
		if !fixed[e] && e.using.Load() == 0 && e.used.Load() < old {
			gone = append(gone, e)
			delete(p.endpoints, k)
			continue
		}
		here = append(here, e)
	}
	p.mu.Unlock()
	for _, e := range here {
		e.client.Sweep()
	}
	for _, e := range gone {
		e.close()
	}
}

// Match finds the request's route in the table in force.
func (p *Proxy) Match(r *http.Request) (*Route, error) { return p.Table().Match(r) }

// Serve hands the request to the route's upstream and the answer to w. It
// returns nil once the answer is out; a *fault.Error while nothing has been
// written (upstream_failed, timeout, unavailable with a time to come back,
// too_large, invalid_request, not_found); otherwise an error that is ErrCut.
//
// It obeys the request's context, so a client that leaves ends the call, and
// the route's own limits; the server's WriteTimeout is moved while an answer
// streams. The route has to be one that Match returned.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, rt *Route, id Identity) error {
	if looped(r.Header["Via"]) {
		return fault.New(fault.Upstream, "the request has come back to this gateway too often")
	}
	if r.ContentLength > rt.MaxBody {
		return fault.New(fault.TooLarge, "the body is larger than the %d bytes allowed here", rt.MaxBody)
	}
	e, base, err := p.endpoint(rt, id)
	if err != nil {
		return err
	}
	if e.down.Load() {
		return &fault.Error{Code: fault.Unavailable, Detail: "the upstream is not healthy", RetryAfter: e.key.health.Every}
	}
	if e.using.Add(1) > int64(rt.Connections) {
		e.using.Add(-1)
		return &fault.Error{Code: fault.Unavailable, Detail: "the upstream is busy", RetryAfter: time.Second, Cause: errBusy}
	}
	defer e.using.Add(-1)
	token, err := p.assertions.get(id, e.key.audience)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "no assertion could be signed")
	}
	x := &exchange{p: p, w: w, r: r, rt: rt, id: id, e: e, token: token, target: rt.requestTarget(base, r)}
	if rt.Timeouts.Total > 0 {
		x.deadline = time.Now().Add(rt.Timeouts.Total)
	}
	held, err := x.hold()
	if err != nil {
		return err
	}
	defer x.release()
	if e.key.scheme == "http" && x.plain() {
		if err := x.direct(held); err != errNotPlain {
			return err
		}
	}
	return p.relay.serve(x, held)
}

// exchange is one request on its way.
type exchange struct {
	p        *Proxy
	w        http.ResponseWriter
	r        *http.Request
	rt       *Route
	id       Identity
	e        *endpoint
	token    string
	target   string
	deadline time.Time
	content  []byte  // the request's, when it is held
	lent     *buffer // where it stands, if that is ours
	begun    bool    // an answer's head is out
}

// again decides whether a failed attempt is followed by another: the method is
// idempotent, the content is held, the cause is listed, and the budget has one
// left.
func (x *exchange) again(attempt int, cause string, held bool) bool {
	rs := &x.rt.Retries
	return attempt < rs.Count && cause != "" && held && idempotent(x.r.Method) && slices.Contains(rs.On, cause) &&
		x.r.Context().Err() == nil && x.e.budget.withdraw() && x.pause(attempt)
}

// idempotent methods, RFC 9110 section 9.2.2, as far as they are served.
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// pause waits a little and not evenly, so that many retries do not come at once.
func (x *exchange) pause(attempt int) bool {
	d := 10 * time.Millisecond << attempt
	t := time.NewTimer(d + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.r.Context().Done():
		return false
	}
}

// admit asks the breaker.
func (x *exchange) admit() (pass, error) {
	ps, wait, ok := x.e.breaker.enter()
	if !ok {
		return ps, &fault.Error{Code: fault.Unavailable, Detail: "the upstream has failed and gets a rest", RetryAfter: max(wait, time.Second)}
	}
	return ps, nil
}

// settle tells the breaker how an attempt ended. A client that left, or whose
// request was at fault, says nothing about the upstream.
func (x *exchange) settle(ps pass, status int, err error) {
	b := &x.e.breaker
	switch {
	case err == nil && (status < 502 || status > 504):
		b.success(ps)
	case err != nil && (x.r.Context().Err() != nil && !errors.Is(context.Cause(x.r.Context()), context.DeadlineExceeded) || opOf(err) == "read request" || refusedBody(err) != nil):
		b.neither(ps)
	default:
		b.failure(ps)
	}
}

func opOf(err error) string {
	var e *http1.Error
	if errors.As(err, &e) {
		return e.Op
	}
	return ""
}

// causeOf names a failure as retries.on does; "" is never tried again.
func causeOf(err error) string {
	var op *net.OpError
	switch {
	case opOf(err) == "read request", errors.Is(err, context.Canceled), errors.Is(err, http1.ErrProtocol):
		return ""
	case opOf(err) == "dial", errors.As(err, &op) && op.Op == "dial":
		return "connect"
	case isTimeout(err):
		return "timeout"
	case errors.Is(err, http1.ErrTruncated), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	}
	return ""
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// refuse names a failed attempt's kind, while nothing has been answered.
func (x *exchange) refuse(err error) error {
	if f := refusedBody(err); f != nil {
		return f
	}
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return fault.Wrap(err, fault.TooLarge, "the body is larger than the %d bytes allowed here", big.Limit)
	case x.r.Context().Err() == context.Canceled:
		return fmt.Errorf("%w: %w", ErrCut, err)
	case opOf(err) == "read request" && isTimeout(err):
		return fault.Wrap(err, fault.Invalid, "the body did not arrive in time")
	case opOf(err) == "read request":
		return fmt.Errorf("%w: %w", ErrCut, err)
	case isTimeout(err):
		return fault.Wrap(err, fault.Timeout, "the upstream did not answer in time")
	}
	return fault.Wrap(err, fault.Upstream, "the upstream failed")
}

// refusedBody is the fault with which the request's own body ended: it was
// refused on its way. No upstream makes one.
func refusedBody(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return nil
}

func (x *exchange) cut(err error) error { return fmt.Errorf("%w: %w", ErrCut, err) }
