package verify

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// frontier is the right edge of an RFC 6962 tree: its complete subtrees, largest
// first. It needs nothing else to take more leaves or to give its root.
type frontier struct {
	size   int64
	nodes  []tlog.Hash
	block  tlog.Hash // stated hash of the 256 leaves being added
	stated bool      // there is one
	bad    bool      // the leaves gave another
	mark   int64     // a size whose root to keep in marked
	marked tlog.Hash
}

// add appends a complete subtree of 2^level leaves; size must be a multiple of
// that. A stated block hash is preferred to the computed one: the root then tells
// whether the block or the statement is wrong.
func (f *frontier) add(level int, h tlog.Hash) {
	for n := f.size >> level; n&1 == 1; n >>= 1 {
		h = tlog.NodeHash(f.nodes[len(f.nodes)-1], h)
		f.nodes = f.nodes[:len(f.nodes)-1]
		if level++; level == 8 && f.stated {
			f.bad = f.bad || h != f.block
			h, f.stated = f.block, false
		}
	}
	f.nodes = append(f.nodes, h)
	if f.size = (f.size>>level + 1) << level; f.size == f.mark {
		f.marked = f.root()
	}
}

func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return h
	}
	h := f.nodes[len(f.nodes)-1]
	for i := len(f.nodes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.nodes[i], h)
	}
	return h
}

// fill adds the subtrees that cover the leaves up to size n, each the largest
// that its place allows, and reports whether nodes are exactly those.
func (f *frontier) fill(n int64, nodes []tlog.Hash) bool {
	for ; f.size < n && len(nodes) > 0; nodes = nodes[1:] {
		level := bits.Len64(uint64(n-f.size)) - 1
		f.add(min(level, bits.TrailingZeros64(uint64(f.size))), nodes[0]) // 64 zeros in 0
	}
	return f.size == n && len(nodes) == 0
}
