package authn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxFile bounds what is read: certificates are small, revocation lists may
// have a few megabytes.
const maxFile = 32 << 20

// racy is how old a file's time stamp must be before an unchanged stamp is
// believed to mean unchanged content: two writes may share one tick.
const racy = 2 * time.Second

// files is a value built from files and rebuilt when they change. There is no
// goroutine: whoever uses the value looks at the files, at most once per
// interval, so what is used is at most that old and nothing has to be stopped.
// A file set that does not build is refused whole, logged once, and the old
// value stays.
type files[T any] struct {
	paths []string
	build func(contents [][]byte, old *T) (*T, error)
	now   func() time.Time
	every time.Duration
	log   *slog.Logger

	value atomic.Pointer[T]
	next  atomic.Int64 // when to look again, unix nanoseconds

	mu    sync.Mutex
	seen  []stamp
	sum   [32]byte
	fault error
}

type stamp struct {
	info os.FileInfo
	racy bool
}

// openFiles builds the first value; without one there is nothing to fall back
// to, so its error is final.
func openFiles[T any](paths []string, every time.Duration, now func() time.Time, log *slog.Logger,
	build func([][]byte, *T) (*T, error)) (*files[T], error) {
	f := &files[T]{paths: paths, build: build, now: now, every: every, log: log}
	if err := f.reload(); err != nil {
		return nil, err
	}
	f.next.Store(now().Add(every).UnixNano())
	return f, nil
}

// get returns the newest good value.
func (f *files[T]) get() *T {
	now := f.now()
	if next := f.next.Load(); now.UnixNano() >= next && f.next.CompareAndSwap(next, now.Add(f.every).UnixNano()) {
		_ = f.reload() // logged, and kept for err
	}
	return f.value.Load()
}

// err is why the newest files were refused, or nil.
func (f *files[T]) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

func (f *files[T]) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamps, same := make([]stamp, len(f.paths)), len(f.seen) == len(f.paths)
	contents := make([][]byte, len(f.paths))
	sum := sha256.New()
	for i, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			return f.refuse(err, fmt.Sprintf("stat %d", i))
		}
		stamps[i] = stamp{info: info, racy: f.now().Sub(info.ModTime()) < racy}
		same = same && !f.seen[i].racy && os.SameFile(info, f.seen[i].info) &&
			info.Size() == f.seen[i].info.Size() && info.ModTime().Equal(f.seen[i].info.ModTime())
	}
	if same {
		return f.fault
	}
	for i, path := range f.paths {
		text, err := readFile(path)
		if err != nil {
			return f.refuse(err, fmt.Sprintf("read %d", i))
		}
		contents[i] = text
		fmt.Fprintf(sum, "%d:", len(text))
		sum.Write(text)
	}
	digest := [32]byte(sum.Sum(nil))
	f.seen = stamps
	if digest == f.sum {
		return f.fault
	}
	old := f.value.Load()
	value, err := f.build(contents, old)
	f.sum = digest
	if err != nil {
		f.fault = err
		if old != nil {
			f.log.Error("refused changed files, the old ones stay in use", "files", f.paths, "err", err)
		}
		return err
	}
	f.fault = nil
	f.value.Store(value)
	if old != nil {
		f.log.Info("reloaded changed files", "files", f.paths)
	}
	return nil
}

// refuse notes that files could not be read, and logs it when it is news.
func (f *files[T]) refuse(err error, what string) error {
	f.seen = nil
	digest := sha256.Sum256([]byte(what))
	if f.value.Load() != nil && digest != f.sum {
		f.log.Error("cannot read files, the old ones stay in use", "files", f.paths, "err", err)
	}
	f.sum, f.fault = digest, err
	return err
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("read %s: more than %d bytes", path, maxFile)
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("read %s: %w", path, errors.New("the file is empty"))
	}
	return text, nil
}
