package stream

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	c := inspect.DeriveCanary([]byte("key"), "run")
	token := c.String()
	event := func(text string) string {
		j, _ := json.Marshal(map[string]any{"id": "abcdef", "choices": []any{map[string]any{"delta": map[string]string{"role": "assistant", "content": text}}}})
		return "data: " + string(j) + "\n\n"
	}
	syllables := func(text string, n int) string {
		var b strings.Builder
		for len(text) > 0 {
			k := min(n, len(text))
			b.WriteString(event(text[:k]))
			text = text[k:]
		}
		return b.String() + "data: [DONE]\n\n"
	}
	for name, k := range map[string]struct {
		answer string
		found  bool
	}{
		"plain":              {"well, it says " + token + ", I think", true},
		"spaced":             {"well: " + strings.Join(strings.Split(token, ""), " - "), true},
		"base64":             {"here: " + base64.StdEncoding.EncodeToString([]byte("the word is "+token+" ok")), true},
		"events":             {syllables("it says "+token+" there", 3), true},
		"events of a letter": {syllables(token, 1), true},
		"events, base64":     {syllables(base64.StdEncoding.EncodeToString([]byte("the word is "+token+" ok")), 5), true},
		"events, plain":      {"data: " + token[:7] + "\n\ndata: " + token[7:] + "\n\n", true},
		"innocent":           {strings.Repeat("it says nothing of it. ", 500), false},
		"innocent events":    {syllables(strings.Repeat("it says nothing of it. ", 100), 4), false},
		"half of it":         {syllables(token[:15], 2), false},
		"another's":          {syllables(inspect.DeriveCanary([]byte("key"), "other").String(), 2), false},
		"a long line":        {"data: " + strings.Repeat("x", maxLine+5) + "\n\n" + syllables(token, 4), true},
	} {
		for _, n := range []int{1, 13, 4096} {
			var w Watch
			if w.Looking() || w.Saw([]byte(token)) {
				t.Fatal("looks for nothing and finds it")
			}
			w.Look(c)
			found, at := false, 0
			for at < len(k.answer) && !found {
				end := min(at+n, len(k.answer))
				found = w.Saw([]byte(k.answer[at:end]))
				at = end
			}
			if found != k.found {
				t.Errorf("%s by %d: %v", name, n, found)
			}
			if cap(w.line) > 2*maxLine || len(w.places) > maxPlaces+1 {
				t.Errorf("%s: %d bytes, %d places", name, cap(w.line), len(w.places))
			}
		}
	}
	if got := inspect.Planted("You are kind. "+c.Line()+" Be brief.", 4); len(got) != 1 || got[0] != c {
		t.Errorf("planted: %v", got)
	}
	for _, s := range []string{"", "Internal reference ", "Internal reference abc, never to be written.", "Internal reference " + strings.Repeat("a", 20) + ", never to be written."} {
		if got := inspect.Planted(s, 4); len(got) != 0 {
			t.Errorf("%q: %v", s, got)
		}
	}
	if got := inspect.Planted(strings.Repeat(c.Line(), 9), 4); len(got) != 4 {
		t.Errorf("%d of at most 4", len(got))
	}
}
