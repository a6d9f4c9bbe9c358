package inspect_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// atoms are what costly texts are made of: characters that grow, join or hide,
// beginnings of encodings, marks at which rules begin, words of the lexicon.
var atoms = strings.Split("a|b |. |, |x|1|&a|%41|%25|\\u0041|\\|\n|'|\"|<|>|(|)|{{|[|$|@a|!|ﷺ|ﬁ|е|ж |é|क|े|한|界|😀|\u200b|\U000E0041|＜|"+
	"ignore |all |previous |instructions |now |you are |system |prompt |: |<a |<a href=|onx=|alert(|'or 1=1 |/*|*/|--|;|or |and |select |union |"+
	"&lt;|&#x41;|QUJD|6162 |r3v13w |cyrnfr |w/|http://a.b |a@b.c |i g n o r e |R|Z9|`|=|data:|${|x'|0x41 |\u202e|\u0302|A\u0327|ㅏ|ﾊﾞ|ch", "|")

// recipe is a text by the atoms it repeats, in turn or at random.
type recipe struct {
	parts  []string
	random bool
	cost   float64 // nanoseconds a byte
}

func (r recipe) text() string {
	const size = 16 << 10
	var b strings.Builder
	for rnd := rand.New(rand.NewPCG(1, 1)); b.Len() < size; {
		for _, p := range r.parts {
			if r.random {
				p = r.parts[rnd.IntN(len(r.parts))]
			}
			b.WriteString(p)
		}
	}
	return strings.ToValidUTF8(b.String()[:size], "")
}

// TestCostliest looks for texts that take longest a byte, by changing the
// costliest so far, for as long as OPENCLAW_SEARCH says, and prints them. What
// it found stands among the benchmarks of the two packages.
func TestCostliest(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv("OPENCLAW_SEARCH"))
	if err != nil {
		t.Skip("OPENCLAW_SEARCH is no duration")
	}
	d, err := prompt.New()
	if err != nil {
		t.Fatal(err)
	}
	sc := inject.New()
	for name, read := range map[string]func(string){
		"prompt": func(s string) { d.Inspect(s, inspect.Document) },
		"inject": func(s string) { sc.ScanBoth(s) },
	} {
		cost := func(r recipe, times int) float64 {
			s, best := r.text(), time.Hour
			for range times {
				at := time.Now()
				read(s)
				best = min(best, time.Since(at))
			}
			return float64(best.Nanoseconds()) / float64(len(s))
		}
		rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		var top []recipe // costliest first
		tried := 0
		for end := time.Now().Add(limit); time.Now().Before(end); tried++ {
			r := recipe{random: rnd.IntN(2) == 0}
			if len(top) > 8 && rnd.IntN(3) > 0 {
				r = top[rnd.IntN(len(top))]
				r.parts = slices.Clone(r.parts)
				if k := rnd.IntN(len(r.parts)); len(r.parts) > 1 && rnd.IntN(3) == 0 {
					r.parts = slices.Delete(r.parts, k, k+1)
				} else {
					r.parts[k] = atoms[rnd.IntN(len(atoms))]
				}
			}
			for len(r.parts) == 0 || len(r.parts) < 6 && rnd.IntN(2) == 0 {
				r.parts = append(r.parts, atoms[rnd.IntN(len(atoms))])
			}
			if slices.ContainsFunc(top, func(o recipe) bool { return slices.Equal(o.parts, r.parts) }) {
				continue
			}
			r.cost = cost(r, 3)
			if len(top) == 16 && r.cost > top[15].cost {
				r.cost = cost(r, 20)
			}
			top = append(top, r)
			slices.SortFunc(top, func(a, b recipe) int { return int(b.cost - a.cost) })
			top = top[:min(len(top), 16)]
		}
		for _, r := range top[:min(len(top), 8)] {
			t.Logf("%s: %.0f ns a byte for %q, at random %v (of %d)", name, cost(r, 20), r.parts, r.random, tried)
		}
	}
}
