package shield

import "net/netip"

// NormalPrefix is the network every part of the platform works with: masked, and
// IPv4 in IPv6 unmapped. The zero Prefix, which contains nothing, where there is
// nothing sensible.
func NormalPrefix(p netip.Prefix) netip.Prefix { return normalPrefix(p) }

// normalPrefix masks a prefix and unmaps IPv4 in IPv6. The zero Prefix where
// there is nothing sensible.
func normalPrefix(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return netip.Prefix{}
	}
	a, n := p.Addr().WithZone(""), p.Bits()
	if a.Is4In6() {
		if n < 96 {
			return netip.Prefix{}
		}
		a, n = a.Unmap(), n-96
	}
	return netip.PrefixFrom(a, n).Masked()
}

func normalPrefixes(all []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(all))
	for _, p := range all {
		if p = normalPrefix(p); p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// contains is for short lists that an operator wrote.
func contains(all []netip.Prefix, a netip.Addr) bool {
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// clientIn returns the key whose network is exactly p, if there is one.
func clientIn(p netip.Prefix) (client, bool) {
	one, site := clientOf(p.Addr())
	switch {
	case one.prefix() == p:
		return one, true
	case site != 0 && site.prefix() == p:
		return site, true
	}
	return 0, false
}
