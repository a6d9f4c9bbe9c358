package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Roles that Bootstrap makes. Owner migrates; App is what the platform runs as.
const (
	OwnerRole = "openclaw_owner"
	AppRole   = "openclaw"
)

// Bootstrap makes, as a superuser of a private cluster, the two roles and an
// empty database. What exists stays. A managed database gets the same from its
// operator; docs/OPERATIONS.md lists the statements.
func Bootstrap(ctx context.Context, superURL, database string) error {
	conn, err := pgx.Connect(ctx, superURL)
	if err != nil {
		return fmt.Errorf("prepare the cluster: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, bootstrapRoles); err != nil {
		return fmt.Errorf("prepare the cluster's roles: %w", err)
	}
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, database).Scan(&there); err != nil || there {
		return err
	}
	name := pgx.Identifier{strings.ToLower(database)}.Sanitize() // DDL takes no parameters
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+name+` OWNER openclaw_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'`); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	return nil
}

const bootstrapRoles = `DO $$ BEGIN
	IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'openclaw_owner') THEN
		CREATE ROLE openclaw_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
	END IF;
	IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'openclaw_app') THEN
		CREATE ROLE openclaw_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
	END IF;
	IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'openclaw') THEN
		CREATE ROLE openclaw LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS IN ROLE openclaw_app;
	END IF;
END $$`
