// Package verify checks, offline, what an audit log gives out: proof bundles,
// whole exports and checkpoints (docs/AUDIT.md has the formats). It needs only
// the standard library and golang.org/x/mod, and is short, so that somebody who
// does not trust the log's operator can read all of it.
package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Options say what to hold the evidence against. Key or Since is required.
type Options struct {
	Key        string   // the log's verifier key (C2SP signed-note vkey)
	Since      string   // an earlier checkpoint that the holder kept
	Checkpoint string   // for an export: the signed checkpoint that covers it
	HouseKey   string   // the house log's verifier key
	Witnesses  []string // witness keys (cosignature/v1 vkeys)
	Quorum     int      // how many of them must have signed
}

// Wrong is the first thing found wrong: in record Seq, somewhere from Seq to
// Last, or (Seq 0) in no single record. Check names the check that caught it.
type Wrong struct {
	Check string `json:"check"`
	Seq   int64  `json:"seq,omitempty"`
	Last  int64  `json:"last,omitempty"`
	Why   string `json:"why"`
}

// Report is what was found. Wrong is nil when every check held. Missing lists
// what was asked for but the file could not answer, Unchecked what nobody asked
// for or no file can show.
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

// require is a check: when ok does not hold, verification ends with it. The check
// unjudged is none of the evidence's: nothing could be said of that.
func require(ok bool, check, why string, args ...any) {
	if !ok {
		panic(&Wrong{Check: check, Why: fmt.Sprintf(why, args...)})
	}
}

const unjudged = ""

// caught gives the check that do failed, or nil.
func caught(do func()) (w *Wrong) {
	defer func() {
		if p := recover(); p != nil {
			w = p.(*Wrong) // anything else goes on panicking
		}
	}()
	do()
	return nil
}

// job is one verification under way.
type job struct {
	Report
	Options
	trust          *trust
	witnesses      []*witness
	since          *tlog.Tree // the earlier checkpoint, until compared
	signed         tlog.Tree  // what the checkpoint covers
	tree           frontier
	seq            int64 // of the record being read, 0 outside
	opened, sealed int   // commitments with and without a disclosed value
}

// Verify reads a bundle, an export or a checkpoint, gzip'd or not, in memory that
// does not grow with it. An error means that nothing could be judged; whatever is
// wrong with the evidence stands in the report.
func Verify(file io.Reader, o Options) (*Report, error) {
	j := &job{Options: o, trust: &trust{}, Report: Report{Checked: []string{}, Missing: []string{}, Unchecked: []string{}}}
	if w := caught(func() { j.run(file) }); w == nil {
		if j.since != nil {
			j.note(&j.Missing, "consistency with the earlier checkpoint of %d records: no proof in the file", j.since.N)
		}
	} else if w.Check == unjudged {
		return &j.Report, errors.New(w.Why)
	} else {
		w.Seq = cmp.Or(w.Seq, j.seq)
		j.Wrong = w
	}
	return &j.Report, nil
}

func (j *job) note(list *[]string, format string, args ...any) {
	*list = append(*list, fmt.Sprintf(format, args...))
}

// skip notes what is not checked, if it is not.
func (j *job) skip(unless bool, format string, args ...any) {
	if !unless {
		j.note(&j.Unchecked, format, args...)
	}
}

func (j *job) run(file io.Reader) {
	in := bufio.NewReaderSize(file, MaxLine)
	if start, _ := in.Peek(2); string(start) == "\x1f\x8b" {
		unzipped, err := gzip.NewReader(in)
		require(err == nil, unjudged, "reading: %v", err)
		in = bufio.NewReaderSize(unzipped, MaxLine)
	}
	var h Header
	start, _ := in.Peek(8)
	export, alone := string(start) == `{"body":`, len(start) == 0 || start[0] != '{'
	switch {
	case alone:
		text, err := io.ReadAll(io.LimitReader(in, MaxLine))
		require(err == nil, unjudged, "reading: %v", err)
		h.Checkpoint = string(text)
	case export:
		require(j.Checkpoint != "", unjudged, "this is an export: give the checkpoint that covers it")
		h = Header{Checkpoint: j.Checkpoint, From: 1, To: math.MaxInt64}
	default:
		line := readLine(in)
		err := json.Unmarshal(line, &h)
		again, _ := json.Marshal(&h) // shows what Unmarshal folds together or drops
		require(err == nil && h.Format == Format && bytes.Equal(again, line), "format", "the first line is no canonical bundle header")
	}
	j.begin(h.Checkpoint, h.Keys)
	j.proofs(&h)
	if !alone {
		fits := h.From > 0 && h.To >= h.From-1 && (export || h.To <= j.Size) && j.tree.fill(h.From-1, h.Left)
		require(fits, "range", "the header does not fit a log of %d records", j.Size)
		j.From, j.To = h.From, min(h.To, j.Size)
		j.deletion(h.Expired)
		j.records(in, h.To)
		require(j.tree.fill(j.Size, h.Right), "range", "the header's hashes do not fit a log of %d records", j.Size)
		j.judge()
	}
}

// readLine gives the next line, good until the next call, or nil at the end.
func readLine(in *bufio.Reader) []byte {
	line, err := in.ReadSlice('\n')
	if err == io.EOF && len(line) == 0 {
		return nil
	}
	require(err != bufio.ErrBufferFull, "format", "a line longer than %d bytes", MaxLine)
	require(err != io.EOF, "truncated", "the last line has no end")
	require(err == nil, unjudged, "reading: %v", err)
	return line[:len(line)-1]
}

// begin settles whom to trust and checks the checkpoint.
func (j *job) begin(checkpoint string, history []string) {
	require(j.Key != "" || j.Since != "", unjudged, "nothing to trust: give the log's key or an earlier checkpoint")
	if j.Key != "" {
		j.trust = newTrust(j.Key, history)
	}
	before := ""
	if j.Since != "" {
		origin, old := j.trust.open(j.Since)
		before, j.since, j.tree.mark = origin, &old, old.N
	}
	for _, k := range j.Witnesses {
		j.witnesses = append(j.witnesses, newWitness(k))
	}
	j.Origin, j.signed = j.trust.with(j.witnesses).open(checkpoint)
	j.Size, j.Root = j.signed.N, j.signed.Hash.String()
	if j.Key != "" {
		j.note(&j.Checked, "signature of the checkpoint of %d records, after %d key successions", j.Size, len(j.trust.keys)-1)
	}
	j.skip(j.Key != "", "the checkpoint's signature: no key was given")
	j.skip(len(j.Witnesses) > 0, "witness cosignatures: no witness keys were given")
	j.skip(j.Since != "", "whether the log showed something else earlier or to others: no earlier checkpoint was given")
	j.skip(false, "anything after record %d", j.Size)
	if j.since != nil {
		require(before == j.Origin, "origin", "the checkpoint is of %q, the earlier one of %q", j.Origin, before)
		require(j.since.N <= j.Size, "rollback", "the checkpoint covers %d records, the earlier one %d", j.Size, j.since.N)
		j.remember(j.signed)
	}
}

// remember compares a tree known to be a prefix of the signed one with the
// earlier checkpoint. An empty log is a prefix of any.
func (j *job) remember(prefix tlog.Tree) {
	if j.since != nil && (j.since.N == prefix.N || j.since.N == 0) {
		require(j.since.N == 0 || *j.since == prefix, "fork", "the first %d records had another root in the earlier checkpoint", prefix.N)
		j.note(&j.Checked, "the earlier checkpoint of %d records is a prefix of this one", j.since.N)
		j.since = nil
	}
}

// proofs checks what a header proves beside the records, and counts witnesses:
// those of the house log vouch for all that it holds.
func (j *job) proofs(h *Header) {
	if p := h.Previous; p != nil {
		origin, old := j.trust.open(p.Checkpoint)
		grown := origin == j.Origin && (old.N == 0 || tlog.CheckTree(p.Proof, j.Size, j.signed.Hash, old.N, old.Hash) == nil)
		require(grown, "consistency", "the log did not grow from the previous checkpoint of %d records", old.N)
		j.note(&j.Checked, "the log only grew since the previous checkpoint of %d records", old.N)
		j.remember(old)
	}
	j.skip(j.HouseKey != "", "the house log: no key for it was given")
	if p := h.House; j.HouseKey != "" && p == nil {
		j.note(&j.Missing, "the house log: no proof in the file")
	} else if j.HouseKey != "" {
		_, house := newTrust(j.HouseKey, p.Keys).with(j.witnesses).open(p.Checkpoint)
		leaf := tlog.RecordHash(HouseLeaf(j.Origin, parseSalt(p.Salt), j.signed))
		err := tlog.CheckRecord(p.Proof, house.N, house.Hash, p.Index, leaf)
		require(err == nil, "house", "the house log does not hold this checkpoint: %v", err)
		j.note(&j.Checked, "the house log of %d leaves holds this checkpoint", house.N)
	}
	cosigned := 0
	for _, w := range j.witnesses {
		if !w.at.IsZero() {
			cosigned++
			j.note(&j.Checked, "cosignature of %s at %s", w.name, w.at.Format(time.RFC3339))
		}
	}
	require(cosigned >= j.Quorum, "cosignature", "%d of %d witnesses signed", cosigned, j.Quorum)
}

// deletion checks a signed deletion against the tree of all records before the
// range, which it must end at: origin with "/deletions", "deletion" and number,
// first and last record, month, root, days of retention and time, a line each.
func (j *job) deletion(msg string) {
	if msg == "" {
		return
	}
	text, _, _ := strings.Cut(msg, "\n\n")
	lines := append(strings.Split(text, "\n"), make([]string, 7)...)
	var number, first, last int64
	_, err := fmt.Sscanf(lines[1]+" "+lines[2], "deletion %d %d %d", &number, &first, &last)
	start := fmt.Sprintf("%s/deletions\ndeletion %d\n%d %d\n", j.Origin, number, first, last)
	sound := err == nil && len(lines) == 14 && number > 0 && first > 0 && first <= last && last == j.From-1 && strings.HasPrefix(text, start)
	require(sound, "deletion", "the statement is malformed or of other records than 1 to %d", j.From-1)
	require(lines[4] == j.tree.root().String(), "deletion", "the records 1 to %d have another root than the one it states", last)
	if _, err = note.Open([]byte(msg), note.VerifierList(j.trust.verifiers...)); j.Key == "" {
		j.skip(false, "the signature of deletion %d: no key was given", number)
		return
	}
	require(err == nil, "deletion", "%v", err)
	j.note(&j.Checked, "records 1 to %d: expired, by signed deletion %d of %s, %s days of retention, signed %s; their hashes stay",
		last, number, lines[3], lines[5], lines[6])
}

// records takes the records, numbered densely up to the last, and before each
// whole block of 256 the block's hash.
func (j *job) records(in *bufio.Reader, last int64) {
	j.seq = j.From
	for line := readLine(in); line != nil; line = readLine(in) {
		rest := line
		take := func(start string) (v []byte) { // a member, if it is the next
			if after, ok := bytes.CutPrefix(rest, []byte(start)); ok {
				rest = value(after, 1)
				v = after[:len(after)-len(rest)]
			}
			return v
		}
		if block := take(`{"block":`); string(rest) == "}" && j.tree.size%256 == 0 {
			require(len(block) == 46, "format", "malformed hash")
			j.tree.block = bytes.Clone(block)
			continue
		}
		body, open, leaf, seq := take(`{"body":`), take(`,"disclosed":`), take(`,"leaf":`), take(`,"seq":`)
		if len(rest) != 1 || rest[0] != '}' || len(body) == 0 || body[0] != '{' {
			require(Canonical(line) == nil, "canonical", "one record could be read in two ways")
			require(false, "format", "not a record")
		}
		require(utf8.Valid(line), "canonical", "not UTF-8")
		var number [20]byte
		if j.seq > last || !bytes.Equal(seq, strconv.AppendInt(number[:0], j.seq, 10)) {
			require(false, "sequence", "in its place stands %.40q", seq)
		}
		j.sealed += bytes.Count(body, []byte(`{"commit":"`)) // no string can hold these bytes
		if open != nil {
			n := disclosed(body, open)
			j.opened, j.sealed = j.opened+n, j.sealed-n
		}
		if j.seq <= j.To {
			line[7] = 0 // was the colon of {"body": and makes this an RFC 6962 leaf
			hash := tlog.Hash(sha256.Sum256(line[7 : 8+len(body)]))
			require(leaf == nil || is(leaf, hash), "leaf", "its body does not have the leaf hash stated with it")
			j.tree.add(0, hash)
		}
		j.seq++
	}
	require(j.tree.size >= j.To, "truncated", "the file ends before it")
	past := j.seq - 1 - j.To
	j.skip(past <= 0, "%d records past the checkpoint: nothing signed covers them", past)
	j.seq = 0
}

// judge holds the tree of the records against the signed root, and against the
// earlier checkpoint if it grew past that.
func (j *job) judge() {
	if j.tree.root() != j.signed.Hash {
		panic(&Wrong{"root", j.From, j.To, "they are not the records under the signed root"})
	}
	if j.tree.marked != (tlog.Hash{}) {
		j.remember(tlog.Tree{N: j.tree.mark, Hash: j.tree.marked})
	}
	j.note(&j.Checked, "records %d to %d: canonical, none missing, under the signed root", j.From, j.To)
	j.note(&j.Checked, "%d disclosed personal values", j.opened)
	j.skip(j.sealed == 0, "%d personal values that are not disclosed here or were erased", j.sealed)
	j.skip(j.From == 1 && j.To == j.Size, "the content of the other records up to %d: only that there are so many", j.Size)
}
