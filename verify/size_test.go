package verify

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The verifier is for reading: it may shrink, and not grow.
const mostLines, mostColumns = 599, 140

func TestItStaysShort(t *testing.T) {
	t.Parallel()
	lines := 0
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if lines++; len([]rune(strings.TrimSuffix(line, "\n"))) > mostColumns {
				t.Errorf("%s has a line of %d columns: %s", path, len([]rune(line)), line)
			}
		}
		return err
	})
	if err != nil || lines == 0 || lines > mostLines {
		t.Errorf("%d lines, %v", lines, err)
	}
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Archived segments are gzip'd bundles: they say the same, and nothing less than
// all of one passes.
func TestGzip(t *testing.T) {
	t.Parallel()
	key := string(read(t, "log.vkey"))
	for _, name := range []string{"good-one.bundle", "good-whole.bundle", "bad-field.bundle", "bad-truncated.bundle", "good.checkpoint"} {
		plain, perr := Verify(bytes.NewReader(read(t, name)), Options{Key: key})
		packed, zerr := Verify(bytes.NewReader(zipped(t, read(t, name))), Options{Key: key})
		if perr != nil || zerr != nil || plain.String() != packed.String() {
			t.Errorf("%s: %v %v\n%v\ngzip'd:\n%v", name, perr, zerr, plain, packed)
		}
	}
	whole := zipped(t, read(t, "good-one.bundle"))
	good, err := Verify(bytes.NewReader(whole), Options{Key: key})
	if err != nil || good.Wrong != nil {
		t.Fatal(err, good)
	}
	for i := 0; i < len(whole); i += 11 {
		for what, file := range map[string][]byte{"cut": whole[:i], "flipped": append(append(bytes.Clone(whole[:i]), whole[i]^0x10), whole[i+1:]...)} {
			r, err := Verify(bytes.NewReader(file), Options{Key: key})
			if err == nil && r.Wrong == nil && (what == "cut" || r.String() != good.String()) { // some bits say nothing of the content
				t.Errorf("%s at byte %d it passes", what, i)
			}
		}
	}
	r, err := Verify(bytes.NewReader(zipped(t, bytes.Repeat([]byte("x"), 8<<20))), Options{Key: key})
	if err == nil && r.Wrong == nil {
		t.Error("a bomb passes")
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		"0": true, "-1": true, "9007199254740991": true, "-9007199254740991": true,
		"9007199254740992": false, "-9007199254740992": false, "-9223372036854775808": false, "9223372036854775808": false, "-0": false, "1_0": false,
	} {
		passes := func() (ok bool) {
			defer func() { _, wrong := recover().(*Wrong); ok = !wrong }()
			value([]byte("["+in+"]"), 0, nil)
			return
		}()
		if passes != ok {
			t.Errorf("%s: %v", in, passes)
		}
	}
}
