package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// settingsCacheTime bounds how long a replica goes by a tenant's old settings.
const settingsCacheTime = 500 * time.Millisecond

// settingsTime bounds asking for them.
const settingsTime = 5 * time.Second

type settingsCache struct {
	mu sync.RWMutex
	m  map[tenant.ID]cachedSettings
}

type cachedSettings struct {
	set   audit.Settings
	until time.Time
}

// AuditSettings tells how the tenant wants its log kept.
func (s *Store) AuditSettings(ctx context.Context, scope tenant.Scope) (audit.Settings, error) {
	if err := scope.Check(); err != nil {
		return audit.Settings{}, err
	}
	now := s.now()
	s.settings.mu.RLock()
	c, ok := s.settings.m[scope.ID()]
	s.settings.mu.RUnlock()
	if ok && now.Before(c.until) {
		return c.set, nil
	}
	var set audit.Settings
	ctx, cancel := context.WithTimeout(ctx, settingsTime)
	defer cancel()
	err := s.query(ctx, scope, each(func(r pgx.Rows) error { return r.Scan(&set.DurableReads) }),
		`SELECT durable_reads FROM audit_settings WHERE tenant_id = $1`, scope.ID().String())
	if err != nil {
		return audit.Settings{}, err
	}
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	if s.settings.m == nil || len(s.settings.m) >= 10_000 {
		s.settings.m = map[tenant.ID]cachedSettings{}
	}
	s.settings.m[scope.ID()] = cachedSettings{set, now.Add(settingsCacheTime)}
	return set, nil
}

// SetAuditSettings changes them inside a change of the tenant; every replica
// goes by them within half a second.
func (s *Store) SetAuditSettings(_ context.Context, ptx plane.Tx, set audit.Settings) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.later(`INSERT INTO audit_settings (tenant_id, durable_reads) VALUES ($1, $2)
		ON CONFLICT (tenant_id) DO UPDATE SET durable_reads = $2`, tx.scope.ID().String(), set.DurableReads)
	tx.Detail("durable_reads", set.DurableReads)
	return nil
}
