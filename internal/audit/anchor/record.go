package anchor

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// RecordFormat is a record's "format" member.
const RecordFormat = "openclaw-anchor/1"

// Record is an anchor as a tenant keeps it, beside a bundle or a checkpoint of
// the house log: the transaction whole, and how the anchored tree and that
// checkpoint's are one history.
type Record struct {
	Format      string      `json:"format"`
	Origin      string      `json:"origin"`
	Size        int64       `json:"size"`
	Root        tlog.Hash   `json:"root"`
	Checkpoint  int64       `json:"checkpoint"`      // size of the house checkpoint that Proof leads to or from
	Proof       []tlog.Hash `json:"proof,omitempty"` // RFC 6962 consistency of the two sizes
	ChainID     uint64      `json:"chain_id"`
	Sender      string      `json:"sender"`
	Transaction string      `json:"transaction"`
	Raw         string      `json:"raw"` // the signed transaction, hex
	Block       uint64      `json:"block,omitempty"`
	BlockHash   string      `json:"block_hash,omitempty"`
	BlockTime   *time.Time  `json:"block_time,omitempty"`
}

// NewRecord makes the record of an anchor that is in the chain.
func NewRecord(origin string, a Anchor, checkpoint int64, proof tlog.TreeProof) (Record, error) {
	r := Record{Format: RecordFormat, Origin: origin, Size: a.Tree.N, Root: a.Tree.Hash, Checkpoint: checkpoint, Proof: proof,
		ChainID: a.ChainID, Sender: a.Sender, Transaction: a.Hash}
	for _, at := range a.Attempts {
		if at.Hash == a.Hash {
			r.Raw = "0x" + hex.EncodeToString(at.Raw)
		}
	}
	if r.Raw == "" || a.Mined == nil {
		return Record{}, fmt.Errorf("anchor of size %d: it is in no block", a.Tree.N)
	}
	r.Block, r.BlockHash, r.BlockTime = a.Mined.Block, a.Mined.BlockHash, &a.Mined.Time
	return r, nil
}

// ReadRecord reads one of at most 64 KiB.
func ReadRecord(in io.Reader) (r Record, err error) {
	text, err := io.ReadAll(io.LimitReader(in, 64<<10+1))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil || len(text) > 64<<10 || r.Format != RecordFormat {
		return Record{}, errors.New("reading the anchor's record: not in the format " + RecordFormat)
	}
	return r, nil
}

// Bytes is the signed transaction.
func (r Record) Bytes() ([]byte, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(r.Raw, "0x"))
	if err != nil {
		return nil, errors.New("reading the anchor's record: its transaction is not hex")
	}
	return b, nil
}

// Connects checks that the anchored tree and a checkpoint's are one history:
// either may be the larger.
func (r Record) Connects(head tlog.Tree) error {
	anchored := tlog.Tree{N: r.Size, Hash: r.Root}
	switch {
	case anchored.N == head.N:
		if anchored.Hash != head.Hash {
			return errors.New("the anchor has another root of the same size")
		}
		return nil
	case r.Checkpoint != head.N:
		return fmt.Errorf("the record was made for the checkpoint of %d leaves, this one has %d", r.Checkpoint, head.N)
	case anchored.N < 1 || head.N < 1:
		return errors.New("an empty log proves nothing")
	}
	small, large := anchored, head
	if small.N > large.N {
		small, large = head, anchored
	}
	if err := tlog.CheckTree(r.Proof, large.N, large.Hash, small.N, small.Hash); err != nil {
		return fmt.Errorf("the first %d leaves differ: %w", small.N, err)
	}
	return nil
}
