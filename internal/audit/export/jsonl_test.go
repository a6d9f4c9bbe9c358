package export

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"iter"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/verify"
)

// A JSON lines export, written in two runs as after a broken connection, is one
// that the offline verifier takes; with a line lost between the runs it is not.
func TestJSONLVerifies(t *testing.T) {
	t.Parallel()
	seed := sha256.Sum256([]byte("log"))
	s, err := checkpoint.NewSigner("audit.example/audit/t1", ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	var f merkle.Frontier
	var all []bundle.Record
	for i := range 600 {
		body := fmt.Appendf(nil, `{"n":%d,"v":1}`, i)
		all = append(all, bundle.Record{Seq: int64(i + 1), Body: body, Leaf: record.Leaf(body)})
		f.Append(nil, record.Leaf(body))
	}
	signed, err := checkpoint.Sign(f.Tree(), s)
	if err != nil {
		t.Fatal(err)
	}
	from := func(i, k int) iter.Seq2[bundle.Record, error] {
		return func(yield func(bundle.Record, error) bool) {
			for _, r := range all[i:k] {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
	for resume, want := range map[int]string{250: "", 251: "sequence", 249: "sequence"} {
		var b bytes.Buffer
		n, err := JSONL(&b, from(0, 250))
		if err != nil || n != 250 {
			t.Fatal(n, err)
		}
		if _, err := JSONL(&b, from(resume, 600)); err != nil {
			t.Fatal(err)
		}
		r, err := verify.Verify(&b, verify.Options{Key: s.Verifier(), Checkpoint: string(signed)})
		if err != nil || (r.Wrong == nil) != (want == "") || r.Wrong != nil && r.Wrong.Check != want {
			t.Errorf("resumed at %d: %v, %+v", resume, err, r.Wrong)
		}
	}
}
