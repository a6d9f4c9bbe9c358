package postgres_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
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
	for _, hs := range raw {
		for ; len(hs) > 0; hs = hs[tlog.HashSize:] {
			nodes = f.Append(nodes, tlog.Hash(hs[:tlog.HashSize]))
		}
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

// kept is one record as the tables have it, apart from its neighbours.
type kept struct {
	body            string
	leaf, salts     []byte
	at              time.Time
	name, ip, agent *string
}

func (k *kept) replace(old, new string) { k.body = strings.Replace(k.body, old, new, 1) }
func (k *kept) rehash()                 { leaf := record.Leaf([]byte(k.body)); k.leaf = leaf[:] }

// edit takes a tenant's whole log out of its tables, lets change do what it will
// with the records, and puts them back, seven to a row.
func (i intruder) edit(change func([]kept) []kept) {
	i.t.Helper()
	rows, err := i.conn.Query(i.t.Context(), `SELECT l.n, l.at, l.leaf, e.body, p.salts, p.actor_name, p.ip, p.user_agent
		FROM audit_leaves l JOIN audit_events e ON e.tenant_id = l.tenant_id AND e.at = l.at AND e.id = l.event_id
		JOIN audit_personal p ON p.tenant_id = l.tenant_id AND p.event_id = l.event_id WHERE l.tenant_id = $1 ORDER BY l.seq`, i.id.String())
	if err != nil {
		i.t.Fatal(err)
	}
	var all []kept
	var n int
	var at time.Time
	var leaf, salts []byte
	var body string
	var name, ip, agent []*string
	if _, err := pgx.ForEachRow(rows, []any{&n, &at, &leaf, &body, &salts, &name, &ip, &agent}, func() error {
		for k, b := range strings.Split(body, "\n") {
			all = append(all, kept{b, bytes.Clone(leaf[32*k : 32*k+32]), bytes.Clone(salts[48*k : 48*k+48]), at, name[k], ip[k], agent[k]})
		}
		return nil
	}); err != nil {
		i.t.Fatal(err)
	}
	all = change(all)
	for _, table := range []string{"audit_events", "audit_leaves", "audit_personal"} {
		i.do(`DELETE FROM ` + table + ` WHERE tenant_id = $1`)
	}
	b := &pgx.Batch{}
	seq := 1
	for row := range slices.Chunk(all, 7) {
		var bodies []string
		leaf, salts, name, ip, agent = nil, nil, nil, nil, nil
		for _, k := range row {
			bodies, leaf, salts = append(bodies, k.body), append(leaf, k.leaf...), append(salts, k.salts...)
			name, ip, agent = append(name, k.name), append(ip, k.ip), append(agent, k.agent)
		}
		id := uuid.New()
		b.Queue(`INSERT INTO audit_events (tenant_id, id, at, n, body, leaf) VALUES ($1, $2, $3, $4, $5, $6)`, i.id.String(), id, row[0].at, len(row), strings.Join(bodies, "\n"), leaf)
		b.Queue(`INSERT INTO audit_leaves (tenant_id, seq, n, at, event_id, leaf) VALUES ($1, $2, $3, $4, $5, $6)`, i.id.String(), seq, len(row), row[0].at, id, leaf)
		b.Queue(`INSERT INTO audit_personal (tenant_id, event_id, salts, actor_name, ip, user_agent) VALUES ($1, $2, $3, $4, $5, $6)`, i.id.String(), id, salts, name, ip, agent)
		seq += len(row)
	}
	b.Queue(`UPDATE audit_heads SET size = $2 WHERE tenant_id = $1`, i.id.String(), seq-1)
	if err := i.conn.SendBatch(i.t.Context(), b).Close(); err != nil {
		i.t.Fatal(err)
	}
}

// one changes record 100, and its hashes in the tables if hash says so.
func (i intruder) one(hash bool, change func(*kept)) {
	i.t.Helper()
	i.edit(func(all []kept) []kept {
		change(&all[99])
		if hash {
			all[99].rehash()
		}
		return all
	})
}

func refuse(k *kept) { k.replace(`"outcome":"success"`, `"outcome":"refused"`) }
func backdate(k *kept) {
	k.body = regexp.MustCompile(`"time":"\d{4}`).ReplaceAllString(k.body, `"time":"1999`)
}

func (i intruder) deleteRecord() {
	i.t.Helper()
	i.edit(func(all []kept) []kept { return slices.Delete(all, 99, 100) })
}

func (i intruder) insertRecord() {
	i.t.Helper()
	i.edit(func(all []kept) []kept {
		forged := all[99]
		forged.replace(`"request_id":"`, `"request_id":"beef`)
		forged.rehash()
		return slices.Insert(all, 100, forged)
	})
}

func (i intruder) swap(a, b int) {
	i.t.Helper()
	i.edit(func(all []kept) []kept { all[a-1], all[b-1] = all[b-1], all[a-1]; return all })
}

func (i intruder) truncate(from int) {
	i.t.Helper()
	i.edit(func(all []kept) []kept { return all[:from-1] })
	i.do(`DELETE FROM audit_checkpoints WHERE tenant_id = $1 AND size >= $2`, i.id.String(), from)
}

const (
	rowOf = `e.tenant_id = $1 AND e.id = (SELECT event_id FROM audit_leaves WHERE tenant_id = $1 AND seq <= 100 ORDER BY seq DESC LIMIT 1)`
	noRow = `DELETE FROM audit_events e WHERE ` + rowOf
	// The row keeps its size, and one body is empty.
	noLine = `UPDATE audit_events e SET body = regexp_replace(e.body, '^[^\n]*', '') WHERE ` + rowOf
	// The row has a body too few.
	fewer = `UPDATE audit_events e SET body = regexp_replace(e.body, '^[^\n]*\n?', '') WHERE ` + rowOf
	more  = `UPDATE audit_events e SET body = e.body || E'\n{}' WHERE ` + rowOf
)

func same(all []kept) []kept { return all }

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
		"change a field":                 {func(i intruder, _ *postgres.Store) { i.one(false, refuse) }, "leaf", 100, false},
		"change a field, and its hash":   {func(i intruder, _ *postgres.Store) { i.one(true, refuse) }, "block", 1, false},
		"change a field, and all hashes": {func(i intruder, _ *postgres.Store) { i.one(true, refuse); i.resign(key) }, "fork", 0, false},
		"change a personal value": {func(i intruder, _ *postgres.Store) {
			i.do(`UPDATE audit_personal SET ip[1] = '198.51.100.1' WHERE tenant_id = $1`)
		}, "commitment", 0, false},
		"delete a row of bodies":    {func(i intruder, _ *postgres.Store) { i.do(noRow) }, "refused", 0, false},
		"empty a body of a row":     {func(i intruder, _ *postgres.Store) { i.edit(same); i.do(noLine) }, "refused", 0, false},
		"delete a body from a row":  {func(i intruder, _ *postgres.Store) { i.edit(same); i.do(fewer) }, "refused", 0, false},
		"add a body to a row":       {func(i intruder, _ *postgres.Store) { i.edit(same); i.do(more) }, "refused", 0, false},
		"put a log into other rows": {func(i intruder, _ *postgres.Store) { i.edit(same) }, "nothing", 0, false},
		"swap two records of a row": {func(i intruder, _ *postgres.Store) { i.swap(100, 101) }, "block", 1, false},
		"swap two bodies, not hashes": {func(i intruder, _ *postgres.Store) {
			i.edit(func(all []kept) []kept {
				all[99], all[100] = all[100], all[99]
				all[99].leaf, all[100].leaf = all[100].leaf, all[99].leaf
				return all
			})
		}, "leaf", 100, false},
		"delete a record":                 {func(i intruder, _ *postgres.Store) { i.deleteRecord() }, "refused", 0, true},
		"delete a record, and re-sign":    {func(i intruder, _ *postgres.Store) { i.deleteRecord(); i.resign(key) }, "rollback", 0, false},
		"delete, fill up, and re-sign":    {func(i intruder, s *postgres.Store) { i.deleteRecord(); i.resign(key); i.write(s, 5); i.resign(key) }, "fork", 0, false},
		"insert a record":                 {func(i intruder, _ *postgres.Store) { i.insertRecord() }, "block", 1, false},
		"insert a record, and re-sign":    {func(i intruder, _ *postgres.Store) { i.insertRecord(); i.resign(key) }, "fork", 0, false},
		"swap two records":                {func(i intruder, _ *postgres.Store) { i.swap(100, 200) }, "block", 1, false},
		"swap two records, and re-sign":   {func(i intruder, _ *postgres.Store) { i.swap(100, 200); i.resign(key) }, "fork", 0, false},
		"truncate the tail":               {func(i intruder, _ *postgres.Store) { i.truncate(550) }, "rollback", 0, false},
		"truncate the tail, and re-sign":  {func(i intruder, _ *postgres.Store) { i.truncate(550); i.resign(key) }, "rollback", 0, false},
		"fork: another tail, and re-sign": {func(i intruder, s *postgres.Store) { i.truncate(550); i.write(s, 60); i.resign(key) }, "fork", 0, false},
		"re-sign with another key":        {func(i intruder, _ *postgres.Store) { i.one(true, refuse); i.resign(stranger) }, "signature", 0, true},
		"back-date an event, and re-sign": {func(i intruder, _ *postgres.Store) {
			i.one(true, backdate)
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
	i.do(`BEGIN`)
	for _, table := range tables {
		i.do(`DELETE FROM ` + table)
		i.do(fmt.Sprintf(`INSERT INTO %[1]s OVERRIDING SYSTEM VALUE SELECT * FROM backup_%[1]s`, table))
		i.do(`DROP TABLE backup_` + table)
	}
	i.do(`COMMIT`)
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
