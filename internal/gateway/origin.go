package gateway

import (
	"net/http"
	"slices"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// crossOrigin answers a browser's question whether a page of another origin may
// call us (Fetch standard, CORS protocol). Only listed origins may; credentials
// travel in the Authorization header, so cookies are never allowed across.
func (g *Gateway) crossOrigin(x *Exchange) (answered bool, err error) {
	origin := x.Request.Header.Get("Origin")
	if origin == "" {
		return false, nil
	}
	h := x.Writer.Header()
	h.Add("Vary", "Origin")
	preflight := x.Request.Method == http.MethodOptions && x.Request.Header.Get("Access-Control-Request-Method") != ""
	if !slices.Contains(g.cfg.Origins, origin) {
		if preflight {
			return true, fault.New(fault.Forbidden, "this origin is not allowed")
		}
		return false, nil // the browser keeps the answer from the page
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Access-Control-Expose-Headers", "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, ETag, Location")
	if !preflight {
		return false, nil
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, X-Request-Id, Traceparent")
	h.Set("Access-Control-Max-Age", "600")
	x.settled = true
	x.Writer.WriteHeader(http.StatusNoContent)
	return true, nil
}
