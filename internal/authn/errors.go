package authn

import (
	"errors"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Why a credential was refused. These are causes: they belong in the record of
// the request (see Reason) and never in its answer.
var (
	ErrNoCredential = errors.New("no credential")
	ErrScheme       = errors.New("authorization is not one Bearer header")
	ErrTooLong      = errors.New("token is too long")
	ErrForm         = errors.New("token is not three canonical base64url segments")
	ErrHeader       = errors.New("token header is not one of ours")
	ErrUnknownKey   = errors.New("token key is not trusted")
	ErrSignature    = errors.New("token signature is wrong")
	ErrClaims       = errors.New("token claims are not ours")
	ErrIssuer       = errors.New("token issuer is wrong")
	ErrAudience     = errors.New("token audience is wrong")
	ErrExpired      = errors.New("token has expired")
	ErrNotYet       = errors.New("token is not valid yet")
	ErrLifetime     = errors.New("token lifetime is absurd")
	ErrBinding      = errors.New("token is bound to another key")
	ErrStale        = errors.New("token is older than the subject's epoch")
	ErrSession      = errors.New("session is revoked")
	ErrSubject      = errors.New("subject is unknown or not active")
	ErrCertificate  = errors.New("client certificate is not acceptable")
	ErrRevoked      = errors.New("client certificate is revoked")
	ErrCRL          = errors.New("revocation list is missing or out of date")
	ErrNoAccount    = errors.New("client certificate belongs to no account")
)

var reasons = []struct {
	err  error
	word string
}{
	{ErrNoCredential, "no_credential"}, {ErrScheme, "bad_scheme"}, {ErrTooLong, "token_too_long"},
	{ErrForm, "token_malformed"}, {ErrHeader, "token_header"}, {ErrUnknownKey, "token_key_unknown"},
	{ErrSignature, "token_signature"}, {ErrIssuer, "token_issuer"}, {ErrAudience, "token_audience"},
	{ErrExpired, "token_expired"}, {ErrNotYet, "token_not_yet_valid"}, {ErrLifetime, "token_lifetime"},
	{ErrClaims, "token_claims"}, {ErrBinding, "token_binding"}, {ErrStale, "token_epoch"},
	{ErrSession, "session_revoked"}, {ErrSubject, "subject_inactive"}, {ErrRevoked, "certificate_revoked"},
	{ErrCRL, "crl_unavailable"}, {ErrNoAccount, "certificate_unknown"}, {ErrCertificate, "certificate_refused"},
}

// Reason names the cause of a refusal with one stable word for audit.Event's
// Reason field; it is empty when err holds none of this package's causes.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return ""
}

// detail is all that a client ever learns. tenant.Door says the same sentence.
const detail = "the credential is not valid"

func refuse(cause error) error {
	return fault.Wrap(cause, fault.Unauthorized, detail)
}

func unavailable(cause error) error {
	e := fault.Wrap(cause, fault.Unavailable, "credentials cannot be checked at the moment")
	e.RetryAfter = time.Second
	return e
}
