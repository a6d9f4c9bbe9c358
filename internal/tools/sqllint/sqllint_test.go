package sqllint

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestNoStringBuiltSQL reads every package of the module.
func TestNoStringBuiltSQL(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	found, err := Dir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestTestdata: each line that ends in "// want" is a finding, and no other is.
func TestTestdata(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"testdata/bad.go", "testdata/good.go"} {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := map[int]bool{}
		for i, line := range bytes.Split(src, []byte("\n")) {
			if bytes.HasSuffix(bytes.TrimSpace(line), []byte("// want")) {
				want[i+1] = true
			}
		}
		if name == "testdata/bad.go" && len(want) < 40 {
			t.Fatalf("%s wants only %d findings", name, len(want))
		}
		found, err := Files([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if !want[f.Pos.Line] {
				t.Errorf("unexpected: %s", f)
			}
			delete(want, f.Pos.Line)
		}
		for line := range want {
			t.Error(name + ":" + strconv.Itoa(line) + ": not found")
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "x.go")
	if err := os.WriteFile(name, []byte("package x\nfunc {"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Files([]string{name}); err == nil {
		t.Error("a file that is not Go passed")
	}
	if _, err := Dir("does-not-exist"); err == nil {
		t.Error("a folder that is not there passed")
	}
}
