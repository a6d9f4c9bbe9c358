package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/verify"
)

const vectors = "../../../verify/testdata/vectors"

// Whatever is taken for a segment is one: it opens with the standard library,
// verifies, has records, holds no personal value, and ends where it ends.
func FuzzInspect(f *testing.F) {
	text, err := os.ReadFile(filepath.Join(vectors, "log.vkey"))
	if err != nil {
		f.Fatal(err)
	}
	key := string(text)
	files, err := filepath.Glob(filepath.Join(vectors, "*"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil || len(b) > 1<<17 {
			continue
		}
		var z bytes.Buffer
		gz := gzip.NewWriter(&z)
		_, _ = gz.Write(b)
		_ = gz.Close()
		f.Add(z.Bytes())
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := &chain{}
		s, err := inspect(bytes.NewReader(body), verify.Options{Key: key}, c)
		if err != nil {
			var bad *ErrWrong
			if !errors.As(err, &bad) {
				t.Fatalf("an error that blames nobody: %v", err)
			}
			return
		}
		gz, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(gz)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := verify.Verify(bytes.NewReader(text), verify.Options{Key: key})
		if err != nil || rep.Wrong != nil || rep.From != s.first || rep.To != s.last || s.first > s.last || s.bytes != int64(len(body)) {
			t.Fatalf("%+v, %v, %+v", rep, err, s)
		}
		if c.tree.Size() != s.last {
			t.Fatalf("a tree of %d after record %d", c.tree.Size(), s.last)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, `,"disclosed":{`) && strings.Contains(line, `"}},"leaf"`) {
				t.Fatalf("a personal value: %s", line)
			}
		}
	})
}

func TestKeysAreReadAsTheyAreMade(t *testing.T) {
	t.Parallel()
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	for _, n := range []int64{1, 256, 1 << 40, 1<<63 - 1} {
		if got := numberIn(id, SegmentKey(id, n)); got != n {
			t.Errorf("%d: %d", n, got)
		}
	}
	for _, key := range []string{
		"", id, SegmentKey(id, 0), SegmentKey(id, -1), SegmentKey("other", 1), CheckpointKey(id, 1), id + "/segments/1.jsonl.gz",
		id + "/segments/00000000000000000001.jsonl", id + "/segments/+0000000000000000001.jsonl.gz", id + "/segments/99999999999999999999.jsonl.gz",
	} {
		if got := numberIn(id, key); got != 0 {
			t.Errorf("%q is %d", key, got)
		}
	}
}
