package postgres

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Signing is the audit log's key. Key is Ed25519 and may live in a KMS.
// Previous is the one before it, needed from a change of keys until every log
// has been signed with the new one. Host names the installation in every log's
// origin; the first name stays, and "" takes it.
type Signing struct {
	Key, Previous crypto.Signer
	Host          string
}

const (
	publishEvery = 200 * time.Millisecond // between two rounds
	publishTime  = 20 * time.Second
	publishBatch = 50_000 // leaves in one transaction, and what the last row has beyond
	publishers   = 4      // tenants at a time

	// Advisory locks: the class keeps tenants' and the house's apart from each
	// other and from the schema's.
	lockTree  = 0x6f637472
	lockHouse = 0x6f63686f
)

// publisher extends the trees and signs them. Any number of replicas run one;
// an advisory lock lets one at a time work on a log, and every step is one
// transaction, so a crash leaves the last checkpoint and its tree.
type publisher struct {
	s    *Store
	keys Signing
	host string

	mu    sync.Mutex
	dirty map[tenant.ID]bool
	known map[tenant.ID]tlog.Tree // what this process has seen published
	house tlog.Tree

	failed  atomic.Int64
	arrived map[tenant.ID]int64 // up to which size checkpoints were seen in the house log

	wake    chan struct{}
	housing chan struct{} // wakes the house's loop; closed after the tenants' last round
	closing chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

func newPublisher(ctx context.Context, s *Store, keys Signing) (*publisher, error) {
	if keys.Host != "" {
		if _, err := checkpoint.NewSigner(checkpoint.HouseOrigin(keys.Host), keys.Key); err != nil {
			return nil, err
		}
		if _, err := s.pool.Exec(ctx, `INSERT INTO house_name (host) VALUES ($1) ON CONFLICT DO NOTHING`, keys.Host); err != nil {
			return nil, fmt.Errorf("name the audit log: %w", translate(err))
		}
	}
	p := &publisher{
		s: s, keys: keys, dirty: map[tenant.ID]bool{}, known: map[tenant.ID]tlog.Tree{},
		wake: make(chan struct{}, 1), housing: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	err := s.pool.QueryRow(ctx, `SELECT host FROM house_name`).Scan(&p.host)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errors.New("name the audit log: it has no name yet; the platform's first start gives it one")
	}
	if err != nil {
		return nil, fmt.Errorf("name the audit log: %w", translate(err))
	}
	return p, nil
}

// PublishFailures counts logs that could not be signed since the start: a
// number that grows means a fault, or a log that was altered.
func (s *Store) PublishFailures() int64 {
	if s.pub == nil {
		return 0
	}
	return s.pub.failed.Load()
}

func (p *publisher) start() {
	p.wg.Add(2)
	go p.run()
	go p.runHouse()
}

// stop publishes what is numbered and ends.
func (p *publisher) stop() {
	p.once.Do(func() { close(p.closing) })
	p.wg.Wait()
}

// poke says that the tenant has numbered events.
func (p *publisher) poke(ids ...tenant.ID) {
	if p == nil || len(ids) == 0 {
		return
	}
	p.mu.Lock()
	for _, id := range ids {
		p.dirty[id] = true
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *publisher) run() {
	defer p.wg.Done()
	defer close(p.housing)
	var next time.Time
	for {
		select {
		case <-p.closing:
			p.round()
			return
		case <-p.wake:
			// Of a round of numbering the first tenant wakes us; the others follow.
			p.pause(max(time.Until(next), restLeast))
			begun := time.Now()
			p.round()
			next = time.Now().Add(rest(time.Since(begun), publishEvery))
		}
	}
}

// pause waits, until stop at most.
func (p *publisher) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.closing:
	}
}

func (p *publisher) round() {
	p.mu.Lock()
	ids := p.dirty
	p.dirty = map[tenant.ID]bool{}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), publishTime)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(publishers)
	for id := range ids {
		g.Go(func() error {
			if err := p.publish(ctx, id); err != nil {
				p.failed.Add(1)
				p.s.log.Error("an audit log was not published", "tenant", id.String(), "error", err)
			}
			return nil
		})
	}
	_ = g.Wait()
	select {
	case p.housing <- struct{}{}:
	default:
	}
}

// publish extends the tenant's tree by what is numbered and signs it.
func (p *publisher) publish(ctx context.Context, id tenant.ID) error {
	for {
		more, err := p.publishBatch(ctx, id)
		if err != nil || !more {
			return translate(err)
		}
	}
}

// locked runs fn in a transaction that holds the advisory lock, after first,
// which reads what is there under it in the same round trip.
func (p *publisher) locked(ctx context.Context, id tenant.ID, class, key int32, first func(*pgx.Batch), fn func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, p.s.work, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(setTenant, id.String())
		b.Queue(`SELECT pg_advisory_xact_lock($1, $2)`, class, key)
		first(b) // a statement of its own sees what was committed before the lock was ours
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		return fn(tx)
	})
}

func (p *publisher) publishBatch(ctx context.Context, id tenant.ID) (more bool, err error) {
	origin := checkpoint.Origin(p.host, id.String())
	key, err := checkpoint.NewSigner(origin, p.keys.Key)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	l := ledger{origin: origin, seen: p.known[id]}
	p.mu.Unlock()
	var tree tlog.Tree
	lock := int32(id[12])<<24 | int32(id[13])<<16 | int32(id[14])<<8 | int32(id[15])
	err = p.locked(ctx, id, lockTree, lock, func(b *pgx.Batch) {
		b.Queue(`SELECT c.size, c.root, c.signed, c.frontier, (SELECT count(*) FROM audit_successions s WHERE s.tenant_id = c.tenant_id)
			FROM audit_checkpoints c WHERE c.tenant_id = $1 ORDER BY c.size DESC LIMIT 1`, id.String()).Query(each(l.edge.scan))
	}, func(tx pgx.Tx) error {
		l.hashes = tenantLog.on(tx)
		succession, err := l.check(ctx, p.keys, key)
		if err != nil {
			return err
		}
		leaves, err := leavesAfter(ctx, tx, id, l.edge.tree.N)
		if err != nil {
			return err
		}
		tree = l.edge.tree
		out := &pgx.Batch{}
		if succession != nil {
			out.Queue(`INSERT INTO audit_successions (tenant_id, number, size, signed) VALUES ($1, $2, $3, $4)`,
				id.String(), l.edge.changes+1, tree.N, string(succession))
		}
		if len(leaves) == 0 && succession == nil {
			return nil
		}
		if len(leaves) > 0 {
			nodes := l.edge.frontier.Append(nil, leaves...)
			tree = l.edge.frontier.Tree()
			if err := queueCheckpoint(out, id, origin, key, &l.edge.frontier, nodes); err != nil {
				return err
			}
		}
		more = len(leaves) >= publishBatch
		return tx.SendBatch(ctx, out).Close()
	})
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	if tree.N > p.known[id].N {
		p.known[id] = tree
	}
	p.mu.Unlock()
	return more, nil
}

// leavesAfter reads what is numbered beyond size; a gap stops the log.
func leavesAfter(ctx context.Context, tx pgx.Tx, id tenant.ID, size int64) ([]tlog.Hash, error) {
	rows, err := tx.Query(ctx, `SELECT seq, leaf FROM audit_leaves WHERE tenant_id = $1 AND seq > $2
		AND seq <= greatest($2 + $3, (SELECT min(seq) FROM audit_leaves WHERE tenant_id = $1 AND seq > $2)) ORDER BY seq`, id.String(), size, publishBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var leaves []tlog.Hash
	for rows.Next() {
		var seq int64
		var leaf []byte
		if err := rows.Scan(&seq, &leaf); err != nil {
			return nil, err
		}
		if seq != size+int64(len(leaves))+1 || len(leaf) == 0 || len(leaf)%tlog.HashSize != 0 {
			return nil, fmt.Errorf("%w: after number %d stands %d", errBroken, size+int64(len(leaves)), seq)
		}
		for ; len(leaf) > 0; leaf = leaf[tlog.HashSize:] {
			leaves = append(leaves, tlog.Hash(leaf[:tlog.HashSize]))
		}
	}
	return leaves, rows.Err()
}

// queueCheckpoint signs the tree and queues its rows, and its leaf for the
// house log.
func queueCheckpoint(out *pgx.Batch, id tenant.ID, origin string, key *checkpoint.Signer, f *merkle.Frontier, nodes []merkle.Node) error {
	tree := f.Tree()
	signed, err := checkpoint.Sign(tree, key)
	if err != nil {
		return err
	}
	frontier, err := f.MarshalBinary()
	if err != nil {
		return err
	}
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // never fails (Go 1.24)
	leaf := tlog.RecordHash(record.HouseLeaf(origin, salt, tree))
	if len(nodes) > 0 {
		level, index, hash := nodeColumns(nodes)
		out.Queue(`INSERT INTO audit_nodes (tenant_id, level, index, hash) SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bytea[])`,
			id.String(), level, index, hash)
	}
	out.Queue(`INSERT INTO audit_checkpoints (tenant_id, size, root, signed, frontier, house_salt, house_leaf) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		id.String(), tree.N, tree.Hash[:], string(signed), frontier, salt[:], leaf[:])
	out.Queue(`INSERT INTO house_queue (leaf) VALUES ($1)`, leaf[:])
	return nil
}

func nodeColumns(nodes []merkle.Node) (level []int32, index []int64, hash [][]byte) {
	for i := range nodes {
		level = append(level, int32(nodes[i].Level))
		index = append(index, nodes[i].Index)
		hash = append(hash, nodes[i].Hash[:])
	}
	return level, index, hash
}

// vkeys are the verifier keys of a tenant's log and of the house's.
func (p *publisher) vkeys(id tenant.ID) (log, house string, err error) {
	a, err := checkpoint.NewSigner(checkpoint.Origin(p.host, id.String()), p.keys.Key)
	if err != nil {
		return "", "", err
	}
	b, err := checkpoint.NewSigner(checkpoint.HouseOrigin(p.host), p.keys.Key)
	if err != nil {
		return "", "", err
	}
	return a.Verifier(), b.Verifier(), nil
}
