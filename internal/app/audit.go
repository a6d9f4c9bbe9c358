package app

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
)

// auditSigning reads the keys that sign the audit log's checkpoints. The log's
// name is the public URL's host; the name that the first start gave stays.
func auditSigning(c Config) (s postgres.Signing, err error) {
	if c.AuditKeyFile == "" {
		return s, errors.New("AUDIT_SIGNING_KEY_FILE: missing; make one with: openssl genpkey -algorithm ed25519 -out audit.pem, and keep a copy: what it signed can be continued by no other")
	}
	if s.Key, err = readAuditKey("AUDIT_SIGNING_KEY_FILE", c.AuditKeyFile); err != nil {
		return s, err
	}
	if c.AuditOldKeyFile != "" {
		if s.Previous, err = readAuditKey("AUDIT_PREVIOUS_KEY_FILE", c.AuditOldKeyFile); err != nil {
			return s, err
		}
	}
	s.Host = "localhost"
	if u, err := url.Parse(c.URL); err == nil && u.Hostname() != "" {
		s.Host = u.Hostname()
	}
	return s, nil
}

// OpenAudit is OpenAdmin for the verbs of the audit log. With the key at hand
// they sign what is committed; without it they show what is published.
func OpenAudit(ctx context.Context, c Config, log *slog.Logger) (*Admin, error) {
	var signing postgres.Signing
	if c.AuditKeyFile != "" {
		var err error
		if signing, err = auditSigning(c); err != nil {
			return nil, err
		}
		signing.Host = "" // the platform's own start names its logs
	}
	return openAdmin(ctx, c, log, signing)
}

func readAuditKey(variable, path string) (crypto.Signer, error) {
	text, err := securefile.Read(path, 16<<10)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: no PEM block PRIVATE KEY (PKCS #8) in it", variable)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a PKCS #8 key", variable) // the library may quote it
	}
	signer, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a %T, want Ed25519", variable, key)
	}
	return signer, nil
}

// ensureAuditKey makes dev's key, or finds it.
func ensureAuditKey(path string) (string, error) {
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return path, securefile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// AuditKeyFile is where dev keeps the audit log's key under its data folder.
func AuditKeyFile(data string) string { return keyFile(data, "audit.pem") }
