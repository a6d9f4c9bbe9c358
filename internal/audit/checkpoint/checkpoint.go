// Package checkpoint signs what a log states about itself: its size and root as
// a C2SP tlog-checkpoint, the succession of its keys, and what was deleted.
//
// A log's key carries the log's origin as its name, so whoever holds the key
// knows which log it speaks for. One Ed25519 key can serve many origins: its
// key ids differ, since they hash the name too.
package checkpoint

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Origin names a tenant's log: "<host>/audit/<tenant id>".
func Origin(host, tenant string) string { return host + "/audit/" + tenant }

// HouseOrigin names the house log: "<host>/audit".
func HouseOrigin(host string) string { return host + "/audit" }

// Signer is a log's key: a note.Signer whose Verifier can be handed out.
type Signer struct {
	origin string
	vkey   string
	hash   uint32
	key    crypto.Signer
}

// NewSigner binds an Ed25519 key, which may live in a KMS, to an origin.
func NewSigner(origin string, key crypto.Signer) (*Signer, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("making the signer of %s: the key is a %T, not Ed25519", origin, key.Public())
	}
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, fmt.Errorf("making the signer of %s: %w", origin, err)
	}
	v, err := note.NewVerifier(vkey) // refuses origins that cannot be key names
	if err != nil {
		return nil, fmt.Errorf("making the signer of %s: %w", origin, err)
	}
	return &Signer{origin, vkey, v.KeyHash(), key}, nil
}

// Name is the log's origin.
func (s *Signer) Name() string { return s.origin }

// KeyHash is the C2SP signed-note key id.
func (s *Signer) KeyHash() uint32 { return s.hash }

// Verifier is the public key as a C2SP vkey: what a tenant keeps.
func (s *Signer) Verifier() string { return s.vkey }

// Sign signs a note's text and checks the result: a KMS that answers with
// another key's signature must not get it published.
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	sig, err := s.key.Sign(nil, msg, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("signing for %s: %w", s.origin, err)
	}
	if !ed25519.Verify(s.key.Public().(ed25519.PublicKey), msg, sig) {
		return nil, fmt.Errorf("signing for %s: the key gave a signature that does not verify", s.origin)
	}
	return sig, nil
}

// Sign makes the signed checkpoint of a tree. The caller must have made sure
// that the tree contains every tree this origin has signed before.
func Sign(tree tlog.Tree, s *Signer) ([]byte, error) {
	if tree.N < 0 {
		return nil, errors.New("signing checkpoint: negative size")
	}
	text := torchwood.Checkpoint{Origin: s.origin, Tree: tree}.String()
	return note.Sign(&note.Note{Text: text}, s)
}

// Open checks a signed checkpoint against the verifier keys of its log, any of
// which may have signed, and gives its tree.
func Open(signed []byte, origin string, vkeys ...string) (tlog.Tree, error) {
	var known []note.Verifier
	for _, k := range vkeys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return tlog.Tree{}, fmt.Errorf("opening checkpoint of %s: %w", origin, err)
		}
		known = append(known, v)
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("opening checkpoint of %s: %w", origin, err)
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("opening checkpoint of %s: %w", origin, err)
	}
	if c.Origin != origin || c.Extension != "" {
		return tlog.Tree{}, fmt.Errorf("opening checkpoint of %s: it is of %q", origin, c.Origin)
	}
	return c.Tree, nil
}

// Succeed makes the signed note in which the old key names its successor for
// checkpoints of size and more; number counts the log's successions from 1. Both
// keys sign: the old one vouches, the new one shows that it exists. The notes of
// a log, oldest first, let a holder of any earlier key follow.
//
// The text's second line cannot be a checkpoint's, so neither note passes for
// the other.
func Succeed(number int, size int64, old, next *Signer) ([]byte, error) {
	if number < 1 || size < 0 || old.origin != next.origin || old.vkey == next.vkey {
		return nil, fmt.Errorf("succeeding the key of %s: numbers or keys do not fit", old.origin)
	}
	text := fmt.Sprintf("%s\nkey %d\n%s\n%d\n", old.origin, number, next.vkey, size)
	return note.Sign(&note.Note{Text: text}, old, next)
}

// AddCosignatures appends witnesses' signature lines to a signed checkpoint.
// The caller has verified them.
func AddCosignatures(signed []byte, lines ...string) ([]byte, error) {
	out := string(signed)
	for _, line := range lines {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "— ") || strings.Contains(line, "\n") {
			return nil, errors.New("adding cosignature: not a signature line")
		}
		if !strings.Contains(out, line+"\n") {
			out += line + "\n"
		}
	}
	return []byte(out), nil
}
