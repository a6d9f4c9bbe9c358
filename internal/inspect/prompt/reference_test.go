package prompt

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// The plain way of what scan.go does fast: the same hash in one product, the
// same features one by one, every window added up anew. Weights hold only for
// these features, so both must agree to the bit.

func plainMix(a, b uint32) uint32 {
	x := (uint64(a)<<32 | uint64(b)) * 0x9E3779B97F4A7C15
	x ^= x >> 29
	x *= 0xBF58476D1CE4E5B9
	return uint32(x >> 32)
}

// plainPrefix hashes the first four code points.
func plainPrefix(word []byte) uint32 {
	h, points := uint64(fnvOffset), 0
	for _, c := range word {
		if c < 0x80 || c >= 0xC0 {
			points++
		}
		if points > 4 {
			break
		}
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		h = (h ^ uint64(c)) * fnvPrime
	}
	return fold32(h)
}

// plainWords lists the features of a segment's words, in the order of words.
func plainWords(s *scan, f *fold.Text, sg segment, hits []hit) (out []uint32) {
	add := func(h uint32) { out = append(out, h>>(32-tableBits)) }
	concepts := map[uint32]uint32{}
	for _, h := range hits {
		concepts[h.first] = uint32(h.c)
	}
	p1, p2, q1, q2 := uint32(1), uint32(1), uint32(1), uint32(1)
	for i := sg.first; i < sg.last; i++ {
		t := s.toks[i]
		var way fold.Way
		for _, r := range f.Regions { // the last that began
			if uint32(r.Start) <= t.start {
				way = r.Way
			}
		}
		cls := t.hash
		if c, ok := concepts[i]; ok {
			cls = 0x7000 + c
			if t.flags&quoteFlag != 0 {
				add(plainMix(seedQuote, c))
			}
			if t.flags&hiddenFlag != 0 {
				add(plainMix(seedHide, c+16))
			}
		}
		add(plainMix(seedWord, t.hash))
		add(plainMix(seedPair+p1*31, t.hash))
		add(plainMix(seedSkip+p2*31, t.hash))
		add(plainMix(seedTri+plainMix(p2, p1)*31, t.hash))
		if cls != t.hash || q1 != p1 {
			add(plainMix(seedClass+q1*31, cls))
		}
		if cls != t.hash || q1 != p1 || q2 != p2 {
			add(plainMix(seedC3+plainMix(q2, q1)*31, cls))
		}
		if t.kind == wordTok && t.end-t.start > 5 {
			add(plainMix(seedStem, plainPrefix(f.Bytes[t.start:t.end])))
		}
		if shape := t.flags & (capsFlag | digitFlag | hiddenFlag); shape != 0 {
			add(plainMix(seedShape, uint32(shape)))
			if t.flags&hiddenFlag != 0 {
				add(plainMix(seedHide, uint32(way)<<8|1))
			}
		}
		p2, p1, q2, q1 = p1, t.hash, q1, cls
	}
	return out
}

// plainBest adds up every window from its first sentence on. What a sentence
// repeats counts once, and no window ends with it.
func plainBest(units []unit, w *Weights) window {
	top := window{score: float32(math.Inf(-1))}
	if len(units) == 0 {
		top.score = w.Bias + w.Length[0]
	}
	repeats := func(i, k int) bool {
		return slices.ContainsFunc(units[i:k], func(u unit) bool {
			return u.tokens == units[k].tokens && u.sum == units[k].sum && u.rule == units[k].rule
		})
	}
	for i := range units {
		for j := i + 1; j <= len(units) && j <= i+MaxUnits; j++ {
			if repeats(i, j-1) {
				continue
			}
			sum, rules, n := float32(0), float32(0), 0
			for k := i; k < j; k++ {
				if repeats(i, k) {
					continue
				}
				sum, rules, n = sum+units[k].sum, rules+units[k].rule, n+int(units[k].tokens)
				if k > i {
					sum, rules = sum+units[k].seam, rules+units[k].rseam
				}
			}
			if n > MaxWindow && j > i+1 {
				break
			}
			n = min(n, len(inverseRoot)-1)
			z := w.Bias + w.Length[lengthBucket(n)] + sum*inverseRoot[n]*w.Scale + max(-RuleCap, min(RuleCap, rules))
			if z > top.score {
				top = window{i, j, z}
			}
		}
	}
	return top
}

// strangeTexts are generated texts, cut and joined at random, and runs of
// letters and marks that no one writes.
func strangeTexts(t testing.TB, n int) []string {
	g, err := corpus.LoadGrammar()
	if err != nil {
		t.Fatal(err)
	}
	var pool []string
	for _, e := range g.Generate(23, 0.02) {
		pool = append(pool, e.Text)
	}
	alphabet := []rune("aabcdeiorst ....,,::;!?\n\"'-_@/<>()[]{}%&\\$|0123456789=+*#AZXé界ж\u200b😀กเ")
	r := rand.New(rand.NewPCG(8, 9))
	out := slices.Clone(pool)
	for range n {
		a, b := pool[r.IntN(len(pool))], pool[r.IntN(len(pool))]
		out = append(out, a[:r.IntN(len(a)+1)]+b[r.IntN(len(b)+1):])
		var s strings.Builder
		from, width := r.IntN(len(alphabet)), 1+r.IntN(len(alphabet))
		for range r.IntN(400) {
			s.WriteRune(alphabet[(from+r.IntN(width))%len(alphabet)])
		}
		out = append(out, s.String())
	}
	return out
}

func TestFastIsPlain(t *testing.T) {
	t.Parallel()
	d := detector(t)
	s := d.scans.Get().(*scan)
	defer d.release(s)
	units := 0
	for _, text := range strangeTexts(t, 2000) {
		f := fold.Get(text)
		s.read(f)
		if got, want := s.best(d.weights), plainBest(s.units, d.weights); got != want {
			t.Fatalf("the best window of %q is %v, plainly %v", text, got, want)
		}
		hits := s.hits
		for i, sg := range s.segs {
			n := 0
			for n < len(hits) && hits[n].first < sg.last {
				n++
			}
			want := plainWords(s, f, sg, hits[:n])
			s.rec.n, s.hits, s.segHits = 0, hits[:n], 0
			// hiddenFlag is set; the region is found anew
			s.region, s.hiddenUntil, s.way = 0, 0, 0
			s.words(f, &s.segs[i])
			if got := s.rec.at[:s.rec.n]; !slices.Equal(got, want) {
				t.Fatalf("sentence %d of %q has features %v, plainly %v", i, text, got, want)
			}
			sum := int32(0)
			for _, h := range want {
				sum += int32(d.weights.Table[h])
			}
			if got := s.rec.sum(s.weights, 0, s.rec.n); got != sum {
				t.Fatalf("sentence %d of %q weighs %d, plainly %d", i, text, got, sum)
			}
			hits = hits[n:]
		}
		units += len(s.segs)
		f.Release()
	}
	if units < 5000 {
		t.Errorf("only %d sentences", units)
	}
}
