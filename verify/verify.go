// Package verify checks, offline, what an audit log gives out: proof bundles,
// whole exports and checkpoints (docs/AUDIT.md has the formats). It needs only
// the standard library and golang.org/x/mod, and is short, so that somebody who
// does not trust the log's operator can read all of it.
package verify

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

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

// require is a check: when ok does not hold, Verify ends and reports it.
func require(ok bool, check, why string, args ...any) {
	if !ok {
		panic(&Wrong{Check: check, Why: fmt.Sprintf(why, args...)})
	}
}

// refuse ends Verify without a judgement.
type refusal struct{ error }

func refuse(err error, what string) {
	if err != nil {
		panic(refusal{fmt.Errorf("%s: %w", what, err)})
	}
}

// job is one verification under way.
type job struct {
	Report
	Options
	trust   trust
	since   *head // the earlier checkpoint, until compared
	root    tlog.Hash
	tree    frontier
	seq     int64  // of the record being read, 0 outside
	suspect *Wrong // a record or block to be judged when the root is known
	opened  int    // commitments with a disclosed value
	sealed  int    // and those without

	witnessed map[string]bool // witnesses that cosigned the checkpoint, or the house log that holds it
}

// Verify reads a bundle, an export or a checkpoint, in memory that does not grow
// with it. An error means that nothing could be judged; whatever is wrong with
// the evidence stands in the report.
func Verify(in io.Reader, o Options) (r *Report, err error) {
	j := &job{Options: o, witnessed: map[string]bool{}, Report: Report{Checked: []string{}, Missing: []string{}, Unchecked: []string{}}}
	defer func() {
		r = &j.Report
		switch p := recover().(type) {
		case nil:
			if j.since != nil {
				j.note(&j.Missing, "consistency with the earlier checkpoint of %d records: no proof in the file", j.since.N)
			}
		case *Wrong:
			if r.Wrong = p; j.suspect != nil {
				r.Wrong = j.suspect
			} else if p.Seq == 0 {
				p.Seq = j.seq
			}
		case refusal:
			err = p
		default:
			panic(p)
		}
	}()
	j.run(bufio.NewReaderSize(in, MaxLine))
	return &j.Report, nil
}

func (j *job) run(in *bufio.Reader) {
	start, _ := in.Peek(8)
	h := Header{Checkpoint: j.Checkpoint, From: 1, To: math.MaxInt64} // an export's
	alone := len(start) == 0 || start[0] != '{'
	if alone {
		text, err := io.ReadAll(io.LimitReader(in, MaxLine))
		refuse(err, "reading")
		h.Checkpoint = string(text)
	} else if string(start) != `{"body":` {
		line := readLine(in)
		h = Header{}
		err := json.Unmarshal(line, &h)
		again, _ := json.Marshal(&h) // shows what Unmarshal folds together or drops
		require(err == nil && h.Format == Format && bytes.Equal(again, line), "format", "the first line is no canonical bundle header")
	} else if j.Checkpoint == "" {
		refuse(errors.New("give the checkpoint that covers it"), "this is an export")
	}
	j.begin(h.Checkpoint, h.Keys)
	j.proofs(&h)
	require(len(j.witnessed) >= j.Quorum, "cosignature", "%d of %d witnesses signed", len(j.witnessed), j.Quorum)
	if alone {
		return
	}
	require(h.From > 0 && h.To >= h.From-1 && (h.Format == "" || h.To <= j.Size) && j.tree.fill(h.From-1, h.Left), "range", "the header does not fit a log of %d records", j.Size)
	j.From, j.To = h.From, min(h.To, j.Size)
	j.deletion(h.Expired)
	j.records(in, h.To)
	require(j.tree.size >= j.To, "truncated", "the file ends before it")
	past := j.seq - 1 - j.To
	j.seq = 0
	require(j.tree.fill(j.Size, h.Right), "range", "the header's hashes do not fit a log of %d records", j.Size)
	j.judge()
	if past > 0 {
		j.note(&j.Unchecked, "%d records past the checkpoint: nothing signed covers them", past)
	}
}

// readLine gives the next line, good until the next call, or nil at the end.
func readLine(in *bufio.Reader) []byte {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) == 0 {
		return nil
	}
	require(!errors.Is(err, bufio.ErrBufferFull), "format", "a line longer than %d bytes", MaxLine)
	require(!errors.Is(err, io.EOF), "truncated", "the last line has no end")
	refuse(err, "reading")
	return line[:len(line)-1]
}

func (j *job) note(list *[]string, format string, args ...any) {
	*list = append(*list, fmt.Sprintf(format, args...))
}

// begin settles whom to trust and checks the checkpoint.
func (j *job) begin(checkpoint string, history []string) {
	if j.Key != "" {
		j.trust = *newTrust(j.Key, history)
	} else if j.Since == "" {
		refuse(errors.New("give the log's key or an earlier checkpoint"), "nothing to trust")
	}
	if j.Since != "" {
		old := j.trust.open(j.Since)
		j.since, j.tree.mark = &old, old.N
	}
	for _, k := range j.Witnesses {
		j.trust.witnesses = append(j.trust.witnesses, newWitness(k))
	}
	h := j.trust.open(checkpoint)
	j.Origin, j.Size, j.Root = h.origin, h.N, h.Hash.String()
	j.root = h.Hash
	if len(j.trust.keys) == 0 {
		j.note(&j.Unchecked, "the checkpoint's signature: no key was given")
	} else {
		j.note(&j.Checked, "signature of the checkpoint of %d records, after %d key successions", j.Size, len(j.trust.keys)-1)
	}
	j.cosigned(h, "this checkpoint")
	if len(j.Witnesses) == 0 {
		j.note(&j.Unchecked, "witness cosignatures: no witness keys were given")
	}
	j.note(&j.Unchecked, "anything after record %d", j.Size)
	if j.since == nil {
		j.note(&j.Unchecked, "whether the log showed something else earlier or to others: no earlier checkpoint was given")
		return
	}
	require(j.since.origin == h.origin, "origin", "the checkpoint is of %q, the earlier one of %q", h.origin, j.since.origin)
	require(j.since.N <= h.N, "rollback", "the checkpoint covers %d records, the earlier one %d", h.N, j.since.N)
	j.remember(h.Tree)
}

// cosigned counts a checkpoint's witnesses, each once.
func (j *job) cosigned(h head, what string) {
	for name, at := range h.cosigned {
		j.note(&j.Checked, "cosignature of %s at %s under %s", name, at, what)
		j.witnessed[name] = true
	}
}

// remember compares a tree known to be a prefix of the signed one with the
// earlier checkpoint. An empty log is a prefix of any.
func (j *job) remember(prefix tlog.Tree) {
	if j.since == nil || j.since.N != prefix.N && j.since.N != 0 {
		return
	}
	require(j.since.N == 0 || j.since.Hash == prefix.Hash, "fork", "the first %d records had another root in the earlier checkpoint", prefix.N)
	j.note(&j.Checked, "the earlier checkpoint of %d records is a prefix of this one", j.since.N)
	j.since = nil
}

// proofs checks what a header proves beside the records.
func (j *job) proofs(h *Header) {
	if p := h.Previous; p != nil {
		old := j.trust.open(p.Checkpoint)
		err := tlog.CheckTree(p.Proof, j.Size, j.root, old.N, old.Hash)
		require(old.origin == j.Origin && (err == nil || old.N == 0), "consistency", "the log did not grow from the previous checkpoint of %d records", old.N)
		j.note(&j.Checked, "the log only grew since the previous checkpoint of %d records", old.N)
		j.remember(old.Tree)
	}
	switch {
	case j.HouseKey == "":
		j.note(&j.Unchecked, "the house log: no key for it was given")
		return
	case h.House == nil:
		j.note(&j.Missing, "the house log: no proof in the file")
		return
	}
	trusted := newTrust(j.HouseKey, h.House.Keys)
	trusted.witnesses = j.trust.witnesses
	house := trusted.open(h.House.Checkpoint)
	leaf := tlog.RecordHash(HouseLeaf(j.Origin, parseSalt(h.House.Salt), tlog.Tree{N: j.Size, Hash: j.root}))
	err := tlog.CheckRecord(h.House.Proof, house.N, house.Hash, h.House.Index, leaf)
	require(err == nil, "house", "the house log does not hold this checkpoint: %v", err)
	j.note(&j.Checked, "the house log of %d leaves holds this checkpoint", house.N)
	j.cosigned(house, "the house log's checkpoint") // they vouch for what it holds
}

// records takes the records, numbered densely up to the last, and before each
// whole block of 256 the block's hash.
func (j *job) records(in *bufio.Reader, last int64) {
	var s scanner
	var number [20]byte
	for j.seq = j.From; ; {
		line := readLine(in)
		if line == nil {
			return
		}
		s.scan(line)
		m := s.members
		take := func(name string) (v []byte) {
			if len(m) > 0 && string(m[0].name) == name {
				v, m = m[0].value, m[1:]
			}
			return v
		}
		block, body, open, leaf, seq := take("block"), take("body"), take("disclosed"), take("leaf"), take("seq")
		if block != nil && len(s.members) == 1 && j.tree.size%256 == 0 {
			j.tree.block, j.tree.stated = parseHash(block), true
			continue
		}
		require(block == nil && len(body) > 0 && body[0] == '{' && len(m) == 0, "format", "not a record")
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
			if leaf != nil {
				stated := parseHash(leaf)
				if stated != hash && j.suspect == nil {
					j.suspect = &Wrong{"leaf", j.seq, 0, "its body does not have the leaf hash stated with it"}
				}
				hash = stated
			}
			if j.tree.add(0, hash); j.tree.bad && j.suspect == nil {
				j.suspect = &Wrong{"block", j.seq - 255, j.seq, "their leaf hashes do not have the block hash stated with them"}
			}
		}
		j.seq++
	}
}

// judge holds the tree of the records against the signed root. Hashes that the
// file states are believed only if they lead there.
func (j *job) judge() {
	if j.tree.root() != j.root {
		if j.suspect == nil {
			j.suspect = &Wrong{"root", j.From, j.To, "they are not the records under the signed root"}
		} else {
			j.suspect.Why += ", nor do the hashes stated in the file lead to the signed root"
		}
	} else if j.suspect != nil {
		j.suspect.Why += ", which is the one under the signed root"
	}
	require(j.suspect == nil, "root", "")
	if j.tree.marked != (tlog.Hash{}) {
		j.remember(tlog.Tree{N: j.tree.mark, Hash: j.tree.marked})
	}
	j.note(&j.Checked, "records %d to %d: canonical, none missing, under the signed root", j.From, j.To)
	j.note(&j.Checked, "%d disclosed personal values", j.opened)
	if j.sealed > 0 {
		j.note(&j.Unchecked, "%d personal values that are not disclosed here or were erased", j.sealed)
	}
	if j.From > 1 || j.To < j.Size {
		j.note(&j.Unchecked, "the content of the other records up to %d: only that there are so many", j.Size)
	}
}
