package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/verify"
)

// Evidence is what Verify holds an archive against. Bucket and Key are enough:
// the rest is the platform's own word, which adds to the judgement and never
// replaces it.
type Evidence struct {
	Bucket    Bucket
	Tenant    string        // id
	Key       string        // the log's verifier key, of now or from before
	HouseKey  string        // "": the house log is not looked at
	Retention time.Duration // that locks should last; 0: any
	Now       time.Time
	Ledger    Ledger // nil: what should be there is not known
	Log       Log    // nil: not compared with the live log
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Object  string `json:"object"`
	Version string `json:"version,omitempty"`
	Check   string `json:"check"`
	Why     string `json:"why"`
}

// Result is what Verify found. Wrong is the first object that is not as it
// should be, nil if there is none; Others are the next ones. Intact says that
// whatever was found, every record from From to To is there, proven and locked.
type Result struct {
	Tenant     string    `json:"tenant"`
	From       int64     `json:"from"`
	To         int64     `json:"to"`
	Size       int64     `json:"size"`
	Root       string    `json:"root,omitempty"`
	Checkpoint string    `json:"checkpoint,omitempty"`
	Segments   int64     `json:"segments"`
	Bytes      int64     `json:"bytes"`
	Locked     time.Time `json:"locked_until,omitzero"` // the earliest end of a lock
	Intact     bool      `json:"intact"`
	Wrong      *Finding  `json:"wrong"`
	Others     []Finding `json:"others,omitempty"`
	Checked    []string  `json:"checked"`
	Unchecked  []string  `json:"unchecked"`
}

// maxFindings bounds Others: who can write to a bucket can write a lot.
const maxFindings = 100

func (r *Result) find(f Finding) {
	if r.Wrong == nil {
		r.Wrong = &f
	} else if len(r.Others) < maxFindings {
		r.Others = append(r.Others, f)
	}
}

// walk is one verification under way.
type walk struct {
	Evidence
	Result
	tenant  string
	chain   chain
	anchor  string // the first segment's key, which the log's changes of keys follow
	last    *segment
	version string // of last
	noted   int64  // the size whose checkpoint was looked at
	row     func() (Entry, error, bool)
	next    *Entry // the ledger's next, nil at its end
}

// Verify reads an archive back, object by object in memory that does not grow
// with it, and judges it as somebody would who trusts nothing but the key. An
// error means that nothing could be judged.
func Verify(ctx context.Context, e Evidence) (*Result, error) {
	w := &walk{Evidence: e, tenant: e.Tenant, Result: Result{Tenant: e.Tenant, Checked: []string{}, Unchecked: []string{}}}
	if e.Key == "" {
		return nil, errors.New("verify the archive: give the log's key")
	}
	if e.Ledger != nil {
		row, stop := iter.Pull2(e.Ledger.Entries(ctx))
		defer stop()
		w.row = row
		if err := w.nextRow(); err != nil {
			return nil, err
		}
	}
	objects, stop := iter.Pull2(groups(e.Bucket.Versions(ctx, e.Tenant+segmentsOf)))
	defer stop()
	group, err, more := objects()
	for more {
		if err != nil {
			return nil, err
		}
		following, ferr, fmore := objects()
		after := int64(0)
		if fmore && ferr == nil {
			after = numberIn(e.Tenant, following[0].Key)
		}
		ok, err := w.object(ctx, group, after)
		if err != nil {
			return nil, err
		}
		if !ok {
			return &w.Result, nil // nothing after it can be judged
		}
		group, err, more = following, ferr, fmore
		if err != nil {
			return nil, err
		}
	}
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	return &w.Result, nil
}

// groups gathers the versions of each key.
func groups(all iter.Seq2[Version, error]) iter.Seq2[[]Version, error] {
	return func(yield func([]Version, error) bool) {
		var g []Version
		for v, err := range all {
			if err != nil {
				yield(nil, err)
				return
			}
			if len(g) > 0 && g[0].Key != v.Key {
				if !yield(g, nil) {
					return
				}
				g = nil
			}
			if len(g) < maxVersions {
				g = append(g, v)
			} else { // ours is among the oldest: newer ones make room
				copy(g[1:], g[2:])
				g[len(g)-1] = v
			}
		}
		if len(g) > 0 {
			yield(g, nil)
		}
	}
}

// maxVersions of one key are looked at: the newest and the oldest.
const maxVersions = 64

func (w *walk) nextRow() error {
	if w.row == nil {
		return nil
	}
	e, err, ok := w.row()
	w.next = nil
	if ok && err == nil {
		w.next = &e
	}
	return err
}

// object judges one key. It answers false when the chain ends here for want of
// what comes next.
func (w *walk) object(ctx context.Context, versions []Version, after int64) (bool, error) {
	key := versions[0].Key
	first := numberIn(w.tenant, key)
	expect := w.chain.tree.Size() + 1
	switch {
	case first == 0 || w.chain.begun && first < expect:
		w.stray(versions[0])
		return true, nil
	case w.chain.begun && first > expect:
		if alone, err := w.alone(ctx, versions); err != nil || !alone {
			return true, err
		}
		w.find(Finding{Object: SegmentKey(w.tenant, expect), Check: "missing", Why: fmt.Sprintf("the archive goes on at record %d", first)})
		return false, nil
	case !w.chain.begun:
		if err := w.before(first); err != nil || w.Wrong != nil && w.Wrong.Check == "missing" {
			return false, err
		}
	}
	var row *Entry
	if w.next != nil && w.next.First == first {
		row = w.next
		defer func() { _ = w.nextRow() }()
	}
	found, err := w.choose(ctx, versions, row, after)
	if err != nil || found == nil {
		return false, err
	}
	return true, w.accept(ctx, versions, found, row)
}

// alone tells whether a key beyond what comes next has a segment of this log:
// then what is between is missing. Otherwise anybody may have put it there.
func (w *walk) alone(ctx context.Context, versions []Version) (bool, error) {
	for _, v := range versions {
		if v.Deleted {
			continue
		}
		o, err := w.Bucket.Get(ctx, v.Key, v.ID)
		if err != nil {
			return false, err
		}
		s, err := inspect(o.Body, verify.Options{Key: w.anchor}, nil)
		_ = o.Body.Close()
		var bad *ErrWrong
		if err == nil && s.first == numberIn(w.tenant, v.Key) {
			return true, nil
		} else if err != nil && !errors.As(err, &bad) {
			return false, err
		}
	}
	w.stray(versions[0])
	return false, nil
}

func (w *walk) stray(v Version) {
	w.find(Finding{Object: v.Key, Version: v.ID, Check: "stray", Why: "it is no part of the archive: somebody else can write to the bucket"})
}

// before judges what should stand before the first object that is there.
func (w *walk) before(first int64) error {
	for w.next != nil && w.next.First < first {
		if w.next.Until.After(w.Now) {
			w.find(Finding{Object: w.next.Key, Version: w.next.Version, Check: "missing", Why: "the ledger says that it is locked until " + w.next.Until.Format(time.RFC3339)})
			return nil
		}
		if err := w.nextRow(); err != nil {
			return err
		}
	}
	if first > 1 && w.Ledger == nil {
		w.Unchecked = append(w.Unchecked, fmt.Sprintf("why there is nothing before record %d", first))
	}
	return nil
}

// candidate is a version that verifies and joins.
type candidate struct {
	version Version
	seg     *segment
	chain   *chain
	vkey    string
	beside  []Finding // versions of the same key that are not ours
}

// choose finds our version among those of a key: one that verifies, and joins
// what is before and after it. nil: none does, and why is noted.
func (w *walk) choose(ctx context.Context, versions []Version, row *Entry, after int64) (*candidate, error) {
	var good []candidate
	var bad []Finding
	for _, v := range versions {
		if v.Deleted {
			continue
		}
		c, err := w.try(ctx, v)
		var what *ErrWrong
		switch {
		case errors.As(err, &what):
			bad = append(bad, Finding{v.Key, v.ID, what.Check, what.Error()})
		case errors.Is(err, ErrMissing):
			bad = append(bad, Finding{v.Key, v.ID, "missing", "it is listed and cannot be read"})
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", v.Key, err)
		default:
			good = append(good, c)
		}
	}
	if len(good) == 0 {
		if len(bad) == 0 {
			bad = []Finding{{versions[0].Key, "", "missing", "only the mark of a deletion is left"}}
		}
		slices.Reverse(bad) // the oldest is the likeliest to be ours
		for _, f := range bad {
			w.find(f)
		}
		return nil, nil
	}
	best := slices.MaxFunc(good, func(a, b candidate) int {
		rank := func(c candidate) int {
			switch {
			case w.anchor == "" && c.vkey == w.Key:
				return 3
			case row != nil && c.version.ID == row.Version:
				return 2
			case after == c.seg.last+1:
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.seg.last, b.seg.last))
	})
	best.beside = bad
	return &best, nil
}

// try opens a version under the chain's key. Who signed the first segment is
// not known yet: the key we were given, or one that was changed for it since,
// which the end decides.
func (w *walk) try(ctx context.Context, v Version) (candidate, error) {
	anchor := cmp.Or(w.anchor, w.Key)
	c, beside, err := w.under(ctx, v, anchor)
	var bad *ErrWrong
	if w.anchor == "" && beside != anchor && beside != "" && errors.As(err, &bad) && bad.Check == "signature" {
		c, _, err = w.under(ctx, v, beside)
	}
	return c, err
}

func (w *walk) under(ctx context.Context, v Version, vkey string) (c candidate, beside string, err error) {
	o, err := w.Bucket.Get(ctx, v.Key, v.ID)
	if err != nil {
		return c, "", err
	}
	defer o.Body.Close()
	next := w.chain.clone()
	s, err := inspect(o.Body, verify.Options{Key: vkey}, next)
	if err != nil {
		return c, o.VKey, err
	}
	if n := numberIn(w.tenant, v.Key); n != s.first {
		return c, o.VKey, wrong("segment", "it begins at record %d", s.first)
	}
	return candidate{v, s, next, vkey, nil}, o.VKey, next.signed(v.Key, s.tree)
}

// accept takes a segment into the chain and judges its surroundings: whether it
// is what the key gives, is locked, and is what the ledger says.
func (w *walk) accept(ctx context.Context, versions []Version, c *candidate, row *Entry) error {
	s, key := c.seg, c.version.Key
	w.chain, w.anchor, w.last, w.version = *c.chain, c.vkey, s, c.version.ID
	if w.Segments == 0 {
		w.From = s.first
	}
	w.To, w.Size, w.Root, w.Checkpoint = s.last, s.tree.N, s.tree.Hash.String(), s.note
	w.Segments++
	w.Bytes += s.bytes
	if top := versions[0]; top.ID != c.version.ID {
		what := "the latest version is not ours: somebody wrote over it"
		if top.Deleted {
			what = "somebody deleted it: its latest version is the mark of that"
		}
		w.find(Finding{key, top.ID, "latest", what + "; ours, " + c.version.ID + ", is there and verifies"})
	}
	for _, f := range c.beside {
		if f.Version != versions[0].ID {
			w.find(f)
		}
	}
	if row != nil && (row.Digest != s.digest || row.Last != s.last) {
		w.find(Finding{key, c.version.ID, "ledger", "it verifies, and is not the one that the ledger remembers"})
	}
	if err := w.locked(ctx, key, c.version.ID, s.newest); err != nil || w.noted == s.tree.N {
		return err
	}
	w.noted = s.tree.N
	return w.checkpoint(ctx, s)
}

func (w *walk) locked(ctx context.Context, key, version string, newest time.Time) error {
	until, err := w.Bucket.Locked(ctx, key, version)
	if err != nil {
		return fmt.Errorf("read the lock of %s: %w", key, err)
	}
	due := newest.Add(w.Retention)
	switch {
	case !until.After(w.Now) && (w.Retention == 0 || due.After(w.Now)):
		w.find(Finding{key, version, "lock", "no lock is in force on it"})
	case w.Retention > 0 && until.Before(due) && newest.Before(w.Now):
		w.find(Finding{key, version, "lock", fmt.Sprintf("it is locked until %s, and its retention lasts until %s", until.Format(time.RFC3339), due.Format(time.RFC3339))})
	}
	if w.Locked.IsZero() || until.Before(w.Locked) {
		w.Locked = until
	}
	return nil
}

// checkpoint looks at the note that lies beside the segments.
func (w *walk) checkpoint(ctx context.Context, s *segment) error {
	key := CheckpointKey(w.tenant, s.tree.N)
	var ours bool
	var top Version
	for v, err := range w.Bucket.Versions(ctx, key) {
		if err != nil {
			return err
		}
		if v.Key != key {
			continue
		}
		if top.Key == "" {
			top = v
		}
		if v.Deleted || ours {
			continue
		}
		tree, err := w.noteOf(ctx, v)
		var bad *ErrWrong
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		if ours = err == nil && tree == s.tree; ours {
			if v.ID != top.ID {
				w.find(Finding{key, top.ID, "latest", "the latest version is not ours; ours, " + v.ID + ", is there and verifies"})
			}
			if err := w.locked(ctx, key, v.ID, s.newest); err != nil {
				return err
			}
		}
	}
	if !ours {
		w.find(Finding{key, top.ID, "checkpoint", "the checkpoint that the segment carries is not there"})
	}
	return nil
}

// noteOf reads a checkpoint, and holds it to the segment's: its signature was
// verified there, succession included, so the same text needs no second look.
func (w *walk) noteOf(ctx context.Context, v Version) (tree tlog.Tree, err error) {
	o, err := w.Bucket.Get(ctx, v.Key, v.ID)
	if err != nil {
		return tree, err
	}
	defer o.Body.Close()
	text, err := io.ReadAll(io.LimitReader(o.Body, verify.MaxLine))
	if err != nil {
		return tree, err
	}
	if string(text) == w.last.note {
		return w.last.tree, nil
	}
	for _, vkey := range []string{w.Key, o.VKey} { // signed anew, or cosigned since
		if tree, err = checkNote(text, vkey); err == nil {
			return tree, nil
		}
	}
	return tree, wrong("checkpoint", "%v", err)
}

// end judges the whole: that nothing is missing at the end, that the key we
// were given is the log's, and what the platform says of the same records.
func (w *walk) end(ctx context.Context) error {
	if w.next != nil && (w.next.Until.After(w.Now) || w.Segments == 0) {
		w.find(Finding{w.next.Key, w.next.Version, "missing", "the ledger says that it was read back"})
		return nil
	}
	if w.last == nil {
		w.Unchecked = append(w.Unchecked, "everything: nothing of this log is archived")
		return nil
	}
	note := func(list *[]string, format string, args ...any) { *list = append(*list, fmt.Sprintf(format, args...)) }
	if err := w.trusted(ctx); err != nil {
		var bad *ErrWrong
		if !errors.As(err, &bad) {
			return err
		}
		w.find(Finding{Object: SegmentKey(w.tenant, w.last.first), Check: bad.Check, Why: "the last segment, under the keys that were given: " + bad.Why})
		return nil
	}
	note(&w.Checked, "records %d to %d in %d segments: none missing, each under a signed checkpoint, no personal values", w.From, w.To, w.Segments)
	if n := len(w.chain.marks); n > 0 {
		note(&w.Unchecked, "whether the checkpoint of %d records continues these: it covers more than is archived yet", w.chain.marks[n-1].tree.N)
	} else {
		note(&w.Checked, "every checkpoint is a state of one history, the last of %d records", w.Size)
	}
	note(&w.Checked, "locks: the earliest ends %s", w.Locked.UTC().Format(time.RFC3339))
	if w.HouseKey == "" {
		note(&w.Unchecked, "the house log: no key for it was given")
	} else {
		note(&w.Checked, "the house log holds the last segment's checkpoint")
	}
	if w.Ledger == nil {
		note(&w.Unchecked, "whether more was archived: the ledger was not asked")
	}
	w.Intact = true
	if w.Log == nil {
		note(&w.Unchecked, "whether the live log says the same")
		return nil
	}
	err := ofThisLog(ctx, w.Log, w.last.tree)
	var bad *ErrWrong
	if errors.As(err, &bad) {
		w.find(Finding{Object: SegmentKey(w.tenant, w.last.first), Check: "fork", Why: "the archive verifies, and the live log has another history: " + bad.Why})
		return nil
	}
	if err == nil {
		note(&w.Checked, "the live log had the same root at %d records", w.Size)
	}
	return err
}

// trusted verifies the last segment under the keys that were given: it and the
// anchor then vouch for the same checkpoint.
func (w *walk) trusted(ctx context.Context) error {
	o, err := w.Bucket.Get(ctx, SegmentKey(w.tenant, w.last.first), w.version)
	if err != nil {
		return err
	}
	defer o.Body.Close()
	s, err := inspect(o.Body, verify.Options{Key: w.Key, HouseKey: w.HouseKey}, nil)
	if err == nil && s.digest != w.last.digest {
		err = wrong("segment", "it changed while it was read")
	}
	return err
}
