package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/verify"
)

const tenant = "01890a5d-ac96-774b-bcce-b302099a8057"

type ledger struct {
	bodies   [][]byte
	leaves   []tlog.Hash
	memory   merkle.Memory
	frontier merkle.Frontier
	signer   *checkpoint.Signer
}

func newLedger(t testing.TB, n int) *ledger {
	t.Helper()
	seed := sha256.Sum256([]byte("log"))
	s, err := checkpoint.NewSigner(checkpoint.Origin("audit.example", tenant), ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{signer: s}
	for i := range n {
		e := &audit.Event{
			ID: uuid.UUID{0: 1, 15: byte(i), 14: byte(i >> 8), 13: byte(i >> 16)}, Time: time.Unix(1795341600+int64(i), 0), Type: audit.AgentChanged,
			Actor:  audit.Actor{Kind: audit.ActorUser, ID: "01890a5d-ac96-774b-bcce-b302099a8051", Name: "ada@example.com"},
			Action: "agents.update", Resource: "agent/01890a5d-ac96-774b-bcce-b302099a8052", RequestID: fmt.Sprint(i), PolicyHash: "0f1e2d3c",
			IP: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), UserAgent: "curl/8.5", Details: map[string]any{"fields": []string{"name", "model"}, "n": i},
		}
		body, _, err := record.Append(nil, nil, tenant, e, new(record.Salts))
		if err != nil {
			t.Fatal(err)
		}
		l.bodies = append(l.bodies, body)
		l.leaves = append(l.leaves, record.Leaf(body))
	}
	if err := l.memory.Append(l.leaves, l.frontier.Append(nil, l.leaves...)); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *ledger) Records(_ context.Context, from, to int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for seq := from; seq <= to; seq++ {
			if !yield(Record{Seq: seq, Body: l.bodies[seq-1], Leaf: l.leaves[seq-1]}, nil) {
				return
			}
		}
	}
}

func (l *ledger) checkpoint(t testing.TB, n int64) Checkpoint {
	t.Helper()
	tree, err := merkle.Prover{Hashes: &l.memory, Tree: l.frontier.Tree()}.Root(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := checkpoint.Sign(tree, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return Checkpoint{tree, signed}
}

// Every range of several logs, cut at and beside block borders, verifies.
func TestRanges(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 1100)
	edges := []int64{1, 2, 255, 256, 257, 511, 512, 513, 768, 769, 1024, 1025, 1099, 1100}
	for _, size := range edges {
		for _, from := range edges {
			for _, to := range edges {
				if from > size || to > size || to < from-1 {
					continue
				}
				old := l.checkpoint(t, min(from, size))
				var b bytes.Buffer
				c := Contents{Checkpoint: l.checkpoint(t, size), From: from, To: to, Previous: &old}
				if err := Write(t.Context(), &b, c, &l.memory, l); err != nil {
					t.Fatalf("%d-%d of %d: %v", from, to, size, err)
				}
				r, err := verify.Verify(&b, verify.Options{Key: l.signer.Verifier(), Since: string(old.Signed)})
				if err != nil || r.Wrong != nil || len(r.Missing) > 0 || r.From != from || r.To != to {
					t.Fatalf("%d-%d of %d: %v %+v %v", from, to, size, err, r.Wrong, r.Missing)
				}
			}
		}
	}
}

type source func(yield func(Record, error) bool)

func (s source) Records(context.Context, int64, int64) iter.Seq2[Record, error] {
	return iter.Seq2[Record, error](s)
}

func TestBadSource(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 10)
	c := Contents{Checkpoint: l.checkpoint(t, 10), From: 3, To: 7}
	of := func(seqs ...int64) source {
		return func(yield func(Record, error) bool) {
			for _, s := range seqs {
				if !yield(Record{Seq: s, Body: l.bodies[s-1], Leaf: l.leaves[s-1]}, nil) {
					return
				}
			}
		}
	}
	away := errors.New("database away")
	for name, s := range map[string]struct {
		source source
		want   error
	}{
		"none":      {of(), ErrSource},
		"gap":       {of(3, 4, 6, 7), ErrSource},
		"short":     {of(3, 4, 5, 6), ErrSource},
		"long":      {of(3, 4, 5, 6, 7, 8), ErrSource},
		"too early": {of(2, 3, 4, 5, 6, 7), ErrSource},
		"fault":     {func(yield func(Record, error) bool) { yield(Record{}, away) }, away},
	} {
		if err := Write(t.Context(), io.Discard, c, &l.memory, s.source); !errors.Is(err, s.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, r := range [][2]int64{{0, 5}, {5, 3}, {5, 11}} {
		c.From, c.To = r[0], r[1]
		if err := Write(t.Context(), io.Discard, c, &l.memory, l); err == nil {
			t.Errorf("wrote %v of 10", r)
		}
	}
	// Altered storage gives no consistency proof to a published checkpoint.
	other := newLedger(t, 10)
	other.leaves[4][0] ^= 1
	var broken merkle.Memory
	if err := broken.Append(other.leaves, nil); err != nil {
		t.Fatal(err)
	}
	old := l.checkpoint(t, 6)
	c = Contents{Checkpoint: l.checkpoint(t, 10), From: 3, To: 7, Previous: &old}
	if err := Write(t.Context(), io.Discard, c, &broken, l); !errors.Is(err, merkle.ErrCorrupt) {
		t.Errorf("altered storage: %v", err)
	}
}

func benchmarkFile(b *testing.B, n int) (*ledger, []byte) {
	b.Helper()
	l := newLedger(b, n)
	var out bytes.Buffer
	if err := Write(b.Context(), &out, Contents{Checkpoint: l.checkpoint(b, int64(n)), From: 1, To: int64(n)}, &l.memory, l); err != nil {
		b.Fatal(err)
	}
	return l, out.Bytes()
}

// processor is the time this process has had a processor for: what a figure per
// core means on a machine that others use too.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkVerify(b *testing.B) {
	const n = 50_000
	l, file := benchmarkFile(b, n)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	start := processor(b)
	for b.Loop() {
		r, err := verify.Verify(bytes.NewReader(file), verify.Options{Key: l.signer.Verifier()})
		if err != nil || r.Wrong != nil {
			b.Fatal(err, r.Wrong)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(b.N)*n/(processor(b)-start).Seconds(), "records/cpu-s")
	b.ReportMetric(float64(len(file))/n, "bytes/record")
}

func BenchmarkWrite(b *testing.B) {
	const n = 50_000
	l, file := benchmarkFile(b, n)
	c := Contents{Checkpoint: l.checkpoint(b, n), From: 1, To: n}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(b.Context(), io.Discard, c, &l.memory, l); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
}
