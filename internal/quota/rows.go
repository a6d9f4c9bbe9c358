package quota

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// row is what is kept for one subject: the buckets of minute, hour and day and
// the count of running requests. It fits 96 bytes.
type row struct {
	key     rowKey
	windows [3]window
	slots   slots
}

type rowKey struct {
	tenant id
	user   id     // none for the tenant's own rows
	class  string // "" for limits over all classes
}

// rows finds a row by key without a lock: readers walk an open-addressing
// table of atomic pointers. Only a first sight and an eviction lock, one of 64
// shards. Rows are evicted only when they carry no information: every bucket
// full, nothing running.
type rows struct {
	seed   [2]uint64    // hash flooding: user ids may come from a directory the tenant controls
	max    int          // rows per shard
	floor  atomic.Int64 // the latest µs at which a row was evicted for being full
	shards [shardCount]shard
}

const shardCount = 64

type shard struct {
	table atomic.Pointer[[]atomic.Pointer[row]]
	mu    sync.Mutex
	live  int // rows
	used  int // rows and graves: slots a reader must walk over
	hand  int
	_     [64]byte // shards of their own cache line
}

// grave stands where a row was evicted, so that walks do not end there.
var grave = new(row)

func newRows(maximum int) *rows {
	r := &rows{seed: [2]uint64{rand.Uint64(), rand.Uint64()}, max: max(1, maximum/shardCount)}
	for i := range r.shards {
		t := make([]atomic.Pointer[row], 8)
		r.shards[i].table.Store(&t)
	}
	return r
}

// Keys travel in three parts, in registers: one copied to the stack and read
// back in other widths costs as much as the rest of the search.
func (r *rows) hash(ten, user id, class string) uint64 {
	h := fold(ten.hi^r.seed[0], ten.lo^r.seed[1])
	if !user.none() {
		h = fold(user.hi^h, user.lo^r.seed[1])
	}
	for i := 0; i < len(class); i++ { // a word of at most 32
		h = (h ^ uint64(class[i])) * 0x9e3779b97f4a7c15
	}
	return h ^ h>>29
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// find returns a key's row, or nil.
func (r *rows) find(k rowKey) *row {
	h := r.hash(k.tenant, k.user, k.class)
	return look(*r.shards[h%shardCount].table.Load(), h/shardCount, k.tenant, k.user, k.class)
}

func look(t []atomic.Pointer[row], h uint64, ten, user id, class string) *row {
	mask := uint64(len(t) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := t[i&uint64(len(t)-1)].Load() // said twice for the compiler: within bounds
		if e == nil {
			return nil
		}
		// Word by word: the compiler's comparison of the whole is a call.
		if e.key.tenant == ten && e.key.user == user && e.key.class == class && e != grave {
			return e
		}
	}
}

// open returns a key's row, making it on first sight. nil means that the shard
// is full of rows that still carry information.
func (r *rows) open(ten, user id, class string, now int64, l *Local) *row {
	h := r.hash(ten, user, class)
	if e := look(*r.shards[h%shardCount].table.Load(), h/shardCount, ten, user, class); e != nil {
		return e
	}
	return r.insert(rowKey{ten, user, class}, h, now, l)
}

func (r *rows) insert(key rowKey, h uint64, now int64, l *Local) *row {
	s := &r.shards[h%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := *s.table.Load()
	if e := look(t, h/shardCount, key.tenant, key.user, key.class); e != nil {
		return e
	}
	term := l.termAt(now)
	// Two looks for every new row keep the table near the size of what is
	// active; only at the bound is the whole shard searched.
	r.evict(s, t, 2, now, term)
	if s.live >= r.max {
		r.evict(s, t, len(t), now, term)
		if s.live >= r.max {
			return nil
		}
	}
	if (s.used+1)*4 > len(t)*3 {
		t = s.grow(r, t)
	}
	e := &row{key: key}
	mask := uint64(len(t) - 1)
	i := h / shardCount & mask
	for {
		switch t[i].Load() {
		case nil:
			s.used++
		case grave:
		default:
			i = (i + 1) & mask
			continue
		}
		break
	}
	t[i].Store(e)
	s.live++
	return e
}

// evict looks at n slots from where it stopped last.
func (r *rows) evict(s *shard, t []atomic.Pointer[row], n int, now int64, term uint64) {
	for range n {
		s.hand = (s.hand + 1) & (len(t) - 1)
		e := t[s.hand].Load()
		if e != nil && e != grave && e.kill(now, term) {
			t[s.hand].Store(grave)
			s.live--
			for f := r.floor.Load(); f < now && !r.floor.CompareAndSwap(f, now); f = r.floor.Load() {
			}
		}
	}
}

// grow moves the rows to a table with room and without graves. Readers of the
// old one still find every row in it.
func (s *shard) grow(r *rows, old []atomic.Pointer[row]) []atomic.Pointer[row] {
	size := 8
	for s.live*2 >= size {
		size *= 2
	}
	t := make([]atomic.Pointer[row], size)
	mask := uint64(size - 1)
	s.used = 0
	for i := range old {
		e := old[i].Load()
		if e == nil || e == grave {
			continue
		}
		j := r.hash(e.key.tenant, e.key.user, e.key.class) / shardCount & mask
		for t[j].Load() != nil {
			j = (j + 1) & mask
		}
		t[j].Store(e)
		s.used++
	}
	s.table.Store(&t)
	return t
}

// kill evicts a row that carries no information: afterwards every charge to it
// answers gone. The words are killed in the order of charging and the slots
// last: whoever got a charge in stops the killing, and whoever comes later is
// sent away at its first word.
func (e *row) kill(now int64, term uint64) bool {
	var held [3]uint64
	for i := range e.windows {
		h, ok := e.windows[i].kill(now)
		if !ok {
			e.revive(held[:i])
			return false
		}
		held[i] = h
	}
	if !e.slots.kill(term) {
		e.revive(held[:])
		return false
	}
	return true
}

func (e *row) revive(held []uint64) {
	for i, h := range held {
		e.windows[i].word.Store(h)
	}
}

func (r *rows) count() int {
	n := 0
	for i := range r.shards {
		r.shards[i].mu.Lock()
		n += r.shards[i].live
		r.shards[i].mu.Unlock()
	}
	return n
}
