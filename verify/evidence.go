package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Format is a bundle's "format" member, MaxLine its longest line in bytes.
const (
	Format  = "openclaw-audit-bundle/1"
	MaxLine = 1 << 20
)

// Header is a bundle's first line: everything that proves the records From to To
// (numbered from 1; To is From-1 for none) in the lines after it. Left has the
// complete subtrees before From, Right those after To, both in leaf order. Its one
// spelling is json.Marshal's.
type Header struct {
	Checkpoint string      `json:"checkpoint"`        // signed note with its cosignatures
	Expired    string      `json:"expired,omitempty"` // signed deletion of the records before From
	Format     string      `json:"format"`
	From       int64       `json:"from"`
	House      *House      `json:"house,omitempty"`
	Keys       []string    `json:"keys,omitempty"` // signed successions, oldest first
	Left       []tlog.Hash `json:"left,omitempty"`
	Previous   *Previous   `json:"previous,omitempty"`
	Right      []tlog.Hash `json:"right,omitempty"`
	To         int64       `json:"to"`
}

// House shows that the house log has the checkpoint as its leaf Index.
type House struct {
	Checkpoint string      `json:"checkpoint"`
	Index      int64       `json:"index"`
	Keys       []string    `json:"keys,omitempty"`
	Proof      []tlog.Hash `json:"proof,omitempty"`
	Salt       string      `json:"salt"`
}

// Previous is an earlier checkpoint with its RFC 6962 consistency proof.
type Previous struct {
	Checkpoint string      `json:"checkpoint"`
	Proof      []tlog.Hash `json:"proof,omitempty"`
}

// Commitment stands in a body for a personal value: base64url without padding of
// SHA-256 over 0x02 (RFC 6962 leaves start with 0x00, nodes with 0x01), a label,
// 0x00, the salt, the field's path ("actor.name"), 0x00, the value's canonical JSON.
func Commitment(field string, salt [16]byte, value []byte) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "\x02openclaw commitment v1\x00%s%s\x00%s", salt[:], field, value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// HouseLeaf is the house log's leaf for a tenant's checkpoint.
func HouseLeaf(origin string, salt [16]byte, tree tlog.Tree) []byte {
	commit := Commitment("tenant", salt, []byte(origin))
	return fmt.Appendf(nil, `{"root":"%s","size":%d,"tenant":{"commit":"%s"}}`, tree.Hash, tree.N, commit)
}

func parseSalt(text string) [16]byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	require(err == nil && len(b) == 16, "commitment", "malformed salt")
	return [16]byte(b)
}

// is reports whether raw is the JSON string of a hash, in base64.
func is(raw []byte, h tlog.Hash) bool {
	var b [46]byte
	return bytes.Equal(raw, append(base64.StdEncoding.AppendEncode(append(b[:0], '"'), h[:]), '"'))
}

// disclosed checks revealed values against the body's commitments and gives
// their number.
func disclosed(body, raw []byte) (n int) {
	for field, opening := range members(raw) {
		salt := strings.Trim(string(find(opening, "salt")), `"`)
		shown := find(opening, "value")
		stands := body
		for name := range strings.SplitSeq(field, ".") {
			stands = find(stands, name)
		}
		whole := string(opening) == fmt.Sprintf(`{"salt":"%s","value":%s}`, salt, shown)
		want := fmt.Sprintf(`{"commit":"%s"}`, Commitment(field, parseSalt(salt), shown))
		require(whole && string(stands) == want, "commitment", "%q: the value disclosed is not the one committed to", field)
		n++
	}
	return n
}

// Canonical reports whether b is exactly one value in the JSON Canonicalization
// Scheme (RFC 8785) as records use it: numbers are integers that fit a double
// exactly, member names are ASCII without escapes, so that bytes sort them. Two
// different byte strings that pass never mean the same value.
func Canonical(b []byte) error {
	w := caught(func() { require(len(value(b, 0)) == 0 && utf8.Valid(b), "canonical", "not one value in UTF-8") })
	if w != nil {
		return errors.New(w.Why)
	}
	return nil
}

// value takes a value off b and gives what follows.
func value(b []byte, depth int) []byte {
	require(len(b) > 0 && depth <= 32, "canonical", "no value, or nested too deep") // records need 5
	switch b[0] {
	case '"':
		return text(b)
	case '{', '[':
		closer, last := b[0]+2, []byte(nil) // '{'+2 is '}', '['+2 is ']'
		if len(b) > 1 && b[1] == closer {
			return b[2:]
		}
		for more := true; more; more = b[0] == ',' {
			if b = b[1:]; closer == '}' {
				rest := text(b)
				name := b[1 : len(b)-len(rest)-1]
				require(last == nil || bytes.Compare(last, name) < 0, "canonical", "a name is unsorted or there twice")
				for _, c := range name {
					require(c != '\\' && c < utf8.RuneSelf, "canonical", "a name is not plain")
				}
				require(len(rest) > 0 && rest[0] == ':', "canonical", "no colon")
				last, b = name, rest[1:]
			}
			b = value(b, depth+1)
			require(len(b) > 0 && (b[0] == ',' || b[0] == closer), "canonical", "no comma or end")
		}
		return b[1:]
	}
	end := 0
	for end < len(b) && b[end] != ',' && b[end] != ']' && b[end] != '}' {
		end++
	}
	switch word := string(b[:end]); word {
	case "true", "false", "null":
	default:
		var only [20]byte
		n, err := strconv.ParseInt(word, 10, 64)
		exact := err == nil && -1<<53 < n && n < 1<<53 && string(strconv.AppendInt(only[:0], n, 10)) == word
		require(exact, "canonical", "neither an exact integer in its only form nor a word of JSON")
	}
	return b[end:]
}

// escape is the one way to write what needs one (RFC 8785 section 3.2.2.2).
var escape = regexp.MustCompile(`^\\(["\\bfnrt]|u00(0[0-7bef]|1[0-9a-f]))`)

// text takes a string off b and gives what follows.
func text(b []byte) []byte {
	const ones = 0x0101010101010101
	require(len(b) > 0 && b[0] == '"', "canonical", "no string")
	for i := 1; ; {
		for ; i+8 <= len(b); i += 8 { // past plain bytes, eight at a time
			x := binary.LittleEndian.Uint64(b[i:])
			x = ((x - ones*' ') | ((x ^ ones*'"') - ones) | ((x ^ ones*'\\') - ones)) & (ones << 7)
			if x != 0 {
				i += bits.TrailingZeros64(x) / 8
				break
			}
		}
		require(i < len(b) && b[i] >= ' ', "canonical", "a string with a bare control character or without end")
		if b[i] == '"' {
			return b[i+1:]
		}
		n := 1
		if b[i] == '\\' {
			n = len(escape.Find(b[i:]))
			require(n > 0, "canonical", "an escape that is not the one way")
		}
		i += n
	}
}

// members are an object's, which is known to be canonical.
func members(b []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for more := len(b) > 2 && b[0] == '{'; more; {
			rest := text(b[1:])
			name := string(b[2 : len(b)-len(rest)-1])
			b = value(rest[1:], 1)
			more = yield(name, rest[1:len(rest)-len(b)]) && b[0] == ','
		}
	}
}

// find gives the value of an object's member, or nil.
func find(object []byte, wanted string) []byte {
	for name, v := range members(object) {
		if name == wanted {
			return v
		}
	}
	return nil
}

// trust is what one log's signatures are held against: its keys, each with the
// sizes that it may sign, and witnesses.
type trust struct {
	keys      []*epoch
	verifiers []note.Verifier
}

type epoch struct {
	note.Verifier
	from, to int64
}

func (t *trust) add(v note.Verifier, from int64) {
	t.keys = append(t.keys, &epoch{v, from, math.MaxInt64})
	t.verifiers = append(t.verifiers, v)
}

// newTrust starts from the holder's key and follows the notes, signed by a key
// and its successor, that name the successor: origin, "key" and number, vkey and
// first size, a line each. Notes before the holder's key are passed over.
func newTrust(vkey string, history []string) *trust {
	first, err := note.NewVerifier(strings.TrimSpace(vkey))
	require(err == nil, unjudged, "trusted key: %v", err)
	t := &trust{}
	t.add(first, 0)
	for i, msg := range history {
		text, _, _ := strings.Cut(msg, "\n\n")
		lines := append(strings.Split(text, "\n"), "", "", "", "")
		size, _ := strconv.ParseInt(lines[3], 10, 64)
		next, err := note.NewVerifier(lines[2])
		last := t.keys[len(t.keys)-1]
		want := fmt.Sprintf("%s\nkey %d\n%s\n%d", first.Name(), i+1, lines[2], size)
		sound := err == nil && text == want && size >= last.from && next.Name() == first.Name()
		require(sound, "key history", "note %d is malformed", i+1)
		n, err := note.Open([]byte(msg), note.VerifierList(last, next))
		both := err == nil && len(n.Sigs) == 2
		require(both || len(t.keys) == 1, "key history", "note %d is not signed by the old key and the new", i+1)
		if both {
			last.to = size
			t.add(next, size)
		}
	}
	return t
}

// with adds witnesses, for what is opened through the answer alone.
func (t *trust) with(ws []*witness) *trust {
	out := &trust{t.keys, slices.Clone(t.verifiers)}
	for _, w := range ws {
		out.verifiers = append(out.verifiers, w)
	}
	return out
}

// open checks a signed checkpoint (C2SP tlog-checkpoint): the key of its size
// signed it, and the origin is that key's name. Without keys it only reads it.
func (t *trust) open(msg string) (origin string, tree tlog.Tree) {
	text, _, _ := strings.Cut(msg, "\n\n")
	lines := append(strings.Split(text, "\n"), "", "")
	tree.N, _ = strconv.ParseInt(lines[1], 10, 64)
	tree.Hash, _ = tlog.ParseHash(lines[2])
	origin = lines[0]
	sound := tree.N >= 0 && origin != "" && strings.TrimSuffix(text, "\n") == fmt.Sprintf("%s\n%d\n%s", origin, tree.N, tree.Hash)
	signed := len(t.keys) == 0
	if !signed {
		n, err := note.Open([]byte(msg), note.VerifierList(t.verifiers...))
		require(err == nil, "signature", "checkpoint: %v", err)
		require(sound, "checkpoint", "malformed")
		require(origin == t.keys[0].Name(), "origin", "the checkpoint is of %q, the key of %q", origin, t.keys[0].Name())
		for _, sig := range n.Sigs { // those that verified
			for _, k := range t.keys {
				signed = signed || sig.Hash == k.KeyHash() && sig.Name == k.Name() && k.from <= tree.N && tree.N <= k.to
			}
		}
	}
	require(sound, "checkpoint", "malformed")
	require(signed, "signature", "not signed by the key in force at this size")
	return origin, tree
}

// witness verifies C2SP tlog-cosignature (cosignature/v1) and keeps when.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
	at   time.Time
}

func newWitness(vkey string) *witness {
	p := append(strings.SplitN(strings.TrimSpace(vkey), "+", 3), "", "")
	raw, _ := base64.StdEncoding.DecodeString(p[2])
	sum := sha256.Sum256([]byte(p[0] + "\n" + string(raw)))
	ok := p[0] != "" && p[1] == fmt.Sprintf("%x", sum[:4]) && len(raw) == 1+ed25519.PublicKeySize && raw[0] == 4
	require(ok, unjudged, "witness key: want an Ed25519 cosignature/v1 vkey")
	return &witness{name: p[0], hash: binary.BigEndian.Uint32(sum[:]), key: raw[1:]}
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	unix := binary.BigEndian.Uint64(sig)
	w.at = time.Unix(int64(unix), 0).UTC()
	return ed25519.Verify(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", unix, msg), sig[8:])
}

// frontier is the right edge of an RFC 6962 tree: its complete subtrees by level.
// It needs nothing else to take more leaves or to give its root.
type frontier struct {
	size   int64
	nodes  [64]tlog.Hash // that of level n is there if size has bit n
	block  []byte        // stated for the 256 leaves being added, a JSON string
	mark   int64         // a size whose root to keep in marked
	marked tlog.Hash
}

// add appends a complete subtree of 2^level leaves; size must be a multiple of
// that.
func (f *frontier) add(level int, h tlog.Hash) {
	size := f.size + 1<<level
	for ; f.size>>level&1 == 1; level++ {
		if h = tlog.NodeHash(f.nodes[level], h); level == 7 && f.block != nil {
			if !is(f.block, h) {
				panic(&Wrong{"block", size - 255, size, "their leaf hashes do not have the block hash stated with them"})
			}
			f.block = nil
		}
	}
	f.nodes[level] = h
	if f.size = size; size == f.mark {
		f.marked = f.root()
	}
}

func (f *frontier) root() (h tlog.Hash) {
	if f.size == 0 {
		return sha256.Sum256(nil)
	}
	low := bits.TrailingZeros64(uint64(f.size))
	h = f.nodes[low]
	for level := low + 1; level < 64; level++ {
		if f.size>>level&1 == 1 {
			h = tlog.NodeHash(f.nodes[level], h)
		}
	}
	return h
}

// fill adds the subtrees that cover the leaves up to size n, each the largest
// that its place allows, and reports whether nodes are exactly those.
func (f *frontier) fill(n int64, nodes []tlog.Hash) bool {
	for ; f.size < n && len(nodes) > 0; nodes = nodes[1:] {
		level := bits.Len64(uint64(n-f.size)) - 1
		f.add(min(level, bits.TrailingZeros64(uint64(f.size))), nodes[0]) // 64 zeros in 0
	}
	return f.size == n && len(nodes) == 0
}
