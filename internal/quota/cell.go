package quota

import (
	"runtime"
	"sync/atomic"
)

// A decision over several buckets must charge all or none, without a lock.
// Each bucket is one 64-bit word, and every charge but the last of a decision
// is first tentative: the word also counts how many tentative charges it
// holds. Then:
//
//   - A bucket that refuses while it holds no tentative charge refuses rightly:
//     the decision gives back what it charged before.
//   - A bucket that would refuse while others' tentative charges are in it
//     waits for their outcome, because they may be given back. Waiting happens
//     only at the very edge of a limit. It cannot deadlock: buckets are always
//     charged in one order (subject, then window), so waits point one way.
//   - A bucket that has drained to full while it holds a tentative charge waits
//     too: charging would restart it at now, and giving the tentative charge
//     back afterwards would undo somebody else's.
//
// So every decision takes effect at one instant, that of its last charge, and
// the number admitted is exact under any interleaving.
//
// Tentative charges cost a second write each. Local.short does without where
// only one bucket can refuse: see there.

// window is a bucket: theoretical arrival time in µs since the limiter began
// (51 bits, 71 years), then the number of tentative charges (12 bits). 0 is a
// full bucket.
type window struct{ word atomic.Uint64 }

const (
	pendingBits = 12
	pendingMask = 1<<pendingBits - 1
	dead        = ^uint64(0) // evicted: look the bucket up again
)

type verdict uint8

const (
	charged verdict = iota
	over
	gone
)

// charge takes inc µs from the bucket if it then stands at most span deep. It
// returns the depth after the charge. Time going back finds a deeper bucket
// and so never grants anything.
func (c *window) charge(now, inc, span int64, tentative bool) (verdict, int64) {
	for {
		s := c.word.Load()
		if s == dead {
			return gone, 0
		}
		pending := s & pendingMask
		t := int64(s >> pendingBits)
		if t < now {
			if pending != 0 {
				runtime.Gosched()
				continue
			}
			t = now
		}
		t += inc
		if t-now > span {
			if pending != 0 {
				runtime.Gosched()
				continue
			}
			return over, t - inc - now
		}
		next := uint64(t)<<pendingBits | pending
		if tentative {
			if pending == pendingMask {
				runtime.Gosched()
				continue
			}
			next++
		}
		if c.word.CompareAndSwap(s, next) {
			return charged, t - now
		}
	}
}

// swift is charge for the common case, small enough to be inlined: nothing
// tentative, room, and no race. False says nothing.
func (c *window) swift(now, inc, span int64) (depth int64, ok bool) {
	s := c.word.Load()
	t := max(int64(s>>pendingBits), now) + inc
	return t - now, s&pendingMask == 0 && t-now <= span && c.word.CompareAndSwap(s, uint64(t)<<pendingBits)
}

func (c *window) commit()            { c.word.Add(^uint64(0)) }
func (c *window) giveBack(inc int64) { c.word.Add(-(uint64(inc)<<pendingBits + 1)) }
func (c *window) depth(now int64) int64 {
	s := c.word.Load()
	if s == dead {
		return 0
	}
	return max(0, int64(s>>pendingBits)-now)
}

// kill marks a full bucket as evicted and returns what it held.
func (c *window) kill(now int64) (uint64, bool) {
	s := c.word.Load()
	if s == dead || s&pendingMask != 0 || int64(s>>pendingBits) > now {
		return 0, false
	}
	return s, c.word.CompareAndSwap(s, dead)
}

// slots counts running requests in two terms: those begun (or renewed) in the
// current term and in the one before. What is older has expired, so a slot
// nobody gives back lasts at least one term and less than two. Layout: term
// (24 bits), this (14), last (14), tentative (12).
type slots struct{ word atomic.Uint64 }

const (
	countBits = 14
	lastShift = pendingBits
	thisShift = lastShift + countBits
	termShift = thisShift + countBits
	countMask = 1<<countBits - 1
	oneLast   = 1 << lastShift
	oneThis   = 1 << thisShift
	maxTerm   = 1<<24 - 2
)

// turned is the word s seen in the given term.
func turned(s uint64, term uint64) uint64 {
	have := s >> termShift
	switch {
	case term <= have: // a clock that went back does not expire anything
		return s
	case term == have+1:
		return term<<termShift | (s>>thisShift&countMask)<<lastShift
	default:
		return term << termShift
	}
}

func running(s uint64) int64 { return int64(s>>thisShift&countMask) + int64(s>>lastShift&countMask) }

// take adds one running request if fewer than limit run, and returns the term
// it counts in.
func (c *slots) take(term uint64, limit int64, tentative bool) (verdict, uint64) {
	for {
		s := c.word.Load()
		if s == dead {
			return gone, 0
		}
		pending := s & pendingMask
		next := turned(s, term)
		if next>>termShift != s>>termShift && pending != 0 {
			runtime.Gosched()
			continue
		}
		if running(next) >= limit {
			if pending != 0 {
				runtime.Gosched()
				continue
			}
			return over, 0
		}
		next += oneThis
		if tentative {
			if pending == pendingMask {
				runtime.Gosched()
				continue
			}
			next++
		}
		if c.word.CompareAndSwap(s, next) {
			return charged, next >> termShift
		}
	}
}

func (c *slots) commit() { c.word.Add(^uint64(0)) }

// giveBack adds -(oneThis + 1).
func (c *slots) giveBack() { c.word.Add(^uint64(oneThis)) }

// release ends a request counted in term; one that has expired changes nothing.
func (c *slots) release(term uint64) {
	for {
		s := c.word.Load()
		if s == dead {
			return
		}
		var next uint64
		switch have := s >> termShift; {
		case have == term && s>>thisShift&countMask > 0:
			next = s - oneThis
		case have == term+1 && s>>lastShift&countMask > 0:
			next = s - oneLast
		default:
			return
		}
		if c.word.CompareAndSwap(s, next) {
			return
		}
	}
}

// renew moves a request counted in old to the current term.
func (c *slots) renew(old, term uint64) (uint64, bool) {
	for {
		s := c.word.Load()
		if s == dead {
			return 0, false
		}
		if s>>termShift < term && s&pendingMask != 0 {
			runtime.Gosched()
			continue
		}
		next := turned(s, term)
		switch have := next >> termShift; {
		case have == old:
			return old, true
		case have == old+1 && next>>lastShift&countMask > 0:
			next += oneThis - oneLast
		default:
			return 0, false
		}
		if c.word.CompareAndSwap(s, next) {
			return next >> termShift, true
		}
	}
}

func (c *slots) running(term uint64) int64 {
	s := c.word.Load()
	if s == dead {
		return 0
	}
	return running(turned(s, term))
}

func (c *slots) kill(term uint64) bool {
	s := c.word.Load()
	if s == dead || s&pendingMask != 0 || running(turned(s, term)) != 0 {
		return false
	}
	return c.word.CompareAndSwap(s, dead)
}
