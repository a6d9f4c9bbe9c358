package archive_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
)

func TestWhatIsArchivedVerifies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(250)
	p := w.advance()
	if p.Events != 250 || p.Segments != 3 || p.Pending != 0 || !p.Oldest.IsZero() {
		t.Errorf("%+v", p)
	}
	if st := w.state(); st.Upto != 250 || st.Segments != 3 || st.Bytes != p.Bytes || st.Halted != "" {
		t.Errorf("%+v", st)
	}
	w.record(30)
	w.advance()
	r := w.sound(280)
	if r.Segments != 4 || r.Size != 280 || r.Locked.Before(time.Now().Add(retention-time.Hour)) || r.Locked.After(time.Now().Add(retention+time.Hour)) {
		t.Errorf("%+v", r)
	}
	for _, key := range []string{archive.SegmentKey(w.tenant.ID, 1), archive.CheckpointKey(w.tenant.ID, 280)} {
		if body := w.fetch(key); bytes.Contains(body, []byte("acme")) {
			t.Errorf("%s names the tenant", key)
		}
	}
}

// Enough records make a segment due, or an old one; until then nothing is put.
func TestWhenASegmentIsDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.archiver(func(c *archive.Config) { c.Whole = false })
	want := func(name string, events, pending int64) {
		t.Helper()
		p, err := a.Advance(t.Context(), w.tenant)
		if err != nil || p.Events != events || p.Pending != pending || p.Oldest.IsZero() != (pending == 0) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	want("an empty log", 0, 0)
	w.record(99)
	want("one too few", 0, 99)
	w.record(131)
	want("two segments and a rest", 200, 30)
	w.clock.step(59*time.Minute, true)
	want("a young rest", 0, 30)
	w.clock.step(2*time.Minute, true)
	want("an old one", 30, 0)
	w.sound(230)
}

// Segments are cut by their size too: what does not fit comes with the next.
func TestLargeRecordsMakeShortSegments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 800 // of 3.5 kB that do not compress, the most that a record holds
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range n / 8 {
				details := map[string]any{}
				for i := range 7 {
					noise := make([]byte, 500)
					_, _ = rand.Read(noise)
					details[fmt.Sprint("noise", i)] = hex.EncodeToString(noise)
				}
				if _, err := w.room.Record(context.Background(), audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Details: details}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	w.record(0)
	p, err := w.archiver(func(c *archive.Config) { c.Limits.Events = 10 * n }).Advance(t.Context(), w.tenant)
	if err != nil || p.Events != n || p.Segments != 2 || p.Bytes < n*3500 {
		t.Errorf("%+v, %v", p, err)
	}
	for e, err := range w.tenant.Ledger.Entries(t.Context()) {
		if err != nil || e.Bytes > 2<<20 || e.Bytes < 3<<19 && e.Last != n {
			t.Errorf("%+v, %v", e, err)
		}
	}
	w.sound(n)
}
