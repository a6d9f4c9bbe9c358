package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

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
	b := append([]byte("\x02openclaw commitment v1\x00"), salt[:]...)
	b = append(append(append(b, field...), 0), value...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// HouseLeaf is the house log's leaf for a tenant's checkpoint.
func HouseLeaf(origin string, salt [16]byte, tree tlog.Tree) []byte {
	return fmt.Appendf(nil, `{"root":"%s","size":%d,"tenant":{"commit":"%s"}}`, tree.Hash, tree.N, Commitment("tenant", salt, []byte(origin)))
}

func parseSalt(s string) (salt [16]byte) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	require(err == nil && len(b) == len(salt), "commitment", "malformed salt")
	return [16]byte(b)
}

// parseHash reads a JSON string of 32 bytes in base64, in its one spelling.
func parseHash(raw []byte) tlog.Hash {
	var b [33]byte
	require(len(raw) == 46, "format", "malformed hash")
	n, err := strictBase64.Decode(b[:], raw[1:45])
	require(n == 32 && err == nil, "format", "malformed hash")
	return tlog.Hash(b[:32])
}

var strictBase64 = base64.StdEncoding.Strict()

// disclosed checks revealed values against the body's commitments and gives
// their number.
func disclosed(body, raw []byte) int {
	var fields, field scanner
	fields.scan(raw) // canonical, as part of the line
	for _, f := range fields.members {
		field.scan(f.value)
		m := append(field.members, member{}, member{})
		require(len(m) == 4 && string(m[0].name) == "salt" && string(m[1].name) == "value", "commitment", "%q: want salt and value", f.name)
		salt := parseSalt(strings.Trim(string(m[0].value), `"`))
		want := `{"commit":"` + Commitment(string(f.name), salt, m[1].value) + `"}`
		require(string(find(body, string(f.name))) == want, "commitment", "%q: the value disclosed is not the one committed to", f.name)
	}
	return len(fields.members)
}

// find gives the value at a path of member names joined by dots, or null.
func find(value []byte, path string) []byte {
	for name := range strings.SplitSeq(path, ".") {
		var s scanner
		s.scan(value)
		value = []byte("null")
		for _, m := range s.members {
			if string(m.name) == name {
				value = m.value
			}
		}
	}
	return value
}
