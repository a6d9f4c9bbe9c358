package quota

import (
	"errors"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// ErrNoKey is what the zero Key and the zero Account answer.
var ErrNoKey = errors.New("quota: no key: nobody is named")

// Key names who is charged: a tenant, or one user of a tenant. Its fields are
// private and its zero value refuses, so a key is never made of loose strings.
type Key struct {
	tenant tenant.ID
	user   uuid.UUID
}

// TenantKey names a tenant as a whole. Limits per user do not apply to it.
func TenantKey(id tenant.ID) (Key, error) {
	if id.IsZero() {
		return Key{}, ErrNoKey
	}
	return Key{tenant: id}, nil
}

// UserKey names one user (or service account, or run) of a tenant.
func UserKey(id tenant.ID, user uuid.UUID) (Key, error) {
	if id.IsZero() || user == uuid.Nil {
		return Key{}, ErrNoKey
	}
	return Key{tenant: id, user: user}, nil
}

// Tenant is whose buckets are charged.
func (k Key) Tenant() tenant.ID { return k.tenant }

// User is the nil UUID in a Key made by TenantKey.
func (k Key) User() uuid.UUID { return k.user }

// Check returns ErrNoKey for the zero Key.
func (k Key) Check() error {
	if k.tenant.IsZero() {
		return ErrNoKey
	}
	return nil
}

// Class is an endpoint's limit class, parsed by Table.Class. The zero Class is
// unknown everywhere.
type Class struct{ name string }

func (c Class) String() string { return c.name }
