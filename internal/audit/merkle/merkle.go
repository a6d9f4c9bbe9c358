// Package merkle keeps a tenant's RFC 6962 hash tree over append-only storage
// and proves things about it.
//
// Storage holds hashes at every eighth level only: level 0 has the leaves, level
// 8 the roots of complete blocks of 256 leaves, level 16 those of 65,536, and so
// on: the full tiles of C2SP tlog-tiles, one row per hash. A row is written once,
// when its subtree is complete, and never again, so the tables need no UPDATE.
// Levels between are computed from at most 256 stored hashes when a proof asks.
// The edge that is not complete lives in a Frontier, which is saved with each
// checkpoint.
//
// Leaf i is record i+1. Sizes and indexes are never negative.
package merkle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// BlockHeight is the distance between stored levels: C2SP tlog-tiles' height.
const BlockHeight = 8

// ErrCorrupt means that stored hashes contradict each other or a root: storage
// was altered or is incomplete. Nothing that rests on them may be signed or shown.
var ErrCorrupt = errors.New("merkle: stored hashes contradict the tree")

// Node is a complete subtree's hash: of the leaves Index<<Level to
// (Index+1)<<Level, the last excluded.
type Node struct {
	Level int
	Index int64
	Hash  tlog.Hash
}

// Frontier is the right edge of a tree: the hashes of its complete subtrees,
// largest first, one for each bit set in the size. The zero value is the empty
// tree. It is not safe for concurrent use.
type Frontier struct {
	size  int64
	edges []tlog.Hash
}

// Size is the number of leaves.
func (f *Frontier) Size() int64 { return f.size }

// Tree gives the size and root. The empty tree's root is SHA-256 of nothing.
func (f *Frontier) Tree() tlog.Tree {
	if f.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads nothing
		return tlog.Tree{Hash: h}
	}
	h := f.edges[len(f.edges)-1]
	for i := len(f.edges) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.edges[i], h)
	}
	return tlog.Tree{N: f.size, Hash: h}
}

// Append adds leaf hashes and appends to nodes those that storage must now hold
// above level 0, in the order they were completed. Level 0 is the caller's: it
// has the leaves.
func (f *Frontier) Append(nodes []Node, leaves ...tlog.Hash) []Node {
	for _, h := range leaves {
		level := 0
		for n := f.size; n&1 == 1; n >>= 1 {
			h = tlog.NodeHash(f.edges[len(f.edges)-1], h)
			f.edges = f.edges[:len(f.edges)-1]
			if level++; level%BlockHeight == 0 {
				nodes = append(nodes, Node{level, n >> 1, h})
			}
		}
		f.edges = append(f.edges, h)
		f.size++
	}
	return nodes
}

// Clone gives an independent copy: try an append, keep it when storage did too.
func (f *Frontier) Clone() *Frontier {
	return &Frontier{f.size, append([]tlog.Hash(nil), f.edges...)}
}

// AppendBinary writes the frontier: 8 bytes of size, big-endian, then the hashes.
func (f *Frontier) AppendBinary(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint64(b, uint64(f.size))
	for _, h := range f.edges {
		b = append(b, h[:]...)
	}
	return b, nil
}

// MarshalBinary is AppendBinary to a new slice; at most 2,024 bytes.
func (f *Frontier) MarshalBinary() ([]byte, error) { return f.AppendBinary(nil) }

// UnmarshalBinary reads what MarshalBinary wrote. It cannot know whether the
// hashes are right: compare Tree with the signed checkpoint.
func (f *Frontier) UnmarshalBinary(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("reading frontier: %w", ErrCorrupt)
	}
	size := binary.BigEndian.Uint64(b)
	if b = b[8:]; size>>63 != 0 || len(b) != bits.OnesCount64(size)*tlog.HashSize {
		return fmt.Errorf("reading frontier: %w", ErrCorrupt)
	}
	edges := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range edges {
		copy(edges[i][:], b[i*tlog.HashSize:])
	}
	f.size, f.edges = int64(size), edges
	return nil
}
