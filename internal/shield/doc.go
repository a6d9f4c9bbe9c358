// Package shield is the first stage in front of openclaw: what one network
// address may do before anybody knows who is asking.
//
// Three things are decided here, cheapest first, and all of them before
// authentication: is the address blocked (also asked at accept, before TLS,
// by package shield/listen), is its request rate within the allowance, and
// does the request itself look like an attack tool's. What an address does is
// scored; the sum of the decayed scores decides on an automatic block.
//
// # Who is one client
//
// An IPv4 client is its address. An IPv6 client is its /64, because one host
// may pick any of the 2^64 addresses in it (RFC 4291 section 2.5.4, RFC 8981).
// One site is usually delegated a /48 to /60 (RFC 6177), so whoever owns a /48
// also owns 65,536 "clients"; the /48 is therefore counted a second time, with
// Config.SiteFactor times the allowance and the score threshold. The factor is
// 10 by default: large enough for a provider that puts 256 homes (/56 each)
// into one /48, small enough that owning a /48 buys ten clients and not 65,536.
//
// # What is bounded
//
// Every table has a fixed size chosen at construction; nothing grows with the
// number of addresses seen. See limiter for why an attacker cannot use
// eviction to be forgotten.
package shield
