package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/shield/listen"
)

// matchUpstream finds a request that is not for the platform's own API among
// the routes of the operator's file. The platform's own paths win.
func (g *Gateway) matchUpstream(x *Exchange) (*Route, error) {
	if g.cfg.Upstreams == nil {
		return nil, nil
	}
	table := g.cfg.Upstreams.Table()
	ur, err := table.Match(x.Request)
	if err != nil {
		return nil, err
	}
	x.upstream, x.passage = ur, g.passages(table).by[ur]
	return &x.passage.route, nil
}

func (g *Gateway) limitsUpstream(x *Exchange, route *Route) error {
	x.Route = route
	if x.Request.ContentLength > route.MaxBody {
		return fault.New(fault.TooLarge, "the body is larger than the %d bytes allowed here", route.MaxBody)
	}
	if strings.HasPrefix(x.Request.Header.Get("Content-Type"), "application/grpc") {
		listen.Unmetered(x.Request) // a call may say nothing for long
	}
	if x.Request.Body != http.NoBody { // inspection changes it, and the server looks at its own
		x.Request = x.Request.WithContext(x.Request.Context())
	}
	return nil
}

// errAborted leaves an answer that was cut in the middle: the client must see
// it end there.
var errAborted = errors.New("the answer was cut")

// proxy hands the request to its upstream. What may change something there is
// an act on the outside world: its intent is durable before the first byte
// leaves, its outcome follows.
func (g *Gateway) proxy(x *Exchange) error {
	id := upstream.Identity{
		TenantID: x.Scope.ID().String(), TenantName: x.Scope.Name(), Subject: x.Principal.Subject, Kind: x.Principal.Kind.String(),
		Roles: x.Principal.Roles.Names(), RequestID: x.ID, Traceparent: x.Trace.String(), Client: x.Client,
	}
	if err := x.Decide(policy.Resource{Kind: "upstream", ID: x.upstream.Match, Tool: x.upstream.Match}); err != nil {
		return err
	}
	serve := func() error {
		err := g.cfg.Upstreams.Serve(x.Writer, x.Request, x.upstream, id)
		if f := x.verdict(); f != nil {
			return x.refusePassing(f)
		}
		if f := x.fallen(); f != nil {
			return x.stop(f, "authn")
		}
		if x.guard.leaked {
			x.details = map[string]any{"kind": "prompt", "rules": []string{"canary"}, "families": []string{"system_prompt_extraction"}, "alert": true, "field": "the answer"}
			x.severity = audit.High
			return x.refusePassing(fault.New(fault.Prompt, "the answer held a part of its prompt and was cut"))
		}
		if errors.Is(err, upstream.ErrCut) {
			return errAborted
		}
		return err
	}
	switch x.Request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if !upstream.ToWebSocket(x.Request) { // whose messages may change anything
			return serve()
		}
	}
	ev := x.Event(audit.Egress, "upstream/"+x.upstream.Match)
	ev.Details = map[string]any{"method": safeMethod(x.Request.Method), "upstream": x.upstream.Upstream}
	var served error
	ran := false
	_, err := x.Room.Act(context.WithoutCancel(x.Request.Context()), ev, func(context.Context) (audit.Outcome, map[string]any, error) {
		ran, x.settled = true, true
		served = serve()
		details := map[string]any{"status": x.guard.status}
		if served != nil {
			details["code"] = string(fault.CodeOf(served))
			if x.fault != nil { // refused in the middle, with an event of its own
				details["code"] = string(x.fault.Code)
			}
			return audit.Failed, details, nil
		}
		return audit.Success, details, nil
	})
	if !ran {
		return err // the intent could not be recorded: nothing was done
	}
	if err != nil {
		g.cfg.Logger.Error("the outcome of a proxied request could not be recorded; it is closed as unknown", "request_id", x.ID, "error", err)
	}
	return served
}

// refusePassing refuses a body of which the upstream has a part.
func (x *Exchange) refusePassing(f *fault.Error) error { return x.stop(f, "inspect") }

// stop ends what is under way: that is an event of its own beside the act's
// outcome. If the answer has begun, it is cut.
func (x *Exchange) stop(f *fault.Error, stage string) error {
	x.settled, x.reached, x.fault = false, stage, f
	if x.guard.status == 0 {
		return f
	}
	if err := x.settleRefusal(x.guard.status); err != nil {
		x.gate.cfg.Logger.Error("a refusal in the middle of an answer could not be recorded", "request_id", x.ID, "error", err)
	}
	return errAborted
}
