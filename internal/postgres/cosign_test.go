package postgres_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/witness"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/Nissimmiracles/openclaw/internal/testservers"
	"github.com/Nissimmiracles/openclaw/verify"
)

var houseOrigin = checkpoint.HouseOrigin(pgtest.SigningHost)

func houseKey(t *testing.T) string {
	t.Helper()
	s, err := checkpoint.NewSigner(houseOrigin, pgtest.Key("first"))
	if err != nil {
		t.Fatal(err)
	}
	return s.Verifier()
}

// cosigning is a cosigner and what it said of witnesses that turned.
type cosigning struct {
	*witness.Cosigner
	mu     sync.Mutex
	turned []witness.Status
}

func cosigner(t *testing.T, s *postgres.Store, quorum int, at map[string]string) *cosigning {
	t.Helper()
	p := witness.Policy{Quorum: quorum, Timeout: 5 * time.Second}
	for vkey, url := range at {
		w, err := witness.New(url, vkey, &http.Transport{DisableKeepAlives: true})
		if err != nil {
			t.Fatal(err)
		}
		p.Witnesses = append(p.Witnesses, w)
	}
	c := &cosigning{}
	c.Cosigner = witness.NewCosigner(s.House(), p, time.Hour, func(s witness.Status) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.turned = append(c.turned, s)
	}, slog.New(slog.DiscardHandler))
	return c
}

func (c *cosigning) round(t *testing.T) map[string]witness.Status {
	t.Helper()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := map[string]witness.Status{}
	for _, s := range c.Last() {
		out[s.Witness] = s
	}
	return out
}

func headerOf(t *testing.T, file []byte) (h verify.Header) {
	t.Helper()
	line, _, _ := bytes.Cut(file, []byte("\n"))
	if err := json.Unmarshal(line, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// Two witnesses cosign, one is away, one lies: the quorum of two holds, and
// bundles and checkpoints carry its lines.
func TestWitnessesCosignTheHouseLog(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	one := testservers.StartWitness(t, "one.example", houseOrigin, houseKey(t))
	two := testservers.StartWitness(t, "two.example", houseOrigin, houseKey(t))
	gone := testservers.StartWitness(t, "gone.example", houseOrigin, houseKey(t))
	gone.Stop()
	real := testservers.StartWitness(t, "liar.example", houseOrigin, houseKey(t))
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "— liar.example "+strings.Repeat("A", 102)+"==") // not its signature
	}))
	defer liar.Close()
	c := cosigner(t, s, 2, map[string]string{one.Vkey: one.URL, two.Vkey: two.URL, gone.Vkey: gone.URL, real.Vkey: liar.URL})

	fill(t, r, 5)
	kept := published(t, r)
	states := c.round(t)
	for name, want := range map[string]witness.State{"one.example": witness.Cosigning, "two.example": witness.Cosigning, "gone.example": witness.Away, "liar.example": witness.Away} {
		if states[name].State != want {
			t.Errorf("%s: %+v, want %s", name, states[name], want)
		}
	}
	if len(c.turned) != 2 {
		t.Errorf("told of %+v, want of the two that do not cosign", c.turned)
	}
	shown := published(t, r).HouseCheckpoint
	if strings.Count(shown, "\n— ") != 3 || strings.Contains(shown, "liar") {
		t.Errorf("the checkpoint shows\n%s", shown)
	}
	// A bundle asked for waits until its own checkpoint is cosigned.
	s.CosignWith(c.Wake, 2)
	c.Start()
	defer c.Stop()
	fill(t, r, 3)
	file := bundleOf(t, r, audit.Range{})
	house := headerOf(t, file).House
	if house == nil || strings.Count(house.Checkpoint, "\n— ") != 3 {
		t.Fatalf("the bundle's house log: %+v", house)
	}
	o := verify.Options{Key: kept.Key, HouseKey: kept.HouseKey, Witnesses: []string{one.Vkey, two.Vkey}, Quorum: 2}
	if rep := verified(t, file, o); rep.Wrong != nil || len(rep.Missing) > 0 || !strings.Contains(rep.String(), "one.example") {
		t.Errorf("with its witnesses: %v", rep)
	}
	o.Witnesses, o.Quorum = append(o.Witnesses, real.Vkey), 3
	if rep := verified(t, file, o); rep.Wrong == nil || rep.Wrong.Check != "cosignature" {
		t.Errorf("with a third that did not sign: %v", rep)
	}
}

// What the platform believes of a witness may be wrong either way: a crash
// between the answer and its storing, a witness restored from a backup.
func TestLaggingWitness(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	lite := testservers.StartWitness(t, "lagging.example", houseOrigin, houseKey(t))
	ahead := cosigner(t, s, 1, map[string]string{lite.Vkey: lite.URL})
	var first witness.Head
	for range 4 { // four leaves
		remember(t, r, "x")
		published(t, r)
		head, err := s.House().Newest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if first = head; head.Tree.N == 2 { // answered, and not stored
			w, err := witness.New(lite.URL, lite.Vkey, &http.Transport{DisableKeepAlives: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.Cosign(t.Context(), head.Signed, 2, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := ahead.round(t)["lagging.example"]; got.State != witness.Cosigning || got.Size != first.Tree.N {
		t.Errorf("a witness that knows more than was stored: %+v", got)
	}
	lite.Stop()
	restored := testservers.StartWitness(t, "lagging.example", houseOrigin, houseKey(t))
	remember(t, r, "y")
	published(t, r)
	behind := cosigner(t, s, 1, map[string]string{restored.Vkey: restored.URL})
	if got := behind.round(t)["lagging.example"]; got.State != witness.Cosigning || got.Size <= first.Tree.N {
		t.Errorf("a witness that forgot: %+v", got)
	}
}

// The operator restores an older house log while nothing runs: the witness
// refuses, first as ahead, and once the log has grown past it as a fork.
func TestAWitnessRefusesARolledBackLog(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := db.OpenSigning(t, firstKey)
	r := room(t, s, db.Tenant(t, s, "acme"))
	lite := testservers.StartWitness(t, "strict.example", houseOrigin, houseKey(t))
	at := map[string]string{lite.Vkey: lite.URL}
	for range 3 {
		remember(t, r, "x")
		published(t, r)
	}
	if got := cosigner(t, s, 1, at).round(t)["strict.example"]; got.State != witness.Cosigning {
		t.Fatalf("before: %+v", got)
	}
	s.Close()
	op := db.Operator(t)
	for _, sql := range []string{
		`SET session_replication_role = replica`, // past the triggers
		`DELETE FROM house_cosignatures`, `DELETE FROM house_checkpoints WHERE size > 1`, `DELETE FROM house_leaves WHERE index >= 1`,
	} {
		if _, err := op.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	s = db.OpenSigning(t, firstKey)
	c := cosigner(t, s, 1, at)
	if got := c.round(t)["strict.example"]; got.State != witness.Ahead || !got.State.Alarm() {
		t.Errorf("rolled back: %+v", got)
	}
	scope, err := tenant.NewDoor(s).Admit(t.Context(), r.Scope().ID())
	if err != nil {
		t.Fatal(err)
	}
	r = room(t, s, scope)
	for range 4 {
		remember(t, r, "other")
		published(t, r)
	}
	if got := c.round(t)["strict.example"]; got.State != witness.Fork || !got.State.Alarm() {
		t.Errorf("grown past it: %+v", got)
	}
	if len(c.turned) != 2 || c.turned[0].State != witness.Ahead || c.turned[1].State != witness.Fork {
		t.Errorf("told of %+v", c.turned)
	}
	stored, err := s.House().Witnesses(t.Context())
	if err != nil || stored["strict.example"].State != witness.Fork || stored["strict.example"].Detail == "" {
		t.Errorf("stored: %+v, %v", stored, err)
	}
	// Publishing went on all the while.
	if published(t, r).Size < 7 {
		t.Error("the witness held the log up")
	}
}
