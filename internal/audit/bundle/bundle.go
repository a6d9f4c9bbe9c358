// Package bundle writes proof bundles: one file with a range of a log's records
// and everything that proves them. Package verify reads them; docs/AUDIT.md has
// the format.
package bundle

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/canon"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/verify"
)

// Record is one numbered record as stored. Personal values present are
// disclosed; leave out what was erased or is not the reader's.
type Record struct {
	Seq      int64
	Body     []byte
	Leaf     tlog.Hash // as numbered, not computed from Body now
	Personal []record.Personal
}

// Source gives a log's records From to To in order, none missing. An error ends
// the sequence. Slices are good until the next step.
type Source interface {
	Records(ctx context.Context, from, to int64) iter.Seq2[Record, error]
}

// Checkpoint is a published one: the tree and the signed note, cosignatures
// included.
type Checkpoint struct {
	Tree   tlog.Tree
	Signed []byte
}

// House is the house log's word on a checkpoint.
type House struct {
	Checkpoint Checkpoint
	Index      int64
	Salt       [16]byte
	Keys       [][]byte
	Hashes     merkle.Hashes
}

// Contents says what goes into a bundle. From and To number records; To is
// From-1 for a bundle of proofs alone.
type Contents struct {
	Checkpoint Checkpoint
	Keys       [][]byte // signed successions, oldest first
	From, To   int64
	Expired    []byte      // the signed deletion of the records up to From-1
	Previous   *Checkpoint // one the holder may have kept
	House      *House
}

// ErrSource means that the source gave other records than asked for.
var ErrSource = errors.New("records missing or out of order")

// Write writes a bundle in memory that does not grow with it. What it writes
// before an error proves nothing: the range in the first line will not be filled.
func Write(ctx context.Context, w io.Writer, c Contents, hashes merkle.Hashes, source Source) error {
	h, err := header(ctx, c, hashes)
	if err != nil {
		return fmt.Errorf("writing bundle: %w", err)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	first, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("writing bundle: %w", err)
	}
	if len(first) >= verify.MaxLine {
		return fmt.Errorf("writing bundle: a header of %d bytes is too long", len(first))
	}
	out.Write(append(first, '\n'))
	if c.From <= c.To {
		if err := records(ctx, out, c, hashes, source); err != nil {
			return fmt.Errorf("writing bundle: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing bundle: %w", err)
	}
	return nil
}

func header(ctx context.Context, c Contents, hashes merkle.Hashes) (*verify.Header, error) {
	prover := merkle.Prover{Hashes: hashes, Tree: c.Checkpoint.Tree}
	if c.From < 1 || c.To < c.From-1 || c.To > prover.Tree.N {
		return nil, fmt.Errorf("records %d to %d are not in a log of %d", c.From, c.To, prover.Tree.N)
	}
	left, right, err := prover.Range(ctx, c.From-1, c.To)
	if err != nil {
		return nil, err
	}
	h := &verify.Header{
		Checkpoint: string(c.Checkpoint.Signed), Format: verify.Format, From: c.From, To: c.To,
		Expired: string(c.Expired), Keys: texts(c.Keys), Left: left, Right: right,
	}
	if p := c.Previous; p != nil {
		proof, err := prover.Consistency(ctx, p.Tree.N)
		if err != nil {
			return nil, err
		}
		h.Previous = &verify.Previous{Checkpoint: string(p.Signed), Proof: proof}
	}
	if house := c.House; house != nil {
		top := merkle.Prover{Hashes: house.Hashes, Tree: house.Checkpoint.Tree}
		proof, err := top.Inclusion(ctx, house.Index)
		if err != nil {
			return nil, fmt.Errorf("house log: %w", err)
		}
		h.House = &verify.House{
			Checkpoint: string(house.Checkpoint.Signed), Index: house.Index, Keys: texts(house.Keys),
			Proof: proof, Salt: base64.RawURLEncoding.EncodeToString(house.Salt[:]),
		}
	}
	return h, nil
}

func texts(notes [][]byte) []string {
	out := make([]string, len(notes))
	for i, n := range notes {
		out[i] = string(n)
	}
	return out
}

const block = 1 << merkle.BlockHeight

func records(ctx context.Context, out *bufio.Writer, c Contents, hashes merkle.Hashes, source Source) error {
	line := make([]byte, 0, 4096)
	next := c.From
	var row [block]tlog.Hash // block hashes read ahead
	for r, err := range source.Records(ctx, c.From, c.To) {
		if err != nil {
			return err
		}
		if r.Seq != next || r.Seq > c.To {
			return fmt.Errorf("%w: got %d for %d", ErrSource, r.Seq, next)
		}
		if at := r.Seq - 1; at%block == 0 && at+block <= c.To {
			i := at / block
			if i%block == 0 || next-c.From < block {
				n := min(block-i%block, c.To/block-i)
				if err := hashes.ReadHashes(ctx, merkle.BlockHeight, i, row[i%block:i%block+n]); err != nil {
					return err
				}
			}
			line = append(line[:0], `{"block":"`...)
			line = append(line, row[i%block].String()...)
			out.Write(append(line, "\"}\n"...))
		}
		if line, err = AppendLine(line[:0], r); err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		next++
	}
	if next != c.To+1 {
		return fmt.Errorf("%w: none after %d", ErrSource, next-1)
	}
	return nil
}

// AppendLine appends a record's line, as bundles and JSONL exports have it.
func AppendLine(dst []byte, r Record) ([]byte, error) {
	if len(r.Body) == 0 || r.Body[0] != '{' {
		return dst, fmt.Errorf("record %d: the body is not an object", r.Seq)
	}
	dst = append(dst, `{"body":`...)
	dst = append(dst, r.Body...)
	if len(r.Personal) > 0 {
		fields := r.Personal
		if !slices.IsSortedFunc(fields, byField) {
			fields = slices.Clone(fields)
			slices.SortFunc(fields, byField)
		}
		dst = append(dst, `,"disclosed":{`...)
		for i, p := range fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = canon.AppendString(dst, p.Field); err != nil {
				return dst, err
			}
			dst = append(dst, `:{"salt":"`...)
			dst = base64.RawURLEncoding.AppendEncode(dst, p.Salt[:])
			dst = append(dst, `","value":`...)
			dst = append(dst, p.Value...)
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `,"leaf":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, r.Leaf[:])
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendInt(dst, r.Seq, 10)
	if len(dst) >= verify.MaxLine {
		return dst, fmt.Errorf("record %d: a line of %d bytes is too long", r.Seq, len(dst))
	}
	return append(dst, "}\n"...), nil
}

func byField(a, b record.Personal) int { return strings.Compare(a.Field, b.Field) }
