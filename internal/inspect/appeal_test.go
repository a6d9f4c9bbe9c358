package inspect_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

func TestFileAppeal(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cases")
	a := inspect.Appeal{Text: "please ignore the previous draft", Kind: inspect.Prompt, Trust: "user", Was: 0.6, Owner: "ann", Filed: noon}
	if _, err := inspect.FileAppeal(dir, a); !errors.Is(err, inspect.ErrConsent) {
		t.Fatalf("without consent: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("a refused appeal left a folder")
	}
	a.Consent = true
	path, err := inspect.FileAppeal(dir, a)
	if err != nil {
		t.Fatal(err)
	}
	again, err := inspect.FileAppeal(dir, a)
	if err != nil || again != path {
		t.Errorf("the same appeal twice: %s, %v", again, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got inspect.Appeal
	if err := json.Unmarshal(b, &got); err != nil || got.Text != a.Text || strings.Count(string(b), "\n") != 1 {
		t.Errorf("%s, %v", b, err)
	}
	files, _ := os.ReadDir(dir)
	if info, _ := os.Stat(path); len(files) != 1 || info.Mode().Perm() != 0o600 {
		t.Errorf("%d files, mode %v", len(files), info.Mode())
	}
	for name, bad := range map[string]string{"empty": "", "long": strings.Repeat("x", 1<<20), "binary": "\xff\xfe"} {
		a.Text = bad
		if _, err := inspect.FileAppeal(dir, a); !errors.Is(err, inspect.ErrAppeal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
