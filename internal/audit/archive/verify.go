package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

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
