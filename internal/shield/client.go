package shield

import (
	"encoding/binary"
	"net/netip"
)

// client is the key of one client or one site in every table: an IPv4 address,
// the upper 64 bits of an IPv6 address, or the upper 48. The three never
// collide: the tags below stand where 0001::/16 and 0002::/16 would, which are
// unallocated and not routed (RFC 4291 section 4, IANA IPv6 address space).
// Zero is no client.
type client uint64

const (
	siteTag client = 0x0001 << 48
	v4Tag   client = 0x0002 << 48
	tagMask client = 0xffff << 48
)

// Normal is the address every part of this package works with: IPv4 in IPv6
// is unmapped and a zone is dropped, so one client has one spelling.
func Normal(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// clientOf returns the key of a normal address, and for IPv6 that of its /48.
func clientOf(a netip.Addr) (one, site client) {
	if a.Is4() {
		b := a.As4()
		return v4Tag | client(binary.BigEndian.Uint32(b[:])), 0
	}
	b := a.As16()
	hi := client(binary.BigEndian.Uint64(b[:8]))
	if hi == 0 { // ::1 and other addresses of ::/64 still need a key
		return siteTag, 0
	}
	return hi, siteTag | hi>>16
}

// prefix is the network a key stands for.
func (c client) prefix() netip.Prefix {
	switch c & tagMask {
	case v4Tag:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(c))
		return netip.PrefixFrom(netip.AddrFrom4(b), 32)
	case siteTag:
		var b [16]byte
		if c == siteTag {
			return netip.PrefixFrom(netip.AddrFrom16(b), 64)
		}
		binary.BigEndian.PutUint64(b[:8], uint64(c&^tagMask)<<16)
		return netip.PrefixFrom(netip.AddrFrom16(b), 48)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(c))
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}
