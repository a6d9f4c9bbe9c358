// Package audit holds the words of the audit log: what an event is, who acted,
// how it ended. Every change, refusal, login and act on the outside world is
// one Event in its tenant's log, densely numbered, so an omission shows.
package audit

import (
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// Type names what happened. The set is closed; Known tells.
type Type string

const (
	APIRequest              Type = "API_REQUEST"
	RateLimitExceeded       Type = "RATE_LIMIT_EXCEEDED"
	DDoSBlocked             Type = "DDOS_BLOCKED"
	CSRFTokenInvalid        Type = "CSRF_TOKEN_INVALID"
	InputValidationFailed   Type = "INPUT_VALIDATION_FAILED"
	PromptInjectionDetected Type = "PROMPT_INJECTION_DETECTED"
	SQLInjectionDetected    Type = "SQL_INJECTION_DETECTED"
	XSSDetected             Type = "XSS_DETECTED"
	UnauthorizedAccess      Type = "UNAUTHORIZED_ACCESS"
	SecurityError           Type = "SECURITY_ERROR"
	LoginSuccess            Type = "LOGIN_SUCCESS"
	LoginFailed             Type = "LOGIN_FAILED"
	PasswordChanged         Type = "PASSWORD_CHANGED"
	MFAEnabled              Type = "MFA_ENABLED"
	MFADisabled             Type = "MFA_DISABLED"
	APIKeyCreated           Type = "API_KEY_CREATED"
	APIKeyRevoked           Type = "API_KEY_REVOKED"
	RoleGranted             Type = "ROLE_GRANTED"
	RoleRevoked             Type = "ROLE_REVOKED"
	TenantCreated           Type = "TENANT_CREATED"
	TenantDeleted           Type = "TENANT_DELETED"
	TenantIsolated          Type = "TENANT_ISOLATED"
	TokenRevoked            Type = "TOKEN_REVOKED"
	AgentChanged            Type = "AGENT_CHANGED"
	RunStarted              Type = "RUN_STARTED"
	RunEnded                Type = "RUN_ENDED"
	SandboxKilled           Type = "SANDBOX_KILLED"
	ModelCalled             Type = "MODEL_CALLED"
	Egress                  Type = "EGRESS"
	KeyRotated              Type = "KEY_ROTATED"
	KeyDestroyed            Type = "KEY_DESTROYED"
	DataExported            Type = "DATA_EXPORTED"
	DataDeleted             Type = "DATA_DELETED"
	ConfigChanged           Type = "CONFIG_CHANGED"
	IncidentOpened          Type = "INCIDENT_OPENED"
	IncidentClosed          Type = "INCIDENT_CLOSED"

	// Beyond the seed's list, because a change without a name would be a
	// change without a receipt.
	MemoryChanged Type = "MEMORY_CHANGED"
	UserChanged   Type = "USER_CHANGED"
	TenantChanged Type = "TENANT_CHANGED"
)

var types = []Type{
	APIRequest, RateLimitExceeded, DDoSBlocked, CSRFTokenInvalid, InputValidationFailed,
	PromptInjectionDetected, SQLInjectionDetected, XSSDetected, UnauthorizedAccess, SecurityError,
	LoginSuccess, LoginFailed, PasswordChanged, MFAEnabled, MFADisabled, APIKeyCreated, APIKeyRevoked,
	RoleGranted, RoleRevoked, TenantCreated, TenantDeleted, TenantIsolated, TokenRevoked, AgentChanged,
	RunStarted, RunEnded, SandboxKilled, ModelCalled, Egress, KeyRotated, KeyDestroyed, DataExported,
	DataDeleted, ConfigChanged, IncidentOpened, IncidentClosed, MemoryChanged, UserChanged, TenantChanged,
}

// Types lists the closed set.
func Types() []Type { return append([]Type(nil), types...) }

// Known reports whether t is one of the closed set.
func (t Type) Known() bool {
	for _, k := range types {
		if k == t {
			return true
		}
	}
	return false
}

// Severity orders events by how soon a person should look.
type Severity string

const (
	Info     Severity = "INFO"
	Warning  Severity = "WARNING"
	High     Severity = "HIGH"
	Critical Severity = "CRITICAL"
)

// Outcome is how an act ended. Intent stands before an act on the outside
// world; its outcome follows in an event of its own.
type Outcome string

const (
	Success Outcome = "success"
	Refused Outcome = "refused" // a decision of ours
	Failed  Outcome = "failed"  // a fault
	Intent  Outcome = "intent"
	Unknown Outcome = "unknown" // an intent whose outcome a crash swallowed
)

// ActorKind tells what sort of being acted.
type ActorKind string

const (
	ActorUser     ActorKind = "user"
	ActorService  ActorKind = "service_account"
	ActorAgent    ActorKind = "agent"
	ActorOperator ActorKind = "operator"
	ActorSystem   ActorKind = "system"
	ActorNobody   ActorKind = "anonymous"
)

// Actor is who acted. Name is personal data and may be erased; ID stays.
type Actor struct {
	Kind ActorKind
	ID   string
	Name string
}

// Event is one entry. Details never hold prompt text or secrets: a digest, rule
// ids, a score. Actor.Name, IP and UserAgent are personal data: the log's leaf
// commits to them with a salt, so they can be erased and proofs stay valid.
// Tenant and sequence number are not here: the room binds one, the sequencer
// gives the other.
type Event struct {
	ID         uuid.UUID // UUIDv7; zero means "make one"
	Time       time.Time // zero means "now", microseconds, UTC
	Type       Type
	Severity   Severity // empty means Info
	Actor      Actor
	Action     string // the policy action, e.g. agents.create
	Resource   string // kind/id, e.g. agent/0189…
	Outcome    Outcome
	Reason     string // a stable word or code, never free text from outside
	IP         netip.Addr
	UserAgent  string
	RequestID  string
	PolicyHash string
	Details    map[string]any // strings, bools, integers, and slices of strings
}

// Receipt proves that an event is durable. Leaf is the RFC 6962 leaf hash that
// the tenant's tree will hold.
type Receipt struct {
	EventID uuid.UUID
	Leaf    [32]byte
}
