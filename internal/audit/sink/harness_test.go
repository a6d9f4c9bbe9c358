package sink_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// deadline is how long a test waits for a signal before it calls it missing.
const deadline = 30 * time.Second

// world is a platform's database with rooms in it.
type world struct {
	t     testing.TB
	db    pgtest.DB
	store *postgres.Store
	plane *plane.Plane
	house plane.Room
	mu    sync.Mutex
	rooms []plane.Room
}

func newWorld(t testing.TB, tenants ...string) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.New(t)}
	w.store = w.db.Open(t)
	w.plane = plane.New(w.store)
	scope, err := tenant.NewDoor(w.store).Admit(t.Context(), tenant.House)
	if err != nil {
		t.Fatal(err)
	}
	if w.house, err = w.plane.Enter(scope); err != nil {
		t.Fatal(err)
	}
	w.rooms = []plane.Room{w.house}
	for _, name := range tenants {
		w.tenant(name)
	}
	return w
}

func (w *world) tenant(name string) plane.Room {
	w.t.Helper()
	r, err := w.plane.Enter(w.db.Tenant(w.t, w.store, name))
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rooms = append(w.rooms, r)
	return r
}

// Rooms is sink.Rooms.
func (w *world) Rooms(context.Context) ([]plane.Room, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.rooms), nil
}

func (w *world) room(name string) plane.Room {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.rooms {
		if r.Scope().Name() == name {
			return r
		}
	}
	w.t.Fatalf("there is no tenant %s", name)
	return plane.Room{}
}

// events writes n events and answers their request ids.
func (w *world) events(name string, n int, change ...func(*audit.Event)) []string {
	w.t.Helper()
	r := w.room(name)
	ids := make([]string, n)
	var wg sync.WaitGroup
	gate := make(chan struct{}, 16)
	stamp := time.Now().UnixNano()
	for i := range n {
		ids[i] = fmt.Sprintf("%s-%d-%d", name, stamp, i)
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			ev := audit.Event{
				Type: audit.APIRequest, Outcome: audit.Success, RequestID: ids[i], Action: "memories.read",
				Actor: audit.Actor{Kind: audit.ActorUser, ID: "u1", Name: "Ann O'Hara"}, UserAgent: "curl/8", Details: map[string]any{"status": 200},
			}
			for _, c := range change {
				c(&ev)
			}
			if _, err := r.Record(context.Background(), ev); err != nil {
				w.t.Errorf("record: %v", err)
			}
		})
	}
	wg.Wait()
	return ids
}

// manager runs specs with short times; it stops with the test.
func (w *world) manager(specs ...sink.Spec) *sink.Manager {
	w.t.Helper()
	m := sink.NewManager(w.config())
	w.t.Cleanup(m.Stop)
	m.Load(specs)
	return m
}

func (w *world) config() sink.Config {
	return sink.Config{Store: w.store, Rooms: w, House: w.house, Lease: 2 * time.Second, Poll: 10 * time.Millisecond, Idle: 50 * time.Millisecond, Quiet: 200 * time.Millisecond}
}

// spec is a sink with short waits.
func spec(name string, open func() (sink.Sender, error)) sink.Spec {
	return sink.Spec{
		Name: name, Kind: "test", To: "test://" + name, Digest: name, FromFirst: true, Batch: 100, Attempts: 3, OnRefused: sink.SetAside, Personal: true,
		Timeout: 5 * time.Second, FirstWait: 5 * time.Millisecond, MostWait: 50 * time.Millisecond, Open: open,
	}
}

// receiver takes what a test says.
type receiver struct {
	mu     sync.Mutex
	judge  func(batch []sink.Item) error // nil: takes all
	got    []sink.Item
	sends  int
	change chan struct{} // closed and renewed whenever something arrived
}

func newReceiver() *receiver { return &receiver{change: make(chan struct{})} }

func (r *receiver) open() (sink.Sender, error) { return r, nil }
func (r *receiver) Close()                     {}

func (r *receiver) Send(_ context.Context, batch []sink.Item) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sends++
	defer func() { close(r.change); r.change = make(chan struct{}) }()
	if r.judge != nil {
		if err := r.judge(batch); err != nil {
			var f *sink.Failure
			if errors.As(err, &f) {
				r.got = append(r.got, batch[:f.Done]...)
			}
			return err
		}
	}
	r.got = append(r.got, batch...)
	return nil
}

func (r *receiver) behave(judge func([]sink.Item) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.judge = judge
}

// counts says how often each request id arrived.
func (r *receiver) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]int{}
	for _, it := range r.got {
		if it.Entry.RequestID != "" {
			out[it.Entry.RequestID]++
		}
	}
	return out
}

// await waits until ok holds of what the receiver has.
func (r *receiver) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.After(deadline)
	for {
		r.mu.Lock()
		change := r.change
		r.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-change:
		case <-late:
			t.Fatalf("not in %s: %s", deadline, what)
		}
	}
}

func (r *receiver) awaitAll(t testing.TB, ids []string) {
	t.Helper()
	r.await(t, fmt.Sprintf("%d events", len(ids)), func() bool { return len(missing(r.counts(), ids)) == 0 })
}

func missing(counts map[string]int, ids []string) (out []string) {
	for _, id := range ids {
		if counts[id] == 0 {
			out = append(out, id)
		}
	}
	return out
}

// eventually polls what has no signal: rows that another goroutine writes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(deadline)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in %s: %s", deadline, what)
		}
	}
}

func (w *world) status(name string) sink.Status {
	w.t.Helper()
	st, _, err := w.store.SinkStatus(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

// said are the reasons of the sinks' own events in a log, oldest first.
func (w *world) said(name string) (reasons []string) {
	w.t.Helper()
	q := audit.Query{Limit: 500}
	for {
		es, more, err := w.room(name).Log().Events(w.t.Context(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range es {
			if e.Action == "audit.sink" {
				reasons = append(reasons, e.Reason)
			}
			q.After = e.Seq
		}
		if !more {
			return reasons
		}
	}
}
