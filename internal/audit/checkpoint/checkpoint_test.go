package checkpoint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/verify"
)

const origin = "audit.example/audit/t1"

func key(name string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(sum[:])
}

func signer(t *testing.T, origin, name string) *Signer {
	t.Helper()
	s, err := NewSigner(origin, key(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var tree = tlog.Tree{N: 42, Hash: tlog.RecordHash([]byte("root"))}

func TestSignAndOpen(t *testing.T) {
	t.Parallel()
	s, other := signer(t, origin, "a"), signer(t, origin, "b")
	signed, err := Sign(tree, s)
	if err != nil {
		t.Fatal(err)
	}
	if want := origin + "\n42\n" + tree.Hash.String() + "\n\n— " + origin + " "; !strings.HasPrefix(string(signed), want) {
		t.Errorf("signed %s", signed)
	}
	if got, err := Open(signed, origin, other.Verifier(), s.Verifier()); err != nil || got != tree {
		t.Errorf("opened %v, %v", got, err)
	}
	if _, err := Open(signed, origin, other.Verifier()); err == nil {
		t.Error("opened with another key")
	}
	if _, err := Open(signed, "audit.example/audit/t2", s.Verifier()); err == nil {
		t.Error("opened as another log's")
	}
	if _, err := Sign(tlog.Tree{N: -1}, s); err == nil {
		t.Error("signed a negative size")
	}
	// Extension lines could carry what a witness and a tenant read differently.
	extended, _ := note.Sign(&note.Note{Text: origin + "\n42\n" + tree.Hash.String() + "\nmore\n"}, s)
	if _, err := Open(extended, origin, s.Verifier()); err == nil {
		t.Error("opened a checkpoint with an extension")
	}
	if signer(t, origin, "a").KeyHash() == signer(t, HouseOrigin("audit.example"), "a").KeyHash() {
		t.Error("one key has the same id under two origins")
	}
}

// faulty is a KMS that answers wrongly.
type faulty struct {
	ed25519.PrivateKey
	sign func(msg []byte) ([]byte, error)
}

func (f faulty) Sign(_ io.Reader, msg []byte, _ crypto.SignerOpts) ([]byte, error) {
	return f.sign(msg)
}

func TestFaultyKey(t *testing.T) {
	t.Parallel()
	away := errors.New("kms away")
	for name, sign := range map[string]func([]byte) ([]byte, error){
		"away":        func([]byte) ([]byte, error) { return nil, away },
		"another key": func(msg []byte) ([]byte, error) { return ed25519.Sign(key("b"), msg), nil },
		"another msg": func(msg []byte) ([]byte, error) { return ed25519.Sign(key("a"), append(msg, 'x')), nil },
		"nothing":     func([]byte) ([]byte, error) { return nil, nil },
	} {
		s, err := NewSigner(origin, faulty{key("a"), sign})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := Sign(tree, s); err == nil {
			t.Errorf("%s: signed %s", name, out)
		}
	}
	elliptical, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if _, err := NewSigner(origin, elliptical); err == nil {
		t.Error("took an ECDSA key")
	}
	for _, bad := range []string{"", "a b", "a+b", "a\nb", "\xff"} {
		if _, err := NewSigner(bad, key("a")); err == nil {
			t.Errorf("took the origin %q", bad)
		}
	}
}

// A holder of the first key follows two successions; a note of one kind is never
// taken for the other.
func TestSucceed(t *testing.T) {
	t.Parallel()
	a, b, c := signer(t, origin, "a"), signer(t, origin, "b"), signer(t, origin, "c")
	one, err := Succeed(1, 10, a, b)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Succeed(2, 20, b, c)
	if err != nil {
		t.Fatal(err)
	}
	check := func(h verify.Header, key string) string {
		h.Format, h.From, h.Right = verify.Format, 1, []tlog.Hash{tree.Hash}
		line, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.Verify(strings.NewReader(string(line)+"\n"), verify.Options{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if r.Wrong == nil {
			return ""
		}
		return r.Wrong.Check
	}
	sized := func(n int64, s *Signer) string {
		signed, err := Sign(tlog.Tree{N: n, Hash: tree.Hash}, s)
		if err != nil {
			t.Fatal(err)
		}
		return string(signed)
	}
	keys := []string{string(one), string(two)}
	// One leaf, so that the root is the leaf: sizes of other trees fail later,
	// at the range, which here means that the signature held.
	for _, x := range []struct {
		checkpoint string
		keys       []string
		trusted    *Signer
		want       string
	}{
		{sized(32, c), keys, a, ""},
		{sized(32, c), keys, b, ""},
		{sized(32, c), keys, c, ""},
		{sized(32, c), keys[:1], a, "signature"},
		{sized(32, c), keys[1:], a, "key history"},
		{sized(32, b), keys, a, "signature"},
		{sized(16, b), keys, a, ""},
		{sized(8, b), keys, a, "signature"},
		{sized(8, a), keys, a, ""},
		{sized(16, a), keys, a, "signature"},
		{sized(32, a), nil, a, ""},
		{sized(32, c), []string{string(two), string(one)}, a, "key history"},
		{string(one), nil, a, "checkpoint"},
		{sized(32, c), []string{sized(10, a)}, a, "key history"},
	} {
		if got := check(verify.Header{Checkpoint: x.checkpoint, Keys: x.keys}, x.trusted.Verifier()); got != x.want {
			t.Errorf("%.60q with %d notes: caught by %q, want %q", x.checkpoint, len(x.keys), got, x.want)
		}
	}
	for _, bad := range []func() ([]byte, error){
		func() ([]byte, error) { return Succeed(0, 1, a, b) },
		func() ([]byte, error) { return Succeed(1, -1, a, b) },
		func() ([]byte, error) { return Succeed(1, 1, a, a) },
		func() ([]byte, error) { return Succeed(1, 1, a, signer(t, "other/audit", "b")) },
	} {
		if _, err := bad(); err == nil {
			t.Error("made a bad succession")
		}
	}
}

func TestAddCosignatures(t *testing.T) {
	t.Parallel()
	signed, _ := Sign(tree, signer(t, origin, "a"))
	for _, bad := range []string{"", "x", "— a b\n— c d", "- a b"} {
		if _, err := AddCosignatures(signed, bad); err == nil {
			t.Errorf("added %q", bad)
		}
	}
	once, err := AddCosignatures(signed, "— w AAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := AddCosignatures(once, "— w AAAAAAA=\n"); err != nil || string(twice) != string(once) {
		t.Errorf("added twice: %s, %v", twice, err)
	}
}
