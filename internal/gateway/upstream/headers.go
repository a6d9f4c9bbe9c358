package upstream

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// pseudonym is our name in Via (RFC 9110 section 7.6.3): it names the product,
// not the machine.
const pseudonym = "openclaw"

// maxHops bounds how often one request may pass us before it is a loop.
const maxHops = 3

// passes says which credentials of the client a route hands on.
type passes struct{ authorization, cookie bool }

// hopByHop are the fields of one connection (RFC 9110 section 7.6.1), and those
// that we write ourselves.
var hopByHop = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Http2-Settings": true, "Content-Length": true, "Host": true, "Expect": true,
	"Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Authentication-Info": true,
}

// identityNames and identityPrefixes are what a service may take as proof of who
// asks or from where. A client does not get to say it.
var (
	identityNames = map[string]bool{
		"Forwarded": true, "X-Real-Ip": true, "X-Client-Ip": true, "Client-Ip": true, "True-Client-Ip": true, "X-Cluster-Client-Ip": true,
		"X-Remote-Ip": true, "X-Remote-Addr": true, "X-Originating-Ip": true, "X-Host": true, "X-Forwarded": true, "Fastly-Client-Ip": true,
		"X-Azure-Clientip": true, "Remote-User": true, "Remote-Email": true, "Remote-Groups": true, "Remote-Name": true,
		"X-Rewrite-Url": true, "X-Http-Method-Override": true, "X-Http-Method": true, "X-Method-Override": true,
		"X-Email": true, "X-Groups": true, "X-Roles": true, "X-Role": true, "X-Principal": true, "X-Subject": true,
		"X-Request-Id": true, "Traceparent": true, "Via": true, "X-Internal": true, "X-Consumer-Id": true, "X-Org-Id": true, "X-Account-Id": true,
	}
	identityPrefixes = []string{
		"X-Forwarded-", "X-Openclaw-", "Openclaw-", "X-User", "X-Tenant", "X-Original-", "X-Remote-User", "X-Auth-", "X-Authenticated-",
		"X-Identity", "X-Ssl-", "X-Client-Cert", "Client-Cert", "X-Webauth-", "X-Goog-", "X-Amzn-", "X-Ms-Client-", "Cf-", "X-Consumer-", "X-Envoy-", "Tailscale-", "Ssl-",
	}
)

// plainNames is what most requests carry: looked up first.
var plainNames = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Content-Type": true, "Content-Encoding": true, "User-Agent": true,
	"Cache-Control": true, "If-None-Match": true, "If-Modified-Since": true, "If-Match": true, "Range": true, "Referer": true, "Origin": true,
	"Idempotency-Key": true, "Tracestate": true, "Pragma": true, "Sec-Fetch-Mode": true, "Sec-Fetch-Site": true, "Sec-Fetch-Dest": true,
}

// stripped reports whether a request's field ends here. Services behind CGI-like
// interfaces read _ as -, so X_User is X-User.
func stripped(name string, p passes) bool {
	if plainNames[name] {
		return false
	}
	if strings.IndexByte(name, '_') >= 0 {
		name = strings.ReplaceAll(name, "_", "-")
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case "Authorization":
		return !p.authorization
	case "Cookie":
		return !p.cookie
	}
	if hopByHop[name] || identityNames[name] {
		return true
	}
	for _, prefix := range identityPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// named lists the fields that Connection names, in canonical form; nil when it
// names nothing but close and keep-alive.
func named(connection []string) []string {
	var out []string
	for _, v := range connection {
		for part := range strings.SplitSeq(v, ",") {
			part = strings.Trim(part, " \t")
			if part == "" || strings.EqualFold(part, "close") || strings.EqualFold(part, "keep-alive") {
				continue
			}
			out = append(out, textproto.CanonicalMIMEHeaderKey(part))
		}
	}
	return out
}

// looped reports that the request has passed us too often.
func looped(via []string) bool {
	hops := 0
	for _, v := range via {
		hops += strings.Count(v, " "+pseudonym)
	}
	return hops >= maxHops
}

func viaOf(version string, before []string) string {
	own := version + " " + pseudonym
	if len(before) == 0 {
		return own
	}
	return strings.Join(before, ", ") + ", " + own
}

// answerStripped are fields of an answer that end here: they say what the
// upstream is made of, or speak for our origin, our connection or our limits.
var answerStripped = map[string]bool{
	"Server": true, "X-Powered-By": true, "X-Aspnet-Version": true, "X-Aspnetmvc-Version": true, "X-Generator": true, "X-Runtime": true,
	"Strict-Transport-Security": true, "Public-Key-Pins": true, "Alt-Svc": true, "Clear-Site-Data": true, "Service-Worker-Allowed": true,
	"Report-To": true, "Nel": true, "Reporting-Endpoints": true, "Origin-Agent-Cluster": true, "X-Request-Id": true, "Traceparent": true,
	"Via": true, "Refresh": true, "Content-Security-Policy-Report-Only": true, "Www-Authenticate": false,
}

var answerPrefixes = []string{"Access-Control-", "X-Openclaw-", "Openclaw-", "Ratelimit", "X-Ratelimit-", "X-Accel-", "X-Sendfile", "Proxy-"}

func answerDropped(name string, rt *Route) bool {
	if drop, known := answerStripped[name]; known {
		return drop
	}
	switch name {
	case "Content-Type", "Content-Length", "Date", "Etag", "Last-Modified", "Cache-Control", "Vary", "Location":
		return name == "Content-Length"
	case "Set-Cookie", "Set-Cookie2":
		return !rt.pass.cookie
	}
	if hopByHop[name] {
		return true
	}
	for _, prefix := range answerPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// answer copies an upstream's fields into ours. What the gateway has set stands:
// the upstream's value is dropped, except that a Content-Security-Policy is
// added (browsers obey all of them, so it can only be stricter) or, on a route
// of pages, replaces ours; and that Vary adds up.
type answer struct {
	rt   *Route
	h    http.Header
	drop []string // named by the upstream's Connection
	mine []string // set by this copy
	vals []string
}

func (a *answer) add(name, value string) {
	if answerDropped(name, a.rt) || slices.Contains(a.drop, name) {
		return
	}
	if len(a.vals) == cap(a.vals) {
		a.vals = make([]string, 0, 16)
	}
	a.vals = append(a.vals, value)
	one := a.vals[len(a.vals)-1 : len(a.vals) : len(a.vals)]
	old, there := a.h[name]
	switch {
	case !there:
		a.h[name] = one
		a.mine = append(a.mine, name)
	case slices.Contains(a.mine, name), name == "Vary":
		a.h[name] = append(slices.Clip(old), value)
	case name == "Content-Security-Policy" && a.rt.Pages:
		a.h[name] = one
		a.mine = append(a.mine, name)
	case name == "Content-Security-Policy":
		a.h[name] = append(slices.Clip(old), value)
	}
}
