package password

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"golang.org/x/text/unicode/norm"
)

// Limits of a password, in characters of its NFKC form, and in bytes before it:
// one character may become eighteen.
const (
	MinLength = 12
	MaxLength = 128
	maxBytes  = 1024
)

// minBits is the work an attacker who knows the usual tricks must at least have,
// as a power of two: ten thousand million guesses, or six years of one core at
// 20 ms each.
const minBits = 33

// normalize returns the form that is hashed.
func normalize(password string) (string, error) {
	if len(password) > maxBytes {
		return "", fault.New(fault.Unprocessable, "the password is longer than %d bytes", maxBytes)
	}
	if !utf8.ValidString(password) {
		return "", fault.New(fault.Unprocessable, "the password is not valid UTF-8")
	}
	normal := norm.NFKC.String(password)
	n := utf8.RuneCountInString(normal)
	switch {
	case n == 0:
		return "", fault.New(fault.Unprocessable, "the password is empty")
	case n > MaxLength:
		return "", fault.New(fault.Unprocessable, "the password is longer than %d characters", MaxLength)
	}
	for _, r := range normal {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Cs, r) {
			return "", fault.New(fault.Unprocessable, "the password holds a control character")
		}
	}
	return normal, nil
}

// Check judges a new password. about is what an attacker would try first: the
// user's e-mail address and name, the tenant's name. The error is
// fault.Unprocessable with words for the person; it never quotes the password.
// There are no rules about kinds of characters: NIST SP 800-63B, 3.1.1.2, found
// that they make passwords worse.
func Check(password string, about ...string) error {
	normal, err := normalize(password)
	if err != nil {
		return err
	}
	if n := utf8.RuneCountInString(normal); n < MinLength {
		return fault.New(fault.Unprocessable, "the password has %d characters, want at least %d", n, MinLength)
	}
	if bits(normal, words(about)) < minBits {
		return fault.New(fault.Unprocessable, "the password is too easy to guess: it is made of common passwords, names that belong to this account, repetitions or keyboard patterns; four words that have nothing to do with each other make a good one")
	}
	return nil
}

// words cuts what is known about the account into what people make passwords of.
func words(about []string) map[string]bool {
	set := map[string]bool{"openclaw": true, "claw": true}
	for _, text := range about {
		if len(text) > maxBytes || !utf8.ValidString(text) {
			continue
		}
		text = strings.ToLower(norm.NFKC.String(text))
		local, _, _ := strings.Cut(text, "@")
		add := func(w string) {
			if n := utf8.RuneCountInString(w); n >= 3 && n <= maxWord {
				set[w] = true
			}
		}
		add(text)
		add(local)
		parts := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		for i, part := range parts {
			add(part)
			if i > 0 {
				add(parts[i-1] + part)
			}
		}
	}
	return set
}
