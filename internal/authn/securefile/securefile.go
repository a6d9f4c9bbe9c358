// Package securefile writes small secret files so that a crash at any moment
// leaves the old content or the new, and nobody else can read either.
package securefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Mode is that of every file, DirMode that of a folder of them.
const (
	Mode    os.FileMode = 0o600
	DirMode os.FileMode = 0o700
)

// Write replaces path as a whole: a temporary file beside it, made durable, is
// renamed over it. The folder must exist.
func Write(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err = f.Chmod(Mode); err != nil {
		return err
	}
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	// The rename is durable once the folder is.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Read returns the content of a regular file of at most max bytes, and first
// takes away what rights others have on it.
func Read(path string, max int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: it is no regular file", path)
	case info.Size() > max:
		return nil, fmt.Errorf("read %s: %d bytes are more than the %d expected", path, info.Size(), max)
	case info.Mode().Perm()&0o077 != 0:
		if err := os.Chmod(path, Mode); err != nil {
			return nil, fmt.Errorf("read %s: others can read it: %w", path, err)
		}
	}
	return os.ReadFile(path)
}
