package quota_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

func TestFloods(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := quota.NewFloods(quota.FloodConfig{Clock: c.Now, First: 3, Every: 10})
	id := tenant.NewID()
	var recorded []uint64
	for range 25 {
		if ok, nth := f.Note(id, "refused"); ok {
			recorded = append(recorded, nth)
		}
	}
	if len(recorded) != 5 || recorded[2] != 3 || recorded[3] != 13 || recorded[4] != 23 {
		t.Fatalf("%v", recorded)
	}
	f.Note(id, "once") // recorded itself: no summary
	c.Advance(time.Minute)
	got := f.Flush()
	want := quota.Flood{Tenant: id, Kind: "refused", From: newClock().Now(), To: c.Now(), Count: 25, Recorded: 5}
	if len(got) != 1 || got[0] != want {
		t.Fatalf("%+v", got)
	}
	if ok, nth := f.Note(id, "refused"); !ok || nth != 1 || len(f.Flush()) != 0 {
		t.Fatal("a new period begins anew")
	}
}

// TestFloodsExact: many goroutines, more tenants than are counted apart, a
// flushing Run beside them; not one event is missing.
func TestFloodsExact(t *testing.T) {
	t.Parallel()
	f := quota.NewFloods(quota.FloodConfig{First: 2, Every: 100, Span: time.Millisecond, Max: 64})
	ids := make([]tenant.ID, 500)
	for i := range ids {
		ids[i] = tenant.NewID()
	}
	var recorded, summarised atomic.Uint64
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, func(r quota.Flood) { summarised.Add(r.Count - r.Recorded) })
	}()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20_000 {
				if ok, _ := f.Note(ids[(i*7+w)%len(ids)], "refused"); ok {
					recorded.Add(1)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	<-done
	if got := recorded.Load() + summarised.Load(); got != 160_000 {
		t.Fatalf("%d accounted for", got)
	}
}

func BenchmarkFloods(b *testing.B) {
	f := quota.NewFloods(quota.FloodConfig{})
	id := tenant.NewID()
	b.ReportAllocs()
	for b.Loop() {
		f.Note(id, "refused")
	}
}
