package corpus

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is written by hand parses, says each thing once, and has innocent texts
// wherever it has attacks.
func TestWritten(t *testing.T) {
	t.Parallel()
	es, err := Written()
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`[\pL\pN]+`)
	label := map[string]int{}
	attacks, benign, shelves := map[string]int{}, map[string]int{}, map[string]int{}
	for _, e := range es {
		if !utf8.ValidString(e.Text) || len(e.Text) < 4 || len(e.Lang) < 2 || e.Label == 1 && e.Family == "" {
			t.Errorf("bad text %+v", e)
		}
		k := strings.Join(words.FindAllString(strings.ToLower(e.Text), -1), " ")
		if was, ok := label[k]; ok && was != e.Label {
			t.Errorf("an attack and none: %q", e.Text)
		}
		label[k] = e.Label
		shelves[Shelf(strings.TrimPrefix(e.Source, WrittenPrefix))]++
		if e.Label == 1 {
			attacks[e.Lang+" "+e.Channel]++
		} else {
			benign[e.Lang+" "+e.Channel]++
		}
	}
	if len(es)-len(label) > len(es)/500 {
		t.Errorf("%d of %d texts are repeats", len(es)-len(label), len(es))
	}
	for k, n := range attacks {
		if n > 10 && benign[k]*3 < n {
			t.Errorf("%s: %d attacks, %d innocent texts", k, n, benign[k])
		}
	}
	for k, n := range shelves {
		if n < len(es)/6 {
			t.Errorf("the %s shelf has %d of %d texts", k, n, len(es))
		}
	}
	if len(shelves) != 3 || len(attacks) < 29 {
		t.Errorf("%d shelves, attacks in %d languages and places", len(shelves), len(attacks))
	}
}

func TestWrittenRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"label": "maybe none user en hello", "trust": "benign none system en hello", "short": "benign none user en",
	} {
		if _, err := readWritten("x", text); err == nil || !strings.Contains(err.Error(), "x line 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	es, err := readWritten("x", "# a remark\n\nattack other tool de eins\\nzwei drei\n")
	if err != nil || len(es) != 1 || es[0].Text != "eins\nzwei drei" || es[0].Label != 1 || es[0].Channel != "tool" || es[0].Source != "written:x" {
		t.Errorf("%+v, %v", es, err)
	}
}
