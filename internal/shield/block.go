package shield

import (
	"container/heap"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Automatic is the owner of blocks the shield itself placed.
const Automatic = "automatic"

// Block keeps one network out until a time.
type Block struct {
	Prefix  netip.Prefix `json:"prefix"` // masked
	Reason  string       `json:"reason"` // an Offence's name, or an operator's words
	Owner   string       `json:"owner"`  // Automatic, or the operator
	Strikes int          `json:"strikes"`
	From    time.Time    `json:"from"`
	Until   time.Time    `json:"until"`
}

// Active says whether the block still holds.
func (b Block) Active(now time.Time) bool { return now.Before(b.Until) }

// outlasts says whether b stays when n arrives for the same prefix: an
// automatic block never shortens one that holds longer, a person's word counts.
func (b Block) outlasts(n Block) bool {
	return n.Owner == Automatic && b.Until.After(n.Until)
}

// index answers "which block holds this address". Reads take one shared lock
// per prefix length in use, and none while nothing is blocked.
//
// It holds at most limit blocks. When full, the automatic block that ends
// first makes room, so a botnet can shorten its own blocks by at most what it
// has left, and an operator's block is never lost.
type index struct {
	limit  int
	count  atomic.Int64
	v4, v6 lengths

	mu     sync.Mutex                // writers; shards' locks are taken inside it
	ends   [2]expiries               // automatic blocks, operators' blocks
	fresh  map[netip.Prefix]struct{} // the store has not heard of these
	shards [64]shard
}

type shard struct {
	sync.RWMutex
	held map[netip.Prefix]*held
}

// held is a block in the index. stored is when the store confirmed it, zero
// while the store has not heard of it.
type held struct {
	Block
	stored time.Time
	heap   int
}

// lengths is the set of prefix lengths in use, as counts and as a bit set.
type lengths struct {
	counts [129]int
	bits   [3]atomic.Uint64
}

func (l *lengths) add(n, by int) {
	l.counts[n] += by
	if l.counts[n] > 0 {
		l.bits[n/64].Or(1 << (n % 64))
	} else {
		l.bits[n/64].And(^uint64(1 << (n % 64)))
	}
}

func newIndex(limit int) *index {
	x := &index{limit: limit, fresh: map[netip.Prefix]struct{}{}}
	for i := range x.shards {
		x.shards[i].held = map[netip.Prefix]*held{}
	}
	return x
}

func (x *index) shard(p netip.Prefix) *shard {
	b := p.Addr().As16()
	h := uint(p.Bits())
	for _, v := range b {
		h = h*31 + uint(v)
	}
	return &x.shards[h%uint(len(x.shards))]
}

func (x *index) lengths(a netip.Addr) *lengths {
	if a.Is4() {
		return &x.v4
	}
	return &x.v6
}

// find returns the longest-lasting active block over a normal address.
func (x *index) find(a netip.Addr, now time.Time) (found Block, ok bool) {
	if x.count.Load() == 0 {
		return Block{}, false
	}
	l := x.lengths(a)
	for w := range l.bits {
		for set := l.bits[w].Load(); set != 0; set &= set - 1 {
			n := w*64 + bits.TrailingZeros64(set)
			p, err := a.Prefix(n)
			if err != nil {
				continue
			}
			s := x.shard(p)
			s.RLock()
			if h := s.held[p]; h != nil && h.Active(now) && (!ok || h.Until.After(found.Until)) {
				found, ok = h.Block, true
			}
			s.RUnlock()
		}
	}
	return found, ok
}

// exact returns the block on exactly this prefix.
func (x *index) exact(p netip.Prefix) (Block, bool) {
	s := x.shard(p)
	s.RLock()
	defer s.RUnlock()
	if h := s.held[p]; h != nil {
		return h.Block, true
	}
	return Block{}, false
}

// put adds or replaces a block and reports whether it took effect.
func (x *index) put(b Block, stored time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(b.Prefix)
	s.RLock()
	h := s.held[b.Prefix]
	s.RUnlock()
	if h != nil {
		if h.outlasts(b) {
			return false
		}
		x.drop(h)
	} else if x.ends[0].Len()+x.ends[1].Len() >= x.limit {
		if x.ends[0].Len() == 0 {
			return false
		}
		x.drop(x.ends[0][0])
	}
	h = &held{Block: b, stored: stored}
	heap.Push(x.heap(h), h)
	if stored.IsZero() {
		x.fresh[b.Prefix] = struct{}{}
	}
	x.lengths(b.Prefix.Addr()).add(b.Prefix.Bits(), 1)
	x.count.Add(1)
	s.Lock()
	s.held[b.Prefix] = h
	s.Unlock()
	return true
}

func (x *index) heap(h *held) *expiries {
	if h.Owner == Automatic {
		return &x.ends[0]
	}
	return &x.ends[1]
}

// confirm notes that the store has this very block.
func (x *index) confirm(b Block, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(b.Prefix)
	s.Lock()
	defer s.Unlock()
	if h := s.held[b.Prefix]; h != nil && h.Until.Equal(b.Until) && h.Owner == b.Owner {
		h.stored = at
		delete(x.fresh, b.Prefix)
	}
}

func (x *index) remove(p netip.Prefix) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(p)
	s.RLock()
	h := s.held[p]
	s.RUnlock()
	if h == nil {
		return false
	}
	x.drop(h)
	return true
}

// drop needs x.mu.
func (x *index) drop(h *held) {
	heap.Remove(x.heap(h), h.heap)
	delete(x.fresh, h.Prefix)
	s := x.shard(h.Prefix)
	s.Lock()
	delete(s.held, h.Prefix)
	s.Unlock()
	x.lengths(h.Prefix.Addr()).add(h.Prefix.Bits(), -1)
	x.count.Add(-1)
}

// expire drops what has ended.
func (x *index) expire(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.ends {
		for len(x.ends[i]) > 0 && !x.ends[i][0].Active(now) {
			x.drop(x.ends[i][0])
		}
	}
}

// unstored returns the blocks that the store has not confirmed.
func (x *index) unstored() []Block {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make([]Block, 0, len(x.fresh))
	for p := range x.fresh {
		s := x.shard(p)
		s.RLock()
		if h := s.held[p]; h != nil {
			all = append(all, h.Block)
		}
		s.RUnlock()
	}
	return all
}

// each calls f with a copy of every block; stored as in held.
func (x *index) each(f func(b Block, stored time.Time)) {
	for i := range x.shards {
		s := &x.shards[i]
		s.RLock()
		all := make([]held, 0, len(s.held))
		for _, h := range s.held {
			all = append(all, *h)
		}
		s.RUnlock()
		for _, h := range all {
			f(h.Block, h.stored)
		}
	}
}

// expiries is a heap of blocks, what ends first on top.
type expiries []*held

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].Until.Before(e[j].Until) }
func (e expiries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].heap, e[j].heap = i, j
}
func (e *expiries) Push(v any) {
	h := v.(*held)
	h.heap = len(*e)
	*e = append(*e, h)
}
func (e *expiries) Pop() any {
	old := *e
	h := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return h
}
