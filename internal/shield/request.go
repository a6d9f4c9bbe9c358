package shield

import (
	"net/http"
	"net/netip"
	"time"
)

// look scores and refuses what can be seen in a parsed request. What net/http
// repairs before anybody sees it (Content-Length beside Transfer-Encoding,
// folded lines, bare LF) is caught on the connection by package
// shield/framing. A probe is scored and goes on to its 404, so that a scanner
// learns nothing from us; a malformed request is refused at once.
func (s *Shield) look(now time.Time, addr netip.Addr, never bool, r *http.Request) Decision {
	if o, what := s.malformed(r); what != "" {
		if d, stop := s.score(now, addr, never, o, what); stop {
			return d
		}
		return Decision{Verdict: Refused, Reason: o.String(), Rule: what}
	}
	if g := s.scanners.tool(r.UserAgent()); g != nil {
		if d, stop := s.score(now, addr, never, Tool, g.ID); stop {
			return d
		}
	}
	path, query := "", ""
	if r.URL != nil {
		path, query = r.URL.Path, r.URL.RawQuery
	}
	if g := s.scanners.probe(path, query); g != nil {
		if d, stop := s.score(now, addr, never, Probe, g.ID); stop {
			return d
		}
	}
	return Decision{}
}

// malformed returns an offence and which part of the request it is, or "".
func (s *Shield) malformed(r *http.Request) (Offence, string) {
	switch r.Method {
	case http.MethodTrace, "TRACK", http.MethodConnect, "DEBUG":
		return Malformed, "method"
	}
	if len(r.RequestURI) > s.config.MaxTarget {
		return Oversize, "target"
	}
	fields, bytes := 0, 0
	for name, values := range r.Header {
		fields += len(values)
		for _, v := range values {
			bytes += len(name) + len(v)
		}
	}
	if fields > s.config.MaxHeaderFields {
		return HeaderFlood, "header"
	}
	if bytes > s.config.MaxHeaderBytes {
		return Oversize, "header"
	}
	if s.config.MaxBody > 0 && r.ContentLength > s.config.MaxBody {
		return Oversize, "body"
	}
	// net/http keeps these out of Header on HTTP/1; seeing them means somebody
	// before us passed them on as ordinary fields.
	if len(r.Header["Transfer-Encoding"]) > 0 || len(r.Header["Content-Length"]) > 1 || len(r.Header["Host"]) > 0 {
		return Smuggling, "framing fields"
	}
	return 0, ""
}
