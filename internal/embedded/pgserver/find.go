package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MinMajor is the oldest PostgreSQL this package runs.
const MinMajor = 15

// ErrNotFound means that no usable server binaries are on this machine.
var ErrNotFound = errors.New("no PostgreSQL 15 or newer server binaries")

// Binaries is one usable set of server programs.
type Binaries struct {
	Dir     string // absolute folder that holds postgres and initdb
	Version string // as the server prints it, such as "15.18"
	Major   int    // such as 15
}

// Options say where to look for server binaries and where to put them.
// The zero value looks in the usual places.
type Options struct {
	// Bin names the folder to use, whatever else is installed; a folder
	// without usable programs is an error. OPENCLAW_PG_BIN belongs here.
	Bin string
	// Major prefers one release, such as the one that wrote an existing
	// cluster (see ClusterMajor). 0 prefers 15, then the oldest newer one.
	Major int
	// Cache is the folder of the private npm install. Empty means
	// /var/lib/openclaw for root (the server's account has to read it, and
	// cannot enter /root) and the user's cache folder otherwise.
	Cache string
	// Logf receives one line for each thing that is about to happen.
	Logf func(format string, args ...any)

	system []string // globs of versioned folders, for tests
	noPath bool
}

func (o Options) logf(format string, args ...any) {
	if o.Logf != nil {
		o.Logf(format, args...)
	}
}

// Find returns the server binaries to use: Options.Bin alone when it is set,
// otherwise the best of the distribution's versioned folders, PATH and the
// private install. It installs nothing; the error is ErrNotFound when there
// are none.
func Find(ctx context.Context, o Options) (Binaries, error) {
	if o.Bin != "" {
		b, err := inspect(ctx, o.Bin)
		if err != nil {
			return Binaries{}, fmt.Errorf("using PostgreSQL binaries in %s: %w", o.Bin, err)
		}
		return b, nil
	}
	var found []Binaries
	for _, dir := range o.candidates() {
		b, err := inspect(ctx, dir)
		if ctx.Err() != nil {
			return Binaries{}, ctx.Err()
		}
		if err == nil {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		return Binaries{}, ErrNotFound
	}
	// Stable, so that for one release the order of candidates decides.
	slices.SortStableFunc(found, func(a, b Binaries) int {
		if pa, pb := a.Major == o.Major, b.Major == o.Major; pa != pb {
			if pa {
				return -1
			}
			return 1
		}
		return a.Major - b.Major
	})
	return found[0], nil
}

// candidates lists folders that may hold server programs, preferred first.
func (o Options) candidates() []string {
	globs := o.system
	if globs == nil {
		globs = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"}
	}
	var dirs []string
	for _, g := range globs {
		m, _ := filepath.Glob(g) // the only error is a malformed pattern
		dirs = append(dirs, m...)
	}
	if !o.noPath {
		if p, err := exec.LookPath("postgres"); err == nil {
			if p, err = filepath.EvalSymlinks(p); err == nil {
				dirs = append(dirs, filepath.Dir(p))
			}
		}
	}
	if cache, err := o.cache(); err == nil {
		dirs = append(dirs, npmBin(cache))
	}
	return dirs
}

func (o Options) cache() (string, error) {
	if o.Cache != "" {
		return filepath.Abs(o.Cache)
	}
	if os.Geteuid() == 0 {
		return sharedState, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choosing a folder for a private PostgreSQL: %w", err)
	}
	return filepath.Join(dir, "openclaw"), nil
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (([0-9]{1,4})[0-9A-Za-z.]*)`)

// inspect asks the programs in dir which release they are. A folder with
// client programs only, or with an old server, is an error.
func inspect(ctx context.Context, dir string) (Binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, fmt.Errorf("looking for initdb: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version")
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("asking postgres for its version: %w", err)
	}
	m := versionLine.FindStringSubmatch(string(out))
	if m == nil {
		return Binaries{}, fmt.Errorf("asking postgres for its version: unknown answer %.80q", strings.TrimSpace(string(out)))
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return Binaries{}, err
	}
	if major < MinMajor {
		return Binaries{}, fmt.Errorf("PostgreSQL %s is too old: %d or newer is needed", m[1], MinMajor)
	}
	return Binaries{Dir: dir, Version: m[1], Major: major}, nil
}

// cleanEnv is the environment of every program started here: no PG* variable
// of the caller may redirect it, and its messages are in English.
func cleanEnv() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC"}
}
