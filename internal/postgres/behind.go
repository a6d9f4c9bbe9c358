package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// behind lists the tenants whose log has unsigned numbers or an old key: what a
// crash left, on any replica.
func (p *publisher) behind(ctx context.Context, ids []string) ([]tenant.ID, error) {
	var out []tenant.ID
	b := &pgx.Batch{}
	for _, text := range ids {
		id, err := tenant.ParseID(text)
		if err != nil {
			return nil, err
		}
		mine, err := checkpoint.NewSigner(checkpoint.Origin(p.host, text), p.keys.Key)
		if err != nil {
			return nil, err
		}
		b.Queue(setTenant, text)
		b.Queue(`SELECT l.seq IS NOT NULL AND l.seq > COALESCE(c.size, 0), COALESCE(c.signed, '')
			FROM (SELECT max(seq) AS seq FROM audit_leaves WHERE tenant_id = $1) l
			LEFT JOIN (SELECT size, signed FROM audit_checkpoints WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1) c ON true`, text).
			QueryRow(func(r pgx.Row) error {
				var late bool
				var signed string
				if err := r.Scan(&late, &signed); err != nil {
					return err
				}
				if !late && signed != "" && p.keys.Previous != nil {
					_, err := checkpoint.Open([]byte(signed), mine.Name(), mine.Verifier())
					late = err != nil
				}
				if late {
					out = append(out, id)
				}
				return nil
			})
	}
	return out, p.s.work.SendBatch(ctx, b).Close()
}

// arrivalBatch bounds how far back one sweep looks.
const arrivalBatch = 1000

// arrivals looks whether every signed checkpoint is in the house log or on its
// way there. One that is neither was taken from the queue past the house log's
// eyes: that is told and counted, and the checkpoint is sent again. After a
// start the newest thousand of each tenant are looked at, then what is new.
func (p *publisher) arrivals(ctx context.Context, ids []string) error {
	type lost struct {
		id   tenant.ID
		size int64
		leaf []byte
	}
	var found []lost
	b := &pgx.Batch{}
	seen := map[tenant.ID]int64{}
	for _, text := range ids {
		id, err := tenant.ParseID(text)
		if err != nil {
			return err
		}
		seen[id] = p.arrived[id]
		b.Queue(setTenant, text)
		// One statement, one snapshot: a leaf moves from the queue to the log in
		// one transaction, and is in one of them.
		b.Queue(`SELECT c.size, c.house_leaf, EXISTS (SELECT 1 FROM house_leaves l WHERE l.leaf = c.house_leaf) OR EXISTS (SELECT 1 FROM house_queue q WHERE q.leaf = c.house_leaf)
			FROM (SELECT size, house_leaf FROM audit_checkpoints WHERE tenant_id = $1 AND size > $2 ORDER BY size DESC LIMIT $3) c`,
			text, p.arrived[id], arrivalBatch).Query(each(func(r pgx.Rows) error {
			l := lost{id: id}
			var there bool
			if err := r.Scan(&l.size, &l.leaf, &there); err != nil {
				return err
			}
			if !there {
				found = append(found, l)
			}
			seen[id] = max(seen[id], l.size)
			return nil
		}))
	}
	if err := p.s.work.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	for _, l := range found {
		p.failed.Add(1)
		p.s.log.Error("a signed checkpoint never arrived in the house log; it was taken from the queue", "tenant", l.id.String(), "size", l.size)
		if _, err := p.s.work.Exec(ctx, `INSERT INTO house_queue (leaf) VALUES ($1)`, l.leaf); err != nil {
			return err
		}
		p.poke(l.id)
	}
	p.arrived = seen // the sweep alone is here
	return nil
}
