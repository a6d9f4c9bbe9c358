package postgres

import (
	"context"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// historyKept is how long a replica may be away and still follow the history;
// after that it reads the whole list.
const historyKept = time.Hour

// Blocks is the shield's shared store.
type Blocks struct{ s *Store }

// Blocks returns the shield's store on this database.
func (s *Store) Blocks() *Blocks { return &Blocks{s} }

var _ shield.BlockStore = (*Blocks)(nil)

// write runs one change of the history, and if it changed anything commits it
// together with its event in the house's log. Writers take turns until their
// commit, so numbers become visible in their order and a follower skips none;
// blocks are rare enough for that.
func (b *Blocks) write(ctx context.Context, ev audit.Event, sql string, args ...any) (rows int64, err error) {
	ev.Type, ev.Severity, ev.Outcome, ev.Actor = audit.DDoSBlocked, audit.Warning, audit.Success, audit.Actor{Kind: audit.ActorSystem}
	sealed, err := record.Seal(tenant.House.String(), ev, b.s.now)
	if err != nil {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, b.s.pool, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(setTenant, tenant.House.String())
		batch.Queue(`SELECT pg_advisory_xact_lock(hashtext('block_changes'))`)
		batch.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error {
			rows = tag.RowsAffected()
			return nil
		})
		if err := tx.SendBatch(ctx, batch).Close(); err != nil || rows == 0 {
			return err
		}
		out := &pgx.Batch{}
		queueEvents(out, tenant.House, []*record.Sealed{&sealed})
		return tx.SendBatch(ctx, out).Close()
	})
	return rows, err
}

// Put adds or replaces a block, unless an earlier one outlasts an automatic
// newcomer.
func (b *Blocks) Put(ctx context.Context, v shield.Block) error {
	ev := audit.Event{Resource: "block/" + v.Prefix.String(), Reason: "block_written",
		Details: map[string]any{"why": v.Reason, "owner": v.Owner, "strikes": v.Strikes, "until": v.Until.UTC().Format(time.RFC3339)}}
	_, err := b.write(ctx, ev, `WITH put AS (
		INSERT INTO blocks (prefix, reason, owner, strikes, since, until) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (prefix) DO UPDATE SET reason = $2, owner = $3, strikes = $4, since = $5, until = $6
			WHERE NOT ($3 = $7 AND blocks.until > $6)
		RETURNING 1)
		INSERT INTO block_changes (prefix, reason, owner, strikes, since, until)
		SELECT $1, $2, $3, $4, $5, $6 FROM put`,
		v.Prefix, v.Reason, v.Owner, v.Strikes, v.From, v.Until, shield.Automatic)
	return translate(err)
}

// Lift ends the block on exactly this prefix.
func (b *Blocks) Lift(ctx context.Context, p netip.Prefix, by string) error {
	ev := audit.Event{Resource: "block/" + p.String(), Reason: "block_removed", Details: map[string]any{"owner": by}}
	n, err := b.write(ctx, ev, `WITH gone AS (DELETE FROM blocks WHERE prefix = $1 RETURNING until > now() AS held)
		INSERT INTO block_changes (prefix, lifted, by) SELECT $1, true, $2 FROM gone WHERE held`, p, by)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return shield.ErrNotBlocked
	}
	return nil
}

// List returns what holds, and forgets what ended and history nobody follows.
func (b *Blocks) List(ctx context.Context, now time.Time) ([]shield.Block, error) {
	batch := &pgx.Batch{}
	batch.Queue(`DELETE FROM blocks WHERE until < now() - interval '1 day'`)
	batch.Queue(`DELETE FROM block_changes WHERE at < now() - make_interval(secs => $1)`, historyKept.Seconds())
	if err := b.s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, translate(err)
	}
	rows, err := b.s.pool.Query(ctx, `SELECT prefix, reason, owner, strikes, since, until FROM blocks WHERE until > $1`, now)
	if err != nil {
		return nil, translate(err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (v shield.Block, err error) {
		err = r.Scan(&v.Prefix, &v.Reason, &v.Owner, &v.Strikes, &v.From, &v.Until)
		return v, err
	})
	return all, translate(err)
}

// Since returns the changes after cursor, or shield.ErrCursor when some of
// them are no longer kept.
func (b *Blocks) Since(ctx context.Context, cursor int64) ([]shield.Change, int64, error) {
	var oldest, newest int64
	err := b.s.pool.QueryRow(ctx, `SELECT COALESCE(min(id), 0), COALESCE(max(id), 0) FROM block_changes`).Scan(&oldest, &newest)
	if err != nil {
		return nil, cursor, translate(err)
	}
	if cursor > 0 && cursor < oldest-1 {
		return nil, newest, shield.ErrCursor
	}
	rows, err := b.s.pool.Query(ctx, `SELECT id, prefix, lifted, by, reason, owner, strikes, COALESCE(since, at), COALESCE(until, at)
		FROM block_changes WHERE id > $1 ORDER BY id LIMIT 10000`, cursor)
	if err != nil {
		return nil, cursor, translate(err)
	}
	next := cursor
	changes, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (c shield.Change, err error) {
		err = r.Scan(&next, &c.Block.Prefix, &c.Lifted, &c.By, &c.Block.Reason, &c.Block.Owner, &c.Block.Strikes, &c.Block.From, &c.Block.Until)
		return c, err
	})
	return changes, next, translate(err)
}
