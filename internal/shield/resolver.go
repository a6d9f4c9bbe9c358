package shield

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Resolver finds the client's address of a request: the socket's peer, unless
// the peer is a trusted proxy. Then the proxies' header is read from the right,
// where our own proxies wrote, and the first address that is no trusted proxy
// is the client; what stands left of it the client may have written itself.
//
// The walk stops at the last trusted address when the next entry is not an
// address: "unknown" and obfuscated identifiers (RFC 7239 section 6.2, 6.3),
// junk, or more than maxHops proxies. If every entry is trusted, the
// left-most is the client.
//
// X-Forwarded-For and Forwarded in one request must lead to the same address.
// Where they do not, one of them is not from our proxy and nothing tells
// which: the request is refused. So is one whose Forwarded cannot be read as
// RFC 7239 has it, because an unfinished quoted string from the client would
// otherwise swallow what our proxy appended. Name the header your proxy writes
// in Header, and the other one is not looked at.
type Resolver struct {
	Trusted []netip.Prefix
	Header  string // "X-Forwarded-For", "Forwarded"; empty: both, which must agree
}

const (
	maxHops         = 32
	maxForwardBytes = 8 << 10
)

var (
	errPeer     = fault.New(fault.Invalid, "the connection has no usable address")
	errConflict = fault.New(fault.Invalid, "X-Forwarded-For and Forwarded name different clients")
	errForward  = fault.New(fault.Invalid, "the Forwarded header is malformed")
)

// Client returns the normal address of the request's client. Errors are of
// kind fault.Invalid: the request is to be refused. From a peer that is not
// trusted no header changes anything, and the only error is a RemoteAddr that
// is no address.
func (c *Resolver) Client(r *http.Request) (netip.Addr, error) {
	peer, ok := remote(r.RemoteAddr)
	if !ok {
		return netip.Addr{}, errPeer
	}
	if !c.trusts(peer) {
		return peer, nil
	}
	xff, fwd := r.Header["X-Forwarded-For"], r.Header["Forwarded"]
	switch http.CanonicalHeaderKey(c.Header) {
	case "X-Forwarded-For":
		fwd = nil
	case "Forwarded":
		xff = nil
	}
	if size(xff) > maxForwardBytes || size(fwd) > maxForwardBytes {
		return netip.Addr{}, errForward
	}
	a := c.listed(peer, xff)
	if len(fwd) == 0 {
		return a, nil
	}
	b, err := c.forwarded(peer, fwd)
	if err != nil || len(xff) == 0 {
		return b, err
	}
	if a != b {
		return netip.Addr{}, errConflict
	}
	return a, nil
}

func (c *Resolver) trusts(a netip.Addr) bool {
	for _, p := range c.Trusted {
		if q := normalPrefix(p); q.IsValid() && q.Contains(a) {
			return true
		}
	}
	return false
}

// listed walks X-Forwarded-For: comma-separated addresses, several lines being
// one list (RFC 9110 section 5.3).
func (c *Resolver) listed(peer netip.Addr, lines []string) netip.Addr {
	last, hops := peer, 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; ; {
			var entry string
			cut := strings.LastIndexByte(rest, ',')
			entry = strings.Trim(rest[cut+1:], " \t")
			a, ok := node(entry)
			if hops++; !ok || hops > maxHops {
				return last
			}
			if !c.trusts(a) {
				return a
			}
			last = a
			if cut < 0 {
				break
			}
			rest = rest[:cut]
		}
	}
	return last
}

// forwarded walks Forwarded (RFC 7239). Elements are read from the left, since
// a comma may stand in a quoted string, and then walked from the right.
func (c *Resolver) forwarded(peer netip.Addr, lines []string) (netip.Addr, error) {
	last, hops := peer, 0
	for i := len(lines) - 1; i >= 0; i-- {
		var last32 [maxHops]string
		n, ok := elements(lines[i], &last32)
		if !ok {
			return netip.Addr{}, errForward
		}
		for j := n - 1; j >= 0 && j >= n-maxHops; j-- {
			a, ok := node(last32[j%maxHops])
			if hops++; !ok || hops > maxHops {
				return last, nil
			}
			if !c.trusts(a) {
				return a, nil
			}
			last = a
		}
	}
	return last, nil
}

// elements parses one Forwarded line into the "for" of each element ("" where
// it has none), keeping the last maxHops of them in a ring, and returns how
// many there were.
func elements(s string, ring *[maxHops]string) (n int, ok bool) {
	for {
		node, seen := "", false
		for {
			s = strings.TrimLeft(s, " \t")
			name := token(s)
			if name == "" {
				if s == "" || s[0] == ',' {
					break // an empty pair at the element's end, or an empty element
				}
				if s[0] != ';' {
					return n, false
				}
				s = s[1:]
				continue
			}
			s = s[len(name):]
			if s == "" || s[0] != '=' {
				return n, false
			}
			s = s[1:]
			var value string
			if s != "" && s[0] == '"' {
				end := quoted(s)
				if end < 0 {
					return n, false
				}
				value, s = s[1:end-1], s[end:]
			} else {
				value = token(s)
				if value == "" {
					return n, false
				}
				s = s[len(value):]
			}
			if strings.EqualFold(name, "for") {
				if seen {
					return n, false // each parameter occurs once (section 4)
				}
				node, seen = value, true
			}
			s = strings.TrimLeft(s, " \t")
			if s == "" || s[0] != ';' {
				break
			}
			s = s[1:]
		}
		ring[n%maxHops] = node
		n++
		if s == "" {
			return n, true
		}
		if s[0] != ',' {
			return n, false
		}
		s = s[1:]
	}
}

// token is the longest token (RFC 9110 section 5.6.2) that s begins with.
func token(s string) string {
	for i := 0; i < len(s); i++ {
		if !tokenByte(s[i]) {
			return s[:i]
		}
	}
	return s
}

func tokenByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// quoted returns the length of the quoted string s begins with, or -1. Escapes
// are accepted but not undone: no address needs one, so node refuses it.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
		case c < ' ' && c != '\t', c == 0x7f:
			return -1
		}
	}
	return -1
}

// node parses an address with an optional port: 192.0.2.1, 192.0.2.1:80,
// 2001:db8::1, [2001:db8::1], [2001:db8::1]:80, the port also obfuscated
// (RFC 7239 section 6). Zones are refused: they mean nothing off the proxy.
func node(s string) (netip.Addr, bool) {
	if s == "" || len(s) > 64 {
		return netip.Addr{}, false
	}
	host, port := s, ""
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return netip.Addr{}, false
		}
		host = s[1:end]
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' || !portName(rest[1:]) {
				return netip.Addr{}, false
			}
		}
		if strings.IndexByte(host, ':') < 0 {
			return netip.Addr{}, false
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 && i == strings.LastIndexByte(s, ':') {
		if host, port = s[:i], s[i+1:]; !portName(port) {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || a.IsUnspecified() {
		return netip.Addr{}, false
	}
	return Normal(a), true
}

func portName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	if s[0] == '_' {
		return len(s) > 1 && len(token(s)) == len(s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) <= 5
}

// remote parses a RemoteAddr, which net/http writes as host:port.
func remote(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return Normal(ap.Addr()), true
	}
	a, err := netip.ParseAddr(s)
	return Normal(a), err == nil
}

func size(lines []string) (n int) {
	for _, l := range lines {
		n += len(l)
	}
	return n
}
