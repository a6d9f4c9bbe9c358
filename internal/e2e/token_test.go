package e2e

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

var b64 = base64.RawURLEncoding

// swapTenant puts another tenant in front of a refresh token's secret.
func swapTenant(t testing.TB, refresh string, id tenant.ID) string {
	t.Helper()
	raw, err := b64.DecodeString(strings.TrimPrefix(refresh, "ocr_"))
	if err != nil || len(raw) != 48 {
		t.Fatalf("not a refresh token: %d bytes, %v", len(raw), err)
	}
	copy(raw, id[:])
	return "ocr_" + b64.EncodeToString(raw)
}

// signingKey is the platform's own: the forger of these tests has even that.
func signingKey(t testing.TB, file string) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return k.(*rsa.PrivateKey)
	}
	k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

type forger struct {
	key     *rsa.PrivateKey
	header  string
	payload []byte
}

// rs256 signs whatever it is given.
func (f forger) rs256(t testing.TB, header string, payload []byte) string {
	t.Helper()
	text := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, f.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64.EncodeToString(sig)
}

// claim replaces one member of the payload and keeps the order of the rest.
func (f forger) claim(t testing.TB, name string, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte(`"` + name + `":`)
	at := bytes.Index(f.payload, key)
	if at < 0 {
		t.Fatalf("the token has no %s: %s", name, f.payload)
	}
	end := at + len(key)
	var old json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(f.payload[end:]))
	if err := dec.Decode(&old); err != nil {
		t.Fatal(err)
	}
	out := append([]byte{}, f.payload[:end]...)
	return append(append(out, text...), f.payload[end+int(dec.InputOffset()):]...)
}

func (f forger) without(t testing.TB, name string) []byte {
	out := f.claim(t, name, "CUT")
	out = bytes.Replace(out, []byte(`"`+name+`":"CUT",`), nil, 1)
	return bytes.Replace(out, []byte(`,"`+name+`":"CUT"`), nil, 1)
}

// TestForgedTokens tries every way known to us to be taken for somebody. All
// answers are one answer.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	good := c.person(t, "tenant_admin").token(t)
	get(t, good, "/v1/me").want(t, 200)
	parts := strings.Split(good, ".")
	header, _ := b64.DecodeString(parts[0])
	payload, _ := b64.DecodeString(parts[1])
	f := forger{signingKey(t, dev.Config.JWTKeyFile), string(header), payload}
	if a := get(t, f.rs256(t, f.header, f.payload), "/v1/me"); a.status != 200 {
		t.Fatalf("the forger's own honest token is refused (%d): the tests below would prove nothing", a.status)
	}
	pub, _ := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	pubPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
	hs256 := func(secret []byte) string {
		h := strings.Replace(f.header, "RS256", "HS256", 1)
		text := b64.EncodeToString([]byte(h)) + "." + parts[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return text + "." + b64.EncodeToString(mac.Sum(nil))
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger := forger{other, f.header, f.payload}
	jwk := func(k *rsa.PublicKey) string {
		return `{"kty":"RSA","n":"` + b64.EncodeToString(k.N.Bytes()) + `","e":"` + b64.EncodeToString(big.NewInt(int64(k.E)).Bytes()) + `"}`
	}
	withHeader := func(member string) string { return strings.TrimSuffix(f.header, "}") + "," + member + "}" }
	now := time.Now().Unix()
	none := func(alg string) string {
		return b64.EncodeToString([]byte(strings.Replace(f.header, "RS256", alg, 1))) + "." + parts[1] + "."
	}
	iss := dev.Config.URL
	cases := map[string]string{
		"alg none": none("none"), "alg None": none("None"), "alg nOnE": none("nOnE"), "alg empty": none(""), "alg none, signed": none("none") + parts[2],
		"HS256 with the public key as PEM": hs256(pubPEM), "HS256 with it as DER": hs256(pub), "HS256 with its modulus": hs256(f.key.N.Bytes()), "HS256 with nothing": hs256(nil),
		"own key in jwk":                      stranger.rs256(t, withHeader(`"jwk":`+jwk(&other.PublicKey)), payload),
		"own key in jku":                      stranger.rs256(t, withHeader(`"jku":"https://evil.example/jwks.json"`), payload),
		"own key in x5u":                      stranger.rs256(t, withHeader(`"x5u":"https://evil.example/cert.pem"`), payload),
		"own key in x5c":                      stranger.rs256(t, withHeader(`"x5c":["MIIB"]`), payload),
		"right key, jwk header":               f.rs256(t, withHeader(`"jwk":`+jwk(&f.key.PublicKey)), payload),
		"right key, jku header":               f.rs256(t, withHeader(`"jku":"`+iss+`/.well-known/jwks.json"`), payload),
		"right key, crit header":              f.rs256(t, withHeader(`"crit":["exp"]`), payload),
		"right key, zip header":               f.rs256(t, withHeader(`"zip":"DEF"`), payload),
		"right key, doubled alg":              f.rs256(t, withHeader(`"alg":"none"`), payload),
		"own key, the right kid":              stranger.rs256(t, f.header, payload),
		"kid of a path":                       f.rs256(t, strings.Replace(f.header, `"kid":"`, `"kid":"../../../../dev/null`, 1), payload),
		"kid of SQL":                          f.rs256(t, strings.Replace(f.header, `"kid":"`, `"kid":"' OR 1=1 --`, 1), payload),
		"no kid":                              f.rs256(t, `{"alg":"RS256","typ":"at+jwt"}`, payload),
		"typ JWT":                             f.rs256(t, strings.Replace(f.header, "at+jwt", "JWT", 1), payload),
		"wrong aud":                           f.rs256(t, f.header, f.claim(t, "aud", "https://other.example")),
		"aud as a list":                       f.rs256(t, f.header, f.claim(t, "aud", []string{iss})),
		"aud with a suffix":                   f.rs256(t, f.header, f.claim(t, "aud", iss+".evil.example")),
		"wrong iss":                           f.rs256(t, f.header, f.claim(t, "iss", "https://other.example")),
		"iss with a slash":                    f.rs256(t, f.header, f.claim(t, "iss", iss+"/")),
		"missing exp":                         f.rs256(t, f.header, f.without(t, "exp")),
		"missing nbf":                         f.rs256(t, f.header, f.without(t, "nbf")),
		"missing aud":                         f.rs256(t, f.header, f.without(t, "aud")),
		"missing sid":                         f.rs256(t, f.header, f.without(t, "sid")),
		"missing tenant":                      f.rs256(t, f.header, f.without(t, "tenant_id")),
		"expired":                             f.rs256(t, f.header, f.claim(t, "exp", now-1)),
		"expires as text":                     f.rs256(t, f.header, f.claim(t, "exp", "tomorrow")),
		"expires at a fraction":               f.rs256(t, f.header, f.claim(t, "exp", float64(now)+900.5)),
		"expires at 1e300":                    f.rs256(t, f.header, f.claim(t, "exp", json.Number("1e300"))),
		"expires in a year":                   f.rs256(t, f.header, f.claim(t, "exp", now+365*86400)),
		"future nbf":                          f.rs256(t, f.header, f.claim(t, "nbf", now+600)),
		"another user":                        f.rs256(t, f.header, f.claim(t, "sub", uuid.NewString())),
		"another session":                     f.rs256(t, f.header, f.claim(t, "sid", uuid.NewString())),
		"another tenant":                      f.rs256(t, f.header, f.claim(t, "tenant_id", newCustomer(t, "dedicated").id.String())),
		"the house":                           f.rs256(t, f.header, f.claim(t, "tenant_id", tenant.House.String())),
		"a later epoch":                       f.rs256(t, f.header, f.claim(t, "epoch", 99)),
		"a platform_admin of a customer":      f.rs256(t, f.header, f.claim(t, "roles", []string{"platform_admin"})),
		"a role that is none":                 f.rs256(t, f.header, f.claim(t, "roles", []string{"root"})),
		"an operator of a customer":           f.rs256(t, f.header, f.claim(t, "kind", "operator")),
		"payload with white space":            f.rs256(t, f.header, append([]byte(" "), payload...)),
		"payload with bad UTF-8":              f.rs256(t, f.header, bytes.Replace(payload, []byte(`"openclaw"`), []byte("\"open\xffclaw\""), 1)),
		"payload of null":                     f.rs256(t, f.header, []byte("null")),
		"payload of nothing":                  f.rs256(t, f.header, nil),
		"signature cut off":                   parts[0] + "." + parts[1] + ".",
		"signature of another":                parts[0] + "." + b64.EncodeToString(bytes.Replace(payload, []byte("tenant_admin"), []byte("org_admin"), 1)) + "." + parts[2],
		"padding":                             good + "=",
		"one part":                            parts[0],
		"four parts":                          good + "." + parts[2],
		"five parts":                          good + ".a.b",
		"dots":                                "..",
		"bits behind the last byte":           lastBit(good),
		"a refresh token":                     "ocr_" + b64.EncodeToString(make([]byte, 48)),
		"10 kB":                               parts[0] + "." + strings.Repeat("A", 10_000) + "." + parts[2],
		"an API key":                          "ocs_" + strings.Repeat("A", 43),
		"a token with the payload of another": parts[0] + "." + parts[0] + "." + parts[2],
	}
	reference := ask{method: "GET", path: "/v1/me"}.send(t).want(t, 401)
	expect := func(name string, a answer) {
		t.Helper()
		if diff := same(reference, a, "-", "-"); diff != "" {
			t.Errorf("%s: differs from no credential at all: %s", name, diff)
		}
	}
	for name, tok := range cases {
		for _, to := range []*replica{east, west} {
			expect(name, ask{to: to, method: "GET", path: "/v1/me", token: tok}.send(t))
		}
	}
	for name, values := range map[string][]string{
		"two headers": {"Bearer " + good, "Bearer " + good}, "no header and a good one": {"", "Bearer " + good}, "basic": {"Basic YTpi"},
		"two tokens": {"Bearer " + good + " " + good}, "two spaces": {"Bearer  " + good}, "a tab": {"Bearer\t" + good}, "no scheme": {good},
		"comma": {"Bearer " + good + ",Bearer " + good}, "bad UTF-8": {"Bearer \xff\xfe" + good}, "trailing byte": {"Bearer " + good + "\x80"},
		"DPoP": {"DPoP " + good}, "quoted": {`Bearer "` + good + `"`}, "bearer only": {"Bearer"},
	} {
		expect(name, ask{method: "GET", path: "/v1/me", header: http.Header{"Authorization": values}}.send(t))
	}
	// In the query or a form it is no credential (RFC 6750, section 5.3).
	get(t, "", "/v1/me?access_token="+good).want(t, 401)
	// A megabyte does not pass the header limit, whatever is inside.
	a, err := ask{method: "GET", path: "/v1/me", token: strings.Repeat("A", 1<<20)}.try(t.Context())
	if err == nil && a.status != 401 && a.status != 431 && a.status != 400 && a.status != 413 {
		t.Errorf("a token of 1 MB: %d %.200s", a.status, a.body)
	}
}

// lastBit flips a bit that base64url ignores.
func lastBit(tok string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, tok[len(tok)-1])
	return tok[:len(tok)-1] + string(alphabet[at^1])
}

// TestTokensEnd ends tokens in every way there is, on one replica, and wants
// them dead on both within a second.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	type scene struct {
		c     *customer
		boss  string
		who   *person
		token string
		fresh string
	}
	cases := map[string]struct {
		end  func(t *testing.T, s scene)
		want int
		keep bool // the refresh token serves on, with the new truth
	}{
		"deleted": {func(t *testing.T, s scene) { do(t, "DELETE", s.boss, "/v1/users/"+s.who.id.String(), nil).want(t, 204) }, 401, false},
		"disabled": {func(t *testing.T, s scene) {
			do(t, "PATCH", s.boss, "/v1/users/"+s.who.id.String(), map[string]any{"active": false}).want(t, 200)
		}, 401, false},
		"logged out":            {func(t *testing.T, s scene) { post(t, s.token, "/v1/auth/logout", nil).want(t, 204) }, 401, false},
		"access token revoked":  {func(t *testing.T, s scene) { form(t, east, "/oauth/revoke", "token="+s.token).want(t, 200) }, 401, false},
		"refresh token revoked": {func(t *testing.T, s scene) { form(t, east, "/oauth/revoke", "token="+s.fresh).want(t, 200) }, 401, false},
		"role granted": {func(t *testing.T, s scene) {
			post(t, s.boss, "/v1/users/"+s.who.id.String()+"/roles", map[string]any{"role": "analyst"}).want(t, 204)
		}, 401, true},
		"role revoked": {func(t *testing.T, s scene) {
			do(t, "DELETE", s.boss, "/v1/users/"+s.who.id.String()+"/roles/developer", nil).want(t, 204)
		}, 401, true},
		"password reset": {func(t *testing.T, s scene) {
			secret("a one-time password", post(t, s.boss, "/v1/users/"+s.who.id.String()+"/reset-password", nil).want(t, 200).str(t, "one_time_password"))
		}, 401, false},
		"password changed": {func(t *testing.T, s scene) {
			do(t, "PUT", s.token, "/v1/me/password", map[string]any{"current_password": passwordOfAll, "new_password": secret("a password", "another-horse-battery-staple-58")}).want(t, 204)
		}, 401, false},
		"refresh token reused": {func(t *testing.T, s scene) {
			a := post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": s.fresh}).want(t, 200)
			secret("an access token", a.str(t, "access_token"))
			secret("a refresh token", a.str(t, "refresh_token"))
			post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": s.fresh}).want(t, 401)
			post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": a.str(t, "refresh_token")}).want(t, 401)
			get(t, a.str(t, "access_token"), "/v1/me").want(t, 401)
		}, 401, false},
		"tenant suspended": {func(t *testing.T, s scene) {
			operate(t, "POST", "/v1/tenants/"+s.c.id.String()+"/suspend", nil).want(t, 200)
		}, 403, false},
		"tenant isolated": {func(t *testing.T, s scene) {
			operate(t, "POST", "/v1/tenants/"+s.c.id.String()+"/isolate", nil).want(t, 200)
		}, 403, false},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCustomer(t, "dedicated")
			s := scene{c: c, boss: c.person(t, "tenant_admin").token(t), who: c.person(t, "developer")}
			s.token, s.fresh = s.who.login(t)
			for _, to := range []*replica{east, west} { // both remember the standing now
				ask{to: to, method: "GET", path: "/v1/me", token: s.token}.send(t).want(t, 200)
			}
			k.end(t, s)
			// Acknowledged on the replica that did it means over there at once.
			if a := get(t, s.token, "/v1/me"); a.status != k.want {
				t.Errorf("east still answers %d, want %d", a.status, k.want)
			}
			deadline := time.Now().Add(time.Second)
			for {
				a := ask{to: west, method: "GET", path: "/v1/me", token: s.token}.send(t)
				if a.status == k.want {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("west still answers %d after a second", a.status)
				}
				time.Sleep(10 * time.Millisecond) // the other replica gives no signal to clients
			}
			a := ask{to: west, method: "POST", path: "/v1/auth/refresh", body: map[string]string{"refresh_token": s.fresh}}.send(t)
			switch {
			case k.keep && a.status != 200:
				t.Errorf("the refresh token of a user whose roles changed answers %d: %.200s", a.status, a.body)
			case k.keep:
				secret("a refresh token", a.str(t, "refresh_token"))
				get(t, secret("an access token", a.str(t, "access_token")), "/v1/me").want(t, 200)
			case a.status == 200:
				t.Error("the refresh token still opens")
			}
		})
	}
}

// operate asks as the platform operator, with the certificate.
func operate(t testing.TB, method, path string, body any) answer {
	t.Helper()
	client := newClient(&operator)
	defer client.CloseIdleConnections()
	return ask{client: client, method: method, path: path, body: body}.send(t)
}

// TestRefreshRotates walks a family of refresh tokens and then replays one.
func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin").token(t)
	_, refresh := c.person(t, "viewer").login(t)
	spent := []string{}
	for range 3 {
		a := post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": refresh}).want(t, 200)
		spent = append(spent, refresh)
		access := secret("an access token", a.str(t, "access_token"))
		refresh = secret("a refresh token", a.str(t, "refresh_token"))
		get(t, access, "/v1/me").want(t, 200)
	}
	a := ask{to: west, method: "POST", path: "/v1/auth/refresh", body: map[string]string{"refresh_token": spent[0]}, header: http.Header{"X-Request-Id": {"reuse-" + c.name}}}.send(t).want(t, 401)
	if a.code() != "unauthorized" {
		t.Errorf("code %q", a.code())
	}
	post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": refresh}).want(t, 401)
	e := event(t, events(t, boss), "reuse-"+c.name, "TOKEN_REVOKED")
	if e["reason"] != "refresh_token_reused" || e["outcome"] != "refused" || e["severity"] != "HIGH" {
		t.Errorf("the event of the reuse: %v", e)
	}
}

// TestDeadTokensWriteOnce replays what is dead already: the log must not grow
// with each try, or one old token could fill it.
func TestDeadTokensWriteOnce(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin").token(t)
	access, spent := c.person(t, "viewer").login(t)
	a := post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": spent}).want(t, 200)
	secret("an access token", a.str(t, "access_token"))
	refresh := secret("a refresh token", a.str(t, "refresh_token"))
	other, _ := c.person(t, "viewer").login(t)
	for range 5 {
		post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": spent}).want(t, 401)
		for _, tok := range []string{access, refresh, spent, other} {
			form(t, east, "/oauth/revoke", "token="+tok).want(t, 200)
		}
	}
	n := map[string]int{}
	for _, e := range events(t, boss) {
		if e["type"] == "TOKEN_REVOKED" {
			n[fmt.Sprint(e["reason"])]++
		}
	}
	if n["refresh_token_reused"] != 1 || n["revoked"] != 1 {
		t.Errorf("two sessions ended, and the log says %v", n)
	}
}

// TestRefreshRace spends one token on both replicas at once.
func TestRefreshRace(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin").token(t)
	for range 5 {
		_, refresh := c.person(t, "viewer").login(t)
		answers := make([]answer, 4)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				answers[i], _ = ask{to: []*replica{east, west}[i%2], method: "POST", path: "/v1/auth/refresh", body: map[string]string{"refresh_token": refresh}}.try(context.Background())
			})
		}
		wg.Wait()
		won := 0
		for _, a := range answers {
			switch a.status {
			case 200:
				won++
				secret("a refresh token", a.str(t, "refresh_token"))
				// Whoever won has lost: two held the token.
				if b := post(t, "", "/v1/auth/refresh", map[string]string{"refresh_token": a.str(t, "refresh_token")}); b.status != 401 {
					t.Errorf("the family outlives its reuse: %d", b.status)
				}
			case 401:
			default:
				t.Errorf("a refresh in a race answers %d %.200s", a.status, a.body)
			}
		}
		if won > 1 {
			t.Errorf("one token was spent %d times", won)
		}
	}
	n := 0
	for _, e := range events(t, boss) {
		if e["reason"] == "refresh_token_reused" {
			n++
		}
	}
	if n < 5 {
		t.Errorf("%d events of reuse for 5 races", n)
	}
}

// TestKeyRotation runs a replica with a new signing key beside the old ones.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	next, err := authn.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := next.ExposePEM()
	if err != nil {
		t.Fatal(err)
	}
	old, err := authn.NewPublicKey(&signingKey(t, dev.Config.JWTKeyFile).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := old.PEM()
	if err != nil {
		t.Fatal(err)
	}
	c := dev.Config
	c.JWTKeyFile, c.JWTTrustedFile = filepath.Join(dir, "jwt.pem"), filepath.Join(dir, "old.pem")
	for file, text := range map[string][]byte{c.JWTKeyFile: text, c.JWTTrustedFile: trusted} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotated := another(t, c)

	kids := func(to *replica) (out []string) {
		var set struct {
			Keys []struct {
				Kid string `json:"kid"`
				D   string `json:"d"`
			} `json:"keys"`
		}
		a := ask{to: to, method: "GET", path: "/.well-known/jwks.json"}.send(t).want(t, 200)
		if err := json.Unmarshal(a.body, &set); err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Keys {
			if k.D != "" {
				t.Error("the key set shows a private key")
			}
			out = append(out, k.Kid)
		}
		return out
	}
	if got := kids(east); len(got) != 1 || got[0] != old.ID() {
		t.Errorf("east publishes %v, want %s", got, old.ID())
	}
	if got := strings.Join(kids(rotated), " "); !strings.Contains(got, old.ID()) || !strings.Contains(got, next.Public().ID()) {
		t.Errorf("the rotated replica publishes %v, want both keys", got)
	}
	p := newCustomer(t, "dedicated").person(t, "viewer")
	before, refresh := p.login(t)
	ask{to: rotated, method: "GET", path: "/v1/me", token: before}.send(t).want(t, 200)
	b := ask{to: rotated, method: "POST", path: "/v1/auth/refresh", body: map[string]string{"refresh_token": refresh}}.send(t).want(t, 200)
	after := secret("an access token", b.str(t, "access_token"))
	secret("a refresh token", b.str(t, "refresh_token"))
	ask{to: rotated, method: "GET", path: "/v1/me", token: after}.send(t).want(t, 200)
	get(t, after, "/v1/me").want(t, 401) // east does not know the new key
}

// TestAnEndedTokenIsItsTenantsBusiness: who tries a token after its end may
// have stolen it, and the tenant it names sees the try, and whose it was.
func TestAnEndedTokenIsItsTenantsBusiness(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin").token(t)
	access, _ := c.person(t, "viewer").login(t)
	me := get(t, access, "/v1/me").want(t, 200).str(t, "id")
	post(t, access, "/v1/auth/logout", nil).want(t, 204)
	ask{method: "GET", path: "/v1/agents", token: access, header: http.Header{"X-Request-Id": {"late-" + c.name}}}.send(t).want(t, 401)
	e := event(t, events(t, boss), "late-"+c.name, "UNAUTHORIZED_ACCESS")
	actor, _ := e["actor"].(map[string]any)
	details, _ := e["details"].(map[string]any)
	if e["outcome"] != "refused" || actor["id"] != me || details["cause"] != "session_revoked" {
		t.Errorf("the event of the late token: %v", e)
	}
}
