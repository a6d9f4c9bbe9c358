package verify

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type line struct {
	Body      json.RawMessage
	Seq       int64
	Disclosed map[string]struct{ Value json.RawMessage }
}

// truth is what the log behind the good vectors holds.
func truth(t testing.TB) (bodies map[int64]string, disclosed map[string]bool) {
	bodies, disclosed = map[int64]string{}, map[string]bool{}
	for l := range bytes.Lines(read(t, "good.export")) {
		var r line
		if err := json.Unmarshal(l, &r); err != nil {
			t.Fatal(err)
		}
		bodies[r.Seq] = string(r.Body)
		for field, d := range r.Disclosed {
			disclosed[field+string(d.Value)] = true
		}
	}
	return bodies, disclosed
}

// Whatever is done to a bundle, what passes is true: its records are the log's
// own, under their own numbers, none missing in the range, nothing disclosed
// that was not so.
func FuzzBundle(f *testing.F) {
	for _, name := range []string{"good-one.bundle", "good-none.bundle", "good-disclosed.bundle", "good-previous.bundle",
		"good-rotated.bundle", "good-house.bundle", "good-cosigned.bundle", "bad-commitment.bundle", "bad-old-key.bundle", "good.checkpoint"} {
		f.Add(read(f, name))
	}
	o := Options{Key: string(read(f, "log.vkey")), HouseKey: string(read(f, "house.vkey")), Checkpoint: string(read(f, "top.checkpoint")), Since: string(read(f, "early.checkpoint"))}
	bodies, disclosed := truth(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Verify(bytes.NewReader(b), o)
		if err != nil || r.Wrong != nil {
			return
		}
		if r.Size != 300 || !strings.HasPrefix(r.Origin, "audit.example/audit/") {
			t.Fatalf("believes a checkpoint nobody signed: %+v", r)
		}
		next := r.From
		for l := range bytes.Lines(b) {
			var rec line
			if json.Unmarshal(l, &rec) != nil || rec.Body == nil {
				continue
			}
			if rec.Seq > r.Size {
				break
			}
			if rec.Seq != next || bodies[rec.Seq] != string(rec.Body) {
				t.Fatalf("believes record %d: %s", rec.Seq, rec.Body)
			}
			next++
			for field, d := range rec.Disclosed {
				if !disclosed[field+string(d.Value)] {
					t.Fatalf("believes %s %s", field, d.Value)
				}
			}
		}
		if r.From > 0 && next != r.To+1 {
			t.Fatalf("believes in records up to %d, file has them up to %d", r.To, next-1)
		}
	})
}

// A checkpoint's text is read in one way only, or not at all.
func FuzzCheckpoint(f *testing.F) {
	f.Add(string(read(f, "good.checkpoint")))
	f.Add("a\n1\nAAAA\n\n")
	key := string(read(f, "log.vkey"))
	good := string(read(f, "good.checkpoint"))
	f.Fuzz(func(t *testing.T, msg string) {
		r, err := Verify(strings.NewReader(msg), Options{Key: key})
		if err == nil && r.Wrong == nil && !strings.HasPrefix(msg, good[:strings.Index(good, "\n\n")]) {
			t.Fatalf("took %q", msg)
		}
		// A holder's own note is read without its signatures.
		r, err = Verify(strings.NewReader(msg), Options{Since: msg})
		if err == nil && r.Wrong == nil && r.Size < 0 {
			t.Fatalf("took %q", msg)
		}
	})
}

// Every single byte of a small bundle matters: flip it, and the bundle fails or
// says the same.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	b := read(t, "good-one.bundle")
	key := string(read(t, "log.vkey"))
	bodies, _ := truth(t)
	for i := range b {
		for _, flip := range []byte{1, 0x20, 0x80} {
			changed := bytes.Clone(b)
			changed[i] ^= flip
			r, err := Verify(bytes.NewReader(changed), Options{Key: key})
			if err == nil && r.Wrong == nil && !strings.Contains(string(changed), bodies[256]) {
				t.Errorf("byte %d (%q to %q) went unseen", i, b[i], changed[i])
			}
		}
	}
}

// A good bundle cut anywhere fails.
func TestEveryCut(t *testing.T) {
	t.Parallel()
	b := read(t, "good-one.bundle")
	key := string(read(t, "log.vkey"))
	for i := range b {
		if r, err := Verify(bytes.NewReader(b[:i]), Options{Key: key}); err == nil && r.Wrong == nil {
			t.Errorf("passes when cut after %d bytes", i)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	good := string(read(t, "good-one.bundle"))
	key := string(read(t, "log.vkey"))
	for name, o := range map[string]Options{
		"nothing to trust":    {},
		"bad key":             {Key: "x"},
		"bad since":           {Key: key, Since: "x"},
		"bad witness":         {Key: key, Witnesses: []string{"x"}},
		"log key for witness": {Key: key, Witnesses: []string{key}},
		"more than there are": {Key: key, Quorum: 1},
		"bad house key":       {Key: key, HouseKey: "x"},
		"export, no head":     {Key: key},
	} {
		file := good
		if strings.HasPrefix(name, "export") {
			file = string(read(t, "good.export"))
		}
		if r, err := Verify(strings.NewReader(file), o); err == nil && r.Wrong == nil && len(r.Missing) == 0 {
			t.Errorf("%s: passes", name)
		}
	}
	long := strings.Replace(good, "\n", "\n{\"body\":{\"a\":\""+strings.Repeat("x", MaxLine)+"\"}}\n", 1)
	r, err := Verify(strings.NewReader(long), Options{Key: key})
	if err != nil || r.Wrong == nil || r.Wrong.Check != "format" {
		t.Errorf("long line: %v %+v", err, r)
	}
	deep := strings.Replace(good, "\n", "\n{\"body\":"+strings.Repeat("[", 1<<19)+"\n", 1)
	r, err = Verify(strings.NewReader(deep), Options{Key: key})
	if err != nil || r.Wrong == nil || r.Wrong.Check != "canonical" {
		t.Errorf("deep line: %v %+v", err, r)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"a", "b"}, {"--nosuch", "x"}, {"--key", "nosuchfile", "x"}, {"--key", vectors + "/log.vkey", "nosuchfile"}, {"--since", "nosuchfile", "x"}} {
		var out, errs bytes.Buffer
		if exit := Main("openclaw-verify", args, nil, &out, &errs); exit != 2 || errs.Len() == 0 || out.Len() != 0 {
			t.Errorf("%v: exit %d, %q, %q", args, exit, &out, &errs)
		}
	}
	var out, errs bytes.Buffer
	key := strings.TrimSpace(string(read(t, "log.vkey")))
	if exit := Main("openclaw-verify", []string{"--key", key, "-"}, bytes.NewReader(read(t, "good-one.bundle")), &out, &errs); exit != 0 {
		t.Errorf("key in the flag, file on standard input: exit %d: %s", exit, &errs)
	}
}
