// Package anchor writes the house log's roots into a public chain, so that an
// operator who has every key of the platform, and its witnesses' help, still
// cannot back-date a log: the block was there before.
//
// What goes out is a root and a size, never an event. An anchor's life:
//
//	due → sent → mined → final
//	        ↑      │ reorg
//	        └──────┘
//
// sent: the signed transaction is stored, and only then handed to the node, so a
// crash at any moment leaves bytes that can be sent again without being paid
// twice. While it waits it may be signed anew with the same nonce and a higher
// fee, within the bound; the chain takes one of them. mined: a block has it.
// final: so many blocks stand on that one. replaced: another transaction of the
// same key took its nonce. failed: it was mined and reverted.
//
// The log never waits for any of this.
package anchor

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Gas is the limit of each transaction: 21,000 and the calldata's price, with
// room for dearer calldata (EIP-7623). What is not used is not paid.
const Gas = 30_000

const (
	magic   = "OCLA"
	version = 1
)

// CalldataSize is that of every anchor.
const CalldataSize = len(magic) + 1 + sha256.Size + 8 + tlog.HashSize

// Calldata is what stands in the chain: "OCLA", version 1, SHA-256 of the house
// log's origin, the size as 8 bytes, the root.
func Calldata(origin string, tree tlog.Tree) []byte {
	b := append([]byte(magic), version)
	sum := sha256.Sum256([]byte(origin))
	b = binary.BigEndian.AppendUint64(append(b, sum[:]...), uint64(tree.N))
	return append(b, tree.Hash[:]...)
}

// ParseCalldata reads what Calldata wrote for the same origin.
func ParseCalldata(b []byte, origin string) (tree tlog.Tree, err error) {
	if len(b) != CalldataSize || string(b[:len(magic)]) != magic || b[len(magic)] != version {
		return tree, errors.New("reading calldata: it is no anchor")
	}
	b = b[len(magic)+1:]
	if sum := sha256.Sum256([]byte(origin)); !bytes.Equal(b[:sha256.Size], sum[:]) {
		return tree, fmt.Errorf("reading calldata: it is of another log than %s", origin)
	}
	size := binary.BigEndian.Uint64(b[sha256.Size:])
	if size > math.MaxInt64 {
		return tree, errors.New("reading calldata: its size is out of range")
	}
	tree.N = int64(size)
	copy(tree.Hash[:], b[sha256.Size+8:])
	return tree, nil
}

// State is an anchor's.
type State string

const (
	Sent     State = "sent"
	Mine     State = "mined"
	Final    State = "final"
	Replaced State = "replaced"
	Failed   State = "failed"
)

// Problem is what keeps an anchor from its next state; "" is none.
type Problem string

const (
	NodeAway    Problem = "node_away"
	WrongChain  Problem = "wrong_chain"
	FeeBound    Problem = "fee_bound"     // the chain asks more than is allowed for one transaction
	DailyBound  Problem = "daily_ceiling" // or for a day
	NoFunds     Problem = "insufficient_funds"
	Underpriced Problem = "underpriced"
	NonceTaken  Problem = "nonce_taken"
	NonceGap    Problem = "nonce_gap"
	Reorg       Problem = "reorg"
	Refused     Problem = "refused"
	Unknown     Problem = "unanswered" // sent, and the node did not say what became of it
)

// Attempt is one signed transaction of an anchor.
type Attempt struct {
	Signed
	Fee
	At time.Time
}

// Anchor is one root on its way into the chain. All attempts have its nonce.
type Anchor struct {
	ID       int64
	Tree     tlog.Tree
	ChainID  uint64
	Sender   string
	Nonce    uint64
	State    State
	Problem  Problem
	Attempts []Attempt // oldest first; never none
	Hash     string    // of the attempt that was mined
	Mined    *Mined
	Created  time.Time
	Updated  time.Time
}

// newest is the attempt with the highest fee.
func (a *Anchor) newest() *Attempt { return &a.Attempts[len(a.Attempts)-1] }

// cost is what an anchor may cost at most, and once mined what it did.
func (a *Anchor) cost() uint64 {
	if a.Mined != nil {
		return a.Mined.Paid
	}
	return price(a.newest().Cap)
}

// price is the most that a fee costs; it saturates.
func price(perGas uint64) uint64 {
	hi, lo := bits.Mul64(perGas, Gas)
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}

// choose picks a fee for a view of the chain, and for a replacement one that is
// an eighth above the last, which nodes ask for. No answer of a node leads above
// the bound, in wei for the whole transaction.
func choose(v View, bound uint64, last *Fee) (Fee, bool) {
	most := bound / Gas
	f := Fee{Tip: max(min(v.Tip, most), 1)}
	f.Cap = min(v.BaseFee, most)
	f.Cap = min(2*f.Cap+f.Tip, most) // most is below 2^63: bounds are checked when configured
	if last != nil {
		f.Tip = max(f.Tip, last.Tip+last.Tip/8+1)
		f.Cap = max(f.Cap, last.Cap+last.Cap/8+1, f.Tip)
	}
	f.Tip = min(f.Tip, f.Cap)
	return f, f.Cap <= most && f.Cap > v.BaseFee
}
