package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// inside is one tenant, entered by the operator at the machine.
type inside struct {
	a    *app.Admin
	room plane.Room
}

func inTenant(c *cobra.Command, f *adminFlags, name string, do func(context.Context, *app.Admin, inside) error) error {
	if name == "" {
		return usage{errors.New("missing --tenant")}
	}
	return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
		room, err := a.Identity.Enter(ctx, name)
		if err != nil {
			return hint(err, "`openclaw tenant list` shows the names")
		}
		return do(ctx, a, inside{a, room})
	})
}

func (t inside) user(ctx context.Context, email string) (identity.User, error) {
	u, err := t.a.Store.UserByEmail(ctx, t.room.Scope(), email)
	return u, hint(err, "no user of %s has the address %s", t.room.Scope().Name(), email)
}
