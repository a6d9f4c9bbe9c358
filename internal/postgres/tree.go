package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// tables names where a log's hashes are: of level 0 from $1, at most $2; of
// level $3 the same.
type tables struct{ leaves, nodes string }

var (
	tenantLog = tables{
		// A row has the hashes of all its events: only what is asked for is read.
		`SELECT greatest(seq - 1, $1), substring(leaf FROM (1 + 32 * greatest(0, $1 - seq + 1))::int FOR (32 * (least(seq - 1 + n, $1 + $2) - greatest(seq - 1, $1)))::int)
			FROM audit_leaves WHERE tenant_id = current_setting('app.current_tenant_id')::uuid AND seq <= $1 + $2
			  AND seq >= COALESCE((SELECT max(seq) FROM audit_leaves WHERE tenant_id = current_setting('app.current_tenant_id')::uuid AND seq <= $1 + 1), $1 + 1) ORDER BY seq`,
		`SELECT index, hash FROM audit_nodes
			WHERE tenant_id = current_setting('app.current_tenant_id')::uuid AND level = $3 AND index >= $1 AND index < $1 + $2 ORDER BY index`,
	}
	houseLog = tables{
		`SELECT index, leaf FROM house_leaves WHERE index >= $1 AND index < $1 + $2 ORDER BY index`,
		`SELECT index, hash FROM house_nodes WHERE level = $3 AND index >= $1 AND index < $1 + $2 ORDER BY index`,
	}
)

// tree is merkle.Hashes over the tables of one log.
type tree struct {
	tables
	read func(ctx context.Context, each func(pgx.Rows) error, sql string, args ...any) error
}

var _ merkle.Hashes = tree{}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// on reads through a transaction, or for the house log through the pool.
func (t tables) on(q querier) tree {
	return tree{t, func(ctx context.Context, read func(pgx.Rows) error, sql string, args ...any) error {
		//sqllint:allow the tree's own statements are constants, handed to its field read
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return translate(err)
		}
		defer rows.Close()
		if err := read(rows); err != nil {
			return err
		}
		return translate(rows.Err())
	}}
}

// tenantTree reads the tenant's tree, which has size leaves or more.
func (s *Store) tenantTree(id tenant.ID, size int64) keptTree {
	t := tree{tenantLog, func(ctx context.Context, read func(pgx.Rows) error, sql string, args ...any) error {
		//sqllint:allow the tree's own statements are constants, handed to its field read
		return s.queryIn(ctx, id, read, sql, args...)
	}}
	return keptTree{t, &s.tiles, id, size}
}

// ask is the query for n hashes from index on.
func (t tree) ask(level int, index int64, n int) (sql string, args []any) {
	if level == 0 {
		return t.leaves, []any{index, int64(n)}
	}
	return t.nodes, []any{index, int64(n), level}
}

// fill reads the answer to ask; anything but all of dst is merkle.ErrCorrupt.
func fill(rows pgx.Rows, index int64, dst []tlog.Hash) error {
	n := 0
	err := each(func(r pgx.Rows) error {
		var at int64
		var hash []byte
		if err := r.Scan(&at, &hash); err != nil {
			return err
		}
		if at != index+int64(n) || len(hash) == 0 || len(hash)%tlog.HashSize != 0 || n+len(hash)/tlog.HashSize > len(dst) {
			return merkle.ErrCorrupt
		}
		for ; len(hash) > 0; n++ {
			copy(dst[n][:], hash)
			hash = hash[tlog.HashSize:]
		}
		return nil
	})(rows)
	if err == nil {
		err = rows.Err()
	}
	if err == nil && n != len(dst) {
		err = merkle.ErrCorrupt
	}
	return err
}

// ReadHashes fills dst; a row that is missing is merkle.ErrCorrupt.
func (t tree) ReadHashes(ctx context.Context, level int, index int64, dst []tlog.Hash) error {
	sql, args := t.ask(level, index, len(dst))
	err := t.read(ctx, func(r pgx.Rows) error { return fill(r, index, dst) }, sql, args...)
	if err != nil {
		return fmt.Errorf("read %d hashes from %d of level %d: %w", len(dst), index, level, err)
	}
	return nil
}
