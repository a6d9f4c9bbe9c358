package pgserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

const (
	// Superuser is the role that owns a new cluster.
	Superuser = "openclaw_super"

	clusterName   = "cluster"
	relocatedName = "relocated"
	initPrefix    = "cluster.init-"
	socketName    = ".s.PGSQL.5432"

	// sharedState is where root keeps what the server's account must reach.
	sharedState = "/var/lib/openclaw"

	// maxSocketPath is sun_path of unix(7) without its final NUL.
	maxSocketPath = 107
)

// ClusterMajor is the PostgreSQL release that wrote the cluster in a data
// folder, or 0 when there is none yet. Pass it as Options.Major.
func ClusterMajor(data string) int {
	for _, home := range []string{data, filepath.Join(data, relocatedName)} {
		if m := clusterMajor(filepath.Join(home, clusterName)); m != 0 {
			return m
		}
	}
	return 0
}

func clusterMajor(cluster string) int {
	b, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if err != nil {
		return 0
	}
	m, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return m
}

// makeData creates the data folder with everything missing above it, and
// returns its path without symbolic links. Folders made by root can be
// passed through but not listed by others, as the server runs as another
// account.
func makeData(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("making data folder: %w", err)
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	var missing []string
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("making data folder: %w", err)
		}
		missing = append(missing, dir)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		switch err := os.Mkdir(missing[i], mode); {
		case errors.Is(err, fs.ErrExist): // somebody else was faster
		case err != nil:
			return "", fmt.Errorf("making data folder: %w", err)
		default:
			if err := os.Chmod(missing[i], mode); err != nil {
				return "", fmt.Errorf("making data folder: %w", err)
			}
		}
	}
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("making data folder: %w", err)
	}
	return path, nil
}

// currentHome is the folder with the cluster: the data folder, or the one it
// points to. A link to nowhere is an error and never a reason to start
// afresh: the data may be on a disk that is not mounted.
func currentHome(data string) (string, error) {
	link := filepath.Join(data, relocatedName)
	switch _, err := os.Lstat(link); {
	case errors.Is(err, fs.ErrNotExist):
		return data, nil
	case err != nil:
		return "", fmt.Errorf("locating the cluster: %w", err)
	}
	home, err := filepath.EvalSymlinks(link)
	if err != nil {
		return "", fmt.Errorf("locating the cluster: the folder that %s points to is gone: %w", link, err)
	}
	return home, nil
}

// relocate puts a new cluster beside other shared state, because the account
// cannot enter the data folder. The name is random: a data folder that was
// deleted and made again must not meet the cluster of its predecessor.
func relocate(data, base string) (string, error) {
	base, err := makeData(base)
	if err != nil {
		return "", err
	}
	home, err := os.MkdirTemp(base, "postgres-")
	if err != nil {
		return "", fmt.Errorf("relocating the cluster: %w", err)
	}
	if err := os.Chmod(home, 0o711); err != nil {
		return "", fmt.Errorf("relocating the cluster: %w", err)
	}
	if err := os.Symlink(home, filepath.Join(data, relocatedName)); err != nil {
		return "", fmt.Errorf("relocating the cluster: %w", err)
	}
	return home, errors.Join(syncDir(base), syncDir(data))
}

// initCluster makes home/cluster unless it is there. It works in a sibling
// and renames it at the end, so a cluster is complete or absent; what a crash
// left half-made is removed first. initdb inherits the lock, so that nobody
// starts to clean up while it still writes.
func initCluster(ctx context.Context, b Binaries, acc account, home string, lock *os.File) error {
	leftovers, err := filepath.Glob(filepath.Join(home, initPrefix+"*"))
	if err != nil {
		return fmt.Errorf("making the cluster: %w", err)
	}
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("making the cluster: removing a half-made one: %w", err)
		}
	}
	cluster := filepath.Join(home, clusterName)
	entries, err := os.ReadDir(cluster)
	switch {
	case err == nil && len(entries) > 0:
		if clusterMajor(cluster) == 0 {
			return fmt.Errorf("using cluster %s: it is not a PostgreSQL data directory (no PG_VERSION) and not empty", cluster)
		}
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("using cluster: %w", err)
	}
	tmp, err := os.MkdirTemp(home, initPrefix)
	if err != nil {
		return fmt.Errorf("making the cluster: %w", err)
	}
	defer os.RemoveAll(tmp) // gone by then, unless something failed
	if err := acc.own(tmp); err != nil {
		return fmt.Errorf("making the cluster: %w", err)
	}
	// C.UTF-8 orders by code point, the same on every machine, and still
	// knows the letters beyond ASCII that full-text search folds.
	err = initdb(ctx, b, acc, tmp, "C.UTF-8", lock)
	if errors.Is(err, errLocale) {
		err = initdb(ctx, b, acc, tmp, "C", lock)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, cluster); err != nil {
		return fmt.Errorf("making the cluster: %w", err)
	}
	return syncDir(home)
}

var errLocale = errors.New("unknown locale")

func initdb(ctx context.Context, b Binaries, acc account, dir, locale string, lock *os.File) error {
	// Only the 0700 socket folder guards the door: whoever can be the
	// server's account could read its files and memory all the same, and
	// root, who started it, is every role anyway.
	cmd := exec.CommandContext(ctx, filepath.Join(b.Dir, "initdb"),
		"--pgdata="+dir, "--username="+Superuser, "--auth-local=trust", "--auth-host=reject",
		"--encoding=UTF8", "--locale="+locale, "--data-checksums", "--no-instructions")
	cmd.Dir = dir
	cmd.Env = cleanEnv()
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: acc.cred, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// The kernel watches the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("running initdb: %w", ctx.Err())
	case strings.Contains(out.String(), "invalid locale"):
		return fmt.Errorf("running initdb: %w %s", errLocale, locale)
	}
	return fmt.Errorf("running initdb: %w: %s", err, lastLines(out.Bytes(), 5))
}

// socketDir makes the private folder for the socket: home/run, or one under
// the temporary folder named after home where that path is too long.
func socketDir(ctx context.Context, b Binaries, acc account, home string) (string, error) {
	fits := func(dir string) bool { return len(dir)+1+len(socketName) <= maxSocketPath }
	if dir := filepath.Join(home, "run"); fits(dir) {
		if err := acc.privateDir(dir); err != nil {
			return "", fmt.Errorf("making the socket folder: %w", err)
		}
		return dir, nil
	}
	sum := sha256.Sum256([]byte(home))
	name := "openclaw-pg-" + hex.EncodeToString(sum[:8])
	for _, tmp := range []string{os.TempDir(), "/tmp"} {
		dir := filepath.Join(tmp, name)
		if !fits(dir) || !acc.enters(ctx, b, tmp) {
			continue
		}
		if acc.privateDir(dir) == nil {
			return dir, nil
		}
		// Somebody took the foreseeable name; they cannot take a random one.
		dir, err := os.MkdirTemp(tmp, "openclaw-pg-")
		if err != nil || !fits(dir) {
			continue
		}
		if err := acc.own(dir); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("making the socket folder: %s is too long for a unix socket and no temporary folder will do; choose a shorter data folder", home)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "; ")
}
