package api

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// house is for operations on the platform itself.
func house(x *gateway.Exchange, ready func() error) error {
	if err := x.DecideTenant(tenant.House); err != nil {
		return err
	}
	return ready()
}

func prefixOf(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, &fault.Error{Code: fault.Unprocessable, Detail: "not an address or network", Fields: []fault.Field{{Location: "body.prefix", Message: "want an address or CIDR network, as in 203.0.113.0/24"}}}
	}
	return a.Unmap().Prefix(a.Unmap().BitLen())
}

func (a *API) wellKnown() {
	a.plainRoute("/.well-known/jwks.json", "Keys that tokens verify with (RFC 7517)", policy.PublicWellknown, "probe", func(x *gateway.Exchange) {
		x.Writer.Header().Set("Content-Type", "application/jwk-set+json")
		x.Writer.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = x.Writer.Write(a.deps.JWKS())
	})
	a.plainRoute("/.well-known/oauth-authorization-server", "OAuth metadata (RFC 8414)", policy.PublicWellknown, "probe", func(x *gateway.Exchange) {
		iss, methods := a.deps.Issuer, []string{"client_secret_basic", "client_secret_post"}
		if a.deps.Auth != nil {
			methods = append(methods, "tls_client_auth")
		}
		writeJSON(x.Writer, http.StatusOK, map[string]any{
			"issuer": iss, "jwks_uri": iss + "/.well-known/jwks.json",
			"token_endpoint": iss + "/oauth/token", "revocation_endpoint": iss + "/oauth/revoke", "introspection_endpoint": iss + "/oauth/introspect",
			"grant_types_supported": []string{"client_credentials"}, "response_types_supported": []string{},
			"token_endpoint_auth_methods_supported":         methods,
			"introspection_endpoint_auth_methods_supported": methods,
			"tls_client_certificate_bound_access_tokens":    a.deps.Auth != nil,
		})
	})
	a.plainRoute("/.well-known/security.txt", "Where to report a weakness (RFC 9116)", policy.PublicWellknown, "probe", func(x *gateway.Exchange) {
		x.Writer.Header().Set("Content-Type", "text/plain; charset=utf-8")
		expires := time.Now().UTC().AddDate(0, 6, 0).Format("2006-01-02T00:00:00Z")
		fmt.Fprintf(x.Writer, "Contact: %s\nExpires: %s\nPreferred-Languages: en\nCanonical: %s/.well-known/security.txt\n", a.deps.Security, expires, a.deps.Issuer)
	})
}

// ErrDegraded is a dependency's that does not do all its work and keeps nobody
// from serving.
var ErrDegraded = errors.New("degraded")

// HealthView is what a probe learns: which dependency, never why.
type HealthView struct {
	Status string            `json:"status" enum:"ok,unavailable"`
	Checks map[string]string `json:"checks,omitempty"`
}

func (a *API) health() {
	ready := func(x *gateway.Exchange) {
		ctx, cancel := context.WithTimeout(x.Request.Context(), 2*time.Second)
		defer cancel()
		v, status := HealthView{Status: "ok", Checks: map[string]string{}}, http.StatusOK
		for name, err := range a.deps.Ready(ctx) {
			v.Checks[name] = "ok"
			if errors.Is(err, ErrDegraded) {
				v.Checks[name] = "degraded"
			} else if err != nil {
				v.Checks[name], v.Status, status = "unavailable", "unavailable", http.StatusServiceUnavailable
			}
		}
		writeJSON(x.Writer, status, v)
	}
	a.plainRoute("/health", "Whether the service and what it depends on answer", policy.PublicHealth, "probe", ready)
	a.plainRoute("/readyz", "Whether traffic may come here", policy.PublicHealth, "probe", ready)
	a.plainRoute("/livez", "Whether the process lives", policy.PublicHealth, "probe", func(x *gateway.Exchange) {
		writeJSON(x.Writer, http.StatusOK, HealthView{Status: "ok"})
	})
}

//go:embed docs.html
var docsPage []byte

//go:embed docs.js
var docsScript []byte

//go:embed docs.css
var docsStyle []byte

// docs is a page that loads nothing from outside: its script and style are
// ours, and its policy allows nothing else.
func (a *API) docs() {
	var spec []byte
	a.plainRoute("/openapi.json", "This description (OpenAPI 3.1)", policy.PublicDocs, "probe", func(x *gateway.Exchange) {
		x.Writer.Header().Set("Content-Type", "application/openapi+json")
		_, _ = x.Writer.Write(spec)
	})
	file := func(path, kind string, body []byte) {
		a.plainRoute(path, "The description as a page", policy.PublicDocs, "probe", func(x *gateway.Exchange) {
			h := x.Writer.Header()
			h.Set("Content-Type", kind)
			h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
			_, _ = x.Writer.Write(body)
		})
	}
	file("/docs", "text/html; charset=utf-8", docsPage)
	file("/docs/docs.js", "text/javascript; charset=utf-8", docsScript)
	file("/docs/docs.css", "text/css; charset=utf-8", docsStyle)
	var err error
	if spec, err = a.huma.OpenAPI().MarshalJSON(); err != nil {
		a.errs = append(a.errs, fmt.Errorf("write the OpenAPI document: %w", err))
	}
}
