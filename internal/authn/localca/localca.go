// Package localca is a certificate authority for one machine: it lets a
// developer, or a test, speak TLS 1.3 and mTLS for real without asking anybody.
//
// The authority lives ten years in a folder of its own. Its certificate carries
// critical name constraints (RFC 5280, 4.2.1.10): loopback, the hosts it was
// made for and one SPIFFE trust domain. A stolen key of it therefore speaks for
// this machine and for nothing else, even where somebody put it into a
// browser's store.
//
// Every certificate shares one PEM file with its key, so that the pair changes
// in a single rename.
package localca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
)

// Lives of certificates.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	renewal  = 30 * 24 * time.Hour // a leaf with less left is replaced
	backdate = 5 * time.Minute     // for clocks that are behind

	maxFile = 64 << 10
)

// Config describes an authority; zero fields mean the defaults.
type Config struct {
	Dir         string   // made with mode 0700
	Hosts       []string // names and addresses beside localhost, 127.0.0.1 and ::1
	TrustDomain string   // of client certificates: openclaw.local
	Now         func() time.Time
}

// CA is an open authority.
type CA struct {
	dir    string
	domain string
	names  []string
	ips    []net.IP
	now    func() time.Time
	cert   *x509.Certificate
	key    crypto.Signer
}

// Open loads the authority of a folder or makes it. Calling it again changes
// nothing. A folder whose authority was made for other hosts is refused, because
// the constraints cannot grow.
func Open(c Config) (*CA, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TrustDomain == "" {
		c.TrustDomain = "openclaw.local"
	}
	if !domainName.MatchString(c.TrustDomain) {
		return nil, fmt.Errorf("local ca: trust domain %q is not a plain lower-case name", c.TrustDomain)
	}
	ca := &CA{dir: c.Dir, domain: c.TrustDomain, now: c.Now,
		names: []string{"localhost"}, ips: []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}}
	for _, h := range c.Hosts {
		if err := ca.addHost(h); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(c.Dir, securefile.DirMode); err != nil {
		return nil, fmt.Errorf("local ca: %w", err)
	}
	if err := os.Chmod(c.Dir, securefile.DirMode); err != nil {
		return nil, fmt.Errorf("local ca: %w", err)
	}
	if err := ca.load(); errors.Is(err, fs.ErrNotExist) {
		if err := ca.create(); err != nil {
			return nil, fmt.Errorf("make local ca: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("load local ca: %w; move the folder %s away to get a new one", err, c.Dir)
	}
	// The copy for clients is derived: whatever happened to it, it is put right.
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
	if have, err := os.ReadFile(ca.File()); err != nil || !slices.Equal(have, public) {
		if err := securefile.Write(ca.File(), public); err != nil {
			return nil, fmt.Errorf("local ca: %w", err)
		}
	}
	return ca, nil
}

var (
	domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	clientPath = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$`)
)

func (ca *CA) addHost(h string) error {
	if ip := net.ParseIP(h); ip != nil {
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		if ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("local ca: %s is no address of a host", h)
		}
		if !slices.ContainsFunc(ca.ips, ip.Equal) {
			ca.ips = append(ca.ips, ip)
		}
		return nil
	}
	h = strings.ToLower(h)
	if len(h) > 253 || !domainName.MatchString(h) {
		return fmt.Errorf("local ca: %q is neither a plain host name nor an address", h)
	}
	if !slices.Contains(ca.names, h) {
		ca.names = append(ca.names, h)
	}
	return nil
}

// File is the authority's certificate alone, for clients to trust.
func (ca *CA) File() string { return filepath.Join(ca.dir, "ca.pem") }

// Pool trusts the authority.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

func (ca *CA) secretFile() string { return filepath.Join(ca.dir, "ca-secret.pem") }

func (ca *CA) load() error {
	pair, err := loadPair(ca.secretFile())
	if err != nil {
		return err
	}
	cert := pair.Leaf
	key, ok := pair.PrivateKey.(crypto.Signer)
	switch {
	case !ok:
		return errors.New("its key cannot sign")
	case !cert.IsCA || cert.CheckSignatureFrom(cert) != nil:
		return errors.New("its certificate is no self-signed authority")
	case ca.now().After(cert.NotAfter):
		return fmt.Errorf("it ended on %s", cert.NotAfter.Format(time.DateOnly))
	case !slices.Contains(cert.PermittedURIDomains, ca.domain):
		return fmt.Errorf("it was made for trust domain %q, not for %q", cert.PermittedURIDomains, ca.domain)
	}
	for _, n := range ca.names {
		if !slices.ContainsFunc(cert.PermittedDNSDomains, func(d string) bool { return n == d || strings.HasSuffix(n, "."+d) }) {
			return fmt.Errorf("it was not made for host %s", n)
		}
	}
	for _, ip := range ca.ips {
		if !slices.ContainsFunc(cert.PermittedIPRanges, func(r *net.IPNet) bool { return r.Contains(ip) }) {
			return fmt.Errorf("it was not made for address %s", ip)
		}
	}
	ca.cert, ca.key = cert, key
	return nil
}

func (ca *CA) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	now := ca.now()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "openclaw local CA on " + host, Organization: []string{"openclaw development"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},

		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         ca.names,
		PermittedURIDomains:         []string{ca.domain},
	}
	for _, ip := range ca.ips {
		bits := 8 * len(ip)
		ones := bits
		if ip.Equal(net.IPv4(127, 0, 0, 1)) {
			ones = 8
		}
		mask := net.CIDRMask(ones, bits)
		t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: ip.Mask(mask), Mask: mask})
	}
	der, err := ca.sign(t, t, key.Public(), key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	ca.key = key
	return writePair(ca.secretFile(), key, der)
}

// Server returns the PEM file that holds the server's certificate and key, for
// TLS_CERT_FILE and TLS_KEY_FILE alike. The certificate is made anew when it is
// missing, broken, of another authority, for other hosts, or has less than 30
// days left; otherwise it stays.
func (ca *CA) Server() (file string, err error) {
	file = filepath.Join(ca.dir, "server.pem")
	return file, ca.ensure(file, func(cert *x509.Certificate) bool {
		for _, n := range ca.names {
			if cert.VerifyHostname(n) != nil {
				return false
			}
		}
		for _, ip := range ca.ips {
			if cert.VerifyHostname(ip.String()) != nil {
				return false
			}
		}
		return true
	}, &x509.Certificate{
		Subject:     pkix.Name{CommonName: ca.names[0]},
		DNSNames:    ca.names,
		IPAddresses: ca.ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// Client returns the PEM file with certificate and key of the client
// spiffe://TRUST-DOMAIN/path, under the rules of Server. path is lower-case
// segments such as service/billing or operator/maria.
func (ca *CA) Client(path string) (file string, err error) {
	if len(path) > 128 || !clientPath.MatchString(path) {
		return "", fmt.Errorf("local ca: client %q is not lower-case segments such as service/billing", path)
	}
	id := &url.URL{Scheme: "spiffe", Host: ca.domain, Path: "/" + path}
	// A tilde cannot stand in a path: no two clients share a file.
	file = filepath.Join(ca.dir, "client-"+strings.ReplaceAll(path, "/", "~")+".pem")
	return file, ca.ensure(file, func(cert *x509.Certificate) bool {
		return len(cert.URIs) == 1 && cert.URIs[0].String() == id.String()
	}, &x509.Certificate{
		Subject:     pkix.Name{CommonName: path},
		URIs:        []*url.URL{id},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (ca *CA) ensure(file string, fits func(*x509.Certificate) bool, t *x509.Certificate) error {
	now := ca.now()
	if pair, err := loadPair(file); err == nil && fits(pair.Leaf) && pair.Leaf.NotAfter.Sub(now) >= renewal && !now.Before(pair.Leaf.NotBefore) {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, KeyUsages: t.ExtKeyUsage})
		if err == nil {
			return nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make %s: %w", file, err)
	}
	t.NotBefore, t.NotAfter = now.Add(-backdate), now.Add(leafLife)
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	t.KeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	der, err := ca.sign(t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("make %s: %w", file, err)
	}
	return writePair(file, key, der)
}

func (ca *CA) sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial.Add(serial, big.NewInt(1))
	return x509.CreateCertificate(rand.Reader, t, parent, pub, key)
}

func loadPair(file string) (*tls.Certificate, error) {
	text, err := securefile.Read(file, maxFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &pair, nil
}

func writePair(file string, key *ecdsa.PrivateKey, cert []byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...)
	return securefile.Write(file, text)
}
