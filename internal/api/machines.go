package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// AccountView is a service account. The secret is shown once, in the answer to
// the request that made it.
type AccountView struct {
	ID          string    `json:"id" format:"uuid"`
	Name        string    `json:"name"`
	ClientID    string    `json:"client_id"`
	Secret      string    `json:"client_secret,omitempty"`
	Grants      []string  `json:"grants"`
	Certificate string    `json:"certificate,omitempty"`
	Active      bool      `json:"active"`
	Version     int64     `json:"version"`
	Created     time.Time `json:"created_at"`
	Updated     time.Time `json:"updated_at"`
}

func accountView(id tenant.ID) func(identity.ServiceAccount) AccountView {
	return func(s identity.ServiceAccount) AccountView {
		return AccountView{ID: s.ID.String(), Name: s.Name, ClientID: identity.ClientID(id, s.ID), Grants: s.Grants,
			Certificate: s.Certificate, Active: s.Active, Version: s.Version, Created: s.Created, Updated: s.Updated}
	}
}

// AccountCreate describes a new service account.
type AccountCreate struct {
	Name        string   `json:"name" minLength:"1" maxLength:"100"`
	Grants      []string `json:"grants" minItems:"1" maxItems:"60" doc:"Policy actions, as in memories.read"`
	Certificate string   `json:"certificate,omitempty" maxLength:"300" doc:"A SAN that may stand in for the secret: a spiffe:// URI under /tenant/ID/, or any other name that the connection's own client certificate shows"`
}

// AccountUpdate changes what it names.
type AccountUpdate struct {
	Grants      []string `json:"grants,omitempty" maxItems:"60"`
	Certificate *string  `json:"certificate,omitempty" maxLength:"300"`
	Active      *bool    `json:"active,omitempty"`
	NewSecret   bool     `json:"new_secret,omitempty" doc:"Make a new secret and end the old one"`
}

// claimName lets an account have a certificate's name: the one it had, one of
// the tenant's own, or the one this connection shows. It is asked within the
// change, after whether the caller may make it at all.
func (a *API) claimName(x *gateway.Exchange, name, had string) func(plane.Tx) error {
	var shown authn.Name
	if tls := x.Request.TLS; a.deps.Auth != nil && tls != nil && len(tls.PeerCertificates) > 0 {
		shown, _ = authn.CertificateName(tls.PeerCertificates[0]) // one without a name shows nothing
	}
	return func(plane.Tx) error {
		if name == had {
			return nil
		}
		return identity.ClaimCertificate(x.Scope.ID(), name, shown)
	}
}

func (a *API) serviceAccounts() {
	ids := a.deps.Identity
	register(a, op{method: "GET", path: "/v1/service-accounts", id: "list-service-accounts", summary: "List service accounts", action: policy.ServiceAccountsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *Paging) (*Out[Page[AccountView]], error) {
			as, err := ids.Store.ServiceAccounts(ctx, x.Scope, in.Cursor, in.Limit+1)
			if err != nil {
				return nil, err
			}
			return &Out[Page[AccountView]]{pageOf(as, in.Limit, accountView(x.Scope.ID()), func(s identity.ServiceAccount) string { return s.Name })}, nil
		})
	register(a, op{method: "POST", path: "/v1/service-accounts", id: "create-service-account", summary: "Create a service account", action: policy.ServiceAccountsCreate, class: "write", status: http.StatusCreated},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Once
			Body AccountCreate
		}) (*Tagged[AccountView], error) {
			v, err := once(ctx, x, in.Key, in.Body, http.StatusCreated, func(claim func(plane.Tx) error, answer func(plane.Tx, AccountView)) (AccountView, error) {
				secret, hash := identity.NewSecret()
				s := identity.ServiceAccount{ID: uuid.Must(uuid.NewV7()), Name: in.Body.Name, Grants: in.Body.Grants, Certificate: in.Body.Certificate, SecretHash: hash, Active: true}
				s, err := ids.SetAccount(ctx, x.Room, granter(x), changed(x), s, 0, true, claim, a.claimName(x, s.Certificate, ""), func(tx plane.Tx) error {
					// A replay finds the account by its id, and shows no secret.
					answer(tx, AccountView{ID: s.ID.String(), Name: s.Name, Grants: s.Grants, Certificate: s.Certificate, Active: true, Version: 1})
					return nil
				})
				v := accountView(x.Scope.ID())(s)
				v.Secret = secret
				return v, err
			})
			if err != nil {
				return nil, err
			}
			settleUnlessReplayed(x)
			if id, err := uuid.Parse(v.ID); err == nil && v.Created.IsZero() {
				s, err := ids.Store.ServiceAccount(ctx, x.Scope, id)
				if err == nil {
					v = accountView(x.Scope.ID())(s)
				} else if fault.CodeOf(err) != fault.NotFound { // removed since: what was kept must do
					return nil, err
				}
			}
			return &Tagged[AccountView]{etag(v.Version), v}, nil
		})
	register(a, op{method: "GET", path: "/v1/service-accounts/{id}", id: "get-service-account", summary: "See a service account", action: policy.ServiceAccountsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *ID) (*Tagged[AccountView], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			s, err := ids.Store.ServiceAccount(ctx, x.Scope, id)
			if err != nil {
				return nil, err
			}
			return &Tagged[AccountView]{etag(s.Version), accountView(x.Scope.ID())(s)}, nil
		})
	register(a, op{method: "PATCH", path: "/v1/service-accounts/{id}", id: "update-service-account", summary: "Change a service account; its tokens end", action: policy.ServiceAccountsUpdate, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			IfMatch
			Body AccountUpdate
		}) (*Tagged[AccountView], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			ver, err := in.version()
			if err != nil {
				return nil, err
			}
			s, err := ids.Store.ServiceAccount(ctx, x.Scope, id)
			if err != nil {
				return nil, err
			}
			secret, claim := "", func(plane.Tx) error { return nil }
			if in.Body.Grants != nil {
				s.Grants = in.Body.Grants
			}
			if in.Body.Certificate != nil {
				claim = a.claimName(x, *in.Body.Certificate, s.Certificate)
				s.Certificate = *in.Body.Certificate
			}
			if in.Body.Active != nil {
				s.Active = *in.Body.Active
			}
			if in.Body.NewSecret {
				secret, s.SecretHash = identity.NewSecret()
			}
			if ver == 0 {
				ver = s.Version // what was read is what is changed
			}
			if s, err = ids.SetAccount(ctx, x.Room, granter(x), changed(x), s, ver, false, claim); err != nil {
				return nil, err
			}
			x.Settle()
			v := accountView(x.Scope.ID())(s)
			v.Secret = secret
			return &Tagged[AccountView]{etag(v.Version), v}, nil
		})
	register(a, op{method: "DELETE", path: "/v1/service-accounts/{id}", id: "delete-service-account", summary: "Remove a service account", action: policy.ServiceAccountsDelete, class: "write", status: http.StatusNoContent},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			IfMatch
		}) (*Empty, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			ver, err := in.version()
			if err != nil {
				return nil, err
			}
			return settled(x, ids.DeleteAccount(ctx, x.Room, changed(x), id, ver))
		})
}
