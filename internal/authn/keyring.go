package authn

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
)

// Key sizes in bits. 2048 is what crypto/rsa verifies with its fast path: 32 µs
// against 209 µs for 3072 on the same machine. Everybody who can open a
// connection can make us verify, so the larger key would be a gift to a flood;
// keys rotate every 90 days and tokens live 15 minutes, which 112 bits of
// strength (NIST SP 800-57 part 1, table 2) outlast. An operator may bring a
// longer one.
const (
	DefaultKeyBits = 2048
	minKeyBits     = 2048
	maxKeyBits     = 8192
	minExponent    = 65537 // FIPS 186-5, A.1.1
)

var b64 = base64.RawURLEncoding.Strict()

// PublicKey is an RSA key that tokens are verified with. Its id is the RFC 7638
// thumbprint, so two keys never share one and one key never has two.
type PublicKey struct {
	id  string
	key *rsa.PublicKey
}

// NewPublicKey takes keys of 2048 to 8192 bits with an exponent of 65537 or
// more.
func NewPublicKey(key *rsa.PublicKey) (PublicKey, error) {
	switch {
	case key == nil || key.N == nil:
		return PublicKey{}, errors.New("rsa public key: missing")
	case key.N.BitLen() < minKeyBits:
		return PublicKey{}, fmt.Errorf("rsa key has %d bits, want at least %d; make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", key.N.BitLen(), minKeyBits)
	case key.N.BitLen() > maxKeyBits:
		return PublicKey{}, fmt.Errorf("rsa key has %d bits, want at most %d: verifying with it would be an attack on ourselves", key.N.BitLen(), maxKeyBits)
	case key.E < minExponent || key.E&1 == 0:
		return PublicKey{}, fmt.Errorf("rsa public exponent is %d, want %d", key.E, minExponent)
	}
	return PublicKey{id: thumbprint(key), key: key}, nil
}

// ID is the RFC 7638 SHA-256 thumbprint, base64url, 43 characters.
func (p PublicKey) ID() string { return p.id }

// Key is the key itself.
func (p PublicKey) Key() *rsa.PublicKey { return p.key }

// SigningKey is an RSA private key. However it is printed, logged or encoded,
// only its id shows; ExposePEM is the one way out.
type SigningKey struct {
	pub PublicKey
	key *rsa.PrivateKey
}

// GenerateSigningKey makes a new key of DefaultKeyBits.
func GenerateSigningKey() (SigningKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, DefaultKeyBits)
	if err != nil {
		return SigningKey{}, fmt.Errorf("generate signing key: %w", err)
	}
	return NewSigningKey(key)
}

// NewSigningKey takes a valid key under the rules of NewPublicKey.
func NewSigningKey(key *rsa.PrivateKey) (SigningKey, error) {
	if key == nil {
		return SigningKey{}, errors.New("rsa signing key: missing")
	}
	pub, err := NewPublicKey(&key.PublicKey)
	if err != nil {
		return SigningKey{}, err
	}
	if err := key.Validate(); err != nil {
		return SigningKey{}, fmt.Errorf("rsa signing key: %w", err)
	}
	return SigningKey{pub: pub, key: key}, nil
}

// Public is the half that may be shown.
func (k SigningKey) Public() PublicKey { return k.pub }

func (k SigningKey) String() string {
	if k.key == nil {
		return "signing key (none)"
	}
	return "signing key " + k.pub.id
}

// Format keeps every verb of fmt, %#v included, from walking into the key.
func (k SigningKey) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, k.String()) }

// LogValue keeps the key out of slog.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText keeps the key out of JSON and its relatives.
func (k SigningKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Keyring holds the one key that signs and the keys that are still, or already,
// trusted. It may be replaced at any time while it is used.
type Keyring struct{ set atomic.Pointer[keySet] }

// keySet never changes after it was built; Verifier recognises a replaced
// keyring by the pointer.
type keySet struct {
	active   SigningKey
	byHeader map[string]PublicKey // encoded at+jwt header -> key
	ids      []string
	jwks     []byte
}

// NewKeyring signs with active and trusts it and the others. To rotate without
// refusing anybody: first trust the new key everywhere, then sign with it, and
// drop the old one when its last token has expired.
func NewKeyring(active SigningKey, trusted ...PublicKey) (*Keyring, error) {
	r := &Keyring{}
	if err := r.Replace(active, trusted...); err != nil {
		return nil, err
	}
	return r, nil
}

// Replace changes all keys at once. Tokens of keys that are no longer here are
// refused from the next request on. On error nothing changes.
func (r *Keyring) Replace(active SigningKey, trusted ...PublicKey) error {
	if active.key == nil {
		return errors.New("keyring: no signing key; set JWT_PRIVATE_KEY_FILE to a file made with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")
	}
	set := &keySet{active: active, byHeader: make(map[string]PublicKey, 1+len(trusted))}
	rest := slices.Clone(trusted)
	slices.SortFunc(rest, func(a, b PublicKey) int { return strings.Compare(a.id, b.id) })
	var doc struct {
		Keys []jwk `json:"keys"`
	}
	for _, p := range append([]PublicKey{active.pub}, rest...) {
		if p.key == nil {
			return errors.New("keyring: a trusted key is empty")
		}
		h := encodedHeader(typAccess, p.id)
		if _, dup := set.byHeader[h]; dup {
			continue
		}
		set.byHeader[h] = p
		set.ids = append(set.ids, p.id)
		doc.Keys = append(doc.Keys, toJWK(p))
	}
	var err error
	if set.jwks, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("keyring: encode jwks: %w", err)
	}
	r.set.Store(set)
	return nil
}

// JWKS is the RFC 7517 document of all trusted keys, the signing one first. The
// bytes are shared: do not change them.
func (r *Keyring) JWKS() []byte { return r.set.Load().jwks }

// KeyIDs lists the trusted keys, the signing one first.
func (r *Keyring) KeyIDs() []string { return slices.Clone(r.set.Load().ids) }

// Sign makes a JWT of another type with the signing key: an assertion for an
// upstream, for instance, that verifies it with our JWKS. claims is a JSON
// object. Such a token is never accepted here as an access token, because
// at+jwt is the one type this method does not take.
func (r *Keyring) Sign(typ string, claims []byte) (string, error) {
	if strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), typAccess) || !plain(typ, 64, "+/.-_") {
		return "", fmt.Errorf("sign token: type %q is not allowed", typ)
	}
	if len(claims) < 2 || claims[0] != '{' || !json.Valid(claims) {
		return "", errors.New("sign token: claims are not a JSON object")
	}
	return r.set.Load().sign(typ, claims)
}

func (s *keySet) sign(typ string, claims []byte) (string, error) {
	head := encodedHeader(typ, s.active.pub.id)
	size := len(head) + 1 + b64.EncodedLen(len(claims)) + 1 + b64.EncodedLen(s.active.key.Size())
	out := make([]byte, 0, size)
	out = append(out, head...)
	out = append(out, '.')
	out = b64.AppendEncode(out, claims)
	sum := sha256.Sum256(out)
	sig, err := rsa.SignPKCS1v15(nil, s.active.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	out = append(out, '.')
	return string(b64.AppendEncode(out, sig)), nil
}

const typAccess = "at+jwt" // RFC 9068, section 2.1

// encodedHeader is the one spelling of a header. kid stands last so that a
// header of an unknown key shares headerPrefix with ours.
func encodedHeader(typ, kid string) string {
	return b64.EncodeToString([]byte(`{"alg":"RS256","typ":"` + typ + `","kid":"` + kid + `"}`))
}

// headerPrefix is the part of the access token header before the kid, cut to
// whole groups of three bytes, and headerLen the length of the whole. They only
// tell a retired key from a foreign token in the record.
var (
	headerPrefix = encodedHeader(typAccess, "")[:48]
	headerLen    = len(encodedHeader(typAccess, strings.Repeat("x", b64.EncodedLen(sha256.Size))))
)

type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	N         string `json:"n"`
	E         string `json:"e"`
}

func toJWK(p PublicKey) jwk {
	n, e := members(p.key)
	return jwk{Type: "RSA", Use: "sig", Algorithm: "RS256", ID: p.id, N: n, E: e}
}

func members(key *rsa.PublicKey) (n, e string) {
	return b64.EncodeToString(key.N.Bytes()), b64.EncodeToString(big.NewInt(int64(key.E)).Bytes())
}

// thumbprint is RFC 7638, section 3: the required members in lexical order.
func thumbprint(key *rsa.PublicKey) string {
	n, e := members(key)
	sum := sha256.Sum256([]byte(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`))
	return b64.EncodeToString(sum[:])
}

// plain reports whether s is 1 to max ASCII letters, digits and extras: nothing
// that JSON or a log would have to escape.
func plain(s string, max int, extras string) bool {
	if s == "" || len(s) > max {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte(extras, c) < 0 {
			return false
		}
	}
	return true
}
