package postgres_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/verify"
)

var firstKey = postgres.Signing{Key: pgtest.Key("first")}

// fill writes n events of every shape.
func fill(t testing.TB, r plane.Room, n int) {
	t.Helper()
	var wg sync.WaitGroup
	gate := make(chan struct{}, 8)
	for i := range n {
		gate <- struct{}{}
		wg.Add(1)
		go func() {
			defer func() { <-gate; wg.Done() }()
			ev := audit.Event{
				Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", RequestID: fmt.Sprint(i), Resource: fmt.Sprint("memory/", i%7),
				Actor: audit.Actor{Kind: audit.ActorUser, ID: fmt.Sprint(i % 5), Name: "Ann O'Hara \u2028"}, IP: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}),
				UserAgent: "curl/8 \xff", Details: map[string]any{"status": 200, "list": []string{"é", "\x00"}},
			}
			if _, err := r.Record(context.Background(), ev); err != nil {
				t.Errorf("record: %v", err)
			}
		}()
	}
	wg.Wait()
}

func bundleOf(t testing.TB, r plane.Room, rng audit.Range) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Log().Bundle(t.Context(), &b, rng); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func published(t testing.TB, r plane.Room) audit.Published {
	t.Helper()
	p, err := r.Log().Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func verified(t testing.TB, file []byte, o verify.Options) *verify.Report {
	t.Helper()
	rep, err := verify.Verify(bytes.NewReader(file), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// What the platform writes is what the offline verifier accepts, down to the
// disclosed personal values, the house log and growth since a kept checkpoint.
func TestTheVerifierAcceptsWhatThePlatformWrites(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	other := room(t, s, db.Tenant(t, s, "globex"))
	fill(t, other, 3)
	fill(t, r, 300)
	kept := published(t, r)
	if kept.Size != 300 {
		t.Fatalf("the checkpoint covers %d of 300", kept.Size)
	}
	remember(t, r, "one more")
	fill(t, r, 400)
	for name, c := range map[string]struct {
		rng     audit.Range
		records int64
	}{
		"all":    {audit.Range{Since: kept.Size}, 701},
		"middle": {audit.Range{From: 200, To: 600, Since: kept.Size}, 401},
		"one":    {audit.Range{From: 701, Since: kept.Size}, 1},
		"future": {audit.Range{FromTime: time.Now().Add(time.Hour), Since: kept.Size}, 0},
		"sealed": {audit.Range{Since: kept.Size, WithoutDisclosures: true}, 701},
	} {
		file := bundleOf(t, r, c.rng)
		rep := verified(t, file, verify.Options{Key: kept.Key, HouseKey: kept.HouseKey, Since: kept.Checkpoint})
		if rep.Wrong != nil || len(rep.Missing) != 0 || rep.Size != 701 || rep.To-rep.From+1 != c.records {
			t.Errorf("%s: %v", name, rep)
		}
		if name == "all" && !strings.Contains(rep.String(), "2103 disclosed personal values") && !strings.Contains(rep.String(), "2100 disclosed") {
			t.Errorf("%s discloses other than three values a record: %v", name, rep)
		}
	}
	// Another tenant's key does not fit.
	if rep := verified(t, bundleOf(t, r, audit.Range{}), verify.Options{Key: published(t, other).Key}); rep.Wrong == nil {
		t.Error("another tenant's key accepts the bundle")
	}
	// An unfiltered export verifies too, and resumes where it was cut.
	var whole, head, tail bytes.Buffer
	n, last, err := r.Log().Export(t.Context(), &whole, audit.JSONL, audit.Query{})
	if err != nil || n != 701 || last != 701 {
		t.Fatalf("export: %d to %d, %v", n, last, err)
	}
	if rep := verified(t, whole.Bytes(), verify.Options{Key: kept.Key, Checkpoint: published(t, r).Checkpoint}); rep.Wrong != nil || len(rep.Missing) != 0 {
		t.Errorf("the export: %v", rep)
	}
	_, _ = head.Write(bytes.Join(bytes.SplitAfter(whole.Bytes(), []byte("\n"))[:250], nil))
	if _, _, err := r.Log().Export(t.Context(), &tail, audit.JSONL, audit.Query{After: 250}); err != nil || whole.String() != head.String()+tail.String() {
		t.Errorf("an export resumed after 250 does not join: %v", err)
	}
}

func TestProofsHold(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	if _, err := r.Log().Checkpoint(t.Context()); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an empty log has a checkpoint: %v", err)
	}
	fill(t, r, 260)
	p := published(t, r)
	tree, err := checkpoint.Open([]byte(p.Checkpoint), checkpoint.Origin(pgtest.SigningHost, r.Scope().ID().String()), p.Key)
	if err != nil || tree.N != 260 || tree.Hash.String() != p.Root {
		t.Fatalf("checkpoint %+v: %v", p, err)
	}
	hash := func(text string) (h tlog.Hash) {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || copy(h[:], b) != len(h) {
			t.Fatalf("hash %q: %v", text, err)
		}
		return h
	}
	for _, seq := range []int64{1, 2, 255, 256, 257, 260} {
		in, err := r.Log().Inclusion(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var proof tlog.RecordProof
		for _, h := range in.Proof {
			proof = append(proof, hash(h))
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, seq-1, hash(in.Leaf)); err != nil || in.Checkpoint != p.Checkpoint {
			t.Errorf("inclusion of %d: %v", seq, err)
		}
	}
	for _, from := range []int64{0, 1, 255, 256, 259, 260} {
		c, err := r.Log().Consistency(t.Context(), from, 0)
		if err != nil {
			t.Fatal(err)
		}
		var proof tlog.TreeProof
		for _, h := range c.Proof {
			proof = append(proof, hash(h))
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, from, hash(c.FromRoot)); err != nil && from > 0 {
			t.Errorf("consistency from %d: %v", from, err)
		}
	}
	for _, seq := range []int64{-1, 0, 261, 1 << 62} {
		if _, err := r.Log().Inclusion(t.Context(), seq); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("inclusion of %d: %v", seq, err)
		}
	}
	for _, c := range [][2]int64{{-1, 0}, {3, 2}, {0, 261}} {
		if _, err := r.Log().Consistency(t.Context(), c[0], c[1]); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("consistency of %v: %v", c, err)
		}
	}
}

// Two replicas publish one tenant's log while both write it: every checkpoint
// either of them signed is a prefix of the last, and so it is in the house.
func TestReplicasDoNotFork(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	a, b := db.OpenSigning(t, firstKey), db.OpenSigning(t, firstKey)
	scope := db.Tenant(t, a, "acme")
	var wg sync.WaitGroup
	for _, s := range []*postgres.Store{a, b} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := room(t, s, scope)
			for range 15 {
				fill(t, r, 9)
				if _, err := r.Log().Checkpoint(context.Background()); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		}()
	}
	wg.Wait()
	r := room(t, b, scope)
	last := published(t, r)
	if last.Size != 270 {
		t.Fatalf("the last checkpoint covers %d of 270", last.Size)
	}
	rows, err := db.Operator(t).Query(t.Context(), `SELECT size, signed FROM audit_checkpoints WHERE tenant_id = $1 ORDER BY size`, scope.ID().String())
	if err != nil {
		t.Fatal(err)
	}
	type signed struct {
		size int64
		note string
	}
	var all []signed
	for rows.Next() {
		var c signed
		if err := rows.Scan(&c.size, &c.note); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if len(all) < 5 {
		t.Fatalf("only %d checkpoints; the replicas did not race", len(all))
	}
	for _, c := range all {
		rep := verified(t, bundleOf(t, r, audit.Range{From: 1, To: 1, Since: c.size}), verify.Options{Key: last.Key, HouseKey: last.HouseKey, Since: c.note})
		if rep.Wrong != nil || len(rep.Missing) != 0 {
			t.Errorf("the checkpoint of %d is no prefix of the last: %v", c.size, rep)
		}
	}
	t.Logf("%d checkpoints by two replicas", len(all))
}

// What a crash leaves at any step is found and finished by whoever runs next.
func TestACrashedReplicasLogIsFinished(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	mute := db.Open(t) // commits and numbers; never signs
	r := room(t, mute, db.Tenant(t, mute, "acme"))
	fill(t, r, 20)
	log(t, r)
	s := db.OpenSigning(t, firstKey)
	op := db.Operator(t)
	await := func(sql string, want int64) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // the publisher gives strangers no signal
			var n int64
			if err := op.QueryRow(t.Context(), sql).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s is %d, want %d", sql, n, want)
			}
		}
	}
	await(`SELECT COALESCE(max(size), 0) FROM audit_checkpoints`, 20)
	await(`SELECT count(*) FROM house_queue`, 0)
	await(`SELECT COALESCE(max(size), 0) FROM house_checkpoints`, 1)
	_ = s
}

func TestKeysSucceed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	a := db.OpenSigning(t, firstKey)
	scope := db.Tenant(t, a, "acme")
	r := room(t, a, scope)
	fill(t, r, 10)
	kept := published(t, r)
	a.Close()

	// A new key without the old one signs nothing.
	lost := db.OpenSigning(t, postgres.Signing{Key: pgtest.Key("second")})
	if _, err := room(t, lost, scope).Log().Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "AUDIT_PREVIOUS_KEY_FILE") {
		t.Errorf("a stranger's key: %v", err)
	}
	lost.Close()

	b := db.OpenSigning(t, postgres.Signing{Key: pgtest.Key("second"), Previous: pgtest.Key("first"), Host: "renamed.example"})
	r = room(t, b, scope)
	fill(t, r, 10)
	p := published(t, r)
	if p.Key == kept.Key || len(p.Successions) != 1 {
		t.Fatalf("after the change: %+v", p)
	}
	file := bundleOf(t, r, audit.Range{Since: kept.Size})
	for name, key := range map[string]string{"old": kept.Key, "new": p.Key} {
		rep := verified(t, file, verify.Options{Key: key, Since: kept.Checkpoint, HouseKey: kept.HouseKey})
		if rep.Wrong != nil && !(name == "new" && rep.Wrong.Check == "signature") { // the kept checkpoint is the old key's
			t.Errorf("holder of the %s key: %v", name, rep)
		}
	}
}

// Nobody may rewrite what was signed; a start on a database where somebody
// could is refused.
func TestSignedTablesAreImmutable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	fill(t, r, 300)
	published(t, r)
	op, app := db.Operator(t), db.Application(t)
	for _, table := range []string{"audit_nodes", "audit_checkpoints", "house_leaves", "house_checkpoints", "house_name"} {
		column := map[string]string{"audit_nodes": "hash", "audit_checkpoints": "signed", "house_leaves": "leaf", "house_checkpoints": "signed", "house_name": "host"}[table]
		for _, sql := range []string{"UPDATE " + table + " SET " + column + " = " + column, "DELETE FROM " + table, "TRUNCATE " + table + " CASCADE"} {
			if _, err := op.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("the operator's %s answered %v", sql, err)
			}
			if _, err := app.Exec(t.Context(), sql); err == nil {
				t.Errorf("the application may %s", sql)
			}
		}
	}
}

func optionsFor(p audit.Published) verify.Options {
	return verify.Options{Key: p.Key, Since: p.Checkpoint}
}
