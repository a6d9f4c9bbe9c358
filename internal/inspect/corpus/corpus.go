// Package corpus supplies the texts that detectors are trained and judged on:
// the labelled corpora beside the repository, and grammars that make attacks
// with an innocent twin for each.
package corpus

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

// Dir is where the corpora lie, from the root of the repository.
const Dir = "../shared/corpora/prompt-injection"

// ErrAbsent says that the corpora are not on this machine.
var ErrAbsent = errors.New("the development corpora are absent")

// Example is one labelled text.
type Example struct {
	Text    string `json:"text"`
	Label   int    `json:"label"` // 1 is an attack
	Family  string `json:"family"`
	Source  string `json:"source"`
	Lang    string `json:"lang"`
	Channel string `json:"channel"` // user, tool, model, system
	Way     string `json:"-"`       // the disguise, if it wears one
}

// Load reads every file of the corpora in dir, by name. It returns ErrAbsent
// if there are none.
func Load(dir string) ([]Example, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl.gz"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: no *.jsonl.gz in %s", ErrAbsent, dir)
	}
	sort.Strings(names)
	var all []Example
	for _, name := range names {
		if all, err = load(all, name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func load(all []Example, name string) (_ []Example, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrAbsent, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Example
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		all = append(all, e)
	}
	return all, lines.Err()
}
