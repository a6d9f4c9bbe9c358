package archive_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	opens3 "github.com/Nissimmiracles/openclaw/internal/s3"
	"github.com/Nissimmiracles/openclaw/internal/s3/s3test"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

const (
	bucketName = "audit"
	retention  = 2555 * 24 * time.Hour
)

// clock is the test's. Shared says that the ledger's goes by it too, as time
// does; otherwise only this machine's was turned.
type clock struct {
	mu     sync.Mutex
	by     time.Duration
	shared bool
}

func (c *clock) step(d time.Duration, shared bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by, c.shared = c.by+d, shared
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

type ledger struct {
	archive.Ledger
	c *clock
}

func (l ledger) State(ctx context.Context) (archive.State, error) {
	st, err := l.Ledger.State(ctx)
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.c.shared {
		st.Now = st.Now.Add(l.c.by)
	}
	return st, err
}

// world is a platform's log, its bucket, and one tenant.
type world struct {
	testing.TB
	db     pgtest.DB
	store  *postgres.Store
	room   plane.Room
	server *s3test.Server
	root   *s3.Client
	bucket *opens3.Bucket
	clock  *clock
	tenant archive.Tenant
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, db: pgtest.New(t), server: s3test.New(t), clock: &clock{}}
	w.store = w.db.OpenSigning(t, postgres.Signing{Key: pgtest.Key("first")})
	w.server.Make(t, bucketName, true)
	w.root, w.bucket = w.server.Client(), w.server.Open(t, bucketName)
	scope := w.db.Tenant(t, w.store, "acme")
	var err error
	if w.room, err = plane.New(w.store).Enter(scope); err != nil {
		t.Fatal(err)
	}
	w.tenant = archive.Tenant{ID: scope.ID().String(), Log: w.room.Log(), Ledger: ledger{w.store.Archive(scope), w.clock}}
	return w
}

// record writes n events with personal values in them.
func (w *world) record(n int) {
	w.Helper()
	var wg sync.WaitGroup
	gate := make(chan struct{}, 16)
	for i := range n {
		gate <- struct{}{}
		wg.Add(1)
		go func() {
			defer func() { <-gate; wg.Done() }()
			_, err := w.room.Record(context.Background(), audit.Event{
				Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", RequestID: fmt.Sprint(i), Resource: fmt.Sprint("memory/", i%7),
				Actor: audit.Actor{Kind: audit.ActorUser, ID: fmt.Sprint(i % 5), Name: "Ann O'Hara"}, IP: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}),
				UserAgent: "curl/8", Details: map[string]any{"time": "2999-01-01T00:00:00Z", "leaf": `,"leaf":"x","seq":1}`},
			})
			if err != nil {
				w.Error(err)
			}
		}()
	}
	wg.Wait()
	if _, err := w.room.Log().Checkpoint(context.Background()); err != nil { // and numbered
		w.Error(err)
	}
}

func (w *world) archiver(change ...func(*archive.Config)) *archive.Archiver {
	w.Helper()
	cfg := archive.Config{Bucket: w.bucket, Retention: retention, Now: w.clock.Now, Whole: true, Limits: archive.Limits{Events: 100, Bytes: 2 << 20, Age: time.Hour}}
	for _, f := range change {
		f(&cfg)
	}
	a, err := archive.New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// advance archives what waits and wants it to go well.
func (w *world) advance() archive.Progress {
	w.Helper()
	p, err := w.archiver().Advance(w.Context(), w.tenant)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func (w *world) state() archive.State {
	w.Helper()
	st, err := w.tenant.Ledger.State(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return st
}

func (w *world) evidence() archive.Evidence {
	w.Helper()
	p, err := w.room.Log().Checkpoint(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return archive.Evidence{
		Bucket: w.bucket, Tenant: w.tenant.ID, Key: p.Key, HouseKey: p.HouseKey, Retention: retention, Now: w.clock.Now(), Ledger: w.tenant.Ledger, Log: w.tenant.Log,
	}
}

func (w *world) verify(change ...func(*archive.Evidence)) *archive.Result {
	w.Helper()
	e := w.evidence()
	for _, f := range change {
		f(&e)
	}
	r, err := archive.Verify(w.Context(), e)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func bare(e *archive.Evidence) { e.Ledger, e.Log, e.HouseKey = nil, nil, "" }

// sound wants nothing wrong with an archive that ends at a record.
func (w *world) sound(upto int64) *archive.Result {
	w.Helper()
	var last *archive.Result
	for _, r := range []*archive.Result{w.verify(bare), w.verify()} {
		if r.Wrong != nil || !r.Intact || r.From != 1 || r.To != upto {
			w.Errorf("want records 1 to %d: %+v; wrong: %+v", upto, r, r.Wrong)
		}
		last = r
	}
	return last
}

// object names a key in the bucket as its owner sees it.
func (w *world) object(key string) *string { return aws.String("test/audit/" + key) }

func (w *world) fetch(key string) []byte {
	w.Helper()
	o, err := w.bucket.Get(w.Context(), key, "")
	if err != nil {
		w.Fatal(err)
	}
	defer o.Body.Close()
	b, err := io.ReadAll(o.Body)
	if err != nil {
		w.Fatal(err)
	}
	return b
}
