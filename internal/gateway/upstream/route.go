package upstream

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// Route is one entry of a routes file. It is shared and never changes.
type Route struct {
	Match    string   // host and path, a net/http.ServeMux pattern without a method
	Methods  []string // in the file's order
	Upstream string   // as written
	Line     int      // in the file

	Action  policy.Action
	Class   quota.Class
	Inspect []Inspection
	WAF     bool

	Audience string // of the assertion; empty means the upstream's scheme://host:port
	Strip    string // a prefix taken off the path, or ""
	Pass     []string
	Pages    bool
	KeepHost bool

	MaxBody     int64 // bytes
	Connections int   // requests at once to one upstream
	Timeouts    Timeouts
	Retries     Retries
	Breaker     Breaker
	Health      Health

	target target
	pass   passes
}

// Inspection says which part of a request is scanned for what. It is data: the
// gateway's inspection reads it.
type Inspection struct {
	Field string // body, query, path, header.NAME, or a path into a JSON body: body.messages[*].content
	For   []string
	// Trust is where its prompts come from: user, document or tool; empty without
	// prompts.
	Trust string
}

// Timeouts of one request; zero means none, for Total only.
type Timeouts struct{ Connect, Header, Idle, Total time.Duration }

// Retries of idempotent requests whose content is held.
type Retries struct {
	Count  int      // after the first attempt
	On     []string // connect, reset, timeout, 502, 503, 504
	Budget float64  // retries per request, in the long run
}

// Breaker opens after Failures in a row, for Open, and closes after Probes
// successes. Failures zero means there is none.
type Breaker struct {
	Failures int
	Open     time.Duration
	Probes   int
}

// Health asks for Path every Every; Path empty means nobody asks.
type Health struct {
	Path           string
	Every, Timeout time.Duration
}

// What a route has when its file says nothing.
const (
	DefaultMaxBody     = 1 << 20
	DefaultConnections = 512
)

var (
	methods     = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	retryCauses = []string{"connect", "reset", "timeout", "502", "503", "504"}
	inspections = []string{"prompt", "sql", "xss"}
	trusts      = []string{"user", "document", "tool"}
	passable    = []string{"Authorization", "Cookie"}
)

func defaults() Route {
	return Route{
		Methods: methods, Action: policy.UpstreamCall, MaxBody: DefaultMaxBody, Connections: DefaultConnections,
		Timeouts: Timeouts{Connect: 3 * time.Second, Header: 30 * time.Second, Idle: time.Minute, Total: 5 * time.Minute},
		Retries:  Retries{Count: 1, On: []string{"connect", "reset"}, Budget: 0.1},
		Breaker:  Breaker{Failures: 5, Open: 10 * time.Second, Probes: 1},
	}
}

// Table is a routes file, checked. It never changes.
type Table struct {
	mux    *http.ServeMux
	routes []*Route
	digest string
}

// door holds a match's routes by method.
type door struct {
	match   string
	methods map[string]*Route
}

// ServeHTTP is never called: the mux only finds doors.
func (*door) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "not served here", http.StatusInternalServerError)
}

// Routes lists the routes in the file's order.
func (t *Table) Routes() []*Route { return slices.Clone(t.routes) }

// Digest is the SHA-256 of the file, in hexadecimal, for the record.
func (t *Table) Digest() string { return t.digest }

// Match finds a request's route by host, path and method. Without one it is
// refused with not_found or method_not_allowed; a host that is none, and a path
// that an upstream might read as another route's, with invalid_request.
func (t *Table) Match(r *http.Request) (*Route, error) {
	if _, err := cleanPath(r.URL.Path); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the path holds dot segments, backslashes or control characters")
	}
	host, err := plainHost(r.Host)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the host is not a name or an address")
	}
	d := t.door(r, host, r.URL)
	if d == nil {
		return nil, fault.New(fault.NotFound, "there is no such thing here")
	}
	rt := d.methods[r.Method]
	if ambiguous(r.URL) {
		other, err := otherReading(r.URL.Path)
		if err != nil || t.door(r, host, &url.URL{Path: other}) != d ||
			rt != nil && rt.Strip != "" && under(r.URL.Path, rt.Strip) != under(r.URL.EscapedPath(), rt.Strip) {
			return nil, fault.New(fault.Invalid, "the path may be read in two ways, which lead to different routes")
		}
	}
	if rt != nil {
		return rt, nil
	}
	return nil, fault.New(fault.NoMethod, "this path takes %s", strings.Join(d.allowed(), ", "))
}

// door is what the mux finds, or nil: also for the mux's own redirect to a
// cleaner path, as nothing is redirected here.
func (t *Table) door(r *http.Request, host string, u *url.URL) *door {
	if host != r.Host || u != r.URL {
		like := *r
		like.Host, like.URL = host, u
		r = &like
	}
	h, _ := t.mux.Handler(r)
	d, _ := h.(*door)
	return d
}

func (d *door) allowed() []string {
	out := make([]string, 0, len(d.methods))
	for m := range d.methods {
		out = append(out, m)
	}
	slices.Sort(out)
	return out
}

// requestTarget is the origin-form target at the upstream.
func (rt *Route) requestTarget(base string, r *http.Request) string {
	path := r.URL.EscapedPath()
	if rt.Strip != "" {
		if under(path, rt.Strip) { // /api is not the beginning of /apis
			path = path[len(rt.Strip):]
		}
	}
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	if base != "" {
		path = base + path
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		path += "?" + r.URL.RawQuery
	}
	return path
}
