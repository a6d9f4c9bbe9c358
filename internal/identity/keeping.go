package identity

import (
	"context"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// KeepingStore decides what becomes of logs with time, inside changes.
type KeepingStore interface {
	SetHold(ctx context.Context, tx plane.Tx, h audit.Hold) error
	SetRetention(ctx context.Context, tx plane.Tx, days int, owner, reason string) error
}

// SetHold places or lifts a tenant's legal hold. The tenant's log takes the
// event with the change; the house's has the intent before it and the outcome
// after. What is so already is a conflict.
func (s *Service) SetHold(ctx context.Context, store KeepingStore, ev audit.Event, id tenant.ID, h audit.Hold) (audit.Keeping, error) {
	ev.Reason = "legal_hold_placed"
	if !h.Held {
		ev.Reason = "legal_hold_lifted"
	}
	return s.keep(ctx, ev, id, func(k audit.Keeping) error {
		if k.Hold.Held == h.Held {
			return fault.New(fault.Conflict, "the tenant's log is held already, or is not")
		}
		return nil
	}, func(tx plane.Tx) error { return store.SetHold(ctx, tx, h) })
}

// SetRetention decides for how many days a tenant's bodies are kept, at least as
// many as the platform's; for the house itself, how many everybody's are.
func (s *Service) SetRetention(ctx context.Context, store KeepingStore, ev audit.Event, id tenant.ID, days int, owner, reason string) (audit.Keeping, error) {
	ev.Reason = "retention_decided"
	return s.keep(ctx, ev, id, func(k audit.Keeping) error {
		if id != houseID && days < k.Retention.Platform {
			return fault.New(fault.Unprocessable, "the platform keeps every log for %d days; a tenant's own can only be longer", k.Retention.Platform)
		}
		return nil
	}, func(tx plane.Tx) error { return store.SetRetention(ctx, tx, days, owner, reason) })
}

// Keeping tells what becomes of a tenant's log, or of the house's.
func (s *Service) Keeping(ctx context.Context, id tenant.ID) (audit.Keeping, error) {
	room, err := s.enterAny(ctx, id)
	if err != nil {
		return audit.Keeping{}, err
	}
	return room.Log().Keeping(ctx)
}

func (s *Service) keep(ctx context.Context, ev audit.Event, id tenant.ID, may func(audit.Keeping) error, fn func(plane.Tx) error) (audit.Keeping, error) {
	room, err := s.enterAny(ctx, id)
	if err != nil {
		return audit.Keeping{}, err
	}
	before, err := room.Log().Keeping(ctx)
	if err != nil {
		return before, err
	}
	if err := may(before); err != nil {
		return before, err
	}
	ev.Type, ev.Severity, ev.Outcome, ev.Resource = audit.ConfigChanged, audit.High, audit.Success, "tenant/"+id.String()
	if id == houseID {
		_, err = room.Change(ctx, ev, fn)
	} else {
		_, err = s.House.Act(ctx, ev, func(ctx context.Context) (audit.Outcome, map[string]any, error) {
			_, err := room.Change(ctx, ev, fn)
			return "", nil, err
		})
	}
	if err != nil {
		return before, err
	}
	return room.Log().Keeping(ctx)
}

func (s *Service) enterAny(ctx context.Context, id tenant.ID) (plane.Room, error) {
	if id == houseID {
		return s.House, nil
	}
	scope, err := s.Door.AdmitAnyStatus(ctx, id)
	if err != nil {
		return plane.Room{}, err
	}
	return s.Plane.Enter(scope)
}
