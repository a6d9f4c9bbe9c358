package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
)

const (
	host   = "audit.example"
	tenant = "01890a5d-ac96-774b-bcce-b302099a8057"
)

// digest derives everything that is random in a real log.
func digest(format string, args ...any) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, format, args...))
}

func salt(format string, args ...any) record.Salt {
	d := digest(format, args...)
	return record.Salt(d[:16])
}

func signer(origin, name string) *checkpoint.Signer {
	d := digest("key %s", name)
	s, err := checkpoint.NewSigner(origin, ed25519.NewKeyFromSeed(d[:]))
	if err != nil {
		panic(err)
	}
	return s
}

// ledger is a small log in memory.
type ledger struct {
	records  []bundle.Record
	memory   merkle.Memory
	frontier merkle.Frontier
	trees    []tlog.Tree // by size
}

// newLedger has n records; spoil may change a body before it is hashed.
func newLedger(n int, story string, spoil func(seq int, body []byte) []byte) *ledger {
	l := &ledger{}
	l.trees = append(l.trees, l.frontier.Tree())
	for seq := 1; seq <= n; seq++ {
		e, salts := event(story, seq)
		body, personal, err := record.Append(nil, nil, tenant, e, salts)
		if err != nil {
			panic(err)
		}
		if spoil != nil {
			body = spoil(seq, body)
		}
		leaf := record.Leaf(body)
		l.records = append(l.records, bundle.Record{Seq: int64(seq), Body: body, Leaf: leaf, Personal: personal})
		l.add(leaf)
	}
	return l
}

func (l *ledger) add(leaf tlog.Hash) {
	if err := l.memory.Append([]tlog.Hash{leaf}, l.frontier.Append(nil, leaf)); err != nil {
		panic(err)
	}
	l.trees = append(l.trees, l.frontier.Tree())
}

func event(story string, seq int) (*audit.Event, *record.Salts) {
	types := audit.Types()
	id := digest("%s id %d", story, seq)
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	e := &audit.Event{
		ID:         uuid.UUID(id[:16]),
		Time:       time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC).Add(time.Duration(seq) * 1_234_567 * time.Microsecond),
		Type:       types[seq%len(types)],
		Severity:   []audit.Severity{audit.Info, audit.Info, audit.Warning, audit.High, audit.Critical}[seq%5],
		Actor:      audit.Actor{Kind: audit.ActorUser, ID: fmt.Sprintf("user/%d", seq%7), Name: fmt.Sprintf("person%d@example.com", seq%7)},
		Action:     "agents.read",
		Resource:   fmt.Sprintf("agent/%d", seq%11),
		Outcome:    []audit.Outcome{audit.Success, audit.Success, audit.Refused}[seq%3],
		IP:         netip.AddrFrom4([4]byte{203, 0, 113, byte(seq)}),
		RequestID:  fmt.Sprintf("%s-%d", story, seq),
		PolicyHash: "sha256:0f1e2d3c",
	}
	if seq%4 == 0 {
		e.UserAgent = "agent \"four\"\t\u00e9\U0001f600"
		e.Details = map[string]any{"rules": []string{"r1", "r2"}, "score": seq, "allowed": seq%8 == 0}
	}
	return e, &record.Salts{Name: salt("name %d", seq), IP: salt("ip %d", seq), UserAgent: salt("ua %d", seq)}
}

func (l *ledger) Records(_ context.Context, from, to int64) iter.Seq2[bundle.Record, error] {
	return func(yield func(bundle.Record, error) bool) {
		for _, r := range l.records[from-1 : to] {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// sealed is the ledger with nothing disclosed.
type sealed struct{ *ledger }

func (s sealed) Records(ctx context.Context, from, to int64) iter.Seq2[bundle.Record, error] {
	return func(yield func(bundle.Record, error) bool) {
		for r := range s.ledger.Records(ctx, from, to) {
			r.Personal = nil
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (l *ledger) sign(size int, s *checkpoint.Signer, witnesses ...witness) bundle.Checkpoint {
	signed, err := checkpoint.Sign(l.trees[size], s)
	if err != nil {
		panic(err)
	}
	for _, w := range witnesses {
		if signed, err = checkpoint.AddCosignatures(signed, w.cosign(signed)); err != nil {
			panic(err)
		}
	}
	return bundle.Checkpoint{Tree: l.trees[size], Signed: signed}
}

func write(c bundle.Contents, hashes merkle.Hashes, source bundle.Source) []byte {
	var b bytes.Buffer
	if err := bundle.Write(context.Background(), &b, c, hashes, source); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (l *ledger) export(to int) []byte {
	var b []byte
	for r := range l.Records(context.Background(), 1, int64(to)) {
		var err error
		if b, err = bundle.AppendLine(b, r); err != nil {
			panic(err)
		}
	}
	return b
}

// witness cosigns at a fixed time, which a real one never does.
type witness struct{ name string }

func (w witness) key() ed25519.PrivateKey {
	d := digest("key %s", w.name)
	return ed25519.NewKeyFromSeed(d[:])
}

func (w witness) id() (id uint32, encoded []byte) {
	encoded = append([]byte{4}, w.key().Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(w.name+"\n"), encoded...))
	return binary.BigEndian.Uint32(sum[:]), encoded
}

// cosign follows C2SP tlog-cosignature, version cosignature/v1.
func (w witness) cosign(signed []byte) string {
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	const at = 1795341600
	sig := binary.BigEndian.AppendUint64(nil, at)
	sig = append(sig, ed25519.Sign(w.key(), fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))...)
	id, _ := w.id()
	n, err := note.Sign(&note.Note{Text: "x\n"}, fixed{w.name, id, sig})
	if err != nil {
		panic(err)
	}
	_, line, _ := bytes.Cut(n, []byte("\n\n"))
	return string(line)
}

type fixed struct {
	name string
	id   uint32
	sig  []byte
}

func (f fixed) Name() string                { return f.name }
func (f fixed) KeyHash() uint32             { return f.id }
func (f fixed) Sign([]byte) ([]byte, error) { return f.sig, nil }
