package inject

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corazawaf/libinjection-go"

	"github.com/Nissimmiracles/openclaw/internal/inspect/inject/injecttest"
)

func texts(attacks, innocent bool) []string {
	var out []string
	for _, s := range injecttest.Dev(7) {
		if s.Kind == "" && innocent || s.Kind != "" && attacks {
			out = append(out, s.Text)
		}
	}
	return out
}

// BenchmarkScanBoth reads short texts for both kinds. libinjection is the
// yardstick of the same run.
func BenchmarkScanBoth(b *testing.B) {
	for name, set := range map[string][]string{"innocent": texts(false, true), "attacks": texts(true, false), "mixed": texts(true, true)} {
		b.Run(name, func(b *testing.B) {
			s := New()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.ScanBoth(set[i%len(set)])
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
		})
		b.Run(name+"-libinjection", func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				libinjection.IsSQLi(set[i%len(set)])
				libinjection.IsXSS(set[i%len(set)])
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
		})
	}
}

// hostile makes texts that are bad for scanners: many anchors, nothing settled.
func hostile(n int) map[string]string {
	rep := func(s string) string { return strings.Repeat(s, n/len(s)+1)[:n] }
	// In no order that a processor could learn, which costs almost three times the same in turn.
	random := func(parts ...string) string {
		var b strings.Builder
		for rnd := rand.New(rand.NewPCG(1, 1)); b.Len() < n; {
			b.WriteString(parts[rnd.IntN(len(parts))])
		}
		return b.String()[:n]
	}
	return map[string]string{
		"prose":     rep("It's a fine day, and we'd like 3 tables or 4; please select one (by the window). "),
		"quotes":    rep("'"),
		"open":      rep("<a "),
		"or":        rep("or "),
		"or-quote":  rep("x' or y "),
		"paren":     rep("("),
		"select":    rep("select a,b,"),
		"percent":   rep("%2525"),
		"entity":    rep("&amp;"),
		"comment":   rep("/*"),
		"comments":  rep("a/**/b "),
		"brackets":  rep("[]x"),
		"json":      rep(`{"a":["b",1,null,"it's"],"c":{"d":"e or f"}},`),
		"base64":    rep("QUJD"),
		"equals":    rep("onx="),
		"colon":     rep("data:"),
		"union":     rep("union all "),
		"dashes":    rep("'--x "),
		"semicolon": rep("; set x "),
		"backtick":  rep("`a"),
		"case":      rep("case when x "),
		"match":     rep("match (a:b {c"),
		"fullwidth": rep("＜ａ＞"),
		"template":  rep("{{a"),
		"call":      rep("alert("),
		"row":       rep(";"),
		"layers":    rep("%25(%25%25{{<%25a%25%25%25;{{"),
		"unordered": random("'", "%25", "&a", "[", "{{", "a"),
		"row-lines": rep(";;\n*/"),
		"signs":     rep("'-"),
		"signs-25":  rep("'-'=%2525"),
		"calls":     rep("*\x00if("),
		"arguments": rep("eval(\x00"),
		"nul":       random("\x00", "1", "&&", "%", "'", "&&", "{{", "1'", "'"),
		"glued":     random("&#37;", "*/", "data:", "'(", "'1", "eval(", "x,", "](", "eval(", "''", "'", "~"),
	}
}

func BenchmarkMegabyte(b *testing.B) {
	for name, text := range hostile(1 << 20) {
		b.Run(name, func(b *testing.B) {
			s := New()
			b.SetBytes(int64(len(text)))
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			n := 0
			for b.Loop() {
				s.ScanBoth(text)
				n++
			}
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			cpu := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
			b.ReportMetric(cpu.Seconds()*1000/float64(n), "cpu-ms/MB")
			least := time.Hour // of a part short enough to be left alone
			for range 100 {
				at := time.Now()
				s.ScanBoth(text[:32<<10])
				least = min(least, time.Since(at))
			}
			b.ReportMetric(float64(least.Nanoseconds())/(32<<10), "least-ns/B")
		})
	}
}
