// Package archive keeps tenants' logs a second time, where the operator cannot
// change or remove them: in segments under a lock that nobody lifts before its
// date.
//
// A segment is a proof bundle of a contiguous range of records, compressed with
// gzip: `gunzip` opens it and openclaw-verify checks it, with none of our
// servers. It never holds personal values, only the commitments to them: a lock
// of seven years must not hold what a person may have erased tomorrow.
//
// The life of a segment:
//
//  1. Due: enough records wait, or the oldest has waited long enough.
//  2. Sealed: written as a bundle, compressed, and verified as a stranger would.
//  3. Put under a key that has only its first number in it, on the condition
//     that nothing is there, locked until its newest event's retention ends.
//  4. Read back: every byte and the lock.
//  5. Counted: the ledger says how far the archive has come.
//
// A crash anywhere before 5 is repeated from 1. What 3 then finds under its key
// is taken over if it is a segment of this log, by the same checks that a
// stranger would make, and otherwise nothing goes on for this tenant until a
// person has looked. The log itself never waits for any of this.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// Bucket keeps versions of objects. A new object never replaces an old one's
// bytes: a second under the same key is another version.
type Bucket interface {
	// Check answers nil if versions are kept and locks can be set, ErrUnfit with
	// what to do if not, ErrAway when nobody can tell now.
	Check(ctx context.Context) error
	// Put stores o, if its key has no object, and names the version. ErrTaken:
	// there is one. o.Over stores it as a new version in any case.
	Put(ctx context.Context, o Object) (version string, err error)
	// Get opens a version, "" for the latest. ErrMissing: there is none.
	Get(ctx context.Context, key, version string) (Stored, error)
	// Locked tells until when nobody, whatever their rights, can remove or
	// change a version. The zero time: it is not locked so.
	Locked(ctx context.Context, key, version string) (time.Time, error)
	// Lock locks a version until then. It can be prolonged, never shortened.
	Lock(ctx context.Context, key, version string, until time.Time) error
	// Versions lists what lies under a prefix, by key, each key's newest version
	// first, with the marks that deletions leave.
	Versions(ctx context.Context, prefix string) iter.Seq2[Version, error]
}

// Object is what Put stores. Body is not changed after the call.
type Object struct {
	Key    string
	Type   string // media type
	Body   []byte
	Digest [32]byte // SHA-256 of Body
	Until  time.Time
	VKey   string // whom to ask about Body: the log's verifier key, kept beside it
	Over   bool
}

// Stored is an object being read. Close Body.
type Stored struct {
	Version string
	VKey    string
	Size    int64
	Body    io.ReadCloser
}

// Version is one entry of a listing.
type Version struct {
	Key, ID string
	Latest  bool
	Deleted bool // the mark of a deletion, without content
	Size    int64
}

var (
	// ErrTaken means that the key has an object already.
	ErrTaken = errors.New("the key is taken")
	// ErrMissing means that there is no such object or version.
	ErrMissing = errors.New("there is no such object")
	// ErrAway means that the bucket does not answer now; later it may.
	ErrAway = errors.New("the bucket is away")
	// ErrUnfit means that the bucket, or what we may do with it, is not as it
	// has to be. Somebody has to change something.
	ErrUnfit = errors.New("the bucket is not fit for the archive")
	// ErrForeign means that something that is no segment of this log lies under
	// its key: somebody else can write to the bucket.
	ErrForeign = errors.New("somebody wrote under the archive's key")
	// ErrClock means that this machine's clock and the ledger's disagree. A lock
	// cannot be shortened, so none is set by a clock that may be wrong.
	ErrClock = errors.New("the clocks disagree")
	// ErrMoved means that another replica came first.
	ErrMoved = errors.New("the archive has moved on")
)

// Log is what the archive reads of a tenant's log; audit.Reader has it.
type Log interface {
	Checkpoint(ctx context.Context) (audit.Published, error)
	Consistency(ctx context.Context, from, to int64) (audit.Consistency, error)
	Bundle(ctx context.Context, w io.Writer, r audit.Range) error
}

// Ledger remembers how far one tenant's archive has come. It is what retention
// goes by, so it says less rather than more.
type Ledger interface {
	State(ctx context.Context) (State, error)
	// Claim makes holder the one who archives this tenant for a while. ok is
	// false while somebody else is. Claiming again prolongs.
	Claim(ctx context.Context, holder string, lease time.Duration) (ok bool, err error)
	// Advance adds a segment that was read back. ErrMoved: it does not begin
	// where the last one ended.
	Advance(ctx context.Context, s Entry) error
	// Release ends a claim. halted says why nothing goes on ("": it does).
	Release(ctx context.Context, holder, halted string) error
	// Resume lets a halted archive go on, over whatever lies under its key.
	Resume(ctx context.Context) error
	// Entries lists the segments in order.
	Entries(ctx context.Context) iter.Seq2[Entry, error]
}

// State is where a tenant's archive stands beside its log. Now is the ledger's
// own clock.
type State struct {
	Upto     int64     `json:"upto"`                    // records 1 to Upto are archived and read back
	Newest   int64     `json:"newest"`                  // the log's last record
	Next     int64     `json:"-"`                       // the first that is not archived and not expired
	Oldest   time.Time `json:"oldest_waiting,omitzero"` // its time; zero: nothing waits
	Segments int64     `json:"segments"`
	Bytes    int64     `json:"bytes"`
	Last     time.Time `json:"last,omitzero"` // when the last segment was added
	Halted   string    `json:"halted,omitempty"`
	Over     bool      `json:"-"` // the next key may be written over
	Now      time.Time `json:"-"`
}

// Waiting is how many records only the log has.
func (s State) Waiting() int64 { return max(0, s.Newest-s.Next+1) }

// Entry is a segment as the ledger remembers it. Digest is SHA-256 of the
// object, Size the records under its checkpoint, Newest its newest event's time.
type Entry struct {
	First, Last int64
	Key         string
	Version     string
	Digest      [32]byte
	Bytes       int64
	Size        int64
	Newest      time.Time
	Until       time.Time
}

// Tenant is one tenant as the archive sees it. ID is its id: names do not leave.
type Tenant struct {
	ID     string
	Log    Log
	Ledger Ledger
}

// Keys have the number in twenty digits, so that their order is the records'.
const (
	segmentsOf    = "/segments/"
	checkpointsOf = "/checkpoints/"
	segmentEnd    = ".jsonl.gz"
	checkpointEnd = ".txt"
)

// SegmentKey is where the segment that begins at a record lies. The last
// record's number is not in it: whoever repeats what a crash cut off finds what
// was there before.
func SegmentKey(tenant string, first int64) string {
	return fmt.Sprintf("%s%s%020d%s", tenant, segmentsOf, first, segmentEnd)
}

// CheckpointKey is where the checkpoint of a size lies.
func CheckpointKey(tenant string, size int64) string {
	return fmt.Sprintf("%s%s%020d%s", tenant, checkpointsOf, size, checkpointEnd)
}

// numberIn reads the number of a key that SegmentKey made; 0: it made none.
func numberIn(tenant, key string) int64 {
	digits, ok := strings.CutPrefix(key, tenant+segmentsOf)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(digits, segmentEnd), 10, 64)
	if err != nil || n < 1 || SegmentKey(tenant, n) != key {
		return 0
	}
	return n
}
