package policy

import (
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// embedded is the engine that ships.
func embedded(t testing.TB) *Engine {
	t.Helper()
	e, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEmbeddedLoads(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	d := e.Decide(Subject{Tenant: tryTenant, ID: "u", Kind: KindUser, Roles: NewRoleSet(Viewer)}, AgentsRead, Resource{Tenant: tryTenant})
	if !d.Allowed || d.Reason != "viewer" || d.Hash != e.Hash() || len(d.Hash) != 64 {
		t.Fatalf("decision %+v", d)
	}
}

func BenchmarkDecide(b *testing.B) {
	e := embedded(b)
	id := tenant.NewID()
	cases := []struct {
		name string
		s    Subject
		a    Action
		r    Resource
	}{
		{"developer", Subject{Tenant: id, ID: "u", Kind: KindUser, Roles: NewRoleSet(Developer)}, MemoriesRead, Resource{Tenant: id, Kind: "memory", ID: "m"}},
		{"agent_model", Subject{Tenant: id, ID: "u", Kind: KindAgent, Agent: tryAgent, Roles: NewRoleSet(AgentRole), Models: []string{"a", "b", "c"}}, ModelsCall, Resource{Tenant: id, Model: "c"}},
		{"refused", Subject{Tenant: id, ID: "u", Kind: KindUser, Roles: NewRoleSet(Viewer)}, MemoriesDelete, Resource{Tenant: id, Kind: "memory", ID: "m"}},
	}
	for _, c := range cases {
		b.Run(c.name+"/compiled", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Decide(c.s, c.a, c.r)
			}
		})
		b.Run(c.name+"/cedar", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.ask(&c.s, c.a, &c.r)
			}
		})
	}
}
