package authn

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Mode tells what a listener makes of client certificates.
type Mode string

const (
	CertsOff      Mode = "off"      // never asked for
	CertsOptional Mode = "optional" // a bad one ends the handshake, none is fine
	CertsRequired Mode = "required"
)

// ParseMode reads off, optional or required.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case CertsOff, CertsOptional, CertsRequired:
		return m, nil
	}
	return "", fmt.Errorf("client certificate mode %q is none of off, optional, required", s)
}

// ListenerConfig describes one TLS listener; zero fields mean the defaults.
type ListenerConfig struct {
	CertFile, KeyFile string // PEM; the chain with the leaf first
	// GetCertificate serves certificates from elsewhere (ACME) instead of files.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Mode           Mode         // off
	Clients        *ClientCerts // for optional and required; listeners may share it
	AllowTLS12     bool         // 1.3 only, unless an old client forces it
	NextProtos     []string     // h2, http/1.1
	Every          time.Duration
	Now            func() time.Time
	Log            *slog.Logger
}

// Listener builds a server's *tls.Config and keeps it on the newest good files.
type Listener struct {
	c     ListenerConfig
	certs *files[tls.Certificate]
	built atomic.Pointer[builtConfig]
}

type builtConfig struct {
	cert   *tls.Certificate
	trust  *trust
	config *tls.Config
}

// NewListener reads the files. A missing, mismatched, expired or weak
// certificate is an error here and refused later.
func NewListener(c ListenerConfig) (*Listener, error) {
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Mode == "" {
		c.Mode = CertsOff
	}
	if _, err := ParseMode(string(c.Mode)); err != nil {
		return nil, err
	}
	if c.NextProtos == nil {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	hasFiles := c.CertFile != "" && c.KeyFile != ""
	switch {
	case (c.Mode == CertsOff) != (c.Clients == nil):
		return nil, fmt.Errorf("tls listener: client certificates are %s, which does not fit the CA file; set both or neither", c.Mode)
	case hasFiles == (c.GetCertificate != nil):
		return nil, errors.New("tls listener: it needs a certificate file and a key file, or ACME, and not both; set TLS_CERT_FILE and TLS_KEY_FILE")
	}
	l := &Listener{c: c}
	if hasFiles {
		var err error
		l.certs, err = openFiles([]string{c.CertFile, c.KeyFile}, c.Every, c.Now, c.Log,
			func(texts [][]byte, _ *tls.Certificate) (*tls.Certificate, error) {
				cert, err := serverCertificate(texts[0], texts[1], c.Now())
				if err != nil {
					return nil, fmt.Errorf("certificate %s with key %s: %w", c.CertFile, c.KeyFile, err)
				}
				return cert, nil
			})
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

func serverCertificate(certPEM, keyPEM []byte, now time.Time) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	if key, ok := cert.Leaf.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("its rsa key has %d bits, want at least %d", key.N.BitLen(), minKeyBits)
	}
	if now.After(cert.Leaf.NotAfter) {
		return nil, fmt.Errorf("it ended on %s", cert.Leaf.NotAfter.Format(time.RFC3339))
	}
	return &cert, nil
}

// TLSConfig is for http.Server.TLSConfig or tls.NewListener.
func (l *Listener) TLSConfig() *tls.Config {
	outer := l.build(nil, nil)
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if l.c.GetCertificate != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challenge {
			return l.challenged(), nil
		}
		return l.current(), nil
	}
	// The outer config serves no handshake; http.Server insists on seeing a
	// source of certificates in it, and a second mistake must not open a door.
	if outer.GetCertificate == nil {
		outer.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.certs.get(), nil }
	}
	return outer
}

// challenge is the protocol by which an authority asks whether a name is ours
// (RFC 8737 section 4). Nothing is said after the handshake: whoever serves the
// connection ends it.
const challenge = "acme-tls/1"

// challenged asks for no client certificate: the authority has none of ours. No
// other protocol can be agreed on, so nobody gets past CertsRequired by it.
func (l *Listener) challenged() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{challenge}, Time: l.c.Now, GetCertificate: l.c.GetCertificate, SessionTicketsDisabled: true}
}

// current rebuilds the config when certificate or CAs changed.
func (l *Listener) current() *tls.Config {
	var cert *tls.Certificate
	var t *trust
	if l.certs != nil {
		cert = l.certs.get()
	}
	if l.c.Clients != nil {
		t = l.c.Clients.trust.get()
	}
	if b := l.built.Load(); b != nil && b.cert == cert && b.trust == t {
		return b.config
	}
	b := &builtConfig{cert: cert, trust: t, config: l.build(cert, t)}
	l.built.Store(b)
	return b.config
}

func (l *Listener) build(cert *tls.Certificate, t *trust) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: l.c.NextProtos, Time: l.c.Now,
		GetCertificate: l.c.GetCertificate,
	}
	if l.c.AllowTLS12 {
		c.MinVersion = tls.VersionTLS12
	}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	switch l.c.Mode {
	case CertsOptional:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	case CertsRequired:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if l.c.Mode != CertsOff {
		// Without a pool crypto/tls would go by the system's CAs.
		c.ClientCAs = x509.NewCertPool()
		if t != nil {
			c.ClientCAs = t.roots
		}
		// Called for resumed sessions as well, where the chain is not built
		// anew. Authenticator judges again on each request.
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return nil
			}
			_, err := l.c.Clients.judge(&s)
			return err
		}
	}
	return c
}

// Err is why changed certificate files were refused, or nil.
func (l *Listener) Err() error {
	if l.certs == nil {
		return nil
	}
	return l.certs.err()
}

// Reload looks at the certificate files now.
func (l *Listener) Reload() error {
	if l.certs == nil {
		return nil
	}
	return l.certs.reload()
}

// NotAfter is when the certificate from files ends; zero with ACME.
func (l *Listener) NotAfter() time.Time {
	if l.certs == nil {
		return time.Time{}
	}
	return l.certs.get().Leaf.NotAfter
}
