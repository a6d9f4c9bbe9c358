package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/record"
)

// must is for what cannot fail on the generator's own input.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func leaf(body []byte) tlog.Hash { return record.Leaf(body) }

func salted(format string, args ...any) string {
	s := salt(format, args...)
	return base64.RawURLEncoding.EncodeToString(s[:])
}

func (l *ledger) blockHash(i int64) string {
	var h [1]tlog.Hash
	if err := l.memory.ReadHashes(context.Background(), 8, i, h[:]); err != nil {
		panic(err)
	}
	return h[0].String()
}

// edit changes a record's line; empty removes it.
func edit(file []byte, seq int, change func(string) string) []byte {
	var out []byte
	found := false
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasSuffix(line, fmt.Sprintf(`,"seq":%d}`, seq)) {
			was := line
			line = change(line)
			if found = true; line == was {
				panic("edit changes nothing")
			}
			if line == "" {
				continue
			}
		}
		out = append(append(out, line...), '\n')
	}
	if !found {
		panic("edit finds nothing")
	}
	return out
}

var (
	bodyOf = regexp.MustCompile(`^\{"body":(.*),"leaf":"[^"]*","seq":(\d+)\}$`)
	seqOf  = regexp.MustCompile(`,"seq":(\d+)\}$`)
)

// reLeaf gives a changed line the leaf hash of its new body.
func reLeaf(line string) string {
	m := bodyOf.FindStringSubmatch(line)
	return fmt.Sprintf(`{"body":%s,"leaf":"%s","seq":%s}`, m[1], leaf([]byte(m[1])), m[2])
}

// renumber numbers the records densely from the first's number to the last,
// repeating the last one's content to fill up.
func renumber(file []byte, last int) []byte {
	lines := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
	seq := 0
	for i, line := range lines {
		if seqOf.MatchString(line) {
			seq++
			lines[i] = seqOf.ReplaceAllString(line, fmt.Sprintf(`,"seq":%d}`, seq))
		}
	}
	for ; seq < last; seq++ {
		lines = append(lines, seqOf.ReplaceAllString(lines[len(lines)-1], fmt.Sprintf(`,"seq":%d}`, seq+1)))
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

func lineOf(file []byte, seq int) (string, int) {
	for i, line := range strings.Split(string(file), "\n") {
		if strings.HasSuffix(line, fmt.Sprintf(`,"seq":%d}`, seq)) {
			return line, i
		}
	}
	panic("no such record")
}

func swapLines(file []byte, a, b int) []byte {
	_, i := lineOf(file, a)
	_, k := lineOf(file, b)
	lines := strings.Split(string(file), "\n")
	lines[i], lines[k] = lines[k], lines[i]
	return []byte(strings.Join(lines, "\n"))
}

// swap gives two records each other's content under their own numbers.
func swap(file []byte, a, b int) []byte {
	file = swapLines(file, a, b)
	x, i := lineOf(file, a)
	y, k := lineOf(file, b)
	lines := strings.Split(string(file), "\n")
	lines[i] = seqOf.ReplaceAllString(x, fmt.Sprintf(`,"seq":%d}`, b))
	lines[k] = seqOf.ReplaceAllString(y, fmt.Sprintf(`,"seq":%d}`, a))
	return []byte(strings.Join(lines, "\n"))
}

func sortVectors(list []Vector) {
	slices.SortFunc(list, func(a, b Vector) int {
		return cmp.Or(cmp.Compare(a.Exit, b.Exit), strings.Compare(a.File, b.File))
	})
}

func readme(list []Vector) []byte {
	var b bytes.Buffer
	b.WriteString(`# Test vectors of the audit log

Written by ` + "`go run ./internal/audit/vectors verify/testdata/vectors`" + `, the same bytes
every time. ` + "`vectors.json`" + ` is this table for programs. Each line means: in this
directory, ` + "`openclaw-verify FLAGS FILE`" + ` ends with the exit code, and of those that
end with 1 it names the check and the record (or the range it is in). The format
is described in docs/AUDIT.md. The keys are for tests: their seeds are public.

| file | flags | exit | check | records | what it is |
|---|---|---|---|---|---|
`)
	for _, v := range list {
		where := ""
		if v.Seq > 0 {
			where = fmt.Sprint(v.Seq)
		}
		if v.Last > 0 {
			where += fmt.Sprintf(" to %d", v.Last)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s |\n", v.File, strings.Join(v.Flags, " "), v.Exit, v.Check, where, v.About)
	}
	return b.Bytes()
}
