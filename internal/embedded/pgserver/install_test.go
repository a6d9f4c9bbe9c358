package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCheckLock(t *testing.T) {
	t.Parallel()
	entry := func(name, version, integrity string) string {
		return fmt.Sprintf(`"node_modules/%s": {"version": %q, "integrity": %q}`, name, version, integrity)
	}
	lock := func(entries ...string) string {
		return `{"lockfileVersion": 3, "packages": {` + strings.Join(append([]string{`"": {}`}, entries...), ",") + `}}`
	}
	pinned := entry(npmName, npmVersion, npmIntegrity)
	for _, c := range []struct {
		name string
		lock string
		ok   bool
	}{
		{"pinned", lock(pinned), true},
		{"other bytes under the same version", lock(entry(npmName, npmVersion, "sha512-AAAA")), false},
		{"no integrity", lock(entry(npmName, npmVersion, "")), false},
		{"other version", lock(entry(npmName, "15.18.0-beta.18", npmIntegrity)), false},
		{"a second package", lock(pinned, entry("left-pad", "1.0.0", "sha512-BBBB")), false},
		{"a nested package", lock(pinned, entry(npmName+"/node_modules/x", npmVersion, npmIntegrity)), false},
		{"nothing", lock(), false},
		{"empty", "", false},
		{"not JSON", "}{", false},
	} {
		if err := checkLock([]byte(c.lock)); (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestMakeLinks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		list string
		ok   bool
	}{
		{"library", `[{"source":"native/lib/a.so.1.2","target":"native/lib/a.so"}]`, true},
		{"twice", `[{"source":"native/lib/a.so.1.2","target":"native/lib/a.so"},{"source":"native/lib/a.so.1.2","target":"native/lib/a.so"}]`, true},
		{"empty list", `[]`, true},
		{"absolute source", `[{"source":"/etc/passwd","target":"native/lib/a.so"}]`, false},
		{"source above", `[{"source":"../../etc/passwd","target":"native/lib/a.so"}]`, false},
		{"absolute target", `[{"source":"native/lib/a.so.1.2","target":"/tmp/pgserver-planted"}]`, false},
		{"target above", `[{"source":"native/lib/a.so.1.2","target":"native/../../planted"}]`, false},
		{"target through a link", `[{"source":"native/lib/a.so.1.2","target":"native/out/planted"}]`, false},
		{"onto itself", `[{"source":"native/lib/a.so.1.2","target":"native/lib/../lib/a.so.1.2"}]`, false},
		{"out by way of two links", `[{"source":"native","target":"native/lib/x"},{"source":"native/lib","target":"native/lib/x/lib/x/escape"}]`, false},
		{"dangling", `[{"source":"native/lib/none","target":"native/lib/a.so"}]`, false},
		{"empty names", `[{"source":"","target":""}]`, false},
		{"not a list", `{}`, false},
	} {
		outside := t.TempDir()
		pkg := filepath.Join(outside, "pkg")
		lib := filepath.Join(pkg, "native", "lib")
		if err := os.MkdirAll(lib, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lib, "a.so.1.2"), []byte("library"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(pkg, "native", "out")); err != nil {
			t.Fatal(err)
		}
		err := makeLinks(pkg, []byte(c.list))
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, err)
		}
		if c.ok && c.list != "[]" {
			if b, err := os.ReadFile(filepath.Join(lib, "a.so")); err != nil || string(b) != "library" {
				t.Errorf("%s: through the link: %q, %v", c.name, b, err)
			}
		}
		if b, err := os.ReadFile(filepath.Join(lib, "a.so.1.2")); err != nil || string(b) != "library" {
			t.Errorf("%s: the library itself: %q, %v", c.name, b, err)
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: outside the package: %v, %v", c.name, entries, err)
		}
	}
}

// Property: whatever the list says, nothing outside the package changes and
// no link made leads out of it.
func FuzzMakeLinks(f *testing.F) {
	f.Add([]byte(`[{"source":"lib/a","target":"lib/b"}]`))
	f.Add([]byte(`[{"source":"lib/..","target":"lib/b"},{"source":"lib/a","target":"lib/b/../../c"}]`))
	f.Add([]byte(`[{"source":"../a","target":"b"}]`))
	f.Fuzz(func(t *testing.T, list []byte) {
		outside := t.TempDir()
		pkg := filepath.Join(outside, "pkg")
		if err := os.MkdirAll(filepath.Join(pkg, "lib"), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = makeLinks(pkg, list)
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Fatalf("outside the package: %v, %v", entries, err)
		}
		_ = filepath.WalkDir(pkg, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.Type()&os.ModeSymlink == 0 {
				return err
			}
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(pkg, filepath.Join(filepath.Dir(path), to))
			if err != nil || filepath.IsAbs(to) || !filepath.IsLocal(rel) {
				t.Errorf("%s leads to %s", path, to)
			}
			return nil
		})
	})
}

// The private install fetches 30 MB, so it runs when asked for.
func TestInstallNPM(t *testing.T) {
	t.Parallel()
	if os.Getenv("OPENCLAW_TEST_NPM") != "1" {
		t.Skip("set OPENCLAW_TEST_NPM=1 to install from npm")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var said []string
	o := Options{
		Cache:  filepath.Join(folder(t), "cache"),
		Logf:   func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) },
		system: []string{}, noPath: true,
	}
	b, err := installNPM(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, npmName) }) {
		t.Errorf("installed silently: %q", said)
	}
	if found, err := Find(ctx, o); err != nil || found != b {
		t.Errorf("Find: got %v, %v, want %v", found, err, b)
	}
	if again, err := installNPM(ctx, o); err != nil || again != b {
		t.Errorf("installing over itself: got %v, %v", again, err)
	}
	cfg := config(t, folder(t))
	cfg.Binaries = b
	s := start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select upper('ü') || current_setting('data_checksums')"); got != "Üon" {
		t.Errorf("got %q", got)
	}
}

// This one changes the machine, so it is for a throw-away one without
// PostgreSQL.
func TestInstallApt(t *testing.T) {
	t.Parallel()
	if os.Getenv("OPENCLAW_TEST_APT") != "1" {
		t.Skip("set OPENCLAW_TEST_APT=1 on a throw-away Debian to install with apt")
	}
	o := Options{Cache: filepath.Join(folder(t), "cache"), Logf: t.Logf}
	if b, err := Find(t.Context(), o); !errors.Is(err, ErrNotFound) {
		t.Fatalf("there is %v, %v already: the test would prove nothing", b, err)
	}
	b, err := Install(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if b.Dir != "/usr/lib/postgresql/15/bin" {
		t.Errorf("installed in %s", b.Dir)
	}
	if made, _ := filepath.Glob("/var/lib/postgresql/*/main"); len(made) != 0 {
		t.Errorf("Debian made a cluster of its own: %v", made)
	}
	start(t, config(t, folder(t)))
}
