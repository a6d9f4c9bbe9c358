package record

import "bytes"

// Commits reports whether a body of the log commits to a personal value: the
// commitment stands in it as an object, which no string of a body looks like.
func Commits(body []byte, p Personal) bool {
	want := append(make([]byte, 0, 64), `{"commit":"`...)
	want = append(appendCommitment(want, p.Field, p.Salt, p.Value), '"', '}')
	return bytes.Contains(body, want)
}
