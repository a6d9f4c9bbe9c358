package inject

import (
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/corazawaf/libinjection-go"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject/injecttest"
)

// leastPace is how many texts we read at least while libinjection reads one.
// Measured: 1.6 to 2.4.
const leastPace = 1.2

// TestBeatsLibinjection holds recall, false alarms and pace against the
// yardstick of the same run. Pace is a ratio of processor times over the same
// texts in turns, so a slow or busy machine slows both.
func TestBeatsLibinjection(t *testing.T) {
	samples := injecttest.Heldout(1)
	sc := New()
	for kind, d := range map[inspect.Kind]struct {
		ours inspect.Detector
		peer func(string) bool
	}{
		inspect.SQL: {sc.SQL(), func(s string) bool { ok, _ := libinjection.IsSQLi(s); return ok }},
		inspect.XSS: {sc.XSS(), libinjection.IsXSS},
	} {
		us := injecttest.Measure(samples, kind, func(s string) bool { return d.ours.Inspect(s, inspect.User).Decision == inspect.Block })
		them := injecttest.Measure(samples, kind, d.peer)
		if us.MacroRecall < them.MacroRecall+20 || us.MacroFPR > them.MacroFPR {
			t.Errorf("%s: recall %.1f, false alarms %.2f; libinjection %.1f, %.2f", kind, us.MacroRecall, us.MacroFPR, them.MacroRecall, them.MacroFPR)
		}
		if group, r := us.Least(); r < 94 {
			t.Errorf("%s: recall of %s is %.1f", kind, group, r)
		}
	}
	if racing {
		return // the detector slows the two by different factors
	}
	cpu := func(read func(string)) float64 {
		var a, b syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &a)
		for _, s := range samples {
			read(s.Text)
		}
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &b)
		return float64(time.Duration(b.Utime.Nano() - a.Utime.Nano() + b.Stime.Nano() - a.Stime.Nano()))
	}
	ours, theirs := math.Inf(1), math.Inf(1)
	for range 7 {
		ours = min(ours, cpu(func(s string) { sc.ScanBoth(s) }))
		theirs = min(theirs, cpu(func(s string) { libinjection.IsSQLi(s); libinjection.IsXSS(s) }))
	}
	if pace := theirs / ours; pace < leastPace {
		t.Errorf("we read %.2f texts while libinjection reads one; at least %.1f", pace, leastPace)
	} else {
		t.Logf("%.2f texts while libinjection reads one", pace)
	}
}
