package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// asApp runs statements as the application's role in one transaction bound to a
// tenant, each statement's only argument the tenant if it has one.
func asApp(t *testing.T, conn *pgx.Conn, id tenant.ID, sqls ...string) (n int64, err error) {
	t.Helper()
	err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT set_config('app.current_tenant_id', $1, true)`, id.String()); err != nil {
			return err
		}
		for i, sql := range sqls {
			var args []any
			if strings.Contains(sql, "$1") {
				args = []any{id.String()}
			}
			if i == len(sqls)-1 && strings.HasPrefix(sql, "SELECT") {
				return tx.QueryRow(t.Context(), sql, args...).Scan(&n)
			}
			if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	return n, err
}

// The function that deletes trusts nobody: whoever holds the application's role
// may call it, over whatever rows that role can write.
func TestTheDeletingFunctionTrustsNobody(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	acme := db.Tenant(t, s, "acme")
	old := room(t, s, acme)
	young := room(t, s, db.Tenant(t, s, "globex"))
	fill(t, young, 40)
	published(t, young)
	e, _ := history(t, db, old, 30)
	s.Close() // nobody numbers or publishes meanwhile

	const begin = `INSERT INTO audit_deletions (tenant_id, number, first, last, month, root, days, event_id, signed)
		SELECT $1::uuid, 1, %d, c.size, '%s', c.root, 30, l.event_id, format(E'%%s/audit/%%s/deletions\ndeletion 1\n%%s %%s\n%%s\n%%s\n30\nnow\n\n- forged', (SELECT host FROM house_name), $1::uuid, %d, c.size, '%s', encode(c.root, 'base64'))
		FROM audit_checkpoints c, audit_leaves l WHERE c.tenant_id = $1::uuid AND c.size = %d AND l.tenant_id = $1::uuid AND l.seq = (SELECT max(seq) FROM audit_leaves WHERE tenant_id = $1::uuid AND seq <= %d)`
	row := func(first int, month string, size, event int) string {
		return fmt.Sprintf(begin, first, month+"-01", first, month, size, event)
	}
	// The month that the old tenant's first 30 records were published in.
	var firstMonth string
	if err := e.conn.QueryRow(t.Context(), `SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM') FROM audit_checkpoints WHERE tenant_id = $1 AND size = 30`, acme.ID().String()).Scan(&firstMonth); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Format("2006-01")
	const call = `SELECT audit_expire(100000)`
	const deleted = `INSERT INTO audit_events (tenant_id, id, body, leaf)
		VALUES ($1, '0190a5d0-0000-7000-8000-00000000beef', '{"details":{"deletion":1,"last":30},"type":"DATA_DELETED"}', sha256('x'))`
	const numbered = `INSERT INTO audit_leaves (tenant_id, seq, at, event_id, leaf) SELECT $1, 111, at, id, leaf FROM audit_events WHERE tenant_id = $1::uuid AND id = '0190a5d0-0000-7000-8000-00000000beef'`
	for name, c := range map[string]struct {
		id   tenant.ID
		sqls []string
		say  string
	}{
		"no tenant":                 {tenant.ID{}, []string{call}, "foreign key"},
		"no batch":                  {acme.ID(), []string{`SELECT audit_expire(0)`}, "1 to 100000"},
		"no statement":              {acme.ID(), []string{call}, ""},
		"another tenant's":          {young.Scope().ID(), []string{call}, ""},
		"a young month":             {young.Scope().ID(), []string{row(1, now, 40, 40), call}, "not past"},
		"a young record, old month": {young.Scope().ID(), []string{row(1, "2010-01", 40, 40), call}, "checkpoint of its month"},
		"a back-dated checkpoint": {young.Scope().ID(), []string{
			`INSERT INTO audit_checkpoints (tenant_id, size, root, signed, frontier, house_salt, house_leaf, at) VALUES ($1, 39, sha256('a'), '', '', sha256('')::bytea || ''::bytea, sha256('b'), '2010-01-02')`}, "house_salt"},
		"a back-dated checkpoint, well formed": {young.Scope().ID(), []string{
			`INSERT INTO audit_checkpoints (tenant_id, size, root, signed, frontier, house_salt, house_leaf, at) VALUES ($1, 39, sha256('a'), '', '', substr(sha256('a'), 1, 16), sha256('b'), '2010-01-02')`,
			row(1, "2010-01", 39, 40), call}, "checkpoint of its month"},
		"a gap before it":       {acme.ID(), []string{row(2, firstMonth, 30, 110), call}, "does not follow"},
		"a month beyond":        {acme.ID(), []string{row(1, firstMonth, 60, 110), call}, "checkpoint of its month"},
		"no event":              {acme.ID(), []string{row(1, firstMonth, 30, 110), call}, "not recorded"},
		"an unpublished event":  {acme.ID(), []string{deleted, numbered, row(1, firstMonth, 30, 111), call}, "not recorded"},
		"another text":          {acme.ID(), []string{strings.Replace(row(1, firstMonth, 30, 110), "deletion 1", "deletion 9", 1), call}, "signs something else"},
		"under a hold":          {acme.ID(), []string{`INSERT INTO audit_holds (tenant_id, held, owner, reason) VALUES ($1, true, 'x', 'y')`, row(1, firstMonth, 30, 110), call}, "legal hold"},
		"a shadow of the holds": {acme.ID(), []string{`INSERT INTO audit_holds (tenant_id, held, owner, reason) VALUES ($1, true, 'x', 'y')`, `CREATE TEMP TABLE audit_holds (LIKE public.audit_holds)`, `SET LOCAL search_path = pg_temp, public`, row(1, firstMonth, 30, 110), call}, "legal hold"},
		"a clock of its own": {young.Scope().ID(), []string{`CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT '2099-01-01'::timestamptz$$`,
			`SET LOCAL search_path = pg_temp, public, pg_catalog`, `SET LOCAL timezone = 'Etc/GMT-14'`, row(1, now, 40, 40), call}, "not past"},
		"a retention lowered just now": {young.Scope().ID(), []string{
			`SELECT set_config('app.current_tenant_id', '00000000-0000-4000-8000-000000000001', true)`,
			`INSERT INTO audit_retention (tenant_id, days, owner, reason, force_at, before, at) VALUES ('00000000-0000-4000-8000-000000000001', 30, 'x', 'y', '2010-01-01', 30, '2010-01-01')`,
			`SELECT set_config('app.current_tenant_id', $1, true)`,
			row(1, time.Now().UTC().AddDate(0, -3, 0).Format("2006-01"), 40, 40), call}, "2555 days"},
		"triggers off":          {acme.ID(), []string{`SET LOCAL session_replication_role = replica`}, "permission denied"},
		"bookkeeping by hand":   {acme.ID(), []string{`UPDATE audit_expiry SET gone = 90`}, "permission denied"},
		"a hold taken back":     {acme.ID(), []string{`DELETE FROM audit_holds`}, "permission denied"},
		"a statement rewritten": {acme.ID(), []string{`UPDATE audit_deletions SET last = 110`}, "permission denied"},
		"a lease on time":       {acme.ID(), []string{`UPDATE audit_retention SET force_at = now()`}, "permission denied"},
		"without the function":  {acme.ID(), []string{`DELETE FROM audit_events WHERE tenant_id = $1`}, "permission denied"},
		"a partition":           {acme.ID(), []string{`DROP TABLE audit_events_other`}, "must be owner"},
	} {
		before := e.count(`SELECT COALESCE(sum(n), 0) FROM audit_events WHERE tenant_id <> $1`) + e.bodies()
		n, err := asApp(t, db.Application(t), c.id, c.sqls...)
		switch {
		case c.say == "" && (err != nil || n != 0):
			t.Errorf("%s: %d, %v", name, n, err)
		case c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)):
			t.Errorf("%s: %d, %v; want a word about %q", name, n, err, c.say)
		}
		if after := e.count(`SELECT COALESCE(sum(n), 0) FROM audit_events WHERE tenant_id <> $1`) + e.bodies(); after != before {
			t.Errorf("%s: of %d bodies %d are left", name, before, after)
		}
	}

	// The superuser with triggers on meets the guard, in and out of a deletion.
	op := db.Operator(t)
	for _, sql := range []string{`DELETE FROM audit_events`, `UPDATE audit_events SET body = ''`, `DELETE FROM audit_deletions`, `DELETE FROM audit_holds`, `TRUNCATE audit_retention`} {
		if tag, err := op.Exec(t.Context(), sql); err == nil && tag.RowsAffected() > 0 || err != nil && !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s answered %v, %v", sql, tag, err)
		}
	}
}
