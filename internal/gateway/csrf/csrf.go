// Package csrf guards requests that a browser authenticates by itself, with a
// cookie. Two checks, both needed: the standard library's cross-origin
// protection, which reads Sec-Fetch-Site and Origin, and a signed token that the
// page sends back in a header or form field.
//
// The token is bound to the session (OWASP's "signed double-submit cookie"):
// HMAC-SHA256 over session id, expiry and nonce, so a cookie planted from a
// sibling domain is worth nothing without the session it was made for.
//
// Requests with a bearer token or an API key in a header carry no ambient
// authority and are not this package's business: the caller tells it which
// session the request's cookie opened, or none. A client certificate is ambient,
// as a cookie is; the gateway makes the cross-origin check for it.
package csrf

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

const (
	// Header carries the token of a request made by a script.
	Header = "X-CSRF-Token"
	// Field carries the token of a form.
	Field = "csrf_token"
	// Cookie holds the token for the page. The prefix makes browsers insist on
	// Secure, Path=/ and no Domain (RFC 6265bis, section 4.1.3).
	Cookie = "__Host-csrf"
	// Session is the cookie that carries a session's id.
	Session = "__Host-session"
)

const (
	nonceSize = 16
	tokenSize = 8 + nonceSize + sha256.Size
	minKey    = 32
	label     = "openclaw csrf v1" // keeps these MACs apart from others under the same key
)

// Guard makes and checks tokens. It is safe for concurrent use.
type Guard struct {
	key    []byte
	ttl    time.Duration
	now    func() time.Time
	origin *http.CrossOriginProtection
}

// Options make a Guard.
type Options struct {
	Key            []byte           // HMAC key, at least 32 random bytes, the same on every replica
	TTL            time.Duration    // of a token; default 12 hours
	TrustedOrigins []string         // "https://console.example.com", beside the host itself
	Now            func() time.Time // default time.Now
}

// New checks the options.
func New(o Options) (*Guard, error) {
	if len(o.Key) < minKey {
		return nil, errors.New("make csrf guard: the key has fewer than 32 bytes")
	}
	if o.TTL < 0 {
		return nil, errors.New("make csrf guard: the lifetime is negative")
	}
	if o.TTL == 0 {
		o.TTL = 12 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Guard{key: append([]byte(nil), o.Key...), ttl: o.TTL, now: o.Now, origin: http.NewCrossOriginProtection()}
	for _, origin := range o.TrustedOrigins {
		if err := g.origin.AddTrustedOrigin(origin); err != nil {
			return nil, errors.Join(errors.New("make csrf guard: trusted origin"), err)
		}
	}
	return g, nil
}

// Token makes a token for a session. An empty session id has none.
func (g *Guard) Token(session string) (string, error) {
	if session == "" {
		return "", errors.New("make csrf token: no session")
	}
	raw := make([]byte, 8+nonceSize, tokenSize)
	binary.BigEndian.PutUint64(raw, uint64(g.now().Add(g.ttl).Unix()))
	rand.Read(raw[8:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(g.sign(raw, session)), nil
}

// sign appends the MAC of raw and session. raw has a fixed size, so the two
// cannot be confused however they are cut.
func (g *Guard) sign(raw []byte, session string) []byte {
	m := hmac.New(sha256.New, g.key)
	m.Write([]byte(label))
	m.Write(raw)
	m.Write([]byte(session))
	return m.Sum(raw)
}

// SetCookie hands the token to the page. Scripts of the page must be able to
// read it, so it is not HttpOnly; it opens nothing by itself.
func (g *Guard) SetCookie(w http.ResponseWriter, token string) {
	http.SetCookie(w, &http.Cookie{Name: Cookie, Value: token, Path: "/", MaxAge: int(g.ttl.Seconds()), Secure: true, SameSite: http.SameSiteStrictMode})
}

// Check decides on a request that a session cookie authenticated. session is
// that cookie's session id; "" means the request was authenticated by other
// means (a bearer token) or not at all, and is let through untouched. Safe
// methods pass. Every refusal is csrf_token_invalid and says the same to the
// client; the reason is the cause.
func (g *Guard) Check(r *http.Request, session string) error {
	if session == "" || Safe(r.Method) {
		return nil
	}
	if err := g.origin.Check(r); err != nil {
		return Refused(err)
	}
	c, err := one(r)
	if err != nil {
		return Refused(err)
	}
	sent := r.Header.Get(Header)
	if n := len(r.Header.Values(Header)); n > 1 {
		return Refused(errors.New("token sent more than once"))
	} else if n == 0 {
		// the body is read only once a parser has bounded it: a form must have
		// been parsed by the caller
		sent = r.PostForm.Get(Field)
	}
	if sent == "" {
		return Refused(errors.New("no token was sent"))
	}
	if !hmac.Equal([]byte(sent), []byte(c)) {
		return Refused(errors.New("token and cookie differ"))
	}
	return g.verify(sent, session)
}

func (g *Guard) verify(token, session string) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != tokenSize {
		return Refused(errors.New("token is malformed"))
	}
	signed := raw[:8+nonceSize]
	want := g.sign(append([]byte(nil), signed...), session)
	if !hmac.Equal(want, raw) {
		return Refused(errors.New("token was not made for this session"))
	}
	if expiry := int64(binary.BigEndian.Uint64(signed)); g.now().Unix() >= expiry {
		return Refused(errors.New("token is expired"))
	}
	return nil
}

// one gives the token cookie, of which there must be one: a second is planted.
func one(r *http.Request) (string, error) {
	cookies := r.CookiesNamed(Cookie)
	if len(cookies) != 1 || cookies[0].Value == "" {
		return "", errors.New("not exactly one token cookie")
	}
	return cookies[0].Value, nil
}

// Safe tells the methods that change nothing (RFC 9110, section 9.2.1).
func Safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Refused is the one refusal of this package: csrf_token_invalid, which says the
// same to the client whatever the cause.
func Refused(cause error) error {
	return fault.Wrap(cause, fault.CSRF, "the request was not made by a page of this site, or its token is no longer valid")
}
