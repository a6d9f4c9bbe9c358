package archive_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
)

// stuckBucket holds a Put until it is let go or the uploader is gone.
type stuckBucket struct {
	archive.Bucket
	reached chan struct{} // closed by the first Put
	letGo   chan struct{}
	once    *sync.Once
}

func (b stuckBucket) Put(ctx context.Context, o archive.Object) (string, error) {
	b.once.Do(func() { close(b.reached) })
	select {
	case <-b.letGo:
		return b.Bucket.Put(ctx, o)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// countedLedger tells of each claim that was granted, and dies when it is told.
type countedLedger struct {
	archive.Ledger
	claims chan struct{}
	dead   chan struct{}
}

func (l countedLedger) Claim(ctx context.Context, holder string, lease time.Duration) (bool, error) {
	select {
	case <-l.dead:
		return false, errKilled
	default:
	}
	ok, err := l.Ledger.Claim(ctx, holder, lease)
	if ok {
		l.claims <- struct{}{}
	}
	return ok, err
}

func (l countedLedger) Release(ctx context.Context, holder, halted string) error {
	select {
	case <-l.dead:
		return errKilled
	default:
		return l.Ledger.Release(ctx, holder, halted)
	}
}

// uploading starts an archiver that is in the middle of an upload when this returns.
func (w *world) uploading(lease time.Duration) (b stuckBucket, l countedLedger, ended chan error) {
	b = stuckBucket{w.bucket, make(chan struct{}), make(chan struct{}), new(sync.Once)}
	l = countedLedger{w.tenant.Ledger, make(chan struct{}, 1000), make(chan struct{})}
	a := w.archiver(func(c *archive.Config) { c.Bucket, c.Lease = b, lease })
	ended = make(chan error, 1)
	dying := w.tenant
	dying.Ledger = l
	go func() {
		_, err := a.Advance(context.Background(), dying)
		ended <- err
	}()
	<-b.reached
	return b, l, ended
}

// An upload may take many leases: who works keeps the tenant for itself.
func TestALongUploadKeepsItsLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(10)
	const lease = 2 * time.Second
	b, l, ended := w.uploading(lease)
	for range 6 { // a lease and its renewals, four to its length
		select {
		case <-l.claims:
		case <-time.After(time.Minute):
			t.Fatal("the lease is not prolonged during an upload")
		}
	}
	p, err := w.archiver().Advance(t.Context(), w.tenant)
	if err != nil || !p.Busy || p.Segments != 0 {
		t.Errorf("another replica beside a long upload: %+v, %v", p, err)
	}
	close(b.letGo)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if w.claimed() {
		t.Error("the lease outlives the work")
	}
	w.sound(10)
}

// A replica that dies in the middle of an upload gives its tenant up within
// seconds, and another one's runner goes on long before its next round.
func TestADeadUploadersTenantIsTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(10)
	const lease = 2 * time.Second
	_, l, ended := w.uploading(lease)
	var notices []archive.Notice
	moved := make(chan struct{}, 1)
	mine := w.tenant
	mine.Ledger = movedLedger{w.tenant.Ledger, moved}
	r := archive.NewRunner(archive.RunConfig{
		Archiver: w.archiver(func(c *archive.Config) { c.Lease = lease }), Bucket: w.bucket, Every: time.Hour,
		Tenants: func(context.Context) iter.Seq2[archive.Tenant, error] {
			return func(yield func(archive.Tenant, error) bool) { yield(mine, nil) }
		},
		Notice: func(n archive.Notice) { notices = append(notices, n) },
	})
	r.Round(t.Context()) // meets the one who still lives
	if st := w.state(); st.Upto != 0 {
		t.Fatalf("%+v", st)
	}
	close(l.dead) // no renewal, no release; its upload hangs on
	r.Start()
	defer r.Stop()
	select {
	case <-moved:
	case <-time.After(time.Minute):
		t.Fatal("nobody took the dead one's tenant over before the next round")
	}
	// Who comes back to life finds that it has lost, and does no harm.
	select {
	case err := <-ended:
		if err != nil && !errors.Is(err, errKilled) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("who lost its lease goes on")
	}
	r.Stop()
	if len(notices) != 0 {
		t.Errorf("told %+v", notices)
	}
	w.sound(10)
}

type movedLedger struct {
	archive.Ledger
	moved chan struct{}
}

func (l movedLedger) Advance(ctx context.Context, e archive.Entry) error {
	err := l.Ledger.Advance(ctx, e)
	if err == nil {
		l.moved <- struct{}{}
	}
	return err
}

// How long the dead hold a tenant is bounded by the ledger's own clock.
func TestTheLeaseIsShort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(1)
	b, _, ended := w.uploading(0) // the one that runs in production
	var left float64
	if err := w.db.Operator(t).QueryRow(t.Context(), `SELECT extract(epoch FROM held_until - clock_timestamp())::float8 FROM audit_archive WHERE tenant_id = $1`, w.tenant.ID).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left <= 0 || left > 12 {
		t.Errorf("a dead replica holds its tenant for %.1f s", left)
	}
	close(b.letGo)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
