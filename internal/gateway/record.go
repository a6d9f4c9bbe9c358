package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// recordTime bounds how long an answer waits for its event. It runs on its own
// clock: a client that hung up does not get to skip the record.
const recordTime = 5 * time.Second

// settleRefusal makes the event of a refusal or a failure durable, before the
// answer leaves. What the handler recorded itself is not recorded twice.
func (x *Exchange) settleRefusal(status int) error {
	if x.settled {
		return nil
	}
	x.settled = true
	// The shield's own events are sampled, with exact counters: recording each
	// refusal would let a flood fill the log.
	if x.probe() || x.reached == "shield" {
		return nil
	}
	code := CodeOf(status)
	if x.fault != nil {
		code = x.fault.Code
	}
	ev := x.Event(audit.APIRequest, "")
	ev.Outcome, ev.Reason = audit.Refused, string(code)
	ev.Details = map[string]any{"status": status, "stage": x.reached}
	for k, v := range x.details {
		ev.Details[k] = v
	}
	ev.Type = typeOf(code)
	switch code {
	case fault.Unauthorized:
		ev.Severity = audit.Warning
		if why := authn.Reason(x.fault); why != "" {
			ev.Details["cause"] = why
		}
	case fault.Forbidden, fault.Suspended:
		ev.Severity = audit.Warning
		if x.Decision.Reason != "" {
			ev.Details["policy"] = x.Decision.Reason
		}
	case fault.CSRF, fault.Blocked, fault.RateLimited, fault.Budget:
		ev.Severity = audit.Warning
	case fault.Internal, fault.Upstream, fault.Unavailable, fault.NoRecord, fault.Timeout:
		ev.Outcome, ev.Severity = audit.Failed, audit.Warning
	}
	if x.severity != "" {
		ev.Severity = x.severity
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.Request.Context()), recordTime)
	defer cancel()
	room := x.roomOfRecord(ctx)
	if f := x.gate.cfg.Floods; f != nil {
		record, nth := f.Note(room.Scope().ID(), string(code))
		if !record {
			return nil // counted; the minute's summary says how many
		}
		if nth > 1 {
			ev.Details["nth"] = int64(nth)
		}
	}
	_, err := room.Record(ctx, ev)
	if err != nil {
		x.gate.cfg.Logger.Error("a refusal could not be recorded", "request_id", x.ID, "code", code, "error", err)
	}
	return err
}

// lasting is the request's context without its end.
func (x *Exchange) lasting() context.Context {
	if x.last == nil {
		x.last = context.WithoutCancel(x.Request.Context())
	}
	return x.last
}

// plainRead: nobody else records this exchange.
func (x *Exchange) plainRead() bool { return !x.settled && x.Route != nil && !x.Route.public() }

func (x *Exchange) readEvent(status int) audit.Event {
	ev := x.Event(audit.APIRequest, "")
	ev.Details = map[string]any{"status": status, "path": x.Route.Pattern}
	return ev
}

// settleRead promises a plain read's record before its answer, so that a crash
// can tell how many it swallowed, and makes it durable before the answer for
// tenants that ask for it; a tenant whose wish cannot be read is taken to.
func (x *Exchange) settleRead(status int) error {
	if !x.plainRead() || x.Scope.Check() != nil {
		return nil
	}
	ctx := x.lasting()
	// Both answer from memory, and bound the time of asking the database.
	if s, err := x.Room.AuditSettings(ctx); err == nil && !s.DurableReads {
		p, err := x.Room.Promise(ctx)
		if err != nil {
			x.gate.cfg.Logger.Error("a read could not be promised", "request_id", x.ID, "error", err)
			return err
		}
		x.owed = &p
		return nil
	}
	x.settled = true
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	_, err := x.Room.Record(ctx, x.readEvent(status))
	if err != nil {
		x.gate.cfg.Logger.Error("a read could not be recorded", "request_id", x.ID, "error", err)
	}
	return err
}

// summarize writes what a flood left out.
func (g *Gateway) summarize(f quota.Flood) {
	ctx, cancel := context.WithTimeout(context.Background(), recordTime)
	defer cancel()
	room := g.cfg.House
	if !f.Tenant.IsZero() {
		if s, err := g.cfg.Door.AdmitAnyStatus(ctx, f.Tenant); err == nil {
			if r, err := g.cfg.Plane.Enter(s); err == nil {
				room = r
			}
		}
	}
	ev := audit.Event{
		Type: typeOf(fault.Code(f.Kind)), Severity: audit.High, Outcome: audit.Refused, Reason: f.Kind, Actor: audit.Actor{Kind: audit.ActorSystem},
		Details: map[string]any{"summary": true, "count": int64(f.Count), "recorded": int64(f.Recorded),
			"from": f.From.UTC().Format(time.RFC3339), "to": f.To.UTC().Format(time.RFC3339)},
	}
	if _, err := room.Record(ctx, ev); err != nil {
		g.cfg.Logger.Error("the summary of a flood could not be recorded", "kind", f.Kind, "count", f.Count, "error", err)
	}
}

// typeOf is the event that a refusal of this kind is.
func typeOf(code fault.Code) audit.Type {
	switch code {
	case fault.Unauthorized, fault.Forbidden, fault.Suspended:
		return audit.UnauthorizedAccess
	case fault.CSRF:
		return audit.CSRFTokenInvalid
	case fault.Prompt:
		return audit.PromptInjectionDetected
	case fault.SQL:
		return audit.SQLInjectionDetected
	case fault.XSS:
		return audit.XSSDetected
	case fault.Blocked:
		return audit.DDoSBlocked
	case fault.RateLimited, fault.Budget:
		return audit.RateLimitExceeded
	case fault.Invalid, fault.TooLarge, fault.MediaType, fault.Unprocessable, fault.NoMethod:
		return audit.InputValidationFailed
	}
	return audit.APIRequest
}

// probe: health checks and public documents, which machines ask for every few
// seconds and which say nothing. The limit class alone does not make one: it
// says what a route is charged to, and not what it may skip.
func (x *Exchange) probe() bool {
	return x.Route != nil && x.Route.public() && x.Route.Class.String() == "probe"
}

// roomOfRecord is the room whose log the request belongs to: the tenant's once
// the credential is proved, otherwise the house's.
func (x *Exchange) roomOfRecord(ctx context.Context) plane.Room {
	if x.Scope.Check() == nil {
		return x.Room
	}
	id := x.Principal.Tenant
	if x.Principal.IsZero() {
		id = x.named.Tenant // an ended token that is tried again is its tenant's business
	}
	if !id.IsZero() {
		if s, err := x.gate.cfg.Door.AdmitAnyStatus(ctx, id); err == nil {
			if r, err := x.gate.cfg.Plane.Enter(s); err == nil {
				return r
			}
		}
	}
	return x.gate.cfg.House
}

// record closes the exchange: the event of a plain read, the shield's lesson,
// the log line and the metrics.
func (g *Gateway) record(x *Exchange) {
	took := g.cfg.Now().Sub(x.Start)
	code := fault.Code("")
	if x.fault != nil {
		code = x.fault.Code
	}
	if x.owed != nil {
		x.settled = true
		if err := x.owed.Keep(x.lasting(), x.readEvent(x.guard.status)); err != nil {
			g.cfg.Logger.Error("a read could not be recorded", "request_id", x.ID, "error", err)
		}
	}
	if g.cfg.Shield != nil && x.Client.IsValid() {
		g.cfg.Shield.Observe(x.Client, shield.Outcome{Status: x.guard.status, LoginFailed: x.failedLogin, Account: x.account})
	}
	route := "none"
	if x.Route != nil {
		route = x.Route.Pattern
	}
	if g.cfg.Observer != nil {
		g.cfg.Observer.Request(route, safeMethod(x.Request.Method), x.guard.status, code, took)
	}
	failed := x.fault != nil && (x.fault.Code == fault.Internal || x.guard.status >= 500)
	if !failed && !g.cfg.Logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attrs := []any{"request_id", x.ID, "trace_id", x.Trace.ID, "method", safeMethod(x.Request.Method), "route", route,
		"status", x.guard.status, "bytes", x.guard.bytes, "took", took.Round(time.Microsecond)}
	if !x.Principal.IsZero() {
		attrs = append(attrs, "tenant", x.Principal.Tenant.String(), "subject", x.Principal.Subject)
	}
	if x.fault != nil {
		attrs = append(attrs, "code", code, "stage", x.reached)
		if failed {
			g.cfg.Logger.Error("request failed", append(attrs, "error", errors.Unwrap(x.fault))...)
			return
		}
	}
	g.cfg.Logger.Debug("request", attrs...)
}

// principalKey is whose buckets a request is charged to.
func principalKey(p authn.Principal) (quota.Key, error) {
	user, err := uuid.Parse(p.Subject)
	if err != nil {
		return quota.TenantKey(p.Tenant)
	}
	return quota.UserKey(p.Tenant, user)
}
