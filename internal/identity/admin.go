package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/mail"
	"slices"
	"strings"
	"unicode"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Granter is who hands out power: the roles they hold bound what they can give.
type Granter struct {
	Subject policy.Subject
	// Platform grants without holding: the operator at the machine itself, who
	// can do more by other means. It is recorded as such.
	Platform bool
}

// NewUser describes a user to be made.
type NewUser struct {
	ID                    uuid.UUID // zero: one is made
	Email, Name, Password string
	OneTime               bool // the password must be changed at the first login
	Roles                 []string
}

// CreateUser adds a user with its roles in one change.
func (s *Service) CreateUser(ctx context.Context, room plane.Room, by Granter, ev audit.Event, n NewUser, before ...func(plane.Tx) error) (User, error) {
	email, err := cleanEmail(n.Email)
	if err != nil {
		return User{}, err
	}
	if err := cleanName(n.Name); err != nil {
		return User{}, err
	}
	id := n.ID
	if id == uuid.Nil {
		id = uuid.Must(uuid.NewV7())
	}
	for _, r := range n.Roles {
		if err := s.mayGrant(by, room, id.String(), r); err != nil {
			return User{}, err
		}
	}
	if err := password.Check(n.Password, email, n.Name, room.Scope().Name()); err != nil {
		return User{}, err
	}
	hash, err := s.Passwords.Hash(ctx, n.Password)
	if err != nil {
		return User{}, err
	}
	u := User{ID: id, Email: email, Name: n.Name, Hash: hash, MustChange: n.OneTime}
	ev.Type, ev.Resource = audit.UserChanged, "user/"+u.ID.String()
	ev.Details = map[string]any{"change": "created", "roles": append([]string{}, n.Roles...)}
	_, err = room.Change(ctx, ev, func(tx plane.Tx) error {
		for _, f := range before {
			if err := f(tx); err != nil {
				return err
			}
		}
		if err := s.Store.InsertUser(ctx, tx, u, EmailDigest(email)); err != nil {
			return err
		}
		for _, r := range n.Roles {
			if err := s.Store.GrantRole(ctx, tx, u.ID, r, by.Subject.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return User{}, err
	}
	return s.Store.User(ctx, room.Scope(), u.ID)
}

func (s *Service) mayGrant(by Granter, room plane.Room, to, name string) error {
	role, err := policy.ParseRole(name)
	if err != nil {
		return &fault.Error{Code: fault.Unprocessable, Detail: "there is no such role", Fields: []fault.Field{{Location: "body.role", Message: "want one of " + strings.Join(Grantable(), ", ")}}}
	}
	if by.Platform {
		if (role == policy.PlatformAdmin) != (room.Scope().ID() == houseID) {
			return fault.New(fault.Unprocessable, "platform_admin lives in the house, and nobody else does")
		}
		return nil
	}
	if !s.Policy.MayGrant(by.Subject, to, role) {
		return fault.New(fault.Forbidden, "nobody grants a role they do not hold the power over: %s", role)
	}
	return nil
}

// Grantable lists the roles that people can hold.
func Grantable() []string {
	return []string{"tenant_admin", "org_admin", "developer", "operator", "analyst", "viewer"}
}

// Grant gives a role. Tokens handed out before die, so that none says less
// than the truth.
func (s *Service) Grant(ctx context.Context, room plane.Room, by Granter, ev audit.Event, user uuid.UUID, role string) error {
	if err := s.mayGrant(by, room, user.String(), role); err != nil {
		return err
	}
	ev.Type, ev.Severity, ev.Resource, ev.Details = audit.RoleGranted, audit.Warning, "user/"+user.String(), map[string]any{"role": role}
	_, err := room.Change(ctx, ev, func(tx plane.Tx) error { return s.Store.GrantRole(ctx, tx, user, role, by.Subject.ID) })
	if err == nil {
		s.forget(room.Scope().ID(), user)
	}
	return err
}

// Revoke of a role. The last active tenant_admin keeps the role: a tenant
// nobody can administer would need the platform's help.
func (s *Service) RevokeRole(ctx context.Context, room plane.Room, by Granter, ev audit.Event, user uuid.UUID, role string) error {
	if err := s.mayGrant(by, room, user.String(), role); err != nil {
		return err
	}
	ev.Type, ev.Severity, ev.Resource, ev.Details = audit.RoleRevoked, audit.Warning, "user/"+user.String(), map[string]any{"role": role}
	_, err := room.Change(ctx, ev, func(tx plane.Tx) error {
		if err := s.Store.RevokeRole(ctx, tx, user, role); err != nil {
			return err
		}
		return s.keepAnAdmin(ctx, tx, []string{role})
	})
	if err == nil {
		s.forget(room.Scope().ID(), user)
	}
	return err
}

// keepAnAdmin refuses a change that takes the last administrator away; held
// are the roles that the change touches.
func (s *Service) keepAnAdmin(ctx context.Context, tx plane.Tx, held []string) error {
	role := policy.TenantAdmin
	if tx.Scope().ID() == houseID {
		role = policy.PlatformAdmin
	}
	if !slices.Contains(held, role.String()) {
		return nil
	}
	n, err := s.Store.Holders(ctx, tx, role.String())
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "this would leave nobody who is %s; grant it to somebody else first", role)
	}
	return err
}

// outranks refuses to touch a user who holds a role the granter could not
// give: an org_admin must not reset a tenant_admin's password.
func (s *Service) outranks(by Granter, u User) error {
	if by.Platform {
		return nil
	}
	held, err := policy.ParseRoleSet(u.Roles)
	if err != nil {
		return err
	}
	if !s.Policy.CanManage(by.Subject.Roles, held) {
		return fault.New(fault.Forbidden, "that user holds a role you have no power over")
	}
	return nil
}

// UpdateUser changes name and whether the user is active.
func (s *Service) UpdateUser(ctx context.Context, room plane.Room, by Granter, ev audit.Event, id uuid.UUID, name *string, active *bool, ifVersion int64) (User, error) {
	u, err := s.Store.User(ctx, room.Scope(), id)
	if err != nil {
		return User{}, err
	}
	if err := s.outranks(by, u); err != nil {
		return User{}, err
	}
	if ifVersion == 0 {
		ifVersion = u.Version // what was judged is what is changed: a rename must not undo a disabling
	}
	ev.Type, ev.Resource = audit.UserChanged, "user/"+id.String()
	ev.Details = map[string]any{"change": "updated"}
	if name != nil {
		if err := cleanName(*name); err != nil {
			return User{}, err
		}
		u.Name = *name
	}
	if active != nil && *active != u.Active {
		u.Active = *active
		ev.Severity = audit.Warning
		ev.Details["active"] = u.Active
	}
	var out User
	_, err = room.Change(ctx, ev, func(tx plane.Tx) (err error) {
		if out, err = s.Store.UpdateUser(ctx, tx, u, ifVersion); err != nil {
			return err
		}
		return s.keepAnAdmin(ctx, tx, u.Roles)
	})
	if err == nil {
		s.forget(room.Scope().ID(), id)
	}
	return out, err
}

// DeleteUser removes a user.
func (s *Service) DeleteUser(ctx context.Context, room plane.Room, by Granter, ev audit.Event, id uuid.UUID, ifVersion int64) error {
	u, err := s.Store.User(ctx, room.Scope(), id)
	if err != nil {
		return err
	}
	if err := s.outranks(by, u); err != nil {
		return err
	}
	if ifVersion == 0 {
		ifVersion = u.Version // who was outranked may have been promoted since
	}
	ev.Type, ev.Severity, ev.Resource, ev.Details = audit.UserChanged, audit.Warning, "user/"+id.String(), map[string]any{"change": "deleted"}
	_, err = room.Change(ctx, ev, func(tx plane.Tx) error {
		if err := s.Store.DeleteUser(ctx, tx, id, EmailDigest(u.Email), ifVersion); err != nil {
			return err
		}
		return s.keepAnAdmin(ctx, tx, u.Roles)
	})
	if err == nil {
		s.forget(room.Scope().ID(), id)
	}
	return err
}

// ResetPassword sets a one-time password and ends the user's sessions.
func (s *Service) ResetPassword(ctx context.Context, room plane.Room, by Granter, ev audit.Event, id uuid.UUID, typed string) error {
	u, err := s.Store.User(ctx, room.Scope(), id)
	if err != nil {
		return err
	}
	if err := s.outranks(by, u); err != nil {
		return err
	}
	return s.setPassword(ctx, room, ev, u, typed, true, "reset")
}

// ChangePassword is a user's own: the old one proves who asks. Every session
// ends, the asker's as well.
func (s *Service) ChangePassword(ctx context.Context, room plane.Room, ev audit.Event, id uuid.UUID, old, typed string) error {
	u, err := s.Store.User(ctx, room.Scope(), id)
	if err != nil {
		return err
	}
	if s.Attempt != nil {
		if err := s.Attempt(ctx, room.Scope(), id); err != nil {
			return err
		}
	}
	match, _, err := s.Passwords.Verify(ctx, old, u.Hash)
	if err != nil {
		return err
	}
	if !match {
		return &fault.Error{Code: fault.Unprocessable, Detail: "the current password is not right", Fields: []fault.Field{{Location: "body.current_password", Message: "does not match"}}}
	}
	if old == typed {
		return fault.New(fault.Unprocessable, "the new password is the old one")
	}
	return s.setPassword(ctx, room, ev, u, typed, false, "changed")
}

func (s *Service) setPassword(ctx context.Context, room plane.Room, ev audit.Event, u User, typed string, oneTime bool, how string) error {
	if err := password.Check(typed, u.Email, u.Name, room.Scope().Name()); err != nil {
		return err
	}
	hash, err := s.Passwords.Hash(ctx, typed)
	if err != nil {
		return err
	}
	ev.Type, ev.Severity, ev.Resource, ev.Details = audit.PasswordChanged, audit.Warning, "user/"+u.ID.String(), map[string]any{"change": how}
	_, err = room.Change(ctx, ev, func(tx plane.Tx) error { return s.Store.SetPassword(ctx, tx, u.ID, hash, oneTime, u.Version) })
	if err == nil {
		s.forget(room.Scope().ID(), u.ID)
	}
	return err
}

// NewSecret makes a service account's secret; only its hash is kept.
func NewSecret() (string, [32]byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	text := "ocs_" + base64.RawURLEncoding.EncodeToString(b[:])
	return text, sha256.Sum256([]byte(text))
}

// SetAccount creates or changes a service account. Nobody grants actions they
// do not hold themselves.
func (s *Service) SetAccount(ctx context.Context, room plane.Room, by Granter, ev audit.Event, a ServiceAccount, ifVersion int64, create bool, before ...func(plane.Tx) error) (ServiceAccount, error) {
	grants, err := policy.ParseActionSet(a.Grants)
	if err != nil {
		return a, &fault.Error{Code: fault.Unprocessable, Detail: "there is no such action", Fields: []fault.Field{{Location: "body.grants", Message: "every entry names a policy action"}}}
	}
	if !by.Platform && !s.Policy.CanGrantActions(by.Subject.Roles, grants) {
		return a, fault.New(fault.Forbidden, "nobody grants an action they do not hold themselves")
	}
	if err := cleanName(a.Name); err != nil || a.Name == "" {
		return a, &fault.Error{Code: fault.Unprocessable, Detail: "the name is not usable", Fields: []fault.Field{{Location: "body.name", Message: "want 1 to 100 printable characters"}}}
	}
	if a.Certificate, err = cleanCertificate(a.Certificate, room.Scope().ID()); err != nil {
		return a, err
	}
	if create && a.ID == uuid.Nil {
		a.ID = uuid.Must(uuid.NewV7())
	}
	ev.Type, ev.Severity, ev.Resource = audit.APIKeyCreated, audit.Warning, "service_account/"+a.ID.String()
	ev.Details = map[string]any{"grants": grants.Names(), "active": a.Active, "created": create}
	if a.Certificate != "" {
		ev.Details["certificate"] = a.Certificate
	}
	var out ServiceAccount
	_, err = room.Change(ctx, ev, func(tx plane.Tx) (err error) {
		for _, f := range before {
			if err := f(tx); err != nil {
				return err
			}
		}
		if create {
			return s.Store.InsertServiceAccount(ctx, tx, a)
		}
		out, err = s.Store.UpdateServiceAccount(ctx, tx, a, ifVersion)
		return err
	})
	if err != nil {
		return a, err
	}
	s.forget(room.Scope().ID(), a.ID)
	if create {
		return s.Store.ServiceAccount(ctx, room.Scope(), a.ID)
	}
	return out, nil
}

// DeleteAccount removes a service account.
func (s *Service) DeleteAccount(ctx context.Context, room plane.Room, ev audit.Event, id uuid.UUID, ifVersion int64) error {
	ev.Type, ev.Severity, ev.Resource = audit.APIKeyRevoked, audit.Warning, "service_account/"+id.String()
	_, err := room.Change(ctx, ev, func(tx plane.Tx) error { return s.Store.DeleteServiceAccount(ctx, tx, id, ifVersion) })
	if err == nil {
		s.forget(room.Scope().ID(), id)
	}
	return err
}

// cleanEmail takes an addr-spec (RFC 5322) without a display name, in lower
// case, as it is compared. Only ASCII: other letters fold to it (the Kelvin sign
// to k), and two addresses must not become one.
func cleanEmail(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s || len(s) > 254 || strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }) {
		return "", &fault.Error{Code: fault.Unprocessable, Detail: "the e-mail address is not usable", Fields: []fault.Field{{Location: "body.email", Message: "want a plain address, as in ada@example.com"}}}
	}
	return strings.ToLower(s), nil
}

// cleanCertificate brings a certificate's name into the form it is looked up
// by. Names of operators are the house's, and names under /tenant/ID/ are that
// tenant's: whoever else took one first would keep its owner out, or get the
// owner's machines into a room of their own.
func cleanCertificate(s string, id tenant.ID) (string, error) {
	if s == "" {
		return "", nil
	}
	n, err := authn.ParseName(s)
	path := spiffePath(n)
	of, ok := strings.CutPrefix(path, "tenant/")
	if err != nil || (id != tenant.House && strings.HasPrefix(path, "operator/")) || (ok && !strings.HasPrefix(of, id.String()+"/")) {
		return "", certificateRefused("want a SPIFFE ID such as spiffe://example.com/tenant/" + id.String() + "/billing, or a DNS name")
	}
	return string(n), nil
}

// ClaimCertificate is asked before a tenant gives an account a new name. Names
// under its own /tenant/ID/ are its own; any other, DNS names above all, it must
// show: by the client certificate of the connection it asks over, which the
// platform's authority has issued and whose key is there. Otherwise the first to
// write down somebody's name would have it.
func ClaimCertificate(id tenant.ID, name string, shown authn.Name) error {
	n, err := authn.ParseName(name)
	if name == "" || err != nil || id == tenant.House || n == shown || strings.HasPrefix(spiffePath(n), "tenant/"+id.String()+"/") {
		return nil // what is wrong with it is cleanCertificate's to say
	}
	return certificateRefused("a name outside spiffe://.../tenant/" + id.String() + "/ is registered over a connection that shows its certificate")
}

func spiffePath(n authn.Name) string {
	rest, ok := strings.CutPrefix(string(n), "spiffe://")
	if !ok {
		return ""
	}
	_, path, _ := strings.Cut(rest, "/")
	return path
}

func certificateRefused(why string) error {
	return &fault.Error{Code: fault.Unprocessable, Detail: "the certificate's name is not usable", Fields: []fault.Field{{Location: "body.certificate", Message: why}}}
}

func cleanName(s string) error {
	if len(s) > 200 || len([]rune(s)) > 100 || strings.ContainsFunc(s, unicode.IsControl) {
		return &fault.Error{Code: fault.Unprocessable, Detail: "the name is not usable", Fields: []fault.Field{{Location: "body.name", Message: "want at most 100 printable characters"}}}
	}
	return nil
}
