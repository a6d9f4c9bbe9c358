package identity

import (
	"context"
	"errors"
	"regexp"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

var houseID = tenant.House

// TenantStore changes the list of tenants, inside changes of the house.
type TenantStore interface {
	Platform
	InsertTenant(ctx context.Context, tx plane.Tx, rec tenant.Record) error
	SetTenant(ctx context.Context, tx plane.Tx, rec tenant.Record) error
	Tenants(ctx context.Context, afterName string, limit int) ([]tenant.Record, error)
}

var tenantName = regexp.MustCompile(`^[a-z][a-z0-9-]{1,38}[a-z0-9]$`)

// CreateTenant adds a tenant. The house's log takes the event with the change;
// the tenant's own log begins with it.
func (s *Service) CreateTenant(ctx context.Context, store TenantStore, ev audit.Event, name, tier string) (tenant.Record, error) {
	if !tenantName.MatchString(name) || name == "platform" {
		return tenant.Record{}, &fault.Error{Code: fault.Unprocessable, Detail: "the tenant's name is not usable",
			Fields: []fault.Field{{Location: "body.name", Message: "want 3 to 40 of a-z, 0-9 and -, beginning with a letter"}}}
	}
	rec := tenant.Record{ID: tenant.NewID(), Name: name, Status: tenant.Active, Tier: tier}
	ev.Type, ev.Severity, ev.Resource = audit.TenantCreated, audit.Warning, "tenant/"+rec.ID.String()
	ev.Details = map[string]any{"name": name, "tier": tier}
	if _, err := s.House.Change(ctx, ev, func(tx plane.Tx) error { return store.InsertTenant(ctx, tx, rec) }); err != nil {
		return tenant.Record{}, err
	}
	room, err := s.enterAny(ctx, rec.ID)
	if err != nil {
		return rec, err
	}
	_, err = room.Change(ctx, ev, func(plane.Tx) error { return nil }) // its log's first event
	return rec, err
}

// SetTenant changes status or tier; empty keeps. Every replica hears of it at
// the commit.
func (s *Service) SetTenant(ctx context.Context, store TenantStore, ev audit.Event, id tenant.ID, status tenant.Status, tier string) (tenant.Record, error) {
	if id == houseID {
		return tenant.Record{}, fault.New(fault.NotFound, "there is no such tenant")
	}
	rec, err := store.Find(ctx, id)
	if err != nil {
		return rec, err
	}
	if rec.Status == tenant.Erased {
		return rec, fault.New(fault.Conflict, "the tenant is erased")
	}
	was := rec
	if status != "" {
		rec.Status = status
	}
	if tier != "" {
		rec.Tier = tier
	}
	if rec == was {
		return rec, nil
	}
	ev.Type, ev.Severity, ev.Resource = audit.TenantChanged, audit.Warning, "tenant/"+id.String()
	if rec.Status == tenant.Isolated && was.Status != tenant.Isolated {
		ev.Type, ev.Severity = audit.TenantIsolated, audit.High
	}
	ev.Details = map[string]any{"status": string(rec.Status), "tier": rec.Tier, "status_before": string(was.Status), "tier_before": was.Tier}
	// The tenant's own log has the intent before and the outcome after, so that
	// it can prove what was done to it whatever becomes of this process.
	room, err := s.enterAny(ctx, id)
	if err != nil {
		return was, err
	}
	_, err = room.Act(ctx, ev, func(ctx context.Context) (audit.Outcome, map[string]any, error) {
		_, err := s.House.Change(ctx, ev, func(tx plane.Tx) error { return store.SetTenant(ctx, tx, rec) })
		return "", nil, err
	})
	if s.Forget != nil {
		s.Forget(id, "")
	}
	if err != nil {
		return was, err
	}
	return rec, nil
}

// Enter admits the operator at the machine, by name or id, whatever the
// tenant's status.
func (s *Service) Enter(ctx context.Context, nameOrID string) (plane.Room, error) {
	rec, err := s.Platform.FindByName(ctx, nameOrID)
	if fault.CodeOf(err) == fault.NotFound {
		id, perr := tenant.ParseID(nameOrID)
		if perr != nil {
			return plane.Room{}, err
		}
		rec, err = s.Platform.Find(ctx, id)
	}
	if err != nil {
		return plane.Room{}, err
	}
	scope, err := s.Door.AdmitAnyStatus(ctx, rec.ID)
	if err != nil {
		return plane.Room{}, err
	}
	if scope.Check() != nil {
		return plane.Room{}, errors.New("no scope")
	}
	return s.Plane.Enter(scope)
}
