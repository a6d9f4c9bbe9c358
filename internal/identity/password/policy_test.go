package password

import (
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"golang.org/x/text/unicode/norm"
)

var about = []string{"maria.gonzalez@acme-robotics.example", "Maria González", "acme"}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]string{
		"empty":                  "",
		"short":                  "kV9#tq2Lw!x",
		"eleven wide characters": strings.Repeat("世", 11),
		"long":                   strings.Repeat("kV9#tq2Lw!xm", 11),
		"megabytes":              strings.Repeat("x", 1<<20),
		"expands under nfkc":     strings.Repeat("\ufdfa", 12),
		"bad utf-8":              "kV9#tq2Lw!xm\xff\xfe",
		"nul":                    "kV9#tq2L\x00w!xm",
		"line break":             "kV9#tq2Lw!xm\n",
		"c1 control":             "kV9#tq2Lw!xm\u0085",

		"password and year":      "Password2024!",
		"leet":                   "P@$$w0rd2025",
		"leet, longer":           "p4ssw0rd!p4ssw0rd!",
		"top word thrice":        "dragondragondragon",
		"two top words":          "monkeydragon1",
		"football":               "Football123456",
		"love and digits":        "iloveyou123456",
		"one letter":             "aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"one letter, 128":        strings.Repeat("z", 128),
		"two letters":            "abababababababababab",
		"block":                  "kV9#kV9#kV9#kV9#",
		"digits":                 "123456789012345678",
		"digits back":            "098765432109876543",
		"alphabet":               "abcdefghijklmnopqrstuvwxyz",
		"qwerty":                 "qwertyuiop[]",
		"qwerty rows":            "qwertyuiopasdfghjkl",
		"qwerty, shifted":        "QWERTYUIOP!@#$",
		"columns":                "1qaz2wsx3edc4rfv",
		"azerty":                 "azertyuiop^$qsdf",
		"qwertz":                 "qwertzuiopü+",
		"keypad":                 "789456123789456",
		"symbols in a row":       "!@#$%^&*()_+",
		"product":                "OpenClaw2026!",
		"product twice":          "openclawopenclaw",
		"e-mail":                 "maria.gonzalez@acme-robotics.example",
		"e-mail, local part":     "maria.gonzalez1",
		"name and year":          "MariaGonzalez1987",
		"name, accented":         "MariaGonzález87!",
		"tenant":                 "AcmeAcmeAcme!!",
		"tenant and season":      "AcmeSummer2026",
		"full width":             "Ｐａｓｓｗｏｒｄ２０２４",
		"ligature":               "o\ufb03cepassword1",
		"list entry":             "unbelievable",
		"welcome":                "Welcome12345!",
		"changeme":               "changeme12345",
		"letmein and repetition": "letmeinletmein!!!!!!",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Check(p, about...)
			if fault.CodeOf(err) != fault.Unprocessable {
				n, _ := normalize(p)
				t.Fatalf("got %v at %.1f bits", err, bits(n, words(about)))
			}
			if p != "" && strings.Contains(err.Error(), p) {
				t.Errorf("the error quotes the password: %v", err)
			}
		})
	}
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]string{
		"four words":          "correct horse battery staple",
		"four words, joined":  "trombonegravelottermint",
		"random twelve":       "kV9#tq2Lw!xm",
		"random hex":          "9f8a3c61d07be25491",
		"german":              "Der Föhn bläst übers Dach",
		"chinese":             "我家的猫昨天吃了三条鱼呢",
		"russian":             "совершенно непонятная фраза",
		"emoji":               "four 🐙 play 🎻 at 🌙 noon",
		"sentence":            "my aunt sold 14 purple boats",
		"128 characters":      strings.Repeat("kV9#tq2Lw!xm8Z&a", 1) + strings.Repeat("q7", 1) + onlyVaried(110),
		"spaces at both ends": "  vex mild jump quartz  ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := Check(p, about...); err != nil {
				n, _ := normalize(p)
				t.Fatalf("%v at %.1f bits", err, bits(n, words(about)))
			}
		})
	}
	for range 200 {
		if err := Check(OneTime(), about...); err != nil {
			t.Fatalf("a password of our own: %v", err)
		}
	}
}

func onlyVaried(n int) string {
	return strings.Repeat(OneTime(), n/len(OneTime())+1)[:n]
}

func TestAboutMatters(t *testing.T) {
	t.Parallel()
	const p = "Zubrowskypetrov7"
	if err := Check(p); err != nil {
		t.Fatalf("a stranger's name: %v", err)
	}
	if err := Check(p, "Zubrowsky Petrov"); err == nil {
		t.Fatal("one's own name was accepted")
	}
	// What is known comes from outside as well.
	if err := Check("kV9#tq2Lw!xm", "\xff\xfe", strings.Repeat("k", 1<<20), "@", "", "k@@@", "....."); err != nil {
		t.Fatal(err)
	}
}

func TestListIsWhole(t *testing.T) {
	t.Parallel()
	if n := len(common()); n != 30000 {
		t.Fatalf("%d entries", n)
	}
	for p, most := range map[string]int{"123456": 0, "password": 1, "qwerty": 3, "dragon": 9, "iloveyou": 100} {
		h := newHash()
		for _, r := range p {
			h.add(r)
		}
		if rank, ok := common().rank(h); !ok || rank > most {
			t.Errorf("%s: rank %d, %v", p, rank, ok)
		}
	}
	h := newHash()
	for _, r := range "kV9#tq2Lw!xm" {
		h.add(r)
	}
	if _, ok := common().rank(h); ok {
		t.Error("a random string is in the list")
	}
}

func TestOneTime(t *testing.T) {
	t.Parallel()
	seen, chars := make(map[string]bool), make(map[rune]int)
	for range 2000 {
		p := OneTime()
		if len(p) != 29 || seen[p] || strings.Count(p, "-") != 5 {
			t.Fatalf("%q", p)
		}
		seen[p] = true
		for _, r := range strings.ReplaceAll(p, "-", "") {
			chars[r]++
		}
	}
	if len(chars) != 32 {
		t.Errorf("%d different characters", len(chars))
	}
	if per := math.Log2(float64(len(chars))) * 24; per < 100 {
		t.Errorf("%.0f bits", per)
	}
	for r, n := range chars { // 1500 expected each, deviation 38
		if n < 1200 || n > 1800 || strings.ContainsRune("ilou", r) {
			t.Errorf("%q came %d times", r, n)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, p := range []string{"", "Password2024!", "correct horse battery staple", "\xff", strings.Repeat("ab", 64), "\ufdfa\ufdfa", "é", "1qaz2wsx"} {
		f.Add(p, "maria@acme.example")
	}
	f.Fuzz(func(t *testing.T, p, who string) {
		err := Check(p, who)
		if known := (*fault.Error)(nil); err != nil && !errors.As(err, &known) {
			t.Fatalf("not a fault: %v", err)
		}
		normal, bad := normalize(p)
		if bad != nil {
			if err == nil {
				t.Fatal("accepted what cannot be hashed")
			}
			return
		}
		if again, err := normalize(normal); err != nil || again != normal {
			t.Fatalf("normal form of %q is not stable", p)
		}
		if !utf8.ValidString(normal) || !norm.NFKC.IsNormalString(normal) {
			t.Fatal("not NFKC")
		}
		if b := bits(normal, words([]string{who})); math.IsNaN(b) || math.IsInf(b, 0) || b < 0 {
			t.Fatalf("%v bits", b)
		}
		// Knowing more about the account never makes a password better.
		if err != nil && Check(p) == nil && Check(p, who, who) == nil {
			t.Fatal("judgement depends on the order of what is known")
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	random := onlyVaried(128)
	for name, p := range map[string]string{
		"twelve": "kV9#tq2Lw!xm", "128": random, "128 equal": strings.Repeat("z", 128),
		"128 in two halves": random[:64] + random[:64], "128 pairs": strings.Repeat("ab", 64),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = Check(p, about...)
			}
		})
	}
}
