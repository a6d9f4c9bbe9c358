package authn

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// phonebook knows the accounts of certificates.
type phonebook struct {
	mu    sync.Mutex
	known map[Name]Account
	err   error
}

func (b *phonebook) set(n Name, a Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil {
		b.known = make(map[Name]Account)
	}
	b.known[n] = a
}

func (b *phonebook) AccountByName(_ context.Context, n Name) (Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return Account{}, b.err
	}
	a, ok := b.known[n]
	if !ok {
		return Account{}, fault.New(fault.NotFound, "no such account")
	}
	return a, nil
}

// gate is everything between a connection and a Principal, without the sockets.
type gate struct {
	*office
	root  *authority
	store *register
	book  *phonebook
	certs *ClientCerts
	guard *Guard
	auth  *Authenticator

	caFile, crlFile string
}

const billing = "spiffe://example.org/service/billing"

func newGate(t testing.TB) *gate {
	t.Helper()
	g := &gate{office: newOffice(t), store: &register{}, book: &phonebook{}}
	g.root = newAuthority(t, g.clock, "root", nil)
	g.caFile, g.crlFile = inTemp(t, "ca.pem"), inTemp(t, "crl.pem")
	write(t, g.clock, g.caFile, encodeCert(g.root.cert))
	write(t, g.clock, g.crlFile, g.root.crl(t, 1, nil))
	g.certs = openCerts(t, g.clock, g.caFile, g.crlFile, RefuseStale)
	g.guard = newGuard(t, g.store, GuardConfig{Now: g.now})
	var err error
	if g.auth, err = NewAuthenticator(g.verifier, g.guard, g.certs, g.book); err != nil {
		t.Fatal(err)
	}
	g.stands(g.who.Tenant, g.who.Subject, g.who.Session, g.who.Epoch)
	return g
}

func (g *gate) stands(id tenant.ID, subject string, session uuid.UUID, epoch int64) {
	g.store.set(standingKey{id, subject, session}, Standing{TenantActive: true, SubjectActive: true, Epoch: epoch})
}

func (g *gate) account(id tenant.ID) Account {
	read, _ := policy.ParseAction("agents.read")
	return Account{Tenant: id, Subject: uuid.NewString(), Kind: policy.KindService, Roles: policy.NewRoleSet(policy.ServiceAccount), Grants: policy.NewActionSet(read)}
}

func TestAuthorizationHeader(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	token := g.mint(t, g.who)
	for name, c := range map[string]struct {
		values []string
		cause  error // nil: accepted
	}{
		"bearer":              {[]string{"Bearer " + token}, nil},
		"lower case":          {[]string{"bearer " + token}, nil},
		"mixed case":          {[]string{"bEaReR " + token}, nil},
		"none":                {nil, ErrNoCredential},
		"empty list":          {[]string{}, ErrNoCredential},
		"empty value":         {[]string{""}, ErrScheme},
		"twice the same":      {[]string{"Bearer " + token, "Bearer " + token}, ErrScheme},
		"good and basic":      {[]string{"Bearer " + token, "Basic eDp5"}, ErrScheme},
		"joined by a comma":   {[]string{"Bearer " + token + ", Bearer " + token}, ErrForm},
		"token alone":         {[]string{token}, ErrScheme},
		"scheme alone":        {[]string{"Bearer"}, ErrScheme},
		"scheme and space":    {[]string{"Bearer "}, ErrScheme},
		"two spaces":          {[]string{"Bearer  " + token}, ErrScheme},
		"tab":                 {[]string{"Bearer\t" + token}, ErrScheme},
		"leading space":       {[]string{" Bearer " + token}, ErrScheme},
		"trailing space":      {[]string{"Bearer " + token + " "}, ErrForm},
		"trailing words":      {[]string{"Bearer " + token + " realm=x"}, ErrForm},
		"line break":          {[]string{"Bearer " + token + "\r\nX-User: root"}, ErrForm},
		"quotes":              {[]string{`Bearer "` + token + `"`}, ErrForm},
		"basic":               {[]string{"Basic " + token}, ErrScheme},
		"dpop":                {[]string{"DPoP " + token}, ErrScheme},
		"bearer with a colon": {[]string{"Bearer: " + token}, ErrScheme},
		"long s":              {[]string{"Bearer\u017f " + token}, ErrScheme},
		"nul":                 {[]string{"Bearer \x00" + token}, ErrForm},
		"megabyte":            {[]string{"Bearer " + strings.Repeat("A", 1<<20)}, ErrTooLong},
		"a thousand":          {make([]string, 1000), ErrScheme},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := g.auth.Authenticate(context.Background(), Request{Authorization: c.values})
			if c.cause != nil {
				wantRefusal(t, err, c.cause)
				if !p.IsZero() {
					t.Error("a refusal with a principal")
				}
				return
			}
			if err != nil || p.Subject != g.who.Subject || p.Method != ByToken {
				t.Errorf("%+v %v", p, err)
			}
		})
	}
}

func TestRevokedSessionIsOut(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	r := Request{Authorization: []string{"Bearer " + g.mint(t, g.who)}}
	if _, err := g.auth.Authenticate(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	g.store.set(standingKey{g.who.Tenant, g.who.Subject, g.who.Session}, Standing{TenantActive: true, SubjectActive: true, SessionRevoked: true, Epoch: g.who.Epoch})
	g.guard.Forget(g.who.Tenant, g.who.Subject, g.who.Session)
	_, err := g.auth.Authenticate(context.Background(), r)
	wantRefusal(t, err, ErrSession)
}

func TestBoundToken(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	mine, thiefs := g.root.client(t, billing), g.root.client(t, "spiffe://example.org/thief")
	who := g.who
	who.Thumbprint = sha256.Sum256(mine.Leaf.Raw)
	bound, free := []string{"Bearer " + g.mint(t, who)}, []string{"Bearer " + g.mint(t, g.who)}
	for name, c := range map[string]struct {
		r     Request
		cause error
		want  Method
	}{
		"with its key":               {Request{bound, state(mine)}, nil, ByBoundToken},
		"stolen, no certificate":     {Request{bound, &tls.ConnectionState{HandshakeComplete: true}}, ErrBinding, ""},
		"stolen, without tls":        {Request{bound, nil}, ErrBinding, ""},
		"stolen, with another key":   {Request{bound, state(thiefs)}, ErrBinding, ""},
		"stolen, mine second":        {Request{bound, state(thiefs, mine)}, ErrBinding, ""},
		"free token":                 {Request{free, nil}, nil, ByToken},
		"free token, a certificate":  {Request{free, state(thiefs)}, nil, ByToken},
		"a certificate, no account":  {Request{nil, state(thiefs)}, ErrNoAccount, ""},
		"bad header, a certificate":  {Request{[]string{"Basic x"}, state(mine)}, ErrScheme, ""},
		"free token, foreign CA":     {Request{free, state(newAuthority(t, g.clock, "x", nil).client(t, billing))}, ErrCertificate, ""},
		"free token, server's chain": {Request{free, state(asCert(g.root))}, ErrCertificate, ""},
	} {
		p, err := g.auth.Authenticate(context.Background(), c.r)
		if c.cause != nil {
			t.Run(name, func(t *testing.T) { wantRefusal(t, err, c.cause) })
			continue
		}
		if err != nil || p.Method != c.want || p.PolicySubject().AdminChannel != (c.want != ByToken) || (p.Thumbprint != [32]byte{}) != (c.want == ByBoundToken) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	// Without client certificates at all, a bound token opens nothing.
	plain, err := NewAuthenticator(g.verifier, g.guard, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = plain.Authenticate(context.Background(), Request{bound, state(mine)})
	wantRefusal(t, err, ErrBinding)
	// With its certificate revoked, neither does it.
	write(t, g.clock, g.crlFile, g.root.crl(t, 2, []tls.Certificate{mine}))
	for _, header := range [][]string{bound, free, nil} {
		_, err = g.auth.Authenticate(context.Background(), Request{header, state(mine)})
		wantRefusal(t, err, ErrRevoked)
	}
}

func TestByCertificate(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	ctx := context.Background()
	acct := g.account(tenant.NewID())
	op := Account{Tenant: tenant.House, Subject: "op-1", Kind: policy.KindOperator, Roles: policy.NewRoleSet(policy.PlatformAdmin)}
	g.book.set(billing, acct)
	g.book.set("ops.example.org", op)
	g.book.set("spiffe://example.org/user", Account{Tenant: acct.Tenant, Subject: "u", Kind: policy.KindUser, Roles: policy.NewRoleSet(policy.TenantAdmin)})
	g.book.set("spiffe://example.org/agent", Account{Tenant: acct.Tenant, Subject: "u", Kind: policy.KindAgent, Roles: policy.NewRoleSet(policy.AgentRole)})
	g.book.set("spiffe://example.org/confused", Account{Tenant: acct.Tenant, Subject: "u", Kind: policy.KindOperator, Roles: policy.NewRoleSet(policy.PlatformAdmin)})
	g.book.set("spiffe://example.org/empty", Account{})
	g.book.set("spiffe://example.org/gone", g.account(acct.Tenant))
	g.stands(acct.Tenant, acct.Subject, uuid.Nil, 12)
	g.stands(tenant.House, "op-1", uuid.Nil, 0)

	cert := g.root.client(t, billing)
	p, err := g.auth.Authenticate(ctx, Request{TLS: state(cert)})
	want := Principal{Tenant: acct.Tenant, Subject: acct.Subject, Kind: acct.Kind, Roles: acct.Roles, Grants: acct.Grants,
		Expiry: cert.Leaf.NotAfter, Method: ByCert, Thumbprint: sha256.Sum256(cert.Leaf.Raw)}
	if err != nil || p != want {
		t.Errorf("got  %+v %v\nwant %+v", p, err, want)
	}
	byDNS := func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"OPS.example.org"} }
	if p, err := g.auth.Authenticate(ctx, Request{TLS: state(g.root.client(t, "spiffe://x/y", byDNS))}); err != nil || p.Kind != policy.KindOperator || !p.PolicySubject().AdminChannel {
		t.Errorf("operator: %+v %v", p, err)
	}
	for id, cause := range map[string]error{
		"spiffe://example.org/user": ErrNoAccount, "spiffe://example.org/agent": ErrNoAccount, "spiffe://example.org/confused": ErrNoAccount,
		"spiffe://example.org/empty": ErrNoAccount, "spiffe://example.org/stranger": ErrNoAccount, "spiffe://example.org/gone": ErrSubject,
		"https://example.org/a": ErrCertificate,
	} {
		_, err := g.auth.Authenticate(ctx, Request{TLS: state(g.root.client(t, id))})
		t.Run(id, func(t *testing.T) { wantRefusal(t, err, cause) })
	}

	// What the account may do, and whether it stands, is asked anew.
	acct.Grants = policy.ActionSet{}
	g.book.set(billing, acct)
	g.auth.ForgetAccount(billing)
	if p, err := g.auth.Authenticate(ctx, Request{TLS: state(cert)}); err != nil || p.Grants.Len() != 0 {
		t.Errorf("changed grants: %+v %v", p, err)
	}
	g.store.set(standingKey{acct.Tenant, acct.Subject, uuid.Nil}, Standing{TenantActive: true})
	g.advance(500 * time.Millisecond)
	_, err = g.auth.Authenticate(ctx, Request{TLS: state(cert)})
	wantRefusal(t, err, ErrSubject)
	g.book.mu.Lock()
	g.book.err = errors.New("away")
	g.book.mu.Unlock()
	g.advance(500 * time.Millisecond)
	if _, err = g.auth.Authenticate(ctx, Request{TLS: state(cert)}); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("with the store away: %v", err)
	}
}

func TestAuthenticatorConfig(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	for name, f := range map[string]func() (*Authenticator, error){
		"no tokens":   func() (*Authenticator, error) { return NewAuthenticator(nil, g.guard, nil, nil) },
		"no guard":    func() (*Authenticator, error) { return NewAuthenticator(g.verifier, nil, nil, nil) },
		"no accounts": func() (*Authenticator, error) { return NewAuthenticator(g.verifier, g.guard, g.certs, nil) },
		"no certs":    func() (*Authenticator, error) { return NewAuthenticator(g.verifier, g.guard, nil, g.book) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("took %s", name)
		}
	}
}

// Whatever two headers say, at most one exact spelling of a good token gets in.
func FuzzBearer(f *testing.F) {
	g := newGate(f)
	token := g.mint(f, g.who)
	f.Add("Bearer "+token, "", false)
	f.Add("bearer "+token, "Bearer x", true)
	f.Add("Bearer  "+token, "", false)
	f.Add("Bearer "+token[:len(token)-1], "", false)
	f.Fuzz(func(t *testing.T, first, second string, two bool) {
		values := []string{first}
		if two {
			values = append(values, second)
		}
		p, err := g.auth.Authenticate(context.Background(), Request{Authorization: values})
		if err == nil {
			if two || p.Subject != g.who.Subject || len(first) != len("Bearer ")+len(token) || first[7:] != token || !strings.EqualFold(first[:7], "bearer ") {
				t.Fatalf("accepted %q", values)
			}
			return
		}
		wantRefusal(t, err, nil)
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	g := newGate(b)
	cert := g.root.client(b, billing)
	acct := g.account(tenant.NewID())
	g.book.set(billing, acct)
	g.stands(acct.Tenant, acct.Subject, uuid.Nil, 0)
	who := g.who
	who.Thumbprint = sha256.Sum256(cert.Leaf.Raw)
	ctx := context.Background()
	forged := g.mint(b, g.who)
	for name, r := range map[string]Request{
		"token": {Authorization: []string{"Bearer " + g.mint(b, g.who)}}, "bound token": {Authorization: []string{"Bearer " + g.mint(b, who)}, TLS: state(cert)},
		"certificate": {TLS: state(cert)}, "garbage": {Authorization: []string{"Bearer " + strings.Repeat("A", MaxToken)}},
		"forged": {Authorization: []string{"Bearer " + forged[:len(forged)-100] + strings.Repeat("A", 100)}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = g.auth.Authenticate(ctx, r)
			}
		})
	}
	token := g.mint(b, g.who)
	b.Run("verify cold", func(b *testing.B) {
		b.ReportAllocs()
		set := g.ring.set.Load()
		for b.Loop() {
			_, _ = g.verifier.read(set, token)
		}
	})
	b.Run("verify cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = g.verifier.Verify(token)
		}
	})
	b.Run("mint", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = g.minter.Mint(g.who)
		}
	})
}
