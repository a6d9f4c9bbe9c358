package postgres_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/tally"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const (
	readerDir     = "OPENCLAW_TEST_READER_DIR"
	readerURL     = "OPENCLAW_TEST_READER_URL"
	readerTenants = "OPENCLAW_TEST_READER_TENANTS"
	readers       = 6 // reads under way at once, for each tenant
)

// reader serves reads until it is killed: each is promised, then shown, then
// noted. What is shown is a line on standard output.
func reader() {
	ctx := context.Background()
	s, err := postgres.Open(ctx, postgres.Config{URL: os.Getenv(readerURL), Reads: os.Getenv(readerDir), MaxConns: 6})
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	for _, name := range strings.Split(os.Getenv(readerTenants), ",") {
		id, err := tenant.ParseID(name)
		if err != nil {
			panic(err)
		}
		scope, err := tenant.NewDoor(s).Admit(ctx, id)
		if err != nil {
			panic(err)
		}
		r, err := plane.New(s).Enter(scope)
		if err != nil {
			panic(err)
		}
		for range readers {
			go func() {
				for {
					p, err := r.Promise(ctx)
					if err != nil {
						panic(err)
					}
					read := uuid.NewString()
					mu.Lock()
					fmt.Println(name, read)
					mu.Unlock()
					if err := p.Keep(ctx, audit.Event{Type: audit.APIRequest, Outcome: audit.Success, RequestID: read}); err != nil {
						panic(err)
					}
				}
			}()
		}
	}
	select {}
}

// losses are the events that tell of lost reads.
func losses(t testing.TB, r plane.Room) (exact, atMost int64, events int) {
	t.Helper()
	es, _, err := r.Log().Events(t.Context(), audit.Query{Types: []audit.Type{audit.SecurityError}, Newest: true, Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		var d struct {
			Lost   int64 `json:"lost"`
			AtMost int64 `json:"lost_at_most"`
		}
		if err := json.Unmarshal(e.Details, &d); err != nil {
			t.Fatal(err)
		}
		exact, atMost, events = exact+d.Lost, atMost+d.AtMost, events+1
	}
	return exact, atMost, events
}

// settled waits until no lease of another process is left.
func settled(t testing.TB, db pgtest.DB, where string) {
	t.Helper()
	op := db.Operator(t)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // a sweep gives strangers no signal
		var n int
		if err := op.QueryRow(t.Context(), `SELECT count(*) FROM note_leases WHERE `+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d leases are not settled", n)
		}
	}
}

// A process that serves reads of two tenants is killed at any moment, again and
// again. What it promised is in the log or is told as lost, to the read.
func TestACrashTellsWhatItLost(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	first := db.Open(t)
	scopes := []tenant.Scope{db.Tenant(t, first, "acme"), db.Tenant(t, first, "globex")}
	first.Close()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := filepath.Join(t.TempDir(), "reads")
	promised, shown, toldLost := map[tenant.ID]int64{}, map[tenant.ID]map[string]bool{}, int64(0)
	// A process that dies before its first lease is durable has shown nothing;
	// what it was about to show is told or not.
	early := map[tenant.ID]int64{}
	for _, s := range scopes {
		shown[s.ID()] = map[string]bool{}
	}
	for round := range rounds {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), readerDir+"="+dir, readerURL+"="+db.App, readerTenants+"="+scopes[0].ID().String()+","+scopes[1].ID().String())
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines, showed := bufio.NewScanner(out), map[tenant.ID]bool{}
		read := func() bool {
			if !lines.Scan() {
				return false
			}
			name, id, _ := strings.Cut(lines.Text(), " ")
			if of, err := tenant.ParseID(name); err == nil && id != "" {
				shown[of][id], showed[of] = true, true
			}
			return true
		}
		for range 1 + round*round*23%1900 {
			if !read() {
				t.Fatal("the reader ended by itself")
			}
		}
		_ = c.Process.Kill()
		for read() {
		}
		_ = c.Wait()
		found, err := tally.Leftovers(dir)
		if err != nil || len(found) != 1 || !found[0].Exact {
			t.Fatalf("the dead process left %v, %v", found, err)
		}
		for key, n := range found[0].Counts {
			if showed[tenant.ID(key)] {
				promised[tenant.ID(key)] += n
			} else {
				early[tenant.ID(key)] += n
			}
		}
		found[0].Release()
		// The next process, at its start.
		next, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, Reads: dir})
		if err != nil {
			t.Fatal(err)
		}
		settled(t, db, `true`)
		next.Close()
	}
	last := db.Open(t)
	op := db.Operator(t)
	for _, scope := range scopes {
		r := room(t, last, scope)
		lost, atMost, _ := losses(t, r)
		toldLost += lost
		recorded := map[string]bool{}
		rows, err := op.Query(t.Context(), `SELECT request_id FROM audit_records WHERE tenant_id = $1 AND type = 'API_REQUEST'`, scope.ID().String())
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			recorded[id] = true
		}
		more := early[scope.ID()]
		if got := int64(len(recorded)) + lost; got < promised[scope.ID()] || got > promised[scope.ID()]+more || atMost != 0 {
			t.Errorf("%s: %d recorded and %d told as lost of %d promised (and %d before the first was shown), %d at most", scope.Name(), len(recorded), lost, promised[scope.ID()], more, atMost)
		}
		missing := int64(0)
		for id := range shown[scope.ID()] {
			if !recorded[id] {
				missing++
			}
		}
		// Between a promise and what it shows a read is under way.
		if slack := int64(rounds * readers); missing > lost || lost > missing+slack {
			t.Errorf("%s: %d shown reads are not in the log, %d are told as lost", scope.Name(), missing, lost)
		}
		t.Logf("%s: %d rounds, %d promised (and %d before the first was shown), %d shown, %d recorded, %d lost and told", scope.Name(), rounds, promised[scope.ID()], more, len(shown[scope.ID()]), len(recorded), lost)
	}
	if toldLost == 0 && !testing.Short() {
		t.Error("no crash lost anything: the test cannot have hit the window")
	}
}

// A replica on a machine that is gone: others say at most how many it lost, and
// its own file, should it come back, how many it were.
func TestASilentReplicaIsBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	dir := t.TempDir()
	gone, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, Reads: dir})
	if err != nil {
		t.Fatal(err)
	}
	scope := db.Tenant(t, gone, "acme")
	r := room(t, gone, scope)
	const kept, owed = 10, 3
	for range kept {
		if err := r.Note(t.Context(), event(audit.APIRequest)); err != nil {
			t.Fatal(err)
		}
	}
	for range owed {
		if _, err := r.Promise(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// The machine goes: its files with it, its connections, its beat.
	name, err := filepath.Glob(filepath.Join(dir, "*.tally"))
	if err != nil || len(name) != 1 {
		t.Fatal(name, err)
	}
	for end := time.Now().Add(10 * time.Second); len(log(t, r)) < kept && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	image, err := os.ReadFile(name[0])
	if err != nil {
		t.Fatal(err)
	}
	op := db.Operator(t)
	var replica uuid.UUID
	var upto int64
	if err := op.QueryRow(t.Context(), `SELECT replica, upto FROM note_leases`).Scan(&replica, &upto); err != nil {
		t.Fatal(err)
	}
	var dead uuid.UUID = uuid.New() // under another name, which never beats
	for _, sql := range []string{
		`SET session_replication_role = replica`,
		`UPDATE note_leases SET replica = '` + dead.String() + `'`, `UPDATE note_counts SET replica = '` + dead.String() + `'`,
	} {
		if _, err := op.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	other, third := db.Open(t), db.Open(t) // both sweep
	_ = third
	settled(t, db, `reported IS NULL`)
	exact, atMost, events := losses(t, room(t, other, scope))
	if exact != 0 || events != 1 || atMost != upto-kept {
		t.Errorf("%d events tell of %d lost, at most %d; want one of at most %d", events, exact, atMost, upto-kept)
	}
	// The machine comes back.
	copy(image[16:], dead[:])
	back := t.TempDir()
	if err := os.WriteFile(filepath.Join(back, dead.String()+".tally"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	home, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, Reads: back})
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	settled(t, db, `true`)
	exact, _, events = losses(t, room(t, other, scope))
	if exact != owed || events != 2 {
		t.Errorf("%d events tell of exactly %d lost, want %d", events, exact, owed)
	}
	gone.Close()
}

// Notes that a living process has to give up are told, too, and a clean stop
// leaves nothing behind.
func TestNotesGivenUpAreTold(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	dir := t.TempDir()
	s, err := postgres.Open(t.Context(), postgres.Config{URL: db.App, Reads: dir})
	if err != nil {
		t.Fatal(err)
	}
	scope := db.Tenant(t, s, "acme")
	r := room(t, s, scope)
	for range 5 {
		if err := r.Note(t.Context(), event(audit.APIRequest)); err != nil {
			t.Fatal(err)
		}
	}
	bad := event("NO_SUCH_TYPE")
	for range 2 {
		if err := r.Note(t.Context(), bad); err == nil {
			t.Fatal("an event that cannot be sealed was noted")
		}
	}
	bad = event(audit.APIRequest) // and one whose group finds out
	bad.Details = map[string]any{"status": struct{}{}}
	if err := r.Note(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s.NotesLost() != 1 {
		t.Errorf("%d notes were lost on their way, want 1", s.NotesLost())
	}
	other := db.Open(t)
	if exact, atMost, events := losses(t, room(t, other, scope)); exact != 3 || atMost != 0 || events != 1 {
		t.Errorf("%d events tell of %d lost, at most %d; want one of 3", events, exact, atMost)
	}
	settled(t, db, `true`)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a clean stop leaves %v, %v", left, err)
	}
}
