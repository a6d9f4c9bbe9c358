package verify

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type vector struct {
	File  string
	Flags []string
	Exit  int
	Check string
	Seq   int64
	Last  int64
	About string
}

const vectors = "testdata/vectors"

func readVectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(b, &list); err != nil || len(list) < 40 {
		t.Fatalf("%d vectors: %v", len(list), err)
	}
	return list
}

// args gives the flags with the files where they are.
func (v vector) args(more ...string) []string {
	args := more
	for _, f := range v.Flags {
		if strings.Contains(f, ".") {
			f = filepath.Join(vectors, f)
		}
		args = append(args, f)
	}
	return append(args, filepath.Join(vectors, v.File))
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t) {
		t.Run(v.File, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			exit := Main("openclaw-verify", v.args("--json"), nil, &out, &errs)
			if exit != v.Exit {
				t.Fatalf("%s: exit %d, want %d\n%s%s", v.About, exit, v.Exit, &out, &errs)
			}
			var r Report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if len(r.Unchecked) == 0 && v.Exit != 1 {
				t.Error("says that it checked everything")
			}
			if (r.Wrong != nil) != (v.Exit == 1) || (len(r.Missing) > 0) != (v.Exit == 3) {
				t.Fatalf("exit %d with %+v", exit, r)
			}
			if w := r.Wrong; w != nil && (w.Check != v.Check || w.Seq != v.Seq || w.Last != v.Last) {
				t.Errorf("%s: caught by %s at %d-%d (%s), want %s at %d-%d", v.About, w.Check, w.Seq, w.Last, w.Why, v.Check, v.Seq, v.Last)
			}
			// People read the same.
			out.Reset()
			if Main("openclaw-verify", v.args(), nil, &out, &errs) != v.Exit || v.Exit == 1 && !strings.Contains(out.String(), v.Check) {
				t.Errorf("without --json: %s", &out)
			}
		})
	}
}
