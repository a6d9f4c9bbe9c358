package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A function that runs with its owner's power is a door of its own. The
// migrations say what each does; a start compares the database with them.

// function is one as the newest migration that makes it has it.
type function struct {
	body    string
	definer bool
}

var (
	makesFunction = regexp.MustCompile(`(?s)CREATE (?:OR REPLACE )?FUNCTION (\w+)\s*\(([^)]*)\)(.*?)\$\$(.*?)\$\$`)
	dropsFunction = regexp.MustCompile(`DROP FUNCTION (?:IF EXISTS )?(\w+)\s*\(([^)]*)\)`)
)

// functionKey is a name and how many arguments it takes.
func functionKey(name, args string) string {
	n := 0
	if strings.TrimSpace(args) != "" {
		n = 1 + strings.Count(args, ",")
	}
	return fmt.Sprintf("%s/%d", name, n)
}

// migrated reads the functions from the migrations, and the newest's number.
func migrated() (map[string]function, int64, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return nil, 0, err
	}
	out := map[string]function{}
	var newest int64
	for _, name := range names {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, 0, err
		}
		if _, err := fmt.Sscanf(name, "migrations/%05d_", &newest); err != nil {
			return nil, 0, fmt.Errorf("read migrations: %s has no number", name)
		}
		for _, m := range dropsFunction.FindAllStringSubmatch(string(text), -1) {
			delete(out, functionKey(m[1], m[2]))
		}
		for _, m := range makesFunction.FindAllStringSubmatch(string(text), -1) {
			out[functionKey(m[1], m[2])] = function{m[4], strings.Contains(m[3], "SECURITY DEFINER")}
		}
	}
	return out, newest, nil
}

// checkFunctions refuses a schema whose functions are not the migrations': a
// changed one, one more that runs with its owner's power, one that everybody may
// run or that looks tables up where its caller says. A schema that a newer
// release migrated is its to judge.
func (s *Store) checkFunctions(ctx context.Context) error {
	want, newest, err := migrated()
	if err != nil {
		return err
	}
	var version int64
	if err := s.pool.QueryRow(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&version); err != nil {
		return fmt.Errorf("the database is not migrated; run `openclaw migrate`: %w", translate(err))
	}
	if version > newest {
		s.log.Warn("a newer release migrated the database; its functions are not checked", "version", version, "known", newest)
		return nil
	}
	rows, err := s.pool.Query(ctx, `SELECT p.proname || '/' || p.pronargs, p.prosrc, p.prosecdef,
			p.proowner = (SELECT relowner FROM pg_class WHERE oid = 'public.audit_events'::regclass),
			COALESCE(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false),
			EXISTS (SELECT 1 FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
		FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND (p.prosecdef OR p.proname || '/' || p.pronargs = ANY ($1))`, keys(want))
	if err != nil {
		return fmt.Errorf("check the schema's functions: %w", translate(err))
	}
	found := map[string]bool{}
	var key, body, wrong string
	var definer, owned, pinned, public bool
	_, err = pgx.ForEachRow(rows, []any{&key, &body, &definer, &owned, &pinned, &public}, func() error {
		f, known := want[key]
		switch {
		case !known:
			wrong = key + " runs with its owner's power and is in no migration"
		case found[key]:
			wrong = key + " is there twice"
		case f.body != body || f.definer != definer:
			wrong = key + " is not what its migration made"
		case definer && !owned:
			wrong = key + " runs with another's power than the owner's of the tables"
		case definer && (!pinned || public):
			wrong = key + " may be run by everybody, or looks tables up where its caller says"
		}
		found[key] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("check the schema's functions: %w", translate(err))
	}
	for key := range want {
		if !found[key] {
			wrong = key + " is missing"
		}
	}
	if wrong != "" {
		return fmt.Errorf("refusing to start: the database's function %s; find out who changed it, then run `openclaw migrate` on a clean schema", wrong)
	}
	return nil
}

func keys(m map[string]function) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
