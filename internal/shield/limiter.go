package shield

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"time"
	"unsafe"
)

// ways is the number of slots in one set.
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

// limiter counts requests per client and admits at most so many in any window,
// wherever it begins.
//
// A window is cut into ten spans. A client is eleven counters, the span under
// way and the ten before it, which together cover at least one window at every
// instant: what stays within the limit over the eleven stays within it over
// every window. The price is that a request is remembered for up to a tenth of
// a window too long. A client may spend the whole limit at once; one that asks
// evenly gets ten elevenths of it, 909 of 1,000.
//
// A set-associative table of fixed size holds the counters. A slot that counts
// nothing any more says the same as no slot and is taken first. When all slots
// of a set count something, the newcomer takes the one that counts least, whose
// counters go into the set's floor: span by span the largest of all that were
// pushed out. Every newcomer begins at the floor (the rule of space-saving
// counters, Metwally et al. 2005, applied to each span), so a client that was
// pushed out comes back with at least what it had counted: eviction never gives
// anybody an allowance. It can only make a newcomer wait, and only while more
// than the table's clients are counted within a window.
type limiter interface {
	// take counts one request. It returns 0, or how long to wait; a refused
	// request is not counted. It allocates nothing. now is Unix nanoseconds.
	take(key client, now int64, limit int) time.Duration
	// left is how many requests a client could make at this instant.
	left(key client, now int64, limit int) int
	// counting is how many clients the table tells apart at this instant.
	counting(now int64) int
	// bytes is the size of the table.
	bytes() int
}

// spans is the one under way and a window's ten.
const spans = 11

// newLimiter has two slots, 64 bytes, per client: 1<<20 clients are 64 MiB.
// Limits beyond 65,535 take wider counters, and 1<<20 clients 112 MiB.
func newLimiter(clients, largest int, window time.Duration) limiter {
	length := (int64(window) + spans - 2) / (spans - 1)
	if largest <= math.MaxUint16 {
		return &table[uint16]{seed: maphash.MakeSeed(), length: length, sets: newSets[tally[uint16]](2 * clients)}
	}
	return &table[uint32]{seed: maphash.MakeSeed(), length: length, sets: newSets[tally[uint32]](2 * clients)}
}

type table[C uint16 | uint32] struct {
	seed   maphash.Seed
	length int64 // of a span, nanoseconds
	sets   sets[tally[C]]
	locks  [stripes]stripe
}

// tally is one client's counters, the newest first. The last of a set is its
// floor and has no key.
type tally[C uint16 | uint32] struct {
	key    client
	counts [spans]C
	span   uint16 // the number of the newest, in its low bits
}

// turn brings the counters to a span and returns their sum. A clock that went
// back a little finds them as they are. One that went far back, or a tally last
// used days ago, whose span's low bits mean nothing any more, begins anew.
func (t *tally[C]) turn(span uint16) (sum int) {
	switch n := int(int16(span - t.span)); {
	case n >= spans, n <= -spans:
		t.counts, t.span = [spans]C{}, span
	case n > 0:
		copy(t.counts[n:], t.counts[:spans-n])
		clear(t.counts[:n])
		t.span = span
	}
	for _, n := range t.counts {
		sum += int(n)
	}
	return sum
}

func (l *table[C]) take(key client, now int64, limit int) time.Duration {
	set, lock := place(l.seed, uint64(key), l.sets.n)
	number := now / l.length
	mu := &l.locks[lock]
	mu.Lock()
	t, sum := open(l.sets.at(set), key, uint16(number))
	wait := time.Duration(0)
	if sum < limit {
		t.counts[0]++
	} else {
		// Until the spans that hold the surplus have gone by.
		number += int64(int16(t.span - uint16(number)))
		for i, over := spans-1, sum-limit; i >= 0; i-- {
			if over -= int(t.counts[i]); over < 0 || i == 0 {
				wait = time.Duration((number+int64(spans-i))*l.length - now)
				break
			}
		}
	}
	mu.Unlock()
	return wait
}

// open returns the key's tally and its sum, making room for it.
func open[C uint16 | uint32](set *[ways]tally[C], key client, span uint16) (t *tally[C], sum int) {
	for i := range ways - 1 {
		if set[i].key == key {
			return &set[i], set[i].turn(span)
		}
	}
	least := math.MaxInt
	for i := range ways - 1 {
		if sum := set[i].turn(span); sum < least {
			t, least = &set[i], sum
		}
	}
	floor := &set[ways-1]
	floor.turn(span)
	for i, n := range t.counts {
		floor.counts[i] = max(floor.counts[i], n)
	}
	t.key, t.counts = key, floor.counts
	return t, t.turn(span)
}

func (l *table[C]) left(key client, now int64, limit int) int {
	set, lock := place(l.seed, uint64(key), l.sets.n)
	l.locks[lock].Lock()
	defer l.locks[lock].Unlock()
	span := uint16(now / l.length)
	for i := range ways - 1 {
		if t := &l.sets.at(set)[i]; t.key == key {
			return max(0, limit-t.turn(span))
		}
	}
	return max(0, limit-l.sets.at(set)[ways-1].turn(span))
}

func (l *table[C]) counting(now int64) (n int) {
	for i := range l.sets.n {
		for j := range ways - 1 {
			if l.sets.at(i)[j].turn(uint16(now/l.length)) > 0 {
				n++
			}
		}
	}
	return n
}

func (l *table[C]) bytes() int { return l.sets.bytes() }
