package upstream

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

// ReadTable reads a routes file of at most 1 MiB.
func ReadTable(path string, classes Classes) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return ParseTable(path, text, classes)
}

// Watch loads the file and then again whenever it changes (a rename over it and
// a ConfigMap's swap of links included), until ctx ends. report is told, one at
// a time, of each table that came into force and of each file that was refused;
// after a refusal the table in force goes on. The error is the first load's or
// the watcher's own.
//
// classes is asked for at each load, since the tiers may have changed too.
func (p *Proxy) Watch(ctx context.Context, path string, classes func() Classes, report func(*Table, error)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	defer w.Close()
	// Watching starts before the first load: a change in between is seen.
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	t, err := ReadTable(path, classes())
	if err != nil {
		return err
	}
	p.Load(t)
	report(t, nil)
	digest, refused := t.digest, ""
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
			t, err := ReadTable(path, classes())
			switch {
			case err != nil && err.Error() != refused:
				refused = err.Error()
				report(nil, err)
			case err == nil && (t.digest != digest || refused != ""):
				changed := t.digest != digest
				digest, refused = t.digest, ""
				if changed {
					p.Load(t)
				}
				report(p.Table(), nil)
			}
		}
	}
}
