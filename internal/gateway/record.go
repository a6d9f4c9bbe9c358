package gateway

import (
	"context"
	"errors"
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
	if x.probe() {
		return nil
	}
	code := CodeOf(status)
	if x.fault != nil {
		code = x.fault.Code
	}
	ev := x.Event(audit.APIRequest, "")
	ev.Outcome, ev.Reason = audit.Refused, string(code)
	ev.Details = map[string]any{"status": status, "stage": x.reached}
	switch code {
	case fault.Unauthorized:
		ev.Type, ev.Severity = audit.UnauthorizedAccess, audit.Warning
		if why := authn.Reason(x.fault); why != "" {
			ev.Details["cause"] = why
		}
	case fault.Forbidden, fault.Suspended:
		ev.Type, ev.Severity = audit.UnauthorizedAccess, audit.Warning
		if x.Decision.Reason != "" {
			ev.Details["policy"] = x.Decision.Reason
		}
	case fault.CSRF:
		ev.Type, ev.Severity = audit.CSRFTokenInvalid, audit.Warning
	case fault.Prompt:
		ev.Type, ev.Severity = audit.PromptInjectionDetected, audit.High
	case fault.SQL:
		ev.Type, ev.Severity = audit.SQLInjectionDetected, audit.High
	case fault.XSS:
		ev.Type, ev.Severity = audit.XSSDetected, audit.High
	case fault.Blocked:
		ev.Type, ev.Severity = audit.DDoSBlocked, audit.Warning
	case fault.RateLimited, fault.Budget:
		ev.Type, ev.Severity = audit.RateLimitExceeded, audit.Warning
	case fault.Invalid, fault.TooLarge, fault.MediaType, fault.Unprocessable, fault.NoMethod:
		ev.Type = audit.InputValidationFailed
	case fault.Internal, fault.Upstream, fault.Unavailable, fault.NoRecord, fault.Timeout:
		ev.Outcome, ev.Severity = audit.Failed, audit.Warning
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.Request.Context()), recordTime)
	defer cancel()
	_, err := x.roomOfRecord(ctx).Record(ctx, ev)
	if err != nil {
		x.gate.cfg.Logger.Error("a refusal could not be recorded", "request_id", x.ID, "code", code, "error", err)
	}
	return err
}

// probe: health checks come every few seconds from machines and say nothing.
func (x *Exchange) probe() bool { return x.Route != nil && x.Route.Class.String() == "probe" }

// roomOfRecord is the room whose log the request belongs to: the tenant's once
// the credential is proved, otherwise the house's.
func (x *Exchange) roomOfRecord(ctx context.Context) plane.Room {
	if x.Scope.Check() == nil {
		return x.Room
	}
	if !x.Principal.IsZero() {
		if s, err := x.gate.cfg.Door.Admit(ctx, x.Principal.Tenant); err == nil {
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
	if !x.settled && x.Route != nil && !x.Route.public() && x.guard.status != 0 {
		x.settled = true
		ev := x.Event(audit.APIRequest, "")
		ev.Details = map[string]any{"status": x.guard.status, "path": x.Route.Pattern}
		if err := x.Room.Note(context.WithoutCancel(x.Request.Context()), ev); err != nil {
			g.cfg.Logger.Error("a read could not be recorded", "request_id", x.ID, "error", err)
		}
	}
	if g.cfg.Shield != nil && x.Client.IsValid() {
		g.cfg.Shield.Observe(x.Client, shield.Outcome{Status: x.guard.status})
	}
	route := "none"
	if x.Route != nil {
		route = x.Route.Pattern
	}
	if g.cfg.Observer != nil {
		g.cfg.Observer.Request(route, safeMethod(x.Request.Method), x.guard.status, code, took)
	}
	attrs := []any{"request_id", x.ID, "trace_id", x.Trace.ID, "method", safeMethod(x.Request.Method), "route", route,
		"status", x.guard.status, "bytes", x.guard.bytes, "took", took.Round(time.Microsecond)}
	if !x.Principal.IsZero() {
		attrs = append(attrs, "tenant", x.Principal.Tenant.String(), "subject", x.Principal.Subject)
	}
	if x.fault != nil {
		attrs = append(attrs, "code", code, "stage", x.reached)
		if x.fault.Code == fault.Internal || x.guard.status >= 500 {
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
