// Package gateway is the request's path: one ordered list of stages, cheapest
// check first, the record around all of them.
//
//	record → shield → limits → authn → quota → policy → scope → inspect → handler → guard
//
// A refusal is a value with a stable code; whatever is in doubt is refused. TLS
// and what is dropped before it stand in the listener, in front of all this.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/listen"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Authenticator proves who asks, and whether who asked a while ago still may.
type Authenticator interface {
	Authenticate(context.Context, authn.Request) (authn.Principal, error)
	Stands(context.Context, authn.Principal, *tls.ConnectionState) error
}

// Observer sees each request once, when it has ended. Status is 0 when the
// client left before an answer.
type Observer interface {
	Request(route, method string, status int, code fault.Code, took time.Duration)
}

// Config holds what the stages need. Shield, Limiter and Inspection may be nil:
// the protection is then switched off, which the wiring announces and records.
type Config struct {
	Routes     *Routes
	Door       *tenant.Door
	Tenants    tenant.Directory
	Plane      *plane.Plane
	House      plane.Room // the log of what belongs to no tenant
	Auth       Authenticator
	Policy     *policy.Engine
	Shield     *shield.Shield
	Resolver   *shield.Resolver
	Limiter    quota.Limiter
	Tiers      *quota.Tiers
	Inspection *Inspection
	AdminAllow []netip.Prefix  // where platform operators may come from without a certificate
	ApartAdmin bool            // platform operators' routes are served to Administration's connections alone
	Origins    []string        // browsers' origins that may read answers (CORS)
	CSRF       bool            // refuse what pages of other sites have a browser send with its certificate
	Floods     *quota.Floods   // samples refusals; nil records each
	Upstreams  *upstream.Proxy // nil: nothing stands behind the gateway
	Observer   Observer
	Logger     *slog.Logger
	Now        func() time.Time
}

// Gateway serves requests through the stages.
type Gateway struct {
	cfg       Config
	stages    []stage
	names     []string // of the stages
	crossSite *http.CrossOriginProtection
	ready     atomic.Pointer[passages]

	attendance attendance
}

// stage is one check. It passes with nil, refuses with a *fault.Error, and any
// other error is a fault of ours, which refuses too.
type stage struct {
	name  string
	check func(*Exchange) error
}

// New checks the wiring and returns the gateway.
func New(cfg Config) (*Gateway, error) {
	if cfg.Routes == nil || cfg.Door == nil || cfg.Tenants == nil || cfg.Plane == nil || cfg.Auth == nil || cfg.Policy == nil || cfg.Resolver == nil {
		return nil, errors.New("gateway: incomplete wiring")
	}
	if (cfg.Limiter == nil) != (cfg.Tiers == nil) {
		return nil, errors.New("gateway: a limiter needs tiers and the other way round")
	}
	if err := cfg.House.Scope().Check(); err != nil {
		return nil, fmt.Errorf("gateway: the house: %w", err)
	}
	if err := cfg.Routes.Check(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	g := &Gateway{cfg: cfg, crossSite: http.NewCrossOriginProtection(), attendance: attendance{of: map[*attendee]struct{}{}}}
	g.stages = []stage{
		{"shield", g.shield},   // per address, before anything costs
		{"limits", g.limits},   // which door, how large, how long
		{"authn", g.authn},     // who; a tenant can only be charged once that is proved
		{"quota", g.quota},     // the tenant's own buckets
		{"policy", g.policy},   // may they
		{"scope", g.scope},     // the capability: from here on one tenant
		{"inspect", g.inspect}, // what it says, last because it costs most
	}
	for _, s := range g.stages {
		g.names = append(g.names, s.name)
	}
	return g, nil
}

// Start ends streams whose bearer falls, and writes, once a minute, how many
// refusals of a flood were not recorded one by one. It returns what stops it
// and writes the last summary.
func (g *Gateway) Start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.runAttendance(ctx) })
	if g.cfg.Floods != nil {
		running.Go(func() { g.cfg.Floods.Run(ctx, g.summarize) })
	}
	return func() { cancel(); running.Wait() }
}

// ServeHTTP takes one request through the stages. The record stands around
// everything and closes on every path.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &Exchange{Request: r, gate: g, Start: g.cfg.Now()}
	x.ID, x.Trace = identify(r.Header)
	x.guard = guard{ResponseWriter: w, x: x}
	x.Writer = &x.guard
	h := w.Header()
	setSecure(h)
	x.ids[0] = x.ID
	h["X-Request-Id"] = x.ids[:]
	defer g.close(x)

	for i, s := range g.stages {
		x.reached = s.name
		x.trail = g.names[:i+1]
		if err := s.check(x); err != nil {
			x.Refuse(err)
			return
		}
		if x.guard.status != 0 {
			return // answered in full, as a preflight is
		}
	}
	x.reached = "handler"
	if x.Route.Timeout < 0 && !x.Route.public() {
		defer g.attend(x)()
	}
	if x.upstream == nil {
		g.cfg.Routes.ServeHTTP(x.Writer, x.Request)
		return
	}
	switch err := g.proxy(x); {
	case errors.Is(err, errAborted):
		panic(http.ErrAbortHandler)
	case err != nil:
		x.Refuse(err)
	}
}

// Refuse answers with a problem document, once its event is durable.
func (x *Exchange) Refuse(err error) {
	f := Public(err)
	x.fault = f
	writeProblem(x.Writer, f)
}

// Fail notes the fault that a library's handler is about to answer with.
func (x *Exchange) Fail(f *fault.Error) {
	x.fault = f
	problemHeaders(x.Writer.Header(), f)
}

func (g *Gateway) close(x *Exchange) {
	if p := recover(); p == http.ErrAbortHandler { // an answer cut short on purpose
		defer panic(p)
	} else if p != nil {
		g.cfg.Logger.Error("a handler panicked", "request_id", x.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		x.fault = fault.New(fault.Internal, "something failed here; the request id finds it in the operator's log")
		if x.guard.held != nil { // nothing of it was sent
			x.guard.held, x.guard.status = nil, 0
		}
		if x.guard.status == 0 {
			writeProblem(x.Writer, x.fault)
		}
	}
	x.guard.finish()
	if x.cancel != nil {
		x.cancel()
	}
	x.slot.Release()
	g.record(x)
}

func (g *Gateway) shield(x *Exchange) error {
	addr, err := g.cfg.Resolver.Client(x.Request)
	if err != nil {
		x.reached = "address" // the shield has not seen it, so it does not record it
		return err
	}
	x.Client = addr
	if g.cfg.Shield == nil {
		return nil
	}
	return g.cfg.Shield.Check(x.Start, addr, x.Request).Err()
}

func (g *Gateway) limits(x *Exchange) error {
	if done, err := g.crossOrigin(x); done || err != nil {
		return err
	}
	d := g.cfg.Routes.find(x.Request)
	if d != nil && g.elsewhere(d.route, x.Request) { // and no upstream gets it either
		return errNowhere()
	}
	if d == nil {
		route, err := g.matchUpstream(x)
		if route != nil && g.elsewhere(route, x.Request) {
			x.upstream, x.passage = nil, nil
			return errNowhere()
		}
		if route != nil {
			return g.limitsUpstream(x, route)
		}
		if err != nil && fault.CodeOf(err) != fault.NotFound {
			return err
		}
		if g.otherMethod(x.Request) {
			return fault.New(fault.NoMethod, "this path does not take %s", safeMethod(x.Request.Method))
		}
		return errNowhere()
	}
	x.Route = d.route
	if x.Request.ContentLength > d.route.MaxBody {
		return fault.New(fault.TooLarge, "the body is larger than the %d bytes allowed here", d.route.MaxBody)
	}
	x.Request.Body = http.MaxBytesReader(x.Writer, x.Request.Body, d.route.MaxBody)
	ctx := context.WithValue(x.Request.Context(), exchangeKey{}, x)
	if d.route.Timeout > 0 {
		ctx, x.cancel = context.WithTimeout(ctx, d.route.Timeout)
		// The body must arrive within the same time.
		_ = http.NewResponseController(x.guard.ResponseWriter).SetReadDeadline(x.Start.Add(d.route.Timeout))
	}
	x.Request = x.Request.WithContext(ctx)
	return nil
}

func errNowhere() error { return fault.New(fault.NotFound, "there is no such thing here") }

// otherMethod reports whether the path exists for another method.
func (g *Gateway) otherMethod(r *http.Request) bool {
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe := &http.Request{Method: m, URL: r.URL, Host: r.Host}
		if h, _ := g.cfg.Routes.mux.Handler(probe); h != nil {
			if d, ok := h.(*door); ok && !g.elsewhere(d.route, r) {
				return true
			}
		}
	}
	return false
}

func safeMethod(m string) string {
	if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}, m) {
		return m
	}
	return "that method"
}

func (g *Gateway) authn(x *Exchange) error {
	if x.Route.public() {
		return nil
	}
	if err := g.ambient(x.Request); err != nil {
		return err
	}
	p, err := g.cfg.Auth.Authenticate(x.Request.Context(), authn.Request{Authorization: x.Request.Header["Authorization"], TLS: x.Request.TLS})
	if err != nil {
		x.named = p
		return err
	}
	x.Principal = p
	listen.Authenticated(x.Request.Context()) // the last connection to be evicted
	return nil
}

func (g *Gateway) quota(x *Exchange) error {
	if g.cfg.Limiter == nil || x.Route.public() {
		return nil
	}
	rec, err := g.cfg.Tenants.Find(x.Request.Context(), x.Principal.Tenant)
	if err != nil {
		return err
	}
	key, err := principalKey(x.Principal)
	if err != nil {
		return err
	}
	plan, err := g.cfg.Tiers.Table().Plan(rec.Tier, x.Route.Class)
	if err != nil {
		return err
	}
	d, err := g.cfg.Limiter.Take(x.Request.Context(), quota.Ask{Key: key, Plan: plan, At: x.Start})
	if err != nil {
		return err
	}
	x.slot = d.Slot
	d.WriteHeader(x.Writer.Header())
	return d.Err()
}

func (g *Gateway) policy(x *Exchange) error {
	x.Decision = g.cfg.Policy.Consider(x.Subject(), x.Route.Action)
	if !x.Decision.Allowed {
		return fault.New(fault.Forbidden, "you may not %s", x.Route.Action)
	}
	return nil
}

func (g *Gateway) scope(x *Exchange) (err error) {
	if x.Route.public() {
		return nil
	}
	if x.Scope, err = g.cfg.Door.Admit(x.Request.Context(), x.Principal.Tenant); err != nil {
		return err
	}
	x.Room, err = g.cfg.Plane.Enter(x.Scope)
	return err
}
