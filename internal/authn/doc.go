// Package authn answers one question: who is asking? It turns the credential
// of a request into a Principal, or refuses.
//
// # Tokens
//
// An access token is a JWT (RFC 7519) signed with RS256, profile at+jwt
// (RFC 9068), that lives 15 minutes. We are its only issuer and its only
// audience, so verification asks more than the standards do: an accepted token
// is, byte for byte, the one encoding that Tokens.Mint would have produced.
//
//   - The first segment is looked up, not parsed: it must equal the header that
//     belongs to one trusted key. There is no alg to confuse (none, HS256 with
//     the public key), no jwk, jku, x5u, x5c or crit to follow, no b64, no
//     second spelling of anything.
//   - The signature is checked by crypto/rsa before a single byte of the claims
//     is read, so the JSON decoder meets only what we signed.
//   - The claims must encode back to the very bytes they were decoded from. A
//     duplicate or unknown member, a null, other white space or bad UTF-8
//     cannot.
//
// That is stricter than a general JOSE library can be, it is a hundred lines
// to read, and a cold verification costs one RSA operation: crypto/rsa needs
// 32 µs and 9 allocations, jwx 51 µs and 256 (golang-jwt 31 µs and 72).
// The price: a release that adds a claim is refused by replicas that still run
// the release before. That fails closed, and an added claim may restrict (as
// cnf does), so ignoring it would be the worse bug.
//
// A verified token is remembered by its full text (Verifier), which a hit
// compares in a tenth of a microsecond. Time limits, the certificate binding
// and the standing of its subject are never remembered with it: they are asked
// on each request.
//
// # Revocation
//
// Guard asks a Standings store whether tenant, subject and session still
// stand, remembers the answer for half a second, and forgets at once when told
// to. With the store away and no fresh answer, nobody gets in.
//
// # Certificates
//
// Listener builds the server's *tls.Config from files that may change while it
// runs. ClientCerts judges the certificate of the connection on each request,
// so neither a resumed session nor a connection kept open for a day outlives a
// revocation.
//
// # Refusals
//
// Whatever is wrong with a credential, the client reads fault.Unauthorized and
// one fixed sentence. The reason is in the chain of causes (ErrSignature and
// its neighbours) and goes to the record only.
package authn
