package evm

import (
	"errors"
	"math/big"
)

// Recursive length prefix, as the Ethereum yellow paper's appendix B has it, as
// much of it as transactions need: byte strings and one level of lists. Reading
// is strict: what has two encodings is refused, so a hash names one transaction.

func appendHead(dst []byte, base byte, n int) []byte {
	if n < 56 {
		return append(dst, base+byte(n))
	}
	size := big.NewInt(int64(n)).Bytes()
	return append(append(dst, base+55+byte(len(size))), size...)
}

func appendBytes(dst, b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return append(dst, b[0])
	}
	return append(appendHead(dst, 0x80, len(b)), b...)
}

func appendUint(dst []byte, n uint64) []byte {
	return appendBytes(dst, new(big.Int).SetUint64(n).Bytes())
}

// appendList wraps what is encoded already.
func appendList(dst, content []byte) []byte {
	return append(appendHead(dst, 0xc0, len(content)), content...)
}

var errRLP = errors.New("not in the one encoding of RLP")

// reader takes items off; the first error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() []byte {
	r.b, r.err = nil, errRLP
	return nil
}

// item takes a string (base 0x80) or a list (base 0xc0).
func (r *reader) item(base byte) []byte {
	if r.err != nil || len(r.b) == 0 {
		return r.fail()
	}
	c := r.b[0]
	if base == 0x80 && c < 0x80 {
		v := r.b[:1]
		r.b = r.b[1:]
		return v
	}
	if c < base || base == 0x80 && c >= 0xc0 {
		return r.fail()
	}
	n, head := int(c-base), 1
	if n > 55 {
		width := n - 55
		if width > 3 || len(r.b) < 1+width || r.b[1] == 0 { // 16 MiB are enough
			return r.fail()
		}
		n, head = int(new(big.Int).SetBytes(r.b[1:1+width]).Int64()), 1+width
		if n < 56 {
			return r.fail()
		}
	}
	if len(r.b)-head < n {
		return r.fail()
	}
	v := r.b[head : head+n]
	if r.b = r.b[head+n:]; base == 0x80 && n == 1 && v[0] < 0x80 {
		return r.fail()
	}
	return v
}

func (r *reader) number(width int) *big.Int {
	b := r.item(0x80)
	if len(b) > width || len(b) > 0 && b[0] == 0 {
		r.fail()
		return new(big.Int)
	}
	return new(big.Int).SetBytes(b)
}

func (r *reader) uint() uint64 { return r.number(8).Uint64() }
