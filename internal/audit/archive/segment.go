package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/verify"
)

// Limits say when a segment is due and how large it may be.
type Limits struct {
	Events int64         // records in a segment; so many waiting make one due
	Bytes  int           // compressed; what a segment costs in memory. At least 2 MiB
	Age    time.Duration // the oldest waiting record's, that makes a segment due
}

// DefaultLimits: a few megabytes held in memory, and an hour of a quiet
// tenant's log at most that only PostgreSQL has.
var DefaultLimits = Limits{Events: 65_536, Bytes: 8 << 20, Age: time.Hour}

// minBytes: one record's line may have 1 MiB and not compress.
const minBytes = 2 << 20

// segment is a sealed one, or one that was found.
type segment struct {
	first, last int64
	tree        tlog.Tree // of its checkpoint
	note        string    // the checkpoint, signed
	newest      time.Time
	body        []byte // compressed; nil when it was only read
	digest      [32]byte
	bytes       int64
	vkey        string
}

// seal writes the segment that begins at first, at most to the published size,
// and checks it as a stranger would. buf is used for its body.
func seal(ctx context.Context, log Log, first int64, pub audit.Published, lim Limits, buf *bytes.Buffer) (*segment, error) {
	last := min(pub.Size, first-1+lim.Events)
	for range 8 { // a record less in sixteen each time; twice is the rule
		n, err := write(ctx, log, first, last, lim.Bytes, buf)
		if errors.Is(err, errTooLarge) && last > first {
			last = first - 1 + max(1, min(n, last-first+1)*15/16)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("seal records %d to %d: %w", first, last, err)
		}
		s, err := inspect(bytes.NewReader(buf.Bytes()), verify.Options{Key: pub.Key, HouseKey: pub.HouseKey}, nil)
		if err != nil {
			return nil, fmt.Errorf("check the segment of records %d to %d before it is locked: %w", first, last, err)
		}
		if s.first != first || s.last < first {
			return nil, fmt.Errorf("seal records %d to %d: got %d to %d", first, last, s.first, s.last)
		}
		s.body, s.vkey = buf.Bytes(), pub.Key
		return s, nil
	}
	return nil, fmt.Errorf("seal records from %d: no range fits into %d bytes", first, lim.Bytes)
}

var errTooLarge = errors.New("larger than a segment may be")

// write fills buf and answers how many records had gone by, also on error.
func write(ctx context.Context, log Log, first, last int64, limit int, buf *bytes.Buffer) (int64, error) {
	buf.Reset()
	gz := gzip.NewWriter(&limited{buf, limit})
	n := &lineCounter{w: gz}
	if err := log.Bundle(ctx, n, audit.Range{From: first, To: last, WithoutDisclosures: true}); err != nil {
		return n.records(), err
	}
	return n.records(), gz.Close()
}

type limited struct {
	buf  *bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.buf.Len()+len(p) > l.most {
		return 0, errTooLarge
	}
	return l.buf.Write(p)
}

// lineCounter counts lines; blocks' lines, one in 257, count as records, which
// the caller's margin covers.
type lineCounter struct {
	w     io.Writer
	lines int64
}

func (l *lineCounter) Write(p []byte) (int, error) {
	l.lines += int64(bytes.Count(p, []byte{'\n'}))
	return l.w.Write(p)
}

func (l *lineCounter) records() int64 { return max(0, l.lines-1) }

// ErrWrong is what is wrong with a segment's content.
type ErrWrong struct{ verify.Wrong }

func (e *ErrWrong) Error() string {
	if e.Seq > 0 {
		return fmt.Sprintf("record %d: %s: %s", e.Seq, e.Check, e.Why)
	}
	return e.Check + ": " + e.Why
}

func wrong(check, format string, args ...any) error {
	return &ErrWrong{verify.Wrong{Check: check, Why: fmt.Sprintf(format, args...)}}
}

// inspect checks a compressed bundle with package verify, and that it is a
// segment: records, none of them with personal values, and nothing after them.
// The leaf hashes go into c's tree, if there is one. An *ErrWrong tells what is
// wrong; any other error comes from reading.
func inspect(body io.Reader, o verify.Options, c *chain) (*segment, error) {
	sum := sha256.New()
	counted := &counter{r: io.TeeReader(body, sum)}
	in := bufio.NewReaderSize(counted, 64<<10)
	gz, err := gzip.NewReader(in)
	if err != nil {
		return nil, unreadable(counted, err)
	}
	defer gz.Close()
	gz.Multistream(false)
	lines := &contents{chain: c}
	rep, err := verify.Verify(io.TeeReader(gz, lines), o)
	switch {
	case err != nil:
		return nil, unreadable(counted, err)
	case rep.Wrong != nil:
		return nil, &ErrWrong{*rep.Wrong}
	case lines.err != nil:
		return nil, lines.err
	case lines.head.To < lines.head.From || lines.next != lines.head.To+1:
		return nil, wrong("segment", "it has no records")
	}
	if _, err := in.ReadByte(); err == nil {
		return nil, wrong("segment", "more follows after its end")
	} else if err != io.EOF {
		return nil, err
	}
	root, err := tlog.ParseHash(rep.Root)
	if err != nil {
		return nil, wrong("checkpoint", "malformed")
	}
	return &segment{
		first: lines.head.From, last: lines.head.To, newest: lines.newest, note: lines.head.Checkpoint,
		tree: tlog.Tree{N: rep.Size, Hash: root}, digest: [32]byte(sum.Sum(nil)), bytes: counted.n,
	}, nil
}

// unreadable tells a broken file from a broken connection.
func unreadable(c *counter, err error) error {
	if c.err != nil {
		return c.err
	}
	return wrong("format", "it does not read: %v", err)
}

type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// contents looks at a bundle's lines as they pass to the verifier. What it
// takes from them counts only when the verifier has found nothing.
type contents struct {
	chain  *chain
	head   verify.Header
	line   []byte // begun, not ended
	begun  bool
	next   int64
	newest time.Time
	err    error
}

func (c *contents) Write(p []byte) (int, error) {
	for rest := p; c.err == nil && len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			if c.line = append(c.line, rest...); len(c.line) > verify.MaxLine {
				c.err = wrong("format", "a line longer than %d bytes", verify.MaxLine)
			}
			break
		}
		line := rest[:end]
		if len(c.line) > 0 {
			c.line = append(c.line, line...)
			line = c.line
		}
		c.err = c.take(line)
		c.line, rest = c.line[:0], rest[end+1:]
	}
	return len(p), nil
}

var (
	blockStart = []byte(`{"block":`)
	leafMember = []byte(`,"leaf":"`)
	timeMember = []byte(`,"time":"`)
)

// take reads a line whose every byte the verifier knows to be canonical: in a
// string no quote stands bare, members stand in order, and a body ends with its
// version, a number.
func (c *contents) take(line []byte) error {
	if !c.begun {
		c.begun = true
		if err := json.Unmarshal(line, &c.head); err != nil {
			return wrong("format", "the first line is no bundle header")
		}
		c.next = c.head.From
		return c.chain.begin(&c.head)
	}
	if bytes.HasPrefix(line, blockStart) {
		return nil
	}
	at := bytes.LastIndex(line, leafMember)
	if at < 0 {
		return wrong("segment", "record %d comes without its leaf hash", c.next)
	}
	body, leaf := line[:at], line[at+len(leafMember):]
	if bytes.HasSuffix(body, []byte("}}")) {
		return wrong("segment", "record %d comes with personal values", c.next)
	}
	if end := bytes.IndexByte(leaf, '"'); end >= 0 {
		leaf = leaf[:end]
	}
	hash, err := tlog.ParseHash(string(leaf))
	if err != nil {
		return wrong("segment", "record %d: its leaf hash does not read", c.next)
	}
	if at := bytes.LastIndex(body, timeMember); at >= 0 {
		text := body[at+len(timeMember):]
		if end := bytes.IndexByte(text, '"'); end >= 0 {
			if t, err := time.Parse(time.RFC3339Nano, string(text[:end])); err == nil && t.After(c.newest) {
				c.newest = t
			}
		}
	}
	c.next++
	return c.chain.add(hash)
}

// chain joins segments: one tree over all their records, and every checkpoint
// on the way a state of that tree. A nil chain joins nothing.
type chain struct {
	tree  merkle.Frontier
	begun bool
	marks []mark // checkpoints of sizes to come, the smallest first
}

type mark struct {
	tree tlog.Tree
	key  string // of the segment that has it
}

// begin starts a segment; the first one brings the hashes of what is before it.
func (c *chain) begin(h *verify.Header) error {
	if c == nil {
		return nil
	}
	if !c.begun && h.From > 1 {
		b := make([]byte, 8, 8+32*len(h.Left))
		for i, n := 7, h.From-1; i >= 0; i, n = i-1, n>>8 {
			b[i] = byte(n)
		}
		for _, h := range h.Left {
			b = append(b, h[:]...)
		}
		if err := c.tree.UnmarshalBinary(b); err != nil {
			return wrong("range", "its hashes are not those of the %d records before it", h.From-1)
		}
	}
	c.begun = true
	if c.tree.Size() != h.From-1 {
		return wrong("gap", "it begins at record %d, after %d", h.From, c.tree.Size())
	}
	return nil
}

func (c *chain) add(leaf tlog.Hash) error {
	if c == nil {
		return nil
	}
	c.tree.Append(nil, leaf)
	return c.reached()
}

// reached compares the tree with the checkpoints of its size.
func (c *chain) reached() error {
	for len(c.marks) > 0 && c.marks[0].tree.N <= c.tree.Size() {
		m := c.marks[0]
		c.marks = c.marks[1:]
		if m.tree != c.tree.Tree() {
			return wrong("fork", "%s has a checkpoint of %d records that are not those of the segments", m.key, m.tree.N)
		}
	}
	return nil
}

// signed adds a segment's checkpoint, to be compared when the tree gets there.
func (c *chain) signed(key string, tree tlog.Tree) error {
	if n := len(c.marks); n > 0 {
		switch last := c.marks[n-1].tree; {
		case last == tree:
			return nil
		case last.N >= tree.N:
			return wrong("fork", "its checkpoint of %d records does not continue an earlier segment's of %d", tree.N, last.N)
		}
	}
	c.marks = append(c.marks, mark{tree, key})
	return c.reached()
}

func (c *chain) clone() *chain {
	return &chain{*c.tree.Clone(), c.begun, append([]mark(nil), c.marks...)}
}
