package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// header writes one, as a balancer does.
func header(command, family byte, rest ...[]byte) []byte {
	body := bytes.Join(rest, nil)
	out := append([]byte(Signature), 0x20|command, family, 0, 0)
	binary.BigEndian.PutUint16(out[14:], uint16(len(body)))
	return append(out, body...)
}

func v4(src, dst string, sport, dport uint16) []byte {
	out := append(netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice()...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, sport), dport)
}

func attribute(kind byte, value []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

func summed(h []byte) []byte {
	at := bytes.LastIndex(h, []byte{crcType, 0, 4, 0, 0, 0, 0})
	binary.BigEndian.PutUint32(h[at+3:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
	return h
}

func TestRead(t *testing.T) {
	t.Parallel()
	a4 := v4("192.0.2.1", "198.51.100.1", 1234, 443)
	a6 := v4("2001:db8::1", "2001:db8::2", 1234, 443)
	mapped := v4("::ffff:192.0.2.1", "::ffff:198.51.100.1", 1234, 443)
	crc := attribute(crcType, make([]byte, 4))
	good := summed(header(1, 0x11, a4, attribute(0x05, []byte("id")), crc))
	flipped := bytes.Clone(good)
	flipped[16] ^= 1
	for name, c := range map[string]struct {
		bytes  []byte
		source string
		local  bool
		bad    bool
	}{
		"IPv4":                {bytes: header(1, 0x11, a4), source: "192.0.2.1:1234"},
		"IPv6":                {bytes: header(1, 0x21, a6), source: "[2001:db8::1]:1234"},
		"mapped":              {bytes: header(1, 0x21, mapped), source: "192.0.2.1:1234"},
		"attributes":          {bytes: header(1, 0x11, a4, attribute(0x02, []byte("a.example")), attribute(0x04, make([]byte, 300))), source: "192.0.2.1:1234"},
		"checksum":            {bytes: good, source: "192.0.2.1:1234"},
		"local":               {bytes: header(0, 0x00), local: true},
		"local with a body":   {bytes: header(0, 0x11, a4), local: true},
		"unspecified":         {bytes: header(1, 0x00, []byte("whatever"))},
		"unix":                {bytes: header(1, 0x31, make([]byte, 216))},
		"wrong checksum":      {bytes: flipped, bad: true},
		"two checksums":       {bytes: header(1, 0x11, a4, crc, crc), bad: true},
		"short checksum":      {bytes: header(1, 0x11, a4, attribute(crcType, []byte{1})), bad: true},
		"version 1":           {bytes: []byte("PROXY TCP4 192.0.2.1 198.51.100.1 1234 443\r\n"), bad: true},
		"version 3":           {bytes: append(append([]byte(Signature), 0x31, 0x11, 0, 12), a4...), bad: true},
		"unknown command":     {bytes: header(2, 0x11, a4), bad: true},
		"unknown family":      {bytes: header(1, 0x41, a4), bad: true},
		"unknown transport":   {bytes: header(1, 0x13, a4), bad: true},
		"datagram":            {bytes: header(1, 0x12, a4), bad: true},
		"short addresses":     {bytes: header(1, 0x11, a4[:11]), bad: true},
		"IPv6 in IPv4's room": {bytes: header(1, 0x21, a4), bad: true},
		"cut attribute":       {bytes: header(1, 0x11, a4, []byte{4, 0}), bad: true},
		"lying attribute":     {bytes: header(1, 0x11, a4, []byte{4, 0, 9, 1}), bad: true},
		"source 0.0.0.0":      {bytes: header(1, 0x11, v4("0.0.0.0", "198.51.100.1", 1, 1)), bad: true},
		"too long":            {bytes: header(1, 0x11, a4, make([]byte, 5000)), bad: true},
		"HTTP":                {bytes: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), bad: true},
		"TLS":                 {bytes: []byte("\x16\x03\x01\x02\x00" + strings.Repeat("x", 40)), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bytes.NewReader(append(bytes.Clone(c.bytes), "after"...))
			h, err := Read(r)
			if c.bad {
				if !errors.Is(err, ErrHeader) {
					t.Fatalf("%+v %v", h, err)
				}
				return
			}
			if err != nil || h.Local != c.local || c.source == "" && h.Source.IsValid() || c.source != "" && h.Source.String() != c.source {
				t.Fatalf("%+v %v", h, err)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "after" {
				t.Fatalf("left %q for TLS", rest)
			}
			for n := range c.bytes {
				if _, err := Read(bytes.NewReader(c.bytes[:n])); err == nil {
					t.Fatalf("accepted after %d of %d bytes", n, len(c.bytes))
				}
			}
		})
	}
}

// No panic, no byte read beyond the header, no address that is not in it.
func FuzzRead(f *testing.F) {
	f.Add(header(1, 0x11, v4("192.0.2.1", "198.51.100.1", 1234, 443)))
	f.Add(header(1, 0x21, v4("2001:db8::1", "2001:db8::2", 1234, 443), attribute(4, []byte("x"))))
	f.Add(summed(header(1, 0x11, v4("192.0.2.1", "198.51.100.1", 1, 1), attribute(crcType, make([]byte, 4)))))
	f.Add(header(0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := Read(r)
		if err != nil {
			if h != (Header{}) {
				t.Fatal("a header beside an error")
			}
			return
		}
		read := len(data) - r.Len()
		if want := 16 + int(binary.BigEndian.Uint16(data[14:])); read != want {
			t.Fatalf("read %d bytes of a header of %d", read, want)
		}
		for _, a := range []netip.AddrPort{h.Source, h.Destination} {
			if !a.IsValid() {
				continue
			}
			b := a.Addr().AsSlice()
			if !bytes.Contains(data[16:read], b) {
				t.Fatalf("%v is not in the header", a)
			}
		}
		if h.Local && h.Source.IsValid() {
			t.Fatal("a local connection with a source")
		}
	})
}
