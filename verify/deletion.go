package verify

import (
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// deletion checks a signed deletion against the tree of all records before the
// range, which it must end at: origin with "/deletions", "deletion" and number,
// first and last record, month, root, days of retention and time, a line each.
func (j *job) deletion(msg string) {
	if msg == "" {
		return
	}
	text, _, _ := strings.Cut(msg, "\n\n")
	lines := strings.Split(text, "\n")
	var number, first, last int64
	_, err := fmt.Sscanf(strings.Join(lines[:min(3, len(lines))], " ")+".", j.Origin+"/deletions deletion %d %d %d.", &number, &first, &last)
	require(err == nil && len(lines) == 7 && number > 0 && first > 0 && first <= last && last == j.From-1 &&
		strings.HasPrefix(text, fmt.Sprintf("%s/deletions\ndeletion %d\n%d %d\n", j.Origin, number, first, last)),
		"deletion", "the statement is malformed or of other records than 1 to %d", j.From-1)
	require(lines[4] == j.tree.root().String(), "deletion", "the records 1 to %d have another root than the one it states", last)
	if len(j.trust.keys) == 0 {
		j.note(&j.Unchecked, "the signature of deletion %d: no key was given", number)
		return
	}
	var known []note.Verifier
	for _, k := range j.trust.keys {
		known = append(known, k)
	}
	_, err = note.Open([]byte(msg), note.VerifierList(known...))
	require(err == nil, "deletion", "%v", err)
	j.note(&j.Checked, "records 1 to %d: expired, by signed deletion %d of %s, %s days of retention, signed %s; their hashes stay", last, number, lines[3], lines[5], lines[6])
}
