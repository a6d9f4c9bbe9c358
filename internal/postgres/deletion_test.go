package postgres_test

import (
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/verify"
)

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
