package archive_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// put is what the bucket's owner can always do: put something anywhere.
func (w *world) put(key string, body []byte) {
	w.Helper()
	if _, err := w.root.PutObject(w.Context(), &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: w.object(key), Body: bytes.NewReader(body)}); err != nil {
		w.Fatal(err)
	}
}

// del is a deletion without a version: it succeeds and leaves a mark.
func (w *world) del(key string) {
	w.Helper()
	if _, err := w.root.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketName), Key: w.object(key)}); err != nil {
		w.Fatal(err)
	}
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	_, _ = gz.Write(b)
	_ = gz.Close()
	return out.Bytes()
}

func (w *world) bundle(log archive.Log, r audit.Range) []byte {
	w.Helper()
	var b bytes.Buffer
	if err := log.Bundle(w.Context(), &b, r); err != nil {
		w.Fatal(err)
	}
	return b.Bytes()
}

// Somebody with every right on the bucket, and with root on its disk, after the
// archive was made. Each line: what he does, the check that catches it, at which
// object, and whether all of ours is still there.
func TestVerifyNamesWhatTheBucketsOwnerDid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(250)
	w.advance()
	w.sound(250)
	id := w.tenant.ID
	second, third := archive.SegmentKey(id, 101), archive.SegmentKey(id, 201)
	original := w.fetch(second)
	for _, c := range []struct {
		name          string
		do            func()
		check, object string
		intact        bool
	}{
		{"a version over a segment", func() { w.put(second, []byte("nothing")) }, "latest", second, true},
		{"another true segment over it", func() {
			w.put(second, zip(w.bundle(w.tenant.Log, audit.Range{From: 101, To: 150, WithoutDisclosures: true})))
		}, "latest", second, true},
		{"a deletion", func() { w.del(second) }, "latest", second, true},
		{"an object between", func() { w.put(archive.SegmentKey(id, 150), original) }, "latest", second, true},
		{"an object after the end", func() { w.put(archive.SegmentKey(id, 900), original) }, "latest", second, true},
		{"a deletion of a checkpoint", func() { w.del(archive.CheckpointKey(id, 250)) }, "latest", archive.CheckpointKey(id, 250), true},
		{"an object with no number", func() { w.put(id+"/segments/.notes", original) }, "stray", id + "/segments/.notes", true},
		{"the disk: a bit of ours", func() { w.server.Damage(t, bucketName, "test/audit/"+third) }, "stray", id + "/segments/.notes", false},
	} {
		c.do()
		for _, r := range []*archive.Result{w.verify(), w.verify(bare)} {
			if r.Wrong == nil || r.Wrong.Check != c.check || r.Wrong.Object != c.object || r.Intact != c.intact {
				t.Errorf("%s: intact %v, %+v, then %+v", c.name, r.Intact, r.Wrong, r.Others)
			}
			if c.intact && (r.To != 250 || r.From != 1) {
				t.Errorf("%s: records %d to %d", c.name, r.From, r.To)
			}
		}
	}
	r := w.verify()
	var seen []string
	for _, f := range append([]archive.Finding{*r.Wrong}, r.Others...) {
		seen = append(seen, f.Check+" "+strings.TrimPrefix(f.Object, id))
	}
	all := strings.Join(seen, "\n")
	for _, want := range []string{"stray /segments/.notes", "latest /segments/" + second[len(second)-29:], "latest /checkpoints/", "stray /segments/00000000000000000150", "/segments/00000000000000000201"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not among\n%s", want, all)
		}
	}
}

// A bucket that does not keep its promise: what is gone is named.
func TestVerifyMissesWhatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(300)
	w.advance()
	id := w.tenant.ID
	w.server.Remove(t, bucketName, "test/audit/"+archive.SegmentKey(id, 201)) // the tail
	if r := w.verify(); r.Wrong == nil || r.Wrong.Check != "missing" || r.Wrong.Object != archive.SegmentKey(id, 201) || r.Intact {
		t.Errorf("the tail: %+v, %+v", r, r.Wrong)
	}
	if r := w.verify(bare); !r.Intact || r.To != 200 || !strings.Contains(strings.Join(r.Unchecked, ";"), "whether more was archived") {
		t.Errorf("the tail, without the ledger: %+v", r)
	}
	w.record(100)
	w.advance()
	w.server.Remove(t, bucketName, "test/audit/"+archive.SegmentKey(id, 1)) // the head
	if r := w.verify(); r.Wrong == nil || r.Wrong.Check != "missing" || r.Wrong.Object != archive.SegmentKey(id, 1) {
		t.Errorf("the head: %+v, %+v", r, r.Wrong)
	}
	for _, change := range []func(*archive.Evidence){func(*archive.Evidence) {}, bare} { // and the middle
		w.server.Remove(t, bucketName, "test/audit/"+archive.SegmentKey(id, 101))
		if r := w.verify(change); r.Intact && r.From == 1 {
			t.Errorf("the middle: %+v", r)
		}
	}
}

// The lock is what makes it an archive: one that is shorter than it has to be,
// or only of mode GOVERNANCE, is found.
func TestVerifyLooksAtLocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(100)
	w.advance()
	r := w.verify(func(e *archive.Evidence) { e.Retention *= 2 })
	if r.Wrong == nil || r.Wrong.Check != "lock" || !r.Intact {
		t.Errorf("%+v, %+v", r, r.Wrong)
	}
	if r := w.verify(func(e *archive.Evidence) { e.Now = e.Now.Add(retention + 48*time.Hour) }); r.Wrong != nil {
		t.Errorf("after its time: %+v", r.Wrong)
	}
	v, err := w.root.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(bucketName), Key: w.object(archive.SegmentKey(w.tenant.ID, 101)), Body: bytes.NewReader(nil),
		ObjectLockMode: types.ObjectLockModeGovernance, ObjectLockRetainUntilDate: aws.Time(time.Now().Add(2 * retention)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if until, err := w.bucket.Locked(t.Context(), archive.SegmentKey(w.tenant.ID, 101), *v.VersionId); err != nil || !until.IsZero() {
		t.Errorf("a lock that some may lift counts: %v %v", until, err)
	}
}

// What lies under our key before we come: taken over if it is this log's own
// segment, and locked; otherwise nothing goes on until a person has looked.
func TestWhatLiesUnderTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(120)
	other := w.db.Tenant(t, w.store, "globex")
	neighbour, err := plane.New(w.store).Enter(other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := neighbour.Record(t.Context(), audit.Event{Type: audit.APIRequest, Outcome: audit.Success}); err != nil {
		t.Fatal(err)
	}
	true50 := w.bundle(w.tenant.Log, audit.Range{From: 1, To: 50, WithoutDisclosures: true})
	for name, body := range map[string][]byte{
		"nothing":            {},
		"noise":              []byte("noise"),
		"not compressed":     true50,
		"a bomb":             zip(bytes.Repeat([]byte("{"), 8<<20)),
		"cut":                zip(true50[:len(true50)-3]),
		"more after the end": append(zip(true50), 0),
		"twice":              append(zip(true50), zip(true50)...),
		"personal values":    zip(w.bundle(w.tenant.Log, audit.Range{From: 1, To: 50})),
		"a neighbour's":      zip(w.bundle(neighbour.Log(), audit.Range{WithoutDisclosures: true})),
		"another range":      zip(w.bundle(w.tenant.Log, audit.Range{From: 2, To: 50, WithoutDisclosures: true})),
		"proofs alone":       zip(w.bundle(w.tenant.Log, audit.Range{FromTime: time.Now().Add(time.Hour)})),
		"a changed record":   zip(bytes.Replace(true50, []byte("success"), []byte("refused"), 1)),
	} {
		w.put(archive.SegmentKey(w.tenant.ID, 1), body)
		_, err := w.archiver().Advance(t.Context(), w.tenant)
		if !errors.Is(err, archive.ErrForeign) || archive.Word(err) != "key_taken" {
			t.Fatalf("%s: %v", name, err)
		}
		st := w.state()
		if st.Upto != 0 || !strings.Contains(st.Halted, archive.SegmentKey(w.tenant.ID, 1)) {
			t.Errorf("%s: %+v", name, st)
		}
		if p, err := w.archiver().Advance(t.Context(), w.tenant); err != nil || p.Segments != 0 || p.Halted == "" || p.Pending != 120 {
			t.Errorf("%s: halted, and then %+v, %v", name, p, err)
		}
		// A clean slate for the next: the disk's owner removes all versions.
		w.server.Remove(t, bucketName, "test/audit/"+archive.SegmentKey(w.tenant.ID, 1))
		w.clear()
	}

	// Ours, from before a crash: fewer records than are waiting now, not locked.
	w.put(archive.SegmentKey(w.tenant.ID, 1), zip(true50))
	if p := w.advance(); p.Segments != 2 || p.Events != 120 {
		t.Errorf("%+v", p)
	}
	if r := w.sound(120); r.Segments != 2 {
		t.Errorf("%+v", r)
	}
}

// clear undoes a halt without letting the next segment go over what is there.
func (w *world) clear() {
	w.Helper()
	if _, err := w.db.Operator(w).Exec(w.Context(), `UPDATE audit_archive SET halted = ''`); err != nil {
		w.Fatal(err)
	}
}

// Locked there by somebody else it cannot be removed: a person decides to put
// ours over it, and that is found too.
func TestResumeGoesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(120)
	w.advance()
	w.record(120)
	key := archive.SegmentKey(w.tenant.ID, 121)
	w.put(key, []byte("in the way"))
	if err := w.tenant.Ledger.Resume(t.Context()); err == nil {
		t.Error("resumed what is not halted")
	}
	if _, err := w.archiver().Advance(t.Context(), w.tenant); !errors.Is(err, archive.ErrForeign) {
		t.Fatal(err)
	}
	if err := w.tenant.Ledger.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.advance()
	if st := w.state(); st.Upto != 240 || st.Over || st.Halted != "" {
		t.Errorf("%+v", st)
	}
	r := w.verify()
	if !r.Intact || r.To != 240 || r.Wrong == nil || r.Wrong.Object != key || r.Wrong.Check != "format" {
		t.Errorf("%+v, %+v", r, r.Wrong)
	}
}

// The operator has root on the database and the key, and writes history anew:
// the archive stands, and the live log is what is wrong.
func TestALogThatWasWrittenAnewContradictsItsArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(100)
	w.advance()
	op := w.db.Operator(t)
	w.store.Close()
	for _, sql := range []string{
		`SET session_replication_role = replica`,
		`DELETE FROM audit_leaves`, `DELETE FROM audit_nodes`, `DELETE FROM audit_checkpoints`, `DELETE FROM house_queue`, `DELETE FROM audit_heads`,
		`DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events WHERE tenant_id = '` + w.tenant.ID + `' ORDER BY id LIMIT 1)`,
	} {
		if _, err := op.Exec(t.Context(), sql); err != nil {
			t.Fatal(sql, err)
		}
	}
	scope := w.room.Scope()
	store := w.db.OpenSigning(t, postgres.Signing{Key: pgtest.Key("first")})
	room, err := plane.New(store).Enter(scope)
	if err != nil {
		t.Fatal(err)
	}
	w.store, w.room = store, room
	w.tenant.Log, w.tenant.Ledger = room.Log(), ledger{store.Archive(scope), w.clock}
	w.record(50)
	r := w.verify()
	if r.Wrong == nil || r.Wrong.Check != "fork" || !r.Intact || r.To != 100 {
		t.Errorf("%+v, %+v", r, r.Wrong)
	}
	if _, err := w.archiver().Advance(t.Context(), w.tenant); err != nil {
		t.Logf("the archiver: %v", err)
	}
	// Archiving on shows in the archive itself, without the live log.
	if r := w.verify(bare); r.Wrong == nil {
		t.Errorf("two histories in one archive: %+v", r)
	}
}

// Changes of keys: whoever holds any key of the log can check all of it.
func TestChangesOfKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(100)
	old := w.evidence()
	w.advance()
	w.record(20) // archived by the next key's holder
	scope := w.room.Scope()
	w.store.Close()
	w.store = w.db.OpenSigning(t, postgres.Signing{Key: pgtest.Key("second"), Previous: pgtest.Key("first")})
	room, err := plane.New(w.store).Enter(scope)
	if err != nil {
		t.Fatal(err)
	}
	// The segment that a crash left is signed with the key before.
	w.room, w.tenant.Log, w.tenant.Ledger = room, room.Log(), ledger{w.store.Archive(scope), w.clock}
	w.record(80)
	w.advance()
	w.sound(200)
	if r := w.verify(func(e *archive.Evidence) { e.Key, e.HouseKey = old.Key, old.HouseKey }); r.Wrong != nil || !r.Intact {
		t.Errorf("under the first key: %+v", r.Wrong)
	}
	stranger := w.db.Tenant(t, w.store, "globex")
	p, err := w.store.Log(stranger).Checkpoint(t.Context())
	if err == nil {
		if r := w.verify(func(e *archive.Evidence) { e.Key = p.Key }); r.Wrong == nil || r.Intact {
			t.Errorf("under another log's key: %+v", r)
		}
	}
}
