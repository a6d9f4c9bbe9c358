package password

import (
	"crypto/rand"
	"strings"
)

// Crockford's base 32 in lower case: no i, l, o or u to misread or to spell
// something with.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// OneTime makes a password to be shown once and changed: six groups of four,
// 120 bits, as in 7k2m-….
func OneTime() string {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw) // never fails: crypto/rand
	var b strings.Builder
	for i, c := range raw {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[c&31])
	}
	return b.String()
}
