package authn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// claims is the payload, in the order in which it is always written. Times are
// whole seconds since 1970 (RFC 7519, NumericDate without a fraction).
type claims struct {
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"`
	Subject   string   `json:"sub"`
	Client    string   `json:"client_id"` // required by RFC 9068, section 2.2
	Tenant    string   `json:"tenant_id"`
	User      string   `json:"user_id"`
	Kind      string   `json:"kind"`
	Roles     []string `json:"roles"`
	Grants    []string `json:"grants,omitempty"`
	Agent     string   `json:"agent_id,omitempty"`
	Session   string   `json:"sid"`
	Epoch     int64    `json:"epoch"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	ID        string   `json:"jti"`
	Confirm   *confirm `json:"cnf,omitempty"`
}

// confirm binds the token to a client certificate: RFC 8705, section 3.1.
type confirm struct {
	Thumbprint string `json:"x5t#S256"`
}

// firstParty is the client_id of tokens that no OAuth client asked for.
const firstParty = "openclaw"

func (c *claims) encode() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// decode accepts exactly what encode writes. Comparing the second encoding with
// the first refuses, at one stroke, duplicate, unknown, missing and misspelt
// members, nulls, white space, other escapes and bad UTF-8.
func decode(payload []byte) (*claims, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	again, err := c.encode()
	if err != nil || !bytes.Equal(payload, again) {
		return nil, fmt.Errorf("%w: not the canonical encoding", ErrClaims)
	}
	return &c, nil
}

// principal parses the members into types. What it accepts, Mint could have
// written.
func (c *claims) principal() (Principal, error) {
	bad := func(what string) (Principal, error) {
		return Principal{}, fmt.Errorf("%w: %s", ErrClaims, what)
	}
	t, err := tenant.ParseID(c.Tenant)
	if err != nil || t.String() != c.Tenant {
		return bad("tenant_id")
	}
	p := Principal{Tenant: t, Subject: c.Subject, Epoch: c.Epoch, Method: ByToken}
	if p.Kind = parseKind(c.Kind); p.Kind == 0 {
		return bad("kind")
	}
	if p.Session, err = parseUUID(c.Session); err != nil {
		return bad("sid")
	}
	if p.TokenID, err = parseUUID(c.ID); err != nil {
		return bad("jti")
	}
	if c.Agent != "" {
		if p.Agent, err = parseUUID(c.Agent); err != nil {
			return bad("agent_id")
		}
	}
	if p.Roles, err = policy.ParseRoleSet(c.Roles); err != nil || c.Roles == nil || !slices.Equal(c.Roles, p.Roles.Names()) {
		return bad("roles")
	}
	if p.Grants, err = policy.ParseActionSet(c.Grants); err != nil || !slices.Equal(c.Grants, p.Grants.Names()) {
		return bad("grants")
	}
	if c.User != c.Subject {
		return bad("user_id")
	}
	if !plain(c.Client, 128, idExtras) {
		return bad("client_id")
	}
	if c.Confirm != nil {
		raw, err := b64.DecodeString(c.Confirm.Thumbprint)
		if err != nil || len(raw) != len(p.Thumbprint) || b64.EncodeToString(raw) != c.Confirm.Thumbprint {
			return bad("cnf")
		}
		copy(p.Thumbprint[:], raw)
		if p.Thumbprint == [32]byte{} {
			return bad("cnf")
		}
		p.Method = ByBoundToken
	}
	if err := p.consistent(); err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return p, nil
}

// idExtras are what an id may hold beside letters and digits.
const idExtras = "-_.:"

// consistent refuses combinations that no honest issuer makes, at minting and at
// verifying alike: a confused wiring must not produce an agent with a person's
// roles.
func (p *Principal) consistent() error {
	switch {
	case p.Tenant.IsZero():
		return errors.New("no tenant")
	case !plain(p.Subject, 128, idExtras):
		return errors.New("subject is not 1 to 128 plain characters")
	case p.Epoch < 0:
		return errors.New("negative epoch")
	case (p.Kind == policy.KindAgent) != (p.Agent != uuid.Nil):
		return errors.New("an agent_id belongs to an agent and to nobody else")
	case p.Kind != policy.KindService && p.Grants.Len() > 0:
		return errors.New("grants belong to a service account and to nobody else")
	}
	fits := false
	switch p.Kind {
	case policy.KindUser:
		fits = !p.Roles.Has(policy.AgentRole) && !p.Roles.Has(policy.ServiceAccount) && !p.Roles.Has(policy.PlatformAdmin)
	case policy.KindService:
		fits = p.Roles == policy.NewRoleSet(policy.ServiceAccount)
	case policy.KindAgent:
		fits = p.Roles == policy.NewRoleSet(policy.AgentRole)
	case policy.KindOperator:
		fits = p.Tenant == tenant.House && !p.Roles.Has(policy.AgentRole) && !p.Roles.Has(policy.ServiceAccount)
	}
	if !fits {
		return fmt.Errorf("kind, roles and tenant of a %s contradict each other", p.Kind)
	}
	return nil
}

func parseKind(name string) policy.SubjectKind {
	for _, k := range []policy.SubjectKind{policy.KindUser, policy.KindService, policy.KindAgent, policy.KindOperator} {
		if k.String() == name {
			return k
		}
	}
	return 0
}

func parseUUID(s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return uuid.Nil, err
	}
	if u == uuid.Nil || u.String() != s {
		return uuid.Nil, errors.New("want a canonical uuid")
	}
	return u, nil
}
