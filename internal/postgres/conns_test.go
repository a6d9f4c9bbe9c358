package postgres_test

import (
	"context"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// few opens a store whose requests have few connections.
func few(t *testing.T, db pgtest.DB, conns int32) *postgres.Store {
	t.Helper()
	keys := firstKey
	keys.Host = pgtest.SigningHost
	s, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, MaxConns: conns, Signing: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Requests that hold every connection of theirs, and more that wait for one, do
// not keep events from being committed, numbered and signed for.
func TestSlowRequestsDoNotStopTheLog(t *testing.T) {
	t.Parallel()
	const conns = 3
	db := pgtest.New(t)
	s := few(t, db, conns)
	r := room(t, s, db.Tenant(t, s, "acme"))
	held, release := make(chan struct{}, conns), make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		together(4*conns, func(i int) {
			_, err := r.Change(context.Background(), usual(), func(tx plane.Tx) error {
				if err := tx.Once(context.Background(), plane.OnceKey{Key: [32]byte{byte(i)}}); err != nil { // takes the connection
					return err
				}
				held <- struct{}{}
				<-release
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}()
	for range conns {
		<-held
	}
	const events = 700
	if _, err := r.RecordAll(t.Context(), various(events)); err != nil {
		t.Errorf("bulk: %v", err)
	}
	if _, err := r.Record(t.Context(), usual()); err != nil {
		t.Errorf("one: %v", err)
	}
	await(t, db, `SELECT COALESCE(max(size), 0) FROM audit_checkpoints WHERE tenant_id = '`+r.Scope().ID().String()+`'`, events+1)
	await(t, db, `SELECT count(*) FROM house_queue`, 0)
	close(release)
	go func() {
		for range held {
		}
	}()
	<-over
	close(held)
	if p := published(t, r); p.Size != events+1+4*conns {
		t.Errorf("%d records", p.Size)
	}
}

// The log's commits that wait for a lock, as many as there may be, leave requests
// their connections: what they ask is answered while the log is stopped.
func TestTheLogDoesNotStopRequests(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := few(t, db, 2)
	r := room(t, s, db.Tenant(t, s, "acme"))
	fill(t, r, 5)
	published(t, r)
	tx, err := db.Operator(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `LOCK TABLE audit_events, audit_heads, audit_checkpoints IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		together(40, func(int) {
			if _, err := r.RecordAll(context.Background(), various(300)); err != nil {
				t.Error(err)
			}
		})
	}()
	await(t, db, `SELECT least(count(*), 3) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`, 3)
	for range 100 {
		if _, err := tenant.NewDoor(s).Admit(t.Context(), r.Scope().ID()); err != nil {
			t.Fatal(err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-over
}
