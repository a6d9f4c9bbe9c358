package shield

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

func TestResolver(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{network("10.0.0.0/8"), network("fd00::/8"), network("::ffff:172.16.0.0/108")}
	const proxy, stranger = "10.0.0.1:5000", "203.0.113.5:5000"
	for name, c := range map[string]struct {
		peer     string
		xff, fwd []string
		header   string
		want     string // "" for a refusal
	}{
		"direct":                          {peer: stranger, want: "203.0.113.5"},
		"direct over IPv6":                {peer: "[2001:db8::5]:1", want: "2001:db8::5"},
		"mapped":                          {peer: "[::ffff:203.0.113.5]:1", want: "203.0.113.5"},
		"zone":                            {peer: "[fe80::1%eth0]:1", want: "fe80::1"},
		"spoofed by a stranger":           {peer: stranger, xff: []string{"127.0.0.1"}, fwd: []string{"for=127.0.0.1"}, want: "203.0.113.5"},
		"spoofed as a trusted one":        {peer: stranger, xff: []string{"1.1.1.1, 10.0.0.2"}, want: "203.0.113.5"},
		"junk by a stranger":              {peer: stranger, fwd: []string{`for="`}, want: "203.0.113.5"},
		"no header":                       {peer: proxy, want: "10.0.0.1"},
		"one":                             {peer: proxy, xff: []string{"198.51.100.1"}, want: "198.51.100.1"},
		"client wrote the left":           {peer: proxy, xff: []string{"127.0.0.1, 8.8.8.8, 198.51.100.1"}, want: "198.51.100.1"},
		"through two proxies":             {peer: proxy, xff: []string{"8.8.8.8, 198.51.100.1, 10.0.0.2, 10.0.0.3"}, want: "198.51.100.1"},
		"two lines":                       {peer: proxy, xff: []string{"8.8.8.8", "198.51.100.1, 10.1.1.1"}, want: "198.51.100.1"},
		"all trusted":                     {peer: proxy, xff: []string{"10.9.9.9, 10.1.1.1"}, want: "10.9.9.9"},
		"unknown":                         {peer: proxy, xff: []string{"198.51.100.1, unknown"}, want: "10.0.0.1"},
		"unknown behind a proxy":          {peer: proxy, xff: []string{"198.51.100.1, unknown, 10.1.1.1"}, want: "10.1.1.1"},
		"junk on the left does not count": {peer: proxy, xff: []string{"', \x00, 198.51.100.1"}, want: "198.51.100.1"},
		"empty":                           {peer: proxy, xff: []string{""}, want: "10.0.0.1"},
		"trailing comma":                  {peer: proxy, xff: []string{"198.51.100.1,"}, want: "10.0.0.1"},
		"port":                            {peer: proxy, xff: []string{"198.51.100.1:443"}, want: "198.51.100.1"},
		"IPv6":                            {peer: proxy, xff: []string{"2001:db8::9"}, want: "2001:db8::9"},
		"IPv6 in brackets with a port":    {peer: proxy, xff: []string{"[2001:db8::9]:443"}, want: "2001:db8::9"},
		"IPv6 with a zone":                {peer: proxy, xff: []string{"fe80::1%eth0"}, want: "10.0.0.1"},
		"unspecified":                     {peer: proxy, xff: []string{"0.0.0.0"}, want: "10.0.0.1"},
		"mapped trusted proxy":            {peer: proxy, xff: []string{"198.51.100.1, ::ffff:10.0.0.9, 172.16.0.1"}, want: "198.51.100.1"},
		"leading zeros":                   {peer: proxy, xff: []string{"010.0.0.1"}, want: "10.0.0.1"},
		"too many proxies":                {peer: proxy, xff: []string{"198.51.100.1" + strings.Repeat(", 10.0.0.2", 40)}, want: "10.0.0.2"},
		"too long":                        {peer: proxy, xff: []string{strings.Repeat("a", 9000)}, want: ""},

		"forwarded":                      {peer: proxy, fwd: []string{"for=198.51.100.1"}, want: "198.51.100.1"},
		"forwarded in any case":          {peer: proxy, fwd: []string{"Proto=https ; FOR=198.51.100.1;by=10.0.0.1"}, want: "198.51.100.1"},
		"forwarded list":                 {peer: proxy, fwd: []string{`for=8.8.8.8, for="[2001:db8::9]:4711";proto=https, for=10.0.0.7`}, want: "2001:db8::9"},
		"forwarded lines":                {peer: proxy, fwd: []string{"for=8.8.8.8", "for=198.51.100.1", "for=10.0.0.2"}, want: "198.51.100.1"},
		"forwarded obfuscated":           {peer: proxy, fwd: []string{"for=198.51.100.1, for=_hidden"}, want: "10.0.0.1"},
		"forwarded unknown":              {peer: proxy, fwd: []string{"for=198.51.100.1, for=unknown, for=10.0.0.4"}, want: "10.0.0.4"},
		"forwarded obfuscated port":      {peer: proxy, fwd: []string{`for="198.51.100.1:_x"`}, want: "198.51.100.1"},
		"forwarded without for":          {peer: proxy, fwd: []string{"for=198.51.100.1, by=10.0.0.1"}, want: "10.0.0.1"},
		"forwarded comma in quotes":      {peer: proxy, fwd: []string{`for=8.8.8.8;host="a, for=9.9.9.9", for=198.51.100.1`}, want: "198.51.100.1"},
		"forwarded escape":               {peer: proxy, fwd: []string{`for="198.51.100.\1"`}, want: "10.0.0.1"},
		"forwarded empty pairs":          {peer: proxy, fwd: []string{";;for=198.51.100.1;;"}, want: "198.51.100.1"},
		"forwarded swallowing quote":     {peer: proxy, fwd: []string{`for="8.8.8.8, for=198.51.100.1`}, want: ""},
		"forwarded swallowing pair":      {peer: proxy, fwd: []string{`for="8.8.8.8", for=198.51.100.1"`}, want: ""},
		"forwarded twice in one element": {peer: proxy, fwd: []string{`for=8.8.8.8;for=198.51.100.1`}, want: ""},
		"forwarded IPv6 unquoted":        {peer: proxy, fwd: []string{`for=[2001:db8::9]`}, want: ""},
		"forwarded junk":                 {peer: proxy, fwd: []string{`=,`}, want: ""},

		"both agree":           {peer: proxy, xff: []string{"198.51.100.1"}, fwd: []string{"for=198.51.100.1"}, want: "198.51.100.1"},
		"both disagree":        {peer: proxy, xff: []string{"198.51.100.1"}, fwd: []string{"for=8.8.8.8"}, want: ""},
		"only the named":       {peer: proxy, header: "x-forwarded-for", xff: []string{"198.51.100.1"}, fwd: []string{`for="`}, want: "198.51.100.1"},
		"only the other named": {peer: proxy, header: "Forwarded", xff: []string{"8.8.8.8"}, fwd: []string{"for=198.51.100.1"}, want: "198.51.100.1"},
		"no peer":              {peer: "@", want: ""},
		"peer without a port":  {peer: "203.0.113.5", want: "203.0.113.5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
			r.Header["X-Forwarded-For"], r.Header["Forwarded"] = c.xff, c.fwd
			got, err := (&Resolver{Trusted: trusted, Header: c.header}).Client(r)
			if c.want == "" {
				if fault.CodeOf(err) != fault.Invalid {
					t.Fatalf("%v %v, want a refusal", got, err)
				}
				return
			}
			if err != nil || got != ip(c.want) {
				t.Fatalf("%v %v, want %s", got, err, c.want)
			}
		})
	}
}

// Whatever the headers say: no panic; from a stranger nothing but the socket;
// and never an address that stands in neither.
func FuzzResolver(f *testing.F) {
	for _, s := range [][2]string{
		{"1.2.3.4, 10.0.0.1", "for=1.2.3.4"}, {"[2001:db8::1]:80", `for="[2001:db8::1]:80"`}, {"unknown", "for=_x;by=y"},
		{"::ffff:1.2.3.4", `for="a\"b", for=1.2.3.4`}, {"1.2.3.4\n5.6.7.8", "for=1.2.3.4\nfor=10.0.0.3"}, {"", ";,;="},
	} {
		f.Add(s[0], s[1], "10.0.0.1:1")
		f.Add(s[0], s[1], "203.0.113.1:1")
	}
	trusted := &Resolver{Trusted: []netip.Prefix{network("10.0.0.0/8"), network("2001:db8::/32")}}
	f.Fuzz(func(t *testing.T, xff, fwd, peer string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{}}
		if xff != "" {
			r.Header["X-Forwarded-For"] = strings.Split(xff, "\n")
		}
		if fwd != "" {
			r.Header["Forwarded"] = strings.Split(fwd, "\n")
		}
		got, err := trusted.Client(r)
		if err != nil {
			if got.IsValid() {
				t.Fatal("an address beside an error")
			}
			return
		}
		socket, ok := remote(peer)
		if !ok || !got.IsValid() {
			t.Fatalf("%v from the peer %q", got, peer)
		}
		if got == socket {
			return
		}
		if !trusted.trusts(socket) {
			t.Fatalf("a stranger made himself %v", got)
		}
		for _, piece := range strings.FieldsFunc(xff+"\n"+fwd, func(c rune) bool {
			return !strings.ContainsRune("0123456789abcdefABCDEF:.", c)
		}) {
			for _, s := range []string{piece, strings.TrimLeft(piece, "abcdefABCDEF:"), piece[:max(strings.LastIndexByte(piece, ':'), 0)]} {
				if a, err := netip.ParseAddr(s); err == nil && Normal(a) == got {
					return
				}
			}
		}
		t.Fatalf("%v stands neither in %q nor in %q", got, xff, fwd)
	})
}
