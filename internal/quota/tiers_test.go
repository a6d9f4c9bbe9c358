package quota_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// TestContract holds the embedded file against the numbers of the design.
func TestContract(t *testing.T) {
	t.Parallel()
	table := quota.DefaultTable()
	for name, want := range map[string]struct {
		l quota.Limits
		s quota.Sandbox
	}{
		"standard":  {quota.Limits{Mode: quota.Limited, PerMinute: 60, PerHour: 2000, PerDay: 20000, Burst: 1.5, Concurrent: 10}, quota.Sandbox{CPUCores: 1, MemoryMB: 512, Timeout: 5 * time.Minute, NetworkMbps: 10, DiskMB: 1 << 10}},
		"enhanced":  {quota.Limits{Mode: quota.Limited, PerMinute: 300, PerHour: 10000, PerDay: 100000, Burst: 2, Concurrent: 50}, quota.Sandbox{CPUCores: 2, MemoryMB: 2 << 10, Timeout: 15 * time.Minute, NetworkMbps: 50, DiskMB: 5 << 10}},
		"dedicated": {quota.Limits{Mode: quota.Limited, PerMinute: 1000, PerHour: 50000, PerDay: 500000, Burst: 3, Concurrent: 200}, quota.Sandbox{CPUCores: 8, MemoryMB: 8 << 10, Timeout: time.Hour, NetworkMbps: 1000, DiskMB: 50 << 10}},
	} {
		got, err := table.Tier(name)
		if err != nil || got.Tenant != want.l || got.Sandbox != want.s {
			t.Errorf("%s: %+v %+v %v", name, got.Tenant, got.Sandbox, err)
		}
	}
	if got := table.Tiers(); len(got) != 3 {
		t.Errorf("tiers %v", got)
	}
	if off := table.SwitchedOff(); len(off) != 0 {
		t.Errorf("off by default: %v", off)
	}
}

func defaults(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("tiers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestBadFiles: each mistake is refused with the line it is in.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	good := defaults(t)
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown field":      {"burst: 1.5", "brust: 1.5", "unknown field"},
		"zero":               {"per_minute: 60,", "per_minute: 0,", "whole number from 1"},
		"negative":           {"per_minute: 60,", "per_minute: -60,", "whole number from 1"},
		"fraction":           {"per_minute: 60,", "per_minute: 60.5,", "whole number"},
		"text":               {"per_minute: 60,", "per_minute: sixty,", "whole number"},
		"hexadecimal":        {"per_minute: 60,", "per_minute: 0x60,", "whole number"},
		"beyond":             {"per_minute: 60,", "per_minute: 99999999999999999999,", "whole number"},
		"missing number":     {"per_hour: 2000, ", "", `"per_hour" is missing`},
		"missing field":      {"    user: unlimited\n    classes:\n      read: shared\n      write: shared\n      expensive: shared\n      login:\n        tenant: unlimited\n        user: {per_minute: 10, per_hour: 60, burst: 1}\n      probe: unlimited\n    sandbox: {cpu_cores: 1,", "    sandbox: {cpu_cores: 1,", `is missing`},
		"burst below one":    {"burst: 1.5", "burst: 0.5", "burst: want 1 to"},
		"burst not a number": {"burst: 1.5", "burst: .nan", "burst: want a number"},
		"infinite burst":     {"burst: 1.5", "burst: .inf", "burst: want a number"},
		"unlisted class":     {"      read: shared\n      write: shared", "      read: shared\n      wirte: shared", `class "wirte" is not`},
		"missing class":      {"      write: shared\n", "", `class "write" is missing`},
		"a class's mode":     {"read: shared", "read: free", "want shared, unlimited, off"},
		"a limit's mode":     {"user: unlimited", "user: none", "want unlimited, off or limits"},
		"no limit":           {"user: {per_minute: 10, per_hour: 60, burst: 1}", "user: {}", "no limit is given"},
		"burst alone":        {"user: {per_minute: 10, per_hour: 60, burst: 1}", "user: {per_hour: 60, burst: 2}", "burst without"},
		"twice":              {"per_hour: 2000,", "per_hour: 2000, per_hour: 3000,", ""},
		"version":            {"version: 1", "version: 2", "from 1 to 1"},
		"a name":             {"  standard:", "  Standard Tier:", "want a name"},
		"a quote in a name":  {"  standard:", `  "a\"b":`, "want a name"},
		"timeout":            {"timeout: 5m", "timeout: forever", "timeout"},
		"alias":              {"user: unlimited", "user: *x", ""},
		"not yaml":           {"tiers:", "tiers: [", ""},
		"a second document":  {"version: 1", "version: 1\n---\nversion: 1", ""},
		"a list":             {"    tenant: {per_minute: 60, per_hour: 2000, per_day: 20000, burst: 1.5, concurrent: 10}", "    tenant: [60]", "want a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := strings.Index(good, c.old)
			if at < 0 {
				t.Fatal("the test's mistake is not in the file")
			}
			bad := strings.Replace(good, c.old, c.new, 1)
			_, err := quota.ParseTable([]byte(bad))
			var line *quota.LineError
			if !errors.As(err, &line) || !strings.Contains(line.Reason, c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			first := 1 + strings.Count(good[:at], "\n")
			if name != "a second document" && (line.Line < first-1 || line.Line > first+13) {
				t.Fatalf("line %d, and the mistake is in %d: %v", line.Line, first, err)
			}
		})
	}
}

// TestLoad: a bad file changes nothing; nothing in use can be taken away.
func TestLoad(t *testing.T) {
	t.Parallel()
	tiers := quota.NewTiers()
	before, digest := tiers.Table(), tiers.Digest()
	good := defaults(t)
	for _, bad := range []string{
		"", "version: 1", "tiers: " + strings.Repeat("[", 1<<16), strings.Replace(good, "per_minute: 60", "per_minute: x", 1),
		strings.Replace(good, "  standard:", "  basic:", 1),
		strings.ReplaceAll(strings.ReplaceAll(good, ", probe]", "]"), "      probe: unlimited\n", ""),
	} {
		if changed, err := tiers.Load([]byte(bad)); err == nil || changed {
			t.Fatalf("%q was loaded", bad[:min(40, len(bad))])
		}
		if tiers.Table() != before || tiers.Digest() != digest {
			t.Fatal("a refused file changed something")
		}
	}
	if changed, err := tiers.Load([]byte(good)); changed || err != nil {
		t.Fatalf("the same file: %v %v", changed, err)
	}
	more := strings.Replace(good, "per_minute: 60,", "per_minute: 61,", 1)
	if changed, err := tiers.Load([]byte(more)); !changed || err != nil {
		t.Fatalf("%v %v", changed, err)
	}
	tier, _ := tiers.Table().Tier("standard")
	if tier.Tenant.PerMinute != 61 || tiers.Digest() == digest {
		t.Fatal("the new file is not in force")
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "tiers.yaml")
	good := defaults(t)
	put := func(text string) { // as editors and deployments do: a rename over it
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	tiers := quota.NewTiers()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := tiers.Watch(ctx, path, func(error) {}); err == nil {
		t.Fatal("a missing file must be refused at the start")
	}
	put(strings.Replace(good, "per_minute: 60,", "per_minute: 61,", 1))
	reports, done := make(chan error, 100), make(chan error, 1)
	go func() { done <- tiers.Watch(ctx, path, func(err error) { reports <- err }) }()
	next := func() error {
		t.Helper()
		select {
		case err := <-reports:
			return err
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was reported")
			return nil
		}
	}
	if err := next(); err != nil {
		t.Fatal(err)
	}
	perMinute := func() int64 {
		tier, err := tiers.Table().Tier("standard")
		if err != nil {
			t.Fatal(err)
		}
		return tier.Tenant.PerMinute
	}
	put(strings.Replace(good, "per_minute: 60,", "per_minute: 77,", 1))
	if err := next(); err != nil || perMinute() != 77 {
		t.Fatalf("%v, %d a minute", err, perMinute())
	}
	put(strings.Replace(good, "per_minute: 60,", "per_minute: lots,", 1))
	before, _, _ := strings.Cut(good, "per_minute: 60,")
	err := next()
	var line *quota.LineError
	if !errors.As(err, &line) || line.Line != 1+strings.Count(before, "\n") || perMinute() != 77 {
		t.Fatalf("%v (line %+v), %d a minute", err, line, perMinute())
	}
	for put(strings.Replace(good, "per_minute: 60,", "per_minute: 78,", 1)); ; {
		if err := next(); err == nil { // a refused file may be reported once per event
			break
		}
	}
	if perMinute() != 78 {
		t.Fatalf("%d a minute", perMinute())
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// FuzzTable: whatever the file, it is refused with a LineError or gives a table
// in which every tier has a plan that refuses or counts for every class.
func FuzzTable(f *testing.F) {
	f.Add([]byte(defaults(f)))
	f.Add([]byte("version: 1\nclasses: [a]\ntiers: {x: {tenant: off, user: off, classes: {a: off}, sandbox: {}}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := quota.ParseTable(text)
		if err != nil {
			var line *quota.LineError
			if !errors.As(err, &line) {
				t.Fatalf("%T %v", err, err)
			}
			if line.Line < 0 || line.Line > 2+bytes.Count(text, []byte("\n"))+bytes.Count(text, []byte("\r")) {
				t.Fatalf("line %d of a shorter file", line.Line)
			}
			return
		}
		for _, tier := range table.Tiers() {
			for _, name := range table.Classes() {
				class, err := table.Class(name)
				if err != nil {
					t.Fatal(err)
				}
				p, err := table.Plan(tier, class)
				if err != nil || p.Mode() == quota.Unset || p.Mode() == quota.Limited && len(p.Levels()) == 0 {
					t.Fatalf("%s/%s: %v %v", tier, name, p.Mode(), err)
				}
			}
		}
	})
}

func TestUnknownNames(t *testing.T) {
	t.Parallel()
	table := quota.DefaultTable()
	if _, err := table.Class("reed"); err == nil {
		t.Fatal("an unknown class must be refused")
	}
	read, _ := table.Class("read")
	for _, tier := range []string{"", "Standard", "platinum"} {
		if p, err := table.Plan(tier, read); err == nil || p != nil {
			t.Fatalf("tier %q has a plan", tier)
		}
	}
	if p, err := table.Plan("standard", quota.Class{}); err == nil || p != nil {
		t.Fatal("the zero class has a plan")
	}
}
