package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// runHouse follows the tenants' rounds. No tenant's tree waits for the house's.
func (p *publisher) runHouse() {
	defer p.wg.Done()
	var next time.Time
	for range p.housing {
		p.pause(time.Until(next))
		begun := time.Now()
		p.houseRound()
		next = time.Now().Add(rest(time.Since(begun), publishEvery))
	}
}

func (p *publisher) houseRound() {
	ctx, cancel := context.WithTimeout(context.Background(), publishTime)
	defer cancel()
	if err := p.publishHouse(ctx); err != nil {
		p.failed.Add(1)
		p.s.log.Error("the house log was not published", "error", err)
	}
}

// publishHouse takes waiting checkpoints into the house log and signs it.
func (p *publisher) publishHouse(ctx context.Context) error {
	for {
		more, err := p.publishHouseBatch(ctx)
		if err != nil || !more {
			return translate(err)
		}
	}
}

func (p *publisher) publishHouseBatch(ctx context.Context) (more bool, err error) {
	origin := checkpoint.HouseOrigin(p.host)
	key, err := checkpoint.NewSigner(origin, p.keys.Key)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	l := ledger{origin: origin, seen: p.house}
	p.mu.Unlock()
	var tree tlog.Tree
	err = p.locked(ctx, tenant.House, lockHouse, 0, func(b *pgx.Batch) {
		b.Queue(`SELECT size, root, signed, frontier, (SELECT count(*) FROM house_successions)
			FROM house_checkpoints ORDER BY size DESC LIMIT 1`).Query(each(l.edge.scan))
	}, func(tx pgx.Tx) error {
		l.hashes = houseLog.on(tx)
		succession, err := l.check(ctx, p.keys, key)
		if err != nil {
			return err
		}
		tree = l.edge.tree
		rows, err := tx.Query(ctx, `WITH taken AS (DELETE FROM house_queue WHERE id IN (SELECT id FROM house_queue ORDER BY id LIMIT $1) RETURNING id, leaf)
			SELECT leaf FROM taken ORDER BY id`, publishBatch)
		if err != nil {
			return err
		}
		raw, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil {
			return err
		}
		out := &pgx.Batch{}
		if succession != nil {
			out.Queue(`INSERT INTO house_successions (number, size, signed) VALUES ($1, $2, $3)`, l.edge.changes+1, tree.N, string(succession))
		}
		if len(raw) > 0 {
			leaves := make([]tlog.Hash, len(raw))
			for i, h := range raw {
				copy(leaves[i][:], h)
			}
			first := tree.N
			nodes := l.edge.frontier.Append(nil, leaves...)
			tree = l.edge.frontier.Tree()
			signed, err := checkpoint.Sign(tree, key)
			if err != nil {
				return err
			}
			frontier, err := l.edge.frontier.MarshalBinary()
			if err != nil {
				return err
			}
			out.Queue(`INSERT INTO house_leaves (index, leaf) SELECT $1 + n - 1, leaf FROM unnest($2::bytea[]) WITH ORDINALITY AS t (leaf, n)`, first, raw)
			if len(nodes) > 0 {
				level, index, hash := nodeColumns(nodes)
				out.Queue(`INSERT INTO house_nodes (level, index, hash) SELECT * FROM unnest($1::int[], $2::bigint[], $3::bytea[])`, level, index, hash)
			}
			out.Queue(`INSERT INTO house_checkpoints (size, root, signed, frontier) VALUES ($1, $2, $3, $4)`, tree.N, tree.Hash[:], string(signed), frontier)
		}
		if out.Len() == 0 {
			return nil
		}
		more = len(raw) == publishBatch
		return tx.SendBatch(ctx, out).Close()
	})
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	if tree.N > p.house.N {
		p.house = tree
	}
	p.mu.Unlock()
	return more, nil
}
