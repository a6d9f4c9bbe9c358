package authn

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// MaxToken is the longest token that is looked at, in bytes. A full set of
// grants needs a fraction of it.
const MaxToken = 8 << 10

// verified is what a token says once its signature and claims have been found
// good. Nothing in it depends on the moment.
type verified struct {
	Principal
	notBefore, issuedAt, expires int64
}

// Verifier checks access tokens. It remembers those it found good until they
// expire or the keys change.
type Verifier struct {
	keys *Keyring
	Profile
	size int
	mem  atomic.Pointer[memory]
}

// memory belongs to one set of keys. Replacing the keys replaces it whole, so
// no verdict outlives its key, not even one that is being reached right now.
type memory struct {
	set    *keySet
	tokens *tokenCache
}

// NewVerifier checks the profile. cached is how many tokens are remembered at
// most (0 means 8192, about 1.5 KB each).
func NewVerifier(keys *Keyring, f Profile, cached int) (*Verifier, error) {
	if keys == nil {
		return nil, errors.New("token verifier: no keyring")
	}
	if cached == 0 {
		cached = 8192
	}
	if cached < 0 {
		return nil, fmt.Errorf("token verifier: cache of %d tokens", cached)
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return &Verifier{keys: keys, Profile: f, size: cached}, nil
}

// Verify returns whom the token names. The caller still has to ask for the
// subject's standing and, where Method is ByBoundToken, for the certificate:
// Authenticator does both. Every refusal is fault.Unauthorized with one detail.
func (v *Verifier) Verify(token string) (Principal, error) {
	got, err := v.verify(token)
	if err != nil {
		return Principal{}, refuse(err)
	}
	return got.Principal, nil
}

func (v *Verifier) verify(token string) (*verified, error) {
	if len(token) > MaxToken {
		return nil, ErrTooLong
	}
	mem := v.memory()
	now := v.Now()
	got := mem.tokens.get(token)
	if got == nil {
		var err error
		if got, err = v.read(mem.set, token); err != nil {
			return nil, err
		}
		if now.Unix() < got.expires {
			mem.tokens.put(token, got, now.Unix())
		}
	}
	if err := got.live(now); err != nil {
		return nil, err
	}
	return got, nil
}

func (v *Verifier) memory() *memory {
	for {
		set, mem := v.keys.set.Load(), v.mem.Load()
		if mem != nil && mem.set == set {
			return mem
		}
		fresh := &memory{set: set, tokens: newTokenCache(v.size)}
		if v.mem.CompareAndSwap(mem, fresh) {
			return fresh
		}
	}
}

// live checks the limits in time, on every use.
func (g *verified) live(now time.Time) error {
	t, leeway := now.Unix(), int64(Leeway/time.Second)
	switch {
	case t >= g.expires:
		return ErrExpired
	case t+leeway < g.notBefore, t+leeway < g.issuedAt:
		return ErrNotYet
	}
	return nil
}

// read does the costly part, whose result depends on the token and the keys
// only: signature, then claims.
func (v *Verifier) read(set *keySet, token string) (*verified, error) {
	payload, err := set.open(token)
	if err != nil {
		return nil, err
	}
	c, err := decode(payload)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Issuer != v.Issuer:
		return nil, ErrIssuer
	case c.Audience != v.Audience:
		return nil, ErrAudience
	case c.Expires <= c.IssuedAt, c.Expires-c.IssuedAt > int64(maxTTL/time.Second),
		c.NotBefore != c.IssuedAt, c.IssuedAt < 0:
		return nil, ErrLifetime
	}
	p, err := c.principal()
	if err != nil {
		return nil, err
	}
	p.Expiry = time.Unix(c.Expires, 0)
	return &verified{Principal: p, notBefore: c.NotBefore, issuedAt: c.IssuedAt, expires: c.Expires}, nil
}

// open returns the payload of a token that one of the set's keys signed. It
// parses nothing: see the package comment.
func (s *keySet) open(token string) ([]byte, error) {
	// The alphabet first: encoding/base64 would skip line breaks.
	head, body, dots := 0, 0, 0
	for i := 0; i < len(token); i++ {
		c := token[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.':
			switch dots++; dots {
			case 1:
				head = i
			case 2:
				body = i
			default:
				return nil, ErrForm
			}
		default:
			return nil, ErrForm
		}
	}
	if dots != 2 {
		return nil, ErrForm
	}
	key, ok := s.byHeader[token[:head]]
	if !ok {
		if head == headerLen && strings.HasPrefix(token, headerPrefix) {
			return nil, ErrUnknownKey
		}
		return nil, ErrHeader
	}
	if len(token)-body-1 != b64.EncodedLen(key.key.Size()) {
		return nil, ErrSignature
	}
	sig, err := b64.DecodeString(token[body+1:])
	if err != nil { // stray bits after the last byte: a second spelling
		return nil, ErrForm
	}
	sum := sha256.Sum256([]byte(token[:body]))
	if err := rsa.VerifyPKCS1v15(key.key, crypto.SHA256, sum[:], sig); err != nil {
		return nil, ErrSignature
	}
	payload, err := b64.DecodeString(token[head+1 : body])
	if err != nil {
		return nil, ErrForm
	}
	return payload, nil
}
