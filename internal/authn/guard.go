package authn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// Standing is what the store knows of a subject right now. The zero value lets
// nobody in.
type Standing struct {
	TenantActive   bool
	SubjectActive  bool
	SessionRevoked bool
	Epoch          int64 // raised to revoke every token of the subject at once
}

// Standings looks standings up. session is zero for a certificate. A subject
// that the tenant does not have is a fault of code not_found; every other error
// means that the store could not tell.
type Standings interface {
	Standing(ctx context.Context, id tenant.ID, subject string, session uuid.UUID) (Standing, error)
}

// GuardConfig holds a Guard's settings; zero fields mean the defaults.
type GuardConfig struct {
	TTL     time.Duration // how old an answer may be: 500 ms, less than 1 s
	Timeout time.Duration // for one question to the store: 2 s
	Size    int           // answers held: 16384, about 200 bytes each
	Now     func() time.Time
}

func (c *GuardConfig) check() error {
	if c.TTL == 0 {
		c.TTL = 500 * time.Millisecond
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Size == 0 {
		c.Size = 16 << 10
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TTL < 0 || c.TTL >= time.Second {
		return fmt.Errorf("standing may be %s old, want less than 1s: a revocation must hold within a second", c.TTL)
	}
	if c.Timeout < 0 || c.Size < 0 {
		return errors.New("standing: timeout and size must be positive")
	}
	return nil
}

// Guard asks whether a proved principal still stands. It adds at most TTL to
// the moment a revocation holds, nothing where Forget is pushed to it.
type Guard struct {
	answers *fresh[standingKey, standingAnswer]
}

type standingKey struct {
	tenant  tenant.ID
	subject string
	session uuid.UUID
}

type standingAnswer struct {
	Standing
	missing bool
}

// NewGuard checks the settings.
func NewGuard(store Standings, c GuardConfig) (*Guard, error) {
	if store == nil {
		return nil, errors.New("guard: no store of standings")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Guard{answers: newFresh(c.Now, c.TTL, c.Timeout, c.Size,
		func(k standingKey) string { return k.subject },
		func(ctx context.Context, k standingKey) (standingAnswer, error) {
			st, err := store.Standing(ctx, k.tenant, k.subject, k.session)
			if fault.CodeOf(err) == fault.NotFound {
				return standingAnswer{missing: true}, nil
			}
			return standingAnswer{Standing: st}, err
		})}, nil
}

// Check returns nil while p stands; fault.Unauthorized when its subject, session
// or epoch does not; fault.Suspended when its tenant does not; and
// fault.Unavailable when nobody can tell.
func (g *Guard) Check(ctx context.Context, p Principal) error {
	key := standingKey{p.Tenant, p.Subject, p.Session}
	st, err := g.answers.get(ctx, key)
	if err == nil && p.Method != ByCert && st.Epoch < p.Epoch {
		// We signed a newer epoch than we remember: the memory is behind.
		g.Forget(p.Tenant, p.Subject, p.Session)
		st, err = g.answers.get(ctx, key)
	}
	switch {
	case err != nil:
		return unavailable(fmt.Errorf("ask for standing: %w", err))
	case st.missing:
		return refuse(ErrSubject)
	case !st.TenantActive:
		return fault.New(fault.Suspended, "this tenant is not active; ask the platform operator")
	case !st.SubjectActive:
		return refuse(ErrSubject)
	case st.SessionRevoked:
		return refuse(ErrSession)
	case p.Method != ByCert && st.Epoch != p.Epoch:
		return refuse(ErrStale)
	}
	return nil
}

// Forget drops remembered answers at once; a zero argument stands for any. A
// check that starts after it returns asks the store. Call it for every
// notification of a change, and ForgetAll when notifications may have been
// missed.
func (g *Guard) Forget(id tenant.ID, subject string, session uuid.UUID) {
	g.answers.forget(subject, func(k standingKey) bool {
		return (id.IsZero() || k.tenant == id) && (subject == "" || k.subject == subject) &&
			(session == uuid.Nil || k.session == session)
	})
}

// ForgetAll drops every remembered answer.
func (g *Guard) ForgetAll() { g.Forget(tenant.ID{}, "", uuid.Nil) }
