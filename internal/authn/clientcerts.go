package authn

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// StaleCRL tells what happens to certificates whose issuer's revocation list is
// past its nextUpdate, or is not in the file at all.
type StaleCRL int

const (
	// RefuseStale refuses them: whoever can keep us from the new list must not
	// be able to keep a stolen key alive. Production takes this.
	RefuseStale StaleCRL = iota
	// AcceptStale goes by what the old list says: for development, and for
	// installations that would rather stay reachable. CRLUntil tells a monitor.
	AcceptStale
)

// ClientCertsConfig names the files; zero fields mean the defaults.
type ClientCertsConfig struct {
	CAFile   string // PEM, one or more CA certificates
	CRLFile  string // PEM or DER, RFC 5280 lists; empty means revocation goes by the accounts alone
	StaleCRL StaleCRL
	Every    time.Duration // how often files are looked at: 1 s
	Now      func() time.Time
	Log      *slog.Logger
}

// ClientCerts judges client certificates against CA and CRL files that may
// change at any time. A verdict is reached once per certificate and set of
// files; its limits in time are checked on each use.
type ClientCerts struct {
	trust *files[trust]
	stale StaleCRL
	now   func() time.Time
	log   *slog.Logger
}

// trust is one state of the files. A change makes a new one with no verdicts.
type trust struct {
	cas   []*x509.Certificate
	roots *x509.CertPool
	crls  *revocations // nil: not configured

	mu       sync.RWMutex
	verdicts map[[32]byte]*certificate
}

// maxVerdicts bounds the memory; at the limit all are dropped, which costs a
// chain building each.
const maxVerdicts = 4096

// certificate is the verdict on a client certificate whose chain is good.
type certificate struct {
	thumbprint [32]byte
	name       Name
	nameErr    error // has no name to be known by; still good to bind a token to
	notBefore  time.Time
	notAfter   time.Time
	revoked    error     // ErrRevoked, with words
	crlUntil   time.Time // the lists that say it is not revoked hold until then; zero: there are none
}

// NewClientCerts reads the files.
func NewClientCerts(c ClientCertsConfig) (*ClientCerts, error) {
	if c.CAFile == "" {
		return nil, errors.New("client certificates: no CA file; set CLIENT_CA_FILE")
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	cc := &ClientCerts{stale: c.StaleCRL, now: c.Now, log: c.Log}
	paths := []string{c.CAFile}
	if c.CRLFile != "" {
		paths = append(paths, c.CRLFile)
	}
	var err error
	cc.trust, err = openFiles(paths, c.Every, c.Now, c.Log, func(texts [][]byte, old *trust) (*trust, error) {
		cas, err := parseCAs(texts[0], c.Now())
		if err != nil {
			return nil, fmt.Errorf("client CA file %s: %w", c.CAFile, err)
		}
		t := &trust{cas: cas, roots: x509.NewCertPool(), verdicts: make(map[[32]byte]*certificate)}
		for _, ca := range cas {
			t.roots.AddCert(ca)
		}
		if len(texts) > 1 {
			var before *revocations
			if old != nil {
				before = old.crls
			}
			if t.crls, err = parseCRLs(texts[1], cas, before, c.Now()); err != nil {
				return nil, fmt.Errorf("client CRL file %s: %w", c.CRLFile, err)
			}
		}
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	return cc, nil
}

// Err is why the newest files were refused while older ones stay in use, or nil.
func (c *ClientCerts) Err() error { return c.trust.err() }

// CRLUntil is the earliest nextUpdate of the lists in use; false without lists.
func (c *ClientCerts) CRLUntil() (until time.Time, ok bool) {
	t := c.trust.get()
	if t.crls == nil {
		return time.Time{}, false
	}
	for _, lists := range t.crls.lists {
		for _, l := range lists {
			if !ok || l.NextUpdate.Before(until) {
				until, ok = l.NextUpdate, true
			}
		}
	}
	return until, ok
}

// Reload looks at the files now.
func (c *ClientCerts) Reload() error { return c.trust.reload() }

// judge decides about the certificate of a connection. It does not believe what
// the handshake once found: a session may be resumed, and a connection may be
// open, long after CA or certificate ended.
func (c *ClientCerts) judge(state *tls.ConnectionState) (*certificate, error) {
	leaf := state.PeerCertificates[0]
	t, now := c.trust.get(), c.now()
	thumb := sha256.Sum256(leaf.Raw)
	t.mu.RLock()
	v := t.verdicts[thumb]
	t.mu.RUnlock()
	if v == nil {
		var err error
		if v, err = t.verify(leaf, state.PeerCertificates[1:], now); err != nil {
			// Not remembered: another connection may bring the missing link.
			return nil, err
		}
		v.thumbprint = thumb
		t.remember(v)
	}
	switch {
	case v.revoked != nil:
		return nil, v.revoked
	case now.Before(v.notBefore), now.After(v.notAfter):
		return nil, fmt.Errorf("%w: out of its time", ErrCertificate)
	case t.crls != nil && c.stale == RefuseStale && now.After(v.crlUntil):
		return nil, ErrCRL
	}
	return v, nil
}

func (t *trust) remember(v *certificate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.verdicts) >= maxVerdicts {
		clear(t.verdicts)
	}
	t.verdicts[v.thumbprint] = v
}

// verify builds every chain to a CA of the file. Each must be free of revoked
// certificates: with two ways up, the clean one does not excuse the other. The
// verdict lasts as long as the shortest-lived certificate and list in them.
func (t *trust) verify(leaf *x509.Certificate, rest []*x509.Certificate, now time.Time) (*certificate, error) {
	between := x509.NewCertPool()
	for _, c := range rest {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if leaf.IsCA {
		return nil, fmt.Errorf("%w: a CA certificate is no client's", ErrCertificate)
	}
	v := &certificate{notBefore: leaf.NotBefore, notAfter: leaf.NotAfter}
	for i, chain := range chains {
		for _, c := range chain {
			v.notAfter = earlier(v.notAfter, c.NotAfter)
		}
		if t.crls == nil {
			continue
		}
		until, err := t.crls.check(chain)
		if err != nil {
			v.revoked = err
		}
		if i == 0 {
			v.crlUntil = until
		}
		v.crlUntil = earlier(v.crlUntil, until)
	}
	v.name, v.nameErr = certificateName(leaf)
	return v, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func parseCAs(text []byte, now time.Time) ([]*x509.Certificate, error) {
	var cas []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 && len(cas) > 0 {
				return nil, errors.New("there is something after the last certificate that is no PEM block")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s, want certificates only", block.Type)
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(cas)+1, err)
		}
		switch {
		case !ca.BasicConstraintsValid || !ca.IsCA:
			return nil, fmt.Errorf("certificate %d (%s) is no CA", len(cas)+1, ca.Subject)
		case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
			return nil, fmt.Errorf("certificate %d (%s) may not sign certificates", len(cas)+1, ca.Subject)
		case now.After(ca.NotAfter):
			return nil, fmt.Errorf("certificate %d (%s) ended on %s", len(cas)+1, ca.Subject, ca.NotAfter.Format(time.DateOnly))
		}
		cas = append(cas, ca)
	}
	if len(cas) == 0 {
		return nil, errors.New("it holds no certificate; want PEM blocks -----BEGIN CERTIFICATE-----")
	}
	return cas, nil
}
