package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Migrate brings the schema up to date as the owner.
func Migrate(ctx context.Context, c Config) (postgres.Migrated, error) {
	return postgres.Migrate(ctx, c.OwnerURL.Expose())
}

// Admin is what the verbs on the database need: stores and identities, nothing
// that serves or signs.
type Admin struct {
	Config   Config
	Store    *postgres.Store
	Identity *identity.Service
	Tiers    *quota.Tiers
	House    plane.Room
}

// OpenAdmin opens the stores.
func OpenAdmin(ctx context.Context, c Config, log *slog.Logger) (*Admin, error) {
	return openAdmin(ctx, c, log, postgres.Signing{})
}

func openAdmin(ctx context.Context, c Config, log *slog.Logger, signing postgres.Signing) (_ *Admin, err error) {
	a := &Admin{Config: c, Tiers: quota.NewTiers()}
	if c.TiersFile != "" {
		if _, err := a.Tiers.LoadFile(c.TiersFile); err != nil {
			return nil, fmt.Errorf("RATE_LIMIT_TIERS_FILE: %w", err)
		}
	}
	engine, err := policy.Load(policy.Sources{PolicyFile: c.PolicyFile, RolesFile: c.RolesFile})
	if err != nil {
		return nil, err
	}
	hasher, err := password.NewHasher(password.Config{})
	if err != nil {
		return nil, err
	}
	if a.Store, err = postgres.Open(ctx, postgres.Config{URL: c.DatabaseURL.Expose(), MaxConns: 4, Logger: log, Signing: signing}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if err = a.Store.PlantHouse(ctx); err != nil {
		return nil, err
	}
	door, rooms := tenant.NewDoor(a.Store), plane.New(a.Store)
	scope, err := door.AdmitAnyStatus(ctx, tenant.House)
	if err != nil {
		return nil, err
	}
	if a.House, err = rooms.Enter(scope); err != nil {
		return nil, err
	}
	a.Identity = &identity.Service{Store: a.Store, Platform: a.Store, Door: door, Plane: rooms, House: a.House, Passwords: hasher, Policy: engine, Now: time.Now}
	return a, nil
}

// Close ends what OpenAdmin began.
func (a *Admin) Close() { a.Store.Close() }

// Block keeps a network out on every replica; they follow within a second.
func (a *Admin) Block(ctx context.Context, ev audit.Event, p netip.Prefix, length time.Duration, reason string) (shield.Block, error) {
	s, err := shield.New(shield.Config{Store: a.Store.Blocks(), NeverBlock: loopback()})
	if err != nil {
		return shield.Block{}, err
	}
	ev.Type, ev.Severity, ev.Resource = audit.DDoSBlocked, audit.Warning, "block/"+p.String()
	ev.Details = map[string]any{"why": reason, "seconds": int64(length.Seconds())}
	var b shield.Block
	_, err = a.House.Act(ctx, ev, func(ctx context.Context) (_ audit.Outcome, _ map[string]any, err error) {
		b, err = s.Block(ctx, p, length, reason, "operator "+ev.Actor.Name)
		return "", nil, err
	})
	return b, err
}

// Lift ends a block on every replica.
func (a *Admin) Lift(ctx context.Context, ev audit.Event, p netip.Prefix) error {
	p = shield.NormalPrefix(p)
	ev.Type, ev.Severity, ev.Resource, ev.Reason = audit.DDoSBlocked, audit.Warning, "block/"+p.String(), "lifted"
	_, err := a.House.Act(ctx, ev, func(ctx context.Context) (audit.Outcome, map[string]any, error) {
		err := a.Store.Blocks().Lift(ctx, p, "operator "+ev.Actor.Name)
		if errors.Is(err, shield.ErrNotBlocked) {
			err = fault.New(fault.NotFound, "%s is not blocked", p)
		}
		return "", nil, err
	})
	return err
}

// FreePort finds a port of the loopback that nobody uses right now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
