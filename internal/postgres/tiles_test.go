package postgres_test

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

func proves(t *testing.T, r plane.Room, seq int64, receipt audit.Receipt) error {
	t.Helper()
	in, err := r.Log().Inclusion(t.Context(), seq)
	if err != nil {
		return err
	}
	p := published(t, r)
	root, err := tlog.ParseHash(p.Root)
	if err != nil {
		t.Fatal(err)
	}
	var proof tlog.RecordProof
	for _, text := range in.Proof {
		h, err := tlog.ParseHash(text)
		if err != nil {
			t.Fatal(err)
		}
		proof = append(proof, h)
	}
	if in.Leaf != tlog.Hash(receipt.Leaf).String() {
		return errors.New("another leaf")
	}
	return tlog.CheckRecord(proof, p.Size, root, seq-1, receipt.Leaf)
}

// Kept tiles of a tree that grows give the proofs of the tree as it is; of one
// that was altered they give none, and once it is restored they do again.
func TestKeptTilesAreTheTables(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	acme, globex := room(t, s, db.Tenant(t, s, "acme")), room(t, s, db.Tenant(t, s, "globex"))
	var mine, theirs []audit.Receipt
	for _, n := range []int{3, 250, 5, 700} {
		for r, receipts := range map[plane.Room]*[]audit.Receipt{acme: &mine, globex: &theirs} {
			more, err := r.RecordAll(context.Background(), various(n))
			if err != nil {
				t.Fatal(err)
			}
			*receipts = append(*receipts, more...)
			published(t, r)
			for i := 0; i < len(*receipts); i += 17 {
				if err := proves(t, r, int64(i)+1, (*receipts)[i]); err != nil {
					t.Fatalf("record %d of %d: %v", i+1, len(*receipts), err)
				}
			}
		}
	}
	s.Close()
	again := db.OpenSigning(t, firstKey)
	acme, globex = room(t, again, acme.Scope()), room(t, again, globex.Scope())
	op := db.Operator(t)
	run := func(sql string) {
		t.Helper()
		if _, err := op.Exec(t.Context(), sql, acme.Scope().ID().String()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := op.Exec(t.Context(), `SET session_replication_role = replica`); err != nil {
		t.Fatal(err)
	}
	const flip = `UPDATE audit_leaves SET leaf = set_byte(leaf, 0, get_byte(leaf, 0) # 1) WHERE tenant_id = $1 AND seq = 1`
	run(flip)
	if _, err := acme.Log().Inclusion(t.Context(), 2); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("proved from an altered tile: %v", err)
	}
	if err := proves(t, globex, 2, theirs[1]); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	run(flip)
	if err := proves(t, acme, 2, mine[1]); err != nil {
		t.Errorf("once restored: %v", err)
	}
}

// A checkpoint whose leaf an operator takes from the queue is missed by the
// sweep, counted, and sent to the house log again.
func TestATakenHouseLeafIsMissed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	fill(t, r, 5)
	published(t, r)
	op := db.Operator(t)
	// The house log cannot be had while the leaf is taken.
	tx, err := op.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1, 0)`, 0x6f63686f); err != nil {
		t.Fatal(err)
	}
	fill(t, r, 5)
	thief, taken := db.Operator(t), false
	for !taken {
		tag, err := thief.Exec(t.Context(), `DELETE FROM house_queue`)
		if err != nil {
			t.Fatal(err)
		}
		taken = tag.RowsAffected() > 0
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, db, `SELECT count(*) FROM audit_checkpoints c WHERE NOT EXISTS (SELECT 1 FROM house_leaves l WHERE l.leaf = c.house_leaf)`, 0)
	if s.PublishFailures() == 0 {
		t.Error("nobody was told")
	}
}
