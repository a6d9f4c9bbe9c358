package postgres_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/Nissimmiracles/openclaw/verify"
)

// elder makes a tenant's log old, as years would: events, leaves and checkpoints
// so far move back together. Only the superuser past the triggers can.
type elder struct {
	intruder
	db pgtest.DB
}

func newElder(t *testing.T, db pgtest.DB, id tenant.ID) elder {
	t.Helper()
	e := elder{intruder{t, db.Operator(t), id}, db}
	e.do(`SET session_replication_role = replica`)
	return e
}

func (e elder) age(months int) {
	e.t.Helper()
	e.do(`UPDATE audit_events SET at = at - make_interval(months => $2) WHERE tenant_id = $1`, e.id.String(), months)
	e.do(`UPDATE audit_leaves SET at = at - make_interval(months => $2) WHERE tenant_id = $1`, e.id.String(), months)
	e.do(`UPDATE audit_checkpoints SET at = at - make_interval(months => $2) WHERE tenant_id = $1`, e.id.String(), months)
}

func (e elder) count(sql string) (n int64) {
	e.t.Helper()
	if err := e.conn.QueryRow(e.t.Context(), sql, e.id.String()).Scan(&n); err != nil {
		e.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (e elder) bodies() int64 {
	return e.count(`SELECT COALESCE(sum(n), 0) FROM audit_events WHERE tenant_id = $1`)
}

// history gives a tenant three months of so many events each that are past seven
// years, published in their month, and 20 of today. It answers the kept
// checkpoint of the first month.
func history(t *testing.T, db pgtest.DB, r plane.Room, each int) (elder, audit.Published) {
	t.Helper()
	e := newElder(t, db, r.Scope().ID())
	var kept audit.Published
	for month := range 3 {
		fill(t, r, each)
		p := published(t, r)
		if month == 0 {
			kept = p
		}
		e.age(1)
	}
	e.age(12*7 + 1)
	fill(t, r, 20)
	published(t, r)
	return e, kept
}

func expire(t *testing.T, s *postgres.Store) postgres.Expired {
	t.Helper()
	e, err := s.Expire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExpiryDeletesBodiesAndKeepsTheProof(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	young := room(t, s, db.Tenant(t, s, "globex"))
	fill(t, young, 10)
	e, kept := history(t, db, r, 300)

	got := expire(t, s)
	if got.Statements != 3 || got.Records != 900 || got.Held != 0 {
		t.Fatalf("expired %+v, want three months of 300", got)
	}
	if n := e.bodies(); n != 20+3 {
		t.Errorf("%d bodies stay, want the 20 young ones and three events of the deletions", n)
	}
	if n := e.count(`SELECT count(*) FROM audit_personal p JOIN audit_leaves l USING (tenant_id, event_id) WHERE tenant_id = $1 AND l.seq <= 900`); n != 0 {
		t.Errorf("%d expired records keep personal values", n)
	}
	if n := e.count(`SELECT sum(n) FROM audit_leaves WHERE tenant_id = $1`); n != 923 {
		t.Errorf("%d leaf hashes, want all 923", n)
	}
	if again := expire(t, s); again != (postgres.Expired{}) {
		t.Errorf("a second pass did %+v", again)
	}
	if n := len(log(t, young)); n != 10 {
		t.Errorf("the neighbour has %d of its 10 events", n)
	}

	// Proofs over what is left, and of what is gone, against a checkpoint from
	// before the deletion.
	p := published(t, r)
	file := bundleOf(t, r, audit.Range{Since: kept.Size})
	rep := verified(t, file, verify.Options{Key: p.Key, HouseKey: p.HouseKey, Since: kept.Checkpoint})
	if rep.Wrong != nil || len(rep.Missing) != 0 || rep.From != 901 || !strings.Contains(rep.String(), "expired, by signed deletion 3 of ") {
		t.Errorf("the bundle of what is left: %v", rep)
	}
	if in, err := r.Log().Inclusion(t.Context(), 7); err != nil || in.Leaf == "" {
		t.Errorf("inclusion of an expired record: %v", err)
	}
	// What asks for expired records is told which statement they went by.
	for name, ask := range map[string]func() error{
		"bundle": func() error { return r.Log().Bundle(t.Context(), &bytes.Buffer{}, audit.Range{From: 350, To: 360}) },
		"export": func() error {
			_, _, err := r.Log().Export(t.Context(), &bytes.Buffer{}, audit.JSONL, audit.Query{})
			return err
		},
		"filtered": func() error {
			_, _, err := r.Log().Export(t.Context(), &bytes.Buffer{}, audit.CSV, audit.Query{Actor: "1", After: 300})
			return err
		},
	} {
		err := ask()
		if fault.CodeOf(err) != fault.Expired || !strings.Contains(err.Error(), "signed deletion") {
			t.Errorf("%s over expired records: %v", name, err)
		}
	}
	if n, last, err := r.Log().Export(t.Context(), &bytes.Buffer{}, audit.JSONL, audit.Query{After: 900}); err != nil || n != 23 || last != 923 {
		t.Errorf("an export of the rest: %d to %d, %v", n, last, err)
	}
	k, err := r.Log().Keeping(t.Context())
	if err != nil || len(k.Deletions) != 3 || k.Deletions[1].First != 301 || k.Deletions[1].Last != 600 || !k.Deletions[2].Done || k.Retention.Days != 2555 {
		t.Errorf("keeping: %+v, %v", k, err)
	}
	// Each statement is in the log that it speaks of, and none passes for a
	// checkpoint.
	es, _, err := r.Log().Events(t.Context(), audit.Query{After: 920, Limit: 10})
	if err != nil || len(es) != 3 {
		t.Fatalf("%d events of deletions, %v", len(es), err)
	}
	for i, ev := range es {
		if ev.Type != audit.DataDeleted || !strings.Contains(string(ev.Details), fmt.Sprintf(`"deletion":%d`, i+1)) || !strings.Contains(string(ev.Details), "/deletions") {
			t.Errorf("the event of deletion %d: %+v", i+1, ev)
		}
		if rep := verified(t, []byte(k.Deletions[i].Signed), verify.Options{Key: p.Key}); rep.Wrong == nil || rep.Wrong.Check != "checkpoint" {
			t.Errorf("a deletion passes for a checkpoint: %v", rep)
		}
	}
}

// A statement is believed only if everything about it fits.
func TestADeletionCannotBeForgedInABundle(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	history(t, db, r, 30)
	expire(t, s)
	p := published(t, r)
	file := string(bundleOf(t, r, audit.Range{}))
	k, err := r.Log().Keeping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	quoted := func(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }
	for name, forged := range map[string]string{
		"another's statement": strings.Replace(file, quoted(k.Deletions[2].Signed), quoted(k.Deletions[1].Signed), 1),
		"other days":          strings.Replace(file, `\n2555\n`, `\n30\n`, 1),
		"other first":         strings.Replace(file, `\n61 90\n`, `\n60 90\n`, 1),
		"a checkpoint":        strings.Replace(file, quoted(k.Deletions[2].Signed), quoted(p.Checkpoint), 1),
		"no signature":        strings.Replace(file, quoted(k.Deletions[2].Signed), quoted(strings.SplitAfter(k.Deletions[2].Signed, "\n\n")[0]), 1),
	} {
		if forged == file {
			t.Fatalf("%s: nothing is forged", name)
		}
		if rep := verified(t, []byte(forged), verify.Options{Key: p.Key}); rep.Wrong == nil || rep.Wrong.Check != "deletion" {
			t.Errorf("%s: %v", name, rep)
		}
	}
}

func TestAHeldTenantLosesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	e, _ := history(t, db, r, 30)
	hold := func(held bool, why string) error {
		_, err := r.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
			return s.SetHold(t.Context(), tx, audit.Hold{Held: held, Owner: "counsel", Reason: why})
		})
		return err
	}
	if err := hold(true, ""); fault.CodeOf(err) != fault.Unprocessable {
		t.Errorf("a hold without a reason: %v", err)
	}
	if err := hold(true, "matter 7"); err != nil {
		t.Fatal(err)
	}
	if got := expire(t, s); got.Statements != 0 || got.Records != 0 || got.Held != 1 || e.bodies() != 111 {
		t.Errorf("under a hold: %+v, %d bodies", got, e.bodies())
	}
	if k, err := r.Log().Keeping(t.Context()); err != nil || !k.Hold.Held || k.Hold.Owner != "counsel" || k.Hold.At.IsZero() {
		t.Errorf("keeping: %+v, %v", k.Hold, err)
	}
	if err := hold(false, "matter 7 is settled"); err != nil {
		t.Fatal(err)
	}
	if got := expire(t, s); got.Records != 90 {
		t.Errorf("after the hold: %+v", got)
	}
}

// A hold that comes between the statement and its end stops it there.
func TestAHoldStopsADeletionUnderWay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	e, _ := history(t, db, r, 30)
	stateOnly(t, s, e)
	n, err := asApp(t, db.Application(t), r.Scope().ID(), `SELECT audit_expire(10)`)
	if err != nil || n < 10 || n >= 30 { // whole rows
		t.Fatalf("a step of 10 did %d, %v", n, err)
	}
	if _, err := r.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
		return s.SetHold(t.Context(), tx, audit.Hold{Held: true, Owner: "counsel", Reason: "matter 8"})
	}); err != nil {
		t.Fatal(err)
	}
	before := e.bodies()
	if got := expire(t, s); got.Held != 1 || got.Records != 0 || e.bodies() != before {
		t.Errorf("%+v, %d bodies of %d", got, e.bodies(), before)
	}
	// What is left of the month can still be had and proved.
	p := published(t, r)
	rep := verified(t, bundleOf(t, r, audit.Range{From: n + 1}), verify.Options{Key: p.Key})
	if rep.Wrong != nil || rep.From != n+1 {
		t.Errorf("the rest of a month that is half deleted: %v", rep)
	}
}

// stateOnly has a pass make the first month's statement and publish its event,
// and die before the first body goes.
func stateOnly(t *testing.T, s *postgres.Store, e elder) {
	t.Helper()
	e.do(`REVOKE EXECUTE ON FUNCTION audit_expire(int) FROM openclaw_app`)
	if got, err := s.Expire(t.Context()); err == nil || got.Statements != 1 || got.Records != 0 {
		t.Fatalf("the pass that dies: %+v, %v", got, err)
	}
	e.do(`GRANT EXECUTE ON FUNCTION audit_expire(int) TO openclaw_app`)
}

// asApp runs statements as the application's role in one transaction bound to a
// tenant, each statement's only argument the tenant if it has one.
func asApp(t *testing.T, conn *pgx.Conn, id tenant.ID, sqls ...string) (n int64, err error) {
	t.Helper()
	err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT set_config('app.current_tenant_id', $1, true)`, id.String()); err != nil {
			return err
		}
		for i, sql := range sqls {
			var args []any
			if strings.Contains(sql, "$1") {
				args = []any{id.String()}
			}
			if i == len(sqls)-1 && strings.HasPrefix(sql, "SELECT") {
				return tx.QueryRow(t.Context(), sql, args...).Scan(&n)
			}
			if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	return n, err
}

// A deletion half carried out goes on where it stopped.
func TestADeletionIsResumed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	e, _ := history(t, db, r, 30)
	stateOnly(t, s, e)
	app := db.Application(t)
	steps, total := 0, int64(0)
	for n := int64(-1); n != 0; steps++ {
		var err error
		if n, err = asApp(t, app, r.Scope().ID(), `SELECT audit_expire(10)`); err != nil || n < 0 || n > 30 {
			t.Fatalf("a step did %d, %v", n, err)
		}
		total += n
	}
	if total != 30 || steps < 3 {
		t.Fatalf("%d steps deleted %d", steps, total)
	}
	if got := expire(t, s); got.Statements != 2 || got.Records != 60 || e.bodies() != 23 {
		t.Errorf("resumed: %+v, %d bodies", got, e.bodies())
	}
}

// The pass may lose its database at any message it sends; whoever runs next
// ends where an undisturbed pass would have.
func TestExpirySurvivesACutAtAnyStatement(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	e, kept := history(t, db, r, 30)
	s.Close()
	cuts := 0
	for at := int64(4); ; at += 2 {
		wire := cutWire(t, db.App, at)
		cfg := postgres.Config{URL: wire.url, MaxConns: 4, Signing: postgres.Signing{Key: pgtest.Key("first"), Host: pgtest.SigningHost}}
		frail, err := postgres.Open(t.Context(), cfg)
		if err == nil {
			_, err = frail.Expire(t.Context())
			wire.cut()
			frail.Close()
		}
		if err == nil {
			break
		}
		cuts++
		if cuts > 200 {
			t.Fatalf("it never gets through: %v", err)
		}
	}
	if cuts < 5 {
		t.Fatalf("only %d cuts; the pass was not disturbed", cuts)
	}
	whole := db.OpenSigning(t, firstKey)
	r = room(t, whole, r.Scope())
	if got := expire(t, whole); got.Records != 0 || got.Statements != 0 || e.bodies() != 23 {
		t.Errorf("after %d cuts: %+v, %d bodies", cuts, got, e.bodies())
	}
	if n := e.count(`SELECT count(*) FROM audit_deletions WHERE tenant_id = $1`); n != 3 {
		t.Errorf("%d statements for three months", n)
	}
	p := published(t, r)
	rep := verified(t, bundleOf(t, r, audit.Range{Since: kept.Size}), verify.Options{Key: p.Key, HouseKey: p.HouseKey, Since: kept.Checkpoint})
	if rep.Wrong != nil || len(rep.Missing) != 0 || rep.From != 91 {
		t.Errorf("after %d cuts: %v", cuts, rep)
	}
	t.Logf("%d cuts", cuts)
}

// wire stands between a store and PostgreSQL and falls silent for good after so
// many messages from the store.
type wire struct {
	url  string
	left atomic.Int64
	mu   sync.Mutex
	all  []net.Conn
	l    net.Listener
}

func cutWire(t *testing.T, url string, messages int64) *wire {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	network, address := "tcp", net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
	if strings.HasPrefix(cfg.Host, "/") {
		network, address = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", cfg.Host, cfg.Port)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, url: fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", cfg.User, cfg.Password, l.Addr(), cfg.Database)}
	w.left.Store(messages)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(network, address)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.all = append(w.all, in, out)
			w.mu.Unlock()
			wg.Add(2)
			go func() { defer wg.Done(); _, _ = io.Copy(in, out); _ = in.Close() }()
			go func() {
				defer wg.Done()
				defer out.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := in.Read(b)
					if err != nil {
						return
					}
					if w.left.Add(-1) < 0 {
						w.cut()
						return
					}
					if _, err := out.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { w.cut(); wg.Wait() })
	return w
}

func (w *wire) cut() {
	_ = w.l.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.all {
		_ = c.Close()
	}
}

// The function that deletes trusts nobody: whoever holds the application's role
// may call it, over whatever rows that role can write.
func TestTheDeletingFunctionTrustsNobody(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	acme := db.Tenant(t, s, "acme")
	old := room(t, s, acme)
	young := room(t, s, db.Tenant(t, s, "globex"))
	fill(t, young, 40)
	published(t, young)
	e, _ := history(t, db, old, 30)
	s.Close() // nobody numbers or publishes meanwhile

	const begin = `INSERT INTO audit_deletions (tenant_id, number, first, last, month, root, days, event_id, signed)
		SELECT $1::uuid, 1, %d, c.size, '%s', c.root, 30, l.event_id, format(E'%%s/audit/%%s/deletions\ndeletion 1\n%%s %%s\n%%s\n%%s\n30\nnow\n\n- forged', (SELECT host FROM house_name), $1::uuid, %d, c.size, '%s', encode(c.root, 'base64'))
		FROM audit_checkpoints c, audit_leaves l WHERE c.tenant_id = $1::uuid AND c.size = %d AND l.tenant_id = $1::uuid AND l.seq = (SELECT max(seq) FROM audit_leaves WHERE tenant_id = $1::uuid AND seq <= %d)`
	row := func(first int, month string, size, event int) string {
		return fmt.Sprintf(begin, first, month+"-01", first, month, size, event)
	}
	// The month that the old tenant's first 30 records were published in.
	var firstMonth string
	if err := e.conn.QueryRow(t.Context(), `SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM') FROM audit_checkpoints WHERE tenant_id = $1 AND size = 30`, acme.ID().String()).Scan(&firstMonth); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Format("2006-01")
	const call = `SELECT audit_expire(100000)`
	const deleted = `INSERT INTO audit_events (tenant_id, id, body, leaf)
		VALUES ($1, '0190a5d0-0000-7000-8000-00000000beef', '{"details":{"deletion":1,"last":30},"type":"DATA_DELETED"}', sha256('x'))`
	const numbered = `INSERT INTO audit_leaves (tenant_id, seq, at, event_id, leaf) SELECT $1, 111, at, id, leaf FROM audit_events WHERE tenant_id = $1::uuid AND id = '0190a5d0-0000-7000-8000-00000000beef'`
	for name, c := range map[string]struct {
		id   tenant.ID
		sqls []string
		say  string
	}{
		"no tenant":                 {tenant.ID{}, []string{call}, "foreign key"},
		"no batch":                  {acme.ID(), []string{`SELECT audit_expire(0)`}, "1 to 100000"},
		"no statement":              {acme.ID(), []string{call}, ""},
		"another tenant's":          {young.Scope().ID(), []string{call}, ""},
		"a young month":             {young.Scope().ID(), []string{row(1, now, 40, 40), call}, "not past"},
		"a young record, old month": {young.Scope().ID(), []string{row(1, "2010-01", 40, 40), call}, "checkpoint of its month"},
		"a back-dated checkpoint": {young.Scope().ID(), []string{
			`INSERT INTO audit_checkpoints (tenant_id, size, root, signed, frontier, house_salt, house_leaf, at) VALUES ($1, 39, sha256('a'), '', '', sha256('')::bytea || ''::bytea, sha256('b'), '2010-01-02')`}, "house_salt"},
		"a back-dated checkpoint, well formed": {young.Scope().ID(), []string{
			`INSERT INTO audit_checkpoints (tenant_id, size, root, signed, frontier, house_salt, house_leaf, at) VALUES ($1, 39, sha256('a'), '', '', substr(sha256('a'), 1, 16), sha256('b'), '2010-01-02')`,
			row(1, "2010-01", 39, 40), call}, "checkpoint of its month"},
		"a gap before it":       {acme.ID(), []string{row(2, firstMonth, 30, 110), call}, "does not follow"},
		"a month beyond":        {acme.ID(), []string{row(1, firstMonth, 60, 110), call}, "checkpoint of its month"},
		"no event":              {acme.ID(), []string{row(1, firstMonth, 30, 110), call}, "not recorded"},
		"an unpublished event":  {acme.ID(), []string{deleted, numbered, row(1, firstMonth, 30, 111), call}, "not recorded"},
		"another text":          {acme.ID(), []string{strings.Replace(row(1, firstMonth, 30, 110), "deletion 1", "deletion 9", 1), call}, "signs something else"},
		"under a hold":          {acme.ID(), []string{`INSERT INTO audit_holds (tenant_id, held, owner, reason) VALUES ($1, true, 'x', 'y')`, row(1, firstMonth, 30, 110), call}, "legal hold"},
		"a shadow of the holds": {acme.ID(), []string{`INSERT INTO audit_holds (tenant_id, held, owner, reason) VALUES ($1, true, 'x', 'y')`, `CREATE TEMP TABLE audit_holds (LIKE public.audit_holds)`, `SET LOCAL search_path = pg_temp, public`, row(1, firstMonth, 30, 110), call}, "legal hold"},
		"a clock of its own": {young.Scope().ID(), []string{`CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT '2099-01-01'::timestamptz$$`,
			`SET LOCAL search_path = pg_temp, public, pg_catalog`, `SET LOCAL timezone = 'Etc/GMT-14'`, row(1, now, 40, 40), call}, "not past"},
		"a retention lowered just now": {young.Scope().ID(), []string{
			`SELECT set_config('app.current_tenant_id', '00000000-0000-4000-8000-000000000001', true)`,
			`INSERT INTO audit_retention (tenant_id, days, owner, reason, force_at, before, at) VALUES ('00000000-0000-4000-8000-000000000001', 30, 'x', 'y', '2010-01-01', 30, '2010-01-01')`,
			`SELECT set_config('app.current_tenant_id', $1, true)`,
			row(1, time.Now().UTC().AddDate(0, -3, 0).Format("2006-01"), 40, 40), call}, "2555 days"},
		"triggers off":          {acme.ID(), []string{`SET LOCAL session_replication_role = replica`}, "permission denied"},
		"bookkeeping by hand":   {acme.ID(), []string{`UPDATE audit_expiry SET gone = 90`}, "permission denied"},
		"a hold taken back":     {acme.ID(), []string{`DELETE FROM audit_holds`}, "permission denied"},
		"a statement rewritten": {acme.ID(), []string{`UPDATE audit_deletions SET last = 110`}, "permission denied"},
		"a lease on time":       {acme.ID(), []string{`UPDATE audit_retention SET force_at = now()`}, "permission denied"},
		"without the function":  {acme.ID(), []string{`DELETE FROM audit_events WHERE tenant_id = $1`}, "permission denied"},
		"a partition":           {acme.ID(), []string{`DROP TABLE audit_events_other`}, "must be owner"},
	} {
		before := e.count(`SELECT COALESCE(sum(n), 0) FROM audit_events WHERE tenant_id <> $1`) + e.bodies()
		n, err := asApp(t, db.Application(t), c.id, c.sqls...)
		switch {
		case c.say == "" && (err != nil || n != 0):
			t.Errorf("%s: %d, %v", name, n, err)
		case c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)):
			t.Errorf("%s: %d, %v; want a word about %q", name, n, err, c.say)
		}
		if after := e.count(`SELECT COALESCE(sum(n), 0) FROM audit_events WHERE tenant_id <> $1`) + e.bodies(); after != before {
			t.Errorf("%s: of %d bodies %d are left", name, before, after)
		}
	}

	// The superuser with triggers on meets the guard, in and out of a deletion.
	op := db.Operator(t)
	for _, sql := range []string{`DELETE FROM audit_events`, `UPDATE audit_events SET body = ''`, `DELETE FROM audit_deletions`, `DELETE FROM audit_holds`, `TRUNCATE audit_retention`} {
		if tag, err := op.Exec(t.Context(), sql); err == nil && tag.RowsAffected() > 0 || err != nil && !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s answered %v, %v", sql, tag, err)
		}
	}
}

func TestMonthsAreDroppedWhenNobodyIsLeftInThem(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	gone, held := room(t, s, db.Tenant(t, s, "acme")), room(t, s, db.Tenant(t, s, "globex"))
	op := db.Operator(t)
	for _, sql := range []string{
		`CREATE TABLE audit_events_2015_03 PARTITION OF audit_events FOR VALUES FROM ('2015-03-01+00') TO ('2015-04-01+00')`,
		`SELECT openclaw_isolate('audit_events_2015_03')`,
		`ALTER TABLE audit_events_2015_03 OWNER TO openclaw_owner`,
	} {
		if _, err := op.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []plane.Room{gone, held} {
		fill(t, r, 10)
		published(t, r)
		e := newElder(t, db, r.Scope().ID())
		for _, table := range []string{"audit_events", "audit_leaves", "audit_checkpoints"} {
			e.do(`UPDATE ` + table + ` SET at = '2015-03-10+00' WHERE tenant_id = $1`)
		}
	}
	hold := func(on bool) {
		if _, err := held.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
			return s.SetHold(t.Context(), tx, audit.Hold{Held: on, Owner: "counsel", Reason: "matter 9"})
		}); err != nil {
			t.Fatal(err)
		}
	}
	hold(true)
	if got := expire(t, s); got.Records != 10 || got.Months != 0 || got.Held != 1 {
		t.Errorf("with one tenant held: %+v", got)
	}
	hold(false)
	if got := expire(t, s); got.Records != 10 || got.Months != 1 {
		t.Errorf("with nobody held: %+v", got)
	}
	var there bool
	if err := op.QueryRow(t.Context(), `SELECT to_regclass('audit_events_2015_03') IS NOT NULL`).Scan(&there); err != nil || there {
		t.Errorf("the month's partition is still there: %v, %v", there, err)
	}
}

func TestRetentionIsRaisedFreelyAndLoweredByDecision(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	scope, err := tenant.NewDoor(s).AdmitAnyStatus(t.Context(), tenant.House)
	if err != nil {
		t.Fatal(err)
	}
	house, acme := room(t, s, scope), room(t, s, db.Tenant(t, s, "acme"))
	days := func(r plane.Room) audit.Retention {
		t.Helper()
		k, err := r.Log().Keeping(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return k.Retention
	}
	decide := func(r plane.Room, n int) error {
		_, err := r.Change(t.Context(), event(audit.ConfigChanged), func(tx plane.Tx) error {
			return s.SetRetention(t.Context(), tx, n, "board", "storage is paid for")
		})
		return err
	}
	start := func(n, want int) {
		t.Helper()
		if got, err := s.KeepFor(t.Context(), scope, n); err != nil || got != want {
			t.Errorf("a start with %d days goes by %d, %v; want %d", n, got, err, want)
		}
	}
	start(2555, 2555)
	if n := len(log(t, house)); n != 0 {
		t.Errorf("a start that changes nothing wrote %d events", n)
	}
	start(365, 2555) // less than in force: nothing but a decision lowers
	start(3000, 3000)
	if es := log(t, house); len(es) != 1 || es[0].Type != audit.ConfigChanged || es[0].Reason != "retention_raised" {
		t.Errorf("the raise is recorded as %+v", es)
	}
	for _, n := range []int{0, 29, 36_501, -1} {
		if err := decide(house, n); fault.CodeOf(err) != fault.Unprocessable {
			t.Errorf("a retention of %d days: %v", n, err)
		}
	}
	if err := decide(house, 400); err != nil {
		t.Fatal(err)
	}
	if r := days(acme); r.Days != 3000 || r.Platform != 3000 {
		t.Errorf("a lowering is in force at once: %+v", r)
	}
	if r := days(house); r.Next != 400 || time.Until(r.NextAt) < 6*24*time.Hour || r.Owner != "board" {
		t.Errorf("the decision: %+v", r)
	}
	start(400, 3000)
	later := func() {
		e := newElder(t, db, tenant.House)
		e.do(`UPDATE audit_retention SET force_at = force_at - interval '7 days' WHERE tenant_id = $1`)
	}
	later()
	if r := days(acme); r.Days != 400 {
		t.Errorf("after seven days: %+v", r)
	}
	// A tenant's own can only be longer, and a new decision takes back one that
	// waits.
	if err := decide(acme, 900); err != nil || days(acme).Days != 900 || days(acme).Platform != 400 {
		t.Errorf("a tenant's own: %+v, %v", days(acme), err)
	}
	if err := decide(house, 60); err != nil {
		t.Fatal(err)
	}
	if err := decide(house, 500); err != nil {
		t.Fatal(err)
	}
	later()
	if r := days(house); r.Days != 500 {
		t.Errorf("a lowering that was taken back comes into force: %+v", r)
	}
}
