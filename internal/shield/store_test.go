package shield

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// replicas are shields over one store and one clock.
func replicas(t *testing.T, n int, store func(now func() time.Time) BlockStore) (*clock, []*Shield, []*log) {
	t.Helper()
	c := newClock()
	shared := store(c.now)
	var all []*Shield
	var logs []*log
	for range n {
		l := &log{}
		s, err := New(Config{Clients: 1024, Suspects: 256, Store: shared, Now: c.now, Observer: l, Poll: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		all, logs = append(all, s), append(logs, l)
	}
	return c, all, logs
}

func memory(now func() time.Time) BlockStore { return NewMemoryStore(now) }

func round(t *testing.T, all ...*Shield) {
	t.Helper()
	for _, s := range all {
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBlocksAreShared(t *testing.T) {
	t.Parallel()
	c, r, _ := replicas(t, 2, memory)
	a, b := r[0], r[1]
	a.Report(ip("192.0.2.1"), RapidReset)
	if !b.Admit(ip("192.0.2.1")) {
		t.Fatal("b knows before it could")
	}
	round(t, a, b)
	if b.Admit(ip("192.0.2.1")) {
		t.Fatal("b does not know")
	}
	if _, err := b.Block(t.Context(), network("2001:db8::/32"), time.Hour, "r", "dana"); err != nil {
		t.Fatal(err)
	}
	round(t, a)
	if a.Admit(ip("2001:db8::1")) {
		t.Fatal("a does not know")
	}
	// A repetition on the other replica doubles.
	c.forward(10 * time.Minute)
	b.Report(ip("192.0.2.1"), RapidReset)
	if d := b.Check(c.now(), ip("192.0.2.1"), nil); d.Until.Sub(c.now()) != 20*time.Minute {
		t.Fatalf("%+v", d)
	}
	round(t, b, a)
	if err := a.Lift(t.Context(), network("192.0.2.1/32"), "dana"); err != nil {
		t.Fatal(err)
	}
	round(t, b)
	if !b.Admit(ip("192.0.2.1")) || b.Explain(ip("192.0.2.1")).Client.Strikes != 0 {
		t.Fatal("a lift does not reach b")
	}
}

// The whole thing with its goroutines: a block is effective elsewhere as soon
// as the watcher there has been told, and what was open there is cut.
func TestFollower(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(func() time.Time) BlockStore{
		"woken":  memory,
		"polled": func(now func() time.Time) BlockStore { return deaf{NewMemoryStore(now)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r, _ := replicas(t, 2, store)
			told := make(chan netip.Prefix, 16)
			r[1].Watch(func(p netip.Prefix) { told <- p })
			for _, s := range r {
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer s.Stop()
				defer s.Stop()
			}
			r[0].Report(ip("192.0.2.1"), RapidReset)
			if p := <-told; p != network("192.0.2.1/32") {
				t.Fatal(p)
			}
			if r[1].Admit(ip("192.0.2.1")) {
				t.Fatal("told but not held")
			}
		})
	}
}

// deaf hides a store's Wake.
type deaf struct{ m *MemoryStore }

func (d deaf) Put(ctx context.Context, b Block) error { return d.m.Put(ctx, b) }
func (d deaf) Lift(ctx context.Context, p netip.Prefix, by string) error {
	return d.m.Lift(ctx, p, by)
}
func (d deaf) List(ctx context.Context, now time.Time) ([]Block, error) { return d.m.List(ctx, now) }
func (d deaf) Since(ctx context.Context, c int64) ([]Change, int64, error) {
	return d.m.Since(ctx, c)
}

// broken is a store that can be switched off.
type broken struct {
	deaf
	mu   sync.Mutex
	down error
}

func (b *broken) set(err error) { b.mu.Lock(); b.down = err; b.mu.Unlock() }
func (b *broken) err() error    { b.mu.Lock(); defer b.mu.Unlock(); return b.down }
func (b *broken) Put(ctx context.Context, x Block) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.deaf.Put(ctx, x)
}
func (b *broken) Lift(ctx context.Context, p netip.Prefix, by string) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.deaf.Lift(ctx, p, by)
}
func (b *broken) List(ctx context.Context, now time.Time) ([]Block, error) {
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.deaf.List(ctx, now)
}
func (b *broken) Since(ctx context.Context, c int64) ([]Change, int64, error) {
	if err := b.err(); err != nil {
		return nil, c, err
	}
	return b.deaf.Since(ctx, c)
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	var store *broken
	_, r, logs := replicas(t, 2, func(now func() time.Time) BlockStore {
		store = &broken{deaf: deaf{NewMemoryStore(now)}}
		return store
	})
	down := errors.New("connection refused")
	store.set(down)
	if err := r[0].Start(t.Context()); !errors.Is(err, down) {
		t.Fatalf("started without the blocks it should know: %v", err)
	}
	r[0].Report(ip("192.0.2.1"), RapidReset)
	for range 3 {
		err := r[0].Sync(t.Context())
		if !errors.Is(err, down) {
			t.Fatal(err)
		}
		r[0].note(err)
	}
	if r[0].Admit(ip("192.0.2.1")) {
		t.Fatal("a block waits for the store")
	}
	if _, err := r[0].Block(t.Context(), network("198.51.100.0/24"), time.Hour, "r", "dana"); fault.CodeOf(err) != fault.Unavailable {
		t.Fatal(err)
	}
	if !r[0].Admit(ip("198.51.100.1")) {
		t.Fatal("an operator's block is in force but was refused")
	}
	if err := r[0].Lift(t.Context(), network("192.0.2.1/32"), "dana"); fault.CodeOf(err) != fault.Unavailable {
		t.Fatal(err)
	}
	store.set(nil)
	for range 3 {
		r[0].note(r[0].Sync(t.Context()))
	}
	round(t, r[1])
	if r[1].Admit(ip("192.0.2.1")) {
		t.Fatal("the block was lost")
	}
	if f, b := logs[0].of(StoreFailed), logs[0].of(StoreBack); len(f) != 1 || len(b) != 1 || !errors.Is(f[0].Err, down) {
		t.Fatalf("%d failures and %d recoveries told, want one each", len(f), len(b))
	}
}

func TestOldCursorListsInstead(t *testing.T) {
	t.Parallel()
	c, r, _ := replicas(t, 2, memory)
	a, b := r[0], r[1]
	stays, goes := network("203.0.113.1/32"), network("203.0.113.2/32")
	for _, p := range []netip.Prefix{stays, goes} {
		if _, err := a.Block(t.Context(), p, time.Hour, "r", "dana"); err != nil {
			t.Fatal(err)
		}
	}
	round(t, b)
	c.forward(time.Second)
	if err := a.Lift(t.Context(), goes, "dana"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * kept { // b sleeps through all of this
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		if err := a.config.Store.Put(t.Context(), Block{Prefix: p, Reason: "r", Owner: Automatic, From: c.now(), Until: c.now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	round(t, b)
	if b.Admit(stays.Addr()) || !b.Admit(goes.Addr()) || b.Admit(ip("10.0.0.1")) {
		t.Fatalf("after a list: %v %v", b.Admit(stays.Addr()), b.Admit(goes.Addr()))
	}
}

func TestMemoryStoreIsBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	m := NewMemoryStore(c.now)
	for i := range 50_000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if err := m.Put(t.Context(), Block{Prefix: p, Owner: Automatic, Until: c.now().Add(time.Second)}); err != nil {
			t.Fatal(err)
		}
		c.forward(time.Millisecond)
	}
	if len(m.blocks) > 5000 || len(m.changes) > 2*kept {
		t.Fatalf("%d blocks and %d changes kept", len(m.blocks), len(m.changes))
	}
	if all, err := m.List(t.Context(), c.now()); err != nil || len(all) > 1000 {
		t.Fatal(len(all), err)
	}
	if err := m.Lift(t.Context(), network("192.0.2.0/24"), "x"); !errors.Is(err, ErrNotBlocked) {
		t.Fatal(err)
	}
	if _, _, err := m.Since(t.Context(), 0); !errors.Is(err, ErrCursor) {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Put(done, Block{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
