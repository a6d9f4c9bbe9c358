package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Anchors keeps the house log's anchors.
type Anchors struct{ s *Store }

// Anchors gives them.
func (s *Store) Anchors() Anchors { return Anchors{s} }

var _ anchor.Store = Anchors{}

// Alone implements anchor.Store.
func (a Anchors) Alone(ctx context.Context, do func(context.Context) error) error {
	return a.s.alone(ctx, lockAnchor, do)
}

// Newest implements anchor.Store.
func (a Anchors) Newest(ctx context.Context) (origin string, tree tlog.Tree, err error) {
	if origin, err = a.Origin(ctx); err != nil {
		return "", tree, err
	}
	head, err := a.s.House().Newest(ctx)
	return origin, head.Tree, err
}

// Origin is the house log's.
func (a Anchors) Origin(ctx context.Context) (string, error) {
	var host string
	err := a.s.pool.QueryRow(ctx, `SELECT host FROM house_name`).Scan(&host)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fault.New(fault.NotFound, "the house log has no name yet; the platform's first start gives it one")
	}
	return checkpoint.HouseOrigin(host), translate(err)
}

// Consistency proves, for a record, that the smaller of two sizes of the house
// log is a prefix of the larger.
func (a Anchors) Consistency(ctx context.Context, size, other int64) (tlog.TreeProof, error) {
	if size == other {
		return nil, nil
	}
	small, large := min(size, other), max(size, other)
	hashes := houseLog.on(a.s.pool)
	head, err := a.s.House().Newest(ctx)
	if err != nil {
		return nil, err
	}
	if large > head.Tree.N {
		return nil, fault.New(fault.NotFound, "the house log has %d leaves, not %d", head.Tree.N, large)
	}
	p := merkle.Prover{Hashes: hashes, Tree: head.Tree}
	if p.Tree, err = p.Root(ctx, large); err != nil {
		return nil, err
	}
	return p.Consistency(ctx, small)
}

// number passes 64 unsigned bits to a numeric column.
func number(n uint64) string { return strconv.FormatUint(n, 10) }

const anchorColumns = `SELECT a.id, a.size, a.root, a.chain_id::text, a.sender, a.nonce::text, a.state, a.problem, a.hash,
	a.block::text, a.block_hash, a.block_time, a.paid::text, a.created, a.updated,
	(SELECT COALESCE(jsonb_agg(jsonb_build_object('Hash', t.hash, 'Raw', encode(t.raw, 'base64'), 'Tip', t.tip, 'Cap', t.cap, 'At', t.at) ORDER BY t.at, t.cap), '[]')
		FROM house_anchor_attempts t WHERE t.anchor = a.id)
	FROM house_anchors a `

// Open implements anchor.Store.
func (a Anchors) Open(ctx context.Context) ([]anchor.Anchor, error) {
	return a.list(ctx, anchorColumns+`WHERE a.state IN ('sent', 'mined') OR a.id = (SELECT max(id) FROM house_anchors) ORDER BY a.id`)
}

// Since implements anchor.Store.
func (a Anchors) Since(ctx context.Context, t time.Time) ([]anchor.Anchor, error) {
	return a.list(ctx, anchorColumns+`WHERE a.created >= $1 OR EXISTS (SELECT 1 FROM house_anchor_attempts t WHERE t.anchor = a.id AND t.at >= $1) ORDER BY a.id`, t)
}

// Last gives the newest anchors, newest first.
func (a Anchors) Last(ctx context.Context, limit int) ([]anchor.Anchor, error) {
	return a.list(ctx, anchorColumns+`ORDER BY a.id DESC LIMIT $1`, limit)
}

// Covering gives the first anchor of at least size leaves that is in the chain, a
// final one if there is any, or fault.NotFound.
func (a Anchors) Covering(ctx context.Context, size int64) (anchor.Anchor, error) {
	return first(a.list(ctx, anchorColumns+`WHERE a.state IN ('final', 'mined') AND a.size >= $1 ORDER BY a.state, a.size LIMIT 1`, size))
}

// Largest gives the one of the most leaves.
func (a Anchors) Largest(ctx context.Context) (anchor.Anchor, error) {
	return first(a.list(ctx, anchorColumns+`WHERE a.state IN ('final', 'mined') ORDER BY a.size DESC LIMIT 1`))
}

func first(list []anchor.Anchor, err error) (anchor.Anchor, error) {
	if err == nil && len(list) == 0 {
		err = fault.New(fault.NotFound, "no anchor in the chain covers that much of the house log yet")
	}
	if err != nil {
		return anchor.Anchor{}, err
	}
	return list[0], nil
}

func (a Anchors) list(ctx context.Context, sql string, args ...any) ([]anchor.Anchor, error) {
	rows, err := a.s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var out []anchor.Anchor
	for rows.Next() {
		var an anchor.Anchor
		var root, attempts []byte
		var chain, nonce string
		var block, hash, paid *string
		var at *time.Time
		if err := rows.Scan(&an.ID, &an.Tree.N, &root, &chain, &an.Sender, &nonce, &an.State, &an.Problem, &an.Hash,
			&block, &hash, &at, &paid, &an.Created, &an.Updated, &attempts); err != nil {
			return nil, err
		}
		copy(an.Tree.Hash[:], root)
		an.ChainID, an.Nonce = unsigned(&chain), unsigned(&nonce)
		if block != nil {
			an.Mined = &anchor.Mined{Block: unsigned(block), BlockHash: value(hash), Paid: unsigned(paid), OK: an.State != anchor.Failed}
			if at != nil {
				an.Mined.Time = at.UTC()
			}
		}
		if err := json.Unmarshal(attempts, &an.Attempts); err != nil || len(an.Attempts) == 0 {
			return nil, fmt.Errorf("anchor %d: its attempts do not read: %w", an.ID, err)
		}
		out = append(out, an)
	}
	return out, translate(rows.Err())
}

func unsigned(s *string) uint64 {
	if s == nil {
		return 0
	}
	n, err := strconv.ParseUint(*s, 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	return n
}

// Create implements anchor.Store.
func (a Anchors) Create(ctx context.Context, an *anchor.Anchor) error {
	return translate(pgx.BeginFunc(ctx, a.s.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO house_anchors (size, root, chain_id, sender, nonce, state, created, updated)
			VALUES ($1, $2, $3::numeric, $4, $5::numeric, $6, $7, $7) RETURNING id`,
			an.Tree.N, an.Tree.Hash[:], number(an.ChainID), an.Sender, number(an.Nonce), string(an.State), an.Created).Scan(&an.ID)
		if err != nil {
			return err
		}
		return insertAttempt(ctx, tx, an.ID, an.Attempts[0])
	}))
}

type execer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func insertAttempt(ctx context.Context, q execer, id int64, t anchor.Attempt) error {
	rows, err := q.Query(ctx, `INSERT INTO house_anchor_attempts (hash, anchor, raw, tip, cap, at) VALUES ($1, $2, $3, $4::numeric, $5::numeric, $6)`,
		t.Hash, id, t.Raw, number(t.Tip), number(t.Cap), t.At)
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// Attempt implements anchor.Store.
func (a Anchors) Attempt(ctx context.Context, an *anchor.Anchor, t anchor.Attempt) error {
	return translate(insertAttempt(ctx, a.s.pool, an.ID, t))
}

// Update implements anchor.Store.
func (a Anchors) Update(ctx context.Context, an *anchor.Anchor) error {
	var block, hash, paid *string
	var at *time.Time
	if m := an.Mined; m != nil {
		b, p := number(m.Block), number(m.Paid)
		block, hash, paid, at = &b, &m.BlockHash, &p, &m.Time
	}
	_, err := a.s.pool.Exec(ctx, `UPDATE house_anchors SET state = $2, problem = $3, hash = $4, block = $5::numeric, block_hash = $6, block_time = $7,
		paid = $8::numeric, updated = $9 WHERE id = $1`, an.ID, string(an.State), string(an.Problem), an.Hash, block, hash, at, paid, an.Updated)
	return translate(err)
}

// Seen implements anchor.Store.
func (a Anchors) Seen(ctx context.Context, s anchor.Sight) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = a.s.pool.Exec(ctx, `INSERT INTO house_anchor_sight (sight) VALUES ($1) ON CONFLICT (one) DO UPDATE SET sight = $1`, string(text))
	return translate(err)
}

// Sight is what the last round found, of whichever replica; zero: none ran.
func (a Anchors) Sight(ctx context.Context) (s anchor.Sight, err error) {
	var text []byte
	err = a.s.pool.QueryRow(ctx, `SELECT sight FROM house_anchor_sight`).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return s, translate(err)
	}
	return s, json.Unmarshal(text, &s)
}
