package app

import (
	"context"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// ArchiveState is where one tenant's archive stands.
type ArchiveState struct {
	Tenant string `json:"tenant"`
	archive.State
	Waiting int64 `json:"waiting"`
}

// ArchiveState reads it, without the bucket.
func (a *Admin) ArchiveState(ctx context.Context, room plane.Room) (ArchiveState, error) {
	st, err := a.Store.Archive(room.Scope()).State(ctx)
	return ArchiveState{room.Scope().Name(), st, st.Waiting()}, err
}

// Rooms lists the house's room and every tenant's, whatever their status.
func (a *Admin) Rooms(ctx context.Context, do func(plane.Room) error) error {
	if err := do(a.House); err != nil {
		return err
	}
	door, rooms := tenant.NewDoor(a.Store), plane.New(a.Store)
	const page = 200
	for after := ""; ; {
		recs, err := a.Store.Tenants(ctx, after, page)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			after = rec.Name
			scope, err := door.AdmitAnyStatus(ctx, rec.ID)
			if err != nil {
				return err
			}
			room, err := rooms.Enter(scope)
			if err != nil {
				return err
			}
			if err := do(room); err != nil {
				return err
			}
		}
		if len(recs) < page {
			return nil
		}
	}
}

// VerifyArchive reads a tenant's archive back and judges it. key "" takes the
// keys that this process signs with.
func (a *Admin) VerifyArchive(ctx context.Context, room plane.Room, key string) (*archive.Result, error) {
	bucket, err := OpenBucket(ctx, a.Config)
	if err != nil {
		return nil, err
	}
	defer bucket.Close()
	e := archive.Evidence{
		Bucket: bucket, Tenant: room.Scope().ID().String(), Key: key, Retention: a.Config.Retention(), Now: time.Now(),
		Ledger: a.Store.Archive(room.Scope()), Log: room.Log(),
	}
	if key == "" {
		p, err := room.Log().Checkpoint(ctx)
		if err != nil {
			return nil, err
		}
		e.Key, e.HouseKey = p.Key, p.HouseKey
	}
	return archive.Verify(ctx, e)
}
