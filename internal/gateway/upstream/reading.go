package upstream

import (
	"errors"
	"net/url"
	"strings"
)

// cleanPath refuses paths that an upstream may read otherwise than the match
// did: dot segments in any spelling, backslashes, control characters. decoded
// has been percent-decoded once.
func cleanPath(decoded string) (string, error) {
	for i := range len(decoded) {
		if c := decoded[i]; c < ' ' || c == 0x7f || c == '\\' {
			return "", errPath
		}
	}
	if !strings.Contains(decoded, "/.") {
		return decoded, nil
	}
	for seg := range strings.SplitSeq(decoded, "/") {
		if name, _, _ := strings.Cut(seg, ";"); name == "." || name == ".." { // "..;x" is ".." to servlet containers
			return "", errPath
		}
	}
	return decoded, nil
}

var errPath = errors.New("dot segments, backslashes and control characters are not passed on")

// plainHost is a Host field as a route's match is written: DNS knows no case,
// and a name may end in a dot (RFC 9110 section 4.2.3, RFC 1034 section 3.1). The
// port stays. What is neither a name nor an address is refused: nobody knows
// what an upstream that is given it would make of it.
func plainHost(host string) (string, error) {
	plain := true
	for i := range len(host) {
		switch c := host[i]; {
		case c >= 'A' && c <= 'Z':
			plain = false
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == ':', c == '[', c == ']':
		case c == '.':
			plain = plain && i+1 < len(host) && host[i+1] != ':'
		default:
			return "", errHost
		}
	}
	if plain {
		return host, nil
	}
	name, port := strings.ToLower(host), ""
	if i := strings.IndexByte(name, ':'); i >= 0 && name[0] != '[' {
		name, port = name[:i], name[i:]
	}
	return strings.TrimSuffix(name, ".") + port, nil
}

var errHost = errors.New("not the letters of a host")

// ambiguous reports a path that is written in more than one way: upstreams
// disagree whether %2F is a slash, what ; begins, and how often to decode.
func ambiguous(u *url.URL) bool { return u.RawPath != "" || strings.ContainsAny(u.Path, ";%") }

// otherReading is how the most generous upstream would read a path that has
// been decoded once: encoded slashes are slashes, however often encoded,
// parameters are no part of a segment, and slashes in a row are one.
func otherReading(decoded string) (string, error) {
	for range 3 {
		again, err := url.PathUnescape(decoded)
		if err != nil || again == decoded {
			break
		}
		decoded = again
	}
	if _, err := cleanPath(decoded); err != nil {
		return "", err
	}
	out := make([]byte, 0, len(decoded))
	for seg := range strings.SplitAfterSeq(decoded, "/") {
		name, slash := strings.CutSuffix(seg, "/")
		name, _, _ = strings.Cut(name, ";")
		out = append(out, name...)
		if slash && (len(out) == 0 || out[len(out)-1] != '/') {
			out = append(out, '/')
		}
	}
	return string(out), nil
}

// under reports that path is prefix or below it.
func under(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
