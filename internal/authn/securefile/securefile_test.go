package securefile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != Mode {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if text, err := Read(path, 3); err != nil || string(text) != "new" {
		t.Errorf("%q %v", text, err)
	}
	if _, err := Read(path, 2); err == nil {
		t.Error("read more than allowed")
	}
	if err := Write(filepath.Join(dir, "no", "folder"), nil); err == nil {
		t.Error("wrote into nothing")
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "sub"), nil); err == nil {
		t.Error("replaced a folder")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left over: %v %v", left, err)
	}
}

func TestReadersNeverSeeHalves(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	text := func(i int) string { return strings.Repeat(fmt.Sprint(i%10), 10000) }
	if err := Write(path, []byte(text(0))); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 20 {
				if err := Write(path, []byte(text(w+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		got, err := Read(path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if s := string(got); s != strings.Repeat(s[:1], 10000) {
			t.Fatalf("a mixture of %d bytes", len(s))
		}
	}
	wg.Wait()
}
