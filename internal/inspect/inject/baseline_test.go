package inject_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject/injecttest"
)

// Texts are the same in every run, so the noise is what a change of a grammar
// costs: a few texts of a group, less in the mean.
const (
	noiseMean  = 0.3
	noiseGroup = 3.0
)

// TestFiguresHold fails when a figure is worse than the one kept beside it.
// After a wanted change: go run ./internal/inspect/inject/eval -write.
func TestFiguresHold(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/baseline.json")
	if err != nil {
		t.Fatal(err)
	}
	var kept map[string]injecttest.Side
	if err := json.Unmarshal(raw, &kept); err != nil {
		t.Fatal(err)
	}
	sc := inject.New()
	for name, samples := range map[string][]injecttest.Sample{"tuning": injecttest.Dev(1), "held-out": injecttest.Heldout(1)} {
		for suffix, d := range map[string]inspect.Detector{"/sql": sc.SQL(), "/xss": sc.XSS()} {
			want, ok := kept[name+suffix]
			if !ok {
				t.Fatalf("the baseline has no %s%s", name, suffix)
			}
			got := injecttest.Measure(samples, d.Kind(), func(text string) bool {
				return d.Inspect(text, inspect.User).Decision == inspect.Block
			})
			if got.MacroRecall < want.MacroRecall-noiseMean || got.MacroFPR > want.MacroFPR+noiseMean {
				t.Errorf("%s%s: recall %.2f, false alarms %.2f; kept %.2f, %.2f", name, suffix, got.MacroRecall, got.MacroFPR, want.MacroRecall, want.MacroFPR)
			}
			for g, r := range want.Recall {
				if got.Recall[g] < r-noiseGroup {
					t.Errorf("%s%s, %s: recall %.1f, kept %.1f", name, suffix, g, got.Recall[g], r)
				}
			}
			for g, r := range want.FalseAlarms {
				if got.FalseAlarms[g] > r+noiseGroup {
					t.Errorf("%s%s, %s: false alarms %.1f, kept %.1f", name, suffix, g, got.FalseAlarms[g], r)
				}
			}
		}
	}
}
