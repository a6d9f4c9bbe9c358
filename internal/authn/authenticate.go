package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Request is what authentication needs to know of an HTTP request.
type Request struct {
	Authorization []string             // all values: r.Header["Authorization"]
	TLS           *tls.ConnectionState // r.TLS
}

// Authenticator turns a request's credential into a Principal.
type Authenticator struct {
	tokens   *Verifier
	guard    *Guard
	certs    *ClientCerts
	accounts *accountCache
}

// NewAuthenticator joins the parts. certs and accounts may both be nil: then
// client certificates are ignored, and bound tokens are refused.
func NewAuthenticator(tokens *Verifier, guard *Guard, certs *ClientCerts, accounts Accounts) (*Authenticator, error) {
	if tokens == nil || guard == nil {
		return nil, errors.New("authenticator: it needs a token verifier and a guard")
	}
	if (certs == nil) != (accounts == nil) {
		return nil, errors.New("authenticator: client certificates need accounts and the other way round")
	}
	a := &Authenticator{tokens: tokens, guard: guard, certs: certs}
	if certs != nil {
		a.accounts = newAccountCache(accounts, tokens.Now)
	}
	return a, nil
}

// Authenticate proves who asks, or refuses with fault.Unauthorized (any fault
// of the credential; Reason tells which), fault.Suspended (the tenant), or
// fault.Unavailable (the store of standings is away).
//
// Where the credential is good and its bearer no longer stands, the error comes
// with the Principal it names: for the record of the refusal, and nothing else.
//
// A token decides over a certificate. An unbound token over a connection with
// a certificate proves its bearer only: Method stays ByToken and Thumbprint
// zero. A certificate that is revoked refuses the request whatever else it
// carries.
func (a *Authenticator) Authenticate(ctx context.Context, r Request) (Principal, error) {
	var cert *certificate
	if a.certs != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		var err error
		if cert, err = a.certs.judge(r.TLS); err != nil {
			return Principal{}, refuse(err)
		}
	}
	var p Principal
	var err error
	switch {
	case len(r.Authorization) > 0:
		p, err = a.byToken(r.Authorization, cert)
	case cert != nil:
		p, err = a.byCertificate(ctx, cert)
	default:
		err = ErrNoCredential
	}
	if err != nil {
		if known := (*fault.Error)(nil); errors.As(err, &known) {
			return Principal{}, err
		}
		return Principal{}, refuse(err)
	}
	return p, a.guard.Check(ctx, p)
}

// Stands asks for a principal that was proved a while ago, and its connection:
// nil while both are still good, and the errors of Authenticate otherwise. A
// token's end is not asked for: it bounds when something may begin.
func (a *Authenticator) Stands(ctx context.Context, p Principal, state *tls.ConnectionState) error {
	if a.certs != nil && state != nil && len(state.PeerCertificates) > 0 {
		if _, err := a.certs.judge(state); err != nil {
			return refuse(err)
		}
	}
	return a.guard.Check(ctx, p)
}

func (a *Authenticator) byToken(headers []string, cert *certificate) (Principal, error) {
	token, err := bearer(headers)
	if err != nil {
		return Principal{}, err
	}
	v, err := a.tokens.verify(token)
	if err != nil {
		return Principal{}, err
	}
	if v.Method == ByBoundToken && (cert == nil || cert.thumbprint != v.Thumbprint) {
		return Principal{}, ErrBinding
	}
	return v.Principal, nil
}

// bearer reads RFC 6750, section 2.1: one header, one scheme, exactly one
// space, a token and nothing after it. The token's alphabet is the verifier's
// business, which is narrower than b68.
func bearer(headers []string) (string, error) {
	const scheme = "Bearer "
	if len(headers) != 1 {
		return "", ErrScheme
	}
	h := headers[0]
	if len(h) <= len(scheme) || !strings.EqualFold(h[:len(scheme)], scheme) || h[len(scheme)] == ' ' {
		return "", ErrScheme
	}
	return h[len(scheme):], nil
}
