package authn

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// Times of a token.
const (
	DefaultTTL = 15 * time.Minute

	// maxTTL is the longest life of a token: that of the longest run (one
	// hour) and what surrounds it.
	maxTTL = 2 * time.Hour

	// Leeway is how far the clock of the replica that minted may run ahead of
	// the one that verifies: it covers nbf and iat. Expiry has none: a late
	// refusal costs the client one refresh, a late acceptance may cost more.
	Leeway = 10 * time.Second
)

// Profile is what all our tokens share. Both names are compared as whole
// strings.
type Profile struct {
	Issuer   string        // https URL of this installation
	Audience string        // usually the same URL; one, never a list
	TTL      time.Duration // of a token that asks for none; zero means DefaultTTL
	Now      func() time.Time
}

func (f *Profile) check() error {
	for name, v := range map[string]string{"issuer": f.Issuer, "audience": f.Audience} {
		u, err := url.Parse(v)
		if err != nil || !plain(v, 512, "-._~:/?#[]@!$'()*+,;=%") || u.Scheme == "" || (u.Host == "" && u.Opaque == "") {
			return fmt.Errorf("token %s %q is not an absolute URI, as in https://openclaw.example", name, v)
		}
	}
	if f.TTL == 0 {
		f.TTL = DefaultTTL
	}
	if f.TTL < time.Second || f.TTL > maxTTL {
		return fmt.Errorf("token lifetime %s is outside 1s to %s", f.TTL, maxTTL)
	}
	if f.Now == nil {
		f.Now = time.Now
	}
	return nil
}

// Grant says whom a token is for.
type Grant struct {
	Tenant     tenant.ID
	Subject    string // 1 to 128 of A-Z a-z 0-9 - _ . :
	Kind       policy.SubjectKind
	Roles      policy.RoleSet
	Grants     policy.ActionSet // service accounts
	Agent      uuid.UUID        // agents
	Session    uuid.UUID        // revoking it ends the token
	Epoch      int64            // the subject's, at this moment
	Client     string           // OAuth client_id; empty means this product itself, or the service account
	TTL        time.Duration    // zero means the profile's
	Thumbprint [32]byte         // SHA-256 of the certificate to bind to, zero binds to nothing
}

// Token is an access token on its way to its owner.
type Token struct {
	Text    string
	ID      uuid.UUID
	Expires time.Time
}

// String keeps the text out of logs.
func (t Token) String() string { return "token " + t.ID.String() }

// GoString keeps the text out of %#v.
func (t Token) GoString() string { return t.String() }

// Minter makes access tokens.
type Minter struct {
	keys *Keyring
	Profile
}

// NewMinter checks the profile.
func NewMinter(keys *Keyring, f Profile) (*Minter, error) {
	if keys == nil {
		return nil, errors.New("token minter: no keyring")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return &Minter{keys: keys, Profile: f}, nil
}

// Mint signs a token for g. It refuses what a Verifier would refuse.
func (m *Minter) Mint(g Grant) (Token, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return Token{}, fmt.Errorf("mint token: %w", err)
	}
	ttl := g.TTL
	if ttl == 0 {
		ttl = m.TTL
	}
	if ttl < time.Second || ttl > maxTTL {
		return Token{}, fmt.Errorf("mint token: lifetime %s is outside 1s to %s", ttl, maxTTL)
	}
	client := g.Client
	if client == "" {
		client = firstParty
		if g.Kind == policy.KindService {
			client = g.Subject
		}
	}
	now := m.Now()
	c := claims{
		Issuer: m.Issuer, Audience: m.Audience, Subject: g.Subject, Client: client,
		Tenant: g.Tenant.String(), User: g.Subject, Kind: g.Kind.String(),
		Roles: g.Roles.Names(), Grants: g.Grants.Names(),
		Session: g.Session.String(), Epoch: g.Epoch, ID: id.String(),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(ttl).Unix(),
	}
	if g.Agent != uuid.Nil {
		c.Agent = g.Agent.String()
	}
	if g.Thumbprint != [32]byte{} {
		c.Confirm = &confirm{Thumbprint: b64.EncodeToString(g.Thumbprint[:])}
	}
	if _, err := c.principal(); err != nil {
		return Token{}, fmt.Errorf("mint token: %w", err)
	}
	payload, err := c.encode()
	if err != nil {
		return Token{}, fmt.Errorf("mint token: %w", err)
	}
	text, err := m.keys.set.Load().sign(typAccess, payload)
	if err != nil {
		return Token{}, err
	}
	if len(text) > MaxToken {
		return Token{}, fmt.Errorf("mint token: %d bytes, more than the %d that are ever accepted; grant the account fewer actions", len(text), MaxToken)
	}
	return Token{Text: text, ID: id, Expires: time.Unix(c.Expires, 0)}, nil
}
