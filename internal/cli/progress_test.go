package cli

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name, format, text, want string
		on                       bool
	}{
		{"lines", "jsonl", strings.Repeat(`{"a":"\""}`+"\n", 50), "[###############...............] 50 of at most 100 events, 0.0 MB, 25 events/s\n", true},
		{"CSV", "csv", "seq,x\r\n" + strings.Repeat("1,\"a\n\"\"b\r\n\"\r\n", 100), "[##############################] 100 of at most 100 events, 0.0 MB, 50 events/s\n", true},
		{"the rest of a CSV", "csv, resumed", "7,\"a\"\r\n", "[..............................] 1 of at most 100 events, 0.0 MB, 0 events/s\n", true},
		{"nothing", "jsonl", "", "[..............................] 0 of at most 100 events, 0.0 MB, 0 events/s\n", true},
		{"no terminal", "jsonl", "{}\n", "", false},
	} {
		var out bytes.Buffer
		p := newProgress(&out, c.format != "jsonl", c.format == "csv", 100)
		p.on, p.begun, p.now = c.on, now.Add(-2*time.Second), func() time.Time { return now }
		for _, b := range []byte(c.text) { // however it is cut
			if _, err := p.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		p.end()
		if !strings.HasSuffix(out.String(), c.want) || !c.on && out.Len() > 0 {
			t.Errorf("%s: %q", c.name, out.String())
		}
		// Drawn once at first and once at the end: no faster than ten times a second.
		if n := strings.Count(out.String(), "\r"); c.on && n > 2 {
			t.Errorf("%s: drawn %d times in no time", c.name, n)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, w := range map[string]io.Writer{"/dev/null": null, "a buffer": &bytes.Buffer{}} {
		if terminal(w) {
			t.Errorf("%s is a terminal", name)
		}
	}
	if p := newProgress(io.Discard, false, false, -3); p.total != 0 {
		t.Error("a negative total")
	}
}
