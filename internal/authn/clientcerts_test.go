package authn

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// state is what a handshake would have left behind.
func state(certs ...tls.Certificate) *tls.ConnectionState {
	s := &tls.ConnectionState{HandshakeComplete: true}
	for _, c := range certs {
		s.PeerCertificates = append(s.PeerCertificates, c.Leaf)
	}
	return s
}

func asCert(a *authority) tls.Certificate { return tls.Certificate{Leaf: a.cert} }

func openCerts(t testing.TB, clk *clock, caFile, crlFile string, stale StaleCRL) *ClientCerts {
	t.Helper()
	c, err := NewClientCerts(ClientCertsConfig{CAFile: caFile, CRLFile: crlFile, StaleCRL: stale, Now: clk.now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestJudgeChains(t *testing.T) {
	t.Parallel()
	clk := newClock()
	root, stranger := newAuthority(t, clk, "root", nil), newAuthority(t, clk, "stranger", nil)
	twin := newAuthority(t, clk, "root", nil) // same name, another key
	middle := newAuthority(t, clk, "middle", root)
	caFile := inTemp(t, "ca.pem")
	write(t, clk, caFile, encodeCert(root.cert))
	certs := openCerts(t, clk, caFile, "", RefuseStale)
	const id = "spiffe://example.org/service/billing"
	for name, c := range map[string]struct {
		state *tls.ConnectionState
		ok    bool
	}{
		"good":               {state(root.client(t, id)), true},
		"with intermediate":  {state(middle.client(t, id), asCert(middle)), true},
		"intermediate gone":  {state(middle.client(t, id)), false},
		"another CA":         {state(stranger.client(t, id)), false},
		"its CA in the pack": {state(stranger.client(t, id), asCert(stranger)), false},
		"same-named CA":      {state(twin.client(t, id)), false},
		"expired":            {state(root.client(t, id, func(c *x509.Certificate) { c.NotAfter = clk.now().Add(-time.Minute) })), false},
		"not yet": {state(root.client(t, id, func(c *x509.Certificate) {
			c.NotBefore = clk.now().Add(time.Hour)
		})), false},
		"for servers":     {state(root.client(t, id, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), false},
		"the CA itself":   {state(asCert(root)), false},
		"an intermediate": {state(asCert(middle)), false},
		"leaf signs leaf": {state(leafSigned(t, root, id)...), false},
		"unknown critical": {state(root.client(t, id, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		})), false},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				v, err := certs.judge(c.state)
				if (err == nil) != c.ok {
					t.Fatal(err)
				}
				if err != nil && !errors.Is(err, ErrCertificate) {
					t.Errorf("cause %v", err)
				}
				if err == nil && v.name != id {
					t.Errorf("name %q %v", v.name, v.nameErr)
				}
			}
		})
	}
}

func leafSigned(t *testing.T, root *authority, id string) []tls.Certificate {
	leaf := root.client(t, "spiffe://example.org/mallory")
	rogue := &authority{cert: leaf.Leaf, key: leafKey(leaf), clk: root.clk}
	return []tls.Certificate{rogue.client(t, id), leaf}
}

func TestNotRememberedPastItsTime(t *testing.T) {
	t.Parallel()
	clk := newClock()
	root := newAuthority(t, clk, "root", nil)
	middle := newAuthority(t, clk, "middle", root)
	short := &authority{clk: clk}
	short.cert, short.key = issue(t, clk, root, &x509.Certificate{Subject: pkix.Name{CommonName: "short"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: clk.now().Add(time.Hour)})
	caFile := inTemp(t, "ca.pem")
	write(t, clk, caFile, encodeCert(root.cert))
	certs := openCerts(t, clk, caFile, "", RefuseStale)
	day, hour := state(middle.client(t, "spiffe://a/b"), asCert(middle)), state(short.client(t, "spiffe://a/b"), asCert(short))
	for _, s := range []*tls.ConnectionState{day, hour} {
		if _, err := certs.judge(s); err != nil {
			t.Fatal(err)
		}
	}
	clk.advance(2 * time.Hour)
	if _, err := certs.judge(day); err != nil {
		t.Errorf("the leaf has 22 hours left: %v", err)
	}
	if _, err := certs.judge(hour); !errors.Is(err, ErrCertificate) {
		t.Errorf("its issuer has ended: %v", err)
	}
	clk.advance(23 * time.Hour)
	if _, err := certs.judge(day); !errors.Is(err, ErrCertificate) {
		t.Errorf("it has ended: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	clk := newClock()
	root := newAuthority(t, clk, "root", nil)
	uris := func(ids ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, id := range ids {
				u, err := url.Parse(id)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, names }
	}
	for name, c := range map[string]struct {
		edit func(*x509.Certificate)
		want Name
	}{
		"spiffe":             {uris("spiffe://example.org/ns/prod/sa/Billing_1.2"), "spiffe://example.org/ns/prod/sa/Billing_1.2"},
		"spiffe beats dns":   {func(c *x509.Certificate) { uris("spiffe://example.org/a")(c); c.DNSNames = []string{"x.example"} }, "spiffe://example.org/a"},
		"dns":                {dns("Billing.Example.org"), "billing.example.org"},
		"two uris":           {uris("spiffe://example.org/a", "spiffe://example.org/b"), ""},
		"uri and another":    {uris("spiffe://example.org/a", "https://example.org/"), ""},
		"two dns":            {dns("a.example", "b.example"), ""},
		"nothing":            {dns(), ""},
		"common name only":   {func(c *x509.Certificate) { c.URIs = nil; c.Subject.CommonName = "billing.example.org" }, ""},
		"e-mail only":        {func(c *x509.Certificate) { c.URIs = nil; c.EmailAddresses = []string{"a@b.example"} }, ""},
		"https":              {uris("https://example.org/a"), ""},
		"no path":            {uris("spiffe://example.org"), ""},
		"root path":          {uris("spiffe://example.org/"), ""},
		"trailing slash":     {uris("spiffe://example.org/a/"), ""},
		"empty segment":      {uris("spiffe://example.org/a//b"), ""},
		"dots":               {uris("spiffe://example.org/a/../b"), ""},
		"dot":                {uris("spiffe://example.org/./b"), ""},
		"port":               {uris("spiffe://example.org:8443/a"), ""},
		"user":               {uris("spiffe://root@example.org/a"), ""},
		"query":              {uris("spiffe://example.org/a?x=1"), ""},
		"fragment":           {uris("spiffe://example.org/a#x"), ""},
		"escape":             {uris("spiffe://example.org/a%2fb"), ""},
		"capital domain":     {uris("spiffe://Example.org/a"), ""},
		"no domain":          {uris("spiffe:///a"), ""},
		"opaque":             {uris("spiffe:example.org/a"), ""},
		"endless":            {uris("spiffe://example.org/" + strings.Repeat("a", 2048)), ""},
		"wildcard dns":       {dns("*.example.org"), ""},
		"dns with underline": {dns("a_b.example"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := certificateName(root.client(t, "spiffe://x/y", c.edit).Leaf)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Fatalf("%q %v", got, err)
			}
			if err == nil {
				if again, err := ParseName(string(got)); err != nil || again != got {
					t.Errorf("entered by hand it is %q %v", again, err)
				}
			} else if !errors.Is(err, ErrCertificate) {
				t.Error(err)
			}
		})
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"", "a.example", "spiffe://a/b", "spiffe://a/b/../c", "SPIFFE://a/b", "spiffe://a/%61", "a:b", "ſpiffe://a/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if again, err := ParseName(string(n)); err != nil || again != n {
			t.Fatalf("%q became %q and then %q %v", s, n, again, err)
		}
		if strings.ContainsAny(string(n), "%?#@ \r\n\x00*") || strings.Contains(string(n), "..") && strings.Contains(string(n), "/../") {
			t.Fatalf("took %q", n)
		}
	})
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	clk := newClock()
	root := newAuthority(t, clk, "root", nil)
	caFile, crlFile := inTemp(t, "ca.pem"), inTemp(t, "crl.pem")
	alice, bob := root.client(t, "spiffe://a/alice"), root.client(t, "spiffe://a/bob")
	write(t, clk, caFile, encodeCert(root.cert))
	write(t, clk, crlFile, root.crl(t, 1, nil))
	certs := openCerts(t, clk, caFile, crlFile, RefuseStale)
	check := func(what string, aliceErr, bobErr error) {
		t.Helper()
		for range 2 {
			if _, err := certs.judge(state(alice)); !errors.Is(err, aliceErr) {
				t.Errorf("%s: alice: %v", what, err)
			}
			if _, err := certs.judge(state(bob)); !errors.Is(err, bobErr) {
				t.Errorf("%s: bob: %v", what, err)
			}
		}
	}
	check("nobody is revoked", nil, nil)
	write(t, clk, crlFile, root.crl(t, 2, []tls.Certificate{bob}))
	check("bob is revoked", nil, ErrRevoked)
	write(t, clk, crlFile, []byte("-----BEGIN X509 CRL-----\nnonsense"))
	check("the new file is nonsense", nil, ErrRevoked)
	if certs.Err() == nil {
		t.Error("nobody is told")
	}
	write(t, clk, crlFile, root.crl(t, 1, nil))
	check("last week's list is put back", nil, ErrRevoked)
	if err := certs.Err(); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("told: %v", err)
	}
	write(t, clk, crlFile, newAuthority(t, clk, "root", nil).crl(t, 9, nil))
	check("a list with a forged signature", nil, ErrRevoked)
	if err := os.Remove(crlFile); err != nil {
		t.Fatal(err)
	}
	clk.advance(time.Second)
	check("the file is gone", nil, ErrRevoked)
	if certs.Err() == nil {
		t.Error("nobody is told")
	}
	write(t, clk, crlFile, root.crl(t, 3, []tls.Certificate{alice}))
	check("bob is back, alice is revoked", ErrRevoked, nil)
	if err := certs.Err(); err != nil {
		t.Error(err)
	}
	until, ok := certs.CRLUntil()
	if !ok || until.Before(clk.now()) {
		t.Errorf("until %s %v", until, ok)
	}
	clk.advance(time.Hour + time.Second)
	check("the list has ended", ErrRevoked, ErrCRL)
	write(t, clk, crlFile, root.crl(t, 4, nil))
	check("a new list", nil, nil)
}

func TestStaleAndMissingLists(t *testing.T) {
	t.Parallel()
	clk := newClock()
	root, other := newAuthority(t, clk, "root", nil), newAuthority(t, clk, "other", nil)
	middle := newAuthority(t, clk, "middle", root)
	caFile, crlFile := inTemp(t, "ca.pem"), inTemp(t, "crl.pem")
	write(t, clk, caFile, encodeCert(root.cert), encodeCert(other.cert))
	bad := other.client(t, "spiffe://a/bad")
	write(t, clk, crlFile, root.crl(t, 1, []tls.Certificate{asCert(middle)}), other.crl(t, 1, []tls.Certificate{bad}, func(l *x509.RevocationList) {
		l.NextUpdate = l.ThisUpdate.Add(time.Second)
	}))
	clk.advance(time.Minute)
	strict, open := openCerts(t, clk, caFile, crlFile, RefuseStale), openCerts(t, clk, caFile, crlFile, AcceptStale)
	onlyOther := inTemp(t, "crl2.pem")
	write(t, clk, onlyOther, other.crl(t, 1, nil))
	unlisted := openCerts(t, clk, caFile, onlyOther, RefuseStale)
	unlistedOpen := openCerts(t, clk, caFile, onlyOther, AcceptStale)
	for name, c := range map[string]struct {
		certs *ClientCerts
		state *tls.ConnectionState
		want  error
	}{
		"current list":                      {strict, state(root.client(t, "spiffe://a/b")), nil},
		"revoked issuer":                    {strict, state(middle.client(t, "spiffe://a/b"), asCert(middle)), ErrRevoked},
		"revoked issuer, open":              {open, state(middle.client(t, "spiffe://a/b"), asCert(middle)), ErrRevoked},
		"stale list":                        {strict, state(other.client(t, "spiffe://a/b")), ErrCRL},
		"stale list, open":                  {open, state(other.client(t, "spiffe://a/b")), nil},
		"stale list names it":               {strict, state(bad), ErrRevoked},
		"stale list names it, open":         {open, state(bad), ErrRevoked},
		"no list of its issuer":             {unlisted, state(root.client(t, "spiffe://a/b")), ErrCRL},
		"no list of its issuer, open":       {unlistedOpen, state(root.client(t, "spiffe://a/b")), nil},
		"no list of its intermediate":       {unlisted, state(middle.client(t, "spiffe://a/b"), asCert(middle)), ErrCRL},
		"no list of its intermediate, open": {unlistedOpen, state(middle.client(t, "spiffe://a/b"), asCert(middle)), nil},
	} {
		if _, err := c.certs.judge(c.state); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// The list of an intermediate that only clients bring is checked with their chain.
	withMiddle := inTemp(t, "crl3.pem")
	victim := middle.client(t, "spiffe://a/b")
	write(t, clk, withMiddle, root.crl(t, 1, nil), middle.crl(t, 1, []tls.Certificate{victim}))
	certs := openCerts(t, clk, caFile, withMiddle, RefuseStale)
	if _, err := certs.judge(state(victim, asCert(middle))); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked by its intermediate: %v", err)
	}
	if _, err := certs.judge(state(middle.client(t, "spiffe://a/c"), asCert(middle))); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
}

func TestListsRefused(t *testing.T) {
	t.Parallel()
	clk := newClock()
	root := newAuthority(t, clk, "root", nil)
	caFile := inTemp(t, "ca.pem")
	write(t, clk, caFile, encodeCert(root.cert))
	critical := func(oid asn1.ObjectIdentifier) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: true, Value: []byte{0x30, 0}}}
		}
	}
	good := root.crl(t, 1, nil)
	block, _ := pem.Decode(good)
	flipped := append([]byte{}, block.Bytes...)
	flipped[len(flipped)-3] ^= 1
	for name, c := range map[string]struct {
		text []byte
		ok   bool
	}{
		"pem":          {good, true},
		"der":          {block.Bytes, true},
		"empty":        {nil, false},
		"certificate":  {encodeCert(root.cert), false},
		"text behind":  {append(append([]byte{}, good...), "x"...), false},
		"cut":          {good[:len(good)-40], false},
		"signature":    {pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: flipped}), false},
		"der and more": {append(append([]byte{}, block.Bytes...), 0), false},
		"future":       {root.crl(t, 1, nil, func(l *x509.RevocationList) { l.ThisUpdate = clk.now().Add(time.Minute) }), false},
		"delta":        {root.crl(t, 1, nil, critical(asn1.ObjectIdentifier{2, 5, 29, 27})), false},
		"partitioned":  {root.crl(t, 1, nil, critical(asn1.ObjectIdentifier{2, 5, 29, 28})), false},
		"unknown":      {root.crl(t, 1, nil, critical(asn1.ObjectIdentifier{1, 2, 3})), false},
		"indirect": {root.crl(t, 1, nil, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(5), RevocationTime: clk.now(),
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}}}
		}), false},
	} {
		t.Run(name, func(t *testing.T) {
			crlFile := inTemp(t, "crl.pem")
			if err := os.WriteFile(crlFile, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := NewClientCerts(ClientCertsConfig{CAFile: caFile, CRLFile: crlFile, Now: clk.now})
			if (err == nil) != c.ok {
				t.Fatal(err)
			}
		})
	}
}

func TestCAFileRefused(t *testing.T) {
	t.Parallel()
	clk := newClock()
	root := newAuthority(t, clk, "root", nil)
	leaf := root.client(t, "spiffe://a/b")
	ended, _ := issue(t, clk, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "ended"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: clk.now().Add(-time.Second)})
	_, key := root.server(t, "x")
	good := encodeCert(root.cert)
	for name, text := range map[string][]byte{
		"empty": nil, "word": []byte("x"), "leaf": encodeCert(leaf.Leaf), "ended": encodeCert(ended), "key": key,
		"good and leaf": append(append([]byte{}, good...), encodeCert(leaf.Leaf)...), "good and word": append(append([]byte{}, good...), "x"...),
		"good and key": append(append([]byte{}, good...), key...), "broken": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
	} {
		caFile := inTemp(t, "ca.pem")
		if err := os.WriteFile(caFile, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewClientCerts(ClientCertsConfig{CAFile: caFile, Now: clk.now}); err == nil {
			t.Errorf("took %s", name)
		}
	}
	for _, f := range []string{"", "/nowhere/ca.pem", t.TempDir()} {
		if _, err := NewClientCerts(ClientCertsConfig{CAFile: f, Now: clk.now}); err == nil {
			t.Errorf("took file %q", f)
		}
	}
}

func TestCAReload(t *testing.T) {
	t.Parallel()
	clk := newClock()
	old, next := newAuthority(t, clk, "old", nil), newAuthority(t, clk, "next", nil)
	caFile := inTemp(t, "ca.pem")
	write(t, clk, caFile, encodeCert(old.cert))
	certs := openCerts(t, clk, caFile, "", RefuseStale)
	a, b := state(old.client(t, "spiffe://a/a")), state(next.client(t, "spiffe://a/b"))
	check := func(what string, aOK, bOK bool) {
		t.Helper()
		if _, err := certs.judge(a); (err == nil) != aOK {
			t.Errorf("%s: old: %v", what, err)
		}
		if _, err := certs.judge(b); (err == nil) != bOK {
			t.Errorf("%s: next: %v", what, err)
		}
	}
	check("old", true, false)
	write(t, clk, caFile, encodeCert(old.cert), encodeCert(next.cert))
	check("both", true, true)
	write(t, clk, caFile, []byte("half a fi"))
	check("a bad file", true, true)
	write(t, clk, caFile, encodeCert(next.cert))
	check("next", false, true)
}

// In-place writes of the same size within one tick of the clock are seen, too.
func TestChangeWithinOneTick(t *testing.T) {
	t.Parallel()
	clk := newClock()
	path := inTemp(t, "f")
	stamp := clk.now()
	put := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	built := 0
	f, err := openFiles([]string{path}, time.Second, clk.now, discard(), func(texts [][]byte, _ *string) (*string, error) {
		built++
		s := string(texts[0])
		return &s, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put("two")
	if s := *f.get(); s != "one" {
		t.Errorf("looked before its time: %s", s)
	}
	clk.advance(time.Second)
	if s := *f.get(); s != "two" {
		t.Errorf("missed a write: %s", s)
	}
	clk.advance(time.Hour)
	if s := *f.get(); s != "two" || built != 2 {
		t.Errorf("%s after %d builds", s, built)
	}
}
