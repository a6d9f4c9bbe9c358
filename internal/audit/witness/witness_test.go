package witness

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/testservers"
	"github.com/Nissimmiracles/openclaw/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const origin = "audit.example/audit/01890a5d-ac96-774b-bcce-b302099a8057"

func key(seed string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

// ledger is a log in memory and its key.
type ledger struct {
	memory   merkle.Memory
	frontier merkle.Frontier
	signer   *checkpoint.Signer
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	s, err := checkpoint.NewSigner(origin, key("log"))
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{signer: s}
}

func (l *ledger) grow(t *testing.T, size int64, salt string) []byte {
	for l.frontier.Size() < size {
		leaf := tlog.RecordHash(fmt.Appendf(nil, "%s %d", salt, l.frontier.Size()))
		if err := l.memory.Append([]tlog.Hash{leaf}, l.frontier.Append(nil, leaf)); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := checkpoint.Sign(l.frontier.Tree(), l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (l *ledger) prove(ctx context.Context, old int64) (tlog.TreeProof, error) {
	return merkle.Prover{Hashes: &l.memory, Tree: l.frontier.Tree()}.Consistency(ctx, old)
}

func client(t *testing.T, url, vkey string) *Witness {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	w, err := New(url, vkey, transport)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestLitewitness(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	lite := testservers.StartWitness(t, "witness.example/w1", origin, l.signer.Verifier())
	vkey := lite.Vkey
	w := client(t, lite.URL, vkey)
	ctx := t.Context()

	first := l.grow(t, 3, "real")
	_, at, err := w.Cosign(ctx, first, 3, 0, l.prove)
	if err != nil {
		t.Fatal(err)
	}
	if time.Since(at).Abs() > time.Hour {
		t.Errorf("cosigned at %v", at)
	}
	// Growth, with a right and with a forgotten idea of what the witness knows.
	second := l.grow(t, 700, "real")
	if _, _, err := w.Cosign(ctx, second, 700, 3, l.prove); err != nil {
		t.Error(err)
	}
	third := l.grow(t, 701, "real")
	line, _, err := w.Cosign(ctx, third, 701, 0, l.prove)
	if err != nil {
		t.Fatal(err)
	}
	// The same again is cosigned again.
	if _, _, err := w.Cosign(ctx, third, 701, 701, l.prove); err != nil {
		t.Error(err)
	}
	cosigned, err := checkpoint.AddCosignatures(third, line)
	if err != nil {
		t.Fatal(err)
	}
	// The offline verifier agrees with torchwood on what a cosignature is.
	r, err := verify.Verify(strings.NewReader(string(cosigned)), verify.Options{Key: l.signer.Verifier(), Witnesses: []string{vkey}, Quorum: 1})
	if err != nil || r.Wrong != nil {
		t.Errorf("verifier: %v %+v", err, r.Wrong)
	}
	r, err = verify.Verify(strings.NewReader(string(third)), verify.Options{Key: l.signer.Verifier(), Witnesses: []string{vkey}, Quorum: 1})
	if err != nil || r.Wrong == nil || r.Wrong.Check != "cosignature" {
		t.Errorf("verifier without cosignature: %v %+v", err, r.Wrong)
	}

	// Rolled back to an older backup.
	if _, _, err := w.Cosign(ctx, second, 700, 3, l.prove); !errors.Is(err, ErrAhead) {
		t.Errorf("rolled back: got %v", err)
	}
	// Forked: another history of more records.
	fork := newLedger(t)
	forked := fork.grow(t, 800, "forged")
	if _, _, err := w.Cosign(ctx, forked, 800, 701, fork.prove); !errors.Is(err, ErrFork) {
		t.Errorf("forked: got %v", err)
	}
	// Signed by somebody else.
	stranger, _ := checkpoint.NewSigner(origin, key("stranger"))
	foreign, _ := checkpoint.Sign(l.frontier.Tree(), stranger)
	if _, _, err := w.Cosign(ctx, foreign, 701, 701, l.prove); err == nil {
		t.Error("cosigned a stranger's checkpoint")
	}

	// A policy: this one and one that is away.
	away := client(t, "http://127.0.0.1:1", vkey)
	old := func(string) int64 { return 701 }
	fourth := l.grow(t, 702, "real")
	got, err := (Policy{Witnesses: []*Witness{away, w}, Quorum: 1}).Cosign(ctx, fourth, 702, old, l.prove)
	if err != nil || len(got) != 1 {
		t.Errorf("1 of 2: %v, %d cosignatures", err, len(got))
	}
	got, err = (Policy{Witnesses: []*Witness{away, w}, Quorum: 2}).Cosign(ctx, fourth, 702, old, l.prove)
	if !errors.Is(err, ErrQuorum) || len(got) != 1 {
		t.Errorf("2 of 2 with one away: %v, %d cosignatures", err, len(got))
	}
}

// A witness may be hostile too.
func TestHostileWitness(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	signed := l.grow(t, 5, "real")
	self, _ := torchwood.NewCosignatureSigner("w.example", key("w"))
	other, _ := torchwood.NewCosignatureSigner("w.example", key("other"))
	cosign := func(text string, s note.Signer) string {
		n, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		_, sigs, _ := strings.Cut(string(n), "\n\n")
		return sigs
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	good := cosign(text+"\n", self)
	elsewhere := cosign(torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: 6}}.String(), self)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error // nil: any error; errGood: none
	}{
		"good":           {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, good) }, errGood},
		"good and noise": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, cosign(text+"\n", other)+good) }, errGood},
		"other key":      {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, cosign(text+"\n", other)) }, nil},
		"other tree":     {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, elsewhere) }, nil},
		"nothing":        {func(w http.ResponseWriter, r *http.Request) {}, nil},
		"own text":       {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "more text\n\n"+good) }, nil},
		"endless":        {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat(good, 500)) }, nil},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, nil},
		"not found":      {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, nil},
		"fork":           {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }, ErrFork},
		"ahead":          {conflict("6\n"), ErrAhead},
		"always another": {conflict("2\n"), nil},
		"negative":       {conflict("-2\n"), nil},
		"huge":           {conflict("99999999999999999999\n"), nil},
		"page for size":  {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "2", http.StatusConflict) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(c.answer)
			defer s.Close()
			w := client(t, s.URL, self.Verifier().String())
			line, _, err := w.Cosign(t.Context(), signed, 5, 0, l.prove)
			switch {
			case c.want == errGood:
				if err != nil || line+"\n" != good {
					t.Errorf("got %q, %v", line, err)
				}
			case err == nil, c.want != nil && !errors.Is(err, c.want):
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

var errGood = errors.New("good")

func conflict(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, body)
	}
}

// A witness that never answers costs its timeout and nothing else.
func TestSilentWitness(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	signed := l.grow(t, 1, "real")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client left
		<-r.Context().Done()
	}))
	defer s.Close()
	self, _ := torchwood.NewCosignatureSigner("w.example", key("w"))
	p := Policy{Witnesses: []*Witness{client(t, s.URL, self.Verifier().String())}, Quorum: 1, Timeout: 50 * time.Millisecond}
	_, err := p.Cosign(t.Context(), signed, 1, func(string) int64 { return 0 }, l.prove)
	if !errors.Is(err, ErrQuorum) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	self, _ := torchwood.NewCosignatureSigner("w.example", key("w"))
	for _, url := range []string{"", "w.example", "ftp://w.example", "http://"} {
		if _, err := New(url, self.Verifier().String(), nil); err == nil {
			t.Errorf("took URL %q", url)
		}
	}
	plain, _ := checkpoint.NewSigner("w.example", key("w"))
	for _, vkey := range []string{"", "x", plain.Verifier()} {
		if _, err := New("https://w.example", vkey, nil); err == nil {
			t.Errorf("took key %q", vkey)
		}
	}
}
