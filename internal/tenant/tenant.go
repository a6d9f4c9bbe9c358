// Package tenant makes a tenant a capability, not a string.
//
// Knowing a tenant's ID opens nothing. Only Door.Admit makes a Scope, after
// looking the tenant up, and everything that touches a tenant's data asks for a
// Scope. The zero Scope refuses. There is no "any tenant" stand-in.
package tenant

import (
	"context"
	"errors"
	"fmt"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/google/uuid"
)

// ID names a tenant. It is comparable and prints as a UUID (RFC 9562).
type ID uuid.UUID

// NewID returns a time-ordered ID (UUIDv7).
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) }

// ParseID reads the canonical 36-character form and nothing else.
func ParseID(s string) (ID, error) {
	if len(s) != 36 {
		return ID{}, errors.New("tenant id: want 36 characters, as in 01890a5d-ac96-774b-bcce-b302099a8057")
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return ID{}, fmt.Errorf("tenant id: %w", err)
	}
	return ID(u), nil
}

func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero reports whether id names nobody.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText and UnmarshalText make an ID a UUID in JSON and in logs.
func (id ID) MarshalText() ([]byte, error) { return uuid.UUID(id).MarshalText() }

// UnmarshalText reads the canonical form.
func (id *ID) UnmarshalText(b []byte) error {
	p, err := ParseID(string(b))
	if err == nil {
		*id = p
	}
	return err
}

// House is the platform operator's own tenant: it holds the operators'
// accounts and the events that belong to no customer. Its content is the
// platform's; its Scope opens no customer's data.
var House = ID{0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}

// Status is where a tenant stands in its life.
type Status string

const (
	Active    Status = "active"
	Suspended Status = "suspended" // nobody gets in; nothing is lost
	Isolated  Status = "isolated"  // contained after an incident; as suspended, and runs are cut
	Erased    Status = "erased"
)

// Record is what the platform knows of a tenant.
type Record struct {
	ID     ID     `json:"id"`
	Name   string `json:"name"`
	Status Status `json:"status"`
	Tier   string `json:"tier"`
}

// Scope is the capability to act inside one tenant. Its fields are private and
// its zero value refuses.
type Scope struct {
	rec *Record
}

// ErrNoScope is what the zero Scope answers.
var ErrNoScope = errors.New("tenant: no scope: nobody was admitted")

// Check returns ErrNoScope for the zero Scope.
func (s Scope) Check() error {
	if s.rec == nil {
		return ErrNoScope
	}
	return nil
}

// ID panics on the zero Scope: continuing without a tenant is never right.
func (s Scope) ID() ID { return s.must().ID }

// Name is the tenant's short name, unique on the platform.
func (s Scope) Name() string { return s.must().Name }

// Tier names the row of limits that holds for the tenant.
func (s Scope) Tier() string { return s.must().Tier }

func (s Scope) must() *Record {
	if s.rec == nil {
		panic(ErrNoScope)
	}
	return s.rec
}

// Directory looks tenants up; the platform's store implements it. Find returns
// a fault of code not_found for an ID that does not exist.
type Directory interface {
	Find(ctx context.Context, id ID) (Record, error)
}

// Door admits into tenants. Few hold it: the gateway, which has verified a
// credential, and the wiring. A test lists them.
type Door struct{ dir Directory }

// NewDoor returns the only maker of Scopes.
func NewDoor(dir Directory) *Door { return &Door{dir: dir} }

// Admit opens a tenant to its caller. A tenant that does not exist answers
// unauthorized (a credential for it cannot be good), one that is not active
// answers tenant_suspended.
func (d *Door) Admit(ctx context.Context, id ID) (Scope, error) {
	if d == nil || id.IsZero() {
		return Scope{}, ErrNoScope
	}
	rec, err := d.dir.Find(ctx, id)
	switch {
	case fault.CodeOf(err) == fault.NotFound:
		return Scope{}, fault.Wrap(err, fault.Unauthorized, "the credential is not valid")
	case err != nil:
		return Scope{}, fmt.Errorf("admit to tenant: %w", err)
	case rec.ID != id:
		return Scope{}, fmt.Errorf("admit to tenant: directory answered for %s", rec.ID)
	case rec.Status != Active:
		return Scope{}, fault.New(fault.Suspended, "this tenant is %s; ask the platform operator", rec.Status)
	}
	return Scope{rec: &rec}, nil
}

// AdmitAnyStatus opens a tenant whatever its status. It is for the platform's
// own records about a tenant (its audit log must take the event of its own
// suspension), never for a request.
func (d *Door) AdmitAnyStatus(ctx context.Context, id ID) (Scope, error) {
	if d == nil || id.IsZero() {
		return Scope{}, ErrNoScope
	}
	rec, err := d.dir.Find(ctx, id)
	if err != nil {
		return Scope{}, fmt.Errorf("admit to tenant: %w", err)
	}
	if rec.ID != id {
		return Scope{}, fmt.Errorf("admit to tenant: directory answered for %s", rec.ID)
	}
	return Scope{rec: &rec}, nil
}
