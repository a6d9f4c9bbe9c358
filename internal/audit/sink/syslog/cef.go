package syslog

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
)

// cefSeverities: 0-3 low, 4-6 medium, 7-8 high, 9-10 very high.
var cefSeverities = map[audit.Severity]string{
	audit.Info: "2", audit.Warning: "5", audit.High: "8", audit.Critical: "10",
}

// appendCEF writes ArcSight's Common Event Format, version 0 of the header and
// the keys of revision 25 (Implementation Standard, "CEF key names"):
//
//	CEF:0|vendor|product|version|class|name|severity|extension
func appendCEF(dst []byte, c *Config, it *sink.Item) []byte {
	e := &it.Entry
	sev, ok := cefSeverities[e.Severity]
	if !ok {
		sev = "10"
	}
	dst = append(dst, "CEF:0"...)
	for _, field := range [...]string{"openclaw", "openclaw", c.Version, string(e.Type), title(e), sev} {
		dst = append(dst, '|')
		dst = appendHeader(dst, clean(field))
	}
	dst = append(dst, '|')
	first := true
	put := func(key, value string, most int) {
		if value == "" {
			return
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		dst = append(dst, key...)
		dst = append(dst, '=')
		dst = appendValue(dst, clip(clean(value), most))
	}
	label := func(key, name, value string, most int) {
		if value != "" {
			put(key+"Label", name, 1023)
			put(key, value, most)
		}
	}
	put("rt", millis(e.Time), 20)
	put("externalId", e.ID.String(), 40)
	put("cat", "audit", 1023)
	put("act", e.Action, 63)
	put("outcome", string(e.Outcome), 63)
	put("reason", e.Reason, 1023)
	put("suid", e.Actor.ID, 1023)
	put("suser", e.Actor.Name, 1023)
	put("spriv", string(e.Actor.Kind), 1023)
	if ip, err := netip.ParseAddr(e.IP); err == nil {
		if ip.Is4() {
			put("src", e.IP, 64)
		} else {
			label("c6a2", "source IPv6 address", e.IP, 64)
		}
	}
	put("requestClientApplication", e.UserAgent, 1023)
	label("cn1", "sequence number", strconv.FormatInt(e.Seq, 10), 20)
	label("cs1", "tenant", it.Tenant, 4000)
	label("cs2", "resource", e.Resource, 4000)
	label("cs3", "request id", e.RequestID, 4000)
	label("cs4", "policy hash", e.PolicyHash, 4000)
	label("cs5", "details", string(e.Details), 4000)
	label("cs6", "leaf hash", e.Leaf, 4000)
	return dst
}

// title is the event's type for people.
func title(e *audit.Entry) string {
	s := strings.ToLower(strings.ReplaceAll(string(e.Type), "_", " "))
	if s == "" {
		return "unknown"
	}
	return s
}

// appendHeader escapes backslash and pipe; a header has no way to write the end
// of a line.
func appendHeader(dst []byte, s string) []byte {
	for _, r := range s {
		switch r {
		case '\\', '|':
			dst = append(dst, '\\', byte(r))
		case '\r', '\n', '\t':
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, printable(r))
		}
	}
	return dst
}

// appendValue escapes backslash and equals sign, and writes the ends of lines as
// \r and \n.
func appendValue(dst []byte, s string) []byte {
	for _, r := range s {
		switch r {
		case '\\', '=':
			dst = append(dst, '\\', byte(r))
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, printable(r))
		}
	}
	return dst
}
