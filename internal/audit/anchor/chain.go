package anchor

import (
	"context"
	"errors"
	"time"
)

// What a chain's node may say to a transaction. Anything else, silence above all,
// leaves open whether it was taken: it is sent again, the same bytes.
var (
	ErrAway        = errors.New("the chain's node does not answer")
	ErrUnderpriced = errors.New("the node wants a higher fee")
	ErrFunds       = errors.New("the sender cannot pay the fee")
	ErrNonce       = errors.New("the nonce is used up")
	ErrRefused     = errors.New("the node refuses the transaction")
)

// Fee is per unit of gas, in wei (EIP-1559): what the block's builder gets at
// most, and what is paid at most in all.
type Fee struct{ Tip, Cap uint64 }

// View is a chain as its node tells it, all at one time.
type View struct {
	ChainID uint64
	Head    uint64 // number of the newest block
	BaseFee uint64 // of that block, wei per gas
	Tip     uint64 // what the node suggests
	Nonce   uint64 // of the sender's next transaction, by mined blocks
	Balance uint64 // of the sender, wei; more than 18 ether read as that
}

// Mined is a transaction's place in the chain.
type Mined struct {
	Block     uint64
	BlockHash string
	Time      time.Time // the block's
	OK        bool      // it did not revert
	Paid      uint64    // wei
}

// Signed is a transaction ready to be sent. The same bytes may be sent any
// number of times: the chain takes them once.
type Signed struct {
	Hash string
	Raw  []byte
}

// Chain is one account on one chain.
type Chain interface {
	Sender() string
	Look(ctx context.Context) (View, error)
	// Sign makes a transaction of no value from the sender to itself.
	Sign(chainID, nonce uint64, fee Fee, gas uint64, data []byte) (Signed, error)
	// Send hands it to the node; one that the node has already is no error.
	Send(ctx context.Context, raw []byte) error
	// Mined finds it in the chain as it is now, or gives nil.
	Mined(ctx context.Context, hash string) (*Mined, error)
}
