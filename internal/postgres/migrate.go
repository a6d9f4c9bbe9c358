package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrated tells what Migrate did.
type Migrated struct {
	From, To int64
}

// Migrate brings the schema up to date as the owner that ownerURL names.
// Concurrent runs wait for each other. Migrations go forward only, and each
// leaves the schema usable by the release before it.
func Migrate(ctx context.Context, ownerURL string) (Migrated, error) {
	cfg, err := pgx.ParseConfig(ownerURL)
	if err != nil {
		return Migrated{}, errors.New("read the owner's database URL: not a PostgreSQL URL")
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	if _, err := db.ExecContext(ctx, appRole); err != nil {
		return Migrated{}, fmt.Errorf("make the role openclaw_app: %w (the owner needs CREATEROLE once, or create the role by hand)", err)
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return Migrated{}, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return Migrated{}, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker))
	if err != nil {
		return Migrated{}, fmt.Errorf("read migrations: %w", err)
	}
	var m Migrated
	if m.From, err = p.GetDBVersion(ctx); err != nil {
		return m, fmt.Errorf("read the schema's version: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return m, fmt.Errorf("migrate: %w", err)
	}
	m.To, err = p.GetDBVersion(ctx)
	return m, err
}

// appRole makes the role that the grants name. It cannot log in by itself:
// the operator makes a login that is a member of it, so no password is born
// here. Nothing but the schema's objects is granted to it.
const appRole = `DO $$ BEGIN
	IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'openclaw_app') THEN
		CREATE ROLE openclaw_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
	END IF;
END $$; REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO openclaw_app`
