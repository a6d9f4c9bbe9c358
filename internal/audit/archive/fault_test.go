package archive_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	opens3 "github.com/Nissimmiracles/openclaw/internal/s3"
	"github.com/Nissimmiracles/openclaw/internal/s3/s3test"
)

var errKilled = errors.New("killed")

// guillotine ends an archiver at its nth step towards the outside, before the
// step has its effect or after it, and everything it tries from then on: what
// kill -9 leaves behind.
type guillotine struct {
	at    int64 // 0: never
	after bool
	steps atomic.Int64
}

func (g *guillotine) step(do func() error) error {
	n := g.steps.Add(1)
	if g.at > 0 && (n > g.at || n == g.at && !g.after) {
		return errKilled
	}
	if err := do(); err != nil {
		return err
	}
	if g.at > 0 && n == g.at {
		return errKilled
	}
	return nil
}

type mortalBucket struct {
	archive.Bucket
	g *guillotine
}

func (b mortalBucket) Put(ctx context.Context, o archive.Object) (v string, err error) {
	err = b.g.step(func() error { v, err = b.Bucket.Put(ctx, o); return err })
	return v, err
}

func (b mortalBucket) Get(ctx context.Context, key, version string) (s archive.Stored, err error) {
	err = b.g.step(func() error { s, err = b.Bucket.Get(ctx, key, version); return err })
	if err != nil && s.Body != nil {
		_ = s.Body.Close()
	}
	return s, err
}

func (b mortalBucket) Locked(ctx context.Context, key, version string) (t time.Time, err error) {
	err = b.g.step(func() error { t, err = b.Bucket.Locked(ctx, key, version); return err })
	return t, err
}

type mortalLedger struct {
	archive.Ledger
	g *guillotine
}

func (l mortalLedger) Claim(ctx context.Context, holder string, lease time.Duration) (ok bool, err error) {
	err = l.g.step(func() error { ok, err = l.Ledger.Claim(ctx, holder, lease); return err })
	return ok, err
}

func (l mortalLedger) Advance(ctx context.Context, e archive.Entry) error {
	return l.g.step(func() error { return l.Ledger.Advance(ctx, e) })
}

func (l mortalLedger) Release(ctx context.Context, holder, halted string) error {
	return l.g.step(func() error { return l.Ledger.Release(ctx, holder, halted) })
}

// unclaim ends the lease that the dead left, as twelve seconds do.
func (w *world) unclaim() {
	w.Helper()
	if _, err := w.db.Operator(w).Exec(w.Context(), `UPDATE audit_archive SET held_until = '-infinity'`); err != nil {
		w.Fatal(err)
	}
}

// Killed at every step there is, before it and after it, with more events in
// between: nothing is lost, nothing is twice, and no alarm is raised.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	upto := int64(0)
	for at, finished := int64(1), false; !finished; at++ {
		for _, after := range []bool{false, true} {
			w.record(2)
			g := &guillotine{at: at, after: after}
			victim := w.archiver(func(c *archive.Config) { c.Bucket = mortalBucket{w.bucket, g} })
			dying := w.tenant
			dying.Ledger = mortalLedger{w.tenant.Ledger, g}
			_, err := victim.Advance(t.Context(), dying)
			if finished = g.steps.Load() < at; finished {
				at-- // it came through: this was the last step
			} else if !errors.Is(err, errKilled) {
				t.Fatalf("killed at step %d: %v", at, err)
			}
			if g.steps.Load() > 1 && !finished && after {
				if p, err := w.archiver().Advance(t.Context(), w.tenant); err != nil || p.Segments != 0 && at > 1 && w.claimed() {
					t.Fatalf("another one worked beside the dead one's lease: %+v, %v", p, err)
				}
			}
			w.unclaim()
			w.record(1)
			upto += 3
			if p := w.advance(); p.Pending != 0 {
				t.Fatalf("after step %d: %+v", at, p)
			}
			if st := w.state(); st.Upto != upto || st.Halted != "" {
				t.Fatalf("after step %d: %+v, want %d", at, st, upto)
			}
			if finished {
				break
			}
		}
	}
	r := w.sound(upto)
	t.Logf("%d records in %d segments", upto, r.Segments)
	if upto < 40 {
		t.Errorf("only %d records: it cannot have died at every step", upto)
	}
}

func (w *world) claimed() (held bool) {
	w.Helper()
	if err := w.db.Operator(w).QueryRow(w.Context(), `SELECT held_until > now() FROM audit_archive WHERE tenant_id = $1`, w.tenant.ID).Scan(&held); err != nil {
		w.Fatal(err)
	}
	return held
}

// Several replicas at once, some without regard for the lease.
func TestReplicasSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(400)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := w.tenant
			if i > 1 {
				mine.Ledger = rude{w.tenant.Ledger}
			}
			a := w.archiver(func(c *archive.Config) { c.Limits.Events = int64(30 + 7*i) })
			if _, err := a.Advance(context.Background(), mine); err != nil {
				t.Errorf("replica %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
	w.unclaim()
	w.advance()
	w.sound(400)
}

type rude struct{ archive.Ledger }

func (rude) Claim(context.Context, string, time.Duration) (bool, error) { return true, nil }

// cutter is a proxy before the server that breaks connections in the middle of
// what is sent, while it is told to.
type cutter struct {
	net.Listener
	to    string
	after atomic.Int64 // bytes of a connection; 0: never
	cuts  atomic.Int64
	wg    sync.WaitGroup
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, to: to}
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Add(1)
			go c.serve(conn)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); c.wg.Wait() })
	return c
}

func (c *cutter) serve(conn net.Conn) {
	defer c.wg.Done()
	defer conn.Close()
	up, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer up.Close()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(conn, up)
		_ = conn.Close()
	}()
	if n := c.after.Load(); n > 0 {
		if sent, _ := io.CopyN(up, conn, n); sent == n {
			c.cuts.Add(1)
		}
	} else {
		_, _ = io.Copy(up, conn)
	}
	_ = up.Close()
	<-back
}

// An upload that is cut leaves nothing, and the next one everything.
func TestCutUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy := newCutter(t, w.server.Endpoint[len("http://"):])
	cfg := w.server.Config(t, bucketName)
	cfg.Endpoint = "http://" + proxy.Addr().String()
	through, err := opens3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(through.Close)
	w.record(200)
	a := w.archiver(func(c *archive.Config) { c.Bucket = through; c.Limits.Events = 200 })
	for _, n := range []int64{200, 4000, 12_000} { // in the head of the request, and in its body
		proxy.after.Store(n)
		if _, err := a.Advance(t.Context(), w.tenant); !errors.Is(err, archive.ErrAway) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
		through.Close()
	}
	if proxy.cuts.Load() < 6 {
		t.Errorf("%d uploads were cut", proxy.cuts.Load())
	}
	for v := range w.bucket.Versions(t.Context(), "") {
		t.Errorf("a cut upload left %+v", v)
	}
	proxy.after.Store(0)
	if p, err := a.Advance(t.Context(), w.tenant); err != nil || p.Events != 200 {
		t.Fatalf("%+v, %v", p, err)
	}
	w.sound(200)
}

// runner is one over the world's only tenant, with what it told.
func (w *world) runner(b archive.Bucket, whole bool) (*archive.Runner, *[]archive.Notice) {
	w.Helper()
	var told []archive.Notice
	return archive.NewRunner(archive.RunConfig{
		Archiver: w.archiver(func(c *archive.Config) { c.Bucket, c.Whole = b, whole }), Bucket: b, Every: time.Hour,
		Tenants: func(context.Context) iter.Seq2[archive.Tenant, error] {
			return func(yield func(archive.Tenant, error) bool) { yield(w.tenant, nil) }
		},
		Notice: func(n archive.Notice) { told = append(told, n) },
	}), &told
}

// The bucket is away for an hour: the log goes on, it is told of once, the lag
// shows, and afterwards everything is there.
func TestTheBucketIsAwayForAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, told := w.runner(w.bucket, false)
	w.record(120)
	r.Round(t.Context())
	if st := r.Status(); st.Stopped || st.Events != 100 || st.Pending != 20 || len(*told) != 0 {
		t.Fatalf("%+v, %+v", st, *told)
	}
	w.server.Stop(t)
	for range 4 {
		w.record(30)
		w.clock.step(20*time.Minute, true)
		r.Round(t.Context())
	}
	if st := r.Status(); !st.Stopped || st.Lag < 79*time.Minute || len(*told) != 1 || !errors.Is((*told)[0].Err, archive.ErrAway) {
		t.Errorf("%+v, %+v", st, *told)
	}
	w.server.Start(t)
	r.Round(t.Context())
	if st := r.Status(); st.Stopped || st.Lag != 0 || st.Pending != 0 || len(*told) != 2 || (*told)[1].Err != nil || (*told)[1].After < 19*time.Minute {
		t.Errorf("%+v, %+v", st, *told)
	}
	w.sound(240)
}

// A clock that jumped locks nothing: a lock cannot be taken back.
func TestAClockThatJumpsLocksNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, told := w.runner(w.bucket, true)
	w.record(10)
	for _, by := range []time.Duration{10 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
		w.clock.step(by, false)
		r.Round(t.Context())
		if st := r.Status(); !st.Stopped || len(*told) != 1 || archive.Word((*told)[0].Err) != "clocks_disagree" {
			t.Errorf("by %v: %+v, %+v", by, st, *told)
		}
	}
	for v := range w.bucket.Versions(t.Context(), "") {
		t.Errorf("locked %+v", v)
	}
	w.clock.step(10*365*24*time.Hour, false)
	// An event that another clock dated: its lock is no longer than from now.
	if _, err := w.room.Record(t.Context(), audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Time: time.Now().Add(20 * 365 * 24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	w.record(0)
	r.Round(t.Context())
	if res := w.sound(11); res.Locked.After(time.Now().Add(retention + time.Minute)) {
		t.Errorf("locked until %v", res.Locked)
	}
	if st := r.Status(); st.Stopped || len(*told) != 2 {
		t.Errorf("%+v, %+v", st, *told)
	}
}

// Credentials that are taken away, and given back.
func TestCredentialsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.server.Config(t, bucketName)
	cfg.CredentialsFile = s3test.Credentials(t, w.server.Access, "wrong")
	refused, err := opens3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(refused.Close)
	w.record(10)
	r, told := w.runner(refused, true)
	r.Round(t.Context())
	r.Round(t.Context())
	if st := r.Status(); !st.Stopped || st.Failures != 2 || len(*told) != 1 || archive.Word((*told)[0].Err) != "bucket_unfit" {
		t.Errorf("%+v, %+v", st, *told)
	}
	if st := w.state(); st.Upto != 0 {
		t.Errorf("%+v", st)
	}
}

// One tenant's trouble is not its neighbours'.
func TestOneHaltedTenantKeepsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(10)
	w.put(archive.SegmentKey(w.tenant.ID, 1), []byte("in the way"))
	var told []archive.Notice
	house := w.db.Tenant(t, w.store, "globex")
	if _, err := w.store.Record(t.Context(), house, audit.Event{Type: audit.APIRequest, Outcome: audit.Success}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Log(house).Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := archive.Tenant{ID: house.ID().String(), Log: w.store.Log(house), Ledger: w.store.Archive(house)}
	r := archive.NewRunner(archive.RunConfig{
		Archiver: w.archiver(), Bucket: w.bucket, Every: time.Millisecond, Notice: func(n archive.Notice) { told = append(told, n) },
		Tenants: func(context.Context) iter.Seq2[archive.Tenant, error] {
			return func(yield func(archive.Tenant, error) bool) { _ = yield(w.tenant, nil) && yield(other, nil) }
		},
	})
	r.Round(t.Context())
	r.Round(t.Context())
	if st := r.Status(); st.Stopped || st.Halted != 1 || st.Events != 1 {
		t.Errorf("%+v", st)
	}
	if len(told) != 1 || told[0].Tenant != w.tenant.ID || told[0].Object != archive.SegmentKey(w.tenant.ID, 1) {
		t.Errorf("%+v", told)
	}
	r.Start()
	r.Stop()
	r.Stop()
	archive.NewRunner(archive.RunConfig{Archiver: w.archiver()}).Stop() // never started
}

// Two platforms' wishes for one ledger: a cursor never moves without a segment.
func TestTheCursorCannotRunAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(5)
	w.advance()
	app := w.db.Application(t)
	for _, sql := range []string{
		`UPDATE audit_archive SET upto = 100`, `UPDATE audit_archive SET upto = 0`, `UPDATE audit_segments SET last = 100`, `DELETE FROM audit_segments`, `TRUNCATE audit_segments`, `DELETE FROM audit_archive`,
	} {
		tx, err := app.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `SELECT set_config('app.current_tenant_id', $1, true)`, w.tenant.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s went through", sql)
		}
		_ = tx.Rollback(t.Context())
	}
	other := w.db.Tenant(t, w.store, "globex")
	if st, err := w.store.Archive(other).State(t.Context()); err != nil || st.Upto != 0 {
		t.Errorf("a neighbour sees %+v, %v", st, err)
	}
	e := archive.Entry{First: 7, Last: 9, Key: "k", Version: "v", Bytes: 1, Size: 9, Newest: time.Now(), Until: time.Now()}
	if err := w.tenant.Ledger.Advance(t.Context(), e); !errors.Is(err, archive.ErrMoved) {
		t.Errorf("a gap: %v", err)
	}
}
