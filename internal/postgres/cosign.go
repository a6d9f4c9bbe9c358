package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/witness"
)

// cosignTime is how long a bundle waits for the cosignatures of a checkpoint
// that was published for it. Without witnesses nothing waits.
const cosignTime = 5 * time.Second

// cosignBeside is the same in a process that asks no witnesses itself, beside one
// that does in its own time.
const cosignBeside = 12 * time.Second

// Advisory locks of what one replica at a time does.
const (
	lockCosign = 0x6f636373
	lockAnchor = 0x6f63616e
)

// alone runs do while it holds an advisory lock; when another replica has it,
// nothing is done. The lock is the connection's: a crash frees it.
func (s *Store) alone(ctx context.Context, class int32, do func(context.Context) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return translate(err)
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, 0)`, class).Scan(&mine); err != nil || !mine {
		return translate(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_unlock($1, 0)`, class); err != nil {
			_ = conn.Conn().Close(ctx) // ends the session, and the lock with it
		}
	}()
	return do(ctx)
}

// House is the house log as witnesses and anchors see it.
type House struct{ s *Store }

// House gives the house log.
func (s *Store) House() House { return House{s} }

var _ witness.Log = House{}

// Alone implements witness.Log.
func (h House) Alone(ctx context.Context, do func(context.Context) error) error {
	return h.s.alone(ctx, lockCosign, do)
}

// Newest gives the newest checkpoint of the house log.
func (h House) Newest(ctx context.Context) (head witness.Head, err error) {
	return h.head(ctx, `SELECT size, root, signed FROM house_checkpoints ORDER BY size DESC LIMIT 1`)
}

func (h House) head(ctx context.Context, sql string, args ...any) (head witness.Head, err error) {
	var root []byte
	err = h.s.pool.QueryRow(ctx, sql, args...).Scan(&head.Tree.N, &root, &head.Signed)
	if errors.Is(err, pgx.ErrNoRows) {
		return witness.Head{}, nil
	}
	copy(head.Tree.Hash[:], root)
	return head, translate(err)
}

// Prove implements witness.Log. What it proves is computed from the stored
// leaves, so altered ones give no proof.
func (h House) Prove(ctx context.Context, head witness.Head, old int64) (tlog.TreeProof, error) {
	return merkle.Prover{Hashes: houseLog.on(h.s.pool), Tree: head.Tree}.Consistency(ctx, old)
}

// Witnesses implements witness.Log.
func (h House) Witnesses(ctx context.Context) (map[string]witness.Status, error) {
	rows, err := h.s.pool.Query(ctx, `SELECT w.name, w.state, w.detail, w.since, w.asked,
			COALESCE((SELECT max(size) FROM house_cosignatures c WHERE c.witness = w.name), 0)
		FROM house_witnesses w ORDER BY w.name`)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	out := map[string]witness.Status{}
	for rows.Next() {
		var s witness.Status
		if err := rows.Scan(&s.Witness, &s.State, &s.Detail, &s.Since, &s.Asked, &s.Size); err != nil {
			return nil, err
		}
		out[s.Witness] = s
	}
	return out, translate(rows.Err())
}

// Keep implements witness.Log.
func (h House) Keep(ctx context.Context, head witness.Head, answers []witness.Answer, states []witness.Status) error {
	b := &pgx.Batch{}
	for _, a := range answers {
		if a.Err == nil {
			b.Queue(`INSERT INTO house_cosignatures (size, witness, line, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				head.Tree.N, a.Witness, a.Line, a.At)
		}
	}
	for _, s := range states {
		b.Queue(`INSERT INTO house_witnesses (name, state, detail) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET
			since = CASE WHEN house_witnesses.state = $2 THEN house_witnesses.since ELSE now() END, state = $2, detail = $3, asked = now()`,
			s.Witness, string(s.State), s.Detail)
	}
	return translate(h.s.pool.SendBatch(ctx, b).Close())
}

// Cosigned gives the newest checkpoint with the most cosignatures among the last
// cosigned ones that have more than index leaves, and their number; size 0 means
// none.
func (h House) Cosigned(ctx context.Context, index int64) (witness.Head, int, error) {
	var lines []string
	var head witness.Head
	var root []byte
	err := h.s.pool.QueryRow(ctx, `SELECT c.size, c.root, c.signed, k.lines
		FROM (SELECT size, array_agg(line ORDER BY witness) AS lines FROM house_cosignatures
			WHERE size > $1 GROUP BY size ORDER BY size DESC LIMIT 20) k JOIN house_checkpoints c USING (size)
		ORDER BY cardinality(k.lines) DESC, c.size DESC LIMIT 1`, index).Scan(&head.Tree.N, &root, &head.Signed, &lines)
	if errors.Is(err, pgx.ErrNoRows) {
		return witness.Head{}, 0, nil
	}
	if err != nil {
		return witness.Head{}, 0, translate(err)
	}
	copy(head.Tree.Hash[:], root)
	head.Signed, err = checkpoint.AddCosignatures(head.Signed, lines...)
	return head, len(lines), err
}

// CosignWith has bundles and checkpoints wait a moment for the cosigner's quorum.
// It is called once, before the store serves.
func (s *Store) CosignWith(wake func(), quorum int) { s.cosign.wake, s.cosign.quorum = wake, quorum }

type cosigning struct {
	wake   func() // nil: no witnesses
	quorum int
}

// cosigned puts in the place of a bundle's house checkpoint one with
// cosignatures that holds the leaf too, if there is one soon.
func (s *Store) cosigned(ctx context.Context, h *bundle.House) error {
	if h == nil {
		return nil
	}
	head, err := s.awaitCosigned(ctx, h.Index)
	if err == nil && head.Tree.N > 0 {
		h.Checkpoint = bundle.Checkpoint{Tree: head.Tree, Signed: head.Signed}
	}
	return err
}

// awaitCosigned waits, with witnesses, until a checkpoint of more than index
// leaves has a quorum of cosignatures, and not long.
func (s *Store) awaitCosigned(ctx context.Context, index int64) (witness.Head, error) {
	head, n, err := s.House().Cosigned(ctx, index)
	wake, quorum, wait := s.cosign.wake, max(s.cosign.quorum, 1), cosignTime
	if wake == nil && err == nil {
		wake, wait = func() {}, cosignBeside
		quorum, err = s.cosigners(ctx)
	}
	if err != nil || n >= quorum {
		return head, err
	}
	deadline, tick := time.NewTimer(wait), time.NewTicker(100*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for i := 0; ; i++ {
		if i%10 == 0 { // another replica may have asked about an older one just now
			wake()
		}
		select {
		case <-ctx.Done():
			return head, ctx.Err()
		case <-deadline.C:
			return head, nil
		case <-tick.C:
		}
		if head, n, err = s.House().Cosigned(ctx, index); err != nil || n >= quorum {
			return head, err
		}
	}
}

// cosigners is how many witnesses some process has lately asked and had answers
// from.
func (s *Store) cosigners(ctx context.Context) (n int, err error) {
	err = s.pool.QueryRow(ctx, `SELECT count(*) FROM house_witnesses WHERE state = 'cosigning' AND asked > now() - interval '10 minutes'`).Scan(&n)
	return n, translate(err)
}

// houseCheckpoint is the house log's newest checkpoint for GET
// /v1/audit/checkpoint: the newest cosigned one, or the newest.
func (s *Store) houseCheckpoint(ctx context.Context) (string, error) {
	head, _, err := s.House().Cosigned(ctx, 0)
	if err == nil && head.Tree.N == 0 {
		head, err = s.House().Newest(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("read the house checkpoint: %w", err)
	}
	return string(head.Signed), nil
}
