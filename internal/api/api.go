// Package api is the JSON API: code first, OpenAPI 3.1 at /openapi.json.
//
// Each operation names its policy action and its limit class where it is
// registered; the gateway's stages have passed before a handler runs, and a
// handler gets the exchange (who asks, in which room) as an argument.
package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// Deps is what the handlers need beside the exchange.
type Deps struct {
	Identity *identity.Service
	Tenants  identity.TenantStore
	Keeping  identity.KeepingStore
	Tiers    *quota.Tiers
	Limiter  quota.Limiter // nil: switched off
	Ledger   quota.Ledger  // of budgets; nil: none are shown
	Shield   Blocks        // nil: switched off
	// Auth proves an OAuth client by its certificate; nil: by secrets alone.
	Auth      gateway.Authenticator
	JWKS      func() []byte
	Issuer    string
	Version   string
	Ready     func(context.Context) map[string]error // by dependency; nil error: ready
	Security  string                                 // contact for security.txt, a URI
	Detectors []inspect.Detector                     // of POST /v1/inspect
	// DefaultTier is what a new tenant gets that names none.
	DefaultTier string
}

// API registers operations on the gateway's routes.
type API struct {
	huma   huma.API
	routes *gateway.Routes
	deps   Deps
	errs   []error
}

// New registers every operation. A mistake in one (no action, an unknown
// class) is an error here, before anything serves.
func New(routes *gateway.Routes, deps Deps) (*API, error) {
	cfg := huma.DefaultConfig("openclaw", deps.Version)
	cfg.Info.Description = "Run AI agents for many tenants: bound what each run can reach, stop it in a second, prove both."
	cfg.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil // no $schema links in bodies
	cfg.Formats = map[string]huma.Format{"application/json": strictJSON, "json": problemJSON}
	cfg.NoFormatFallback = false
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
	}
	a := &API{huma: humago.New(routes, cfg), routes: routes, deps: deps}
	a.auth()
	a.oauth()
	a.account()
	a.users()
	a.serviceAccounts()
	a.tenants()
	a.keeping()
	a.agents()
	a.memories()
	a.audit()
	a.usage()
	a.inspection()
	a.blocks()
	a.wellKnown()
	a.health()
	a.docs()
	return a, errors.Join(a.errs...)
}

// op is an operation before it is registered.
type op struct {
	method, path string
	id           string
	summary      string
	action       policy.Action
	class        string
	status       int // of success; 0: 200
	maxBody      int64
	timeout      time.Duration // of the request; 0: the gateway's default, negative: none
	tag          string
	// prompts are the body's fields that a model will read, labels structured ones
	// that it may read beside them, opaque those that nobody reads; JSON pointers.
	// All others are structured.
	prompts, labels, opaque []string
}

// register joins a typed handler to its route. The one place where identity is
// taken from the context: the library's signature has no room for it.
func register[I, O any](a *API, o op, h func(context.Context, *gateway.Exchange, *I) (*O, error)) {
	class, err := a.deps.Tiers.Table().Class(o.class)
	if err != nil {
		a.errs = append(a.errs, fmt.Errorf("%s %s: %w", o.method, o.path, err))
		return
	}
	route := gateway.Route{Method: o.method, Pattern: o.path, Action: o.action, Class: class, MaxBody: o.maxBody, Prompts: o.prompts, Labels: o.labels, Opaque: o.opaque}
	if err := a.routes.Declare(route); err != nil {
		a.errs = append(a.errs, err)
		return
	}
	if o.tag == "" {
		parts := strings.Split(strings.TrimPrefix(o.path, "/v1"), "/")
		o.tag = parts[min(1, len(parts)-1)]
	}
	hop := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, DefaultStatus: o.status, Tags: []string{o.tag},
		MaxBodyBytes: gateway.DefaultBody, BodyReadTimeout: gateway.DefaultTimeout,
		Errors:     []int{400, 401, 403, 404, 422, 429, 503},
		Extensions: map[string]any{"x-openclaw-action": o.action.String(), "x-openclaw-limit": o.class},
	}
	if o.maxBody > 0 {
		hop.MaxBodyBytes = o.maxBody
	}
	if o.action.Audience() != policy.ForPublic {
		hop.Security = []map[string][]string{{"bearer": {}}}
	}
	huma.Register(a.huma, hop, func(ctx context.Context, in *I) (*O, error) {
		x := gateway.From(ctx)
		out, err := h(ctx, x, in)
		if err != nil {
			return nil, problem(x, err)
		}
		return out, nil
	})
}

// statusError carries a problem through the library.
type statusError struct{ gateway.Problem }

func (e *statusError) Error() string                { return string(e.Code) }
func (e *statusError) GetStatus() int               { return e.Status }
func (e *statusError) ContentType(string) string    { return "application/problem+json" }
func (e *statusError) MarshalJSON() ([]byte, error) { return json.Marshal(e.Problem) }

func problem(x *gateway.Exchange, err error) huma.StatusError {
	f := gateway.Public(err)
	var failed *identity.Failed
	if errors.As(err, &failed) {
		x.Settle() // the login's own event is written
		x.LoginFailed(failed.Account)
	}
	x.Fail(f)
	return &statusError{gateway.ProblemOf(f)}
}

func init() {
	// Without it {"role":…,"ROLE":…} is one key twice that no check sees.
	huma.ValidateStrictCasing = true
	// The library keeps this in a variable; there is one API in a process.
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return &statusError{gateway.ProblemOf(validation(status, msg, errs))}
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		f := validation(status, msg, errs)
		if x := gateway.From(ctx.Context()); x != nil {
			x.Fail(f)
		}
		return &statusError{gateway.ProblemOf(f)}
	}
}

// maxFields bounds what is said of a bad request.
const maxFields = 20

// validation names what the library refused. Values are not echoed: they may
// be secrets or attacks.
func validation(status int, msg string, errs []error) *fault.Error {
	f := fault.New(gateway.CodeOf(status), "%s", msg)
	if f.Code == fault.MediaType { // the library repeats the header
		f.Detail, errs = "want application/json", nil
	}
	for _, err := range errs {
		if err == nil {
			continue
		}
		var d huma.ErrorDetailer
		var known *fault.Error
		switch {
		case errors.As(err, &known):
			f.Detail = known.Detail
		case errors.As(err, &d):
			e := d.ErrorDetail()
			f.Fields = append(f.Fields, fault.Field{Location: place(e.Location), Message: bounded(e.Message)})
		case status < 500:
			f.Fields = append(f.Fields, fault.Field{Location: "body", Message: bounded(plainWords(err))})
		}
		if len(f.Fields) == maxFields {
			break
		}
	}
	return f
}

// place is where the library found something. A name in it may be the client's
// own (an unknown field): one that is not plain is cut off, not echoed.
func place(s string) string {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("._-[]", rune(c)) {
			s = s[:i]
			head, _, _ := strings.Cut(s, ".")
			return bounded(head)
		}
	}
	return bounded(s)
}

func bounded(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// plainWords says of a decoding error where it stands and no more.
func plainWords(err error) string {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return known.Detail
	case errors.As(err, &syntax):
		return "not valid JSON at byte " + strconv.FormatInt(syntax.Offset, 10)
	case errors.As(err, &typ):
		return "a value has the wrong type"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the JSON ends too early"
	}
	return "not readable"
}

// maxDepth of JSON from outside.
const maxDepth = 64

// strictJSON refuses what encoding/json would silently mend (invalid UTF-8,
// doubled keys, endless nesting) and escapes <, > and & in answers, so that no
// body ever carries live markup.
var strictJSON = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	},
	Unmarshal: func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return errors.New("the body is not valid UTF-8")
		}
		err := wellFormed(data)
		if err == nil {
			err = json.Unmarshal(data, v)
		}
		if err != nil { // the library shows this text to the client
			return errors.New(plainWords(err))
		}
		return nil
	},
}

// problemJSON writes application/problem+json. As "json" it stands for every
// +json type, none of which is read: what a stage before the handler takes for
// something else must not be JSON to the handler.
var problemJSON = huma.Format{
	Marshal:   strictJSON.Marshal,
	Unmarshal: func([]byte, any) error { return huma.ErrUnknownContentType },
}

// wellFormed checks nesting and doubled keys in one pass over the tokens.
func wellFormed(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	type level struct {
		keys map[string]bool // nil in an array
		key  bool            // a key comes next
	}
	var stack []level
	for {
		t, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n, ok := t.(json.Number); ok && !exact(n) {
			return fault.New(fault.Invalid, "the body holds a number that would not be kept exactly: whole numbers go to 2^53, send larger ones as text")
		}
		top := len(stack) - 1
		if d, ok := t.(json.Delim); ok {
			switch d {
			case '{', '[':
				if top >= 0 && stack[top].keys != nil {
					stack[top].key = true
				}
				if len(stack) == maxDepth {
					return fault.New(fault.Invalid, "the body nests deeper than %d levels", maxDepth)
				}
				l := level{}
				if d == '{' {
					l = level{keys: map[string]bool{}, key: true}
				}
				stack = append(stack, l)
			default:
				stack = stack[:top]
			}
			continue
		}
		if top < 0 || stack[top].keys == nil {
			continue
		}
		if !stack[top].key {
			stack[top].key = true
			continue
		}
		k, _ := t.(string)
		if stack[top].keys[k] {
			return fault.New(fault.Invalid, "the body names a key twice")
		}
		stack[top].keys[k] = true
		stack[top].key = false
	}
}

// exact reports whether a number survives being read as a float64, which is
// what JSON numbers are (RFC 8259 section 6, RFC 7493 section 2.2).
func exact(n json.Number) bool {
	s := n.String()
	if len(s) > 64 {
		return false
	}
	if strings.ContainsAny(s, ".eE") {
		_, err := strconv.ParseFloat(s, 64)
		return err == nil // or beyond the range
	}
	n64, err := strconv.ParseInt(s, 10, 64)
	return err == nil && -1<<53 <= n64 && n64 <= 1<<53
}

// Once is the header of an idempotent create.
type Once struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"Send the same key again to get the same answer and no second effect; kept for 24 hours"`
}

// once runs a create at most once per key. do returns the answer's body.
func once[T any](ctx context.Context, x *gateway.Exchange, key string, request any, status int, do func(claim func(plane.Tx) error, answer func(plane.Tx, T)) (T, error)) (T, error) {
	var zero T
	if key == "" {
		return do(func(plane.Tx) error { return nil }, func(plane.Tx, T) {})
	}
	body, err := json.Marshal(request)
	if err != nil {
		return zero, err
	}
	k := plane.OnceKey{
		Key:    sha256.Sum256([]byte(x.Principal.Subject + "\x00" + x.Route.Method + " " + x.Request.URL.Path + "\x00" + key)),
		Digest: sha256.Sum256(body),
	}
	out, err := do(
		func(tx plane.Tx) error { return tx.Once(ctx, k) },
		func(tx plane.Tx, v T) {
			if b, err := json.Marshal(v); err == nil {
				tx.Answer(k, status, b)
			}
		})
	var replay *plane.Replay
	if !errors.As(err, &replay) {
		return out, err
	}
	if replay.Digest != k.Digest {
		return zero, fault.New(fault.Unprocessable, "this Idempotency-Key was used for another request")
	}
	x.Writer.Header().Set("Idempotent-Replayed", "true")
	if err := json.Unmarshal(replay.Answer, &zero); err != nil {
		return zero, fmt.Errorf("read the kept answer: %w", err)
	}
	return zero, nil
}

// IfMatch is the header of an optimistic change.
type IfMatch struct {
	IfMatch string `header:"If-Match" doc:"The version the change is based on, as in ETag; without it the last one wins" example:"\"3\""`
}

func (m IfMatch) version() (int64, error) {
	if m.IfMatch == "" || m.IfMatch == "*" {
		return 0, nil
	}
	v, err := strconv.ParseInt(strings.Trim(m.IfMatch, `"`), 10, 64)
	if err != nil || v < 1 || etag(v) != m.IfMatch {
		return 0, &fault.Error{Code: fault.Unprocessable, Detail: "If-Match is not a version of ours", Fields: []fault.Field{{Location: "header.If-Match", Message: `want a quoted version, as in "3"`}}}
	}
	return v, nil
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ID is a path's id. Any text that is no id of ours is simply not there.
type ID struct {
	ID string `path:"id" maxLength:"100" example:"0192e4a0-7d3c-7000-8000-000000000001"`
}

func (i ID) parse() (uuid.UUID, error) {
	id, err := uuid.Parse(i.ID)
	if err != nil || id.String() != i.ID {
		return uuid.Nil, fault.New(fault.NotFound, "there is no such thing here")
	}
	return id, nil
}

// Paging are the query parameters of a listing.
type Paging struct {
	Cursor string `query:"cursor" maxLength:"200" doc:"next_cursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func granter(x *gateway.Exchange) identity.Granter { return identity.Granter{Subject: x.Subject()} }

func caller(x *gateway.Exchange) identity.Caller {
	return identity.Caller{IP: x.Client, UserAgent: x.Request.UserAgent(), RequestID: x.ID, Action: x.Route.Action.String()}
}

// changed runs an identity change whose event the service completes.
func changed(x *gateway.Exchange) audit.Event { return x.Event(audit.UserChanged, "") }

// Page is one page of a listing.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next_cursor,omitempty" doc:"Send as cursor for the next page; absent on the last"`
}

// Out wraps a body.
type Out[T any] struct{ Body T }

// Tagged wraps a body with its version.
type Tagged[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// Empty is an answer without a body.
type Empty struct{}
