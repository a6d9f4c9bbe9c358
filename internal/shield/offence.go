package shield

import "time"

// Offence is one thing an address did that honest clients seldom do.
type Offence uint8

const (
	Flood           Offence = iota // a request beyond the allowance
	Probe                          // a path or query only scanners ask for
	Tool                           // an attack tool's own User-Agent
	Smuggling                      // a request two servers would frame differently
	Malformed                      // bytes that are not HTTP, bad chunk framing
	HeaderFlood                    // more header fields than allowed
	Oversize                       // a head or body larger than allowed
	LoginFailure                   // a wrong credential
	Spray                          // many accounts from one address, or many addresses on one account
	Missing                        // an answer 404
	Denied                         // an answer 401 that was no login
	RapidReset                     // HTTP/2 streams cancelled beyond the budget (CVE-2023-44487)
	SlowHeader                     // a request head that did not end in time
	SlowBody                       // a request body below the minimum rate
	Handshake                      // TLS or PROXY protocol failed or took too long
	ConnectionFlood                // a connection beyond the address's cap
	FrameFlood                     // HTTP/2 frames that cost work and carry nothing
	offences        = iota
)

var offenceNames = [offences]string{
	"flood", "probe", "tool", "smuggling", "malformed", "header_flood",
	"oversize", "login_failure", "spray", "missing", "denied", "rapid_reset",
	"slow_header", "slow_body", "handshake", "connection_flood",
	"frame_flood",
}

// String is the offence's stable name: it stands in blocks, events and metrics.
func (o Offence) String() string {
	if int(o) < len(offenceNames) {
		return offenceNames[o]
	}
	return "unknown"
}

// Points is what each offence adds to the score, by offence.
type Points [offences]float32

// Threshold is the score at which a client is blocked, and HalfLife the time in
// which a score halves.
const (
	Threshold = 100
	HalfLife  = 2 * time.Minute
)

// DefaultPoints are chosen against a threshold of 100 and a half-life of two
// minutes. The comment is what a quick burst needs to be blocked; behind it,
// why an office of a few hundred people behind one address stays below.
func DefaultPoints() Points {
	var p Points
	p[Flood] = 0.25 // 400 refused requests: a client that obeys Retry-After never gets there
	p[Probe] = 21   // 5 probes: one stray /.env is not an attack
	p[Tool] = 51    // 2 requests: nobody browses with sqlmap
	p[Smuggling] = 51
	p[Malformed] = 26
	p[HeaderFlood] = 26
	p[Oversize] = 11
	p[LoginFailure] = 4 // 25 wrong passwords
	p[Spray] = 35
	p[Missing] = 1.5    // 67 broken links
	p[Denied] = 2       // 50: a page full of calls with an expired token makes a dozen
	p[RapidReset] = 100 // the per-connection budget has already been lenient
	p[SlowHeader] = 10  // a phone in a tunnel does this once
	p[SlowBody] = 10
	p[Handshake] = 2       // old clients retry with other versions
	p[ConnectionFlood] = 1 // 100 connections beyond the cap
	p[FrameFlood] = 51     // 2 connections
	return p
}
