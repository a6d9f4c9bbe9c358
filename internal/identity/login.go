package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Platform finds tenants.
type Platform interface {
	tenant.Directory
	FindByName(ctx context.Context, name string) (tenant.Record, error)
}

// Service lets people and machines in and out.
type Service struct {
	Store     Store
	Platform  Platform
	Door      *tenant.Door
	Plane     *plane.Plane
	House     plane.Room
	Passwords *password.Hasher
	Minter    *authn.Minter
	Verifier  *authn.Verifier
	Policy    *policy.Engine
	Forget    func(id tenant.ID, subject string) // drops what this replica remembers of a standing
	// Attempt charges one try against one account, there or not; nil charges
	// nothing.
	Attempt func(ctx context.Context, s tenant.Scope, account uuid.UUID) error
	// RefreshTTL is how long a login lasts without a new password.
	RefreshTTL time.Duration
	Now        func() time.Time
}

// Caller is where a request without a credential came from, for its event.
type Caller struct {
	IP        netip.Addr
	UserAgent string
	RequestID string
	Action    string
}

func (c Caller) event(typ audit.Type, out audit.Outcome) audit.Event {
	return audit.Event{Type: typ, Outcome: out, IP: c.IP, UserAgent: c.UserAgent, RequestID: c.RequestID, Action: c.Action}
}

// Tokens is what a login gives. Refresh is shown once; only its hash is kept.
type Tokens struct {
	Access         string
	Expires        time.Time
	Refresh        string
	RefreshExpires time.Time
	Tenant         tenant.Record
	Subject        uuid.UUID
	Roles          []string
	MustChange     bool // the password was a one-time one: the token opens nothing but its change
}

// refused is one answer for every way in which a credential fails.
func refused() error { return fault.New(fault.Unauthorized, "the credential is not valid") }

// Login exchanges a password for tokens. tenantName may be a name, an id, or
// empty where the address belongs to one tenant only. However it fails, it
// costs one password check and answers the same.
func (s *Service) Login(ctx context.Context, c Caller, tenantName, email, typed string) (Tokens, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	scope, room, err := s.enter(ctx, tenantName, email)
	if err != nil {
		if code := fault.CodeOf(err); code != fault.Unauthorized && code != fault.Suspended {
			return Tokens{}, err
		}
		if err := s.attempt(ctx, s.House.Scope(), tenantName+"\x00"+email); err != nil {
			return Tokens{}, err
		}
		if _, _, verr := s.Passwords.Verify(ctx, typed, ""); verr != nil {
			return Tokens{}, verr
		}
		return Tokens{}, s.loginFailed(ctx, s.House, c, "", "unknown_tenant", email)
	}
	if err := s.attempt(ctx, scope, email); err != nil {
		return Tokens{}, err
	}
	u, err := s.Store.UserByEmail(ctx, scope, email)
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return Tokens{}, err
	}
	match, renew, verr := s.Passwords.Verify(ctx, typed, u.Hash)
	switch {
	case verr != nil:
		return Tokens{}, verr
	case err != nil:
		return Tokens{}, s.loginFailed(ctx, room, c, "", "unknown_user", email)
	case !match:
		return Tokens{}, s.loginFailed(ctx, room, c, u.ID.String(), "wrong_password", email)
	case !u.Active:
		return Tokens{}, s.loginFailed(ctx, room, c, u.ID.String(), "user_disabled", email)
	}
	hash := ""
	if renew {
		if hash, err = s.Passwords.Hash(ctx, typed); err != nil {
			hash = "" // the old hash still serves
		}
	}
	return s.open(ctx, c, room, u, hash)
}

// attempt charges a try against an address, known or not: a limit that only
// real accounts reach would tell which are real.
func (s *Service) attempt(ctx context.Context, scope tenant.Scope, name string) error {
	if s.Attempt == nil {
		return nil
	}
	sum := EmailDigest(name)
	return s.Attempt(ctx, scope, uuid.UUID(sum[:16]))
}

// open starts a session for a proved user.
func (s *Service) open(ctx context.Context, c Caller, room plane.Room, u User, newHash string) (Tokens, error) {
	now := s.Now()
	session := Session{ID: uuid.New(), Subject: u.ID, Expires: now.Add(s.RefreshTTL)}
	refresh, hash := newRefresh(room.Scope().ID())
	ev := c.event(audit.LoginSuccess, audit.Success)
	ev.Actor = audit.Actor{Kind: kindOf(room.Scope()), ID: u.ID.String(), Name: u.Email}
	ev.Resource = "session/" + session.ID.String()
	_, err := room.Change(ctx, ev, func(tx plane.Tx) error {
		if newHash != "" {
			if err := s.Store.Rehash(ctx, tx, u.ID, newHash); err != nil {
				return err
			}
		}
		if err := s.Store.InsertSession(ctx, tx, session); err != nil {
			return err
		}
		return s.Store.InsertRefresh(ctx, tx, hash, session.ID, session.Expires)
	})
	if fault.CodeOf(err) == fault.Unprocessable { // long ended, so swept away before its refresh token refers to it
		err = fmt.Errorf("a session to %s has ended by the database's clock, so compare its clock with this machine's: %w", session.Expires.UTC().Format(time.RFC3339), err)
		return Tokens{}, fault.Wrap(err, fault.Unavailable, "no session can begin here at the moment")
	}
	if err != nil {
		return Tokens{}, err
	}
	return s.tokens(room.Scope(), u, session, refresh)
}

func (s *Service) tokens(scope tenant.Scope, u User, session Session, refresh string) (Tokens, error) {
	roles, err := policy.ParseRoleSet(u.Roles)
	if err != nil {
		return Tokens{}, err
	}
	if u.MustChange {
		roles = 0
	}
	kind := policy.KindUser
	if scope.ID() == tenant.House {
		kind = policy.KindOperator
	}
	t, err := s.Minter.Mint(authn.Grant{Tenant: scope.ID(), Subject: u.ID.String(), Kind: kind, Roles: roles, Session: session.ID, Epoch: u.Epoch})
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		Access: t.Text, Expires: t.Expires, Refresh: refresh, RefreshExpires: session.Expires,
		Tenant:  tenant.Record{ID: scope.ID(), Name: scope.Name(), Tier: scope.Tier(), Status: tenant.Active},
		Subject: u.ID, Roles: roles.Names(), MustChange: u.MustChange,
	}, nil
}

func kindOf(s tenant.Scope) audit.ActorKind {
	if s.ID() == tenant.House {
		return audit.ActorOperator
	}
	return audit.ActorUser
}

// loginFailed records the failure and answers for it. The event holds a digest
// of the address where nobody is known, never the address typed.
func (s *Service) loginFailed(ctx context.Context, room plane.Room, c Caller, user, why, email string) error {
	ev := c.event(audit.LoginFailed, audit.Refused)
	ev.Severity, ev.Reason = audit.Warning, why
	ev.Actor = audit.Actor{Kind: audit.ActorNobody, ID: user}
	if user != "" {
		ev.Actor.Kind = kindOf(room.Scope())
	}
	sum := EmailDigest(email)
	ev.Details = map[string]any{"account": hex.EncodeToString(sum[:8])}
	if _, err := room.Record(ctx, ev); err != nil {
		return err
	}
	return &Failed{Account: email}
}

// Failed is a login that failed: unauthorized, already on record. Account is
// for counting tries, and stays inside.
type Failed struct{ Account string }

func (*Failed) Error() string { return "login failed" }

// Unwrap is the one answer for every failure.
func (*Failed) Unwrap() error { return refused() }

// enter finds the tenant that a login names, or the one its address belongs to.
func (s *Service) enter(ctx context.Context, name, email string) (tenant.Scope, plane.Room, error) {
	var id tenant.ID
	if name == "" {
		ids, err := s.Store.TenantsOf(ctx, EmailDigest(email))
		if err != nil {
			return tenant.Scope{}, plane.Room{}, err
		}
		if len(ids) != 1 {
			return tenant.Scope{}, plane.Room{}, refused()
		}
		id = ids[0]
	} else if parsed, err := tenant.ParseID(name); err == nil {
		id = parsed
	} else {
		rec, err := s.Platform.FindByName(ctx, name)
		if fault.CodeOf(err) == fault.NotFound {
			return tenant.Scope{}, plane.Room{}, refused()
		}
		if err != nil {
			return tenant.Scope{}, plane.Room{}, err
		}
		id = rec.ID
	}
	return s.admit(ctx, id)
}

func (s *Service) admit(ctx context.Context, id tenant.ID) (tenant.Scope, plane.Room, error) {
	scope, err := s.Door.Admit(ctx, id)
	if err != nil {
		if errors.Is(err, tenant.ErrNoScope) {
			err = refused()
		}
		return tenant.Scope{}, plane.Room{}, err
	}
	room, err := s.Plane.Enter(scope)
	return scope, room, err
}

// EmailDigest leads an address to its tenants without storing it twice.
func EmailDigest(email string) [32]byte {
	return sha256.Sum256([]byte("openclaw login name v1\x00" + strings.ToLower(strings.TrimSpace(email))))
}

// A refresh token carries its tenant in front, because nothing can be looked up
// before the tenant is known; the 256 random bits behind it are the secret.
const refreshPrefix = "ocr_"

func newRefresh(id tenant.ID) (string, [32]byte) {
	b := make([]byte, 16+32)
	copy(b, id[:])
	_, _ = rand.Read(b[16:]) // never fails (Go 1.24)
	text := refreshPrefix + base64.RawURLEncoding.EncodeToString(b)
	return text, sha256.Sum256([]byte(text))
}

func parseRefresh(text string) (tenant.ID, [32]byte, bool) {
	rest, ok := strings.CutPrefix(text, refreshPrefix)
	if !ok || len(rest) != 64 {
		return tenant.ID{}, [32]byte{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) != 48 {
		return tenant.ID{}, [32]byte{}, false
	}
	return tenant.ID(b[:16]), sha256.Sum256([]byte(text)), true
}

// errAgain leaves a refresh whose token was spent before.
var errAgain = errors.New("refresh token spent before")

// longestSession is more than any setting of RefreshTTL.
const longestSession = 91 * 24 * time.Hour

// Refresh exchanges a refresh token for new tokens and spends it. One that was
// spent before ends the session: two people hold it, and one is a thief.
func (s *Service) Refresh(ctx context.Context, c Caller, text string) (Tokens, error) {
	id, hash, ok := parseRefresh(text)
	if !ok {
		return Tokens{}, refused()
	}
	scope, room, err := s.admit(ctx, id)
	if err != nil {
		return Tokens{}, err
	}
	was, err := s.Store.RefreshSession(ctx, scope, hash)
	if err != nil {
		return Tokens{}, err
	}
	u, err := s.Store.User(ctx, scope, was.Subject)
	if fault.CodeOf(err) == fault.NotFound || (err == nil && !u.Active) {
		return Tokens{}, refused()
	}
	if err != nil {
		return Tokens{}, err
	}
	ev := c.event(audit.APIRequest, audit.Success)
	ev.Actor = audit.Actor{Kind: kindOf(scope), ID: u.ID.String(), Name: u.Email}
	ev.Resource = "session/" + was.ID.String()

	refresh, next := newRefresh(id)
	var spent Spent
	_, err = room.Change(ctx, ev, func(tx plane.Tx) (err error) {
		if spent, err = s.Store.SpendRefresh(ctx, tx, hash); err != nil {
			return err
		}
		switch {
		case spent.Again && !spent.Session.Revoked:
			return errAgain
		case spent.Session.Expires.After(s.Now().Add(longestSession)): // made while somebody's clock ran ahead by years
			return refused()
		case spent.Again, spent.Session.Revoked, spent.Expired: // dead already: no second alarm, or one token could fill the log
			return refused()
		}
		return s.Store.InsertRefresh(ctx, tx, next, spent.Session.ID, spent.Session.Expires)
	})
	if errors.Is(err, errAgain) {
		return Tokens{}, s.stolen(ctx, room, ev, spent.Session)
	}
	if err != nil {
		return Tokens{}, err
	}
	return s.tokens(scope, u, spent.Session, refresh)
}

func (s *Service) stolen(ctx context.Context, room plane.Room, ev audit.Event, session Session) error {
	ev.Type, ev.Severity, ev.Outcome, ev.Reason = audit.TokenRevoked, audit.High, audit.Refused, "refresh_token_reused"
	if _, err := room.Change(ctx, ev, func(tx plane.Tx) error { return s.Store.RevokeSession(ctx, tx, session.ID) }); err != nil {
		return err
	}
	s.forget(room.Scope().ID(), session.Subject)
	return &Failed{}
}

func (s *Service) forget(id tenant.ID, subject uuid.UUID) {
	if s.Forget != nil {
		s.Forget(id, subject.String())
	}
}

// Logout ends the session that a token belongs to, on every replica.
func (s *Service) Logout(ctx context.Context, room plane.Room, ev audit.Event, session, subject uuid.UUID) error {
	ev.Type, ev.Reason, ev.Resource = audit.TokenRevoked, "logout", "session/"+session.String()
	_, err := room.Change(ctx, ev, func(tx plane.Tx) error { return s.Store.RevokeSession(ctx, tx, session) })
	if err == nil {
		s.forget(room.Scope().ID(), subject)
	}
	return err
}

// Revoke is RFC 7009: the session of an access or refresh token ends. What is
// no token of ours is no error (section 2.2), and tells nothing.
func (s *Service) Revoke(ctx context.Context, c Caller, token string) error {
	var id tenant.ID
	var session, subject uuid.UUID
	if tid, hash, ok := parseRefresh(token); ok {
		scope, _, err := s.admit(ctx, tid)
		if err != nil {
			return nothing(err)
		}
		was, err := s.Store.RefreshSession(ctx, scope, hash)
		if err != nil {
			return nothing(err)
		}
		if was.Revoked {
			return nil // ended already: a token must not fill the log
		}
		id, session, subject = tid, was.ID, was.Subject
	} else {
		p, err := s.Verifier.Verify(token)
		if err != nil {
			return nil
		}
		id, session = p.Tenant, p.Session
		subject, _ = uuid.Parse(p.Subject)
		st, err := s.Store.Standing(ctx, id, subject, session)
		if err != nil || st.Revoked {
			return err
		}
	}
	scope, room, err := s.admit(ctx, id)
	if err != nil {
		return nothing(err)
	}
	ev := c.event(audit.TokenRevoked, audit.Success)
	ev.Actor, ev.Reason, ev.Resource = audit.Actor{Kind: kindOf(scope), ID: subject.String()}, "revoked", "session/"+session.String()
	if _, err := room.Change(ctx, ev, func(tx plane.Tx) error { return s.Store.RevokeSession(ctx, tx, session) }); err != nil {
		return err
	}
	s.forget(id, subject)
	return nil
}

func nothing(err error) error {
	switch fault.CodeOf(err) {
	case fault.Unauthorized, fault.NotFound, fault.Suspended:
		return nil
	}
	return err
}

// Inspect verifies a token as the gateway would, standing included.
func (s *Service) Inspect(ctx context.Context, token string) (authn.Principal, error) {
	p, err := s.Verifier.Verify(token)
	if err != nil {
		return authn.Principal{}, err
	}
	subject, err := uuid.Parse(p.Subject)
	if err != nil {
		return authn.Principal{}, refused()
	}
	st, err := s.Store.Standing(ctx, p.Tenant, subject, p.Session)
	if err != nil {
		return authn.Principal{}, err
	}
	if st.Tenant != tenant.Active || !st.Active || st.Revoked || st.Epoch != p.Epoch {
		return authn.Principal{}, refused()
	}
	return p, nil
}
