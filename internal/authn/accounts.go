package authn

import (
	"context"
	"fmt"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Account is whom a certificate's name belongs to: a service account or an
// operator of the platform.
type Account struct {
	Tenant  tenant.ID
	Subject string
	Kind    policy.SubjectKind
	Roles   policy.RoleSet
	Grants  policy.ActionSet
}

// Accounts looks names up. An unknown name is a fault of code not_found; every
// other error means that the store could not tell. One name belongs to at most
// one account on the whole platform: the store's unique index says so.
type Accounts interface {
	AccountByName(ctx context.Context, name Name) (Account, error)
}

// accountCache holds answers for as long as a Guard does: a change of roles
// reaches certificates within a second.
type accountCache struct {
	answers *fresh[Name, accountAnswer]
}

type accountAnswer struct {
	Account
	missing bool
}

func newAccountCache(store Accounts, now func() time.Time) *accountCache {
	return &accountCache{newFresh(now, 500*time.Millisecond, 2*time.Second, 4096,
		func(n Name) string { return string(n) },
		func(ctx context.Context, n Name) (accountAnswer, error) {
			a, err := store.AccountByName(ctx, n)
			if fault.CodeOf(err) == fault.NotFound {
				return accountAnswer{missing: true}, nil
			}
			return accountAnswer{Account: a}, err
		})}
}

func (a *Authenticator) byCertificate(ctx context.Context, c *certificate) (Principal, error) {
	if c.nameErr != nil {
		return Principal{}, c.nameErr
	}
	acct, err := a.accounts.answers.get(ctx, c.name)
	if err != nil {
		return Principal{}, unavailable(fmt.Errorf("look up the certificate's account: %w", err))
	}
	if acct.missing {
		return Principal{}, ErrNoAccount
	}
	p := Principal{
		Tenant: acct.Tenant, Subject: acct.Subject, Kind: acct.Kind, Roles: acct.Roles, Grants: acct.Grants,
		Expiry: c.notAfter, Method: ByCert, Thumbprint: c.thumbprint,
	}
	if p.Kind != policy.KindService && p.Kind != policy.KindOperator {
		return Principal{}, fmt.Errorf("%w: it maps to a %s", ErrNoAccount, p.Kind)
	}
	if err := p.consistent(); err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrNoAccount, err)
	}
	return p, nil
}

// ForgetAccount drops the remembered owner of a name, or of all with "".
func (a *Authenticator) ForgetAccount(name Name) {
	if a.accounts != nil {
		a.accounts.answers.forget(string(name), func(n Name) bool { return name == "" || n == name })
	}
}
