// Package sinktest has receivers for tests: they read what arrives as strictly
// as the standards allow, with code of their own, and misbehave on demand.
package sinktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certs is a CA with a server's and a client's certificate, in files too.
type Certs struct {
	Server                    tls.Certificate
	Pool                      *x509.CertPool
	CAFile, CertFile, KeyFile string // the client's pair
	SrvCert, SrvKey           string // the server's
}

// NewCerts makes them for localhost, in a folder of the test.
func NewCerts(t testing.TB) *Certs {
	t.Helper()
	ca, caKey := certificate(t, "test CA", nil, nil)
	server, serverKey := certificate(t, "localhost", ca, caKey)
	client, clientKey := certificate(t, "openclaw", ca, caKey)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := &Certs{
		Server: tls.Certificate{Certificate: [][]byte{server.Raw}, PrivateKey: serverKey}, Pool: x509.NewCertPool(),
		CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "client.pem"), KeyFile: filepath.Join(dir, "client.key"),
		SrvCert: filepath.Join(dir, "server.pem"), SrvKey: filepath.Join(dir, "server.key"),
	}
	c.Pool.AddCert(ca)
	write(t, c.CAFile, "CERTIFICATE", ca.Raw)
	write(t, c.CertFile, "CERTIFICATE", client.Raw)
	write(t, c.SrvCert, "CERTIFICATE", server.Raw)
	for path, key := range map[string]*ecdsa.PrivateKey{c.KeyFile: clientKey, c.SrvKey: serverKey} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, "PRIVATE KEY", der)
	}
	return c
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

func certificate(t testing.TB, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if parent == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, parentKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// File writes a file of the test.
func File(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
