package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

func room(t testing.TB, s *postgres.Store, scope tenant.Scope) plane.Room {
	t.Helper()
	r, err := plane.New(s).Enter(scope)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func event(typ audit.Type) audit.Event { return audit.Event{Type: typ, Outcome: audit.Success} }

func remember(t testing.TB, r plane.Room, text string) plane.Document {
	t.Helper()
	var doc plane.Document
	_, err := r.Change(t.Context(), event(audit.MemoryChanged), func(tx plane.Tx) (err error) {
		doc, err = tx.Documents().Create(t.Context(), plane.Document{Kind: "memory", ID: uuid.Must(uuid.NewV7()), Text: text})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func log(t testing.TB, r plane.Room) []audit.Entry {
	t.Helper()
	var all []audit.Entry
	for {
		var after int64
		if len(all) > 0 {
			after = all[len(all)-1].Seq
		}
		es, more, err := r.Log().Events(t.Context(), audit.Query{After: after, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, es...)
		if !more {
			break
		}
	}
	for i, e := range all {
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d has number %d: the log is not dense", i+1, e.Seq)
		}
	}
	return all
}

func TestAChangeAndItsEventAreOne(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	id := uuid.Must(uuid.NewV7())
	boom := errors.New("boom")

	_, err := r.Change(t.Context(), event(audit.MemoryChanged), func(tx plane.Tx) error {
		if _, err := tx.Documents().Create(t.Context(), plane.Document{Kind: "memory", ID: id}); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("the change answered %v, want its own error", err)
	}
	if _, err := r.Documents().Get(t.Context(), "memory", id); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a failed change left its document: %v", err)
	}
	if n := len(log(t, r)); n != 0 {
		t.Errorf("a failed change left %d events", n)
	}

	// An event that cannot be written takes the change with it.
	bad := event("NO_SUCH_TYPE")
	_, err = r.Change(t.Context(), bad, func(tx plane.Tx) error {
		_, err := tx.Documents().Create(t.Context(), plane.Document{Kind: "memory", ID: id})
		return err
	})
	if fault.CodeOf(err) != fault.NoRecord {
		t.Fatalf("an unwritable event answered %v, want audit_unavailable", err)
	}
	if _, err := r.Documents().Get(t.Context(), "memory", id); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a change without its event left its document: %v", err)
	}

	receipt, err := r.Change(t.Context(), event(audit.MemoryChanged), func(tx plane.Tx) error {
		tx.Detail("words", 3)
		_, err := tx.Documents().Create(t.Context(), plane.Document{Kind: "memory", ID: id})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	es := log(t, r)
	if len(es) != 1 || es[0].ID != receipt.EventID || string(es[0].Details) != `{"words":3}` {
		t.Errorf("the log holds %+v, want the one event of the receipt", es)
	}
}

func TestDocumentsLiveTheirLives(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	doc := remember(t, r, "the invoice of March was paid late")
	other := remember(t, r, "the printer is on the second floor")

	hits, err := r.Documents().Search(t.Context(), "invoices", plane.Filter{Kind: "memory"})
	if err != nil || len(hits) != 1 || hits[0].ID != doc.ID {
		t.Fatalf("search answered %+v, %v", hits, err)
	}
	update := func(version int64) error {
		_, err := r.Change(t.Context(), event(audit.MemoryChanged), func(tx plane.Tx) error {
			d := doc
			d.Text = "the invoice of March was paid"
			got, err := tx.Documents().Update(t.Context(), d, version)
			if err == nil && got.Version != version+1 {
				t.Errorf("version %d after %d", got.Version, version)
			}
			return err
		})
		return err
	}
	if err := update(1); err != nil {
		t.Fatal(err)
	}
	if err := update(1); fault.CodeOf(err) != fault.Stale {
		t.Errorf("a second update of version 1 answered %v", err)
	}
	page, err := r.Documents().List(t.Context(), plane.Filter{Kind: "memory", Limit: 1})
	if err != nil || len(page.Documents) != 1 || page.Documents[0].ID != other.ID || page.Next == "" {
		t.Fatalf("first page: %+v, %v", page, err)
	}
	page, err = r.Documents().List(t.Context(), plane.Filter{Kind: "memory", Limit: 1, After: page.Next})
	if err != nil || len(page.Documents) != 1 || page.Documents[0].ID != doc.ID || page.Next != "" {
		t.Fatalf("second page: %+v, %v", page, err)
	}
	for _, cursor := range []string{"x", "AAAA", strings.Repeat("A", 32), "////////////////////////////////"} {
		if _, err := r.Documents().List(t.Context(), plane.Filter{Kind: "memory", After: cursor}); err != nil && fault.CodeOf(err) != fault.Unprocessable {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// The other tenant tries everything the store offers.
func TestOneTenantSeesNothingOfAnother(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	acme, globex := room(t, s, db.Tenant(t, s, "acme")), room(t, s, db.Tenant(t, s, "globex"))
	secret := remember(t, acme, "the merger closes on Friday")

	if _, err := globex.Documents().Get(t.Context(), "memory", secret.ID); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("get: %v", err)
	}
	if p, err := globex.Documents().List(t.Context(), plane.Filter{Kind: "memory"}); err != nil || len(p.Documents) != 0 {
		t.Errorf("list: %v, %v", p, err)
	}
	if h, err := globex.Documents().Search(t.Context(), "merger", plane.Filter{Kind: "memory"}); err != nil || len(h) != 0 {
		t.Errorf("search: %v, %v", h, err)
	}
	if es := log(t, globex); len(es) != 0 {
		t.Errorf("globex reads %d events of acme", len(es))
	}
	write := func(fn func(plane.DocumentWriter) error) error {
		_, err := globex.Change(t.Context(), event(audit.MemoryChanged), func(tx plane.Tx) error { return fn(tx.Documents()) })
		return err
	}
	if err := write(func(w plane.DocumentWriter) error {
		_, err := w.Update(t.Context(), plane.Document{Kind: "memory", ID: secret.ID, Text: "mine"}, 0)
		return err
	}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("update: %v", err)
	}
	if err := write(func(w plane.DocumentWriter) error { return w.Delete(t.Context(), "memory", secret.ID, 0) }); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("delete: %v", err)
	}
	if err := write(func(w plane.DocumentWriter) error {
		_, err := w.Create(t.Context(), plane.Document{Kind: "memory", ID: uuid.Must(uuid.NewV7()), Parent: secret.ID})
		return err
	}); fault.CodeOf(err) != fault.Unprocessable {
		t.Errorf("a child of a foreign parent: %v", err)
	}
	// The same id in another tenant is another document: it tells nothing.
	if err := write(func(w plane.DocumentWriter) error {
		_, err := w.Create(t.Context(), plane.Document{Kind: "memory", ID: secret.ID, Text: "globex's own"})
		return err
	}); err != nil {
		t.Errorf("an id that acme uses: %v", err)
	}
	got, err := acme.Documents().Get(t.Context(), "memory", secret.ID)
	if err != nil || got.Text != secret.Text || got.Version != 1 {
		t.Errorf("acme's document is now %+v, %v", got, err)
	}
}

// The wall itself, below the types: raw SQL as the application's role.
func TestTheDatabaseConfirmsTheWall(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	acme := db.Tenant(t, s, "acme")
	globex := db.Tenant(t, s, "globex")
	doc := remember(t, room(t, s, acme), "hers")
	conn := db.Application(t)

	count := func(sql string, args ...any) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(`SELECT count(*) FROM documents`); n != 0 {
		t.Errorf("without a tenant %d rows show", n)
	}
	for _, setting := range []string{"", globex.ID().String()} {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `SELECT set_config('app.current_tenant_id', $1, true)`, setting); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"documents", "audit_events", "audit_leaves", "audit_personal", "audit_summaries", "users"} {
			if n := count(`SELECT count(*) FROM ` + table); n != 0 {
				t.Errorf("as %q, %d rows of %s show", setting, n, table)
			}
		}
		tag, err := tx.Exec(t.Context(), `UPDATE documents SET body = 'mine' WHERE id = $1`, doc.ID)
		if err != nil || tag.RowsAffected() != 0 {
			t.Errorf("as %q, update: %v, %v", setting, tag, err)
		}
		_ = tx.Rollback(t.Context())
	}
	// After a transaction the setting is gone from the connection.
	if n := count(`SELECT count(*) FROM documents`); n != 0 {
		t.Errorf("after a transaction %d rows show", n)
	}

	refused := []string{
		`INSERT INTO documents (tenant_id, id, kind) VALUES ('` + acme.ID().String() + `', gen_random_uuid(), 'memory')`,
		`DELETE FROM audit_events`, `UPDATE audit_events SET words = NULL`, `TRUNCATE audit_events`,
		`DELETE FROM audit_leaves`, `UPDATE audit_leaves SET seq = 9`, `DELETE FROM tenants`, `UPDATE tenants SET name = 'x'`,
		`ALTER TABLE documents DISABLE ROW LEVEL SECURITY`, `DROP POLICY tenant_isolation ON documents`,
		`SET ROLE openclaw_owner`, `SET ROLE openclaw_super`, `SET SESSION AUTHORIZATION openclaw_super`,
		`CREATE TABLE escape (x int)`, `CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'`,
		`SELECT openclaw_isolate('documents')`, `COPY documents TO PROGRAM 'cat'`, `SELECT pg_read_file('/etc/passwd')`,
		`SELECT * FROM audit_events_other`,
	}
	for _, sql := range refused {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = tx.Exec(t.Context(), `SELECT set_config('app.current_tenant_id', $1, true)`, globex.ID().String())
		if _, err := tx.Exec(t.Context(), sql); err == nil {
			t.Errorf("the application's role may: %s", sql)
		}
		_ = tx.Rollback(t.Context())
	}
	if got, err := room(t, s, acme).Documents().Get(t.Context(), "memory", doc.ID); err != nil || got.Text != "hers" {
		t.Errorf("acme's document is now %+v, %v", got, err)
	}
}

func TestEvenTheOperatorMeetsTheTrigger(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	remember(t, r, "x")
	log(t, r)
	op := db.Operator(t)
	for _, sql := range []string{
		`UPDATE audit_events SET body = '{}'`, `DELETE FROM audit_events`, `TRUNCATE audit_events`,
		`UPDATE audit_leaves SET leaf = leaf`, `DELETE FROM audit_leaves`, `TRUNCATE audit_leaves`,
	} {
		if _, err := op.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s answered %v", sql, err)
		}
	}
}

func TestStartRefusesWhatCouldCrossTheWall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		break_ string
		url    func(pgtest.DB) string
		say    string
	}{
		"superuser":            {"", func(d pgtest.DB) string { return d.SuperURL }, "superuser"},
		"owner":                {"", func(d pgtest.DB) string { return d.Owner }, "owns the tables"},
		"table without wall":   {`CREATE TABLE leak (tenant_id uuid)`, nil, "leak"},
		"policy disabled":      {`ALTER TABLE documents DISABLE ROW LEVEL SECURITY`, nil, "documents"},
		"owner not forced":     {`ALTER TABLE users NO FORCE ROW LEVEL SECURITY`, nil, "users"},
		"second policy":        {`CREATE POLICY all_of_it ON documents USING (true)`, nil, "documents"},
		"policy widened":       {`ALTER POLICY tenant_isolation ON sessions USING (true)`, nil, "sessions"},
		"log can be changed":   {`GRANT UPDATE ON audit_events TO openclaw_app`, nil, "audit log"},
		"column of the log":    {`GRANT UPDATE (body) ON audit_events TO openclaw_app`, nil, "audit log"},
		"trigger disabled":     {`ALTER TABLE audit_events DISABLE TRIGGER audit_events_immutable`, nil, "triggers"},
		"trigger dropped":      {`DROP TRIGGER audit_leaves_immutable ON audit_leaves`, nil, "triggers"},
		"not yet migrated":     {`DROP TABLE audit_leaves CASCADE`, nil, "openclaw migrate"},
		"month unguarded":      {`ALTER TABLE audit_events_other DISABLE TRIGGER audit_events_immutable`, nil, "1 months without"},
		"month truncatable":    {`DROP TRIGGER no_truncate ON audit_events_other`, nil, "1 months without"},
		"trigger of another":   {`DROP TRIGGER audit_holds_immutable ON audit_holds; CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; CREATE TRIGGER audit_holds_immutable BEFORE UPDATE OR DELETE ON audit_holds FOR EACH ROW EXECUTE FUNCTION nothing()`, nil, "triggers"},
		"time of its own":      {`ALTER TABLE audit_checkpoints DISABLE TRIGGER audit_checkpoints_stamp`, nil, "triggers"},
		"deletion by hand":     {`GRANT UPDATE ON audit_expiry TO openclaw_app`, nil, "audit log"},
		"progress by hand":     {`GRANT INSERT (gone) ON audit_expiry TO openclaw_app`, nil, "audit log"},
		"holds can be lifted":  {`GRANT DELETE ON audit_holds TO openclaw_app`, nil, "audit log"},
		"function widened":     {`CREATE OR REPLACE FUNCTION audit_expire(batch int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN 0; END $$`, nil, "audit_expire/1 is not what its migration made"},
		"guard widened":        {`CREATE OR REPLACE FUNCTION audit_events_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$`, nil, "audit_events_guard/0 is not what"},
		"days widened":         {`CREATE OR REPLACE FUNCTION audit_retention_days(t uuid) RETURNS int LANGUAGE sql AS 'SELECT 1'`, nil, "audit_retention_days/1 is not what"},
		"function unpinned":    {`ALTER FUNCTION audit_expire(int) RESET search_path`, nil, "audit_expire/1 may be run by everybody, or"},
		"function for all":     {`GRANT EXECUTE ON FUNCTION audit_expire(int) TO PUBLIC`, nil, "audit_expire/1 may be run by everybody"},
		"function of another":  {`ALTER FUNCTION audit_expire(int) OWNER TO openclaw_super`, nil, "another's power"},
		"one more door":        {`CREATE FUNCTION wipe() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM audit_events'`, nil, "wipe/0 runs with its owner's power"},
		"an overload":          {`CREATE FUNCTION audit_expire(batch text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'`, nil, "audit_expire/1"},
		"function gone":        {`DROP FUNCTION audit_drop_month()`, nil, "audit_drop_month/0 is missing"},
		"garbage for a URL":    {"", func(pgtest.DB) string { return "postgres://u:hunter2@[" }, "DATABASE_URL"},
		"nobody at the socket": {"", func(pgtest.DB) string { return "postgres://u:hunter2@/x?host=/nowhere" }, "not available"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			if c.break_ != "" {
				if _, err := db.Operator(t).Exec(t.Context(), c.break_); err != nil {
					t.Fatal(err)
				}
			}
			url := db.App
			if c.url != nil {
				url = c.url(db)
			}
			s, err := postgres.Open(t.Context(), postgres.Config{URL: url})
			if err == nil {
				s.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.say) {
				t.Errorf("it says %q, want a word about %q", err, c.say)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows the password")
			}
		})
	}
}

// Many writers, two replicas, changes and plain records of two tenants at once:
// each log is dense and holds what was acknowledged, no more, no less.
func TestTheLogIsDenseUnderLoad(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	stores := []*postgres.Store{db.Open(t), db.Open(t)}
	scopes := []tenant.Scope{db.Tenant(t, stores[0], "acme"), db.Tenant(t, stores[0], "globex")}
	const writers, each = 8, 25
	var mu sync.Mutex
	acked := map[tenant.ID]map[uuid.UUID]bool{scopes[0].ID(): {}, scopes[1].ID(): {}}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, scope := stores[w%2], scopes[w/2%2]
			for i := range each {
				var got audit.Receipt
				var err error
				if i%2 == 0 {
					got, err = s.Record(context.Background(), scope, audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Resource: fmt.Sprint(w, i)})
				} else {
					got, err = s.Change(context.Background(), scope, event(audit.MemoryChanged), func(tx plane.Tx) error {
						_, err := tx.Documents().Create(context.Background(), plane.Document{Kind: "memory", ID: uuid.Must(uuid.NewV7())})
						return err
					})
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				mu.Lock()
				acked[scope.ID()][got.EventID] = true
				mu.Unlock()
				if i%10 == 0 {
					_, _, _ = s.Log(scope).Events(context.Background(), audit.Query{Limit: 1})
				}
			}
		}()
	}
	wg.Wait()
	for _, scope := range scopes {
		es := log(t, room(t, stores[0], scope))
		for _, e := range es {
			if !acked[scope.ID()][e.ID] {
				t.Errorf("the log holds an event nobody was told of: %s", e.ID)
			}
			delete(acked[scope.ID()], e.ID)
		}
		if n := len(acked[scope.ID()]); n != 0 {
			t.Errorf("%d acknowledged events are missing", n)
		}
	}
}

// What was acknowledged first has the smaller number, whoever wrote it.
func TestNumbersFollowAcknowledgement(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	a, b := db.Open(t), db.Open(t)
	scope := db.Tenant(t, a, "acme")
	var want []uuid.UUID
	for i := range 40 {
		s := []*postgres.Store{a, b}[i%2]
		r, err := s.Record(t.Context(), scope, event(audit.APIRequest))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, r.EventID)
	}
	for i, e := range log(t, room(t, b, scope)) {
		if e.ID != want[i] {
			t.Fatalf("number %d is %s, want %s", e.Seq, e.ID, want[i])
		}
	}
}

func TestAnIdempotentAnswerIsKeptOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.Open(t)
	r := room(t, s, db.Tenant(t, s, "acme"))
	key := plane.OnceKey{Key: [32]byte{1}, Digest: [32]byte{2}}
	const racers = 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for range racers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := r.Change(context.Background(), event(audit.MemoryChanged), func(tx plane.Tx) error {
				if err := tx.Once(context.Background(), key); err != nil {
					return err
				}
				tx.Answer(key, 201, []byte(`{"id":1}`))
				_, err := tx.Documents().Create(context.Background(), plane.Document{Kind: "memory", ID: uuid.Must(uuid.NewV7())})
				return err
			})
			var replay *plane.Replay
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				fresh++
			case !errors.As(err, &replay):
				t.Errorf("a racer: %v", err)
			case replay.Status != 201 || string(replay.Answer) != `{"id":1}` || replay.Digest != key.Digest:
				t.Errorf("replay: %+v", replay)
			}
		}()
	}
	wg.Wait()
	p, err := r.Documents().List(t.Context(), plane.Filter{Kind: "memory"})
	if err != nil || fresh != 1 || len(p.Documents) != 1 || len(log(t, r)) != 1 {
		t.Errorf("%d fresh, %d documents, %v", fresh, len(p.Documents), err)
	}
}
