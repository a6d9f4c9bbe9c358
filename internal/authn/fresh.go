package authn

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

const freshShards = 16 // power of two

// fresh remembers answers of a store for less than a second. Concurrent
// questions for one key become one, and an answer counts from the moment it was
// asked for, not from when it came, so age is an upper bound on what it missed.
// Errors are never remembered.
type fresh[K comparable, V any] struct {
	ask     func(context.Context, K) (V, error)
	part    func(K) string // decides the shard; keys of one part are forgotten together
	now     func() time.Time
	ttl     time.Duration
	timeout time.Duration
	limit   int // per shard
	seed    maphash.Seed
	shards  [freshShards]freshShard[K, V]
}

type freshShard[K comparable, V any] struct {
	mu      sync.RWMutex
	known   map[K]answer[V]
	flights map[K]*flight[V]
}

type answer[V any] struct {
	value V
	asked time.Time
}

type flight[V any] struct {
	answer[V]
	err  error
	done chan struct{}
}

func newFresh[K comparable, V any](now func() time.Time, ttl, timeout time.Duration, size int,
	part func(K) string, ask func(context.Context, K) (V, error)) *fresh[K, V] {
	f := &fresh[K, V]{ask: ask, part: part, now: now, ttl: ttl, timeout: timeout,
		limit: max(1, size/freshShards), seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].known = make(map[K]answer[V])
		f.shards[i].flights = make(map[K]*flight[V])
	}
	return f
}

func (f *fresh[K, V]) shard(part string) *freshShard[K, V] {
	return &f.shards[maphash.String(f.seed, part)&(freshShards-1)]
}

// get answers from memory or asks. The first to ask does so on its own
// goroutine, past the end of its own context if need be, because others wait
// for the same answer; the timeout bounds that.
func (f *fresh[K, V]) get(ctx context.Context, key K) (V, error) {
	s, now := f.shard(f.part(key)), f.now()
	s.mu.RLock()
	a, ok := s.known[key]
	s.mu.RUnlock()
	if ok && f.young(a.asked, now) {
		return a.value, nil
	}

	s.mu.Lock()
	if a, ok := s.known[key]; ok && f.young(a.asked, now) {
		s.mu.Unlock()
		return a.value, nil
	}
	// A flight that has been under way for too long may bring an answer that
	// is older than we promise: ask again beside it.
	fl, ok := s.flights[key]
	if ok && f.young(fl.asked, now) {
		s.mu.Unlock()
		select {
		case <-fl.done:
			return fl.value, fl.err
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	fl = &flight[V]{answer: answer[V]{asked: now}, done: make(chan struct{})}
	s.flights[key] = fl
	s.mu.Unlock()

	f.fly(ctx, s, key, fl)
	return fl.value, fl.err
}

func (f *fresh[K, V]) fly(ctx context.Context, s *freshShard[K, V], key K, fl *flight[V]) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			fl.err = fmt.Errorf("store panicked: %v", r)
		}
		s.mu.Lock()
		// Whoever was told to forget while we asked has removed the flight:
		// its answer may be from before, so it serves those who asked before
		// and is not kept.
		if s.flights[key] == fl {
			delete(s.flights, key)
			if fl.err == nil {
				f.keep(s, key, fl.answer)
			}
		}
		s.mu.Unlock()
		close(fl.done)
	}()
	fl.value, fl.err = f.ask(ctx, key)
}

// young refuses answers from the future, too: a clock that was set back must
// not stretch a life.
func (f *fresh[K, V]) young(asked, now time.Time) bool {
	age := now.Sub(asked)
	return age < f.ttl && age > -f.ttl
}

func (f *fresh[K, V]) keep(s *freshShard[K, V], key K, a answer[V]) {
	if _, known := s.known[key]; !known && len(s.known) >= f.limit {
		var victim K
		var oldest time.Time
		seen := 0
		for k, e := range s.known {
			if !f.young(e.asked, a.asked) {
				delete(s.known, k)
			} else if oldest.IsZero() || e.asked.Before(oldest) {
				victim, oldest = k, e.asked
			}
			if seen++; seen == 16 {
				break
			}
		}
		if len(s.known) >= f.limit {
			delete(s.known, victim)
		}
	}
	s.known[key] = a
}

// forget drops what match names, in the shard of part or, with an empty part,
// everywhere. Questions that start after it returns reach the store.
func (f *fresh[K, V]) forget(part string, match func(K) bool) {
	if part != "" {
		f.shard(part).forget(match)
		return
	}
	for i := range f.shards {
		f.shards[i].forget(match)
	}
}

func (s *freshShard[K, V]) forget(match func(K) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.known {
		if match(k) {
			delete(s.known, k)
		}
	}
	for k := range s.flights {
		if match(k) {
			delete(s.flights, k)
		}
	}
}

func (f *fresh[K, V]) len() (n int) {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.RLock()
		n += len(s.known)
		s.mu.RUnlock()
	}
	return n
}
