package merkle

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Hashes is append-only storage of a tree's nodes at levels 0, 8, 16, ...
type Hashes interface {
	// ReadHashes fills dst with the hashes from index on at the level, in
	// order. All that a tree of the size being proved completes exist; one
	// that does not is an error. Calls ask for at most 256 within one tile.
	ReadHashes(ctx context.Context, level int, index int64, dst []tlog.Hash) error
}

// Prover makes proofs about one tree, whose root the caller knows from a signed
// checkpoint. Each proof is checked before it is given out: storage that was
// altered yields ErrCorrupt, never a proof that does not hold.
type Prover struct {
	Hashes Hashes
	Tree   tlog.Tree
}

// Inclusion proves that the leaf is at the index: RFC 6962 section 2.1.1.
func (p Prover) Inclusion(ctx context.Context, index int64) (tlog.RecordProof, error) {
	if index < 0 || index >= p.Tree.N {
		return nil, fmt.Errorf("proving leaf %d: the tree has %d", index, p.Tree.N)
	}
	r := p.reader(ctx)
	leaf, err := r.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return nil, fmt.Errorf("proving leaf %d: %w", index, err)
	}
	proof, err := tlog.ProveRecord(p.Tree.N, index, r)
	if err != nil {
		return nil, fmt.Errorf("proving leaf %d: %w", index, err)
	}
	if tlog.CheckRecord(proof, p.Tree.N, p.Tree.Hash, index, leaf[0]) != nil {
		return nil, fmt.Errorf("proving leaf %d: %w", index, ErrCorrupt)
	}
	return proof, nil
}

// Root gives the tree of a smaller size.
func (p Prover) Root(ctx context.Context, size int64) (tlog.Tree, error) {
	if size < 0 || size > p.Tree.N {
		return tlog.Tree{}, fmt.Errorf("finding the root of %d: the tree has %d", size, p.Tree.N)
	}
	edges, err := p.reader(ctx).ReadHashes(cover(nil, 0, size))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("finding the root of %d: %w", size, err)
	}
	return (&Frontier{size, edges}).Tree(), nil
}

// Consistency proves that the tree of the old size is a prefix: RFC 6962 section
// 2.1.2. The empty tree is a prefix of any and needs no hashes.
func (p Prover) Consistency(ctx context.Context, old int64) (tlog.TreeProof, error) {
	tree, err := p.Root(ctx, old)
	if err != nil || old == 0 {
		return nil, err
	}
	proof, err := tlog.ProveTree(p.Tree.N, old, p.reader(ctx))
	if err != nil {
		return nil, fmt.Errorf("proving growth from %d to %d: %w", old, p.Tree.N, err)
	}
	if tlog.CheckTree(proof, p.Tree.N, p.Tree.Hash, old, tree.Hash) != nil {
		return nil, fmt.Errorf("proving growth from %d to %d: %w", old, p.Tree.N, ErrCorrupt)
	}
	return proof, nil
}

// Range gives the subtrees that cover the leaves before from and those from to
// on, in leaf order, each as large as its place allows. With the leaves between
// (to excluded) they give the root: one proof for any number of records.
func (p Prover) Range(ctx context.Context, from, to int64) (left, right []tlog.Hash, err error) {
	if from < 0 || to < from || to > p.Tree.N {
		return nil, nil, fmt.Errorf("proving leaves %d to %d: the tree has %d", from, to, p.Tree.N)
	}
	before, after := cover(nil, 0, from), cover(nil, to, p.Tree.N)
	hashes, err := p.reader(ctx).ReadHashes(slices.Concat(before, after))
	if err != nil {
		return nil, nil, fmt.Errorf("proving leaves %d to %d: %w", from, to, err)
	}
	return hashes[:len(before)], hashes[len(before):], nil
}

// cover appends the stored hash indexes of the subtrees that cover [from, to).
func cover(list []int64, from, to int64) []int64 {
	for from < to {
		level := bits.Len64(uint64(to-from)) - 1
		if from != 0 {
			level = min(level, bits.TrailingZeros64(uint64(from)))
		}
		list = append(list, tlog.StoredHashIndex(level, from>>level))
		from += 1 << level
	}
	return list
}

// Rebuild computes the frontier of the prover's tree from storage and holds it
// against the root: what a sequencer does at start before it signs anything.
func (p Prover) Rebuild(ctx context.Context) (*Frontier, error) {
	edges, err := p.reader(ctx).ReadHashes(cover(nil, 0, p.Tree.N))
	if err != nil {
		return nil, fmt.Errorf("rebuilding the frontier of %d: %w", p.Tree.N, err)
	}
	f := &Frontier{size: p.Tree.N, edges: edges}
	if f.Tree() != p.Tree {
		return nil, fmt.Errorf("rebuilding the frontier of %d: %w", p.Tree.N, ErrCorrupt)
	}
	return f, nil
}

// Reader serves any node of the tree as golang.org/x/mod/sumdb/tlog asks for it.
func (p Prover) reader(ctx context.Context) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		return read(ctx, p.Hashes, indexes)
	})
}

// read loads each tile that the indexes touch once, as far as it is needed.
func read(ctx context.Context, stored Hashes, indexes []int64) ([]tlog.Hash, error) {
	type want struct {
		tile tlog.Tile
		at   int
	}
	wants := make([]want, len(indexes))
	for i, index := range indexes {
		wants[i] = want{tlog.TileForIndex(BlockHeight, index), i}
	}
	slices.SortFunc(wants, func(a, b want) int {
		// The widest use of a tile comes first.
		return cmp.Or(cmp.Compare(a.tile.L, b.tile.L), cmp.Compare(a.tile.N, b.tile.N), cmp.Compare(b.tile.W, a.tile.W))
	})
	out := make([]tlog.Hash, len(indexes))
	var row [1 << BlockHeight]tlog.Hash
	var data [len(row) * tlog.HashSize]byte
	var loaded tlog.Tile
	for _, w := range wants {
		if w.tile.L != loaded.L || w.tile.N != loaded.N || loaded.W == 0 {
			loaded = w.tile
			if err := stored.ReadHashes(ctx, loaded.L*BlockHeight, loaded.N<<BlockHeight, row[:loaded.W]); err != nil {
				return nil, err
			}
			for i, h := range row[:loaded.W] {
				copy(data[i*tlog.HashSize:], h[:])
			}
		}
		h, err := tlog.HashFromTile(loaded, data[:loaded.W*tlog.HashSize], indexes[w.at])
		if err != nil {
			return nil, fmt.Errorf("reading stored hash %d: %w", indexes[w.at], err)
		}
		out[w.at] = h
	}
	return out, nil
}
