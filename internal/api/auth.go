package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// TokenBody is an RFC 6749 section 5.1 token answer with what a login adds.
type TokenBody struct {
	AccessToken  string   `json:"access_token"`
	TokenType    string   `json:"token_type" enum:"Bearer"`
	ExpiresIn    int64    `json:"expires_in" doc:"Seconds"`
	RefreshToken string   `json:"refresh_token,omitempty"`
	TenantID     string   `json:"tenant_id,omitempty"`
	UserID       string   `json:"user_id,omitempty"`
	Roles        []string `json:"roles,omitempty"`
	MustChange   bool     `json:"password_change_required,omitempty" doc:"The token opens nothing but PUT /v1/me/password"`
}

func (a *API) tokenBody(t identity.Tokens) TokenBody {
	b := TokenBody{AccessToken: t.Access, TokenType: "Bearer", ExpiresIn: int64(time.Until(t.Expires).Round(time.Second) / time.Second),
		RefreshToken: t.Refresh, Roles: t.Roles, MustChange: t.MustChange}
	if t.Refresh != "" {
		b.TenantID, b.UserID = t.Tenant.ID.String(), t.Subject.String()
	}
	return b
}

// LoginBody names a person.
type LoginBody struct {
	Tenant   string `json:"tenant,omitempty" maxLength:"100" doc:"Name or id; may be left out where the address belongs to one tenant only" example:"acme"`
	Email    string `json:"email" minLength:"3" maxLength:"254" example:"admin@acme.example"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// RefreshBody carries a refresh token.
type RefreshBody struct {
	RefreshToken string `json:"refresh_token" minLength:"1" maxLength:"200"`
}

func (a *API) auth() {
	register(a, op{method: "POST", path: "/v1/auth/login", id: "login", summary: "Exchange a password for tokens", action: policy.PublicLogin, class: "login", maxBody: 8 << 10, opaque: []string{"/password"}},
		func(ctx context.Context, x *gateway.Exchange, in *struct{ Body LoginBody }) (*Out[TokenBody], error) {
			t, err := a.deps.Identity.Login(ctx, caller(x), in.Body.Tenant, in.Body.Email, in.Body.Password)
			if err != nil {
				return nil, err
			}
			return &Out[TokenBody]{a.tokenBody(t)}, nil
		})
	register(a, op{method: "POST", path: "/v1/auth/refresh", id: "refresh", summary: "Spend a refresh token for new tokens", action: policy.PublicRefresh, class: "login", maxBody: 8 << 10, opaque: []string{"/refresh_token"}},
		func(ctx context.Context, x *gateway.Exchange, in *struct{ Body RefreshBody }) (*Out[TokenBody], error) {
			t, err := a.deps.Identity.Refresh(ctx, caller(x), in.Body.RefreshToken)
			if err != nil {
				return nil, err
			}
			return &Out[TokenBody]{a.tokenBody(t)}, nil
		})
	register(a, op{method: "POST", path: "/v1/auth/logout", id: "logout", summary: "End this session on every replica", action: policy.SelfLogout, class: "write", status: http.StatusNoContent},
		func(ctx context.Context, x *gateway.Exchange, _ *struct{}) (*Empty, error) {
			subject, err := uuid.Parse(x.Principal.Subject)
			if err != nil {
				return nil, err
			}
			return settled(x, a.deps.Identity.Logout(ctx, x.Room, changed(x), x.Principal.Session, subject))
		})
}

// oauth are the form-encoded endpoints of the OAuth RFCs. They check their own
// client credentials, so their route is public and says so.
func (a *API) oauth() {
	for _, e := range []struct {
		path   string
		handle func(*gateway.Exchange, url.Values) (any, error)
	}{
		{"/oauth/token", a.oauthToken},
		{"/oauth/revoke", a.oauthRevoke},
		{"/oauth/introspect", a.oauthIntrospect},
	} {
		class, err := a.deps.Tiers.Table().Class("login")
		if err != nil {
			a.errs = append(a.errs, err)
			return
		}
		route := gateway.Route{Method: "POST", Pattern: e.path, Action: policy.PublicOAuth, Class: class, MaxBody: 16 << 10}
		if err := a.routes.Handle(route, func(x *gateway.Exchange) {
			form, err := readForm(x.Request)
			var body any
			if err == nil {
				body, err = e.handle(x, form)
			}
			if err != nil {
				x.Refuse(loginNoted(x, err))
				return
			}
			x.Settle()
			writeJSON(x.Writer, http.StatusOK, body)
		}); err != nil {
			a.errs = append(a.errs, err)
		}
		a.describe("POST", e.path, "OAuth 2.1 endpoint, form-encoded", policy.PublicOAuth, "login")
	}
}

// readForm takes application/x-www-form-urlencoded and no parameter twice (RFC
// 6749 section 3.1).
func readForm(r *http.Request) (url.Values, error) {
	if ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(ct), "application/x-www-form-urlencoded") {
		return nil, fault.New(fault.MediaType, "want application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, fault.New(fault.Invalid, "parameters belong in the body")
	}
	if err := r.ParseForm(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the form is not readable")
	}
	for k, v := range r.PostForm {
		if len(v) != 1 {
			return nil, fault.New(fault.Invalid, "parameter %q is given more than once", bounded(k))
		}
	}
	return r.PostForm, nil
}

// client reads client credentials from Basic or from the form, not from both
// (RFC 6749 section 2.3).
func client(x *gateway.Exchange, form url.Values) (id, secret string, err error) {
	user, pass, basic := x.Request.BasicAuth()
	if !basic {
		return form.Get("client_id"), form.Get("client_secret"), nil
	}
	if form.Has("client_secret") {
		return "", "", fault.New(fault.Invalid, "client credentials in the header and in the body")
	}
	if id, err = url.QueryUnescape(user); err == nil {
		secret, err = url.QueryUnescape(pass)
	}
	if err != nil {
		return "", "", fault.New(fault.Unauthorized, "the credential is not valid")
	}
	return id, secret, nil
}

// prove proves an OAuth client: by its secret, or, when it sends its client_id
// and no secret, by the client certificate of its connection (RFC 8705 section
// 2.1, tls_client_auth). thumbprint is the certificate's in the second case,
// and zero in the first.
func (a *API) prove(x *gateway.Exchange, form url.Values) (room plane.Room, s identity.ServiceAccount, thumbprint [32]byte, err error) {
	ctx := x.Request.Context()
	id, secret, err := client(x, form)
	if err != nil {
		return room, s, thumbprint, err
	}
	if _, _, basic := x.Request.BasicAuth(); basic || form.Has("client_secret") || a.deps.Auth == nil || x.Request.TLS == nil || len(x.Request.TLS.PeerCertificates) == 0 {
		room, s, err = a.deps.Identity.Client(ctx, caller(x), id, secret)
		return room, s, thumbprint, err
	}
	p, err := a.deps.Auth.Authenticate(ctx, authn.Request{TLS: x.Request.TLS})
	if code := fault.CodeOf(err); code == fault.Unauthorized || code == fault.Suspended {
		return room, s, thumbprint, a.deps.Identity.CertificateRefused(ctx, caller(x), id, cmp.Or(authn.Reason(err), string(code)))
	}
	if err != nil {
		return room, s, thumbprint, err
	}
	room, s, err = a.deps.Identity.CertifiedClient(ctx, caller(x), id, p)
	return room, s, p.Thumbprint, err
}

// oauthToken is the client credentials grant (RFC 6749 section 4.4). There is
// no refresh token: the credential is one. A client proved by its certificate
// gets a token that is worth nothing without the certificate's key (RFC 8705
// section 3).
func (a *API) oauthToken(x *gateway.Exchange, form url.Values) (any, error) {
	if g := form.Get("grant_type"); g != "client_credentials" {
		return nil, fault.New(fault.Invalid, "grant_type: want client_credentials (people use /v1/auth/login)")
	}
	room, s, thumbprint, err := a.prove(x, form)
	if err != nil {
		return nil, err
	}
	t, err := a.deps.Identity.OpenAccount(x.Request.Context(), caller(x), room, s, thumbprint)
	if err != nil {
		return nil, err
	}
	return a.tokenBody(t), nil
}

// oauthRevoke: whoever holds a token may end it; the token itself is the proof.
func (a *API) oauthRevoke(x *gateway.Exchange, form url.Values) (any, error) {
	token := form.Get("token")
	if token == "" {
		return nil, fault.New(fault.Invalid, "token: missing")
	}
	return struct{}{}, a.deps.Identity.Revoke(x.Request.Context(), caller(x), token)
}

// Introspection is RFC 7662 section 2.2.
type Introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	TenantID  string   `json:"tenant_id,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	ExpiresAt int64    `json:"exp,omitempty"`
	Confirm   *Confirm `json:"cnf,omitempty"`
}

// Confirm says which certificate a token is bound to (RFC 8705 section 3.2).
type Confirm struct {
	Thumbprint string `json:"x5t#S256"`
}

func (a *API) oauthIntrospect(x *gateway.Exchange, form url.Values) (any, error) {
	room, _, _, err := a.prove(x, form)
	if err != nil {
		return nil, err
	}
	p, err := a.deps.Identity.Inspect(x.Request.Context(), form.Get("token"))
	if err != nil || p.Tenant != room.Scope().ID() {
		return Introspection{}, nil
	}
	out := Introspection{
		Active: true, Subject: p.Subject, TenantID: p.Tenant.String(), Roles: p.Roles.Names(),
		Scope: strings.Join(p.Grants.Names(), " "), ExpiresAt: p.Expiry.Unix(),
	}
	if p.Thumbprint != [32]byte{} {
		out.Confirm = &Confirm{base64.RawURLEncoding.EncodeToString(p.Thumbprint[:])}
	}
	return out, nil
}
