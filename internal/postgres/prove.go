package postgres

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// published is a checkpoint as the tables have it.
type published struct {
	bundle.Checkpoint
	salt  []byte
	leaf  []byte
	notes [][]byte // successions
}

// newest gives the newest checkpoint, after publishing what is committed if this
// process holds the key.
func (l log) newest(ctx context.Context) (published, error) {
	if err := l.s.seq.number(ctx, l.s.pool, l.scope); err != nil {
		return published{}, err
	}
	if p := l.s.pub; p != nil {
		select { // of the connections that publish most are for the loops
		case l.s.fresh <- struct{}{}:
			defer func() { <-l.s.fresh }()
		case <-ctx.Done():
			return published{}, translate(ctx.Err())
		}
		if err := p.publish(ctx, l.scope.ID()); err != nil {
			return published{}, broken(err)
		}
		if err := p.publishHouse(ctx); err != nil {
			return published{}, broken(err)
		}
	}
	return l.checkpointAt(ctx, 0)
}

// broken tells a reader that the log was altered; the words are for people.
func broken(err error) error {
	if errors.Is(err, errBroken) || errors.Is(err, merkle.ErrCorrupt) {
		return fault.Wrap(err, fault.Unavailable, "the stored audit log contradicts what was signed of it; nothing is signed or proved until this is looked into")
	}
	return err
}

// checkpointAt gives the checkpoint of a size, or the newest for 0.
func (l log) checkpointAt(ctx context.Context, size int64) (published, error) {
	var c published
	var root []byte
	var signed string
	err := l.s.query(ctx, l.scope, one(func(r pgx.Rows) error {
		return r.Scan(&c.Tree.N, &root, &signed, &c.salt, &c.leaf, &c.notes)
	}), `SELECT size, root, signed, house_salt, house_leaf,
			COALESCE((SELECT array_agg(convert_to(s.signed, 'UTF8') ORDER BY s.number) FROM audit_successions s WHERE s.tenant_id = $1), '{}')
		FROM audit_checkpoints WHERE tenant_id = $1 AND ($2 = 0 OR size = $2) ORDER BY size DESC LIMIT 1`, l.scope.ID().String(), size)
	if fault.CodeOf(err) == fault.NotFound && size == 0 {
		return c, fault.New(fault.NotFound, "no checkpoint of this log is published yet")
	}
	copy(c.Tree.Hash[:], root)
	c.Signed = []byte(signed)
	return c, err
}

func (l log) Checkpoint(ctx context.Context) (audit.Published, error) {
	c, err := l.newest(ctx)
	if err != nil {
		return audit.Published{}, err
	}
	out := audit.Published{Checkpoint: string(c.Signed), Size: c.Tree.N, Root: c.Tree.Hash.String()}
	for _, n := range c.notes {
		out.Successions = append(out.Successions, string(n))
	}
	if out.HouseCheckpoint, err = l.s.houseCheckpoint(ctx); err != nil {
		return audit.Published{}, err
	}
	if p := l.s.pub; p != nil {
		out.Key, out.HouseKey, err = p.vkeys(l.scope.ID())
	}
	return out, err
}

// covering gives the newest published checkpoint; only where that ends before
// number seq, or there is none, is what is committed published first, which takes
// ten times as long.
func (l log) covering(ctx context.Context, seq int64) (published, error) {
	c, err := l.checkpointAt(ctx, 0)
	if err == nil && seq > c.Tree.N || fault.CodeOf(err) == fault.NotFound {
		return l.newest(ctx)
	}
	return c, err
}

func (l log) Inclusion(ctx context.Context, seq int64) (audit.Inclusion, error) {
	c, err := l.covering(ctx, seq)
	if err != nil {
		return audit.Inclusion{}, err
	}
	if seq < 1 || seq > c.Tree.N {
		return audit.Inclusion{}, fault.New(fault.NotFound, "there is no record %d; the newest checkpoint covers %d", seq, c.Tree.N)
	}
	hashes := l.s.tenantTree(l.scope.ID(), c.Tree.N)
	if err := hashes.fetch(ctx, l.s, seq-1); err != nil {
		return audit.Inclusion{}, err
	}
	proof, err := merkle.Prover{Hashes: hashes, Tree: c.Tree}.Inclusion(ctx, seq-1)
	if errors.Is(err, merkle.ErrCorrupt) {
		l.s.tiles.forget(l.scope.ID())
	}
	if err != nil {
		return audit.Inclusion{}, broken(err)
	}
	var leaf [1]tlog.Hash
	if err := hashes.ReadHashes(ctx, 0, seq-1, leaf[:]); err != nil {
		return audit.Inclusion{}, broken(err)
	}
	return audit.Inclusion{Seq: seq, Leaf: leaf[0].String(), Proof: hashTexts(proof), Checkpoint: string(c.Signed)}, nil
}

func (l log) Consistency(ctx context.Context, from, to int64) (audit.Consistency, error) {
	var c published
	var err error
	if to > 0 {
		c, err = l.covering(ctx, max(from, to))
	} else if c, err = l.newest(ctx); err == nil { // all that was committed before the question
		to = c.Tree.N
	}
	if err != nil {
		return audit.Consistency{}, err
	}
	if from < 0 || from > to || to > c.Tree.N {
		return audit.Consistency{}, fault.New(fault.NotFound, "want 0 <= from <= to <= %d, which the newest checkpoint covers", c.Tree.N)
	}
	hashes := l.s.tenantTree(l.scope.ID(), c.Tree.N)
	if err := hashes.fetch(ctx, l.s, max(from-1, 0), max(to-1, 0)); err != nil {
		return audit.Consistency{}, err
	}
	prover := merkle.Prover{Hashes: hashes, Tree: c.Tree}
	var old tlog.Tree
	var proof tlog.TreeProof
	if to < c.Tree.N { // what is signed has to contain it too
		if _, err = prover.Consistency(ctx, to); err == nil {
			prover.Tree, err = prover.Root(ctx, to)
		}
	}
	if err == nil {
		old, err = prover.Root(ctx, from)
	}
	if err == nil {
		proof, err = prover.Consistency(ctx, from)
	}
	if errors.Is(err, merkle.ErrCorrupt) {
		l.s.tiles.forget(l.scope.ID())
	}
	if err != nil {
		return audit.Consistency{}, broken(err)
	}
	return audit.Consistency{
		From: from, FromRoot: old.Hash.String(), To: to, ToRoot: prover.Tree.Hash.String(), Proof: hashTexts(proof), Checkpoint: string(c.Signed),
	}, nil
}

func hashTexts(hs []tlog.Hash) []string {
	out := make([]string, len(hs))
	for i, h := range hs {
		out[i] = h.String()
	}
	return out
}

func (l log) Bundle(ctx context.Context, w io.Writer, r audit.Range) error {
	c, err := l.newest(ctx)
	if err != nil {
		return err
	}
	contents := bundle.Contents{Checkpoint: c.Checkpoint, Keys: c.notes}
	if contents.From, contents.To, err = l.numbers(ctx, r, c.Tree.N); err != nil {
		return err
	}
	if err := l.afterExpired(ctx, r, &contents); err != nil {
		return err
	}
	if r.Since > 0 {
		old, err := l.checkpointAt(ctx, r.Since)
		if err != nil {
			return err
		}
		contents.Previous = &old.Checkpoint
	}
	if contents.House, err = l.house(ctx, c); err != nil {
		return err
	}
	return broken(bundle.Write(ctx, w, contents, l.s.tenantTree(l.scope.ID(), c.Tree.N), source{l, !r.WithoutDisclosures}))
}

// numbers turns a range into the first and last number, at most size.
func (l log) numbers(ctx context.Context, r audit.Range, size int64) (from, to int64, err error) {
	from, to = max(r.From, 1), size
	if r.To > 0 {
		to = min(r.To, size)
	}
	if !r.FromTime.IsZero() || !r.ToTime.IsZero() {
		// Numbers follow commits, times the events: the first and the last that
		// lie in the range, and what stands between.
		edge := func(newest bool) (int64, error) {
			q := audit.Query{From: r.FromTime, To: r.ToTime, Newest: newest}
			for rec, err := range l.scan(ctx, q, 0, size, pageRows) {
				if err != nil {
					return 0, err
				}
				if rec.body == "" && (!r.FromTime.IsZero() && rec.at.Before(r.FromTime) || !r.ToTime.IsZero() && !rec.at.Before(r.ToTime)) {
					continue // the body is gone, and with it the event's own time
				}
				return rec.seq, nil
			}
			return 0, nil
		}
		first, err := edge(false)
		if err != nil {
			return 0, 0, err
		}
		if first == 0 {
			return 1, 0, nil
		}
		last, err := edge(true)
		if err != nil {
			return 0, 0, err
		}
		from, to = max(from, first), min(to, last)
	}
	if from > to {
		return 1, 0, nil
	}
	return from, to, nil
}

// house is the house log's word on a checkpoint, or nil while it has none.
func (l log) house(ctx context.Context, c published) (*bundle.House, error) {
	h := &bundle.House{Hashes: houseLog.on(l.s.pool)}
	var root []byte
	var signed string
	err := l.s.pool.QueryRow(ctx, `SELECT l.index, c.size, c.root, c.signed,
			COALESCE((SELECT array_agg(convert_to(s.signed, 'UTF8') ORDER BY s.number) FROM house_successions s), '{}')
		FROM house_leaves l, (SELECT size, root, signed FROM house_checkpoints ORDER BY size DESC LIMIT 1) c
		WHERE l.leaf = $1 AND l.index < c.size`, c.leaf).Scan(&h.Index, &h.Checkpoint.Tree.N, &root, &signed, &h.Keys)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, translate(err)
	}
	copy(h.Checkpoint.Tree.Hash[:], root)
	copy(h.Salt[:], c.salt)
	h.Checkpoint.Signed = []byte(signed)
	return h, l.s.cosigned(ctx, h)
}

// source is bundle.Source over the tables, a page at a time.
type source struct {
	log
	disclose bool
}

// pages reads what q selects up to number end, in order, a page at a time. A
// body that is missing is an error: what is exported has no silent gaps.
func (l log) pages(ctx context.Context, q audit.Query, end int64) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		for r, err := range l.scan(ctx, q, 0, end, pageRows) {
			if err == nil && r.body == "" {
				r, err = nil, l.bodiless(ctx, r.seq)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (s source) Records(ctx context.Context, from, to int64) iter.Seq2[bundle.Record, error] {
	return convert(s.pages(ctx, audit.Query{After: from - 1}, to), func(r *row) (bundle.Record, error) {
		rec := r.record()
		if !s.disclose {
			rec.Personal = nil
		}
		return rec, nil
	})
}

func convert[T any](rows iter.Seq2[*row, error], as func(*row) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for r, err := range rows {
			var v T
			if err == nil {
				v, err = as(r)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}
