package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// The short way to a door finds what the mux finds, for paths in any spelling.
func TestFind(t *testing.T) {
	t.Parallel()
	class := must[quota.Class](t)(quota.DefaultTable().Class("write"))
	table := func(patterns ...string) *Routes {
		routes := NewRoutes()
		for _, p := range patterns {
			if err := routes.Handle(Route{Method: "GET", Pattern: p, Action: policy.AgentsRead, Class: class}, func(*Exchange) {}); err != nil {
				t.Fatal(err)
			}
		}
		return routes
	}
	narrow := []string{"/livez", "/v1/agents", "/v1/agents/{id}", "/v1/agents/{id}/runs/", "/.well-known/jwks.json"}
	for name, routes := range map[string]*Routes{
		"narrow": table(narrow...), "wild": table(append(narrow, "/v1/{kind}")...), "below": table(append(narrow, "/docs/")...),
		"root": table(append(narrow, "/{$}")...), "all": table(append(narrow, "/")...), "escaped": table(append(narrow, "/v%31/tools")...),
	} {
		if routes.anywhere != (name != "narrow") {
			t.Errorf("%s: anywhere is %t", name, routes.anywhere)
		}
		for _, path := range []string{
			"/", "/livez", "/livez/", "//livez", "/live", "/v1", "/v1/", "/v1/agents", "/v1/agents/", "/v1/agents/a", "/v1/agents/a/runs/b/c", "/v1/agentsx",
			"/v1//agents", "/%761/agents", "/v1/%61gents", "/v1/agents%2fa", "/v1/agents/a%2fb", "/v1/./agents", "/x/../v1/agents", "/v1/x/x", "/docs/a/b", "/v1/tools",
			"/.well-known/jwks.json", "/v1/echo?n=1", "/v%31/agents/a",
		} {
			for _, method := range []string{"GET", "POST", "CONNECT"} {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Method = method
				h, _ := routes.mux.Handler(r)
				want, _ := h.(*door)
				if got := routes.find(r); got != want {
					t.Errorf("%s: %s %s: got %v, the mux %v", name, method, path, got, want)
				}
			}
		}
	}
}
