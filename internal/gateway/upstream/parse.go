package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream/http1"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

const maxRoutes = 4096

// Classes finds limit classes by name; *quota.Table does.
type Classes interface {
	Class(name string) (quota.Class, error)
	Classes() []string
}

// ParseTable reads a routes file strictly; every error is a *yamlfile.LineError.
// file is its name for errors.
//
//	version: 1
//	routes:
//	  - match: agents.example.com/api/   # host and path, as in net/http.ServeMux, without a method
//	    methods: [GET, POST]             # GET HEAD POST PUT PATCH DELETE OPTIONS
//	    upstream: http://{tenant}.agents.svc:8080/v1   # http, https or h2c (gRPC)
//	    action: upstream.call            # required by policy; this is the default
//	    limit: write                     # a class of the tiers file; required
//	    inspect:                         # what is scanned for what: prompt, sql, xss
//	      - {field: "body.messages[*].content", for: [prompt]}
//	      - {field: "body.documents[*]", for: [prompt], trust: document}   # user, document, tool; user
//	    waf: false
//	    audience: https://agents.example.com   # of the assertion
//	    strip: /api                      # taken off the path
//	    pass: [Authorization]            # and Cookie, with Set-Cookie; neither by default
//	    pages: false                     # the upstream's own Content-Security-Policy replaces ours
//	    keep_host: false                 # the client's Host instead of the upstream's
//	    max_body: 1MiB
//	    connections: 512                 # requests at once to one upstream
//	    timeouts: {connect: 3s, header: 30s, idle: 1m, total: 5m}   # total: none
//	    retries: {count: 1, on: [connect, reset], budget: 0.1}
//	    breaker: {failures: 5, open: 10s, probes: 1}   # failures: 0 for none
//	    health: {path: /healthz, every: 10s, timeout: 2s}
func ParseTable(file string, text []byte, classes Classes) (*Table, error) {
	p := &fileParser{yamlfile.File(file), classes}
	doc, err := p.Document(text, "with version and routes")
	if err != nil {
		return nil, err
	}
	var list *ast.SequenceNode
	err = p.Mapping(doc, []string{"version", "routes"}, yamlfile.Fields{
		"version": func(n ast.Node) error {
			_, err := p.Number(n, 1, 1)
			return err
		},
		"routes": func(n ast.Node) (err error) {
			list, err = p.sequence(n)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	if len(list.Values) > maxRoutes {
		return nil, p.At(list, "", "more than %d routes", maxRoutes)
	}
	sum := sha256.Sum256(text)
	t := &Table{mux: http.NewServeMux(), digest: hex.EncodeToString(sum[:])}
	doors := map[string]*door{}
	for _, n := range list.Values {
		rt, err := p.route(n)
		if err != nil {
			return nil, err
		}
		if err := p.add(t, doors, rt, n); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (p *fileParser) add(t *Table, doors map[string]*door, rt *Route, n ast.Node) (err error) {
	d := doors[rt.Match]
	if d == nil {
		d = &door{match: rt.Match, methods: map[string]*Route{}}
		defer func() {
			if r := recover(); r != nil { // how net/http says that a pattern is wrong or conflicts
				err = p.At(n, "two matches may overlap only if one is more specific", "match %q: %s", rt.Match, firstLine(fmt.Sprint(r)))
			}
		}()
		t.mux.Handle(rt.Match, d)
		doors[rt.Match] = d
	}
	for _, m := range rt.Methods {
		if old := d.methods[m]; old != nil {
			return p.At(n, "", "%s %s is already a route, at line %d", m, rt.Match, old.Line)
		}
		d.methods[m] = rt
	}
	t.routes = append(t.routes, rt)
	return nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if i := strings.Index(s, " (registered at "); i >= 0 {
		s = s[:i]
	}
	return strings.TrimSuffix(s, ":")
}

// route reads one entry.
func (p *fileParser) route(n ast.Node) (*Route, error) {
	rt := defaults()
	rt.Line, _ = yamlfile.Position(n)
	var upstream ast.Node
	err := p.Mapping(n, []string{"match", "upstream", "limit"}, yamlfile.Fields{
		"match": func(n ast.Node) (err error) {
			if rt.Match, err = p.text(n); err != nil {
				return err
			}
			return p.checkMatch(n, rt.Match)
		},
		"methods": func(n ast.Node) (err error) {
			rt.Methods, err = p.words(n, methods)
			return err
		},
		"upstream": func(n ast.Node) (err error) {
			upstream = n
			if rt.Upstream, err = p.text(n); err != nil {
				return err
			}
			if rt.target, err = parseTarget(rt.Upstream); err != nil {
				return p.At(n, "as in http://10.0.0.5:8080 or https://{tenant}.agents.example.com/v1", "upstream: %v", err)
			}
			return nil
		},
		"action": func(n ast.Node) error {
			name, err := p.text(n)
			if err != nil {
				return err
			}
			if rt.Action, err = policy.ParseAction(name); err != nil {
				return p.At(n, "actions are the policy's; upstream.call is the usual one", "unknown action %q", name)
			}
			return nil
		},
		"limit": func(n ast.Node) error {
			name, err := p.text(n)
			if err != nil {
				return err
			}
			if rt.Class, err = p.classes.Class(name); err != nil {
				return p.At(n, "the tiers file has "+strings.Join(p.classes.Classes(), ", "), "unknown limit class %q", name)
			}
			return nil
		},
		"inspect": func(n ast.Node) (err error) { rt.Inspect, err = p.inspect(n); return err },
		"waf":     func(n ast.Node) (err error) { rt.WAF, err = p.Bool(n); return err },
		"audience": func(n ast.Node) (err error) {
			if rt.Audience, err = p.text(n); err == nil && (rt.Audience == "" || len(rt.Audience) > 256) {
				err = p.At(n, "", "audience: want 1 to 256 characters")
			}
			return err
		},
		"strip": func(n ast.Node) (err error) {
			if rt.Strip, err = p.text(n); err == nil && (len(rt.Strip) < 2 || rt.Strip[0] != '/' || strings.HasSuffix(rt.Strip, "/") || strings.ContainsAny(rt.Strip, "{}%?#")) {
				err = p.At(n, "as in /api", "strip: want a path without a slash at its end")
			}
			return err
		},
		"pass":      func(n ast.Node) (err error) { rt.Pass, err = p.words(n, passable); return err },
		"pages":     func(n ast.Node) (err error) { rt.Pages, err = p.Bool(n); return err },
		"keep_host": func(n ast.Node) (err error) { rt.KeepHost, err = p.Bool(n); return err },
		"max_body":  func(n ast.Node) (err error) { rt.MaxBody, err = p.bytes(n); return err },
		"connections": func(n ast.Node) (err error) {
			rt.Connections, err = p.Number(n, 1, 1<<16)
			return err
		},
		"timeouts": func(n ast.Node) error {
			t := &rt.Timeouts
			return p.Mapping(n, nil, yamlfile.Fields{
				"connect": func(n ast.Node) (err error) {
					t.Connect, err = p.Duration(n, 10*time.Millisecond, time.Minute)
					return err
				},
				"header": func(n ast.Node) (err error) {
					t.Header, err = p.Duration(n, 10*time.Millisecond, time.Hour)
					return err
				},
				"idle": func(n ast.Node) (err error) { t.Idle, err = p.Duration(n, 10*time.Millisecond, time.Hour); return err },
				"total": func(n ast.Node) (err error) {
					if s, ok := n.(*ast.StringNode); ok && s.Value == "none" {
						t.Total = 0
						return nil
					}
					t.Total, err = p.Duration(n, 10*time.Millisecond, 24*time.Hour)
					return err
				},
			})
		},
		"retries": func(n ast.Node) error {
			return p.Mapping(n, nil, yamlfile.Fields{
				"count":  func(n ast.Node) (err error) { rt.Retries.Count, err = p.Number(n, 0, 5); return err },
				"on":     func(n ast.Node) (err error) { rt.Retries.On, err = p.words(n, retryCauses); return err },
				"budget": func(n ast.Node) (err error) { rt.Retries.Budget, err = p.share(n); return err },
			})
		},
		"breaker": func(n ast.Node) error {
			b := &rt.Breaker
			return p.Mapping(n, nil, yamlfile.Fields{
				"failures": func(n ast.Node) (err error) { b.Failures, err = p.Number(n, 0, 1000); return err },
				"open":     func(n ast.Node) (err error) { b.Open, err = p.Duration(n, 10*time.Millisecond, time.Hour); return err },
				"probes":   func(n ast.Node) (err error) { b.Probes, err = p.Number(n, 1, 100); return err },
			})
		},
		"health": func(n ast.Node) error {
			h := &rt.Health
			h.Every, h.Timeout = 10*time.Second, 2*time.Second
			return p.Mapping(n, []string{"path"}, yamlfile.Fields{
				"path": func(n ast.Node) (err error) {
					if h.Path, err = p.text(n); err == nil && (!strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, " \t\r\n#")) {
						err = p.At(n, "as in /healthz", "health: want a path")
					}
					return err
				},
				"every": func(n ast.Node) (err error) {
					h.Every, err = p.Duration(n, 100*time.Millisecond, time.Hour)
					return err
				},
				"timeout": func(n ast.Node) (err error) {
					h.Timeout, err = p.Duration(n, 10*time.Millisecond, time.Minute)
					return err
				},
			})
		},
	})
	if err != nil {
		return nil, err
	}
	if rt.Action.Audience() == policy.ForPublic && (rt.target.hostPlace || rt.target.pathPlace) {
		return nil, p.At(upstream, "a public route has no tenant", "upstream: nobody fills %s or %s here", placeName, placeID)
	}
	rt.pass = passes{authorization: slices.Contains(rt.Pass, "Authorization"), cookie: slices.Contains(rt.Pass, "Cookie")}
	return &rt, nil
}

func (p *fileParser) checkMatch(n ast.Node, m string) error {
	slash := strings.IndexByte(m, '/')
	if slash < 0 || strings.ContainsAny(m, " \t") {
		return p.At(n, "as in agents.example.com/api/ or /api/; methods stand in methods", "match: want a host and a path, or a path")
	}
	if host := m[:slash]; host != strings.ToLower(host) || strings.ContainsAny(host, ":{}*") {
		return p.At(n, "a port does not matter to a match", "match: want a plain host name in lower case")
	}
	if _, err := cleanPath(m[slash:]); err != nil || strings.Contains(m, "//") {
		return p.At(n, "", "match: the path is not clean")
	}
	return nil
}

func (p *fileParser) inspect(n ast.Node) ([]Inspection, error) {
	list, err := p.sequence(n)
	if err != nil {
		return nil, err
	}
	var out []Inspection
	for _, v := range list.Values {
		var in Inspection
		var trust ast.Node
		err := p.Mapping(v, []string{"field", "for"}, yamlfile.Fields{
			"field": func(n ast.Node) (err error) {
				if in.Field, err = p.text(n); err == nil && !isField(in.Field) {
					err = p.At(n, "body, query, path, header.NAME or a place in a JSON body, as in body.messages[*].content", "unknown field %q", in.Field)
				}
				return err
			},
			"for": func(n ast.Node) (err error) { in.For, err = p.words(n, inspections); return err },
			"trust": func(n ast.Node) (err error) {
				trust = n
				if in.Trust, err = p.text(n); err == nil && !slices.Contains(trusts, in.Trust) {
					err = p.At(n, "user (typed by whoever asks), document (a page, a file, a mail) or tool (what a program answered)", "trust: unknown level %q", in.Trust)
				}
				return err
			},
		})
		if err != nil {
			return nil, err
		}
		switch prompt := slices.Contains(in.For, "prompt"); {
		case trust != nil && !prompt:
			return nil, p.At(trust, "as in for: [prompt]", "trust: only prompts have a level, and this is inspected for %s", strings.Join(in.For, ", "))
		case trust == nil && prompt:
			in.Trust = trusts[0]
		}
		out = append(out, in)
	}
	return out, nil
}

func isField(s string) bool {
	if s == "body" || s == "query" || s == "path" {
		return true
	}
	if name, ok := strings.CutPrefix(s, "header."); ok {
		return http1.IsToken(name)
	}
	rest, ok := strings.CutPrefix(s, "body.")
	if !ok || len(s) > 256 {
		return false
	}
	for part := range strings.SplitSeq(rest, ".") {
		part = strings.TrimSuffix(part, "[*]")
		if part == "" {
			return false
		}
		for _, c := range []byte(part) {
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
				return false
			}
		}
	}
	return true
}
