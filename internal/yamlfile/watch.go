package yamlfile

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settleTime lets a file that is being written come to rest.
const settleTime = 50 * time.Millisecond

// Read gives a file's content; one beyond MaxFile is given short by nothing but
// too long for Document, which refuses it.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}

// Watch calls look after every change in the file's folder (a rename over the
// file and a ConfigMap's swap of links included) and once at the beginning, when
// it watches already, one at a time, until ctx ends. look judges whether the
// file changed. The error is the watcher's own.
func Watch(ctx context.Context, path string, look func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	look()
	rest := time.NewTimer(time.Hour)
	rest.Stop()
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return nil
			}
			rest.Reset(settleTime)
		case _, ok := <-w.Errors: // an overflow lost events: look, whatever they were
			if !ok {
				return nil
			}
			rest.Reset(settleTime)
		case <-rest.C:
			look()
		}
	}
}
