package postgres_test

import (
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// With an archive, a month goes when all of it is there; so does what is left of
// one whose deletion was signed before there was an archive.
func TestWhatIsNotArchivedIsNotDeleted(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	e, _ := history(t, db, r, 30)
	keys := firstKey
	keys.Host = pgtest.SigningHost
	careful, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, MaxConns: 4, Signing: keys, Archived: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(careful.Close)
	archived := func(upto int64) {
		e.do(`INSERT INTO audit_archive (tenant_id, upto) VALUES ($1, $2) ON CONFLICT (tenant_id) DO UPDATE SET upto = $2`, e.id.String(), upto)
	}
	waits := func(what string, bodies int64) {
		t.Helper()
		if got := expire(t, careful); got != (postgres.Expired{Waiting: 1}) || e.bodies() != bodies {
			t.Errorf("%s: %+v, and %d bodies stay, want one that waits and %d", what, got, e.bodies(), bodies)
		}
	}
	waits("nothing is archived", 3*30+20)
	archived(29)
	waits("all but the month's last record is archived", 3*30+20)
	archived(45)
	if got := expire(t, careful); got.Statements != 1 || got.Records != 30 || got.Waiting != 1 {
		t.Errorf("with the first month archived: %+v", got)
	}
	stateOnly(t, s, e) // by a platform without an archive, that dies
	waits("a signed deletion runs ahead of the archive", 2*30+20+2)
	archived(1000)
	if got := expire(t, careful); got.Statements != 1 || got.Records != 60 || got.Waiting != 0 {
		t.Errorf("with everything archived: %+v", got)
	}
}
