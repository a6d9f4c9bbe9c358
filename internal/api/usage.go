package api

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// LimitView is what is left of one limit.
type LimitView struct {
	Policy    string `json:"policy" example:"tenant-minute"`
	Limit     int64  `json:"limit" doc:"Requests per window, or at once"`
	Window    int64  `json:"window_seconds" doc:"0 for a cap on requests at once"`
	Burst     int64  `json:"burst" doc:"What a full bucket holds"`
	Remaining int64  `json:"remaining"`
	Reset     int64  `json:"reset_seconds" doc:"Until full again"`
}

// UsageView is what a tenant may still do.
type UsageView struct {
	Tier    string       `json:"tier"`
	Limits  []LimitView  `json:"limits"`
	Budgets []BudgetView `json:"budgets,omitempty" doc:"Where the tier sets any"`
}

// BudgetView is what is left of one budget.
type BudgetView struct {
	Scope     string `json:"scope" enum:"user,tenant"`
	Resource  string `json:"resource" enum:"requests,tokens,money_micros,sandbox_seconds,egress_bytes"`
	Every     string `json:"every" enum:"day,month,life"`
	Period    string `json:"period" doc:"The day or month, UTC" example:"2026-11"`
	Limit     int64  `json:"limit"`
	Spent     int64  `json:"spent"`
	Reserved  int64  `json:"reserved" doc:"Set aside for what is under way"`
	Remaining int64  `json:"remaining" doc:"Below 0 after an overrun"`
}

// budgets reads the caller's and the tenant's, charging nothing.
func (a *API) budgets(ctx context.Context, x *gateway.Exchange) (out []BudgetView, err error) {
	tier, err := a.deps.Tiers.Table().Tier(x.Scope.Tier())
	if err != nil || a.deps.Ledger == nil || !tier.Budgets.User.Set() && !tier.Budgets.Tenant.Set() {
		return nil, err
	}
	var path quota.Path
	if user, err := uuid.Parse(x.Principal.Subject); err == nil {
		path.User = user
	}
	account, err := quota.NewAccount(x.Scope.ID(), path)
	if err != nil {
		return nil, err
	}
	balances, err := a.deps.Ledger.Balance(ctx, account, tier.Budgets.Caps(time.Now()))
	if err != nil {
		return nil, err
	}
	for _, b := range balances {
		limit, spent, reserved, left := b.Limit.Vector(), b.Spent.Vector(), b.Reserved.Vector(), b.Left().Vector()
		for i, name := range quota.Resources() {
			if limit[i] != quota.NoLimit {
				out = append(out, BudgetView{b.Scope.String(), name, tier.Budgets.Of(b.Scope).Every, b.Period.String(), limit[i], spent[i], reserved[i], left[i]})
			}
		}
	}
	return out, nil
}

func (a *API) usage() {
	register(a, op{method: "GET", path: "/v1/usage", id: "usage", summary: "What is left of my limits", action: policy.UsageRead, class: "probe"},
		func(ctx context.Context, x *gateway.Exchange, _ *struct{}) (*Out[UsageView], error) {
			budgets, err := a.budgets(ctx, x)
			if err != nil {
				return nil, err
			}
			out := &Out[UsageView]{UsageView{Tier: x.Scope.Tier(), Limits: []LimitView{}, Budgets: budgets}}
			if a.deps.Limiter == nil {
				return out, nil
			}
			class, err := a.deps.Tiers.Table().Class("read")
			if err != nil {
				return nil, err
			}
			plan, err := a.deps.Tiers.Table().Plan(x.Scope.Tier(), class)
			if err != nil {
				return nil, err
			}
			key, err := quota.TenantKey(x.Scope.ID())
			if user, uerr := uuid.Parse(x.Principal.Subject); uerr == nil {
				key, err = quota.UserKey(x.Scope.ID(), user)
			}
			if err != nil {
				return nil, err
			}
			states, err := a.deps.Limiter.Usage(ctx, key, plan)
			if err != nil {
				return nil, err
			}
			for _, s := range states {
				out.Body.Limits = append(out.Body.Limits, LimitView{s.Policy.Name, s.Policy.Limit, int64(s.Policy.Window / time.Second),
					s.Policy.Capacity, s.Remaining, int64((s.Reset + time.Second - 1) / time.Second)})
			}
			return out, nil
		})
}

// Blocks is what operators do with blocked addresses.
type Blocks interface {
	Blocks() []shield.Block
	Block(ctx context.Context, prefix netip.Prefix, length time.Duration, reason, owner string) (shield.Block, error)
	Lift(ctx context.Context, prefix netip.Prefix, by string) error
}

// BlockCreate blocks a network.
type BlockCreate struct {
	Prefix  string `json:"prefix" minLength:"2" maxLength:"50" example:"203.0.113.0/24"`
	Seconds int64  `json:"seconds" minimum:"1" maximum:"31622400"`
	Reason  string `json:"reason" minLength:"1" maxLength:"200"`
}

// blocks are the platform's: an address does not belong to a tenant, and one
// tenant must not lock out another's people.
func (a *API) blocks() {
	off := func() error {
		if a.deps.Shield == nil {
			return fault.New(fault.Unavailable, "DDoS protection is switched off; ENABLE_DDOS_PROTECTION=true brings it back")
		}
		return nil
	}
	register(a, op{method: "GET", path: "/v1/blocks", id: "list-blocks", summary: "List blocked addresses (platform operator)", action: policy.PlatformBlocksRead, class: "read"},
		func(_ context.Context, x *gateway.Exchange, _ *struct{}) (*Out[Page[shield.Block]], error) {
			if err := house(x, off); err != nil {
				return nil, err
			}
			bs := a.deps.Shield.Blocks()
			if bs == nil {
				bs = []shield.Block{}
			}
			return &Out[Page[shield.Block]]{Page[shield.Block]{Items: bs}}, nil
		})
	register(a, op{method: "POST", path: "/v1/blocks", id: "create-block", summary: "Block an address or network (platform operator)", action: policy.PlatformBlocksManage, class: "write", status: 201},
		func(ctx context.Context, x *gateway.Exchange, in *struct{ Body BlockCreate }) (*Out[shield.Block], error) {
			if err := house(x, off); err != nil {
				return nil, err
			}
			p, err := prefixOf(in.Body.Prefix)
			if err != nil {
				return nil, err
			}
			var b shield.Block
			err = onAddress(ctx, x, p, "block_asked", map[string]any{"why": in.Body.Reason, "seconds": in.Body.Seconds}, func(ctx context.Context) (err error) {
				b, err = a.deps.Shield.Block(ctx, p, time.Duration(in.Body.Seconds)*time.Second, in.Body.Reason, "operator "+x.Principal.Subject)
				return err
			})
			if err != nil {
				return nil, err
			}
			return &Out[shield.Block]{b}, nil
		})
	register(a, op{method: "DELETE", path: "/v1/blocks/{prefix...}", id: "lift-block", summary: "Lift a block (platform operator)", action: policy.PlatformBlocksManage, class: "write", status: 204},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Prefix string `path:"prefix" maxLength:"60"`
		}) (*Empty, error) {
			if err := house(x, off); err != nil {
				return nil, err
			}
			p, err := prefixOf(in.Prefix)
			if err != nil {
				return nil, fault.New(fault.NotFound, "there is no such thing here")
			}
			return nil, onAddress(ctx, x, p, "lift_asked", nil, func(ctx context.Context) error {
				return a.deps.Shield.Lift(ctx, p, "operator "+x.Principal.Subject)
			})
		})
}

// onAddress is what an operator does to an address, between its intent and its
// outcome. The shield's own event tells what became of it on this replica.
func onAddress(ctx context.Context, x *gateway.Exchange, p netip.Prefix, what string, details map[string]any, do func(context.Context) error) error {
	ev := x.Event(audit.DDoSBlocked, "block/"+p.String())
	ev.Severity, ev.Reason, ev.Details = audit.Warning, what, details
	_, err := x.Room.Act(ctx, ev, func(ctx context.Context) (audit.Outcome, map[string]any, error) { return "", nil, do(ctx) })
	if err == nil {
		x.Settle()
	}
	return err
}
