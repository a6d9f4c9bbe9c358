package quota

import (
	"encoding/binary"
	"errors"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// ErrNoKey is what the zero Key and the zero Account answer.
var ErrNoKey = errors.New("quota: no key: nobody is named")

// Key names who is charged: a tenant, or one user of a tenant. Its fields are
// private and its zero value refuses, so a key is never made of loose strings.
type Key struct{ tenant, user id }

// id is a UUID as two words: compared and hashed without leaving registers.
type id struct{ hi, lo uint64 }

func idOf(b [16]byte) id { return id{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])} }

func (i id) bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], i.hi)
	binary.BigEndian.PutUint64(b[8:], i.lo)
	return b
}

func (i id) none() bool { return i.hi|i.lo == 0 }

// TenantKey names a tenant as a whole. Limits per user do not apply to it.
func TenantKey(id tenant.ID) (Key, error) {
	if id.IsZero() {
		return Key{}, ErrNoKey
	}
	return Key{tenant: idOf(id)}, nil
}

// UserKey names one user (or service account, or run) of a tenant.
func UserKey(id tenant.ID, user uuid.UUID) (Key, error) {
	if id.IsZero() || user == uuid.Nil {
		return Key{}, ErrNoKey
	}
	return Key{tenant: idOf(id), user: idOf(user)}, nil
}

// Tenant is whose buckets are charged.
func (k Key) Tenant() tenant.ID { return tenant.ID(k.tenant.bytes()) }

// User is the nil UUID in a Key made by TenantKey.
func (k Key) User() uuid.UUID { return uuid.UUID(k.user.bytes()) }

// Check returns ErrNoKey for the zero Key.
func (k Key) Check() error {
	if k.tenant.none() {
		return ErrNoKey
	}
	return nil
}

// Class is an endpoint's limit class, parsed by Table.Class. The zero Class is
// unknown everywhere.
type Class struct{ name string }

func (c Class) String() string { return c.name }
