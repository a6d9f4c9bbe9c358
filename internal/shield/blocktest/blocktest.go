// Package blocktest is the contract of shield.BlockStore as tests. Every
// implementation runs it.
package blocktest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// Run tests the stores that open returns, an empty one each time. now stands
// still at the real time of the start, so a store on a server's own clock may
// ignore it. Times are whole milliseconds.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) shield.BlockStore) {
	start := time.Now().UTC().Truncate(time.Millisecond)
	block := func(prefix, owner string, until time.Duration) shield.Block {
		return shield.Block{
			Prefix: netip.MustParsePrefix(prefix), Reason: "a reason, 'quoted' \"twice\"; --", Owner: owner,
			Strikes: 3, From: start, Until: start.Add(until),
		}
	}
	same := func(a, b shield.Block) bool {
		return a.Prefix == b.Prefix && a.Reason == b.Reason && a.Owner == b.Owner && a.Strikes == b.Strikes && a.From.Equal(b.From) && a.Until.Equal(b.Until)
	}
	setup := func(t *testing.T) (context.Context, shield.BlockStore) {
		t.Helper()
		t.Parallel()
		return t.Context(), open(t, func() time.Time { return start })
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	list := func(t *testing.T, s shield.BlockStore, at time.Duration) []shield.Block {
		t.Helper()
		all, err := s.List(t.Context(), start.Add(at))
		must(t, err)
		return all
	}
	v4, net4, v6, host6 := "192.0.2.1/32", "198.51.100.0/24", "2001:db8::/48", "2001:db8::1/128"

	t.Run("what is put is listed until it ends", func(t *testing.T) {
		ctx, s := setup(t)
		want := []shield.Block{block(v4, shield.Automatic, time.Hour), block(net4, "dana", time.Minute), block(v6, shield.Automatic, time.Hour), block(host6, "dana", 2*time.Hour)}
		for _, b := range want {
			must(t, s.Put(ctx, b))
		}
		all := list(t, s, 0)
		for _, b := range want {
			if !slices.ContainsFunc(all, func(x shield.Block) bool { return same(x, b) }) {
				t.Errorf("%v is missing from %v", b, all)
			}
		}
		for at, n := range map[time.Duration]int{time.Minute - time.Second: 4, time.Minute: 3, time.Hour: 1, 2 * time.Hour: 0} {
			if got := list(t, s, at); len(got) != n {
				t.Errorf("after %v: %v, want %d", at, got, n)
			}
		}
	})

	t.Run("an automatic block shortens nothing, a person's replaces", func(t *testing.T) {
		ctx, s := setup(t)
		for _, step := range []struct{ put, want shield.Block }{
			{block(v4, shield.Automatic, time.Hour), block(v4, shield.Automatic, time.Hour)},
			{block(v4, shield.Automatic, time.Minute), block(v4, shield.Automatic, time.Hour)},
			{block(v4, shield.Automatic, 2*time.Hour), block(v4, shield.Automatic, 2*time.Hour)},
			{block(v4, "dana", time.Minute), block(v4, "dana", time.Minute)},
			{block(v4, "eve", 30*time.Second), block(v4, "eve", 30*time.Second)},
			{block(v4, shield.Automatic, time.Minute), block(v4, shield.Automatic, time.Minute)},
		} {
			must(t, s.Put(ctx, step.put))
			if all := list(t, s, 0); len(all) != 1 || !same(all[0], step.want) {
				t.Fatalf("after putting %v: %v", step.put, all)
			}
		}
	})

	t.Run("a lift takes exactly its prefix", func(t *testing.T) {
		ctx, s := setup(t)
		must(t, s.Put(ctx, block(v4, shield.Automatic, time.Hour)))
		must(t, s.Put(ctx, block("192.0.2.0/24", "dana", time.Hour)))
		for _, p := range []string{"192.0.2.2/32", "192.0.0.0/16", v6} {
			if err := s.Lift(ctx, netip.MustParsePrefix(p), "dana"); !errors.Is(err, shield.ErrNotBlocked) {
				t.Errorf("lifting %s: %v", p, err)
			}
		}
		must(t, s.Lift(ctx, netip.MustParsePrefix(v4), "dana"))
		if err := s.Lift(ctx, netip.MustParsePrefix(v4), "dana"); !errors.Is(err, shield.ErrNotBlocked) {
			t.Errorf("lifting twice: %v", err)
		}
		if all := list(t, s, 0); len(all) != 1 || all[0].Owner != "dana" {
			t.Fatalf("%v", all)
		}
		must(t, s.Put(ctx, block(v4, shield.Automatic, time.Minute)))
		if all := list(t, s, 0); len(all) != 2 {
			t.Fatalf("blocked again: %v", all)
		}
	})

	t.Run("changes come in order and from the cursor on", func(t *testing.T) {
		ctx, s := setup(t)
		_, cursor, err := s.Since(ctx, 0)
		must(t, err)
		must(t, s.Put(ctx, block(v4, shield.Automatic, time.Hour)))
		must(t, s.Put(ctx, block(v6, "dana", time.Hour)))
		changes, next, err := s.Since(ctx, cursor)
		must(t, err)
		if len(changes) != 2 || changes[0].Lifted || !same(changes[0].Block, block(v4, shield.Automatic, time.Hour)) || !same(changes[1].Block, block(v6, "dana", time.Hour)) {
			t.Fatalf("%+v", changes)
		}
		must(t, s.Lift(ctx, netip.MustParsePrefix(v4), "eve"))
		changes, after, err := s.Since(ctx, next)
		must(t, err)
		if len(changes) != 1 || !changes[0].Lifted || changes[0].By != "eve" || changes[0].Block.Prefix != netip.MustParsePrefix(v4) {
			t.Fatalf("%+v", changes)
		}
		if changes, again, err := s.Since(ctx, after); err != nil || len(changes) != 0 || again != after {
			t.Fatalf("nothing new: %+v %d %v", changes, again, err)
		}
		if changes, _, err := s.Since(ctx, cursor); err != nil || len(changes) != 3 {
			t.Fatalf("an older cursor: %+v %v", changes, err)
		}
	})

	t.Run("no change is lost between parallel writers", func(t *testing.T) {
		ctx, s := setup(t)
		const writers, each = 8, 20
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := s.Put(ctx, block(fmt.Sprintf("10.%d.%d.0/24", w, i), shield.Automatic, time.Hour)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		seen := map[netip.Prefix]bool{}
		var cursor int64
		for last := false; ; {
			changes, next, err := s.Since(ctx, cursor)
			must(t, err)
			for _, c := range changes {
				seen[c.Block.Prefix] = true
			}
			cursor = next
			if last {
				break
			}
			select {
			case <-done:
				last = true // one more look
			default:
			}
		}
		if len(seen) != writers*each {
			t.Fatalf("a follower saw %d of %d changes", len(seen), writers*each)
		}
	})

	t.Run("a waker wakes", func(t *testing.T) {
		ctx, s := setup(t)
		w, ok := s.(shield.Waker)
		if !ok {
			t.Skip("this store is polled")
		}
		for _, change := range []func() error{
			func() error { return s.Put(ctx, block(v4, "dana", time.Hour)) },
			func() error { return s.Lift(ctx, netip.MustParsePrefix(v4), "dana") },
		} {
			wake := w.Wake()
			must(t, change())
			<-wake
		}
	})

	t.Run("an ended context ends every call", func(t *testing.T) {
		_, s := setup(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, listed := s.List(ctx, start)
		_, _, since := s.Since(ctx, 0)
		for name, err := range map[string]error{
			"Put": s.Put(ctx, block(v4, "dana", time.Hour)), "Lift": s.Lift(ctx, netip.MustParsePrefix(v4), "dana"), "List": listed, "Since": since,
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
