package tally_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit/tally"
)

const child = "OPENCLAW_TALLY_CHILD"

// The process that is killed: it counts and says after each count how far it is.
func TestMain(m *testing.M) {
	dir := os.Getenv(child)
	if dir == "" {
		os.Exit(m.Run())
	}
	f, err := tally.Create(dir, uuid.New())
	if err != nil {
		panic(err)
	}
	a, b := f.Counter([16]byte{1}), f.Counter([16]byte{2})
	for i := 1; ; i++ {
		a.Add(1)
		b.Add(2)
		fmt.Println(i)
	}
}

func TestCountsOutliveAKill(t *testing.T) {
	t.Parallel()
	for round := range 20 {
		dir := t.TempDir()
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), child+"="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		told := int64(0)
		for told < int64(1+37*round) && lines.Scan() {
			told++
		}
		if l, err := tally.Leftovers(dir); err != nil || len(l) != 0 {
			t.Fatalf("a living process's file is taken for a dead one's: %v, %v", l, err)
		}
		_ = c.Process.Kill()
		for lines.Scan() { // what it said before it died
			told++
		}
		_ = c.Wait()
		found, err := tally.Leftovers(dir)
		if err != nil || len(found) != 1 || !found[0].Exact {
			t.Fatalf("%v, %v", found, err)
		}
		a, b := found[0].Counts[[16]byte{1}], found[0].Counts[[16]byte{2}]
		if a != told && a != told+1 || b != 2*told && b != 2*told+2 {
			t.Fatalf("the file says %d and %d, the process said %d", a, b, told)
		}
		if again, err := tally.Leftovers(dir); err != nil || len(again) != 0 {
			t.Fatalf("two readers have one file: %v, %v", again, err)
		}
		found[0].Release()
		if again, err := tally.Leftovers(dir); err != nil || len(again) != 1 || again[0].Remove() != nil {
			t.Fatalf("after a release: %v, %v", again, err)
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"a.tally": "", "b.tally": "x", "c.tally": string(make([]byte, 4096+4096*32)), "d.txt": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := tally.Leftovers(dir); err == nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if found, err := tally.Leftovers(filepath.Join(dir, "nowhere")); err != nil || len(found) != 0 {
		t.Errorf("no folder: %v, %v", found, err)
	}
}

// After a reboot the file may be older than its counts.
func TestAnotherBootIsNotExact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := tally.Create(dir, uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	f.Counter([16]byte{7}).Add(3)
	name, _ := filepath.Glob(filepath.Join(dir, "*.tally"))
	b, err := os.ReadFile(name[0])
	if err != nil {
		t.Fatal(err)
	}
	b[40] ^= 1
	if err := os.WriteFile(filepath.Join(dir, "old.tally"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := tally.Leftovers(dir)
	if err != nil || len(found) != 1 || found[0].Exact || found[0].Counts[[16]byte{7}] != 3 {
		t.Errorf("%v, %v", found, err)
	}
	for range 2 {
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestSlotsRunOut(t *testing.T) {
	t.Parallel()
	f, err := tally.Create(t.TempDir(), uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Remove() }()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 4096 {
				if c := f.Counter([16]byte{byte(i), byte(i >> 8)}); c == nil {
					t.Error("no slot")
				} else {
					c.Add(int64(w))
				}
			}
		}()
	}
	wg.Wait()
	if f.Counter([16]byte{255, 255, 255}) != nil {
		t.Error("a slot past the last")
	}
	if n := f.Counter([16]byte{5, 5}).Load(); n != 6 {
		t.Errorf("a counter has %d of 6", n)
	}
}
