package identity

import "testing"

func TestAddressesDoNotFoldIntoOneAnother(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Ada@Example.com": "ada@example.com", "a+b@x.example": "a+b@x.example",
		"\u212Aelvin@example.com": "", "\u0130@example.com": "", "Ada <ada@example.com>": "", "ada": "", "ada@": "", "a\x00@x.example": "", " ada@x.example": "",
	} {
		got, err := cleanEmail(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}
