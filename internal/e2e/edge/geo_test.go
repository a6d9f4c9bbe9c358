package edge

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// mmdb is a MaxMind DB (format 2.0) of IPv4 networks and their countries: a
// search tree of 24-bit records, sixteen zero bytes, the records, the metadata.
func mmdb(countries map[string]string) string {
	type node [2]int // 0: nothing; > 0: a node; < 0: a record at -n-1
	tree, data := []node{{}}, []byte{}
	text := func(out []byte, s string) []byte { return append(append(out, 2<<5|byte(len(s))), s...) }
	for network, country := range countries {
		p := netip.MustParsePrefix(network)
		a, at := p.Addr().As4(), 0
		for i := range p.Bits() {
			bit := a[i/8] >> (7 - i%8) & 1
			if i == p.Bits()-1 {
				tree[at][bit] = -len(data) - 1
			} else if tree[at][bit] == 0 {
				tree = append(tree, node{})
				tree[at][bit] = len(tree) - 1
			}
			at = max(tree[at][bit], 0)
		}
		data = text(append(data, 7<<5|1), "country") // a map of one
		data = text(text(append(data, 7<<5|1), "iso_code"), country)
	}
	var out []byte
	for _, n := range tree {
		for _, v := range n {
			switch {
			case v == 0:
				v = len(tree)
			case v < 0:
				v = len(tree) + 16 - v - 1
			}
			out = append(out, byte(v>>16), byte(v>>8), byte(v))
		}
	}
	out = append(append(out, make([]byte, 16)...), data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	number := func(name string, kind byte, n uint32) {
		out = text(out, name)
		if kind > 7 { // an extended type
			out = append(out, 4, kind-7)
		} else {
			out = append(out, kind<<5|4)
		}
		out = binary.BigEndian.AppendUint32(out, n)
	}
	number16 := func(name string, n uint16) {
		out = append(text(out, name), 5<<5|2, byte(n>>8), byte(n))
	}
	out = append(out, 7<<5|7)
	number16("binary_format_major_version", 2)
	number16("binary_format_minor_version", 0)
	number("build_epoch", 9, 1793000000)
	out = text(text(out, "database_type"), "Test-Country")
	number16("ip_version", 4)
	number("node_count", 6, uint32(len(tree)))
	number16("record_size", 24)
	return string(out)
}

func TestCountriesBehindAProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, behind)
	file := filepath.Join(w.dir, "country.mmdb")
	write(t, file, mmdb(map[string]string{"203.0.113.0/24": "KP", "198.51.100.0/24": "DE"}))
	w.env["GEO_DATABASE"] = file
	blocking := w.start(t, map[string]string{"GEO_BLOCK": "KP"})
	allowing := w.start(t, map[string]string{"GEO_ALLOW": "de"})
	for name, x := range map[string]struct {
		to   *replica
		from string
		want int
	}{
		"a blocked country":              {blocking, "203.0.113.5", 403},
		"another country":                {blocking, "198.51.100.5", 200},
		"no known country":               {blocking, "192.0.2.5", 200},
		"only one allowed: it":           {allowing, "198.51.100.5", 200},
		"only one allowed: another":      {allowing, "203.0.113.5", 403},
		"only one allowed: unknown":      {allowing, "192.0.2.5", 403},
		"only one allowed: the proxy":    {allowing, "", 200},
		"only one allowed: a private IP": {allowing, "10.1.2.3", 200},
	} {
		got := ask{to: x.to, path: "/livez", from: x.from}.send(t)
		if got.status != x.want || got.status == 403 && got.code() != "address_blocked" {
			t.Errorf("%s: %d, want %d: %s", name, got.status, x.want, got.body)
		}
	}
	event(t, blocking.House, audit.DDoSBlocked, "of a country", func(e audit.Entry) bool {
		return strings.Contains(string(e.Details), "country") && strings.Contains(string(e.Details), "KP") && e.IP == "203.0.113.5"
	})
	if n := len(blocking.Shield.Blocks()); n != 0 {
		t.Errorf("a country became %d blocks of addresses", n)
	}
}

// Behind a layer-4 balancer a refused country does not get as far as TLS.
func TestCountriesAtAccept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, balancer)
	file := filepath.Join(w.dir, "country.mmdb")
	write(t, file, mmdb(map[string]string{"203.0.113.0/24": "KP"}))
	a := w.start(t, map[string]string{"GEO_DATABASE": file, "GEO_BLOCK": "KP"})
	if !dropped(t, a, proxied("203.0.113.5")) {
		t.Error("a refused country got as far as TLS")
	}
	if _, err := hello(t, a, proxied("198.51.100.5")); err != nil {
		t.Errorf("another country: %v", err)
	}
}

func TestCountriesWithoutAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, file := range map[string]string{"missing": filepath.Join(w.dir, "none.mmdb"), "junk": w.tiers} {
		c, err := app.Load(w.with(map[string]string{"GEO_DATABASE": file, "GEO_BLOCK": "KP"}))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := app.Build(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil {
			a.Close()
			t.Errorf("%s: it starts and blocks nobody", name)
		} else if !strings.Contains(err.Error(), "GEO_DATABASE") {
			t.Errorf("%s: the error names no variable: %v", name, err)
		}
	}
	c, err := app.Load(w.with(map[string]string{"GEO_DATABASE": w.tiers, "GEO_BLOCK": "Korea"}))
	if err == nil {
		_, err = app.Build(t.Context(), c, slog.New(slog.DiscardHandler))
	}
	if err == nil || !strings.Contains(err.Error(), "GEO_BLOCK") {
		t.Errorf("a country that is no code: %v", err)
	}
}
