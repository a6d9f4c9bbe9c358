package prompt

import (
	"slices"
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	t.Parallel()
	d, err := With(nil)
	if err != nil {
		t.Fatal(err)
	}
	rules := d.Rules()
	if len(rules) < 60 {
		t.Errorf("%d rules, want at least 60", len(rules))
	}
	for _, r := range rules {
		if got := d.Fired(r.Fires); !slices.Contains(got, r.ID) {
			t.Errorf("%s does not fire on %q (fired: %s; concepts: %s)", r.ID, r.Fires, strings.Join(got, " "), d.concepts(r.Fires))
		}
		if got := d.Fired(r.NearMiss); slices.Contains(got, r.ID) {
			t.Errorf("%s fires on its near miss %q (concepts: %s)", r.ID, r.NearMiss, d.concepts(r.NearMiss))
		}
	}
}
