// Command eval measures package inject beside the detectors it has to beat and
// writes the figures: the marked section of docs/DETECTION.md and the baseline
// that a test holds. Run it from the module's root:
//
//	go run ./internal/inspect/inject/eval -write
//
// With -corpus it also reads real payload lists from a folder that holds
// sql/*.txt, xss/*.txt and benign/*.txt, one text a line. They are not part of
// the project; their figures are printed, not kept.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject/injecttest"
)

const (
	page     = "docs/DETECTION.md"
	baseline = "internal/inspect/inject/testdata/baseline.json"
	begin    = "<!-- inject:begin -->"
	end      = "<!-- inject:end -->"
	seed     = 1
)

func main() {
	write := flag.Bool("write", false, "write "+page+" and "+baseline)
	crs := flag.Bool("crs", true, "compare with the Core Rule Set too")
	corpus := flag.String("corpus", "", "folder of real payload lists")
	misses := flag.Bool("misses", false, "print what the corpus has and this package misses")
	flag.Parse()
	if err := run(*write, *crs, *corpus, *misses); err != nil {
		fmt.Fprintln(os.Stderr, "eval:", err)
		os.Exit(1)
	}
}

func run(write, crs bool, corpus string, misses bool) error {
	if corpus != "" {
		return real(corpus, misses)
	}
	list, err := peers(crs)
	if err != nil {
		return err
	}
	dev, held := injecttest.Dev(seed), injecttest.Heldout(seed)
	var b strings.Builder
	fmt.Fprintln(&b, "## SQL family and XSS on structured fields")
	fmt.Fprintf(&b, "\nTexts made by two grammars (package `injecttest`, seed %d) with templates, words and encodings of their own. Rules were made with the *tuning* set; the *held-out* set only judges. Shares in percent; macro means the mean over groups. Throughput is in texts per second of CPU time, both kinds at once, over all held-out texts, attacks included; p99 is the 99th percentile of one call. The Core Rule Set, which takes milliseconds a text, reads every %dth held-out text.\n", seed, coreEvery)
	fmt.Fprintf(&b, "\n`go run ./internal/inspect/inject/eval -write` makes this section.\n")
	kept := map[string]injecttest.Side{}
	for _, set := range []struct {
		name    string
		samples []injecttest.Sample
	}{{"Held-out", held}, {"Tuning", dev}} {
		counts := [2]injecttest.Side{}
		fmt.Fprintf(&b, "\n### %s set\n\n| detector | SQL recall | SQL false alarms | balanced | XSS recall | XSS false alarms | balanced | texts/CPU-s | p99 |\n|---|---|---|---|---|---|---|---|---|\n", set.name)
		for i, p := range list {
			if p.every > 1 && set.name != "Held-out" {
				continue
			}
			samples := p.of(set.samples)
			sql := injecttest.Measure(samples, inspect.SQL, p.sql)
			xss := injecttest.Measure(samples, inspect.XSS, p.xss)
			if i == 0 {
				kept[strings.ToLower(set.name)+"/sql"], kept[strings.ToLower(set.name)+"/xss"] = sql, xss
				counts = [2]injecttest.Side{sql, xss}
			}
			speed, p99 := "", ""
			if p.both != nil {
				rate, q := pace(samples, p)
				speed, p99 = fmt.Sprintf("%.0fk", rate/1000), fmt.Sprintf("%.1f µs", q)
				if rate < 10000 {
					speed = fmt.Sprintf("%.0f", rate)
				}
			}
			fmt.Fprintf(&b, "| %s | %.1f | %.2f | %.1f | %.1f | %.2f | %.1f | %s | %s |\n", p.name, sql.MacroRecall, sql.MacroFPR, sql.Balanced(), xss.MacroRecall, xss.MacroFPR, xss.Balanced(), speed, p99)
		}
		fmt.Fprintf(&b, "\n%d SQL-family attacks, %d XSS attacks, %d innocent texts.\n", counts[0].Attacks, counts[1].Attacks, counts[0].Innocents)
	}
	groups(&b, kept["held-out/sql"], kept["held-out/xss"])
	reliability(&b, held)
	b.WriteString(notes)
	fmt.Print(b.String())
	if !write {
		return nil
	}
	raw, err := json.MarshalIndent(kept, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(baseline, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return replaceSection(b.String())
}

// pace gives texts per CPU-second and the 99th percentile of a call in µs.
func pace(samples []injecttest.Sample, p peer) (float64, float64) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if p.rounds == 1 { // slow: a tenth will do
		part := make([]injecttest.Sample, 0, len(samples)/10+1)
		for i := 0; i < len(samples); i += 10 {
			part = append(part, samples[i])
		}
		samples = part
	}
	start := cpu()
	for range p.rounds {
		for _, s := range samples {
			p.both(s.Text)
		}
	}
	rate := float64(p.rounds*len(samples)) / (cpu() - start).Seconds()
	took := make([]float64, 0, len(samples))
	for _, s := range samples {
		t := time.Now()
		p.both(s.Text)
		took = append(took, float64(time.Since(t).Nanoseconds())/1000)
	}
	sort.Float64s(took)
	return rate, took[len(took)*99/100]
}

func groups(b *strings.Builder, sql, xss injecttest.Side) {
	b.WriteString("\n### Held-out, by group\n\n| SQL family | recall | | XSS | recall | | innocent | SQL false alarms | XSS false alarms |\n|---|---|---|---|---|---|---|---|---|\n")
	s, x, n := keys(sql.Recall), keys(xss.Recall), keys(sql.FalseAlarms)
	cell := func(k []string, i int, m ...map[string]float64) string {
		out := " |"
		if i < len(k) {
			out = " " + k[i] + " |"
		}
		for _, v := range m {
			if i < len(k) {
				out += fmt.Sprintf(" %.1f |", v[k[i]])
			} else {
				out += " |"
			}
		}
		return out
	}
	for i := range max(len(s), len(x), len(n)) {
		fmt.Fprintf(b, "|%s |%s |%s\n", cell(s, i, sql.Recall), cell(x, i, xss.Recall), cell(n, i, sql.FalseAlarms, xss.FalseAlarms))
	}
}

func keys(m map[string]float64) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// reliability shows what share of the texts at each confidence are attacks.
func reliability(b *strings.Builder, samples []injecttest.Sample) {
	type bin struct{ n, attacks int }
	var bins [2][10]bin
	sc := inject.New()
	for _, s := range samples {
		sql, xss := sc.ScanBoth(s.Text)
		for k, v := range []inspect.Verdict{sql, xss} {
			if s.Kind != "" && s.Kind != v.Kind {
				continue
			}
			i := min(int(v.Confidence*10), 9)
			bins[k][i].n++
			if s.Kind == v.Kind {
				bins[k][i].attacks++
			}
		}
	}
	b.WriteString("\n### Held-out, share of attacks by confidence\n\n| confidence | SQL texts | attacks | XSS texts | attacks |\n|---|---|---|---|---|\n")
	for i := range 10 {
		share := func(x bin) string {
			if x.n == 0 {
				return ""
			}
			return fmt.Sprintf("%.0f %%", 100*float64(x.attacks)/float64(x.n))
		}
		fmt.Fprintf(b, "| %.1f–%.1f | %d | %s | %d | %s |\n", float64(i)/10, float64(i+1)/10, bins[0][i].n, share(bins[0][i]), bins[1][i].n, share(bins[1][i]))
	}
}

func replaceSection(text string) error {
	old, err := os.ReadFile(page)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	body := string(old)
	if body == "" {
		body = "# Detection: published error rates\n\n" + begin + "\n" + end + "\n"
	}
	i, j := strings.Index(body, begin), strings.Index(body, end)
	switch {
	case i < 0 && j < 0:
		body += "\n" + begin + "\n" + end + "\n"
		i, j = strings.Index(body, begin), strings.Index(body, end)
	case i < 0 || j < i:
		return fmt.Errorf("%s: the marks %s and %s are out of order", page, begin, end)
	}
	if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(body[:i]+begin+"\n"+text+body[j:]), 0o644)
}

// real measures lists of payloads that people collected.
func real(dir string, misses bool) error {
	list, err := peers(false)
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*", "*.txt"))
	if err != nil {
		return err
	}
	totals := map[string][]int{}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		kind := filepath.Base(filepath.Dir(name))
		sum := totals[kind]
		if sum == nil {
			sum = make([]int, 1+2*len(list))
			totals[kind] = sum
		}
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			text := sc.Text()
			if strings.TrimSpace(text) == "" {
				continue
			}
			sum[0]++
			for i, p := range list {
				s, x := p.sql(text), p.xss(text)
				if s {
					sum[1+2*i]++
				}
				if x {
					sum[2+2*i]++
				}
				if misses && i == 0 && (kind == "sql" && !s || kind == "xss" && !x || kind == "benign" && (s || x)) {
					fmt.Printf("%s\t%q\n", filepath.Base(name), text)
				}
			}
		}
		f.Close()
		if err := sc.Err(); err != nil {
			return err
		}
	}
	for kind, sum := range totals {
		for i, p := range list {
			fmt.Printf("%-8s %6d texts  %-24s SQL %5.1f  XSS %5.1f\n", kind, sum[0], p.name, 100*float64(sum[1+2*i])/float64(sum[0]), 100*float64(sum[2+2*i])/float64(sum[0]))
		}
	}
	return nil
}

// notes say how the sets came to be; they are history, not measurements.
const notes = `
### How to read this

The held-out grammar was written after the rules and measured untouched: SQL recall 98.2 at 1.41 false alarms, XSS 100.0 at 0.00. Two misses of it have been answered since, so these groups are no longer untouched: JSON as a value (the double quotes of a JSON document are its own) and a whole value that is a comparison of two bare numbers ("3=17", once 90 % of *numeric*). No template of the set was used for anything else. A grammar of the tuning set was held out before that, and on that first look groups lay between 72 (Cypher) and 100.

**libinjection does not vote.** The row "libinjection voting too" blocks what either finds: SQL recall rises by 0.3 points, and false alarms go from 0.1 to 5.1 percent with libinjection's own; for XSS it adds nothing but false alarms. So it runs here, as a peer of the same run, and a test holds our recall, false alarms and pace against it.

What is still missed: fragments that are no statement by themselves ("' or", "1--"), whole queries without any breakout (SELECT … FROM …, which are flagged, not blocked), arithmetic alone ("1*1" is flagged; "3-2" is a score). What still alarms: possessives and dashes in a row ("the boys' -- nice"), sentences that are valid SQL.
`
