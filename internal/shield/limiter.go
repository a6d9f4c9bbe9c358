package shield

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"time"
	"unsafe"
)

// ways is the number of slots in one set: 128 bytes, two cache lines.
const ways = 8

// stripes is the number of locks of a table. A lock is held for one scan of a
// set, some ten nanoseconds.
const stripes = 256

type stripe struct {
	sync.Mutex
	_ [64 - unsafe.Sizeof(sync.Mutex{})]byte // one cache line each
}

// place finds a key's set by a hash keyed with a random seed, so that nobody
// outside can choose addresses that share a set.
func place(seed maphash.Seed, key uint64, sets int) (set int, lock int) {
	h := maphash.Comparable(seed, key)
	hi, _ := bits.Mul64(h, uint64(sets))
	return int(hi), int(hi % stripes)
}

// limiter counts requests per client with the generic cell rate algorithm
// (ITU-T I.371): a client is one number, the theoretical arrival time (tat) at
// which its debt is paid. A set-associative table of fixed size holds them.
//
// A slot whose tat has passed says the same as no slot and is taken first.
// When all slots of a set still owe, the newcomer takes the one that owes
// least and inherits its debt (the rule of space-saving counters, Metwally et
// al. 2005). The least tat of a set thus never falls, and a client that was
// pushed out comes back with at least the debt it had: eviction never gives
// anybody an allowance. It can only make a newcomer wait, and only while more
// than the table's clients owe at the same instant.
type limiter struct {
	seed  maphash.Seed
	sets  [][ways]debt
	locks [stripes]stripe
}

type debt struct {
	key client
	tat int64 // Unix nanoseconds
}

// newLimiter has two slots, 32 bytes, per client: 1<<20 clients are 32 MiB.
func newLimiter(clients int) *limiter {
	return &limiter{
		seed: maphash.MakeSeed(),
		sets: make([][ways]debt, max(1, (2*clients+ways-1)/ways)),
	}
}

// allowance is a rate: one request per interval, and burst at once.
type allowance struct {
	interval int64 // nanoseconds
	slack    int64 // (burst-1) * interval
}

func newAllowance(limit, burst int, window time.Duration) allowance {
	every := int64(window) / int64(limit)
	return allowance{interval: every, slack: int64(burst-1) * every}
}

// take charges one request. It returns 0, or how long to wait; a refused
// request is not charged. It allocates nothing.
func (l *limiter) take(key client, now int64, a allowance) time.Duration {
	set, lock := place(l.seed, uint64(key), len(l.sets))
	mu := &l.locks[lock]
	mu.Lock()
	d := find(&l.sets[set], key)
	d.key = key
	// A clock that was set back must not turn into years of debt.
	tat := min(max(d.tat, now), now+a.slack+a.interval)
	wait := tat - now - a.slack
	if wait <= 0 {
		tat += a.interval
	}
	d.tat = tat
	mu.Unlock()
	return time.Duration(max(wait, 0))
}

// find returns the key's slot, or the one that owes least.
func find(set *[ways]debt, key client) *debt {
	least := &set[0]
	for i := range set {
		d := &set[i]
		if d.key == key {
			return d
		}
		if d.tat < least.tat {
			least = d
		}
	}
	return least
}

// left is how many requests a client could make at this instant.
func (l *limiter) left(key client, now int64, a allowance) int {
	set, lock := place(l.seed, uint64(key), len(l.sets))
	l.locks[lock].Lock()
	defer l.locks[lock].Unlock()
	for _, d := range l.sets[set] {
		if d.key == key {
			return int((a.slack - max(d.tat-now, 0) + a.interval) / a.interval)
		}
	}
	return int(a.slack/a.interval) + 1
}

// bytes is the size of the table.
func (l *limiter) bytes() int { return len(l.sets) * int(unsafe.Sizeof([ways]debt{})) }
