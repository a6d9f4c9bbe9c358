package upstream

import (
	"cmp"
	"context"
	"fmt"

	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

// ReadTable reads a routes file of at most 1 MiB.
func ReadTable(path string, classes Classes) (*Table, error) {
	text, err := yamlfile.Read(path)
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
	watch, stop := context.WithCancel(ctx)
	defer stop()
	var digest, refused string
	var first error
	err := yamlfile.Watch(watch, path, func() {
		t, err := ReadTable(path, classes())
		switch {
		case err != nil && digest == "":
			first = err
			stop()
		case err != nil && err.Error() != refused:
			refused = err.Error()
			report(nil, err)
		case err == nil && (t.digest != digest || refused != ""):
			if t.digest != digest {
				p.Load(t)
			}
			digest, refused = t.digest, ""
			report(p.Table(), nil)
		}
	})
	return cmp.Or(first, err)
}
