// Package export writes a log's entries for other programs: JSON lines that
// still verify, CSV for spreadsheets, OCSF for security tooling. Each writer
// streams: memory does not grow with the number of entries, and the sequence
// decides what is exported and from where, so a cursor resumes it.
package export

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
)

const buffer = 64 << 10

// JSONL writes the records as committed to, with what may be disclosed, one line
// each: the lines that package verify checks. It returns how many were written
// whole.
func JSONL(w io.Writer, records iter.Seq2[bundle.Record, error]) (n int64, err error) {
	return lines(w, records, bundle.AppendLine)
}

// CSV writes one row for each entry (RFC 4180), after a header where an export
// begins. One that is resumed has none: it continues the file.
func CSV(w io.Writer, header bool, entries iter.Seq2[audit.Entry, error]) (n int64, err error) {
	if header {
		if _, err := io.WriteString(w, csvHeader); err != nil {
			return 0, fmt.Errorf("exporting: %w", err)
		}
	}
	return lines(w, entries, appendRow)
}

// OCSF writes one OCSF event a line: Authentication for logins and tokens, API
// Activity for everything else.
func OCSF(w io.Writer, p Product, entries iter.Seq2[audit.Entry, error]) (n int64, err error) {
	return lines(w, entries, func(dst []byte, e audit.Entry) ([]byte, error) { return p.append(dst, &e) })
}

func lines[T any](w io.Writer, all iter.Seq2[T, error], line func([]byte, T) ([]byte, error)) (n int64, err error) {
	out := bufio.NewWriterSize(w, buffer)
	room := make([]byte, 0, 4096)
	for v, err := range all {
		if err == nil {
			room, err = line(room[:0], v)
		}
		if err == nil {
			_, err = out.Write(room)
		}
		if err != nil {
			_ = out.Flush() // what came before is whole
			return n, fmt.Errorf("exporting after %d entries: %w", n, err)
		}
		n++
	}
	if err := out.Flush(); err != nil {
		return n, fmt.Errorf("exporting after %d entries: %w", n, err)
	}
	return n, nil
}
