package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
)

// The over-defence sets are as large and as mixed as the document says, and none
// of their texts is trained on.
func TestPleasAreApart(t *testing.T) {
	t.Parallel()
	set, err := pleas()
	if err != nil {
		t.Fatal(err)
	}
	plain := func(s string) string {
		return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r < '0' || r > '9' && r < 'a' }), " ")
	}
	langs, levels, seen := map[string]bool{}, map[inspect.Trust]int{}, map[string]bool{}
	for _, p := range set {
		langs[p.Lang] = true
		levels[p.trust]++
		k := plain(p.Text)
		if seen[k] {
			t.Errorf("twice: %q", p.Text)
		}
		seen[k] = true
	}
	if len(set) < 640 || len(langs) < 25 || len(levels) != 3 {
		t.Errorf("%d texts, %d languages, levels %v", len(set), len(langs), levels)
	}
	g, err := corpus.LoadGrammar()
	if err != nil {
		t.Fatal(err)
	}
	written, err := corpus.Written()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(g.Generate(defaultSeed, 1), written...) {
		if seen[plain(e.Text)] {
			t.Errorf("trained on: %q", e.Text)
		}
	}
	for name, bad := range map[string]string{"level": "nobody en hello", "short": "user en"} {
		if _, err := readPleas(bad, "x"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPeersFile(t *testing.T) {
	t.Parallel()
	var all struct {
		Peers []peer `json:"peers"`
	}
	if err := json.Unmarshal(peersFile, &all); err != nil || len(all.Peers) < 3 {
		t.Fatalf("%d peers, %v", len(all.Peers), err)
	}
	for _, p := range all.Peers {
		if p.Recall <= 0 || p.Recall > 100 || p.FPR < 0 || p.FPR > 100 || !strings.Contains(peers(), p.Name) {
			t.Errorf("%+v", p)
		}
	}
}
