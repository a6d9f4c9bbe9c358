package inspect_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
)

// Each appeal that was accepted into testdata/appeals is judged as its writer
// said it should be.
func TestAppeals(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/appeals/appeal-*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	fields := inject.New()
	detectors := map[inspect.Kind]inspect.Detector{inspect.Prompt: detector(t), inspect.SQL: fields.SQL(), inspect.XSS: fields.XSS()}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var a inspect.Appeal
		if err := json.Unmarshal(b, &a); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		trust, ok := inspect.ParseTrust(a.Trust)
		if !ok || !a.Consent || detectors[a.Kind] == nil {
			t.Errorf("%s is no case: %+v", name, a)
			continue
		}
		if v := detectors[a.Kind].Inspect(a.Text, trust); (v.Decision == inspect.Block) != (a.Label == 1) {
			t.Errorf("%s: %s, confidence %.3f, want label %d: %q", name, v.Decision, v.Confidence, a.Label, a.Text)
		}
	}
}
