package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// authority is a CA for tests that may also do what no CA should.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	clk  *clock
}

var serials atomic.Int64

func newAuthority(t testing.TB, clk *clock, name string, parent *authority) *authority {
	t.Helper()
	a := &authority{clk: clk}
	a.cert, a.key = issue(t, clk, parent, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotAfter: clk.now().Add(10 * 365 * 24 * time.Hour),
	})
	return a
}

func issue(t testing.TB, clk *clock, by *authority, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(serials.Add(1))
	if c.NotBefore.IsZero() {
		c.NotBefore = clk.now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = clk.now().Add(24 * time.Hour)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// client issues a client certificate with a SPIFFE ID; edit may change all of it.
func (a *authority) client(t testing.TB, id string, edit ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{URIs: []*url.URL{u}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, f := range edit {
		f(c)
	}
	leaf, key := issue(t, a.clk, a, c)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) server(t testing.TB, name string) (certPEM, keyPEM []byte) {
	t.Helper()
	leaf, key := issue(t, a.clk, a, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return encodeCert(leaf), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: mustBytes(t, der, err)})
}

func mustBytes(t testing.TB, b []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encodeCert(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// crl lists revoked certificates, valid for an hour.
func (a *authority) crl(t testing.TB, number int64, revoked []tls.Certificate, edit ...func(*x509.RevocationList)) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: a.clk.now(), NextUpdate: a.clk.now().Add(time.Hour)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: a.clk.now()})
	}
	for _, f := range edit {
		f(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: mustBytes(t, der, err)})
}

// write replaces a file and moves the clock, so that the next look sees it.
func write(t testing.TB, clk *clock, path string, parts ...[]byte) {
	t.Helper()
	var text []byte
	for _, p := range parts {
		text = append(text, p...)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
	clk.advance(time.Second)
}

func inTemp(t testing.TB, name string) string { return filepath.Join(t.TempDir(), name) }

func leafKey(c tls.Certificate) *ecdsa.PrivateKey { return c.PrivateKey.(*ecdsa.PrivateKey) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
