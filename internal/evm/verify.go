package evm

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
)

// Report is what was found of an anchor. Wrong is empty when all that was
// checked held.
type Report struct {
	Wrong     string   `json:"wrong,omitempty"`
	Checked   []string `json:"checked"`
	Unchecked []string `json:"unchecked"`
}

// Ask says what to hold a record against. Head is a signed checkpoint's tree, as
// the caller verified it. Node is nil for the offline part alone.
type Ask struct {
	Record        anchor.Record
	Origin        string
	Head          tlog.Tree
	Index         int64  // the house leaf that must stand under the anchor; -1: none
	Sender        string // who must have paid; "": anybody
	Node          *Client
	Confirmations uint64
}

// Verify checks an anchor. An error means that the node could not be asked; what
// is wrong stands in the report.
func Verify(ctx context.Context, a Ask) (Report, error) {
	r := Report{Checked: []string{}, Unchecked: []string{}}
	yes := func(format string, args ...any) { r.Checked = append(r.Checked, fmt.Sprintf(format, args...)) }
	not := func(format string, args ...any) { r.Unchecked = append(r.Unchecked, fmt.Sprintf(format, args...)) }
	wrong := func(format string, args ...any) (Report, error) {
		r.Wrong = fmt.Sprintf(format, args...)
		return r, nil
	}
	rec := a.Record
	raw, err := rec.Bytes()
	if err != nil {
		return wrong("%v", err)
	}
	tx, from, hash, err := ParseTx(raw)
	switch {
	case err != nil:
		return wrong("%v", err)
	case hash.String() != rec.Transaction || tx.ChainID != rec.ChainID || !strings.EqualFold(from.String(), rec.Sender):
		return wrong("the record is not of its transaction, which is %s on chain %d by %s", hash, tx.ChainID, from)
	}
	tree, err := anchor.ParseCalldata(tx.Data, a.Origin)
	if err != nil {
		return wrong("%v", err)
	}
	if tree != (tlog.Tree{N: rec.Size, Hash: rec.Root}) {
		return wrong("the transaction anchors %d leaves under %s, the record says %d under %s", tree.N, tree.Hash, rec.Size, rec.Root)
	}
	yes("transaction %s, signed by %s for chain %d, anchors %d leaves of %s", hash, from, tx.ChainID, tree.N, a.Origin)
	if err := rec.Connects(a.Head); err != nil {
		return wrong("the checkpoint of %d leaves: %v", a.Head.N, err)
	}
	if tree.N < a.Head.N {
		yes("the anchored leaves are the first of the checkpoint's")
		not("leaves %d to %d of the checkpoint: they came after the anchor", tree.N, a.Head.N-1)
	} else {
		yes("all leaves of the checkpoint are anchored")
	}
	if a.Index >= tree.N {
		return wrong("leaf %d of the house log came after the %d that are anchored", a.Index, tree.N)
	}
	if a.Sender == "" {
		not("whose account paid: no --sender was given")
	} else if !strings.EqualFold(a.Sender, from.String()) {
		return wrong("%s signed it, not %s", from, a.Sender)
	}
	if a.Node == nil {
		not("that the transaction is in a chain: no --rpc was given")
		return r, nil
	}
	id, err := a.Node.ChainID(ctx)
	if err != nil {
		return r, err
	}
	if id != tx.ChainID {
		return wrong("the node is of chain %d", id)
	}
	told, err := a.Node.Transaction(ctx, hash.String())
	if err != nil {
		return r, err
	}
	mined, err := a.Node.Mined(ctx, hash.String())
	if err != nil {
		return r, err
	}
	head, err := a.Node.Head(ctx)
	if err != nil {
		return r, err
	}
	if told == nil || mined == nil {
		return wrong("the chain does not have the transaction")
	}
	input, err := hex.DecodeString(strings.TrimPrefix(told.Input, "0x"))
	switch {
	case err != nil || !bytes.Equal(input, tx.Data) || !strings.EqualFold(told.From, from.String()):
		return wrong("the node tells another calldata or sender of it")
	case !mined.OK:
		return wrong("it is in block %d and reverted", mined.Block)
	case head < mined.Block || head-mined.Block+1 < a.Confirmations:
		return wrong("it is in block %d of %d: fewer than %d confirmations", mined.Block, head, a.Confirmations)
	}
	yes("block %d (%s) of %s has it, %d confirmations", mined.Block, mined.BlockHash, mined.Time.Format(time.RFC3339), head-mined.Block+1)
	if rec.BlockHash != "" && rec.BlockHash != mined.BlockHash {
		not("why it is in another block than the record says: a reorganisation since")
	}
	not("that the node is honest: block headers and the chain's consensus are not proven; ask a node of your own, or several")
	not("the block's time beyond what its builder said")
	return r, nil
}
