package quota

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"

	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

// LoadFile is Load from a file of at most 1 MiB.
func (t *Tiers) LoadFile(path string) (changed bool, err error) {
	text, err := yamlfile.Read(path)
	if err != nil {
		return false, fmt.Errorf("load tiers: %w", err)
	}
	changed, err = t.Load(text)
	if err != nil {
		return false, fmt.Errorf("load %s: %w", path, err)
	}
	return changed, nil
}

// Watch loads the file and then again whenever something happens in its
// directory (a rename over it and a Kubernetes ConfigMap's symlink swap
// included), until ctx ends. Each load that changed the table, and each that
// was refused, is told to report, one at a time; the table in force goes on
// after a refusal. The error is the first load's or the watcher's own.
func (t *Tiers) Watch(ctx context.Context, path string, report func(error)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch tiers: %w", err)
	}
	defer w.Close()
	// Watching starts before the first load: a change in between is seen.
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch tiers: %w", err)
	}
	changed, err := t.LoadFile(path)
	if err != nil {
		return err
	}
	if changed {
		report(nil)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return nil
			}
			changed, err := t.LoadFile(path)
			if changed || err != nil {
				report(err)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return nil
			}
			// An overflow lost events: look at the file, whatever they were.
			changed, lerr := t.LoadFile(path)
			if lerr != nil {
				err = lerr
			}
			if changed || err != nil {
				report(err)
			}
		}
	}
}
