package verify

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// edited changes a file's first line.
func edited(t *testing.T, file, old, with string) []byte {
	t.Helper()
	head, rest, _ := strings.Cut(string(read(t, file)), "\n")
	changed := strings.Replace(head, old, with, 1)
	if changed == head {
		t.Fatalf("%s has no %q", file, old)
	}
	return []byte(changed + "\n" + rest)
}

// What a stranger may send is judged, whatever it is: no panic, nothing believed,
// and the check that is named is the one that fits.
func TestHostileBundles(t *testing.T) {
	t.Parallel()
	const most = "9223372036854775807"
	key := Options{Key: string(read(t, "log.vkey"))}
	whole := read(t, "good-whole.bundle")
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for name, c := range map[string]struct {
		file  []byte
		o     Options
		check string
		seq   int64
	}{
		"from the end of time":    {edited(t, "good-range.bundle", `"from":`, `"from":`+most[:15]), key, "range", 0},
		"to the end of time":      {edited(t, "good-whole.bundle", `"to":300`, `"to":`+most), key, "range", 0},
		"from before the log":     {edited(t, "good-whole.bundle", `"from":1,`, `"from":-1,`), key, "range", 0},
		"to before the log":       {edited(t, "good-whole.bundle", `"to":300`, `"to":-300`), key, "range", 0},
		"nothing, from nowhere":   {edited(t, "good-none.bundle", `"from":1,`, `"from":0,`), key, "range", 0},
		"a fraction":              {edited(t, "good-whole.bundle", `"to":300`, `"to":3e2`), key, "format", 0},
		"more than fits":          {edited(t, "good-whole.bundle", `"to":300`, `"to":1`+most), key, "format", 0},
		"a member twice":          {edited(t, "good-whole.bundle", `"from":1,`, `"from":1,"from":1,`), key, "format", 0},
		"a member's look-alike":   {edited(t, "good-whole.bundle", `"from":1,`, `"ﬀrom":1,"from":1,`), key, "format", 0},
		"a member in capitals":    {edited(t, "good-whole.bundle", `"from":1,`, `"FROM":1,`), key, "format", 0},
		"a house before its log":  {edited(t, "good-house.bundle", `"index":`, `"index":-`), Options{Key: key.Key, HouseKey: string(read(t, "house.vkey"))}, "house", 0},
		"too many hashes":         {edited(t, "good-range.bundle", `"left":["`, `"left":[`+strings.Repeat(`"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",`, 20000)+`"`), key, "range", 0},
		"a header twice":          {append(bytes.Clone(lines[0]), whole...), key, "format", 1},
		"a bundle after it":       {append(bytes.Clone(whole), whole...), key, "format", 301},
		"a record twice":          {bytes.Join(append(append([][]byte{}, lines[:3]...), lines[2:]...), nil), key, "sequence", 2},
		"a record of minus one":   {bytes.Replace(whole, []byte(`"seq":1}`), []byte(`"seq":-1}`), 1), key, "sequence", 1},
		"a number with zeros":     {bytes.Replace(whole, []byte(`"seq":1}`), []byte(`"seq":01}`), 1), key, "canonical", 1},
		"a name beyond ASCII":     {bytes.Replace(whole, []byte(`{"body":{`), []byte(`{"body":{"é":1,`), 1), key, "canonical", 1},
		"a name with an escape":   {bytes.Replace(whole, []byte(`{"body":{`), []byte(`{"body":{"\u0041":1,`), 1), key, "canonical", 1},
		"half a character":        {bytes.Replace(whole, []byte(`{"body":{`), []byte("{\"body\":{\"A\":\"\xff\","), 1), key, "canonical", 1},
		"another tenant's log":    {read(t, "bad-origin.bundle"), key, "", 0},
		"a kept note of another":  {whole, Options{Key: key.Key, Since: "another.example/audit\n3\n" + tlog.Hash{1}.String() + "\n\n— x AAAA\n"}, "signature", 0},
		"a note of endless size":  {[]byte("a.example/audit\n" + most + "\n" + tlog.Hash{1}.String() + "\n\n— x AAAA\n"), Options{Since: "a.example/audit\n" + most + "\n" + tlog.Hash{2}.String() + "\n\n— x AAAA\n"}, "fork", 0},
		"a note of negative size": {[]byte("a.example/audit\n-1\n" + tlog.Hash{1}.String() + "\n\n— x AAAA\n"), Options{Since: "a.example/audit\n1\n" + tlog.Hash{2}.String() + "\n\n— x AAAA\n"}, "checkpoint", 0},
		"a mark before it":        {append([]byte("\ufeff"), whole...), key, "checkpoint", 0},
		"ends of lines of DOS":    {bytes.ReplaceAll(whole, []byte("\n"), []byte("\r\n")), key, "format", 0},
		"nothing at all":          {nil, key, "checkpoint", 0},
	} {
		r, err := Verify(bytes.NewReader(c.file), c.o)
		if err != nil || r.Wrong == nil || c.check != "" && r.Wrong.Check != c.check || r.Wrong.Seq != c.seq {
			t.Errorf("%s: %v, %+v, want %s in record %d", name, err, r.Wrong, c.check, c.seq)
		}
	}
}

// A stranger's text reaches the terminal of who verifies: none of it may hide or
// move what stands there.
func TestNothingMovesTheTerminal(t *testing.T) {
	t.Parallel()
	for _, origin := range []string{"\x1b[8m", "a\x07", "a\u202eb", "a\u2028b", "a\x9b2J", "\xff"} {
		file := origin + "\n3\n" + tlog.Hash{1}.String() + "\n\n— x AAAA\n"
		since := "a.example/audit\n3\n" + tlog.Hash{1}.String() + "\n\n— x AAAA\n"
		for _, o := range []Options{{Since: since}, {Key: string(read(t, "log.vkey"))}, {Since: file}} {
			r, err := Verify(strings.NewReader(file), o)
			if err != nil || r.Wrong == nil || strings.Contains(r.String(), origin) {
				t.Errorf("%q: %v, %q", origin, err, r)
			}
		}
	}
}

// counted is endless input of one kind, and how much of it was read.
type counted struct {
	line []byte
	n    int64
	most int64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.n >= c.most {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) {
		n += copy(p[n:], c.line[(c.n+int64(n))%int64(len(c.line)):])
	}
	c.n += int64(n)
	return n, nil
}

// What is small and unpacks to much is read no further than it is right, in
// memory that does not grow. (Not parallel: it looks at the heap.)
func TestBombs(t *testing.T) {
	const gigabyte = 1 << 30
	key := string(read(t, "log.vkey"))
	head, _, _ := bytes.Cut(read(t, "good-whole.bundle"), []byte("\n"))
	last := bytes.Split(bytes.TrimSpace(read(t, "good.export")), []byte("\n"))
	for name, c := range map[string]struct {
		before, line string
		check        string
		most         int64 // of the unpacked bytes may be read
	}{
		"zeros":          {"", "\x00", "checkpoint", 4 << 20},
		"one line":       {string(head) + "\n", "x", "format", 4 << 20},
		"empty lines":    {string(head) + "\n", "\n", "canonical", 4 << 20},
		"lists in lists": {string(head) + "\n{\"body\":", "[", "format", 4 << 20},
		"one record":     {string(head) + "\n", string(last[4]) + "\n", "sequence", 4 << 20},
		"one block":      {string(head) + "\n", `{"block":"AAAA"}` + "\n", "format", 4 << 20},
	} {
		in := &counted{line: []byte(c.line), most: gigabyte}
		packed, out := io.Pipe()
		go func() {
			gz := gzip.NewWriter(out)
			_, err := io.WriteString(gz, c.before)
			if err == nil {
				_, err = io.Copy(gz, in)
			}
			if err == nil {
				err = gz.Close()
			}
			out.CloseWithError(err)
		}()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := Verify(packed, Options{Key: key})
		runtime.ReadMemStats(&after)
		packed.CloseWithError(io.ErrClosedPipe)
		if err != nil || r.Wrong == nil || r.Wrong.Check != c.check {
			t.Errorf("%s: %v, %+v, want %s", name, err, r.Wrong, c.check)
		}
		// The packer is ahead by what packs into the reader's buffer: far, for zeros.
		if in.n > 3*gigabyte/2 {
			t.Errorf("%s: read %d bytes", name, in.n)
		}
		if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 64<<20 {
			t.Errorf("%s: allocated %d MB", name, grown>>20)
		}
	}
}

// A line that discloses thousands of values, each as committed, is refused at
// once: every one costs a walk through the body.
func TestManyDisclosures(t *testing.T) {
	t.Parallel()
	salt := base64.RawURLEncoding.EncodeToString(make([]byte, 16))
	var body, shown []string
	for i := range 3000 {
		field := fmt.Sprintf("f%04d", i)
		body = append(body, `"`+field+`":`+commitment(field, salt, []byte("1")))
		shown = append(shown, `"`+field+`":{"salt":"`+salt+`","value":1}`)
	}
	text := "{" + strings.Join(body, ",") + "}"
	leaf := sha256.Sum256([]byte("\x00" + text))
	note := "a.example/audit\n1\n" + tlog.Hash(leaf).String() + "\n\n— x AAAA\n"
	line := func(n int) string {
		return `{"body":` + text + `,"disclosed":{` + strings.Join(shown[:n], ",") + `},"seq":1}` + "\n"
	}
	o := Options{Since: note, Checkpoint: note}
	if r := judged(t, []byte(line(64)), o); r.Wrong != nil || r.To != 1 {
		t.Errorf("64: %+v", r.Wrong)
	}
	if r := judged(t, []byte(line(3000)), o); r.Wrong == nil || r.Wrong.Check != "commitment" || r.Wrong.Seq != 1 {
		t.Errorf("3000: %+v", r.Wrong)
	}
}
