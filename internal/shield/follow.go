package shield

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// storeTimeout bounds one call to the store, so that a hanging one is seen.
const storeTimeout = 5 * time.Second

// reconcile is how often the whole list is read, in case a change was missed.
const reconcile = time.Minute

// Start follows the shared store until ctx ends or Stop is called: blocks of
// other replicas take effect within Config.Poll, or at once where the store is
// a Waker; blocks of this replica are written as soon as they are placed, and
// again until the store takes them. It reads the list before it returns, so a
// replica never serves without the blocks it could have known; it fails when
// that fails. Starting twice does nothing.
func (s *Shield) Start(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.cancel != nil {
		return nil
	}
	if err := s.relist(ctx); err != nil {
		return err
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.done = make(chan struct{})
	go s.follow(ctx, s.done)
	return nil
}

// Stop ends what Start began and waits for it. Stopping twice, or what never
// started, is fine. The shield still decides, on the blocks it knows.
func (s *Shield) Stop() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.cancel == nil {
		return
	}
	s.cancel()
	<-s.done
	s.cancel = nil
}

func (s *Shield) follow(ctx context.Context, done chan struct{}) {
	defer close(done)
	tick := time.NewTicker(s.config.Poll)
	defer tick.Stop()
	full := time.NewTicker(reconcile)
	defer full.Stop()
	waker, _ := s.config.Store.(Waker)
	for {
		var wake <-chan struct{}
		if waker != nil {
			wake = waker.Wake() // before reading, so that no change falls between
		}
		s.note(s.Sync(ctx))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-wake:
		case <-s.dirty:
		case <-full.C:
			s.note(s.relist(ctx))
		}
	}
}

// Sync does one round with the store: write what it has not heard of, read
// what is new, forget what has ended. Start calls it; it is exported for those
// who must know that it has happened.
func (s *Shield) Sync(ctx context.Context) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.blocks.expire(s.config.Now())
	return errors.Join(s.flush(ctx), s.pull(ctx))
}

func (s *Shield) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for _, b := range s.blocks.unstored() {
		if err := s.config.Store.Put(ctx, b); err != nil {
			return err // the rest waits for the next round; they hold here all the while
		}
		s.blocks.confirm(b, s.config.Now())
	}
	return nil
}

func (s *Shield) pull(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	changes, next, err := s.config.Store.Since(call, s.cursor)
	if errors.Is(err, ErrCursor) {
		s.cursor = next
		return s.list(ctx)
	}
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Lifted {
			s.release(c.Block.Prefix)
		} else {
			s.adopt(c.Block)
		}
	}
	s.cursor = next
	return nil
}

func (s *Shield) relist(ctx context.Context) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	return s.list(ctx)
}

// list makes the index agree with the store: what the store had confirmed and
// no longer has was lifted.
func (s *Shield) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := s.config.Now()
	all, err := s.config.Store.List(ctx, now)
	if err != nil {
		return err
	}
	there := make(map[netip.Prefix]bool, len(all))
	for _, b := range all {
		there[b.Prefix] = true
		s.adopt(b)
	}
	s.blocks.each(func(b Block, stored time.Time) {
		if !there[b.Prefix] && !stored.IsZero() && stored.Before(now) {
			s.release(b.Prefix)
		}
	})
	return nil
}

// adopt makes a block of the store effective here.
func (s *Shield) adopt(b Block) {
	now := s.config.Now()
	b.Prefix = normalPrefix(b.Prefix)
	if !b.Prefix.IsValid() || !b.Active(now) {
		return
	}
	if old, ok := s.blocks.exact(b.Prefix); ok && old.Owner == b.Owner && old.Until.Equal(b.Until) {
		s.blocks.confirm(b, now)
		return
	}
	if !s.blocks.put(b, now) {
		return
	}
	if key, ok := clientIn(b.Prefix); ok && b.Owner == Automatic {
		s.scores.adopt(key, b.From.UnixNano(), b.Strikes)
	}
	s.announce(b)
}

// release ends a block here and wipes the scores behind it.
func (s *Shield) release(p netip.Prefix) {
	p = normalPrefix(p)
	s.blocks.remove(p)
	s.scores.forget(p)
}

// note turns the outcome of a round into events, once per change.
func (s *Shield) note(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	failed := err != nil
	if s.storeDown.Swap(failed) == failed {
		return
	}
	kind := StoreBack
	if failed {
		kind = StoreFailed
	}
	s.tell(Event{Kind: kind, Time: s.config.Now(), Err: err, Count: 1})
}
