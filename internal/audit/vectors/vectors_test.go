package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The published files are the ones this program writes, twice alike.
func TestPublished(t *testing.T) {
	t.Parallel()
	const dir = "../../../verify/testdata/vectors"
	want, again := files(), files()
	for name, data := range want {
		if !bytes.Equal(data, again[name]) {
			t.Errorf("%s comes out differently each time", name)
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s is not what the program writes (%v)", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if want[e.Name()] == nil {
			t.Errorf("%s is left over", e.Name())
		}
	}
}
