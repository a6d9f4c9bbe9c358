package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/Nissimmiracles/openclaw/verify"
)

// together runs n at once and waits.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() { defer wg.Done(); do(i) }()
	}
	wg.Wait()
}

func open(s *postgres.Store, r plane.Room, id uuid.UUID, requestID string) error {
	ev := audit.Event{Type: audit.LoginSuccess, Outcome: audit.Success, RequestID: requestID}
	_, err := r.Change(context.Background(), ev, func(tx plane.Tx) error {
		return s.InsertSession(context.Background(), tx, identity.Session{ID: id, Subject: uuid.New(), Expires: time.Now().Add(time.Hour)})
	})
	return err
}

func revoke(s *postgres.Store, r plane.Room, id uuid.UUID, requestID string) error {
	ev := audit.Event{Type: audit.TokenRevoked, Outcome: audit.Success, RequestID: requestID}
	_, err := r.Change(context.Background(), ev, func(tx plane.Tx) error { return s.RevokeSession(context.Background(), tx, id) })
	return err
}

// Changes that share a commit share nothing else: one that the database refuses
// gets its own error and no event, its neighbours of both tenants are done.
func TestAGroupIsNotHarmedByOneOfIt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	rooms := []plane.Room{room(t, s, db.Tenant(t, s, "acme")), room(t, s, db.Tenant(t, s, "globex"))}
	const n = 90
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = uuid.New()
		if i%3 == 2 {
			ids[i] = ids[i-2] // in the same tenant: one of the two must fail
		}
	}
	errs := make([]error, n)
	together(n, func(i int) { errs[i] = open(s, rooms[i/3%2], ids[i], fmt.Sprint("r", i)) })
	written := map[string]bool{}
	for i, r := range rooms {
		for _, e := range log(t, r) {
			if written[e.RequestID] {
				t.Errorf("%s is recorded twice", e.RequestID)
			}
			written[e.RequestID] = true
			var k int
			if _, err := fmt.Sscanf(e.RequestID, "r%d", &k); err != nil || k/3%2 != i {
				t.Errorf("%s is in the log of tenant %d", e.RequestID, i)
			}
		}
	}
	for i, err := range errs {
		if (err == nil) != written[fmt.Sprint("r", i)] {
			t.Errorf("%d: answered %v, recorded: %v", i, err, written[fmt.Sprint("r", i)])
		}
		if err != nil && fault.CodeOf(err) != fault.Conflict {
			t.Errorf("%d: %v", i, err)
		}
		if i%3 == 2 && (errs[i] == nil) == (errs[i-2] == nil) || i%3 == 1 && err != nil {
			t.Errorf("%d: %v beside %v", i, err, errs[i-i%3])
		}
	}
	for i, r := range rooms {
		var rows int
		if err := db.Operator(t).QueryRow(t.Context(), `SELECT count(*) FROM sessions WHERE tenant_id = $1`, r.Scope().ID().String()).Scan(&rows); err != nil || rows != n/3 {
			t.Errorf("tenant %d has %d sessions, want %d, %v", i, rows, n/3, err)
		}
	}
}

// A statement that waits for a lock holds up neither the other statements nor
// the events.
func TestAGroupDoesNotWaitForOneOfIt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	ids := make([]uuid.UUID, 20)
	for i := range ids {
		ids[i] = uuid.New()
		if err := open(s, r, ids[i], ""); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := db.Operator(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM sessions WHERE id = $1 FOR UPDATE`, ids[0]); err != nil {
		t.Fatal(err)
	}
	held := make(chan error, 1)
	go func() { held <- revoke(s, r, ids[0], "held") }()
	together(len(ids)-1, func(i int) {
		if err := revoke(s, r, ids[i+1], "free"); err != nil {
			t.Errorf("beside one that waits: %v", err)
		}
	})
	if _, err := r.Record(t.Context(), event(audit.APIRequest)); err != nil {
		t.Error(err)
	}
	select {
	case err := <-held:
		t.Errorf("answered under the lock: %v", err)
	default:
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-held; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
	n := map[string]int{}
	for _, e := range log(t, r) {
		n[e.RequestID]++
	}
	if n["held"] != 1 || n["free"] != len(ids)-1 {
		t.Errorf("recorded %v", n)
	}
}

// Two replicas append to the same logs through every path at once: each log is
// dense, whole, one history, and holds what was answered, once.
func TestReplicasAppendToOneLog(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	stores := []*postgres.Store{db.OpenSigning(t, firstKey), db.OpenSigning(t, firstKey)}
	scopes := []tenant.Scope{db.Tenant(t, stores[0], "acme"), db.Tenant(t, stores[0], "globex")}
	const workers, each = 16, 12
	shared := make([]uuid.UUID, 8)
	for i := range shared {
		shared[i] = uuid.New()
		if err := open(stores[0], room(t, stores[0], scopes[i%2]), shared[i], ""); err != nil {
			t.Fatal(err)
		}
	}
	var lock sync.Mutex
	answered := map[uuid.UUID]int{} // by receipt, of tenant
	took := func(k int, err error, receipts ...audit.Receipt) {
		lock.Lock()
		defer lock.Unlock()
		if err != nil {
			t.Errorf("append: %v", err)
		}
		for _, r := range receipts {
			answered[r.EventID] = k
		}
	}
	together(workers, func(w int) {
		s, k := stores[w%2], w/2%2
		r := room(t, s, scopes[k])
		ctx := context.Background()
		for i := range each {
			rec, err := r.Record(ctx, event(audit.APIRequest))
			took(k, err, rec)
			rec, err = r.Act(ctx, egress(), func(context.Context) (audit.Outcome, map[string]any, error) { return "", nil, nil })
			took(k, err, rec)
			rec, err = r.Change(ctx, event(audit.ConfigChanged), func(plane.Tx) error { return nil })
			took(k, err, rec)
			rec, err = r.Change(ctx, event(audit.MemoryChanged), func(tx plane.Tx) error {
				_, err := tx.Documents().Create(ctx, plane.Document{Kind: "memory", ID: uuid.New(), Text: "x"})
				return err
			})
			took(k, err, rec)
			// The same rows from both replicas, in different orders.
			took(k, revoke(s, r, shared[(i*(1+w%3*2)+w)%len(shared)], ""))
			all, err := r.RecordAll(ctx, []audit.Event{event(audit.APIRequest), event(audit.LoginFailed), event(audit.APIRequest)})
			took(k, err, all...)
		}
	})
	for k, scope := range scopes {
		r := room(t, stores[1-k], scope)
		p := published(t, r)
		found := map[uuid.UUID]bool{}
		for i, e := range log(t, r) {
			if e.Seq != int64(i)+1 || found[e.ID] {
				t.Fatalf("tenant %d: number %d is at place %d", k, e.Seq, i+1)
			}
			found[e.ID] = true
		}
		for id, of := range answered {
			if (of == k) != found[id] {
				t.Errorf("tenant %d: event %s of tenant %d: found %v", k, id, of, found[id])
			}
		}
		if want := workers/2*each*9 + len(shared)/2; len(found) != want || p.Size != int64(want) {
			t.Errorf("tenant %d: %d events, %d published, want %d", k, len(found), p.Size, want)
		}
		if rep := verified(t, bundleOf(t, r, audit.Range{}), verify.Options{Key: p.Key, Since: p.Checkpoint}); rep.Wrong != nil {
			t.Errorf("tenant %d: %v", k, rep.Wrong)
		}
	}
	var open int
	if err := db.Operator(t).QueryRow(t.Context(), `SELECT count(*) FROM audit_intents`).Scan(&open); err != nil || open != 0 {
		t.Errorf("%d intents are open, %v", open, err)
	}
}

// What was answered before or while a store closed is in the log; what was
// refused is not.
func TestClosingLosesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	scope := db.Tenant(t, s, "acme")
	r := room(t, s, scope)
	var begun atomic.Int64
	half := make(chan struct{})
	var lock sync.Mutex
	good := map[uuid.UUID]bool{}
	go func() { <-half; s.Close() }()
	together(8, func(int) {
		for {
			rec, err := r.Record(context.Background(), event(audit.APIRequest))
			if err != nil {
				if fault.CodeOf(err) != fault.NoRecord {
					t.Errorf("while closing: %v", err)
				}
				return
			}
			lock.Lock()
			good[rec.EventID] = true
			lock.Unlock()
			if begun.Add(1) == 100 {
				close(half)
			}
		}
	})
	again := db.Open(t)
	for _, e := range log(t, room(t, again, scope)) {
		delete(good, e.ID)
	}
	if len(good) != 0 {
		t.Errorf("%d answered events are missing", len(good))
	}
}

// A caller that has left is not recorded for, and an act it wanted not begun.
func TestACallerThatLeft(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Act(ctx, egress(), func(context.Context) (audit.Outcome, map[string]any, error) {
		t.Error("done for nobody")
		return "", nil, nil
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("act: %v", err)
	}
	if _, err := r.Change(ctx, event(audit.ConfigChanged), func(plane.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("change: %v", err)
	}
	if _, err := r.Record(ctx, event(audit.APIRequest)); fault.CodeOf(err) != fault.NoRecord || !strings.Contains(err.Error(), "in time") {
		t.Errorf("record: %v", err)
	}
}

// A bulk append that the database refuses in the middle leaves none of that
// commit's events, and its connection and memory fit for the next.
func TestABulkAppendIsRefusedWhole(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	if _, err := db.Operator(t).Exec(t.Context(), `ALTER TABLE audit_personal ADD CHECK ('refused' <> ALL (actor_name))`); err != nil {
		t.Fatal(err)
	}
	written := 0
	for round, size := range []int{600, 3000, 257, 700} {
		events := various(size)
		for i := range events {
			events[i].Actor.Name = "ann"
		}
		got, err := r.RecordAll(t.Context(), events)
		if err != nil || len(got) != size {
			t.Fatal(round, len(got), err)
		}
		written += size
		events = various(600)
		for i := range events {
			events[i].Actor.Name = "ann"
		}
		events[400].Actor.Name = "refused"
		if got, err := r.RecordAll(t.Context(), events); fault.CodeOf(err) != fault.NoRecord || len(got) != 0 {
			t.Errorf("round %d: %d receipts, %v", round, len(got), err)
		}
	}
	if p := published(t, r); p.Size != int64(written) {
		t.Errorf("%d records, %d were acknowledged", p.Size, written)
	}
	var bundle bytes.Buffer
	if err := r.Log().Bundle(t.Context(), &bundle, audit.Range{}); err != nil {
		t.Fatal(err)
	}
	p := published(t, r)
	if rep, err := verify.Verify(&bundle, verify.Options{Key: p.Key, Checkpoint: p.Checkpoint}); err != nil || rep.Wrong != nil {
		t.Error(rep, err)
	}
}
