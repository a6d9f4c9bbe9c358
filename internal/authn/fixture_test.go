package authn

import (
	"crypto/rand"
	"crypto/rsa"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock stands still until it is told to move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// Making RSA keys is slow and what they are does not matter: three for all tests.
var testKeys = sync.OnceValue(func() [3]SigningKey {
	var keys [3]SigningKey
	for i := range keys {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		if keys[i], err = NewSigningKey(k); err != nil {
			panic(err)
		}
	}
	return keys
})

const self = "https://openclaw.example"

// office mints and verifies with one key and one clock.
type office struct {
	*clock
	key      SigningKey
	ring     *Keyring
	minter   *Minter
	verifier *Verifier
	who      Grant
}

func newOffice(t testing.TB) *office {
	t.Helper()
	o := &office{clock: newClock(), key: testKeys()[0]}
	f := Profile{Issuer: self, Audience: self + "/v1", Now: o.now}
	var err error
	if o.ring, err = NewKeyring(o.key); err != nil {
		t.Fatal(err)
	}
	if o.minter, err = NewMinter(o.ring, f); err != nil {
		t.Fatal(err)
	}
	if o.verifier, err = NewVerifier(o.ring, f, 0); err != nil {
		t.Fatal(err)
	}
	o.who = Grant{
		Tenant: tenant.NewID(), Subject: uuid.NewString(), Kind: policy.KindUser,
		Roles: policy.NewRoleSet(policy.Developer, policy.Viewer), Session: uuid.New(), Epoch: 7,
	}
	return o
}

func (o *office) mint(t testing.TB, g Grant) string {
	t.Helper()
	tok, err := o.minter.Mint(g)
	if err != nil {
		t.Fatal(err)
	}
	return tok.Text
}

// sign signs any payload as an access token with the trusted key.
func (o *office) sign(t testing.TB, payload string) string {
	t.Helper()
	text, err := o.ring.set.Load().sign(typAccess, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// wantRefusal checks that a client learns nothing but no.
func wantRefusal(t *testing.T, err error, cause error) {
	t.Helper()
	f, ok := err.(*fault.Error)
	if !ok {
		t.Fatalf("got %v, want a refusal", err)
	}
	if f.Code != fault.Unauthorized || f.Detail != detail || f.Fields != nil || f.RetryAfter != 0 {
		t.Errorf("the refusal tells more than no: %+v", f)
	}
	if cause != nil && f.Cause == nil {
		t.Fatal("the record learns nothing")
	}
	if cause != nil && !isCause(err, cause) {
		t.Errorf("refused because of %v, want %v", f.Cause, cause)
	}
	if Reason(err) == "" {
		t.Errorf("no reason for %v", f.Cause)
	}
}
