// Package proxyproto reads the PROXY protocol, version 2 (HAProxy's
// proxy-protocol.txt, section 2.2): the binary header with which a layer-4
// balancer says whose connection it forwards. Version 1, a text line, is not
// spoken: it has no length, so it cannot be told from the client's own bytes
// before reading them.
package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
)

// Signature is what every header begins with.
const Signature = "\r\n\r\n\x00\r\nQUIT\n"

// maxLength bounds addresses and TLVs together. Real ones stay below 256
// bytes; with client certificate names below 2 KiB.
const maxLength = 4 << 10

// crcType is PP2_TYPE_CRC32C.
const crcType = 0x03

// Header is what the proxy said. With Local set it speaks for itself (a health
// check) and both addresses are zero; they are zero, too, for a forwarded
// connection of a family that has no addresses (UNSPEC, UNIX).
type Header struct {
	Local               bool
	Source, Destination netip.AddrPort
}

// ErrHeader is wrapped by every error that is the sender's fault.
var ErrHeader = errors.New("PROXY header is malformed")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrHeader, what) }

// Read reads exactly one header from r and not a byte more. The caller sets
// the deadline.
func Read(r io.Reader) (Header, error) {
	var buf [16 + 256]byte
	if _, err := io.ReadFull(r, buf[:16]); err != nil {
		return Header{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if string(buf[:12]) != Signature {
		return Header{}, malformed("no signature")
	}
	length := int(binary.BigEndian.Uint16(buf[14:16]))
	if length > maxLength {
		return Header{}, malformed("longer than 4 KiB")
	}
	all := buf[:]
	if 16+length > len(all) {
		all = make([]byte, 16+length)
		copy(all, buf[:16])
	}
	all = all[:16+length]
	if _, err := io.ReadFull(r, all[16:]); err != nil {
		return Header{}, fmt.Errorf("read PROXY header: %w", err)
	}
	return parse(all)
}

func parse(all []byte) (Header, error) {
	rest := all[16:]
	if all[12]>>4 != 2 {
		return Header{}, malformed("not version 2")
	}
	var h Header
	switch all[12] & 15 {
	case 0:
		h.Local = true // the rest is to be skipped, whatever it is
		return h, nil
	case 1:
	default:
		return Header{}, malformed("unknown command")
	}
	family, transport := all[13]>>4, all[13]&15
	if transport > 2 || family > 3 {
		return Header{}, malformed("unknown family or transport")
	}
	if transport == 2 {
		return Header{}, malformed("a datagram on a stream")
	}
	size := [...]int{0, 12, 36, 216}[family]
	if len(rest) < size {
		return Header{}, malformed("shorter than its addresses")
	}
	switch family {
	case 1:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[:4])), binary.BigEndian.Uint16(rest[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[4:8])), binary.BigEndian.Uint16(rest[10:]))
	case 2:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[:16])).Unmap(), binary.BigEndian.Uint16(rest[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[16:32])).Unmap(), binary.BigEndian.Uint16(rest[34:]))
	}
	if family == 0 {
		return h, nil // the length is skipped unread
	}
	if family != 3 && h.Source.Addr().IsUnspecified() {
		return Header{}, malformed("the source is no address")
	}
	if err := attributes(all, 16+size); err != nil {
		return Header{}, err
	}
	return h, nil
}

// attributes walks the type-length-values and checks a checksum, if there is one.
func attributes(all []byte, at int) error {
	checked := false
	for at < len(all) {
		if len(all)-at < 3 {
			return malformed("an attribute is cut short")
		}
		kind, n := all[at], int(binary.BigEndian.Uint16(all[at+1:]))
		at += 3
		if len(all)-at < n {
			return malformed("an attribute is cut short")
		}
		if kind == crcType {
			if n != 4 || checked {
				return malformed("the checksum is not one of four bytes")
			}
			checked = true
			said := binary.BigEndian.Uint32(all[at:])
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(0, table, all[:at])
			sum = crc32.Update(sum, table, []byte{0, 0, 0, 0})
			if crc32.Update(sum, table, all[at+4:]) != said {
				return malformed("the checksum does not match")
			}
		}
		at += n
	}
	return nil
}
