package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// Route is a door in the gateway. Action and Class are required: unlisted means
// refused, and a public route says so by an action that is public.
type Route struct {
	Method  string // an HTTP method
	Pattern string // net/http.ServeMux path pattern
	Action  policy.Action
	Class   quota.Class
	MaxBody int64         // bytes; 0 means DefaultBody
	Timeout time.Duration // of the whole request; 0 means DefaultTimeout, negative none
	// Prompts are the JSON pointers of fields that a model will read; Labels of
	// structured fields that it may read as well (names, tags, metadata); Opaque
	// of those that nobody reads (passwords). Every other field is structured.
	Prompts, Labels, Opaque []string
	WAF                     bool // the firewall judges it too; see Routes.Firewall
}

// Limits of a request that its route does not set.
const (
	DefaultBody    = 1 << 20
	DefaultTimeout = 30 * time.Second
)

func (r *Route) public() bool { return r.Action.Audience() == policy.ForPublic }

// Routes is the table of doors. It is filled before the gateway serves and not
// changed afterwards.
type Routes struct {
	mux    *http.ServeMux
	byName map[string]*Route // "GET /v1/agents/{id}"
	served map[string]bool

	begins   map[string]bool // how patterns begin: "/v1/agents"
	anywhere bool            // some pattern's beginning is more than one path's
}

// NewRoutes returns an empty table.
func NewRoutes() *Routes {
	return &Routes{mux: http.NewServeMux(), begins: map[string]bool{}, byName: map[string]*Route{}, served: map[string]bool{}}
}

// Declare says what a route needs; its handler follows by HandleFunc.
func (t *Routes) Declare(r Route) error {
	name := r.Method + " " + r.Pattern
	switch {
	case r.Method == "" || r.Method != strings.ToUpper(r.Method) || !strings.HasPrefix(r.Pattern, "/"):
		return fmt.Errorf("route %q: want a method and a path", name)
	case !r.Action.Valid():
		return fmt.Errorf("route %s: no action; every route names the policy action it is", name)
	case r.Class == (quota.Class{}):
		return fmt.Errorf("route %s: no limit class; every route names what it is charged to", name)
	case t.byName[name] != nil:
		return fmt.Errorf("route %s: declared twice", name)
	}
	if r.MaxBody == 0 {
		r.MaxBody = DefaultBody
	}
	if r.Timeout == 0 {
		r.Timeout = DefaultTimeout
	}
	t.byName[name] = &r
	return nil
}

// HandleFunc gives a declared route its handler. It panics for a route nobody
// declared, which is how net/http's own mux says that a pattern is wrong; Check
// covers what panics cannot.
func (t *Routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	r := t.byName[pattern]
	if r == nil {
		panic(fmt.Sprintf("route %s: not declared with an action and a limit class", pattern))
	}
	t.served[pattern] = true
	first := beginning(r.Pattern)
	t.begins[first] = true
	t.anywhere = t.anywhere || strings.HasSuffix(first, "/") || strings.ContainsAny(first, "{%")
	t.mux.Handle(pattern, &door{route: r, handler: http.HandlerFunc(h)})
}

// Handle declares a route and gives it a handler that takes the exchange.
func (t *Routes) Handle(r Route, h func(*Exchange)) error {
	if err := t.Declare(r); err != nil {
		return err
	}
	t.HandleFunc(r.Method+" "+r.Pattern, func(_ http.ResponseWriter, req *http.Request) { h(From(req.Context())) })
	return nil
}

// Check refuses a table with a declared route that nobody serves.
func (t *Routes) Check() error {
	var errs []error
	for name := range t.byName {
		if !t.served[name] {
			errs = append(errs, fmt.Errorf("route %s: declared, and nobody serves it", name))
		}
	}
	return errors.Join(errs...)
}

// All lists the routes, in no order.
func (t *Routes) All() []Route {
	out := make([]Route, 0, len(t.byName))
	for _, r := range t.byName {
		out = append(out, *r)
	}
	return out
}

// door is what the mux finds: the route beside its handler.
type door struct {
	route   *Route
	handler http.Handler
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }

// find is the door that a request is for, or nil: no pattern, or the library's
// own redirect to a cleaner path. A miss costs the mux a search through all
// methods, and everything behind an upstream is one, so a path that begins like
// no pattern is not looked up. The path is taken decoded: what a pattern spells out
// holds no slash, so an encoded one only ever makes a miss.
func (t *Routes) find(r *http.Request) *door {
	if !t.anywhere && !t.begins[beginning(r.URL.Path)] {
		return nil
	}
	h, _ := t.mux.Handler(r)
	d, _ := h.(*door)
	return d
}

// beginning is a path's first two segments.
func beginning(path string) string {
	for i, slashes := 0, 0; i < len(path); i++ {
		if path[i] == '/' {
			if slashes++; slashes == 3 {
				return path[:i]
			}
		}
	}
	return path
}

// ServeHTTP runs the handler of a route. Only the gateway calls it, after its
// stages have passed.
func (t *Routes) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.mux.ServeHTTP(w, r) }
