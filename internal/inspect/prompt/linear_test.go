package prompt

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever the text, it is read in pieces of bounded size whose sum is bounded
// by a constant times its length, and no byte is left out: work within a piece
// is bounded, so the whole is linear.
func TestPiecesAreLinear(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{
		"prose": "The river is long and the museum opened in 1898. ", "one word": "a", "lines": "\n", "dots": ". ", "spaces": " ", "letters": "a b ",
		"three bytes": "界", "four bytes": "😀", "no text": "\x80", "marks late": strings.Repeat("x", pieceOverlap) + "\n", "percent": "%25", "zero width": "a\u200b",
	} {
		var before int
		for _, n := range []int{1 << 18, 1 << 19, 1 << 20} {
			text := strings.Repeat(unit, n/len(unit)+1)[:n]
			read, covered, pieces := 0, 0, 0
			for start := 0; ; {
				p := piece(text, start)
				if len(p) > pieceSize || start > covered {
					t.Fatalf("%s: a piece of %d bytes at %d, read up to %d", name, len(p), start, covered)
				}
				if utf8.ValidString(unit) && n%len(unit) == 0 && !utf8.ValidString(p) {
					t.Fatalf("%s: the piece at %d is cut inside a character", name, start)
				}
				read, covered, pieces = read+len(p), start+len(p), pieces+1
				following := next(text, start)
				if following == 0 {
					break
				}
				if following <= start {
					t.Fatalf("%s: the piece after %d begins at %d", name, start, following)
				}
				start = following
			}
			if covered != n {
				t.Fatalf("%s: %d of %d bytes are read", name, covered, n)
			}
			if limit := n + n/3 + pieceSize; read > limit {
				t.Errorf("%s: %d bytes are read of %d, in %d pieces", name, read, n, pieces)
			}
			if before > 0 && read > 2*before+pieceSize {
				t.Errorf("%s: twice the text costs %d bytes instead of %d", name, read, before)
			}
			before = read
		}
	}
}
