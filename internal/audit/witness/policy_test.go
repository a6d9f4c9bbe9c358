package witness

import (
	"strings"
	"testing"

	"filippo.io/torchwood"
)

func vkey(name string) string {
	s, err := torchwood.NewCosignatureSigner(name, key(name))
	if err != nil {
		panic(err)
	}
	return s.Verifier().String()
}

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	a, b := "witness a "+vkey("a.example")+" https://a.example/x\n", "witness b "+vkey("b.example")+" http://127.0.0.1:1 # near\n"
	for text, want := range map[string]int{ // the quorum, or -1
		a + "quorum a\n":                                1,
		a + b + "group g 2 a b\nquorum g":               2,
		a + b + "group g any b a\nquorum g":             1,
		"log x\n" + a + b + "group g all a b\nquorum g": 2,
		a + b + "quorum none":                           0,
		"":                                              -1,
		"quorum none":                                   -1,
		a:                                               -1,
		a + b + "quorum a":                              -1, // not of all
		a + b + "group g 1 a\nquorum g":                 -1,
		a + b + "group g 2 a a\nquorum g":               -1,
		a + b + "group g 3 a b\nquorum g":               -1,
		a + b + "group g 0 a b\nquorum g":               -1,
		a + b + "group g x a b\nquorum g":               -1,
		a + a + "quorum a":                              -1,
		a + strings.Replace(a, "witness a", "witness c", 1) + "quorum none": -1, // one key, two votes
		a + "quorum a\nquorum a":                                -1,
		"witness a " + vkey("a.example") + "\nquorum a":         -1,
		"witness a x https://a.example\nquorum a":               -1,
		"witness a " + vkey("a.example") + " ftp://a\nquorum a": -1,
		a + "nonsense\nquorum a":                                -1,
	} {
		p, err := ParsePolicy(text, nil)
		if (err == nil) != (want >= 0) || err == nil && p.Quorum != want {
			t.Errorf("%q: quorum %d, %v; want %d", text, p.Quorum, err, want)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("witness a " + vkey("a.example") + " https://a.example\ngroup g 1 a\nquorum g\n")
	f.Add("group g all\nquorum g")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text, nil)
		if err == nil && (len(p.Witnesses) == 0 || p.Quorum < 0 || p.Quorum > len(p.Witnesses)) {
			t.Fatalf("%q: a quorum of %d from %d", text, p.Quorum, len(p.Witnesses))
		}
	})
}
