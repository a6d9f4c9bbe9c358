// Package evm speaks to Ethereum and its kin: EIP-1559 transactions and the few
// JSON-RPC calls that anchors need, over net/http. go-ethereum is LGPL-3.0 and is
// not linked; the tests hold this package against it.
package evm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"
)

// Address is an account.
type Address [20]byte

func (a Address) String() string { return "0x" + hex.EncodeToString(a[:]) }

// ParseAddress reads 20 bytes in hex after 0x, in any case.
func ParseAddress(s string) (a Address, err error) {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil || copy(a[:], b) != len(a) || len(b) != len(a) || !strings.HasPrefix(s, "0x") {
		return Address{}, fmt.Errorf("reading address %.50q: want 0x and 40 hex digits", s)
	}
	return a, nil
}

// Hash is Keccak-256.
type Hash [32]byte

func (h Hash) String() string { return "0x" + hex.EncodeToString(h[:]) }

func keccak(parts ...[]byte) (h Hash) {
	k := sha3.NewLegacyKeccak256()
	for _, p := range parts {
		_, _ = k.Write(p)
	}
	k.Sum(h[:0])
	return h
}

// Tx is a transaction of type 2 (EIP-1559) without access list.
type Tx struct {
	ChainID, Nonce uint64
	Tip, Cap       uint64 // wei per gas
	Gas            uint64
	To             Address
	Value          *big.Int // nil is 0
	Data           []byte
}

const typeDynamicFee = 2

func (tx *Tx) fields() []byte {
	var b []byte
	for _, n := range []uint64{tx.ChainID, tx.Nonce, tx.Tip, tx.Cap, tx.Gas} {
		b = appendUint(b, n)
	}
	b = appendBytes(b, tx.To[:])
	value := tx.Value
	if value == nil {
		value = new(big.Int)
	}
	b = appendBytes(b, value.Bytes())
	b = appendBytes(b, tx.Data)
	return appendList(b, nil)
}

func (tx *Tx) signingHash() Hash {
	return keccak([]byte{typeDynamicFee}, appendList(nil, tx.fields()))
}

// Key signs for one account.
type Key struct{ private *secp256k1.PrivateKey }

// ParseKey reads a secp256k1 key: 64 hex digits, 0x before them or not.
func ParseKey(text string) (*Key, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(text), "0x"))
	var s secp256k1.ModNScalar
	if err != nil || len(b) != 32 || s.SetByteSlice(b) || s.IsZero() {
		return nil, errors.New("reading the chain's key: want 64 hex digits of a secp256k1 key") // the value is a secret
	}
	return &Key{secp256k1.NewPrivateKey(&s)}, nil
}

// ReadKey reads a key file that only its owner may read.
func ReadKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what is open, not of a name that may change
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %v, want a file of mode 0600 that nobody else can read", path, info.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return nil, err
	}
	return ParseKey(string(text))
}

// Address is the key's account.
func (k *Key) Address() Address { return addressOf(k.private.PubKey()) }

func addressOf(p *secp256k1.PublicKey) (a Address) {
	sum := keccak(p.SerializeUncompressed()[1:])
	copy(a[:], sum[12:])
	return a
}

// Sign encodes the signed transaction and gives its hash. The nonce of the
// signature is RFC 6979's: the same transaction has the same bytes.
func (k *Key) Sign(tx *Tx) (raw []byte, hash Hash, err error) {
	sum := tx.signingHash()
	sig := ecdsa.SignCompact(k.private, sum[:], false) // 27 + recovery id, r, s; s is low (EIP-2)
	id := sig[0] - 27
	if id > 1 {
		return nil, hash, errors.New("signing transaction: the signature has no parity") // once in 2^127
	}
	b := appendUint(tx.fields(), uint64(id))
	b = appendBytes(b, new(big.Int).SetBytes(sig[1:33]).Bytes())
	b = appendBytes(b, new(big.Int).SetBytes(sig[33:]).Bytes())
	raw = appendList([]byte{typeDynamicFee}, b)
	return raw, keccak(raw), nil
}

// ParseTx reads a signed transaction of type 2 without access list, and who
// signed it.
func ParseTx(raw []byte) (tx Tx, from Address, hash Hash, err error) {
	fail := func(what string) (Tx, Address, Hash, error) {
		return Tx{}, Address{}, Hash{}, errors.New("reading transaction: " + what)
	}
	if len(raw) == 0 || raw[0] != typeDynamicFee {
		return fail("not of type 2")
	}
	outer := reader{b: raw[1:]}
	in := reader{b: outer.item(0xc0)}
	if outer.err != nil || len(outer.b) != 0 {
		return fail(errRLP.Error())
	}
	tx.ChainID, tx.Nonce, tx.Tip, tx.Cap, tx.Gas = in.uint(), in.uint(), in.uint(), in.uint(), in.uint()
	to := in.item(0x80)
	tx.Value = in.number(32)
	tx.Data = in.item(0x80)
	list := in.item(0xc0)
	parity, r, s := in.uint(), in.number(32), in.number(32)
	if in.err != nil || len(in.b) != 0 {
		return fail("not twelve items of the right widths")
	}
	if len(to) != len(tx.To) || len(list) != 0 || parity > 1 {
		return fail("no receiver, an access list or a parity beyond 1")
	}
	copy(tx.To[:], to)
	compact := make([]byte, 65)
	compact[0] = 27 + byte(parity)
	r.FillBytes(compact[1:33])
	s.FillBytes(compact[33:])
	var low secp256k1.ModNScalar
	if low.SetByteSlice(compact[33:]) || low.IsOverHalfOrder() {
		return fail("its signature has a high s (EIP-2)")
	}
	sum := tx.signingHash()
	public, _, err := ecdsa.RecoverCompact(compact, sum[:])
	if err != nil {
		return fail("its signature is nobody's")
	}
	return tx, addressOf(public), keccak(raw), nil
}
