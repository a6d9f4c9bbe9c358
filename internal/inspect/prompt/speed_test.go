package prompt

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
)

// processor is the processor time of this process so far. Other work on the
// machine does not count.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkShortTexts reads generated texts of at most 400 bytes, attacks and
// innocent ones, and reports texts per processor second and the quantiles of
// one text's time.
func BenchmarkShortTexts(b *testing.B) {
	d := detector(b)
	g, err := corpus.LoadGrammar()
	if err != nil {
		b.Fatal(err)
	}
	var texts []string
	for _, e := range g.Generate(3, 0.2) {
		if len(e.Text) <= 400 {
			texts = append(texts, e.Text)
		}
	}
	took := make([]time.Duration, 0, len(texts))
	for _, s := range texts {
		best := time.Hour
		for range 3 { // the least of three: what the scheduler took away does not count
			at := time.Now()
			d.Inspect(s, inspect.User)
			best = min(best, time.Since(at))
		}
		took = append(took, best)
	}
	slices.Sort(took)
	b.ResetTimer()
	start, n := processor(), 0
	for b.Loop() {
		for _, s := range texts {
			d.Inspect(s, inspect.User)
		}
		n += len(texts)
	}
	b.ReportMetric(float64(n)/(processor()-start).Seconds(), "texts/cpu-s")
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

// BenchmarkMegabyte reports bytes per processor second over long texts.
func BenchmarkMegabyte(b *testing.B) {
	d := detector(b)
	for name, s := range map[string]string{
		"prose":   strings.Repeat(strings.Join(padding, " ")+"\n", 3200)[:1<<20],
		"letters": strings.Repeat("a b ", 1<<18),
		"dots":    strings.Repeat(". ", 1<<19),
	} {
		b.Run(name, func(b *testing.B) {
			start, n := processor(), 0
			for b.Loop() {
				d.Inspect(s, inspect.Tool)
				n += len(s)
			}
			b.ReportMetric(float64(n)/1e6/(processor()-start).Seconds(), "MB/cpu-s")
		})
	}
}
