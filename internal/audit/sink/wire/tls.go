// Package wire is how sinks reach their receivers: TLS that verifies, HTTP that
// follows no redirect, and what an answer's status means for what was sent.
package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

const maxFile = 1 << 20

// TLS names the files of a connection; empty ones take the system's roots and no
// client certificate. Files are read when a sink opens, and again when it opens
// after a change of its entry or a new lease.
type TLS struct {
	CAFile, CertFile, KeyFile string
	ServerName                string // empty: the host that is dialled
}

// Config builds the client's side: TLS 1.2 at least, verified, always.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if t.CAFile != "" {
		text, err := readFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read ca_file: no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := readFile(t.CertFile)
		if err != nil {
			return nil, fmt.Errorf("read cert_file: %w", err)
		}
		key, err := readFile(t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read key_file: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, errors.New("cert_file and key_file are no pair of PEM certificate and key")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// IsTrust reports whether a handshake failed over who the receiver is, or who we
// are: no later attempt helps before somebody changes something.
func IsTrust(err error) bool {
	var unknown *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var remote *net.OpError // crypto/tls gives a peer's alert so
	return errors.As(err, &unknown) || errors.As(err, &record) || errors.As(err, &remote) && remote.Op == "remote error"
}

// Secrets reads a file of one secret a line. The file may be replaced at any
// time: it is read for each use.
func Secrets(path string) ([]string, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no secret", path)
	}
	return out, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return text, err
}
