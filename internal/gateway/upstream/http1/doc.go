// Package http1 is a small HTTP/1.1 client for one upstream behind a proxy.
//
// It does what a proxy needs on its hot path and nothing more: plain TCP,
// keep-alive, one request at a time on a connection, no goroutine of its own
// unless a request's body is streamed. What is unusual (TLS, Upgrade, Expect,
// HTTP/2) belongs to net/http's transport.
//
// It is stricter than net/http, because a proxy that reads a response otherwise
// than its upstream meant it hands one client another's answer (RFC 9112
// section 11.1): lines end in CRLF, a length is given once or not at all, never
// beside chunked, nothing is folded, and a connection that holds one byte
// nobody asked for is closed.
package http1
