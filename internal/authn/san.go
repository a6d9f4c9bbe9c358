package authn

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// Name is what a client certificate calls its holder: a SPIFFE ID
// (spiffe://trust-domain/path) or a DNS name in lower case.
type Name string

// CertificateName is the name of a client certificate that has been judged: the
// first of a request's TLS.PeerCertificates, once Authenticate took the request.
func CertificateName(leaf *x509.Certificate) (Name, error) { return certificateName(leaf) }

// certificateName takes the one URI that is a SPIFFE ID or else the one DNS
// name. Two names, and the certificate is ambiguous: whoever may add a second
// name to a request would choose whom to be. The common name never counts
// (RFC 9525, section 2).
func certificateName(leaf *x509.Certificate) (Name, error) {
	switch {
	case len(leaf.URIs) == 1:
		return spiffeID(leaf.URIs[0])
	case len(leaf.URIs) > 1:
		return "", fmt.Errorf("%w: it has %d URI names, want one", ErrCertificate, len(leaf.URIs))
	case len(leaf.DNSNames) != 1:
		return "", fmt.Errorf("%w: it has no URI and %d DNS names, want one", ErrCertificate, len(leaf.DNSNames))
	}
	return dnsName(leaf.DNSNames[0])
}

// ParseName reads a name as an administrator would enter it for an account.
func ParseName(s string) (Name, error) {
	if strings.Contains(s, ":") {
		u, err := url.Parse(s)
		if err != nil {
			return "", fmt.Errorf("certificate name: %w", err)
		}
		return spiffeID(u)
	}
	return dnsName(s)
}

// spiffeID follows the SPIFFE-ID standard, sections 2.1 to 2.4: no user, port,
// query, fragment, escape, empty or dotted segment, at most 2048 bytes.
func spiffeID(u *url.URL) (Name, error) {
	s := u.String()
	domain, path, _ := strings.Cut(strings.TrimPrefix(s, "spiffe://"), "/")
	bad := !strings.HasPrefix(s, "spiffe://") || len(s) > 2048 ||
		!plain(domain, 255, "-._") || strings.ToLower(domain) != domain || path == ""
	for seg := range strings.SplitSeq(path, "/") {
		bad = bad || !plain(seg, 2048, "-._") || seg == "." || seg == ".."
	}
	if bad {
		return "", fmt.Errorf("%w: its URI is not a SPIFFE ID such as spiffe://example.org/service/billing", ErrCertificate)
	}
	return Name(s), nil
}

func dnsName(s string) (Name, error) {
	s = strings.ToLower(s)
	bad := !plain(s, 253, "-.")
	for label := range strings.SplitSeq(s, ".") {
		bad = bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-'
	}
	if bad {
		return "", fmt.Errorf("%w: its DNS name is not a plain host name", ErrCertificate)
	}
	return Name(s), nil
}
