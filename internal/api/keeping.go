package api

import (
	"context"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// KeepingView is what becomes of a log with time.
type KeepingView struct {
	ID string `json:"id" format:"uuid" doc:"The tenant"`
	audit.Keeping
}

// HoldPlace and HoldLift say who answers for a legal hold, and why.
type HoldPlace struct {
	Owner  string `json:"owner" minLength:"1" maxLength:"200"`
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

// RetentionDecide decides for how many days bodies are kept.
type RetentionDecide struct {
	Days   int    `json:"days" minimum:"30" maximum:"36500"`
	Owner  string `json:"owner" minLength:"1" maxLength:"200"`
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

func (a *API) keeping() {
	view := func(id tenant.ID, k audit.Keeping, err error) (*Out[KeepingView], error) {
		if err != nil {
			return nil, err
		}
		return &Out[KeepingView]{KeepingView{uuid.UUID(id).String(), k}}, nil
	}
	register(a, op{method: "GET", path: "/v1/audit/retention", id: "get-audit-retention", summary: "See how long my log is kept, a legal hold on it, and what was deleted under which signature",
		action: policy.AuditRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, _ *struct{}) (*Out[KeepingView], error) {
			k, err := x.Room.Log().Keeping(ctx)
			return view(x.Scope.ID(), k, err)
		})
	hold := func(ctx context.Context, x *gateway.Exchange, in *ID, h audit.Hold) (*Out[KeepingView], error) {
		r, err := a.findTenant(ctx, x, in)
		if err != nil {
			return nil, err
		}
		k, err := a.deps.Identity.SetHold(ctx, a.deps.Keeping, changed(x), r.ID, h)
		if err == nil {
			x.Settle()
		}
		return view(r.ID, k, err)
	}
	register(a, op{method: "PUT", path: "/v1/tenants/{id}/legal-hold", id: "hold-tenant", summary: "Place a legal hold: nothing of the tenant's log is deleted, however old (platform operator)",
		action: policy.PlatformAuditKeep, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			Body HoldPlace
		}) (*Out[KeepingView], error) {
			return hold(ctx, x, &in.ID, audit.Hold{Held: true, Owner: in.Body.Owner, Reason: in.Body.Reason})
		})
	register(a, op{method: "DELETE", path: "/v1/tenants/{id}/legal-hold", id: "release-tenant", summary: "Lift a legal hold (platform operator)",
		action: policy.PlatformAuditKeep, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			Owner  string `query:"owner" required:"true" minLength:"1" maxLength:"200"`
			Reason string `query:"reason" required:"true" minLength:"1" maxLength:"500"`
		}) (*Out[KeepingView], error) {
			return hold(ctx, x, &in.ID, audit.Hold{Owner: in.Owner, Reason: in.Reason})
		})
	decide := func(ctx context.Context, x *gateway.Exchange, id tenant.ID, d RetentionDecide) (*Out[KeepingView], error) {
		k, err := a.deps.Identity.SetRetention(ctx, a.deps.Keeping, changed(x), id, d.Days, d.Owner, d.Reason)
		if err == nil {
			x.Settle()
		}
		return view(id, k, err)
	}
	register(a, op{method: "PUT", path: "/v1/tenants/{id}/retention", id: "retain-tenant", summary: "Keep a tenant's log longer than the platform's others (platform operator)",
		action: policy.PlatformAuditKeep, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			Body RetentionDecide
		}) (*Out[KeepingView], error) {
			r, err := a.findTenant(ctx, x, &in.ID)
			if err != nil {
				return nil, err
			}
			return decide(ctx, x, r.ID, in.Body)
		})
	register(a, op{method: "PUT", path: "/v1/retention", id: "set-retention", summary: "Decide for how long all logs are kept; a lowering takes force after seven days (platform operator)",
		action: policy.PlatformAuditKeep, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *struct{ Body RetentionDecide }) (*Out[KeepingView], error) {
			if err := x.DecideTenant(tenant.House); err != nil {
				return nil, err
			}
			return decide(ctx, x, tenant.House, in.Body)
		})
}
