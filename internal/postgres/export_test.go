package postgres_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// heapWatch looks at the live heap after every so many bytes.
type heapWatch struct {
	every, next, n int64
	worst          uint64
}

func (h *heapWatch) Write(p []byte) (int, error) {
	if h.n += int64(len(p)); h.n >= h.next {
		h.next = h.n + h.every
		h.worst = max(h.worst, liveHeap())
	}
	return len(p), nil
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// An export's memory has a bound that its size does not move: the same for a
// log and for one five times as long. (Not parallel: it looks at the heap.)
func TestExportMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 30,000 events")
	}
	db := pgtest.New(t)
	s := db.Open(t)
	scope := db.Tenant(t, s, "acme")
	r := room(t, s, scope)
	const size = 30_000
	evs := make([]audit.Event, size)
	for i := range evs {
		evs[i] = audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", Details: map[string]any{"pad": strings.Repeat("x", 400)}}
	}
	if _, err := r.RecordAll(t.Context(), evs); err != nil {
		t.Fatal(err)
	}
	evs = nil
	for _, format := range []audit.Format{audit.JSONL, audit.CSV, audit.OCSF} {
		heap := func(after int64) uint64 {
			before := liveHeap()
			w := &heapWatch{every: 2 << 20}
			n, last, err := r.Log().Export(t.Context(), w, format, audit.Query{After: after})
			if err != nil || n != size-after || last != size {
				t.Fatal(n, last, err)
			}
			if w.n < (size-after)*500 || w.worst == 0 {
				t.Fatalf("%d bytes for %d events: the heap was not looked at", w.n, n)
			}
			return w.worst - min(before, w.worst)
		}
		short, long := heap(size*4/5), heap(0)
		// A page of rows, as read and as converted, is below 4 MiB here.
		if long > 8<<20 || long > 2*short+(2<<20) {
			t.Errorf("%s: %.1f MB of heap for %d events, %.1f MB for %d", format, float64(long)/1e6, size, float64(short)/1e6, size/5)
		}
		t.Logf("%s: %.1f MB of heap over %d events", format, float64(long)/1e6, size)
	}
}
