package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// tenantCacheTime bounds how long a suspension may stay unseen if its notice
// is lost; notices usually make it milliseconds.
const tenantCacheTime = 500 * time.Millisecond

type tenantCache struct {
	mu sync.RWMutex
	m  map[tenant.ID]cachedTenant
}

type cachedTenant struct {
	rec   tenant.Record
	until time.Time
}

func (c *tenantCache) get(id tenant.ID, now time.Time) (tenant.Record, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.m[id]
	return e.rec, ok && now.Before(e.until)
}

func (c *tenantCache) put(rec tenant.Record, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= 10_000 {
		c.m = map[tenant.ID]cachedTenant{}
	}
	c.m[rec.ID] = cachedTenant{rec, until}
}

func (c *tenantCache) forget(id tenant.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, id)
}

// Find looks a tenant up; it is the Door's directory.
func (s *Store) Find(ctx context.Context, id tenant.ID) (tenant.Record, error) {
	now := s.now()
	if rec, ok := s.tenants.get(id, now); ok {
		return rec, nil
	}
	rec, err := s.findTenant(ctx, `SELECT id, name, status, tier FROM tenants WHERE id = $1`, id.String())
	if err == nil {
		s.tenants.put(rec, now.Add(tenantCacheTime))
	}
	return rec, err
}

// FindByName looks a tenant up by its short name.
func (s *Store) FindByName(ctx context.Context, name string) (tenant.Record, error) {
	return s.findTenant(ctx, `SELECT id, name, status, tier FROM tenants WHERE name = $1`, name)
}

func (s *Store) findTenant(ctx context.Context, sql string, arg any) (rec tenant.Record, err error) {
	var id uuid.UUID
	err = s.pool.QueryRow(ctx, sql, arg).Scan(&id, &rec.Name, &rec.Status, &rec.Tier)
	if err == pgx.ErrNoRows {
		return rec, fault.New(fault.NotFound, "there is no such tenant")
	}
	rec.ID = tenant.ID(id)
	return rec, translate(err)
}

// Tenants lists the platform's tenants by name, the house not among them.
func (s *Store) Tenants(ctx context.Context, afterName string, limit int) ([]tenant.Record, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, name, status, tier FROM tenants WHERE name > $1 AND id <> $2 ORDER BY name LIMIT $3`,
		afterName, tenant.House.String(), limit)
	if err != nil {
		return nil, translate(err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (rec tenant.Record, err error) {
		var id uuid.UUID
		err = r.Scan(&id, &rec.Name, &rec.Status, &rec.Tier)
		rec.ID = tenant.ID(id)
		return rec, err
	})
	return out, translate(err)
}

// InsertTenant adds a tenant inside a change of the house.
func (s *Store) InsertTenant(_ context.Context, ptx plane.Tx, rec tenant.Record) error {
	tx, err := ofHouse(ptx)
	if err != nil {
		return err
	}
	tx.later(`INSERT INTO tenants (id, name, status, tier) VALUES ($1, $2, $3, $4)`, rec.ID.String(), rec.Name, string(rec.Status), rec.Tier)
	return nil
}

// SetTenant changes a tenant's status and tier inside a change of the house;
// every replica hears of it at the commit.
func (s *Store) SetTenant(ctx context.Context, ptx plane.Tx, rec tenant.Record) error {
	tx, err := ofHouse(ptx)
	if err != nil {
		return err
	}
	n, err := tx.exec(ctx, `UPDATE tenants SET status = $2, tier = $3, version = version + 1, updated_at = now() WHERE id = $1`,
		rec.ID.String(), string(rec.Status), rec.Tier)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return fault.New(fault.NotFound, "there is no such tenant")
	}
	tx.later(`SELECT pg_notify($1, $2)`, noticeChannel, rec.ID.String())
	return nil
}

// PlantHouse makes the house itself, which no house could record before it
// existed. A second planting is nothing.
func (s *Store) PlantHouse(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO tenants (id, name, tier) VALUES ($1, 'platform', 'dedicated') ON CONFLICT DO NOTHING`, tenant.House.String())
	return translate(err)
}

func ofHouse(ptx plane.Tx) (*Tx, error) {
	tx, err := own(ptx)
	if err == nil && tx.scope.ID() != tenant.House {
		err = fault.New(fault.Forbidden, "only the platform changes tenants")
	}
	return tx, err
}
