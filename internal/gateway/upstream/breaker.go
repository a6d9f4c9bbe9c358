package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// breaker stops asking an upstream that does not answer.
//
// Closed, it counts failures in a row. At the limit it opens and refuses; when
// the time is over it is half open and lets a few probes through: as many
// successes as probes close it, one failure opens it again.
type breaker struct {
	set   Breaker
	now   func() time.Time
	fails atomic.Int32 // in a row, while closed
	shut  atomic.Bool  // open or half open: ask the slow path

	mu     sync.Mutex
	until  time.Time // open until
	probes int       // under way, half open
	passed int       // probes that succeeded
	gen    uint64    // counts openings, so that an old request cannot close a new one
}

// Breaker states, as Status shows them.
const (
	Closed   = "closed"
	Open     = "open"
	HalfOpen = "half_open"
)

// pass is the permission for one attempt; it is settled once.
type pass struct {
	probe bool
	gen   uint64
}

// enter admits an attempt, or says how long to stay away.
func (b *breaker) enter() (pass, time.Duration, bool) {
	if b.set.Failures <= 0 || !b.shut.Load() {
		return pass{}, 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.shut.Load() {
		return pass{}, 0, true
	}
	if wait := b.until.Sub(b.now()); wait > 0 {
		return pass{}, wait, false
	}
	if b.probes+b.passed >= b.set.Probes {
		return pass{}, time.Second, false
	}
	b.probes++
	return pass{probe: true, gen: b.gen}, 0, true
}

func (b *breaker) success(p pass) {
	if !p.probe {
		if b.fails.Load() != 0 {
			b.fails.Store(0)
		}
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.gen != b.gen {
		return
	}
	b.probes--
	if b.passed++; b.passed >= b.set.Probes {
		b.shut.Store(false)
		b.fails.Store(0)
		b.passed = 0
		b.gen++
	}
}

func (b *breaker) failure(p pass) {
	if b.set.Failures <= 0 {
		return
	}
	if !p.probe && (b.shut.Load() || b.fails.Add(1) < int32(b.set.Failures)) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.probe && p.gen != b.gen || !p.probe && b.shut.Load() {
		return
	}
	b.shut.Store(true)
	b.until = b.now().Add(b.set.Open)
	b.probes, b.passed = 0, 0
	b.gen++
}

// neither: the attempt says nothing about the upstream (the client left).
func (b *breaker) neither(p pass) {
	if !p.probe {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.gen == b.gen {
		b.probes--
	}
}

func (b *breaker) state() string {
	if !b.shut.Load() {
		return Closed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Sub(b.now()) > 0 {
		return Open
	}
	return HalfOpen
}

// budget bounds retries to a share of requests, so that a failing upstream is
// not hit harder than a healthy one.
type budget struct {
	milli atomic.Int64 // thousandths of a retry
}

const budgetCap = 10_000 // at most ten retries saved up

func (b *budget) deposit(share float64) {
	if v := b.milli.Load(); v < budgetCap {
		b.milli.Add(int64(share * 1000))
	}
}

func (b *budget) withdraw() bool {
	for {
		v := b.milli.Load()
		if v < 1000 {
			return false
		}
		if b.milli.CompareAndSwap(v, v-1000) {
			return true
		}
	}
}
