package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/export"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Export streams. Its end is fixed when it begins: what is committed then.
func (l log) Export(ctx context.Context, w io.Writer, f audit.Format, q audit.Query) (n, last int64, err error) {
	if err := filterable(q); err != nil {
		return 0, 0, err
	}
	if err := l.s.seq.number(ctx, l.s.pool, l.scope); err != nil {
		return 0, 0, err
	}
	_, end, err := l.ends(ctx)
	if err != nil {
		return 0, 0, err
	}
	rows := l.pages(ctx, q, end)
	if s := newSieve(q); !q.Unchecked && (f != audit.JSONL || !s.open()) {
		rows = l.checked(ctx, s, end) // whole JSON lines are checked by who reads them
	}
	pages := func(yield func(*row, error) bool) {
		for r, err := range rows {
			if !yield(r, err) {
				return
			}
			if err == nil {
				last = r.seq
			}
		}
	}
	switch f {
	case audit.JSONL:
		n, err = export.JSONL(w, convert(pages, func(r *row) (bundle.Record, error) { return r.record(), nil }))
	case audit.CSV:
		n, err = export.CSV(w, q.After == 0, convert(pages, (*row).entry))
	case audit.OCSF:
		n, err = export.OCSF(w, export.Product{Tenant: l.scope.ID().String()}, convert(pages, (*row).entry))
	default:
		err = fault.New(fault.Unprocessable, "there is no export format %q; one of jsonl, csv, ocsf", f)
	}
	return n, last, broken(err)
}

// checked reads every record up to end, past all that helps a filter to pass
// over some, and gives those that match. Each body is hashed and each personal
// value held against its commitment; at the end the hashes have to give the root
// of the newest checkpoint, or nothing ends well: whoever alters a row, or hides
// one, cuts the export. Records past the checkpoint are given unchecked.
func (l log) checked(ctx context.Context, s sieve, end int64) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		c, err := l.trusted(ctx)
		var edge *merkle.Frontier
		var want tlog.Tree
		if err == nil {
			edge, want, err = l.edges(ctx, c.Tree, s.q.After, min(end, c.Tree.N))
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for r, err := range l.pages(ctx, audit.Query{After: s.q.After}, end) {
			if err == nil && r.seq <= want.N {
				err = r.check(edge)
			}
			ok := false
			if err == nil {
				ok, err = s.passes(r)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if ok && !yield(r, nil) {
				return
			}
		}
		if edge != nil && edge.Tree() != want {
			yield(nil, fmt.Errorf("records %d to %d are not those under the signed root: %w", s.q.After+1, want.N, merkle.ErrCorrupt))
		}
	}
}

// trusted is the newest checkpoint, checked by this process's key if it has one.
// A log without any gives the empty tree's.
func (l log) trusted(ctx context.Context) (published, error) {
	c, err := l.newest(ctx)
	if fault.CodeOf(err) == fault.NotFound {
		return published{}, nil
	}
	if p := l.s.pub; err == nil && p != nil {
		vkey, _, kerr := p.vkeys(l.scope.ID())
		if kerr != nil {
			return c, kerr
		}
		tree, oerr := checkpoint.Open(c.Signed, checkpoint.Origin(p.host, l.scope.ID().String()), vkey)
		if oerr != nil || tree != c.Tree {
			return c, errors.Join(errBroken, oerr)
		}
	}
	return c, err
}

// edges are the frontier of a log's first records and its tree of the size upto,
// which the signed tree contains. A frontier that is false shows in the root.
func (l log) edges(ctx context.Context, signed tlog.Tree, first, upto int64) (*merkle.Frontier, tlog.Tree, error) {
	if first >= upto {
		return nil, tlog.Tree{}, nil
	}
	prover := merkle.Prover{Hashes: l.s.tenantTree(l.scope.ID(), signed.N), Tree: signed}
	if _, err := prover.Consistency(ctx, upto); err != nil {
		return nil, tlog.Tree{}, err
	}
	want, err := prover.Root(ctx, upto)
	if err != nil {
		return nil, tlog.Tree{}, err
	}
	before, err := prover.Root(ctx, first)
	if err != nil {
		return nil, tlog.Tree{}, err
	}
	edge, err := merkle.Prover{Hashes: prover.Hashes, Tree: before}.Rebuild(ctx)
	return edge, want, err
}

// check adds the record to the tree of those before it.
func (r *row) check(edge *merkle.Frontier) error {
	body := []byte(r.body)
	leaf := record.Leaf(body)
	if edge.Size() != r.seq-1 || string(leaf[:]) != string(r.leaf) {
		return fmt.Errorf("record %d is not the one that was hashed: %w", r.seq, merkle.ErrCorrupt)
	}
	edge.Append(nil, leaf)
	shown := 0
	for _, v := range []*string{r.name, r.ip, r.agent} {
		if value(v) != "" {
			shown++
		}
	}
	personal := r.record().Personal
	if len(personal) != shown {
		return fmt.Errorf("record %d: personal values without their salts: %w", r.seq, merkle.ErrCorrupt)
	}
	for _, p := range personal {
		if !record.Commits(body, p) {
			return fmt.Errorf("record %d: its %s is not the one committed to: %w", r.seq, p.Field, merkle.ErrCorrupt)
		}
	}
	return nil
}
