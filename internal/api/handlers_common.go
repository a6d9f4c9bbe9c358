package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// loginNoted tells the exchange of a login that failed and is on record.
func loginNoted(x *gateway.Exchange, err error) error {
	var failed *identity.Failed
	if errors.As(err, &failed) {
		x.Settle()
		x.LoginFailed(failed.Account)
	}
	return err
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v) // escapes <, > and &
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// plainRoute registers a handler that is not typed JSON, and describes it.
func (a *API) plainRoute(path, summary string, action policy.Action, class string, h func(*gateway.Exchange)) {
	c, err := a.deps.Tiers.Table().Class(class)
	if err == nil {
		err = a.routes.Handle(gateway.Route{Method: "GET", Pattern: path, Action: action, Class: c}, h)
	}
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	a.describe("GET", path, summary, action, class)
}

// describe adds a route to the OpenAPI document that the library did not make.
func (a *API) describe(method, path, summary string, action policy.Action, class string) {
	o := &huma.Operation{
		OperationID: method + path, Method: method, Path: path, Summary: summary,
		Extensions: map[string]any{"x-openclaw-action": action.String(), "x-openclaw-limit": class},
		Responses:  map[string]*huma.Response{"200": {Description: "OK"}},
	}
	if action.Audience() != policy.ForPublic {
		o.Security = []map[string][]string{{"bearer": {}}}
	}
	a.huma.OpenAPI().AddOperation(o)
}

// settled answers for a change without an answer, which its owner has recorded.
func settled(x *gateway.Exchange, err error) (*Empty, error) {
	if err == nil {
		x.Settle()
	}
	return nil, err
}

// settleUnlessReplayed: a kept answer changed nothing, so it is on record as
// the read that it is.
func settleUnlessReplayed(x *gateway.Exchange) {
	if x.Writer.Header().Get("Idempotent-Replayed") == "" {
		x.Settle()
	}
}
