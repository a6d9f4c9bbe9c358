package geo

import (
	"encoding/binary"
	"net/netip"
	"sort"
	"testing"
)

// mmdb writes a database in MaxMind DB format 2.0: an IPv6 search tree with
// 24-bit records, sixteen zero bytes, the data section, and the metadata map
// behind its marker. IPv4 networks stand at ::/96.
func mmdb(t testing.TB, records map[string]any) []byte {
	t.Helper()
	type node struct {
		child [2]*node
		data  [2]int // offset+1 into the data section
	}
	root := &node{}
	var data []byte
	networks := make([]netip.Prefix, 0, len(records))
	for s := range records {
		networks = append(networks, netip.MustParsePrefix(s))
	}
	// Wider ones first, so that narrower ones are cut out of them.
	length := func(p netip.Prefix) int {
		if p.Addr().Is4() {
			return p.Bits() + 96
		}
		return p.Bits()
	}
	sort.Slice(networks, func(i, j int) bool { return length(networks[i]) < length(networks[j]) })
	for _, p := range networks {
		at := len(data) + 1
		data = encode(t, data, records[p.String()])
		a := p.Addr().As16()
		if p.Addr().Is4() {
			clear(a[:12])
		}
		n := root
		for i := range length(p) {
			bit := a[i/8] >> (7 - i%8) & 1
			if i == length(p)-1 {
				n.child[bit], n.data[bit] = nil, at
				break
			}
			if n.child[bit] == nil {
				n.child[bit] = &node{data: [2]int{n.data[bit], n.data[bit]}}
				n.data[bit] = 0
			}
			n = n.child[bit]
		}
	}
	numbers := map[*node]int{root: 0}
	order := []*node{root}
	for i := 0; i < len(order); i++ {
		for _, c := range order[i].child {
			if c != nil {
				numbers[c] = len(order)
				order = append(order, c)
			}
		}
	}
	var out []byte
	for _, n := range order {
		for bit := range 2 {
			v := len(order) // nothing here
			switch {
			case n.child[bit] != nil:
				v = numbers[n.child[bit]]
			case n.data[bit] != 0:
				v = len(order) + 16 + n.data[bit] - 1
			}
			out = append(out, byte(v>>16), byte(v>>8), byte(v))
		}
	}
	out = append(out, make([]byte, 16)...)
	out = append(out, data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	return encode(t, out, map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0),
		"build_epoch": uint64(1793000000), "database_type": "Test-Country", "ip_version": uint16(6),
		"node_count": uint32(len(order)), "record_size": uint16(24),
		"description": map[string]any{"en": "test"}, "languages": []string{"en"},
	})
}

// encode appends one field of the data section.
func encode(t testing.TB, out []byte, v any) []byte {
	t.Helper()
	number := func(kind byte, n uint64) []byte {
		b := binary.BigEndian.AppendUint64(nil, n)
		for len(b) > 0 && b[0] == 0 {
			b = b[1:]
		}
		if kind > 7 {
			return append(append(out, byte(len(b)), kind-7), b...)
		}
		return append(append(out, kind<<5|byte(len(b))), b...)
	}
	switch v := v.(type) {
	case string:
		if len(v) < 29 {
			out = append(out, 2<<5|byte(len(v)))
		} else {
			out = append(out, 2<<5|29, byte(len(v)-29))
		}
		return append(out, v...)
	case uint16:
		return number(5, uint64(v))
	case uint32:
		return number(6, uint64(v))
	case uint64:
		return number(9, v)
	case []string:
		out = append(out, byte(len(v)), 11-7)
		for _, s := range v {
			out = encode(t, out, s)
		}
		return out
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		out = append(out, 7<<5|byte(len(v)))
		for _, k := range keys {
			out = encode(t, encode(t, out, k), v[k])
		}
		return out
	}
	t.Fatalf("cannot encode %T", v)
	return nil
}
