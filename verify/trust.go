package verify

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// head is what a checkpoint (C2SP tlog-checkpoint) states.
type head struct {
	tlog.Tree
	origin   string
	cosigned map[string]string // witnesses and their times
}

// parseHead reads a checkpoint without looking at its signatures.
func parseHead(msg string) (h head) {
	text, _, _ := strings.Cut(msg, "\n\n")
	text = strings.TrimSuffix(text, "\n")
	if lines := strings.Split(text, "\n"); len(lines) == 3 {
		h.origin = lines[0]
		h.N, _ = strconv.ParseInt(lines[1], 10, 64)
		h.Hash, _ = tlog.ParseHash(lines[2])
	}
	require(h.N >= 0 && h.origin != "" && text == fmt.Sprintf("%s\n%d\n%s", h.origin, h.N, h.Hash), "checkpoint", "malformed")
	return h
}

// trust is what one log's signatures are held against; an epoch is a key with
// the tree sizes it may sign.
type trust struct {
	keys      []epoch
	witnesses []note.Verifier
}

type epoch struct {
	note.Verifier
	from, to int64
}

// newTrust starts from the holder's key and follows the notes, signed by a key
// and its successor, that name the successor: origin, "key" and number, vkey and
// first size, a line each. Notes before the holder's key are passed over.
func newTrust(vkey string, history []string) *trust {
	first, err := note.NewVerifier(strings.TrimSpace(vkey))
	refuse(err, "trusted key")
	t := &trust{keys: []epoch{{first, 0, math.MaxInt64}}}
	for i, msg := range history {
		text, _, _ := strings.Cut(msg, "\n\n")
		lines := append(strings.Split(text, "\n"), "", "", "", "")
		size, _ := strconv.ParseInt(lines[3], 10, 64)
		next, err := note.NewVerifier(lines[2])
		last := &t.keys[len(t.keys)-1]
		require(err == nil && size >= last.from && next.Name() == first.Name() && text == fmt.Sprintf("%s\nkey %d\n%s\n%d", first.Name(), i+1, lines[2], size),
			"key history", "note %d is malformed", i+1)
		n, err := note.Open([]byte(msg), note.VerifierList(last, next))
		if err == nil && len(n.Sigs) == 2 {
			last.to = size
			t.keys = append(t.keys, epoch{next, size, math.MaxInt64})
		}
		require(len(t.keys) == 1 || t.keys[len(t.keys)-1].Verifier == next, "key history", "note %d is not signed by the old key and the new", i+1)
	}
	return t
}

// open checks a signed checkpoint: the key of its size signed it, and the origin
// is that key's name. Without keys it only reads it.
func (t *trust) open(msg string) head {
	if len(t.keys) == 0 {
		return parseHead(msg)
	}
	known := t.witnesses
	for _, k := range t.keys {
		known = append(known[:len(known):len(known)], k)
	}
	n, err := note.Open([]byte(msg), note.VerifierList(known...))
	require(err == nil, "signature", "checkpoint: %v", err)
	h, signed := parseHead(n.Text), false
	h.cosigned = map[string]string{}
	for _, sig := range n.Sigs {
		for _, k := range t.keys {
			signed = signed || sig.Hash == k.KeyHash() && sig.Name == k.Name() && k.from <= h.N && h.N <= k.to
		}
		for _, w := range t.witnesses {
			if raw, _ := base64.StdEncoding.DecodeString(sig.Base64); sig.Hash == w.KeyHash() && sig.Name == w.Name() {
				at := time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0)
				h.cosigned[sig.Name] = at.UTC().Format(time.RFC3339)
			}
		}
	}
	require(h.origin == t.keys[0].Name(), "origin", "the checkpoint is of %q, the key of %q", h.origin, t.keys[0].Name())
	require(signed, "signature", "not signed by the key in force at this size")
	return h
}

// witness verifies C2SP tlog-cosignature (cosignature/v1).
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(vkey string) *witness {
	p := append(strings.SplitN(strings.TrimSpace(vkey), "+", 3), "", "", "")
	raw, err := base64.StdEncoding.DecodeString(p[2])
	sum := sha256.Sum256([]byte(p[0] + "\n" + string(raw)))
	w := &witness{name: p[0], hash: binary.BigEndian.Uint32(sum[:])}
	if err != nil || p[0] == "" || p[1] != fmt.Sprintf("%08x", w.hash) || len(raw) != 1+ed25519.PublicKeySize || raw[0] != 4 {
		refuse(fmt.Errorf("want an Ed25519 cosignature/v1 vkey"), "witness key")
	}
	w.key = raw[1:]
	return w
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(msg, sig []byte) bool {
	return len(sig) == 8+ed25519.SignatureSize &&
		ed25519.Verify(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg), sig[8:])
}
