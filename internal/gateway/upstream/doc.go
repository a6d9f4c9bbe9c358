// Package upstream hands a request that has passed the gateway's stages to the
// service behind it, and its answer back.
//
// # Routes
//
// A Table is a routes file, checked: which host and path goes to which
// upstream, and under which action, limit class and inspections. It never
// changes; Proxy.Load puts another one in force, or refuses it with file, line
// and column while the old one goes on.
//
// A path belongs to the most specific match, for all methods: where that one
// does not list the method, the request is refused, not handed to a wider match.
//
// # Where a request may go
//
// The file is the operator's, so its upstreams may stand on loopback and private
// addresses: a sidecar is the normal case. A tenant's name or id may only fill
// {tenant} and {tenant_id}: inside one label of a host name that has fixed
// labels after it, or inside one segment of the path; it is checked to be one
// label or segment each time. Link-local, multicast, unspecified and well-known
// cloud metadata addresses are refused for every upstream, after its name was
// resolved, and loopback too where the host is a template (names under
// .localhost excepted, which are loopback by RFC 6761).
//
// # Identity
//
// What a client says about itself in headers ends here (see stripped). The
// upstream learns who asks from Openclaw-Assertion, a JWT of at most a minute
// that it verifies with our JWKS. One assertion serves a principal at one
// upstream for a few seconds, so it names no request; X-Request-Id and
// traceparent stand beside it.
//
// # Two ways
//
// HTTP/1.1 over plain TCP goes by package http1. TLS, HTTP/2 (h2c), Upgrade,
// Expect, trailers in the request, unusual methods and very large heads go by
// net/http's transport. Both obey the same breaker, retries and limits.
package upstream
