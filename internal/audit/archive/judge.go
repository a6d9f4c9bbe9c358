package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/verify"
)

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
