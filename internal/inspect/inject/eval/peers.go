package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"

	"github.com/corazawaf/libinjection-go"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject/injecttest"
	"github.com/Nissimmiracles/openclaw/internal/inspect/waf"
)

// peer is one detector of the comparison.
type peer struct {
	name     string
	sql, xss func(string) bool
	both     func(string)
	rounds   int // over all texts, for the throughput
	every    int // of how many texts it reads one; 0 is all
}

// of gives the texts that the peer reads.
func (p peer) of(samples []injecttest.Sample) []injecttest.Sample {
	if p.every < 2 {
		return samples
	}
	var out []injecttest.Sample
	for i := 0; i < len(samples); i += p.every {
		out = append(out, samples[i])
	}
	return out
}

// coreEvery: the Core Rule Set takes milliseconds a text.
const coreEvery = 4

func peers(withCRS bool) ([]peer, error) {
	s := inject.New()
	list := []peer{
		{"**this package**",
			func(t string) bool { v, _ := s.ScanBoth(t); return v.Decision == inspect.Block },
			func(t string) bool { _, v := s.ScanBoth(t); return v.Decision == inspect.Block },
			func(t string) { s.ScanBoth(t) }, 20, 0},
		{"the seed's patterns", seedSQL, seedXSS, func(t string) { seedSQL(t); seedXSS(t) }, 2, 0},
		{"libinjection-go",
			func(t string) bool { ok, _ := libinjection.IsSQLi(t); return ok },
			libinjection.IsXSS,
			func(t string) { libinjection.IsSQLi(t); libinjection.IsXSS(t) }, 10, 0},
		{"this package, libinjection voting too",
			func(t string) bool {
				v, _ := s.ScanBoth(t)
				ok, _ := libinjection.IsSQLi(t)
				return ok || v.Decision == inspect.Block
			},
			func(t string) bool {
				_, v := s.ScanBoth(t)
				return v.Decision == inspect.Block || libinjection.IsXSS(t)
			},
			func(t string) { s.ScanBoth(t); libinjection.IsSQLi(t); libinjection.IsXSS(t) }, 10, 0},
	}
	if !withCRS {
		return list, nil
	}
	for _, paranoia := range []int{1, 2} {
		more, err := coreRules(paranoia)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// coreRules are the Core Rule Set at a paranoia level: its rules of either family
// alone, and as it blocks.
func coreRules(paranoia int) ([]peer, error) {
	w, err := waf.New(waf.Options{Paranoia: paranoia})
	if err != nil {
		return nil, err
	}
	inspectOnce := func(t string) waf.Decision {
		r := httptest.NewRequest("GET", "/?v="+url.QueryEscape(t), nil)
		r.Host = "api.example"
		r.Header.Set("User-Agent", "Mozilla/5.0")
		r.Header.Set("Accept", "*/*")
		d, err := w.Inspect(context.Background(), r, nil, true)
		if err != nil {
			panic(err)
		}
		return d
	}
	known := map[string]waf.Decision{} // a millisecond each: once is enough
	inspectCRS := func(t string) waf.Decision {
		d, ok := known[t]
		if !ok {
			d = inspectOnce(t)
			known[t] = d
		}
		return d
	}
	family := func(from, to int) func(string) bool {
		return func(t string) bool {
			for _, id := range inspectCRS(t).Rules {
				if id >= from && id < to {
					return true
				}
			}
			return false
		}
	}
	blocks := func(t string) bool { return inspectCRS(t).Blocked }
	name := fmt.Sprintf("Core Rule Set, paranoia %d, ", paranoia)
	return []peer{
		{name + "rules 942/941 only", family(942000, 943000), family(941000, 942000), nil, 0, coreEvery},
		{name + "blocking", blocks, blocks, func(t string) { inspectOnce(t) }, 1, coreEvery},
	}, nil
}

// The seed's patterns, as its text lists them.
var (
	seedSQLPatterns = regexp.MustCompile(`(?i)(\bunion\b.*\bselect\b|\bselect\b.+\bfrom\b|\bdrop\b\s+\w+|\binsert\b\s+into\b|\bdelete\b\s+from\b|\bupdate\b\s+\w+\s+set\b|xp_cmdshell|\bexec(ute)?\b|;\s*(select|drop|insert|update|delete|alter)\b|--|/\*|#\s*$|\bwaitfor\b\s+delay\b|\bsleep\s*\(|\bbenchmark\s*\(|\bor\b\s+['"]?\d+['"]?\s*=\s*['"]?\d+|'\s*or\s*')`)
	seedXSSPatterns = regexp.MustCompile(`(?i)(<script[^>]*>|javascript:|\bon\w+\s*=|<iframe|<object|<embed|<link|<meta|vbscript:|data:text/html|expression\s*\()`)
)

func seedSQL(t string) bool { return seedSQLPatterns.MatchString(t) }
func seedXSS(t string) bool { return seedXSSPatterns.MatchString(t) }
