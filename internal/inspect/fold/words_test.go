package fold

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// The list decides what splitting, leet and the ciphers take for words, so the
// weights depend on it: who changes it makes them anew (make train) and writes
// the digest here.
func TestWordsHold(t *testing.T) {
	t.Parallel()
	const want = "9325f321ac3552ac"
	sum := sha256.Sum256([]byte(wordList))
	if got := hex.EncodeToString(sum[:8]); got != want {
		t.Errorf("digest %s, want %s: the weights must be made anew", got, want)
	}
	words := strings.Fields(wordList)
	if !slices.IsSorted(words) || len(slices.Compact(slices.Clone(words))) != len(words) {
		t.Error("the words are not in order, or repeat")
	}
	for _, w := range words {
		if len(w) > longest || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q is too long, or not of small letters", w)
		}
		if !Common([]byte(strings.ToUpper(w))) {
			t.Errorf("%q is not found", w)
		}
	}
	h := uint64(fnvOffset)
	for _, c := range []byte("instruct") {
		h = (h ^ uint64(c)) * fnvPrime
		if !vocab.leads(h) {
			t.Errorf("nothing begins with what leads to %q", c)
		}
	}
}
