package sink_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/sinktest"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/syslog"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

func tlsSyslog(t testing.TB, c *sinktest.Certs) (*sinktest.Syslog, func() (sink.Sender, error)) {
	t.Helper()
	r := sinktest.NewSyslog(t, &tls.Config{Certificates: []tls.Certificate{c.Server}, MinVersion: tls.VersionTLS12})
	return r, func() (sink.Sender, error) {
		return syslog.Open(syslog.Config{
			Address: r.Address, TLS: wire.TLS{CAFile: c.CAFile, ServerName: "localhost"}, Format: syslog.CEF, Facility: 13,
			Host: "openclaw.example.com", App: "openclaw", Version: "0.1.0", SDID: "openclaw@32473", MaxMessage: 8192,
		})
	}
}

func (w *world) last(name string) int64 {
	w.t.Helper()
	es, _, err := w.room(name).Log().Events(w.t.Context(), audit.Query{Newest: true, Limit: 1})
	if err != nil || len(es) == 0 {
		w.t.Fatal(err)
	}
	return es[0].Seq
}

func (w *world) id(name string) string { return w.room(name).Scope().ID().String() }

// Syslog has no acknowledgement, and nothing is missing all the same when the
// receiver dies in the middle of batches, is away, and hangs.
func TestSyslogLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r, open := tlsSyslog(t, sinktest.NewCerts(t))
	r.Dies.Store(40)
	s := spec("siem", open)
	s.Timeout = 500 * time.Millisecond
	w.manager(s)
	w.events("acme", 300)
	eventually(t, "it died often", func() bool { return w.status("siem").Failures >= 4 })
	if n, _ := r.Tally(w.id("acme"), 1<<40); n == 0 {
		t.Error("it never read anything: the test shows nothing")
	}
	r.Dies.Store(0)
	r.Await(t, w.id("acme"), w.last("acme"))

	r.Down()
	w.events("acme", 50)
	before := w.status("siem").Failures
	eventually(t, "it was missed", func() bool { return w.status("siem").Failures > before })
	r.Up(t)
	r.Await(t, w.id("acme"), w.last("acme"))

	r.Hangs.Store(true)
	w.events("acme", 50)
	before = w.status("siem").Failures
	eventually(t, "the deadline ended a Send", func() bool { return w.status("siem").Failures > before })
	r.Wake()
	r.Await(t, w.id("acme"), w.last("acme"))
	if wrong := r.Wrong(); len(wrong) > 0 {
		t.Errorf("wrong: %q", wrong)
	}
}

// Each protocol over HTTP, through a receiver that is busy, broken, and forgets
// us for a while: nothing is missing.
func TestHTTPLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	var specs []sink.Spec
	sinks := httpSinks(t, sinktest.NewCerts(t))
	for _, h := range sinks {
		var n atomic.Int64
		h.recv.Behave(func(rw http.ResponseWriter, r *http.Request) bool {
			switch n.Add(1) {
			case 1, 2:
				rw.WriteHeader(500)
			case 3:
				rw.WriteHeader(429)
			case 4:
				rw.WriteHeader(401)
			case 5:
				panic(http.ErrAbortHandler)
			case 6:
				http.Redirect(rw, r, "https://localhost:1/", http.StatusFound)
			default:
				return false
			}
			return true
		})
		one := spec(h.name, h.open)
		one.Timeout = deadline // one request an event takes long on a busy machine
		specs = append(specs, one)
	}
	w.events("acme", 60)
	w.manager(specs...)
	last := w.last("acme")
	for _, h := range sinks {
		h.recv.Await(t, w.id("acme"), last)
		if wrong := h.recv.Wrong(); len(wrong) > 0 {
			t.Errorf("%s: %q", h.name, wrong)
		}
	}
	for _, h := range sinks {
		eventually(t, h.name+" is current", func() bool {
			st := w.status(h.name)
			return st.State == sink.Current && st.Failures >= 6 && st.SetAside == 0
		})
	}
}

// A manager that is cut off in the middle of a Send, without a word to the
// database, is followed by one that sends again what was under way, and no more.
func TestCrashSendsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r := newReceiver()
	stuck := &stuckSender{receiver: r, under: make(chan struct{}, 1)}
	s := spec("siem", func() (sink.Sender, error) { return stuck, nil })
	s.Batch, s.Timeout = 50, time.Minute
	w.events("acme", 400)
	// This replica loses its database: its store's own connections are cut.
	other := w.db.Open(t)
	cfg := w.config()
	dying := sink.NewManager(cfg)
	t.Cleanup(dying.Stop)
	dying.Load([]sink.Spec{s})
	<-stuck.under
	if _, err := w.db.Operator(t).Exec(t.Context(), `UPDATE sink_states SET until = now() - interval '1 second', holder = gen_random_uuid()`); err != nil {
		t.Fatal(err)
	}
	cfg.Store = other
	next := sink.NewManager(cfg)
	t.Cleanup(next.Stop)
	r2 := newReceiver()
	s2 := s
	s2.Open = r2.open
	next.Load([]sink.Spec{s2})
	last := w.last("acme")
	r2.await(t, "the rest", func() bool {
		seen := seqs(r, w.id("acme"))
		for k := range seqs(r2, w.id("acme")) {
			seen[k] = true
		}
		return int64(len(seen)) >= last
	})
	twice := 0
	first := seqs(r, w.id("acme"))
	for k := range seqs(r2, w.id("acme")) {
		if first[k] {
			twice++
		}
	}
	if twice == 0 || twice > s.Batch {
		t.Errorf("%d arrived twice, a batch has %d", twice, s.Batch)
	}
}

// stuckSender's third Send is taken, and its answer never comes.
type stuckSender struct {
	*receiver
	under chan struct{}
	n     int
}

func (s *stuckSender) Send(ctx context.Context, batch []sink.Item) error {
	err := s.receiver.Send(ctx, batch)
	if s.n++; s.n == 3 {
		s.under <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func seqs(r *receiver, tenant string) map[int64]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[int64]bool{}
	for _, it := range r.got {
		if it.Tenant == tenant {
			out[it.Entry.Seq] = true
		}
	}
	return out
}

// Taking a sink out of the file and putting it back goes on where it was.
func TestReloadKeepsCursors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme")
	r, extra := newReceiver(), newReceiver()
	s := spec("siem", r.open)
	m := w.manager(s)
	r.awaitAll(t, w.events("acme", 20))
	m.Load([]sink.Spec{spec("other", extra.open)})
	missed := w.events("acme", 20)
	extra.awaitAll(t, missed)
	m.Load(nil)
	m.Load([]sink.Spec{s, spec("other", extra.open)})
	r.awaitAll(t, missed)
	for id, n := range r.counts() {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	list, err := w.store.SinkStatuses(t.Context())
	if err != nil || len(list) != 2 || !slices.IsSortedFunc(list, func(a, b sink.Status) int { return len(b.Sink) - len(a.Sink) }) {
		t.Errorf("%v %v", list, err)
	}
}

// Many tenants share one receiver fairly: one that floods does not keep the
// others waiting.
func TestFairShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "flood", "anna", "bert", "carl")
	w.events("flood", 1500)
	quiet := append(append(w.events("anna", 5), w.events("bert", 5)...), w.events("carl", 5)...)
	r := newReceiver()
	var sent int
	r.behave(func(batch []sink.Item) error { sent += len(batch); return nil })
	w.manager(spec("siem", r.open))
	r.await(t, "the quiet ones", func() bool { return len(missing(r.counts(), quiet)) == 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if sent > 1000 {
		t.Errorf("%d events went before the quiet tenants' few", sent)
	}
}
