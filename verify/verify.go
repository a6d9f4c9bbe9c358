// Package verify checks, offline, what an audit log gives out: proof bundles, whole exports and checkpoints
// (docs/AUDIT.md). It is short, so that somebody who does not trust the log's operator can read it all.
package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// require is a check: when ok does not hold, verification ends with it. The check
// "" is none of the evidence's: nothing could be said of that.
func require(ok bool, check, why string, args ...any) {
	if !ok {
		panic(&Wrong{Check: check, Why: fmt.Sprintf(why, args...)})
	}
}

// say adds to a list of the report.
func say(list *[]string, when bool, format string, args ...any) {
	if when {
		*list = append(*list, fmt.Sprintf(format, args...))
	}
}

// job is one verification under way.
type job struct {
	Report
	Options
	keys    []key
	signed  tlog.Tree       // what the checkpoint covers
	signers map[string]bool // witnesses, by name
	tree    frontier
	seq     int64 // of the record being read, 0 outside
}

// Verify reads a bundle, an export or a checkpoint, gzip'd or not, in memory that does not grow with
// it. An error means that nothing could be judged; what is wrong with the evidence is in the report.
func Verify(file io.Reader, o Options) (r *Report, err error) {
	j := &job{Options: o, Report: Report{Checked: []string{}, Missing: []string{}, Unchecked: []string{}}, signers: map[string]bool{}}
	defer func() {
		if p := recover(); p != nil {
			j.Wrong = p.(*Wrong) // anything else goes on panicking
			j.Wrong.Seq = cmp.Or(j.Wrong.Seq, j.seq)
			if j.Wrong.Check == "" {
				err = errors.New(j.Wrong.Why)
			}
		}
	}()
	r = &j.Report
	require(j.Key != "" || j.Since != "", "", "nothing to trust: give the log's key or an earlier checkpoint")
	in := bufio.NewReaderSize(file, MaxLine)
	if start, _ := in.Peek(2); string(start) == "\x1f\x8b" {
		unzipped, err := gzip.NewReader(in)
		require(err == nil, "", "reading: %v", err)
		in = bufio.NewReaderSize(unzipped, MaxLine)
	}
	var h Header
	start, _ := in.Peek(8)
	alone := len(start) == 0 || start[0] != '{'
	switch {
	case alone:
		text, err := io.ReadAll(io.LimitReader(in, MaxLine))
		require(err == nil, "", "reading: %v", err)
		h.Checkpoint = string(text)
	case string(start) == `{"body":`: // an export
		require(j.Checkpoint != "", "", "this is an export: give the checkpoint that covers it")
		h = Header{Checkpoint: j.Checkpoint, From: 1, To: math.MaxInt64}
	default:
		line := readLine(in)
		err := json.Unmarshal(line, &h)
		again, _ := json.Marshal(&h) // shows what Unmarshal folds together or drops
		require(err == nil && h.Format == Format && bytes.Equal(again, line), "format", "the first line is no canonical bundle header")
	}
	j.proofs(&h)
	if !alone {
		j.records(in, &h)
	}
	if j.Since != "" {
		root, shown := j.tree.roots[j.tree.earlier.N]
		require(!shown || root == j.tree.earlier.Hash, "fork", "the earlier checkpoint of %d records has another root", j.tree.earlier.N)
		say(&j.Checked, shown, "the earlier checkpoint of %d records is a prefix of this one", j.tree.earlier.N)
		say(&j.Missing, !shown, "consistency with the earlier checkpoint of %d records: no proof in the file", j.tree.earlier.N)
	}
	return r, nil
}

// readLine gives the next line, good until the next call, or nil at the end.
func readLine(in *bufio.Reader) []byte {
	line, err := in.ReadSlice('\n')
	if err == io.EOF && len(line) == 0 {
		return nil
	}
	require(err != bufio.ErrBufferFull, "format", "a line longer than %d bytes", MaxLine)
	require(err != io.EOF, "truncated", "the last line has no end")
	require(err == nil, "", "reading: %v", err)
	return line[:len(line)-1]
}

// proofs checks all that a header proves beside the records.
func (j *job) proofs(h *Header) {
	if j.Key != "" {
		j.keys = keyring(j.Key, h.Keys)
	}
	j.Origin, j.signed = open(h.Checkpoint, j.keys)
	j.Size, j.Root = j.signed.N, j.signed.Hash.String()
	j.tree.roots = map[int64]tlog.Hash{0: sha256.Sum256(nil), j.Size: j.signed.Hash}
	say(&j.Checked, j.Key != "", "signature of the checkpoint of %d records, after %d key successions", j.Size, len(j.keys)-1)
	say(&j.Unchecked, j.Key == "", "the checkpoint's signature: no key was given")
	say(&j.Unchecked, true, "anything after record %d", j.Size)
	if p := h.Previous; p != nil {
		origin, old := open(p.Checkpoint, j.keys)
		grown := origin == j.Origin && (old.N == 0 || tlog.CheckTree(p.Proof, j.Size, j.signed.Hash, old.N, old.Hash) == nil)
		require(grown, "consistency", "the log did not grow from the previous checkpoint of %d records", old.N)
		say(&j.Checked, true, "the log only grew since the previous checkpoint of %d records", old.N)
		j.tree.roots[old.N] = old.Hash
	}
	say(&j.Unchecked, j.Since == "", "whether the log showed something else earlier or to others: no earlier checkpoint was given")
	if j.Since != "" {
		origin, old := open(j.Since, j.keys)
		require(origin == j.Origin, "origin", "the checkpoint is of %q, the earlier one of %q", j.Origin, origin)
		require(old.N <= j.Size, "rollback", "the checkpoint covers %d records, the earlier one %d", j.Size, old.N)
		j.tree.earlier = old
	}
	j.cosigned(h.Checkpoint)
	say(&j.Unchecked, len(j.Witnesses) == 0, "witness cosignatures: no witness keys were given")
	say(&j.Unchecked, j.HouseKey == "", "the house log: no key for it was given")
	say(&j.Missing, j.HouseKey != "" && h.House == nil, "the house log: no proof in the file")
	if p := h.House; j.HouseKey != "" && p != nil {
		_, house := open(p.Checkpoint, keyring(j.HouseKey, p.Keys))
		leaf := fmt.Sprintf(`{"root":"%s","size":%d,"tenant":%s}`, j.Root, j.Size, commitment("tenant", p.Salt, []byte(j.Origin)))
		held := tlog.CheckRecord(p.Proof, house.N, house.Hash, p.Index, tlog.RecordHash([]byte(leaf))) == nil
		require(held, "house", "the house log of %d leaves does not hold this checkpoint", house.N)
		say(&j.Checked, true, "the house log of %d leaves holds this checkpoint", house.N)
		j.cosigned(p.Checkpoint) // who signed it vouches for all that it holds
	}
	require(len(j.signers) >= cmp.Or(j.Quorum, len(j.Witnesses)), "cosignature", "only %d of the witnesses signed", len(j.signers))
}

// cosigned checks what witnesses signed of a note (C2SP tlog-cosignature, cosignature/v1).
func (j *job) cosigned(msg string) {
	for _, vkey := range j.Witnesses {
		p := append(strings.SplitN(strings.TrimSpace(vkey), "+", 3), "", "")
		key, _ := base64.StdEncoding.DecodeString(p[2])
		id := sha256.Sum256([]byte(p[0] + "\n" + string(key)))
		require(p[1] == fmt.Sprintf("%x", id[:4]) && len(key) == 33 && key[0] == 4, "", "%q: no Ed25519 cosignature/v1 vkey", vkey)
		for line := range strings.Lines(msg[len(textOf(msg)):]) {
			encoded, its := strings.CutPrefix(line, "— "+p[0]+" ")
			sig, _ := base64.StdEncoding.DecodeString(encoded) // id, time, signature
			if its && bytes.HasPrefix(sig, id[:4]) && len(sig) == 4+8+ed25519.SignatureSize {
				unix := binary.BigEndian.Uint64(sig[4:])
				text := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", unix, textOf(msg))
				require(ed25519.Verify(key[1:], text, sig[12:]), "signature", "the cosignature of %s does not verify", p[0])
				say(&j.Checked, !j.signers[p[0]], "cosignature of %s at %s", p[0], time.Unix(int64(unix), 0).UTC().Format(time.RFC3339))
				j.signers[p[0]] = true
			}
		}
	}
}

// deletion checks a signed deletion against the tree of all records before the range.
func (j *job) deletion(msg string) {
	const form = "deletion %d\n%d %d\n%s\n%s\n%d\n%s" // number, first and last record, month, root, days of retention, time
	var number, first, last, days int64
	var month, root, at string
	text, its := strings.CutPrefix(textOf(msg), j.Origin+"/deletions\n")
	_, _ = fmt.Sscanf(text, form, &number, &first, &last, &month, &root, &days, &at)
	its = its && text == fmt.Sprintf(form, number, first, last, month, root, days, at)
	require(its && 0 < first && first <= last && last == j.From-1, "deletion", "malformed or of other records than 1 to %d", j.From-1)
	require(root == j.tree.root().String(), "deletion", "the records 1 to %d have another root than the one it states", last)
	require(j.Key == "" || signed(msg, j.keys, -1), "deletion", "it is not signed by the log's key")
	say(&j.Unchecked, j.Key == "", "the signature of deletion %d: no key was given", number)
	say(&j.Checked, j.Key != "", "records 1 to %d: expired, by signed deletion %d of %s (%d days) at %s", last, number, month, days, at)
}

// records checks the records, numbered densely, and the hash before each whole block of 256.
func (j *job) records(in *bufio.Reader, h *Header) {
	fits := h.From > 0 && h.To >= h.From-1 && (h.Format == "" || h.To <= j.Size) && j.tree.fill(h.From-1, h.Left)
	require(fits, "range", "the header does not fit a log of %d records", j.Size)
	j.From, j.To = h.From, min(h.To, j.Size)
	if h.Expired != "" {
		j.deletion(h.Expired)
	}
	names := []string{"block", "body", "disclosed", "leaf", "seq"}
	opened, sealed, stated := 0, 0, "" // commitments with and without a value; a block's hash, in quotes
	j.seq = j.From
	for line := readLine(in); line != nil; line = readLine(in) {
		var part [6][]byte // by names; the first takes what is not among them
		rest := value(line, 0, func(name, v []byte) { part[1+slices.Index(names, string(name))] = v })
		require(len(rest) == 0 && utf8.Valid(line), "canonical", "not one value in UTF-8")
		block, body, shown, leaf, seq := part[1], part[2], part[3], part[4], part[5]
		if block != nil && len(block)+len(`{"block":}`) == len(line) && stated == "" && j.tree.size%256 == 0 {
			stated = string(block)
			continue
		}
		require(part[0] == nil && block == nil && body != nil && body[0] == '{', "format", "not a record")
		if is, _ := strconv.ParseInt(string(seq), 10, 64); is != j.seq || is > h.To {
			require(false, "sequence", "in its place stands %.40q", seq)
		}
		n := disclosed(body, shown)
		opened, sealed = opened+n, sealed-n+bytes.Count(body, []byte(`{"commit":"`)) // no string can hold these bytes
		if j.seq <= j.To {
			line[7] = 0 // was the colon of {"body": and makes this an RFC 6962 leaf
			hash := tlog.Hash(sha256.Sum256(line[7 : 8+len(body)]))
			var own tlog.Hash
			require(leaf == nil || own.UnmarshalJSON(leaf) == nil && own == hash, "leaf", "its body does not have the leaf hash stated beside")
			j.tree.add(0, hash)
			if stated != "" && j.tree.size%256 == 0 {
				if stated != `"`+j.tree.nodes[8].String()+`"` {
					panic(&Wrong{"block", j.seq - 255, j.seq, "their leaf hashes do not have the block hash stated with them"})
				}
				stated = ""
			}
		}
		j.seq++
	}
	require(j.tree.size >= j.To, "truncated", "the file ends before it")
	past := j.seq - 1 - j.To
	j.seq = 0
	require(stated == "", "format", "the hash of a block that is not whole")
	require(j.tree.fill(j.Size, h.Right), "range", "the header's hashes do not fit a log of %d records", j.Size)
	if j.tree.root() != j.signed.Hash {
		panic(&Wrong{"root", j.From, j.To, "they are not the records under the signed root"})
	}
	say(&j.Checked, true, "records %d to %d: canonical, none missing, under the signed root", j.From, j.To)
	say(&j.Checked, true, "%d disclosed personal values", opened)
	say(&j.Unchecked, sealed > 0, "%d personal values that are not disclosed here or were erased", sealed)
	say(&j.Unchecked, past > 0, "%d records past the checkpoint: nothing signed covers them", past)
	say(&j.Unchecked, j.From > 1 || j.To < j.Size, "the content of the other records up to %d: only that there are so many", j.Size)
}

// commitment stands in a body for a personal value: the hash of 0x02 (RFC 6962's begin with 0x00 and
// 0x01), a label, 0x00, the salt, the field's path ("actor.name"), 0x00, the value's canonical JSON.
func commitment(field, salt string, value []byte) string {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(salt)
	require(err == nil && len(raw) == 16, "commitment", "malformed salt")
	sum := sha256.Sum256(fmt.Appendf(nil, "\x02openclaw commitment v1\x00%s%s\x00%s", raw, field, value))
	return `{"commit":"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `"}`
}

// disclosed checks revealed values against the body's commitments; it gives their number.
func disclosed(body, raw []byte) int {
	fields := members(raw)
	for field, opening := range fields {
		stands, shown := body, members(opening)
		for name := range strings.SplitSeq(field, ".") {
			stands = members(stands)[name]
		}
		salt := strings.Trim(string(shown["salt"]), `"`)
		same := string(stands) == commitment(field, salt, shown["value"])
		whole := string(opening) == fmt.Sprintf(`{"salt":"%s","value":%s}`, salt, shown["value"])
		require(same && whole && len(fields) <= 64, "commitment", "a value disclosed is not the one committed to, or too many are")
	}
	return len(fields)
}

// textOf gives a signed note's text without its last line end.
func textOf(msg string) string { return msg[:max(0, strings.LastIndex(msg, "\n\n"))] }

// key is one of a log's, with the sizes that it may sign.
type key struct {
	note.Verifier
	from, to int64
}

// keyring starts from the holder's key and follows the notes, signed by a key and its successor,
// that name the successor and its first size. Those before the holder's key are passed over.
func keyring(vkey string, history []string) []key {
	first, err := note.NewVerifier(strings.TrimSpace(vkey))
	require(err == nil, "", "trusted key: %v", err)
	keys := []key{{first, 0, math.MaxInt64}}
	for i, msg := range history {
		lines := append(strings.Split(textOf(msg), "\n"), "", "", "")
		size, _ := strconv.ParseInt(lines[3], 10, 64)
		next, err := note.NewVerifier(lines[2])
		last := &keys[len(keys)-1]
		sound := textOf(msg) == fmt.Sprintf("%s\nkey %d\n%s\n%d", first.Name(), i+1, lines[2], size) && size >= last.from
		require(sound && err == nil && next.Name() == first.Name(), "key history", "note %d is malformed", i+1)
		n, err := note.Open([]byte(msg), note.VerifierList(last, next))
		if err == nil && len(n.Sigs) == 2 {
			last.to = size
			keys = append(keys, key{next, size, math.MaxInt64})
		} else {
			require(len(keys) == 1, "key history", "note %d is not signed by the old key and the new", i+1)
		}
	}
	return keys
}

// signed tells whether a key signed a note: one that may at this size, or any for -1.
func signed(msg string, keys []key, size int64) bool {
	var known []note.Verifier
	for _, k := range keys {
		if size < 0 || k.from <= size && size <= k.to {
			known = append(known, k)
		}
	}
	_, err := note.Open([]byte(msg), note.VerifierList(known...))
	return err == nil
}

// open checks a signed checkpoint (C2SP tlog-checkpoint): the key of its size signed it, and the
// origin, in which nothing moves a terminal, is that key's name. Without keys it only reads it.
func open(msg string, keys []key) (origin string, tree tlog.Tree) {
	var root string
	_, _ = fmt.Sscanf(textOf(msg), "%s\n%d\n%s", &origin, &tree.N, &root)
	tree.Hash, _ = tlog.ParseHash(root)
	sound := textOf(msg) == fmt.Sprintf("%s\n%d\n%s", strings.Trim(strconv.Quote(origin), `"`), tree.N, tree.Hash)
	require(sound && origin != "" && tree.N >= 0, "checkpoint", "malformed")
	require(len(keys) == 0 || signed(msg, keys, tree.N), "signature", "not by the key in force at %d records", tree.N)
	require(len(keys) == 0 || origin == keys[0].Name(), "origin", "the checkpoint is of %q, not of the key", origin)
	return origin, tree
}

// frontier is the right edge of an RFC 6962 tree: all it takes to add leaves and to give the root.
type frontier struct {
	size    int64
	nodes   [64]tlog.Hash       // the last complete one of each level
	earlier tlog.Tree           // of whose size to keep the root
	roots   map[int64]tlog.Hash // by size, of trees that are a prefix
}

// add appends a complete subtree of 2^level leaves; size must be a multiple of that.
func (f *frontier) add(level int, h tlog.Hash) {
	size := f.size + 1<<level
	for ; f.size>>level&1 == 1; level++ {
		f.nodes[level], h = h, tlog.NodeHash(f.nodes[level], h)
	}
	f.nodes[level] = h
	if f.size = size; size == f.earlier.N {
		f.roots[size] = f.root()
	}
}

func (f *frontier) root() tlog.Hash {
	low := bits.TrailingZeros64(uint64(f.size))      // 64 for no leaves, whose root is
	h := append(f.nodes[:], sha256.Sum256(nil))[low] // the hash of nothing
	for level := low + 1; level < 64; level++ {
		if f.size>>level&1 == 1 {
			h = tlog.NodeHash(f.nodes[level], h)
		}
	}
	return h
}

// fill adds the subtrees that cover the leaves up to size n, each the largest that its place allows,
// and reports whether nodes are exactly those.
func (f *frontier) fill(n int64, nodes []tlog.Hash) bool {
	for ; f.size < n && len(nodes) > 0; nodes = nodes[1:] {
		level := bits.Len64(uint64(n-f.size)) - 1
		f.add(min(level, bits.TrailingZeros64(uint64(f.size))), nodes[0]) // 64 zeros in 0
	}
	return f.size == n && len(nodes) == 0
}

// String is the report for people.
func (r *Report) String() string {
	s := fmt.Sprintf("log       %s\nrecords   %d\nroot      %s\n", r.Origin, r.Size, r.Root)
	for i, list := range [][]string{r.Checked, r.Missing, r.Unchecked} {
		for _, item := range list {
			s += [...]string{"checked   ", "MISSING   ", "unchecked "}[i] + item + "\n"
		}
	}
	if w := r.Wrong; w != nil && w.Seq == 0 {
		s += fmt.Sprintf("WRONG     %s: %s\n", w.Check, w.Why)
	} else if w != nil {
		s += fmt.Sprintf("WRONG     record %d to %d: %s: %s\n", w.Seq, max(w.Seq, w.Last), w.Check, w.Why)
	}
	return s
}

// Main is openclaw-verify, called by the command's name. It returns the exit code: 0 all that was asked holds, 1 something
// is wrong, 2 nothing could be judged, 3 nothing is wrong, but the file cannot answer all.
func Main(command string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, r := Options{}, new(Report)
	var help strings.Builder
	set := flag.NewFlagSet(command+" [flags] FILE (- for standard input)", flag.ContinueOnError)
	set.SetOutput(&help)
	text := func(name, about string, put func(string)) {
		set.Func(name, about, func(s string) error {
			b, err := os.ReadFile(s)
			if err != nil && strings.Count(s, "+") >= 2 { // a key as it stands
				b, err = []byte(s), nil
			}
			put(string(b))
			return err
		})
	}
	text("key", "the log's verifier `key`, or a file with it", func(s string) { o.Key = s })
	text("since", "`file` with an earlier checkpoint that you kept", func(s string) { o.Since = s })
	text("checkpoint", "`file` with the checkpoint that covers an export", func(s string) { o.Checkpoint = s })
	text("house-key", "the house log's verifier `key`, or a file with it", func(s string) { o.HouseKey = s })
	text("witness", "a witness's verifier `key`, or a file with it; repeat for more", func(s string) { o.Witnesses = append(o.Witnesses, s) })
	set.IntVar(&o.Quorum, "quorum", 0, "how many witnesses must have signed (default all given)")
	asJSON := set.Bool("json", false, "report as JSON")
	err := set.Parse(args)
	if err == nil && set.NArg() != 1 {
		err = errors.New("want flags and one FILE")
	} else if err == nil && set.Arg(0) != "-" {
		file, no := os.Open(set.Arg(0))
		defer func() { _ = file.Close() }() // of no file, it does nothing
		stdin, err = file, no
	}
	if err == nil {
		r, err = Verify(stdin, o)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, help.String())
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "%s: error: %v\n%[1]s: hint: `%[3]s --help` shows what it takes\n", strings.Fields(command)[0], err, command)
		return 2
	case *asJSON:
		_ = json.NewEncoder(stdout).Encode(r)
	default:
		_, _ = io.WriteString(stdout, r.String())
	}
	if r.Wrong != nil {
		return 1
	}
	return 3 * min(1, len(r.Missing))
}
