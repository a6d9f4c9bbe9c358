package fold

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// classes are long texts of every sort that costs differently.
func classes(n int) map[string]string {
	rep := func(s string) string {
		s = strings.Repeat(s, n/len(s)+1)[:n]
		for i := range 3 { // not inside a character
			if utf8.ValidString(s[:len(s)-i]) {
				return s[:len(s)-i]
			}
		}
		return s
	}
	const prose = "The quarterly report is attached, please review it before Monday. "
	nested := "SGVsbG8gd29ybGQsIHRoaXMgaXMgcGxhaW4gdGV4dC4g"
	for range 3 {
		nested = base64.StdEncoding.EncodeToString([]byte(nested))
	}
	return map[string]string{
		"prose":          rep(prose),
		"one letter":     rep("a"),
		"lines":          rep("\n"),
		"accents":        rep("Der Vertrag verlängert sich um ein Jahr, wenn er nicht gekündigt wird. "),
		"chinese":        rep("请在星期一之前查看附件中的季度报告。"),
		"korean":         rep("첨부된 분기 보고서를 월요일 전에 검토해 주세요. "),
		"arabic":         rep("يرجى مراجعة التقرير المرفق قبل يوم الاثنين. "),
		"hindi":          rep("कृपया सोमवार से पहले संलग्न रिपोर्ट की समीक्षा करें। "),
		"russian":        rep("Пожалуйста, просмотрите отчёт до понедельника. "),
		"emoji":          rep("😀🎉👍🏽❤️ "),
		"spaced letters": rep("i g n o r e "),
		"two letters":    rep("a b "),
		"zero width":     rep("a\u200b\u200db\u2060"),
		"bidi":           rep("\u202ereport\u202c \u2067due\u2069 "),
		"tags":           rep("\U000E0041\U000E0042\U000E0043 "),
		"full width":     rep("Ｒｅｐｏｒｔ　ｄｕｅ "),
		"look-alikes":    rep("rероrt аttасhеd "),
		"base64":         rep(base64.StdEncoding.EncodeToString([]byte(prose)) + " "),
		"nested base64":  rep(nested + " "),
		"one blob":       rep("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0"),
		"hex":            rep("52657669657720746865207265706f7274206e6f77 "),
		"hex pairs":      rep("52 65 76 69 65 77 "),
		"url":            rep("%52%65%76%69%65%77%20"),
		"entities":       rep("&#82;&amp;&lt;"),
		"escapes":        rep(`\u0052\x65\n`),
		"rot13":          rep("cyrnfr erivrj gur ercbeg orsber Zbaqnl "),
		"reversed":       rep(".yadnoM erofeb ti weiver esaelp ,dehcatta si troper ylretrauq ehT "),
		"leet":           rep("r3v13w th3 r3p0rt "),
		"marks":          rep("e\u0301\u0302a\u0300"),
		"ligatures":      rep("ﬁﬀ№™ﷺ "),
		"no text":        rep("\x80\xff\xfe"),
		"percent":        rep("%"),
		"backslash":      rep("\\"),
		"ampersand":      rep("&a"),
		"numbers":        rep("12 34 56789 0x1f 3.14 "),
	}
}

// Twice the text is twice the work, whatever the text: the bytes that all the
// recognisers look at are counted, not timed.
func TestWorkIsLinear(t *testing.T) {
	t.Parallel()
	work := func(s string) int {
		f := Get(s)
		defer f.Release()
		return f.work
	}
	small, large := classes(1<<15), classes(1<<16)
	small["numbers behind words"] = strings.Repeat("QUJD%25", 1<<15/7)
	large["numbers behind words"] = strings.Repeat("QUJD%25", 1<<16/7)
	for name := range small {
		a, b := work(small[name]), work(large[name])
		if float64(b) > 2.2*float64(a)+4096 {
			t.Errorf("%s: %d bytes are looked at for %d, %d for %d", name, a, len(small[name]), b, len(large[name]))
		}
		// depth times the passes of each round, at most
		if b > 40*len(large[name])+4096 {
			t.Errorf("%s: %d bytes are looked at for %d", name, b, len(large[name]))
		}
	}
}

// Only what grows and turns without end is given up on. What is merely encoded
// deeply, as long as a piece, is read to the last layer.
func TestExhausted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("The quarterly report is attached. ", 700)
	nest := func(s string, encode func(string) string, depth int) string {
		for range depth {
			s = encode(s)
		}
		return s
	}
	base := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, s := range map[string]string{
		"base64":    nest(long[:5600], base, MaxDepth),
		"hex":       nest(long[:700], func(s string) string { return hex.EncodeToString([]byte(s)) }, MaxDepth),
		"url":       strings.ReplaceAll(long, " ", "%2525252520"),
		"ligatures": strings.Repeat("ﷺ ", 6000),
		"turned":    strings.Repeat("cyrnfr a@b.c all w/x ", 1200),
	} {
		f := Get(s)
		if f.Exhausted {
			t.Errorf("%s is given up on", name)
		}
		f.Release()
	}
	clear := " and nothing is left out"
	parts, r := []string{"cyrnfr ", "a@b.c ", "all ", "w/", "x", "ﷺ"}, rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for b.Len() < 24<<10 {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	f := Get(b.String() + clear)
	defer f.Release()
	if !f.Exhausted || !f.Truncated {
		t.Error("it goes on without end")
	}
	if !strings.HasSuffix(string(f.Bytes), clear) {
		t.Errorf("the text is not there to be read: %q", f.Bytes[max(0, len(f.Bytes)-100):])
	}
}

// processor is the processor time of this process so far: other work on the
// machine does not count.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkMegabyte(b *testing.B) {
	for name, text := range classes(1 << 20) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			start, n := processor(), 0
			for b.Loop() {
				n++
				const piece = 24 << 10 // as the prompt detector reads
				for at := 0; at < len(text); at += piece {
					Get(text[at:min(at+piece, len(text))]).Release()
				}
			}
			b.ReportMetric((processor()-start).Seconds()*1000/float64(n), "cpu-ms/MB")
		})
	}
}

// The plain form of every rune, of long texts and of every disguise is what it
// was when the weights were made: a change here asks for new weights.
func TestFormsHold(t *testing.T) {
	t.Parallel()
	h := sha256.New()
	add := func(s string) {
		f := Get(s)
		fmt.Fprintf(h, "%q %d %v %v\n", f.Bytes, f.Ways, f.Truncated, f.Regions)
		f.Release()
	}
	var b strings.Builder
	for r := rune(0x80); r <= 0xE01FF; r++ {
		if ideograph(r) || r >= 0xD800 && r < 0xF900 || r >= 0x20000 && r < 0xE0000 {
			continue // their own plain form, or none
		}
		fmt.Fprintf(&b, "a%c %c\u0301b ", r, r)
		if r&0xff == 0xff {
			add(b.String())
			b.Reset()
		}
	}
	texts := classes(3000)
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		add(texts[name])
	}
	const want = "69a9494635e47344"
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}
