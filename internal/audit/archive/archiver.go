package archive

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/verify"
)

const (
	// skew is how far this machine's clock may be from the ledger's.
	skew = 5 * time.Minute
	// stepTime bounds one segment from sealing to ledger.
	stepTime = 2 * time.Minute
	// keepBuffer is what stays allocated between rounds.
	keepBuffer = 1 << 20
	// leastLock is for what is older than its retention already: a lock has to
	// lie in the future.
	leastLock = 24 * time.Hour
)

// Config is what an Archiver goes by.
type Config struct {
	Bucket    Bucket
	Retention time.Duration // from a segment's newest event to the end of its lock
	Limits    Limits        // zero: DefaultLimits
	Now       func() time.Time
	Lease     time.Duration // 0: 12 s
	// Whole has all that waits sealed, due or not. For tests and for people.
	Whole bool
}

// Archiver seals what is due. It works on one tenant at a time and holds one
// segment in memory. It is not safe for concurrent use.
type Archiver struct {
	cfg    Config
	holder string
	buf    bytes.Buffer
}

// New checks the limits.
func New(cfg Config) (*Archiver, error) {
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits
	}
	if cfg.Limits.Events < 1 || cfg.Limits.Bytes < minBytes || cfg.Limits.Age < 0 || cfg.Retention <= 0 {
		return nil, fmt.Errorf("archive: want at least 1 record and %d bytes in a segment and a retention", minBytes)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Lease == 0 {
		cfg.Lease = leaseTime
	}
	return &Archiver{cfg: cfg, holder: rand.Text()}, nil
}

// Progress is what one call did and left.
type Progress struct {
	Segments, Events, Bytes int64
	Pending                 int64     // records that only the log has
	Oldest                  time.Time // the oldest of them; zero: none
	Halted                  string
	Busy                    bool // another replica is at it
}

// Advance archives what is due of one tenant. ErrAway, ErrUnfit and ErrClock
// concern all tenants; any other error is this one's alone. With ErrForeign the
// tenant's archive is halted until Ledger.Resume.
func (a *Archiver) Advance(ctx context.Context, t Tenant) (p Progress, err error) {
	st, err := t.Ledger.State(ctx)
	if err != nil {
		return p, err
	}
	p.Halted = st.Halted
	if err := p.waiting(st); err != nil || st.Halted != "" || !a.due(p) {
		return p, err
	}
	ok, err := t.Ledger.Claim(ctx, a.holder, a.cfg.Lease)
	if p.Busy = err == nil && !ok; err != nil || !ok {
		return p, err
	}
	held, leave := a.hold(ctx, t.Ledger)
	defer func() {
		leave()
		if errors.Is(err, ErrForeign) {
			p.Halted = err.Error()
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, t.Ledger.Release(end, a.holder, p.Halted))
		if a.buf.Cap() > keepBuffer {
			a.buf = bytes.Buffer{}
		}
	}()
	for {
		e, err := a.step(held, t)
		if p.Busy = errors.Is(err, ErrMoved) || err != nil && lost(held); p.Busy {
			return p, nil
		}
		if err != nil {
			return p, err
		}
		p.Segments++
		p.Events += e.Last - e.First + 1
		p.Bytes += e.Bytes
		if st, err = t.Ledger.State(ctx); err != nil {
			return p, err
		}
		if err := p.waiting(st); err != nil || !a.due(p) {
			return p, err
		}
		if p.Busy = lost(held); p.Busy {
			return p, nil
		}
	}
}

// waiting takes over what is not archived. Bodies that expired before there was
// an archive are not missed; any others are.
func (p *Progress) waiting(st State) error {
	p.Pending, p.Oldest = st.Waiting(), st.Oldest
	if p.Pending > 0 && st.Upto > 0 && st.Next != st.Upto+1 {
		return fmt.Errorf("record %d is not archived and not in the log", st.Upto+1)
	}
	return nil
}

func (a *Archiver) due(p Progress) bool {
	return p.Pending > 0 && (a.cfg.Whole || p.Pending >= a.cfg.Limits.Events || a.cfg.Now().Sub(p.Oldest) >= a.cfg.Limits.Age)
}

// step takes one segment from the log to the ledger.
func (a *Archiver) step(ctx context.Context, t Tenant) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	st, err := t.Ledger.State(ctx)
	if err != nil {
		return Entry{}, err
	}
	if d := a.cfg.Now().Sub(st.Now).Abs(); d > skew {
		return Entry{}, fmt.Errorf("%w: by %v; nothing is locked until they agree", ErrClock, d.Round(time.Second))
	}
	first := st.Next
	pub, err := t.Log.Checkpoint(ctx)
	if err != nil {
		return Entry{}, err
	}
	if pub.Key == "" {
		return Entry{}, errors.New("archive: this process does not hold the log's key")
	}
	s, err := seal(ctx, t.Log, first, pub, a.cfg.Limits, &a.buf)
	if err != nil {
		return Entry{}, err
	}
	key := SegmentKey(t.ID, first)
	until := a.until(s.newest, st.Now)
	version, err := a.cfg.Bucket.Put(ctx, Object{Key: key, Type: "application/gzip", Body: s.body, Digest: s.digest, Until: until, VKey: s.vkey, Over: st.Over})
	if errors.Is(err, ErrTaken) {
		var found *segment
		if version, found, err = a.adopt(ctx, t, key, s, pub); err == nil && found != s {
			s, until = found, a.until(found.newest, st.Now)
		}
	}
	if err != nil {
		return Entry{}, err
	}
	if err := a.readBack(ctx, key, version, s.digest, until); err != nil {
		return Entry{}, err
	}
	if err := a.checkpoint(ctx, t, s, pub, until, st.Over); err != nil {
		return Entry{}, err
	}
	e := Entry{
		First: s.first, Last: s.last, Key: key, Version: version, Digest: s.digest, Bytes: s.bytes,
		Size: s.tree.N, Newest: s.newest, Until: until,
	}
	return e, t.Ledger.Advance(ctx, e)
}

// until is when a lock ends: nothing can shorten it, so an event that claims to
// be from the future counts as from now.
func (a *Archiver) until(newest, now time.Time) time.Time {
	if newest.After(now) {
		newest = now
	}
	end := newest.Add(a.cfg.Retention)
	if least := now.Add(leastLock); end.Before(least) {
		end = least
	}
	return end.UTC().Truncate(time.Second).Add(time.Second)
}

// adopt looks at what lies under our key. The same bytes are an answer that got
// lost; a segment of this very log that begins there is one that a crash left,
// or another replica's. Whatever else it is, we did not write it.
func (a *Archiver) adopt(ctx context.Context, t Tenant, key string, s *segment, pub audit.Published) (string, *segment, error) {
	var why error
	for v, err := range a.cfg.Bucket.Versions(ctx, key) {
		if err != nil {
			return "", nil, err
		}
		if v.Key != key || v.Deleted {
			continue
		}
		found, err := a.open(ctx, t, v, pub)
		var bad *ErrWrong
		switch {
		case errors.As(err, &bad):
			why = err
			continue
		case err != nil:
			return "", nil, err
		case found.digest == s.digest:
			return v.ID, s, nil
		case found.first != s.first:
			why = fmt.Errorf("it begins at record %d", found.first)
			continue
		}
		if why = ofThisLog(ctx, t.Log, found.tree); why == nil {
			return v.ID, found, nil
		}
		if !errors.As(why, &bad) {
			return "", nil, why
		}
	}
	return "", nil, &foreign{key, why}
}

// open reads a version under the key that it must be signed with.
func (a *Archiver) open(ctx context.Context, t Tenant, v Version, pub audit.Published) (*segment, error) {
	o, err := a.cfg.Bucket.Get(ctx, v.Key, v.ID)
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	vkey := pub.Key
	if o.VKey != vkey && o.VKey != "" { // from before a change of keys?
		if err := succeeded(ctx, t.Log, o.VKey, pub.Size); err != nil {
			return nil, err
		}
		vkey = o.VKey
	}
	found, err := inspect(o.Body, verify.Options{Key: vkey}, nil)
	if found != nil {
		found.vkey = vkey
	}
	return found, err
}

// succeeded makes sure that the log's changes of keys lead from an old key to
// the one that signs now: a bundle of proofs alone carries them.
func succeeded(ctx context.Context, log Log, old string, size int64) error {
	var proofs bytes.Buffer
	if err := log.Bundle(ctx, &proofs, audit.Range{From: size + 1, To: size}); err != nil {
		return err
	}
	rep, err := verify.Verify(&proofs, verify.Options{Key: old})
	if err != nil {
		return wrong("signature", "the key beside it does not read: %v", err)
	}
	if rep.Wrong != nil {
		return &ErrWrong{*rep.Wrong}
	}
	return nil
}

// ofThisLog holds a found checkpoint against the live log's tree.
func ofThisLog(ctx context.Context, log Log, tree tlog.Tree) error {
	c, err := log.Consistency(ctx, tree.N, 0)
	if err != nil {
		return err
	}
	if c.FromRoot != tree.Hash.String() {
		return wrong("fork", "the log of %d records had another root", tree.N)
	}
	return nil
}

// readBack makes sure that what was put is there, whole and locked.
func (a *Archiver) readBack(ctx context.Context, key, version string, digest [32]byte, until time.Time) error {
	o, err := a.cfg.Bucket.Get(ctx, key, version)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, o.Body)
	_ = o.Body.Close()
	if err != nil {
		return fmt.Errorf("read back %s: %w", key, err)
	}
	if [32]byte(sum.Sum(nil)) != digest {
		return &foreign{key, errors.New("the bucket gives other bytes than it was given")}
	}
	locked, err := a.cfg.Bucket.Locked(ctx, key, version)
	if err == nil && locked.Before(until) {
		if err = a.cfg.Bucket.Lock(ctx, key, version, until); err == nil {
			locked, err = a.cfg.Bucket.Locked(ctx, key, version)
		}
	}
	if err != nil {
		return fmt.Errorf("read back the lock of %s: %w", key, err)
	}
	if locked.Before(until) {
		return fmt.Errorf("%w: %s is locked until %v and not until %v", ErrUnfit, key, locked, until)
	}
	return nil
}

// checkpoint puts the segment's checkpoint beside it: a few hundred bytes that
// somebody can fetch and keep, and that a rewritten log would contradict.
func (a *Archiver) checkpoint(ctx context.Context, t Tenant, s *segment, pub audit.Published, until time.Time, over bool) error {
	key, body := CheckpointKey(t.ID, s.tree.N), []byte(s.note)
	digest := sha256.Sum256(body)
	version, err := a.cfg.Bucket.Put(ctx, Object{Key: key, Type: "text/plain; charset=utf-8", Body: body, Digest: digest, Until: until, VKey: s.vkey, Over: over})
	if err == nil {
		return a.readBack(ctx, key, version, digest, until)
	}
	if !errors.Is(err, ErrTaken) {
		return err
	}
	// An earlier segment under the same checkpoint, or with more cosignatures.
	for v, err := range a.cfg.Bucket.Versions(ctx, key) {
		if err != nil {
			return err
		}
		if v.Key != key || v.Deleted {
			continue
		}
		note, err := a.note(ctx, v)
		if err != nil {
			return err
		}
		for _, vkey := range []string{pub.Key, s.vkey} {
			if tree, err := checkNote(note, vkey); err == nil && tree == s.tree {
				return a.readBack(ctx, key, v.ID, sha256.Sum256(note), until)
			}
		}
	}
	return &foreign{key, errors.New("it is not the segment's checkpoint")}
}

func (a *Archiver) note(ctx context.Context, v Version) ([]byte, error) {
	o, err := a.cfg.Bucket.Get(ctx, v.Key, v.ID)
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	return io.ReadAll(io.LimitReader(o.Body, verify.MaxLine))
}

// checkNote verifies a signed checkpoint that stands alone.
func checkNote(note []byte, vkey string) (tlog.Tree, error) {
	if len(note) == 0 || strings.HasPrefix(string(note), "{") {
		return tlog.Tree{}, wrong("checkpoint", "malformed")
	}
	rep, err := verify.Verify(bytes.NewReader(note), verify.Options{Key: vkey})
	if err != nil {
		return tlog.Tree{}, err
	}
	if rep.Wrong != nil {
		return tlog.Tree{}, &ErrWrong{*rep.Wrong}
	}
	root, err := tlog.ParseHash(rep.Root)
	return tlog.Tree{N: rep.Size, Hash: root}, err
}
