package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// UserView is a user as others see them.
type UserView struct {
	ID         string    `json:"id" format:"uuid"`
	Email      string    `json:"email"`
	Name       string    `json:"name,omitempty"`
	Active     bool      `json:"active"`
	Roles      []string  `json:"roles"`
	MustChange bool      `json:"password_change_required"`
	Version    int64     `json:"version"`
	Created    time.Time `json:"created_at"`
	Updated    time.Time `json:"updated_at"`
	// Password is shown once, in the answer to the request that made it.
	Password string `json:"one_time_password,omitempty"`
}

func userView(u identity.User) UserView {
	roles := u.Roles
	if roles == nil {
		roles = []string{}
	}
	return UserView{u.ID.String(), u.Email, u.Name, u.Active, roles, u.MustChange, u.Version, u.Created, u.Updated, ""}
}

// UserCreate describes a new user. Without a password a one-time one is made.
type UserCreate struct {
	Email    string   `json:"email" minLength:"3" maxLength:"254"`
	Name     string   `json:"name,omitempty" maxLength:"100"`
	Password string   `json:"password,omitempty" maxLength:"1024" doc:"Left out: a one-time password is made and shown in this answer alone"`
	Roles    []string `json:"roles,omitempty" maxItems:"10"`
}

// UserUpdate changes what it names.
type UserUpdate struct {
	Name   *string `json:"name,omitempty" maxLength:"100"`
	Active *bool   `json:"active,omitempty"`
}

// RoleBody names a role.
type RoleBody struct {
	Role string `json:"role" minLength:"1" maxLength:"40" example:"developer"`
}

func (a *API) account() {
	register(a, op{method: "GET", path: "/v1/me", id: "me", summary: "Who am I", action: policy.SelfRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, _ *struct{}) (*Out[UserView], error) {
			id, err := uuid.Parse(x.Principal.Subject)
			if err != nil {
				return nil, err
			}
			u, err := a.deps.Identity.Store.User(ctx, x.Scope, id)
			if err != nil {
				return nil, err
			}
			return &Out[UserView]{userView(u)}, nil
		})
	type passwordBody struct {
		Current string `json:"current_password" minLength:"1" maxLength:"1024"`
		New     string `json:"new_password" minLength:"1" maxLength:"1024"`
	}
	register(a, op{method: "PUT", path: "/v1/me/password", id: "change-password", summary: "Change my password; every session of mine ends", action: policy.SelfPassword, class: "write", status: http.StatusNoContent, opaque: []string{"/current_password", "/new_password"}},
		func(ctx context.Context, x *gateway.Exchange, in *struct{ Body passwordBody }) (*Empty, error) {
			id, err := uuid.Parse(x.Principal.Subject)
			if err != nil {
				return nil, err
			}
			return settled(x, a.deps.Identity.ChangePassword(ctx, x.Room, changed(x), id, in.Body.Current, in.Body.New))
		})
}

func (a *API) users() {
	ids := a.deps.Identity
	register(a, op{method: "GET", path: "/v1/users", id: "list-users", summary: "List users", action: policy.UsersRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *Paging) (*Out[Page[UserView]], error) {
			us, err := ids.Store.Users(ctx, x.Scope, in.Cursor, in.Limit+1)
			if err != nil {
				return nil, err
			}
			return &Out[Page[UserView]]{pageOf(us, in.Limit, userView, func(u identity.User) string { return u.Email })}, nil
		})
	register(a, op{method: "POST", path: "/v1/users", id: "create-user", summary: "Create a user", action: policy.UsersCreate, class: "write", status: http.StatusCreated, opaque: []string{"/password"}},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Once
			Body UserCreate
		}) (*Tagged[UserView], error) {
			v, err := once(ctx, x, in.Key, in.Body, http.StatusCreated, func(claim func(plane.Tx) error, answer func(plane.Tx, UserView)) (UserView, error) {
				n := identity.NewUser{ID: uuid.Must(uuid.NewV7()), Email: in.Body.Email, Name: in.Body.Name, Password: in.Body.Password, Roles: in.Body.Roles}
				if n.Password == "" {
					n.Password, n.OneTime = password.OneTime(), true
				}
				u, err := ids.CreateUser(ctx, x.Room, granter(x), changed(x), n, claim, func(tx plane.Tx) error {
					// A replay finds the user by its id, and shows no password.
					answer(tx, UserView{ID: n.ID.String(), Email: n.Email, Name: n.Name, Active: true, Roles: append([]string{}, n.Roles...), MustChange: n.OneTime, Version: 1})
					return nil
				})
				v := userView(u)
				if n.OneTime {
					v.Password = n.Password
				}
				return v, err
			})
			if err != nil {
				return nil, err
			}
			settleUnlessReplayed(x)
			if id, err := uuid.Parse(v.ID); err == nil && v.Created.IsZero() {
				u, err := ids.Store.User(ctx, x.Scope, id)
				if err == nil {
					v = userView(u)
				} else if fault.CodeOf(err) != fault.NotFound { // removed since: what was kept must do
					return nil, err
				}
			}
			return &Tagged[UserView]{etag(v.Version), v}, nil
		})
	register(a, op{method: "GET", path: "/v1/users/{id}", id: "get-user", summary: "See a user", action: policy.UsersRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *ID) (*Tagged[UserView], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			u, err := ids.Store.User(ctx, x.Scope, id)
			if err != nil {
				return nil, err
			}
			return &Tagged[UserView]{etag(u.Version), userView(u)}, nil
		})
	register(a, op{method: "PATCH", path: "/v1/users/{id}", id: "update-user", summary: "Change a user", action: policy.UsersUpdate, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			IfMatch
			Body UserUpdate
		}) (*Tagged[UserView], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			u, err := ids.UpdateUser(ctx, x.Room, granter(x), changed(x), id, in.Body.Name, in.Body.Active, v)
			if err != nil {
				return nil, err
			}
			x.Settle()
			return &Tagged[UserView]{etag(u.Version), userView(u)}, nil
		})
	register(a, op{method: "DELETE", path: "/v1/users/{id}", id: "delete-user", summary: "Remove a user", action: policy.UsersDelete, class: "write", status: http.StatusNoContent},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			IfMatch
		}) (*Empty, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			return settled(x, ids.DeleteUser(ctx, x.Room, granter(x), changed(x), id, v))
		})
	register(a, op{method: "POST", path: "/v1/users/{id}/reset-password", id: "reset-password", summary: "Give a user a one-time password", action: policy.UsersUpdate, class: "write"},
		func(ctx context.Context, x *gateway.Exchange, in *ID) (*Out[struct {
			Password string `json:"one_time_password"`
		}], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			out := &Out[struct {
				Password string `json:"one_time_password"`
			}]{}
			out.Body.Password = password.OneTime()
			if err := ids.ResetPassword(ctx, x.Room, granter(x), changed(x), id, out.Body.Password); err != nil {
				return nil, err
			}
			x.Settle()
			return out, nil
		})
	register(a, op{method: "POST", path: "/v1/users/{id}/roles", id: "grant-role", summary: "Give a user a role", action: policy.RolesGrant, class: "write", status: http.StatusNoContent},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			Body RoleBody
		}) (*Empty, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			return settled(x, ids.Grant(ctx, x.Room, granter(x), changed(x), id, in.Body.Role))
		})
	register(a, op{method: "DELETE", path: "/v1/users/{id}/roles/{role}", id: "revoke-role", summary: "Take a role from a user", action: policy.RolesRevoke, class: "write", status: http.StatusNoContent},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			Role string `path:"role" maxLength:"40"`
		}) (*Empty, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			if _, err := policy.ParseRole(in.Role); err != nil {
				return nil, fault.New(fault.NotFound, "there is no such thing here")
			}
			return settled(x, ids.RevokeRole(ctx, x.Room, granter(x), changed(x), id, in.Role))
		})
}

// pageOf cuts the row that was read to know whether there is more.
func pageOf[S, T any](rows []S, limit int, view func(S) T, key func(S) string) Page[T] {
	p := Page[T]{Items: []T{}}
	if len(rows) > limit {
		rows = rows[:limit]
		p.Next = key(rows[limit-1])
	}
	for _, r := range rows {
		p.Items = append(p.Items, view(r))
	}
	return p
}
