package verify

import (
	"bytes"
	"regexp"
	"strconv"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// Format is a bundle's "format" member, MaxLine its longest line in bytes.
const Format, MaxLine = "openclaw-audit-bundle/1", 1 << 20

// Header is a bundle's first line: all that proves the records From to To (numbered from 1; To is
// From-1 for none) in the lines after it. Left has the complete subtrees before From, Right those
// after To, both in leaf order. Its one spelling is json.Marshal's.
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

// Options say what to hold the evidence against. Key or Since is required.
type Options struct {
	Key        string   // the log's verifier key (C2SP signed-note vkey)
	Since      string   // an earlier checkpoint that the holder kept
	Checkpoint string   // for an export: the signed checkpoint that covers it
	HouseKey   string   // the house log's verifier key
	Witnesses  []string // witness keys (cosignature/v1 vkeys)
	Quorum     int      // how many of them must have signed; 0 for all
}

// Report is what was found. Wrong is nil when every check held. Missing lists what was asked for but
// the file could not answer, Unchecked what nobody asked for or no file can show.
type Report struct {
	Origin    string   `json:"origin"`
	Size      int64    `json:"size"`
	Root      string   `json:"root"`
	From      int64    `json:"from"`
	To        int64    `json:"to"`
	Wrong     *Wrong   `json:"wrong"`
	Checked   []string `json:"checked"`
	Missing   []string `json:"missing"`
	Unchecked []string `json:"unchecked"`
}

// Wrong is the first thing found wrong: in record Seq, somewhere from Seq to
// Last, or (Seq 0) in no single record. Check names the check that caught it.
type Wrong struct {
	Check string `json:"check"`
	Seq   int64  `json:"seq,omitempty"`
	Last  int64  `json:"last,omitempty"`
	Why   string `json:"why"`
}

// members are those of an object that is known to be canonical; nothing else has any.
func members(object []byte) (all map[string][]byte) {
	if len(object) > 0 && object[0] == '{' {
		all = map[string][]byte{}
		value(object, 1, func(name, v []byte) { all[string(name)] = v })
	}
	return all
}

// value takes a value off b, in the JSON Canonicalization Scheme (RFC 8785) as records use it, and
// gives what follows; visit sees its members. Numbers are integers that fit a double exactly, names
// ASCII without escapes, so that bytes sort them: no two byte strings in UTF-8 mean the same.
func value(b []byte, depth int, visit func(name, v []byte)) []byte {
	require(len(b) > 0 && depth <= 32, "canonical", "no value, or nested too deep") // records need 5
	switch b[0] {
	case '"':
		return text(b)
	case '{', '[':
		end, last := b[0]+2, []byte(nil) // '{'+2 is '}', '['+2 is ']'
		if len(b) > 1 && b[1] == end {
			return b[2:]
		}
		for more := true; more; more = b[0] == ',' {
			if b = b[1:]; end == '}' {
				rest := text(b)
				name := b[1 : len(b)-len(rest)-1]
				plain := len(rest) > 0 && rest[0] == ':' && (last == nil || bytes.Compare(last, name) < 0)
				for _, c := range name {
					plain = plain && c != '\\' && c < utf8.RuneSelf
				}
				require(plain, "canonical", "a name is not plain, unsorted, there twice or without a colon")
				last, b = name, rest[1:]
			}
			v := b
			b = value(b, depth+1, nil)
			require(len(b) > 0 && (b[0] == ',' || b[0] == end), "canonical", "no comma or end")
			if visit != nil {
				visit(last, v[:len(v)-len(b)])
			}
		}
		return b[1:]
	}
	word := string(b[:max(0, bytes.IndexAny(b, ",]}"))])
	number, err := strconv.ParseInt(word, 10, 64)
	only := strconv.AppendInt(make([]byte, 0, 20), number, 10)
	exact := err == nil && -1<<53 < number && number < 1<<53 && string(only) == word
	require(exact || word == "true" || word == "false" || word == "null", "canonical", "no exact integer in its only form, nor a word")
	return b[len(word):]
}

// The one way to escape what must be (RFC 8785 section 3.2.2.2).
var escape = regexp.MustCompile(`^\\(["\\bfnrt]|u00(0[0-7bef]|1[0-9a-f]))`)

// text takes a string off b and gives what follows.
func text(b []byte) []byte {
	require(len(b) > 0 && b[0] == '"', "canonical", "no string")
	for i := 1; i < len(b) && b[i] >= ' '; i++ {
		switch b[i] {
		case '"':
			return b[i+1:]
		case '\\':
			n := len(escape.Find(b[i:]))
			require(n > 0, "canonical", "an escape that is not the one way")
			i += n - 1
		}
	}
	panic(&Wrong{Check: "canonical", Why: "a string without end, or with a bare control character"})
}
