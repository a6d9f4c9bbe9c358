package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Identity is who asks, as the gateway has proved it. The zero value is nobody:
// a public route's request, which carries no assertion.
type Identity struct {
	TenantID    string // a UUID
	TenantName  string
	Subject     string
	Kind        string // user, service_account, agent, platform_operator
	Roles       []string
	RequestID   string
	Traceparent string
	Client      netip.Addr // optional: goes on as X-Forwarded-For
}

// Signer makes a JWT of a type from a JSON object of claims.
type Signer func(typ string, claims []byte) (string, error)

// What an assertion is.
const (
	AssertionHeader = "Openclaw-Assertion"
	AssertionType   = "oc-assertion+jwt"
	assertionLife   = 60 * time.Second
	assertionFresh  = 10 * time.Second // signed anew after this: RSA costs a millisecond
	maxAssertions   = 8192             // about 1 KB each
)

// Claims are an assertion's. iat, nbf and exp are in seconds (RFC 7519).
type Claims struct {
	Issuer     string   `json:"iss"`
	Audience   string   `json:"aud"`
	Subject    string   `json:"sub"`
	TenantID   string   `json:"tenant_id"`
	TenantName string   `json:"tenant_name"`
	Kind       string   `json:"kind"`
	Roles      []string `json:"roles"`
	IssuedAt   int64    `json:"iat"`
	NotBefore  int64    `json:"nbf"`
	Expires    int64    `json:"exp"`
	ID         string   `json:"jti"`
}

// assertions signs and remembers.
type assertions struct {
	issuer string
	sign   Signer
	now    func() time.Time

	mu   sync.RWMutex
	held map[assertionKey]*assertion
}

type assertionKey struct{ tenant, name, subject, kind, audience string }

type assertion struct {
	once  sync.Once
	roles []string
	until time.Time // taken until then
	text  string
	err   error
}

func newAssertions(issuer string, sign Signer, now func() time.Time) *assertions {
	return &assertions{issuer: issuer, sign: sign, now: now, held: map[assertionKey]*assertion{}}
}

// get returns an assertion with at least 50 s to live. Requests that come
// together wait for one signature.
func (s *assertions) get(id Identity, audience string) (string, error) {
	if id.Subject == "" {
		return "", nil
	}
	k := assertionKey{id.TenantID, id.TenantName, id.Subject, id.Kind, audience}
	now := s.now()
	s.mu.RLock()
	a := s.held[k]
	s.mu.RUnlock()
	if a == nil || !now.Before(a.until) || !slices.Equal(a.roles, id.Roles) {
		a = s.replace(k, a, id.Roles, now)
	}
	a.once.Do(func() {
		a.text, a.err = s.make(id, audience, a.until.Add(-assertionFresh))
	})
	if a.err != nil {
		s.mu.Lock()
		if s.held[k] == a {
			delete(s.held, k) // the next one tries again
		}
		s.mu.Unlock()
		return "", fmt.Errorf("sign an assertion: %w", a.err)
	}
	return a.text, nil
}

func (s *assertions) replace(k assertionKey, old *assertion, roles []string, now time.Time) *assertion {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.held[k]; a != old && a != nil && now.Before(a.until) && slices.Equal(a.roles, roles) {
		return a // somebody was quicker
	}
	if len(s.held) >= maxAssertions {
		for k, a := range s.held {
			if !now.Before(a.until) {
				delete(s.held, k)
			}
		}
		for k := range s.held { // all in use: any one, it costs a signature
			if len(s.held) < maxAssertions {
				break
			}
			delete(s.held, k)
		}
	}
	a := &assertion{roles: slices.Clone(roles), until: now.Add(assertionFresh)}
	s.held[k] = a
	return a
}

func (s *assertions) make(id Identity, audience string, at time.Time) (string, error) {
	if s.sign == nil {
		return "", errors.New("no key")
	}
	roles := id.Roles
	if roles == nil {
		roles = []string{}
	}
	jti, err := uuid.NewRandom()
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(Claims{
		Issuer: s.issuer, Audience: audience, Subject: id.Subject, TenantID: id.TenantID, TenantName: id.TenantName,
		Kind: id.Kind, Roles: roles, IssuedAt: at.Unix(), NotBefore: at.Unix(), Expires: at.Add(assertionLife).Unix(), ID: jti.String(),
	})
	if err != nil {
		return "", err
	}
	return s.sign(AssertionType, claims)
}
