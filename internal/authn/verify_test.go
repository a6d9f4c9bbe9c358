package authn

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for the attacks
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
	jwxjwk "github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

func isCause(err, cause error) bool { return errors.Is(err, cause) }

func TestMintedTokenIsAccepted(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	house := Grant{Tenant: tenant.House, Subject: "op-1", Kind: policy.KindOperator, Roles: policy.NewRoleSet(policy.PlatformAdmin), Session: uuid.New()}
	service := Grant{Tenant: tenant.NewID(), Subject: uuid.NewString(), Kind: policy.KindService, Roles: policy.NewRoleSet(policy.ServiceAccount), Session: uuid.New()}
	for a := range policy.Actions() {
		service.Grants = service.Grants.With(a)
	}
	run := Grant{Tenant: tenant.NewID(), Subject: uuid.NewString(), Kind: policy.KindAgent, Roles: policy.NewRoleSet(policy.AgentRole), Session: uuid.New(), Agent: uuid.New(), TTL: time.Hour}
	bound := o.who
	bound.Thumbprint = sha256.Sum256([]byte("a certificate"))
	nobody := o.who
	nobody.Roles = 0
	for name, g := range map[string]Grant{"user": o.who, "operator": house, "service account with every grant": service, "agent": run, "bound": bound, "no roles": nobody} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := o.mint(t, g)
			for _, temperature := range []string{"cold", "cached"} {
				p, err := o.verifier.Verify(text)
				if err != nil {
					t.Fatal(temperature, err)
				}
				ttl := g.TTL
				if ttl == 0 {
					ttl = 15 * time.Minute
				}
				want := Principal{Tenant: g.Tenant, Subject: g.Subject, Kind: g.Kind, Roles: g.Roles, Grants: g.Grants, Agent: g.Agent,
					Session: g.Session, TokenID: p.TokenID, Epoch: g.Epoch, Expiry: o.now().Add(ttl), Method: ByToken, Thumbprint: g.Thumbprint}
				if g.Thumbprint != [32]byte{} {
					want.Method = ByBoundToken
				}
				if !p.Expiry.Equal(want.Expiry) || p.TokenID == uuid.Nil {
					t.Errorf("expiry %s, id %s", p.Expiry, p.TokenID)
				}
				if p.Expiry = want.Expiry; p != want {
					t.Errorf("%s: got  %+v\nwant %+v", temperature, p, want)
				}
			}
			if len(text) > MaxToken/2 {
				t.Errorf("%d bytes leave little room", len(text))
			}
		})
	}
}

// Another implementation, given nothing but our JWKS, agrees.
func TestJWXAgrees(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	if err := o.ring.Replace(testKeys()[1], testKeys()[0].Public(), testKeys()[2].Public()); err != nil {
		t.Fatal(err)
	}
	set, err := jwxjwk.Parse(o.ring.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 3 {
		t.Fatalf("%d keys", set.Len())
	}
	for i := range set.Len() {
		k, _ := set.Key(i)
		id, _ := k.KeyID()
		sum, err := k.Thumbprint(crypto.SHA256)
		if err != nil || base64.RawURLEncoding.EncodeToString(sum) != id {
			t.Errorf("kid %s is not the RFC 7638 thumbprint", id)
		}
		if alg, _ := k.Algorithm(); alg.String() != "RS256" {
			t.Errorf("alg %v", alg)
		}
	}
	text := o.mint(t, o.who)
	tok, err := jwt.ParseString(text, jwt.WithKeySet(set), jwt.WithIssuer(self), jwt.WithAudience(self+"/v1"),
		jwt.WithClock(jwt.ClockFunc(o.now)), jwt.WithValidate(true))
	if err != nil {
		t.Fatal(err)
	}
	var id string
	if err := tok.Get("tenant_id", &id); err != nil || id != o.who.Tenant.String() {
		t.Errorf("tenant_id %q %v", id, err)
	}
}

func TestHeaderAttacks(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	good := o.mint(t, o.who)
	parts := strings.Split(good, ".")
	payload := parts[1]
	kid := o.key.Public().ID()
	pem, err := o.key.Public().PEM()
	if err != nil {
		t.Fatal(err)
	}
	e := base64.RawURLEncoding.EncodeToString
	rs := func(key SigningKey, hash crypto.Hash, header string) string {
		in := e([]byte(header)) + "." + payload
		h := hash.New()
		h.Write([]byte(in))
		sig, err := rsa.SignPKCS1v15(nil, key.key, hash, h.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		return in + "." + e(sig)
	}
	hs := func(secret []byte, header string) string {
		in := e([]byte(header)) + "." + payload
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(in))
		return in + "." + e(m.Sum(nil))
	}
	ours := `{"alg":"RS256","typ":"at+jwt","kid":"` + kid + `"}`
	if got := rs(o.key, crypto.SHA256, ours); got != good {
		t.Fatal("the attacks below would prove nothing: the honest header differs from ours")
	}
	with := func(member string) string { return rs(o.key, crypto.SHA256, ours[:len(ours)-1]+","+member+"}") }
	n, ex := members(testKeys()[1].Public().key)
	thief := fmt.Sprintf(`{"alg":"RS256","typ":"at+jwt","kid":"%s","jwk":{"kty":"RSA","n":"%s","e":"%s"}}`, testKeys()[1].Public().ID(), n, ex)
	pss := func() string {
		in := e([]byte(strings.Replace(ours, "RS256", "PS256", 1))) + "." + payload
		sum := sha256.Sum256([]byte(in))
		sig, err := rsa.SignPSS(nil2rand{}, o.key.key, crypto.SHA256, sum[:], nil)
		if err != nil {
			t.Fatal(err)
		}
		return in + "." + e(sig)
	}
	for name, c := range map[string]struct {
		token string
		cause error
	}{
		"none":                           {e([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + payload + ".", ErrHeader},
		"none, our kid":                  {e([]byte(`{"alg":"none","typ":"at+jwt","kid":"`+kid+`"}`)) + "." + payload + ".", ErrHeader},
		"NoNe":                           {e([]byte(`{"alg":"NoNe","typ":"at+jwt","kid":"`+kid+`"}`)) + "." + payload + "." + parts[2], ErrHeader},
		"none in two segments":           {e([]byte(`{"alg":"none"}`)) + "." + payload, ErrForm},
		"honest header, no signature":    {parts[0] + "." + payload + ".", ErrSignature},
		"hs256 with the public pem":      {hs(pem, `{"alg":"HS256","typ":"at+jwt","kid":"`+kid+`"}`), ErrHeader},
		"hs256 under our header":         {hs(pem, ours), ErrSignature},
		"hs256 with the modulus":         {hs(o.key.key.N.Bytes(), ours), ErrSignature},
		"hs256 with an empty secret":     {hs(nil, `{"alg":"HS256","typ":"at+jwt","kid":"`+kid+`"}`), ErrHeader},
		"rs384":                          {rs(o.key, crypto.SHA384, strings.Replace(ours, "RS256", "RS384", 1)), ErrHeader},
		"rs512":                          {rs(o.key, crypto.SHA512, strings.Replace(ours, "RS256", "RS512", 1)), ErrHeader},
		"sha-512 under our header":       {rs(o.key, crypto.SHA512, ours), ErrSignature},
		"ps256":                          {pss(), ErrHeader},
		"another key under our kid":      {rs(testKeys()[1], crypto.SHA256, ours), ErrSignature},
		"another key, its own kid":       {rs(testKeys()[1], crypto.SHA256, strings.Replace(ours, kid, testKeys()[1].Public().ID(), 1)), ErrUnknownKey},
		"its own key in jwk":             {rs(testKeys()[1], crypto.SHA256, thief), ErrHeader},
		"jwk":                            {with(`"jwk":{"kty":"oct","k":"AA"}`), ErrHeader},
		"jku":                            {with(`"jku":"https://evil.example/jwks.json"`), ErrHeader},
		"x5u":                            {with(`"x5u":"https://evil.example/c.pem"`), ErrHeader},
		"x5c":                            {with(`"x5c":["AA=="]`), ErrHeader},
		"crit":                           {with(`"crit":["exp"]`), ErrHeader},
		"crit empty":                     {with(`"crit":[]`), ErrHeader},
		"b64":                            {with(`"b64":false,"crit":["b64"]`), ErrHeader},
		"unknown member":                 {with(`"x":1`), ErrHeader},
		"zip":                            {with(`"zip":"DEF"`), ErrHeader},
		"cty":                            {with(`"cty":"JWT"`), ErrHeader},
		"second alg":                     {with(`"alg":"none"`), ErrHeader},
		"first alg":                      {rs(o.key, crypto.SHA256, `{"alg":"none",`+ours[1:]), ErrHeader},
		"other order":                    {rs(o.key, crypto.SHA256, `{"typ":"at+jwt","alg":"RS256","kid":"`+kid+`"}`), ErrHeader},
		"white space":                    {rs(o.key, crypto.SHA256, strings.Replace(ours, ":", ": ", 1)), ErrHeader},
		"escape":                         {rs(o.key, crypto.SHA256, strings.Replace(ours, "RS", `\u0052S`, 1)), ErrHeader},
		"capital":                        {rs(o.key, crypto.SHA256, strings.Replace(ours, "alg", "Alg", 1)), ErrHeader},
		"typ JWT":                        {rs(o.key, crypto.SHA256, strings.Replace(ours, "at+jwt", "JWT", 1)), ErrHeader},
		"typ in full":                    {rs(o.key, crypto.SHA256, strings.Replace(ours, "at+jwt", "application/at+jwt", 1)), ErrHeader},
		"no typ":                         {rs(o.key, crypto.SHA256, `{"alg":"RS256","kid":"`+kid+`"}`), ErrHeader},
		"no kid":                         {rs(o.key, crypto.SHA256, `{"alg":"RS256","typ":"at+jwt"}`), ErrHeader},
		"kid is a path":                  {rs(o.key, crypto.SHA256, strings.Replace(ours, kid, "../../dev/null", 1)), ErrHeader},
		"kid is sql":                     {rs(o.key, crypto.SHA256, strings.Replace(ours, kid, "' or 1=1 --", 1)), ErrHeader},
		"header is null":                 {rs(o.key, crypto.SHA256, `null`), ErrHeader},
		"header is an array":             {rs(o.key, crypto.SHA256, `[]`), ErrHeader},
		"header is deep":                 {rs(o.key, crypto.SHA256, strings.Repeat("[", 4000)), ErrHeader},
		"header is empty":                {"." + payload + "." + parts[2], ErrHeader},
		"header of header":               {e([]byte(parts[0])) + "." + payload + "." + parts[2], ErrHeader},
		"assertion of another type":      {mustSign(t, o.ring, "assertion+jwt", payload), ErrHeader},
		"encrypted, five segments":       {good + ".AA.AA", ErrForm},
		"general json serialization":     {`{"payload":"` + payload + `","signatures":[]}`, ErrForm},
		"nested: the payload is a token": {o.sign(t, good), ErrClaims},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(c.token) > MaxToken {
				t.Fatal("would be refused for its length alone")
			}
			_, err := o.verifier.Verify(c.token)
			wantRefusal(t, err, c.cause)
		})
	}
}

func mustSign(t *testing.T, r *Keyring, typ, encoded string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.Sign(typ, raw)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestFormAttacks(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	good := o.mint(t, o.who)
	if _, err := o.verifier.Verify(good); err != nil { // and now it is cached
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	stray := func(s string) string { // sets a padding bit: the same bytes, spelt again
		const abc = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		return s[:len(s)-1] + string(abc[strings.IndexByte(abc, s[len(s)-1])|1])
	}
	if len(parts[2])%4 == 0 {
		t.Fatal("this signature has no padding bits")
	}
	cases := map[string]string{
		"empty":                "",
		"dots":                 "..",
		"word":                 "hello",
		"leading space":        " " + good,
		"trailing space":       good + " ",
		"trailing line break":  good + "\n",
		"line break inside":    good[:100] + "\n" + good[100:],
		"carriage return":      good[:100] + "\r" + good[100:],
		"break in signature":   good[:len(good)-5] + "\r\n" + good[len(good)-5:],
		"nul":                  good + "\x00",
		"trailing bytes":       good + "AAAA",
		"trailing segment":     good + ".",
		"two tokens":           good + "," + good,
		"padding":              good + "==",
		"standard alphabet":    strings.ReplaceAll(strings.ReplaceAll(good, "-", "+"), "_", "/") + "+",
		"stray signature bits": parts[0] + "." + parts[1] + "." + stray(parts[2]),
		"short signature":      good[:len(good)-4],
		"no payload":           parts[0] + ".." + parts[2],
		"swapped":              parts[1] + "." + parts[0] + "." + parts[2],
		"fullwidth dot":        strings.Replace(good, ".", "．", 1),
		"bad utf-8":            good[:50] + "\xc3\x28" + good[52:],
		"zero signature":       parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"max signature":        parts[0] + "." + parts[1] + "." + strings.Repeat("_", len(parts[2])-1) + "w",
		"long kid":             encodedHeader(typAccess, strings.Repeat("k", 4000)) + "." + parts[1] + "." + parts[2],
	}
	for name, token := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := o.verifier.Verify(token)
			wantRefusal(t, err, nil)
		})
	}
	for _, n := range []int{MaxToken + 1, 1 << 20} {
		_, err := o.verifier.Verify(good + strings.Repeat("A", n-len(good)))
		wantRefusal(t, err, ErrTooLong)
	}
	// With the good one remembered, no neighbour of it gets in.
	for i := range good {
		for _, c := range []byte{good[i] ^ 1, 'A', '_'} {
			if c == good[i] {
				continue
			}
			if _, err := o.verifier.Verify(good[:i] + string(rune(c)) + good[i+1:]); err == nil {
				t.Fatalf("byte %d changed to %q and accepted", i, c)
			}
		}
	}
}

func TestOversizeIsRefusedBeforeAnyWork(t *testing.T) {
	o := newOffice(t)
	huge := strings.Repeat("A", 1<<20)
	if n := testing.AllocsPerRun(100, func() { _, _ = o.verifier.verify(huge) }); n != 0 {
		t.Errorf("%v allocations for a token that is too long", n)
	}
	foreign := o.mint(t, o.who)
	if err := o.ring.Replace(testKeys()[1]); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = o.verifier.verify(foreign) }); n != 0 {
		t.Errorf("%v allocations for a token of an unknown key", n)
	}
}

func TestTimeIsCheckedOnEachUse(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	text := o.mint(t, o.who)
	o.advance(-Leeway)
	if _, err := o.verifier.Verify(text); err != nil {
		t.Fatalf("within the leeway of clocks: %v", err)
	}
	o.advance(-time.Second)
	_, err := o.verifier.Verify(text)
	wantRefusal(t, err, ErrNotYet)
	o.advance(Leeway + time.Second + 15*time.Minute - time.Second)
	if _, err := o.verifier.Verify(text); err != nil {
		t.Fatalf("in its last second: %v", err)
	}
	o.advance(time.Second)
	_, err = o.verifier.Verify(text)
	wantRefusal(t, err, ErrExpired)
}

func TestRotation(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	old, next := testKeys()[0], testKeys()[1]
	first := o.mint(t, o.who)
	check := func(step, token string, ok bool) {
		t.Helper()
		for range 2 {
			if _, err := o.verifier.Verify(token); (err == nil) != ok {
				t.Fatalf("%s: %v", step, err)
			}
		}
	}
	check("before", first, true)
	if err := o.ring.Replace(old, next.Public()); err != nil {
		t.Fatal(err)
	}
	check("the next key is announced", first, true)
	if err := o.ring.Replace(next, old.Public()); err != nil {
		t.Fatal(err)
	}
	second := o.mint(t, o.who)
	check("the old key is still trusted", first, true)
	check("the next key signs", second, true)
	if err := o.ring.Replace(next); err != nil {
		t.Fatal(err)
	}
	check("the old key is gone, though its token was remembered", first, false)
	check("the next key stays", second, true)
	if err := o.ring.Replace(SigningKey{}); err == nil {
		t.Fatal("took an empty key")
	}
	if err := o.ring.Replace(old, PublicKey{}); err == nil {
		t.Fatal("took an empty trusted key")
	}
	check("after refused changes", second, true)
	if ids := o.ring.KeyIDs(); len(ids) != 1 || ids[0] != next.Public().ID() {
		t.Errorf("trusted: %v", ids)
	}
}

func TestRotationWhileVerifying(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	keys := testKeys()
	a := o.mint(t, o.who)
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 300 {
				if _, err := o.verifier.Verify(a); err != nil {
					t.Errorf("a key that is always trusted: %v", err)
					return
				}
			}
		}()
	}
	for i := range 100 {
		if err := o.ring.Replace(keys[i%3], keys[0].Public()); err != nil {
			t.Error(err)
		}
	}
	for range 4 {
		<-done
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	c := newTokenCache(64)
	now := o.now().Unix()
	for i := range 5000 {
		c.put(fmt.Sprintf("%d.%d.%x", i, i, sha256.Sum256(fmt.Append(nil, i))), &verified{expires: now + int64(i)}, now+int64(i)/2)
		if n := c.len(); n > 64 {
			t.Fatalf("%d entries", n)
		}
	}
	if n := c.len(); n < 48 {
		t.Errorf("only %d of 64 places are used", n)
	}
	for _, tiny := range []string{"", "a", "ab", "abc", "abcd", "abcde"} {
		c.put(tiny, &verified{expires: now + 99999}, now)
		if c.get(tiny) == nil {
			t.Errorf("%q was not kept", tiny)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	for name, f := range map[string]func(*Grant){
		"no tenant":                    func(g *Grant) { g.Tenant = tenant.ID{} },
		"no subject":                   func(g *Grant) { g.Subject = "" },
		"subject with a quote":         func(g *Grant) { g.Subject = `x"y` },
		"no session":                   func(g *Grant) { g.Session = uuid.Nil },
		"no kind":                      func(g *Grant) { g.Kind = 0 },
		"anonymous":                    func(g *Grant) { g.Kind = policy.KindAnonymous },
		"operator outside the house":   func(g *Grant) { g.Kind = policy.KindOperator },
		"platform admin who is a user": func(g *Grant) { g.Roles = policy.NewRoleSet(policy.PlatformAdmin) },
		"agent without agent":          func(g *Grant) { g.Kind, g.Roles = policy.KindAgent, policy.NewRoleSet(policy.AgentRole) },
		"agent with a person's roles":  func(g *Grant) { g.Kind, g.Agent = policy.KindAgent, uuid.New() },
		"user with an agent":           func(g *Grant) { g.Agent = uuid.New() },
		"user with grants": func(g *Grant) {
			a, err := policy.ParseAction("agents.read")
			if err != nil {
				t.Fatal(err)
			}
			g.Grants = policy.NewActionSet(a)
		},
		"negative epoch": func(g *Grant) { g.Epoch = -1 },
		"negative life":  func(g *Grant) { g.TTL = -time.Minute },
		"too long":       func(g *Grant) { g.TTL = 24 * time.Hour },
		"bad client":     func(g *Grant) { g.Client = "a b" },
	} {
		g := o.who
		f(&g)
		if tok, err := o.minter.Mint(g); err == nil {
			t.Errorf("%s: minted %s", name, tok)
		}
	}
	for _, f := range []Profile{{}, {Issuer: "x", Audience: self}, {Issuer: self}, {Issuer: self, Audience: "a\x00b:c"},
		{Issuer: self, Audience: self, TTL: -1}, {Issuer: self, Audience: self, TTL: 3 * time.Hour}, {Issuer: `https://a"b`, Audience: self}} {
		if _, err := NewMinter(o.ring, f); err == nil {
			t.Errorf("took profile %+v", f)
		}
	}
}

func TestTokenIsNotPrinted(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	tok, err := o.minter.Mint(o.who)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(f, tok); strings.Contains(s, tok.Text[:40]) {
			t.Errorf("%s prints %s", f, s)
		}
	}
}

// nil2rand is no randomness at all; which salt PSS uses does not matter here.
type nil2rand struct{}

func (nil2rand) Read(p []byte) (int, error) { return len(p), nil }

// FuzzVerify: whatever is accepted is, byte for byte, what our key would sign for
// that payload, and the payload is what we would write.
func FuzzVerify(f *testing.F) {
	o := newOffice(f)
	good := o.mint(f, o.who)
	f.Add(good)
	f.Add("")
	f.Add("..")
	f.Add(good + "A")
	f.Add(strings.ToUpper(good))
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add(o.sign(f, `{"iss":"`+self+`"}`))
	f.Fuzz(func(t *testing.T, token string) {
		p, err := o.verifier.Verify(token)
		if err != nil {
			wantRefusal(t, err, nil)
			if !p.IsZero() {
				t.Fatal("a refusal with a principal")
			}
			return
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		if again := o.sign(t, string(payload)); again != token {
			t.Fatalf("accepted %q, which we did not sign", token)
		}
	})
}

// FuzzClaims: whatever the decoder takes encodes back to itself.
func FuzzClaims(f *testing.F) {
	o := newOffice(f)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(o.mint(f, o.who), ".")[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add([]byte(`{"iss":"a","aud":"b"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := decode(payload)
		if err != nil {
			return
		}
		again, err := c.encode()
		if err != nil || string(again) != string(payload) {
			t.Fatalf("%q became %q", payload, again)
		}
		p, err := c.principal()
		if err != nil {
			return
		}
		var m map[string]any
		if err := json.Unmarshal(payload, &m); err != nil {
			t.Fatal(err)
		}
		if m["tenant_id"] != p.Tenant.String() || m["sub"] != p.Subject || m["sid"] != p.Session.String() || m["kind"] != p.Kind.String() {
			t.Fatalf("%s read as %+v", payload, p)
		}
	})
}
