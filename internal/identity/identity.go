// Package identity knows who may come in: a tenant's users and the roles they
// hold, its service accounts, and the sessions that tokens belong to.
package identity

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// User is a person of one tenant. Epoch grows whenever tokens handed out so
// far must die: a password change, a role change, a disabling.
type User struct {
	ID         uuid.UUID
	Email      string // lower case
	Name       string
	Hash       string // argon2id, PHC string format
	MustChange bool   // the password is a one-time one
	Active     bool
	Roles      []string
	Epoch      int64
	Version    int64
	Created    time.Time
	Updated    time.Time
}

// ServiceAccount is a machine of one tenant. Its secret has 256 random bits,
// so a plain SHA-256 keeps it as well as a slow hash would.
type ServiceAccount struct {
	ID          uuid.UUID
	Name        string
	SecretHash  [32]byte
	Grants      []string // policy actions
	Certificate string   // SAN that may stand in for the secret, or ""
	Active      bool
	Epoch       int64
	Version     int64
	Created     time.Time
	Updated     time.Time
}

// Session is what every token of one login belongs to: the refresh family.
type Session struct {
	ID      uuid.UUID
	Subject uuid.UUID
	Expires time.Time
	Revoked bool
}

// Spent is what spending a refresh token found.
type Spent struct {
	Session Session
	Again   bool // it had been spent before: it, or its heir, is stolen
	Expired bool
}

// Standing is whether a token's bearer still stands. Epoch must equal the
// token's.
type Standing struct {
	Tenant  tenant.Status
	Active  bool
	Epoch   int64
	Revoked bool // the session
}

// Store keeps identities. Reads take the tenant's Scope; writes take the Tx of
// a Room.Change, so that none goes without its event.
type Store interface {
	TenantsOf(ctx context.Context, emailDigest [32]byte) ([]tenant.ID, error)
	Standing(ctx context.Context, id tenant.ID, subject, session uuid.UUID) (Standing, error)

	UserByEmail(ctx context.Context, s tenant.Scope, email string) (User, error)
	User(ctx context.Context, s tenant.Scope, id uuid.UUID) (User, error)
	Users(ctx context.Context, s tenant.Scope, afterEmail string, limit int) ([]User, error)
	InsertUser(ctx context.Context, tx plane.Tx, u User, emailDigest [32]byte) error
	UpdateUser(ctx context.Context, tx plane.Tx, u User, ifVersion int64) (User, error)
	SetPassword(ctx context.Context, tx plane.Tx, id uuid.UUID, hash string, mustChange bool, ifVersion int64) error
	// Rehash replaces the hash of an unchanged password: nothing else ends.
	Rehash(ctx context.Context, tx plane.Tx, id uuid.UUID, hash string) error
	DeleteUser(ctx context.Context, tx plane.Tx, id uuid.UUID, emailDigest [32]byte, ifVersion int64) error
	GrantRole(ctx context.Context, tx plane.Tx, id uuid.UUID, role, by string) error
	RevokeRole(ctx context.Context, tx plane.Tx, id uuid.UUID, role string) error
	// Holders counts the active users that hold role, under a lock that keeps
	// the answer true until the change ends.
	Holders(ctx context.Context, tx plane.Tx, role string) (int, error)

	ServiceAccount(ctx context.Context, s tenant.Scope, id uuid.UUID) (ServiceAccount, error)
	ServiceAccounts(ctx context.Context, s tenant.Scope, afterName string, limit int) ([]ServiceAccount, error)
	InsertServiceAccount(ctx context.Context, tx plane.Tx, a ServiceAccount) error
	UpdateServiceAccount(ctx context.Context, tx plane.Tx, a ServiceAccount, ifVersion int64) (ServiceAccount, error)
	DeleteServiceAccount(ctx context.Context, tx plane.Tx, id uuid.UUID, ifVersion int64) error

	InsertSession(ctx context.Context, tx plane.Tx, s Session) error
	RevokeSession(ctx context.Context, tx plane.Tx, id uuid.UUID) error
	RevokeSessionsOf(ctx context.Context, tx plane.Tx, subject uuid.UUID) error
	InsertRefresh(ctx context.Context, tx plane.Tx, hash [32]byte, session uuid.UUID, expires time.Time) error
	// SpendRefresh marks a token used and tells whether it may be exchanged.
	// Two who spend the same token at once are told apart: one gets Again.
	SpendRefresh(ctx context.Context, tx plane.Tx, hash [32]byte) (Spent, error)
	RefreshSession(ctx context.Context, s tenant.Scope, hash [32]byte) (Session, error)
}
