package checkpoint

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Deletion states that the bodies of the records First to Last of a log are
// deleted, and with the deletions before it all up to Last. Tree is the log's
// first Last records. Month is when they were published, Days the retention in
// force, At when it was signed.
type Deletion struct {
	Number int
	First  int64
	Tree   tlog.Tree
	Month  time.Time
	Days   int
	At     time.Time
}

// Text is what is signed. Its first line is no log's origin and its second no
// size, so that it passes for no checkpoint and no succession, nor they for it.
func (d Deletion) Text(origin string) string {
	return fmt.Sprintf("%s/deletions\ndeletion %d\n%d %d\n%s\n%s\n%d\n%s\n", origin, d.Number, d.First, d.Tree.N,
		d.Month.UTC().Format("2006-01"), d.Tree.Hash, d.Days, d.At.UTC().Format(time.RFC3339))
}

// Sign makes the signed note. The caller has made sure that it is true and that
// nothing is deleted before the note is durable.
func (d Deletion) Sign(s *Signer) ([]byte, error) {
	if d.Number < 1 || d.First < 1 || d.Tree.N < d.First || d.Days < 1 || d.Month.IsZero() || d.At.IsZero() {
		return nil, errors.New("signing deletion: a member is missing or out of range")
	}
	return note.Sign(&note.Note{Text: d.Text(s.origin)}, s)
}
