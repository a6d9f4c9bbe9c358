package sink_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
)

// Every event of every tenant arrives, in its tenant's order, and the logs say
// first that they leave.
func TestEverythingArrivesInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme", "globex")
	ids := append(w.events("acme", 250), w.events("globex", 30)...)
	r := newReceiver()
	w.manager(spec("siem", r.open))
	r.awaitAll(t, ids)
	more := append(w.events("acme", 5), w.events("platform", 5)...)
	later := w.tenant("initech")
	more = append(more, w.events(later.Scope().Name(), 5)...)
	r.awaitAll(t, more)

	last := map[string]int64{}
	r.mu.Lock()
	for _, it := range r.got {
		if it.Entry.Seq != last[it.Tenant]+1 {
			t.Errorf("%s: %d after %d", it.Name, it.Entry.Seq, last[it.Tenant])
		}
		last[it.Tenant] = it.Entry.Seq
	}
	r.mu.Unlock()
	for _, name := range []string{"acme", "globex", "initech", "platform"} {
		if said := w.said(name); !slices.Equal(said, []string{"sink_begins"}) {
			t.Errorf("the log of %s says %v", name, said)
		}
	}
	eventually(t, "the sink is current", func() bool {
		st := w.status("siem")
		return st.State == sink.Current && st.Behind == 0 && st.Delivered >= int64(len(ids)+len(more))
	})
}

// A new sink begins with what comes next; a tenant that comes later begins with
// its first event.
func TestFromNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	old := w.events("acme", 20)
	s, r := spec("siem", nil), newReceiver()
	s.Open, s.FromFirst = r.open, false
	w.manager(s)
	eventually(t, "the sink has begun", func() bool { return w.status("siem").State == sink.Current })
	fresh := w.events("acme", 3)
	w.tenant("initech")
	fresh = append(fresh, w.events("initech", 3)...)
	r.awaitAll(t, fresh)
	if counts := r.counts(); len(missing(counts, old)) != len(old) {
		t.Errorf("%d of the old events arrived", len(old)-len(missing(counts, old)))
	}
}

func TestFilterTenantsAndPersonal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme", "globex")
	s, r := spec("siem", nil), newReceiver()
	s.Open, s.Tenants, s.Personal = r.open, []string{"acme"}, false
	s.Filter = sink.Filter{Types: []audit.Type{audit.LoginFailed, audit.APIRequest}, Severity: audit.High, Outcomes: []audit.Outcome{audit.Refused}}
	m := w.manager(s)
	w.events("globex", 10, func(e *audit.Event) { e.Severity, e.Outcome = audit.Critical, audit.Refused })
	w.events("acme", 700) // more than a page of what is not wanted
	w.events("acme", 10, func(e *audit.Event) { e.Severity = audit.Critical })
	w.events("acme", 10, func(e *audit.Event) { e.Type, e.Severity, e.Outcome = audit.UserChanged, audit.Critical, audit.Refused })
	want := w.events("acme", 10, func(e *audit.Event) { e.Type, e.Severity, e.Outcome = audit.LoginFailed, audit.Critical, audit.Refused })
	r.awaitAll(t, want)
	if counts := r.counts(); len(counts) != len(want) {
		t.Errorf("%d events arrived, want %d", len(counts), len(want))
	}
	r.mu.Lock()
	for _, it := range r.got {
		if it.Entry.Actor.Name != "" || it.Entry.IP != "" || it.Entry.UserAgent != "" || it.Entry.Actor.ID != "u1" {
			t.Errorf("a personal value left: %+v", it.Entry)
		}
	}
	r.mu.Unlock()
	// Other terms are told to the tenant, once, before anything leaves under them.
	s.Personal, s.Digest = true, "other"
	m.Load([]sink.Spec{s})
	r.awaitAll(t, w.events("acme", 1, func(e *audit.Event) { e.Severity, e.Outcome = audit.Critical, audit.Refused }))
	if said := w.said("acme"); !slices.Equal(said, []string{"sink_begins", "sink_begins"}) {
		t.Errorf("the log says %v", said)
	}
}

// A receiver that is away for a while gets everything afterwards; its stop and
// its return are one event each.
func TestReceiverAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r := newReceiver()
	r.behave(func([]sink.Item) error { return fmt.Errorf("connection refused") })
	w.manager(spec("siem", r.open))
	ids := w.events("acme", 150)
	eventually(t, "the stop is recorded", func() bool { return slices.Contains(w.said("platform"), "sink_stopped") })
	eventually(t, "what waits is shown", func() bool { st := w.status("siem"); return st.Behind >= 150 && !st.Oldest.IsZero() })
	if st := w.status("siem"); st.State != sink.Retrying || st.Error != "connection refused" || st.Delivered != 0 {
		t.Errorf("the state is %+v", st)
	}
	ids = append(ids, w.events("acme", 50)...)
	r.behave(nil)
	r.awaitAll(t, ids)
	eventually(t, "the return is recorded", func() bool { return slices.Contains(w.said("platform"), "sink_caught_up") })
	if said := w.said("platform"); !slices.Equal(said, []string{"sink_begins", "sink_stopped", "sink_caught_up"}) {
		t.Errorf("the platform's log says %v", said)
	}
}

// Whoever says no to us gets everything once we may: 401 skips nothing.
func TestDeniedSkipsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r := newReceiver()
	r.behave(func([]sink.Item) error { return sink.Fail(sink.Denied, "the receiver answered 401 Unauthorized") })
	w.manager(spec("siem", r.open))
	ids := w.events("acme", 30)
	eventually(t, "the sink has stopped", func() bool { return w.status("siem").State == sink.Stopped && w.status("siem").Failures > 5 })
	r.behave(nil)
	r.awaitAll(t, ids)
}

// One event that the receiver will never have is set aside, in its tenant's log
// and its list; its neighbours and other tenants arrive, and one try more than
// its attempts was not made.
func TestOnePoisonedEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme", "globex")
	r := newReceiver()
	var tries atomic.Int64
	r.behave(func(batch []sink.Item) error {
		for _, it := range batch {
			if it.Entry.Reason == "poison" {
				if len(batch) == 1 {
					tries.Add(1)
				}
				return sink.Fail(sink.Refused, "the receiver answered 400 Bad Request")
			}
		}
		return nil
	})
	ids := w.events("acme", 20)
	bad := w.events("acme", 1, func(e *audit.Event) { e.Reason = "poison" })
	ids = append(ids, w.events("acme", 20)...)
	ids = append(ids, w.events("globex", 20)...)
	w.manager(spec("siem", r.open))
	r.awaitAll(t, ids)
	eventually(t, "the event is set aside", func() bool { return w.status("siem").SetAside == 1 && w.status("siem").State == sink.Current })
	if n := tries.Load(); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
	if r.counts()[bad[0]] != 0 {
		t.Error("the poisoned event arrived")
	}
	if said := w.said("acme"); !slices.Equal(said, []string{"sink_begins", "sink_set_aside"}) {
		t.Errorf("the log says %v", said)
	}
	var seq int64
	var reason string
	err := w.db.Operator(t).QueryRow(t.Context(), `SELECT seq, reason FROM sink_set_aside`).Scan(&seq, &reason)
	if err != nil || reason != "the receiver answered 400 Bad Request" {
		t.Errorf("%d %q %v", seq, reason, err)
	}
	for id, n := range r.counts() {
		if n > 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
}

// A receiver that refuses everything is wrong about us, not about each event:
// nothing is set aside. Afterwards everything arrives.
func TestRefusingEverythingSkipsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r := newReceiver()
	r.behave(func([]sink.Item) error { return sink.Fail(sink.Refused, "the receiver answered 400 Bad Request") })
	w.manager(spec("siem", r.open))
	ids := w.events("acme", 40)
	eventually(t, "it was tried often", func() bool { return w.status("siem").Failures > 30 })
	if st := w.status("siem"); st.SetAside != 0 || st.State != sink.Refusing {
		t.Errorf("the state is %+v", st)
	}
	r.behave(nil)
	r.awaitAll(t, ids)
}

// A receiver that refuses what sinks themselves record must not be told of each
// refusal by another such event.
func TestNoFeedback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r := newReceiver()
	r.behave(func(batch []sink.Item) error {
		for _, it := range batch {
			if it.Entry.Reason == "poison" || it.Entry.Action == "audit.sink" {
				return sink.Fail(sink.Refused, "the receiver answered 422 Unprocessable Entity")
			}
		}
		return nil
	})
	w.manager(spec("siem", r.open))
	w.events("acme", 5, func(e *audit.Event) { e.Reason = "poison" })
	r.awaitAll(t, w.events("acme", 20))
	// begins, in two logs; five poisoned; an event for each of those, which are
	// refused too and get none.
	for range 200 { // what is last waits for proof that the receiver takes others
		if w.status("siem").SetAside >= 12 {
			break
		}
		r.awaitAll(t, w.events("acme", 1))
	}
	if st := w.status("siem"); st.SetAside != 12 {
		t.Errorf("%d are set aside", st.SetAside)
	}
	if said := w.said("acme"); len(said) != 6 {
		t.Errorf("the log says %v", said)
	}
	if said := w.said("platform"); len(said) > 3 {
		t.Errorf("the platform's log says %v", said)
	}
}

func TestHaltKeepsTheEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme", "globex")
	r := newReceiver()
	r.behave(func(batch []sink.Item) error {
		for i, it := range batch {
			if it.Entry.Reason == "poison" {
				return &sink.Failure{Kind: sink.Refused, Done: i, Err: fmt.Errorf("no")}
			}
		}
		return nil
	})
	s := spec("siem", r.open)
	s.OnRefused = sink.Halt
	w.manager(s)
	bad := w.events("acme", 1, func(e *audit.Event) { e.Reason = "poison" })
	r.awaitAll(t, w.events("globex", 10)) // others go on
	eventually(t, "the halt is recorded", func() bool { return slices.Contains(w.said("platform"), "sink_stopped") })
	// the announcement is on record before the state is
	eventually(t, "the state shows it", func() bool { return w.status("siem").State == sink.Refusing })
	if st := w.status("siem"); st.SetAside != 0 || st.Behind == 0 {
		t.Errorf("the state is %+v", st)
	}
	r.behave(nil)
	r.awaitAll(t, bad)
}

// Two replicas: one works, the other takes over when it goes, and nothing but
// what was under way arrives twice.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r := newReceiver()
	a, b := w.manager(spec("siem", r.open)), w.manager(spec("siem", r.open))
	ids := w.events("acme", 500)
	r.awaitAll(t, ids)
	holding := func(m *sink.Manager) bool { return m.Snapshots()[0].Holding }
	if holding(a) && holding(b) {
		t.Error("both hold the sink")
	}
	if !holding(a) {
		a, b = b, a
	}
	a.Stop() // in order: no overlap at all
	eventually(t, "the other takes over", func() bool { return holding(b) })
	ids = append(ids, w.events("acme", 100)...)
	r.awaitAll(t, ids)
	for id, n := range r.counts() {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
}

// A replica that dies without a word loses the lease to the next one.
func TestTakeover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	dead := uuid.New()
	if held, err := w.store.HoldSink(t.Context(), "siem", dead, time.Second); err != nil || !held {
		t.Fatal(held, err)
	}
	if held, err := w.store.HoldSink(t.Context(), "siem", uuid.New(), time.Second); err != nil || held {
		t.Fatal("two hold one lease", err)
	}
	r := newReceiver()
	w.manager(spec("siem", r.open))
	r.awaitAll(t, w.events("acme", 10))
	// The dead one wakes up: it can neither work nor write.
	if held, err := w.store.HoldSink(t.Context(), "siem", dead, time.Second); err != nil || held {
		t.Error("a lost lease is taken back", err)
	}
	if err := w.store.SaveSinkStatus(t.Context(), sink.Status{Sink: "siem", State: "nonsense", Holder: dead}); err != nil {
		t.Fatal(err)
	}
	if st := w.status("siem"); st.State == "nonsense" {
		t.Error("who lost the lease writes the state")
	}
}

// Cursors only grow.
func TestCursorsOnlyGrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme", "globex")
	r := newReceiver()
	w.manager(spec("siem", r.open))
	r.awaitAll(t, w.events("acme", 10))
	scope := w.room("acme").Scope()
	eventually(t, "the cursor is saved", func() bool {
		c, ok, err := w.store.SinkCursor(t.Context(), scope, "siem")
		return err == nil && ok && c.Seq >= 10
	})
	if err := w.store.AdvanceSink(t.Context(), scope, "siem", 1); err != nil {
		t.Fatal(err)
	}
	if c, _, err := w.store.SinkCursor(t.Context(), scope, "siem"); err != nil || c.Seq < 10 {
		t.Errorf("the cursor went back to %d, %v", c.Seq, err)
	}
	if err := w.store.AdvanceSink(t.Context(), scope, "nobody", 1); err == nil {
		t.Error("a cursor without beginning moved")
	}
}

// A receiver that hangs keeps its own sink waiting, and nobody else.
func TestSlowSinkSlowsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	hang := make(chan struct{})
	slow, quick := newReceiver(), newReceiver()
	slow.behave(func([]sink.Item) error { <-hang; return nil })
	m := w.manager(spec("slow", slow.open), spec("quick", quick.open))
	ids := w.events("acme", 300)
	quick.awaitAll(t, ids)
	close(hang)
	slow.awaitAll(t, ids)
	m.Stop()
	m.Stop()
}
