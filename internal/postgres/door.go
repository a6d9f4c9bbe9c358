package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// houseTables hold no tenant's content and therefore carry no tenant policy.
// Everything else must.
var houseTables = map[string]string{
	"tenants":               "the list of tenants itself",
	"login_names":           "digests that lead a login without tenant to its tenant",
	"certificate_names":     "whom a client certificate belongs to, asked before anybody is admitted",
	"blocks":                "blocked networks, the platform's",
	"block_changes":         "their history, which replicas follow",
	"house_leaves":          "hashes of salted commitments to checkpoints",
	"house_nodes":           "the tree over them",
	"house_checkpoints":     "its signed sizes and roots",
	"house_successions":     "changes of its key",
	"house_queue":           "leaves that wait for their number",
	"house_cosignatures":    "witnesses' signatures of its checkpoints",
	"house_witnesses":       "how each witness last answered",
	"house_anchors":         "roots on their way into a public chain",
	"house_anchor_attempts": "the transactions signed for them",
	"house_anchor_sight":    "what the last look at the chain found",
	"house_name":            "the name in every log's origin",
	"replicas":              "which processes live",
	"goose_db_version":      "which migrations ran",
}

// checkDoor refuses to start on a database that could let a tenant through the
// wall: a role with too much power, a table without its policy, an audit log
// that can be rewritten.
func (s *Store) checkDoor(ctx context.Context) error {
	var user string
	var super, bypass, createRole, createDB bool
	err := s.pool.QueryRow(ctx, `SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user`).
		Scan(&user, &super, &bypass, &createRole, &createDB)
	if err != nil {
		return fmt.Errorf("check the database role: %w", translate(err))
	}
	for _, p := range []struct {
		held bool
		what string
	}{
		{super, "is a superuser"}, {bypass, "may bypass row-level security"},
		{createRole, "may create roles"}, {createDB, "may create databases"},
	} {
		if p.held {
			return fmt.Errorf("refusing to start: database role %q %s; give DATABASE_URL a plain member of openclaw_app and keep the owner for `openclaw migrate`", user, p.what)
		}
	}

	// Power can also be inherited or assumed with SET ROLE.
	rows, err := s.pool.Query(ctx, `SELECT rolname FROM pg_roles
		WHERE (rolsuper OR rolbypassrls OR oid IN (SELECT relowner FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace))
		  AND pg_has_role(current_user, oid, 'MEMBER')`)
	if err != nil {
		return fmt.Errorf("check the database role: %w", translate(err))
	}
	strong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("check the database role: %w", translate(err))
	}
	if len(strong) > 0 {
		return fmt.Errorf("refusing to start: database role %q is or may become %s, which owns the tables or stands above the policies", user, strings.Join(strong, ", "))
	}

	bare, err := s.bareTables(ctx)
	if err != nil {
		return err
	}
	if len(bare) > 0 {
		return fmt.Errorf("refusing to start: without forced row-level security and the tenant policy: %s; run `openclaw migrate`", strings.Join(bare, ", "))
	}
	return s.checkAuditTables(ctx)
}

// bareTables lists the tables of the schema that lack the tenant policy and
// are not the house's own.
func (s *Store) bareTables(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT c.relname FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f')
		  AND NOT (c.relrowsecurity AND c.relforcerowsecurity
		    AND (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) = 1
		    AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd = '*' AND p.polpermissive
		      AND pg_get_expr(p.polqual, p.polrelid) = $1 AND pg_get_expr(p.polwithcheck, p.polrelid) = $1))
		ORDER BY 1`,
		`(tenant_id = (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid)`)
	if err != nil {
		return nil, fmt.Errorf("check the schema: %w", translate(err))
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("check the schema: %w", translate(err))
	}
	var bare []string
	for _, t := range all {
		if _, ok := houseTables[t]; !ok {
			bare = append(bare, t)
		}
	}
	return bare, nil
}

// immutableTables may be added to and nothing else. Each carries two triggers.
var immutableTables = []string{
	"audit_events", "audit_leaves", "audit_nodes", "audit_checkpoints", "audit_successions",
	"audit_retention", "audit_holds", "audit_deletions", "audit_segments",
	"house_leaves", "house_nodes", "house_checkpoints", "house_successions", "house_name", "house_cosignatures",
}

// auditTriggers are those triggers and the others that deletion rests on, with
// the function each must run.
func auditTriggers() (tables, names, functions []string) {
	add := func(table, name, function string) {
		tables, names, functions = append(tables, table), append(names, name), append(functions, function)
	}
	for _, t := range immutableTables {
		if t == "audit_events" {
			add(t, t+"_immutable", "audit_events_guard")
		} else {
			add(t, t+"_immutable", "audit_immutable")
		}
		add(t, t+"_no_truncate", "audit_immutable")
	}
	for _, t := range []string{"audit_retention", "audit_holds", "audit_deletions"} {
		add(t, t+"_stamp", "audit_stamp")
	}
	add("audit_checkpoints", "audit_checkpoints_stamp", "audit_clock")
	add("audit_archive", "audit_archive_behind", "audit_archive_behind")
	return tables, names, functions
}

// checkAuditTables makes sure that the log exists, that this role can only add
// to it, and that the triggers which refuse everybody else are in force, on the
// table and on each month of it.
func (s *Store) checkAuditTables(ctx context.Context) error {
	var tables, writable, guards, months int
	var partitioned bool
	on, names, functions := auditTriggers()
	err := s.pool.QueryRow(ctx, `SELECT
		(SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY ($1)),
		(SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
		   AND (c.relname LIKE 'audit\_events%' OR c.relname = ANY ($1) OR c.relname = 'audit_expiry') AND c.relkind IN ('r', 'p')
		   AND (has_table_privilege(c.oid, 'UPDATE') OR has_table_privilege(c.oid, 'DELETE') OR has_table_privilege(c.oid, 'TRUNCATE')
		     OR has_any_column_privilege(c.oid, 'UPDATE') OR c.relname = 'audit_expiry' AND has_any_column_privilege(c.oid, 'INSERT'))),
		(SELECT count(*) FROM unnest($2::text[], $3::text[], $4::text[]) w (tab, name, func)
		   JOIN pg_class c ON c.relname = w.tab AND c.relnamespace = 'public'::regnamespace
		   JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = w.name AND t.tgenabled IN ('O', 'A')
		   JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname = w.func AND p.pronamespace = 'public'::regnamespace),
		(SELECT count(*) FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent AND parent.relname = 'audit_events' AND parent.relnamespace = 'public'::regnamespace
		   WHERE 2 <> (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = i.inhrelid AND t.tgenabled IN ('O', 'A') AND (
		     t.tgname = 'audit_events_immutable' AND t.tgfoid = 'public.audit_events_guard'::regproc OR t.tgname = 'no_truncate' AND t.tgfoid = 'public.audit_immutable'::regproc))),
		(SELECT count(*) = 1 FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid AND c.relnamespace = 'public'::regnamespace
		   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'at' WHERE c.relname = 'audit_events' AND p.partstrat = 'r' AND p.partattrs::text = a.attnum::text)`,
		immutableTables, on, names, functions).Scan(&tables, &writable, &guards, &months, &partitioned)
	switch {
	case err != nil:
		return fmt.Errorf("check the audit log: %w", translate(err))
	case tables != len(immutableTables):
		return fmt.Errorf("the database is not migrated; run `openclaw migrate`")
	case writable != 0:
		return fmt.Errorf("refusing to start: the application's role may rewrite %d of the audit log's tables; revoke UPDATE, DELETE and TRUNCATE", writable)
	case guards != len(names) || months != 0:
		return fmt.Errorf("refusing to start: the audit log's triggers are missing, disabled or others (%d of %d in force, %d months without)", guards, len(names), months)
	case !partitioned:
		return fmt.Errorf("refusing to start: audit_events is not partitioned by time")
	}
	return s.checkFunctions(ctx)
}
