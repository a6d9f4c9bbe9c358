package authn

import (
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

func TestMintVerifySmoke(t *testing.T) {
	k, err := GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	ring, _ := NewKeyring(k)
	f := Profile{Issuer: "https://a.example", Audience: "https://a.example"}
	m, err := NewMinter(ring, f)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := NewVerifier(ring, f, 0)
	tok, err := m.Mint(Grant{Tenant: tenant.NewID(), Subject: "u1", Kind: policy.KindUser, Roles: policy.NewRoleSet(policy.Viewer), Session: uuid.New()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := v.Verify(tok.Text)
	t.Logf("%d %+v %v", len(tok.Text), p, err)
	if err != nil || time.Until(p.Expiry) > 16*time.Minute {
		t.Fatal(err)
	}
}

func BenchmarkVerify(b *testing.B) {
	k, _ := GenerateSigningKey()
	ring, _ := NewKeyring(k)
	f := Profile{Issuer: "https://a.example", Audience: "https://a.example"}
	m, _ := NewMinter(ring, f)
	v, _ := NewVerifier(ring, f, 0)
	tok, _ := m.Mint(Grant{Tenant: tenant.NewID(), Subject: "u1", Kind: policy.KindUser, Roles: policy.NewRoleSet(policy.Viewer), Session: uuid.New()})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.Verify(tok.Text)
		}
	})
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.read(ring.set.Load(), tok.Text)
		}
	})
}
