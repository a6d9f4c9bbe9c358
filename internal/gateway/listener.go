package gateway

import (
	"context"
	"net/http"

	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// administration marks the connections of the administration's listener. The
// key is private, so nothing a client sends can put it there.
type administration struct{}

// Administration is a server's base context for the listener on which platform
// operators are served; see Config.ApartAdmin.
func Administration(ctx context.Context) context.Context {
	return context.WithValue(ctx, administration{}, true)
}

// elsewhere says whether a route is served on the other listener alone. It is
// then not there: a stranger does not learn that there is an administration.
func (g *Gateway) elsewhere(route *Route, r *http.Request) bool {
	return g.cfg.ApartAdmin && route.Action.Audience() == policy.ForPlatform && r.Context().Value(administration{}) == nil
}
