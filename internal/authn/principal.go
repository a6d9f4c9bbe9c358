package authn

import (
	"log/slog"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// Method tells how the asker proved it.
type Method string

const (
	ByToken      Method = "jwt"
	ByBoundToken Method = "jwt+mtls" // token plus the key it is bound to (RFC 8705)
	ByCert       Method = "mtls"
)

// Principal is who asks, proved. Only this package makes one that is worth
// anything, and its zero value is nobody.
type Principal struct {
	Tenant     tenant.ID
	Subject    string // the user's, account's or operator's id; an agent token's starter
	Kind       policy.SubjectKind
	Roles      policy.RoleSet
	Grants     policy.ActionSet // a service account's actions, otherwise empty
	Agent      uuid.UUID        // a run's agent, otherwise zero
	Session    uuid.UUID        // sid: the login, the service account's token family, or the run; zero by certificate
	TokenID    uuid.UUID        // jti; zero by certificate
	Epoch      int64
	Expiry     time.Time // when the credential itself ends: exp, or the certificate's NotAfter
	Method     Method
	Thumbprint [32]byte // SHA-256 of the client certificate in use, otherwise zero
}

// IsZero reports whether p is nobody.
func (p Principal) IsZero() bool { return p.Kind == 0 }

// PolicySubject is p as decisions see it. AdminChannel is set when a client
// certificate proved p; the operators' address list is the edge's to add, as
// are the models and tools of an agent's run.
func (p Principal) PolicySubject() policy.Subject {
	return policy.Subject{
		Tenant: p.Tenant, ID: p.Subject, Kind: p.Kind, Roles: p.Roles, Grants: p.Grants,
		Agent: p.Agent, AdminChannel: p.Method == ByCert || p.Method == ByBoundToken,
	}
}

// LogValue shows who, not everything.
func (p Principal) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("tenant", p.Tenant.String()), slog.String("subject", p.Subject),
		slog.String("kind", p.Kind.String()), slog.String("method", string(p.Method)))
}
