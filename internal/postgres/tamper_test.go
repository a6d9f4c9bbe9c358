package postgres_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/Nissimmiracles/openclaw/verify"
)

// intruder is the operator with root on the database and, where a test says so,
// the signing key: triggers do not fire for it.
type intruder struct {
	t    *testing.T
	conn *pgx.Conn
	id   tenant.ID
}

func (i intruder) do(sql string, args ...any) {
	i.t.Helper()
	if len(args) == 0 && strings.Contains(sql, "$1") {
		args = []any{i.id.String()}
	}
	if _, err := i.conn.Exec(i.t.Context(), sql, args...); err != nil {
		i.t.Fatalf("%s: %v", sql, err)
	}
}

// resign makes tree and checkpoint anew over whatever leaves there are now, as
// if nothing had been before.
func (i intruder) resign(key ed25519.PrivateKey) {
	i.t.Helper()
	rows, err := i.conn.Query(i.t.Context(), `SELECT leaf FROM audit_leaves WHERE tenant_id = $1 ORDER BY seq`, i.id.String())
	if err != nil {
		i.t.Fatal(err)
	}
	raw, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		i.t.Fatal(err)
	}
	var f merkle.Frontier
	var nodes []merkle.Node
	for _, h := range raw {
		nodes = f.Append(nodes, tlog.Hash(h))
	}
	signer, err := checkpoint.NewSigner(checkpoint.Origin(pgtest.SigningHost, i.id.String()), key)
	if err != nil {
		i.t.Fatal(err)
	}
	tree := f.Tree()
	signed, err := checkpoint.Sign(tree, signer)
	if err != nil {
		i.t.Fatal(err)
	}
	edge, err := f.MarshalBinary()
	if err != nil {
		i.t.Fatal(err)
	}
	i.do(`DELETE FROM audit_nodes WHERE tenant_id = $1`)
	i.do(`DELETE FROM audit_checkpoints WHERE tenant_id = $1`)
	for _, n := range nodes {
		i.do(`INSERT INTO audit_nodes VALUES ($1, $2, $3, $4)`, i.id.String(), n.Level, n.Index, n.Hash[:])
	}
	i.do(`INSERT INTO audit_checkpoints (tenant_id, size, root, signed, frontier, house_salt, house_leaf) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		i.id.String(), tree.N, tree.Hash[:], string(signed), edge, make([]byte, 16), tree.Hash[:])
}

// rehash makes a record's leaf hashes fit its body again, in both tables.
func (i intruder) rehash(seq int) {
	i.t.Helper()
	i.do(`UPDATE audit_events e SET leaf = sha256('\x00'::bytea || convert_to(e.body, 'UTF8')) FROM audit_leaves l
		WHERE e.tenant_id = $1 AND l.tenant_id = $1 AND l.event_id = e.id AND l.seq = $2`, i.id.String(), seq)
	i.do(`UPDATE audit_leaves l SET leaf = e.leaf FROM audit_events e WHERE l.tenant_id = $1 AND e.tenant_id = $1 AND e.id = l.event_id AND l.seq = $2`, i.id.String(), seq)
}

const (
	changeBody = `UPDATE audit_events e SET body = replace(e.body, '"outcome":"success"', '"outcome":"refused"') FROM audit_leaves l
		WHERE e.tenant_id = $1 AND l.tenant_id = $1 AND l.event_id = e.id AND l.seq = 100`
	swapLeaves = `UPDATE audit_leaves l SET event_id = o.event_id, leaf = o.leaf, at = o.at FROM audit_leaves o
		WHERE l.tenant_id = $1 AND o.tenant_id = $1 AND ((l.seq = 100 AND o.seq = 200) OR (l.seq = 200 AND o.seq = 100))`
	// Numbers move through negative ones, past the unique index.
	closeGap = `WITH m AS (UPDATE audit_leaves SET seq = -seq WHERE tenant_id = $1 AND seq > 100 RETURNING 1) SELECT count(*) FROM m`
	closed   = `UPDATE audit_leaves SET seq = -seq - 1 WHERE tenant_id = $1 AND seq < 0`
	opened   = `UPDATE audit_leaves SET seq = -seq + 1 WHERE tenant_id = $1 AND seq < 0`
	noCheck  = `ALTER TABLE audit_leaves DROP CONSTRAINT audit_leaves_seq_check`
	check    = `ALTER TABLE audit_leaves ADD CONSTRAINT audit_leaves_seq_check CHECK (seq > 0)`
	shrink   = `UPDATE audit_heads SET size = (SELECT max(seq) FROM audit_leaves WHERE tenant_id = $1) WHERE tenant_id = $1`
)

func (i intruder) deleteRecord() {
	i.do(noCheck)
	i.do(`DELETE FROM audit_events e USING audit_leaves l WHERE e.tenant_id = $1 AND l.tenant_id = $1 AND e.id = l.event_id AND l.seq = 100`)
	i.do(`DELETE FROM audit_leaves WHERE tenant_id = $1 AND seq = 100`)
	i.do(closeGap)
	i.do(closed)
	i.do(check)
	i.do(shrink)
}

func (i intruder) insertRecord() {
	i.do(noCheck)
	i.do(closeGap)
	i.do(opened)
	i.do(check)
	i.do(`INSERT INTO audit_events (tenant_id, id, at, type, severity, actor, resource, outcome, request_id, body, leaf)
		SELECT e.tenant_id, '0190a5d0-0000-7000-8000-00000000beef', e.at, e.type, e.severity, e.actor, e.resource, e.outcome, e.request_id,
			replace(e.body, e.id::text, '0190a5d0-0000-7000-8000-00000000beef'), e.leaf
		FROM audit_events e JOIN audit_leaves l ON l.event_id = e.id AND l.tenant_id = e.tenant_id WHERE e.tenant_id = $1 AND l.seq = 100`)
	i.do(`INSERT INTO audit_leaves (tenant_id, seq, at, event_id, leaf)
		SELECT tenant_id, 101, at, '0190a5d0-0000-7000-8000-00000000beef', leaf FROM audit_leaves WHERE tenant_id = $1 AND seq = 100`)
	i.rehash(101)
	i.do(shrink)
}

func (i intruder) truncate(from int) {
	i.do(`DELETE FROM audit_events e USING audit_leaves l WHERE e.tenant_id = $1 AND l.tenant_id = $1 AND e.id = l.event_id AND l.seq >= $2`, i.id.String(), from)
	i.do(`DELETE FROM audit_leaves WHERE tenant_id = $1 AND seq >= $2`, i.id.String(), from)
	i.do(`DELETE FROM audit_checkpoints WHERE tenant_id = $1 AND size >= $2`, i.id.String(), from)
	i.do(shrink)
}

// TestTampering plays the operator with root on the database against a tenant
// that kept one checkpoint and one key. Each case states which check catches
// it: one of the verifier's, or "refused" when the platform's own code will not
// make a bundle of what it finds.
func TestTampering(t *testing.T) {
	t.Parallel()
	key, stranger := pgtest.Key("first"), pgtest.Key("stranger")
	for name, c := range map[string]struct {
		attack func(i intruder, s *postgres.Store)
		check  string
		record int64 // named first, 0: any
		stops  bool  // an honest publisher will not sign on top of it
	}{
		"change a field":                 {func(i intruder, _ *postgres.Store) { i.do(changeBody) }, "leaf", 100, false},
		"change a field, and its hash":   {func(i intruder, _ *postgres.Store) { i.do(changeBody); i.rehash(100) }, "block", 1, false},
		"change a field, and all hashes": {func(i intruder, _ *postgres.Store) { i.do(changeBody); i.rehash(100); i.resign(key) }, "fork", 0, false},
		"change a personal value": {func(i intruder, _ *postgres.Store) {
			i.do(`UPDATE audit_personal SET ip = '198.51.100.1' WHERE tenant_id = $1`)
		}, "commitment", 0, false},
		"delete a body": {func(i intruder, _ *postgres.Store) {
			i.do(`DELETE FROM audit_events e USING audit_leaves l WHERE e.tenant_id = $1 AND l.tenant_id = $1 AND e.id = l.event_id AND l.seq = 100`)
		}, "refused", 0, false},
		"delete a record":              {func(i intruder, _ *postgres.Store) { i.deleteRecord() }, "refused", 0, true},
		"delete a record, and re-sign": {func(i intruder, _ *postgres.Store) { i.deleteRecord(); i.resign(key) }, "rollback", 0, false},
		"delete, fill up, and re-sign": {func(i intruder, s *postgres.Store) { i.deleteRecord(); i.resign(key); i.write(s, 5); i.resign(key) }, "fork", 0, false},
		"insert a record":              {func(i intruder, _ *postgres.Store) { i.insertRecord() }, "block", 1, false},
		"insert a record, and re-sign": {func(i intruder, _ *postgres.Store) { i.insertRecord(); i.resign(key) }, "fork", 0, false},
		"swap two records": {func(i intruder, _ *postgres.Store) {
			i.do(`ALTER TABLE audit_leaves DROP CONSTRAINT audit_leaves_tenant_id_event_id_key`)
			i.do(swapLeaves)
		}, "block", 1, false},
		"swap two records, and re-sign": {func(i intruder, _ *postgres.Store) {
			i.do(`ALTER TABLE audit_leaves DROP CONSTRAINT audit_leaves_tenant_id_event_id_key`)
			i.do(swapLeaves)
			i.resign(key)
		}, "fork", 0, false},
		"truncate the tail":               {func(i intruder, _ *postgres.Store) { i.truncate(550) }, "rollback", 0, false},
		"truncate the tail, and re-sign":  {func(i intruder, _ *postgres.Store) { i.truncate(550); i.resign(key) }, "rollback", 0, false},
		"fork: another tail, and re-sign": {func(i intruder, s *postgres.Store) { i.truncate(550); i.write(s, 60); i.resign(key) }, "fork", 0, false},
		"re-sign with another key":        {func(i intruder, _ *postgres.Store) { i.do(changeBody); i.rehash(100); i.resign(stranger) }, "signature", 0, true},
		"back-date an event, and re-sign": {func(i intruder, _ *postgres.Store) {
			i.do(strings.Replace(changeBody, `replace(e.body, '"outcome":"success"', '"outcome":"refused"')`, `regexp_replace(e.body, '"time":"....', '"time":"1999')`, 1))
			i.rehash(100)
			i.resign(key)
		}, "fork", 0, false},
		"change a node of the tree": {func(i intruder, _ *postgres.Store) {
			i.do(`UPDATE audit_nodes SET hash = sha256(hash) WHERE tenant_id = $1 AND index = 0`)
		}, "block", 1, true},
		"change the signed size in the row": {func(i intruder, _ *postgres.Store) {
			i.do(`UPDATE audit_checkpoints SET size = size - 1 WHERE tenant_id = $1 AND size = 600`)
		}, "range", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			s := db.OpenSigning(t, postgres.Signing{Key: key})
			scope := db.Tenant(t, s, "acme")
			r := room(t, s, scope)
			fill(t, r, 540)
			published(t, r) // what a truncated log falls back to
			fill(t, r, 60)
			kept := published(t, r)
			if kept.Size != 600 {
				t.Fatalf("%d records before the attack", kept.Size)
			}
			s.Close()
			mute := db.Open(t) // the operator's build: numbers, signs nothing, asks nothing
			i := intruder{t, db.Operator(t), scope.ID()}
			i.do(`SET session_replication_role = replica`)
			c.attack(i, mute)

			var b bytes.Buffer
			got, rep := "refused", &verify.Report{}
			err := room(t, mute, scope).Log().Bundle(t.Context(), &b, audit.Range{})
			if err == nil {
				rep = verified(t, b.Bytes(), verify.Options{Key: kept.Key, Since: kept.Checkpoint})
				if got = "nothing"; rep.Wrong != nil {
					got = rep.Wrong.Check
				}
			}
			if got != c.check || c.record > 0 && (rep.Wrong == nil || rep.Wrong.Seq != c.record) {
				t.Errorf("caught by %q, want %q: %v %v", got, c.check, err, rep.Wrong)
			}
			mute.Close()
			if c.stops {
				honest, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, Signing: postgres.Signing{Key: key, Host: pgtest.SigningHost}})
				if err != nil {
					t.Fatal(err)
				}
				defer honest.Close()
				r := room(t, honest, scope)
				fill(t, r, 1)
				if p, err := r.Log().Checkpoint(t.Context()); err == nil {
					t.Errorf("an honest publisher signed %d records on top of it", p.Size)
				}
			}
		})
	}
}

// write adds records through the operator's build.
func (i intruder) write(s *postgres.Store, n int) {
	i.t.Helper()
	scope, err := tenant.NewDoor(s).Admit(i.t.Context(), i.id)
	if err != nil {
		i.t.Fatal(err)
	}
	r := room(i.t, s, scope)
	fill(i.t, r, n)
	log(i.t, r)
}

// A database rolled back to an old backup under a running platform is not
// signed on; one rolled back while nothing ran is caught by what a tenant kept.
func TestOldBackup(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	scope := db.Tenant(t, s, "acme")
	r := room(t, s, scope)
	fill(t, r, 30)
	published(t, r)
	op := db.Operator(t)
	tables := []string{"audit_events", "audit_personal", "audit_leaves", "audit_heads", "audit_nodes", "audit_checkpoints", "house_leaves", "house_nodes", "house_checkpoints", "house_queue"}
	for _, table := range tables { // the backup
		if _, err := op.Exec(t.Context(), `CREATE TABLE backup_`+table+` AS TABLE `+table); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, r, 20)
	kept := published(t, r)
	i := intruder{t, op, scope.ID()}
	i.do(`SET session_replication_role = replica`)
	for _, table := range tables {
		i.do(`DELETE FROM ` + table)
		i.do(fmt.Sprintf(`INSERT INTO %[1]s OVERRIDING SYSTEM VALUE SELECT * FROM backup_%[1]s`, table))
		i.do(`DROP TABLE backup_` + table)
	}
	fill(t, r, 1)
	if _, err := r.Log().Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "contradicts") {
		t.Errorf("the running publisher signed on: %v", err)
	}
	s.Close()

	again := db.OpenSigning(t, firstKey)
	r = room(t, again, scope)
	caught := func(want string) {
		t.Helper()
		rep := verified(t, bundleOf(t, r, audit.Range{}), verify.Options{Key: kept.Key, Since: kept.Checkpoint})
		if rep.Wrong == nil || rep.Wrong.Check != want {
			t.Errorf("with %d records: %v, want %s", rep.Size, rep.Wrong, want)
		}
	}
	caught("rollback")
	fill(t, r, 30)
	caught("fork")
}
