package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/google/uuid"
)

// target is an upstream's URL, in which a tenant may fill a place.
type target struct {
	scheme    string // http, https, h2c
	host      string // as written, without port
	port      string
	path      string // as written, without a trailing slash
	hostPlace bool
	pathPlace bool
}

const (
	placeName = "{tenant}"
	placeID   = "{tenant_id}"
)

// parseTarget reads an upstream's URL. It takes it apart by hand: net/url is
// lenient where a template's host must not be.
func parseTarget(s string) (target, error) {
	var t target
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "http" && scheme != "https" && scheme != "h2c" {
		return t, errors.New("want http://, https:// or h2c:// and a host")
	}
	t.scheme = scheme
	for i := range len(rest) {
		if c := rest[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`@?#\"<>^|`+"`", c) >= 0 {
			return t, fmt.Errorf("%q has no place in an upstream's URL; give no user, query or fragment", string(rune(c)))
		}
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	t.path = strings.TrimRight(path, "/")
	t.host, t.port = authority, map[string]string{"http": "80", "https": "443", "h2c": "80"}[scheme]
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		t.host, t.port = authority[:i], authority[i+1:]
		if n, err := strconv.ParseUint(t.port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != t.port {
			return t, fmt.Errorf("port %q: want 1 to 65535", t.port)
		}
	}
	var err error
	if t.hostPlace, err = checkPlaces(t.host); err != nil {
		return t, err
	}
	if t.pathPlace, err = checkPlaces(t.path); err != nil {
		return t, err
	}
	if err := t.checkHost(); err != nil {
		return t, err
	}
	if _, err := cleanPath(fill(t.path, "a", uuid.Nil.String()) + "/"); err != nil {
		return t, err
	}
	return t, nil
}

func checkPlaces(s string) (bool, error) {
	bare := strings.NewReplacer(placeName, "", placeID, "").Replace(s)
	if strings.ContainsAny(bare, "{}") {
		return false, errors.New("the only places to fill are {tenant} and {tenant_id}")
	}
	return bare != s, nil
}

func (t *target) checkHost() error {
	if t.host == "" {
		return errors.New("no host")
	}
	lit := strings.TrimSuffix(strings.TrimPrefix(t.host, "["), "]")
	if a, err := netip.ParseAddr(lit); err == nil {
		if a.Is6() != (lit != t.host) || a.Zone() != "" {
			return errors.New("write an IPv6 address in brackets and without a zone")
		}
		return checkAddr(a, false, false)
	}
	labels := strings.Split(strings.TrimSuffix(t.host, "."), ".")
	last := labels[len(labels)-1]
	if t.hostPlace && (len(labels) < 2 || strings.Contains(last, "{")) {
		return errors.New("{tenant} may fill one label of a host, with fixed labels after it, as in {tenant}.agents.example.com")
	}
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(strings.ToLower(last), "0x") {
		return errors.New("this is neither a name nor an address") // 127.1, 0x7f.1: resolvers read these as addresses
	}
	for _, l := range labels {
		if !isLabel(fill(l, "a", uuid.Nil.String())) {
			return fmt.Errorf("%q is not a label of a host name", l)
		}
	}
	return nil
}

// isLabel: 1 to 63 of letters, digits, - and _ (which container networks use),
// no hyphen at an end.
func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func fill(s, name, id string) string {
	if strings.IndexByte(s, '{') < 0 {
		return s
	}
	return strings.NewReplacer(placeName, name, placeID, id).Replace(s)
}

// authority is host:port, always with the port.
func (t *target) authority(id Identity) string { return t.filledHost(id) + ":" + t.port }

func (t *target) filledHost(id Identity) string { return fill(t.host, id.TenantName, id.TenantID) }

// resolve fills the places. A tenant whose name does not fit has no upstream.
func (t *target) resolve(id Identity) (authority, path string, err error) {
	if !t.hostPlace && !t.pathPlace {
		return t.host + ":" + t.port, t.path, nil
	}
	u, perr := uuid.Parse(id.TenantID)
	// Lower case only: two tenants must not meet in one host name.
	if perr != nil || u.String() != id.TenantID || !isLabel(id.TenantName) || strings.ToLower(id.TenantName) != id.TenantName {
		return "", "", fault.New(fault.NotFound, "this tenant has no upstream here")
	}
	host := t.filledHost(id)
	if t.hostPlace {
		for l := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
			if !isLabel(l) { // too long, once filled
				return "", "", fault.New(fault.NotFound, "this tenant has no upstream here")
			}
		}
	}
	return host + ":" + t.port, fill(t.path, id.TenantName, id.TenantID), nil
}

var metadataServices = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
}

// checkAddr says where no upstream may stand. The rest of the metadata services
// are link-local.
func checkAddr(a netip.Addr, filled, loopback bool) error {
	a = a.Unmap()
	switch {
	case a.IsLinkLocalUnicast(), a.IsMulticast(), a.IsUnspecified(), !a.IsValid(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s is link-local, multicast or no address: no upstream stands there", a)
	case filled && a.IsLoopback() && !loopback:
		return fmt.Errorf("%s is loopback, which a tenant's name may not lead to", a)
	}
	for _, p := range metadataServices {
		if p.Contains(a) {
			return fmt.Errorf("%s is a cloud's metadata service", a)
		}
	}
	return nil
}

// control is net.Dialer.Control: it sees the address after the name is resolved,
// so a name cannot be rebound between a check and its use.
func control(filled, loopback bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		return checkAddr(ap.Addr(), filled, loopback)
	}
}

// dialAddress is what to dial for an authority: names under .localhost are
// loopback by definition (RFC 6761 section 6.3), and not every resolver knows.
func dialAddress(authority string) (address string, loopback bool) {
	host, port, err := net.SplitHostPort(authority)
	if err == nil && strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".localhost") {
		return net.JoinHostPort("127.0.0.1", port), true
	}
	return authority, false
}
