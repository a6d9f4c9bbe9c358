// Package acme gets and renews the server's certificates from an ACME authority
// (RFC 8555) by certmagic. It stands apart from authn so that only the wiring
// carries the dependency.
//
// Challenges are answered in the TLS handshake (tls-alpn-01, RFC 8737) by the
// listener that serves everybody else; the port that the authority connects to,
// 443, must reach it. That listener cannot require client certificates, because
// the authority has none. Nothing is asked of anybody but the authority named in
// Config and the OCSP responder that its certificates name.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// ALPN is the protocol of challenges; a listener that uses GetCertificate must
// offer it beside its own (see NextProtos).
const ALPN = "acme-tls/1"

// Config says for what and from whom; zero fields mean the defaults.
type Config struct {
	Domains   []string       // names to serve; no wildcards, which need DNS challenges
	Email     string         // for the authority's warnings; may be empty
	Agreed    bool           // the operator has read the authority's terms
	Directory string         // https URL; Let's Encrypt's
	Roots     *x509.CertPool // to trust the authority's own API; the system's
	Dir       string         // for keys and certificates, mode 0700
	Port      int            // our TLS listener's port; 443
	Every     time.Duration  // how often certificates are looked at; 10 min
	Log       *slog.Logger
}

// Manager keeps certificates fresh from Start to Stop.
type Manager struct {
	domains []string
	cache   *certmagic.Cache
	magic   *certmagic.Config

	log  *slog.Logger
	work sync.WaitGroup

	mu      sync.Mutex
	cancel  context.CancelFunc
	stopped bool
}

// New checks the configuration and asks nobody yet. The manager runs its
// maintenance from here on: Stop it.
func New(c Config) (*Manager, error) {
	if !c.Agreed {
		return nil, errors.New("acme: the authority's terms have not been agreed to; read them and set ACME_AGREED=true")
	}
	if len(c.Domains) == 0 {
		return nil, errors.New("acme: no domains; set ACME_DOMAINS, as in api.example.com")
	}
	for _, d := range c.Domains {
		if strings.ToLower(d) != d || !certmagic.SubjectQualifiesForPublicCert(d) || strings.Contains(d, "*") {
			return nil, fmt.Errorf("acme: %q is no public name in lower case; want one such as api.example.com", d)
		}
	}
	if c.Email != "" {
		if a, err := mail.ParseAddress(c.Email); err != nil || a.Address != c.Email {
			return nil, fmt.Errorf("acme: %q is no e-mail address", c.Email)
		}
	}
	if c.Directory == "" {
		c.Directory = certmagic.LetsEncryptProductionCA
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("acme: directory %q is no https URL", c.Directory)
	}
	if c.Dir == "" {
		return nil, errors.New("acme: no folder for keys")
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	if c.Port == 0 {
		c.Port = 443
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{domains: slices.Clone(c.Domains), log: c.Log}
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		Logger:           zap.NewNop(),

		RenewCheckInterval: c.Every, // 0 is certmagic's own
	})
	m.magic = certmagic.New(m.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: c.Dir},
		Logger:  zap.NewNop(),
		OnEvent: func(ctx context.Context, event string, data map[string]any) error {
			report(ctx, c.Log, event, data)
			return nil
		},
	})
	m.magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(m.magic, certmagic.ACMEIssuer{
		CA: c.Directory, Email: c.Email, Agreed: true, TrustedRoots: c.Roots,
		DisableHTTPChallenge: true, AltTLSALPNPort: c.Port, Logger: zap.NewNop(),
	})}
	return m, nil
}

func report(ctx context.Context, log *slog.Logger, event string, data map[string]any) {
	attrs := []any{"name", data["identifier"], "renewal", data["renewal"]}
	switch event {
	case "cert_obtained":
		log.InfoContext(ctx, "certificate obtained", attrs...)
	case "cert_failed":
		log.ErrorContext(ctx, "certificate not obtained, trying again", append(attrs, "err", data["error"])...)
	}
}

// Start begins to get and renew, in the background, until ctx ends or Stop.
// Call it when the listener is bound: before that certmagic would bind the port
// itself. What is in the folder serves at once.
func (m *Manager) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.cancel != nil {
		return errors.New("acme: started twice, or after it was stopped")
	}
	ctx, m.cancel = context.WithCancel(ctx)
	for _, d := range m.domains {
		m.work.Go(func() {
			// Not ManageAsync: its jobs outlive their context by a little, and
			// nobody can wait for them.
			err := m.magic.ObtainCertAsync(ctx, d) // returns when there is one, or ctx ends
			if err == nil {
				err = m.magic.ManageSync(ctx, []string{d})
			}
			switch {
			case err == nil:
				m.log.InfoContext(ctx, "serving certificate", "name", d)
			case ctx.Err() == nil:
				m.log.ErrorContext(ctx, "gave up on a certificate", "name", d, "err", err)
			}
		})
	}
	return nil
}

// Stop ends all work and waits for it. Stopping twice is fine.
func (m *Manager) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	m.stopped = true
	if m.cancel != nil {
		m.cancel()
	}
	m.work.Wait()
	m.cache.Stop()
}

// GetCertificate is for authn.ListenerConfig. It serves challenges and the
// configured names; every other name fails its handshake.
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.magic.GetCertificate(hello)
}

// NextProtos is what the listener offers.
func (m *Manager) NextProtos() []string { return []string{"h2", "http/1.1", ALPN} }
