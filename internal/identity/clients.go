package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// ClientID names a service account with its tenant: what a machine sends as
// client_id.
func ClientID(id tenant.ID, account uuid.UUID) string { return id.String() + "." + account.String() }

// Client verifies a service account's secret (RFC 6749 section 2.3.1).
func (s *Service) Client(ctx context.Context, c Caller, clientID, secret string) (plane.Room, ServiceAccount, error) {
	fail := func(room plane.Room, who, why string) (plane.Room, ServiceAccount, error) {
		return plane.Room{}, ServiceAccount{}, s.clientFailed(ctx, room, c, clientID, who, why)
	}
	tid, aid, ok := strings.Cut(clientID, ".")
	id, err := tenant.ParseID(tid)
	account, aerr := uuid.Parse(aid)
	if !ok || err != nil || aerr != nil || ClientID(id, account) != clientID { // one spelling, no other
		return fail(s.House, "", "unknown_client")
	}
	scope, room, err := s.admit(ctx, id)
	if err != nil {
		if code := fault.CodeOf(err); code == fault.Unauthorized || code == fault.Suspended {
			return fail(s.House, "", "unknown_tenant")
		}
		return plane.Room{}, ServiceAccount{}, err
	}
	if s.Attempt != nil {
		if err := s.Attempt(ctx, scope, account); err != nil {
			return plane.Room{}, ServiceAccount{}, err
		}
	}
	a, err := s.Store.ServiceAccount(ctx, scope, account)
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return plane.Room{}, ServiceAccount{}, err
	}
	sum := sha256.Sum256([]byte(secret))
	switch match := subtle.ConstantTimeCompare(sum[:], a.SecretHash[:]) == 1; {
	case err != nil:
		return fail(room, "", "unknown_client")
	case !match:
		return fail(room, account.String(), "wrong_secret")
	case !a.Active:
		return fail(room, account.String(), "client_disabled")
	}
	return room, a, nil
}

func (s *Service) clientFailed(ctx context.Context, room plane.Room, c Caller, clientID, who, why string) error {
	ev := c.event(audit.LoginFailed, audit.Refused)
	ev.Severity, ev.Reason, ev.Actor = audit.Warning, why, audit.Actor{Kind: audit.ActorService, ID: who}
	if _, err := room.Record(ctx, ev); err != nil {
		return err
	}
	return &Failed{Account: clientID}
}

// CertifiedClient is Client for a machine whose certificate proved it: p is
// what the certificate maps to. The client_id must be sent all the same and
// must be that account's (RFC 8705 section 2): otherwise a certificate that is
// presented by habit would choose the account.
func (s *Service) CertifiedClient(ctx context.Context, c Caller, clientID string, p authn.Principal) (plane.Room, ServiceAccount, error) {
	fail := func(room plane.Room, who, why string) (plane.Room, ServiceAccount, error) {
		return plane.Room{}, ServiceAccount{}, s.clientFailed(ctx, room, c, clientID, who, why)
	}
	account, err := uuid.Parse(p.Subject)
	if p.Method != authn.ByCert || p.Kind != policy.KindService || err != nil || clientID != ClientID(p.Tenant, account) {
		return fail(s.House, "", "certificate_of_another")
	}
	scope, room, err := s.admit(ctx, p.Tenant)
	if err != nil {
		if code := fault.CodeOf(err); code == fault.Unauthorized || code == fault.Suspended {
			return fail(s.House, "", "unknown_tenant")
		}
		return plane.Room{}, ServiceAccount{}, err
	}
	a, err := s.Store.ServiceAccount(ctx, scope, account)
	switch {
	case err != nil && fault.CodeOf(err) != fault.NotFound:
		return plane.Room{}, ServiceAccount{}, err
	case err != nil:
		return fail(room, "", "unknown_client")
	case !a.Active:
		return fail(room, account.String(), "client_disabled")
	}
	return room, a, nil
}

// CertificateRefused records that a certificate named no client, and answers
// for it. cause is authn's word for why.
func (s *Service) CertificateRefused(ctx context.Context, c Caller, clientID, cause string) error {
	return s.clientFailed(ctx, s.House, c, clientID, "", "certificate_"+cause)
}

// OpenAccount starts a session for a proved service account; thumbprint, where
// it is not zero, binds the token to a client certificate (RFC 8705).
func (s *Service) OpenAccount(ctx context.Context, c Caller, room plane.Room, a ServiceAccount, thumbprint [32]byte) (Tokens, error) {
	grants, err := policy.ParseActionSet(a.Grants)
	if err != nil {
		return Tokens{}, err
	}
	session := Session{ID: uuid.New(), Subject: a.ID, Expires: s.Now().Add(s.Minter.TTL)}
	ev := c.event(audit.LoginSuccess, audit.Success)
	ev.Actor = audit.Actor{Kind: audit.ActorService, ID: a.ID.String()}
	ev.Resource = "session/" + session.ID.String()
	if _, err := room.Change(ctx, ev, func(tx plane.Tx) error { return s.Store.InsertSession(ctx, tx, session) }); err != nil {
		return Tokens{}, err
	}
	t, err := s.Minter.Mint(authn.Grant{
		Tenant: room.Scope().ID(), Subject: a.ID.String(), Kind: policy.KindService, Roles: policy.NewRoleSet(policy.ServiceAccount),
		Grants: grants, Session: session.ID, Epoch: a.Epoch, Thumbprint: thumbprint,
	})
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: t.Text, Expires: t.Expires, Subject: a.ID}, nil
}
