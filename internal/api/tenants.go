package api

import (
	"context"
	"net/http"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// TenantView is a tenant.
type TenantView struct {
	ID     string `json:"id" format:"uuid"`
	Name   string `json:"name"`
	Status string `json:"status" enum:"active,suspended,isolated,erased"`
	Tier   string `json:"tier"`
}

func tenantView(r tenant.Record) TenantView {
	return TenantView{r.ID.String(), r.Name, string(r.Status), r.Tier}
}

// TenantCreate describes a new tenant.
type TenantCreate struct {
	Name string `json:"name" minLength:"3" maxLength:"40"`
	Tier string `json:"tier,omitempty" maxLength:"40" doc:"Left out: RATE_LIMIT_TIER"`
}

// TenantUpdate changes what it names.
type TenantUpdate struct {
	Tier string `json:"tier" minLength:"1" maxLength:"40"`
}

func (a *API) tenants() {
	register(a, op{method: "GET", path: "/v1/tenant", id: "my-tenant", summary: "See my tenant", action: policy.TenantRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, _ *struct{}) (*Out[TenantView], error) {
			r, err := a.deps.Tenants.Find(ctx, x.Scope.ID())
			if err != nil {
				return nil, err
			}
			return &Out[TenantView]{tenantView(r)}, nil
		})
	register(a, op{method: "GET", path: "/v1/tenants", id: "list-tenants", summary: "List tenants (platform operator)", action: policy.PlatformTenantsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *Paging) (*Out[Page[TenantView]], error) {
			if err := x.DecideTenant(tenant.House); err != nil {
				return nil, err
			}
			rs, err := a.deps.Tenants.Tenants(ctx, in.Cursor, in.Limit+1)
			if err != nil {
				return nil, err
			}
			return &Out[Page[TenantView]]{pageOf(rs, in.Limit, tenantView, func(r tenant.Record) string { return r.Name })}, nil
		})
	register(a, op{method: "POST", path: "/v1/tenants", id: "create-tenant", summary: "Create a tenant (platform operator)", action: policy.PlatformTenantsCreate, class: "write", status: http.StatusCreated},
		func(ctx context.Context, x *gateway.Exchange, in *struct{ Body TenantCreate }) (*Out[TenantView], error) {
			if err := x.DecideTenant(tenant.House); err != nil {
				return nil, err
			}
			if in.Body.Tier == "" {
				in.Body.Tier = a.deps.DefaultTier
			}
			if err := a.knownTier(in.Body.Tier); err != nil {
				return nil, err
			}
			r, err := a.deps.Identity.CreateTenant(ctx, a.deps.Tenants, changed(x), in.Body.Name, in.Body.Tier)
			if err != nil {
				return nil, err
			}
			x.Settle()
			return &Out[TenantView]{tenantView(r)}, nil
		})
	register(a, op{method: "GET", path: "/v1/tenants/{id}", id: "get-tenant", summary: "See a tenant (platform operator)", action: policy.PlatformTenantsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *ID) (*Out[TenantView], error) {
			r, err := a.findTenant(ctx, x, in)
			if err != nil {
				return nil, err
			}
			return &Out[TenantView]{tenantView(r)}, nil
		})
	register(a, op{method: "PATCH", path: "/v1/tenants/{id}", id: "update-tenant", summary: "Change a tenant's tier (platform operator)", action: policy.PlatformTenantsUpdate, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			Body TenantUpdate
		}) (*Out[TenantView], error) {
			if err := a.knownTier(in.Body.Tier); err != nil {
				return nil, err
			}
			return a.setTenant(ctx, x, &in.ID, "update", "", in.Body.Tier)
		})
	for _, s := range []struct {
		verb, summary string
		action        policy.Action
		status        tenant.Status
	}{
		{"suspend", "Suspend a tenant: nobody gets in, nothing is lost (platform operator)", policy.PlatformTenantsSuspend, tenant.Suspended},
		{"resume", "Resume a suspended or isolated tenant (platform operator)", policy.PlatformTenantsSuspend, tenant.Active},
		{"isolate", "Isolate a tenant after an incident (platform operator)", policy.PlatformTenantsIsolate, tenant.Isolated},
	} {
		register(a, op{method: "POST", path: "/v1/tenants/{id}/" + s.verb, id: s.verb + "-tenant", summary: s.summary, action: s.action, class: "write"},
			func(ctx context.Context, x *gateway.Exchange, in *ID) (*Out[TenantView], error) {
				return a.setTenant(ctx, x, in, s.verb, s.status, "")
			})
	}
}

func (a *API) findTenant(ctx context.Context, x *gateway.Exchange, in *ID) (tenant.Record, error) {
	uid, err := in.parse()
	if err != nil {
		return tenant.Record{}, err
	}
	id := tenant.ID(uid)
	if err := x.DecideTenant(id); err != nil {
		return tenant.Record{}, err
	}
	if id == tenant.House {
		return tenant.Record{}, fault.New(fault.NotFound, "there is no such thing here")
	}
	return a.deps.Tenants.Find(ctx, id)
}

// setTenant records what was done: one permission is for suspending and resuming.
func (a *API) setTenant(ctx context.Context, x *gateway.Exchange, in *ID, verb string, status tenant.Status, tier string) (*Out[TenantView], error) {
	r, err := a.findTenant(ctx, x, in)
	if err != nil {
		return nil, err
	}
	ev := changed(x)
	ev.Action = "platform.tenants." + verb
	if r, err = a.deps.Identity.SetTenant(ctx, a.deps.Tenants, ev, r.ID, status, tier); err != nil {
		return nil, err
	}
	x.Settle()
	return &Out[TenantView]{tenantView(r)}, nil
}

func (a *API) knownTier(name string) error {
	if _, err := a.deps.Tiers.Table().Tier(name); err != nil {
		return &fault.Error{Code: fault.Unprocessable, Detail: "there is no such tier", Fields: []fault.Field{{Location: "body.tier", Message: "not in the table of tiers"}}}
	}
	return nil
}
