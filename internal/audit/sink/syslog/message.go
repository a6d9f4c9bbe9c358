package syslog

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
)

// severities are RFC 5424's, section 6.2.1.
var severities = map[audit.Severity]int{
	audit.Info: 6, audit.Warning: 4, audit.High: 3, audit.Critical: 2,
}

func severity(s audit.Severity) int {
	if n, ok := severities[s]; ok {
		return n
	}
	return 1 // alert: nobody knows what it is
}

// bom begins a MSG in UTF-8 (RFC 5424, section 6.4).
const bom = "\xef\xbb\xbf"

// maxSequence is that of meta's sequenceId (RFC 5424, section 7.3.1).
const maxSequence = 2147483647

// append adds one message, without its frame. One that would be longer than
// MaxMessage loses its details first, then the ends of its texts, and says so;
// it stays whole JSON, or whole CEF.
func (c *Config) append(dst []byte, it *sink.Item) []byte {
	begin := len(dst)
	dst = c.message(dst, it)
	for _, most := range [...]int{maxText, 128, 16} {
		if len(dst)-begin <= c.MaxMessage {
			return dst
		}
		short := *it
		e := &short.Entry
		e.Details = []byte(`{"truncated":true}`)
		for _, s := range [...]*string{&e.Actor.ID, &e.Actor.Name, &e.Action, &e.Resource, &e.Reason, &e.UserAgent, &e.RequestID, &e.PolicyHash, &e.Leaf} {
			*s = clip(*s, most)
		}
		e.Outcome = audit.Outcome(clip(string(e.Outcome), 16))
		dst = c.message(dst[:begin], &short)
	}
	return dst
}

// MinMessage is the least MaxMessage: what RFC 5425 has every receiver take, and
// room for a message whose texts are cut.
const MinMessage = 2048

const maxText = 512 // bytes; the log's own bound

func (c *Config) message(dst []byte, it *sink.Item) []byte {
	e := &it.Entry
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(c.Facility*8+severity(e.Severity)), 10)
	dst = append(dst, ">1 "...)
	dst = e.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, ' ')
	dst = appendName(dst, c.Host, 255)
	dst = append(dst, ' ')
	dst = appendName(dst, c.App, 48)
	dst = append(dst, " - "...)
	dst = appendName(dst, string(e.Type), 32)
	dst = append(dst, ` [meta sequenceId="`...)
	dst = strconv.AppendInt(dst, (e.Seq-1)%maxSequence+1, 10)
	dst = append(dst, `"][origin software="openclaw" swVersion="`...)
	dst = appendParam(dst, clip(c.Version, 32))
	dst = append(dst, `"][`...)
	dst = append(dst, c.SDID...)
	for _, p := range [...]struct{ name, value string }{
		{"tenant", clip(it.Tenant, 64)}, {"seq", strconv.FormatInt(e.Seq, 10)}, {"id", e.ID.String()}, {"outcome", clip(string(e.Outcome), 32)},
	} {
		dst = append(dst, ' ')
		dst = append(dst, p.name...)
		dst = append(dst, `="`...)
		dst = appendParam(dst, p.value)
		dst = append(dst, '"')
	}
	dst = append(dst, "] "...)
	begin := len(dst)
	if c.Format == JSON {
		return appendJSON(dst, it) // pure ASCII: MSG-ANY, no mark
	}
	dst = appendCEF(dst, c, it)
	if c.NoBOM {
		return dst
	}
	for _, b := range dst[begin:] {
		if b >= utf8.RuneSelf {
			dst = append(dst, bom...)
			copy(dst[begin+len(bom):], dst[begin:])
			copy(dst[begin:], bom)
			break
		}
	}
	return dst
}

// appendName writes a header field: PRINTUSASCII, bounded, "-" for none.
func appendName(dst []byte, s string, most int) []byte {
	begin := len(dst)
	for i := 0; i < len(s) && len(dst)-begin < most; i++ {
		if s[i] > ' ' && s[i] < 0x7f {
			dst = append(dst, s[i])
		}
	}
	if len(dst) == begin {
		dst = append(dst, '-')
	}
	return dst
}

// appendParam writes a PARAM-VALUE: UTF-8 with quote, backslash and closing
// bracket escaped (RFC 5424, section 6.3.3), and nothing that ends a line.
func appendParam(dst []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == ']':
			dst = append(dst, '\\', byte(r))
		default:
			dst = utf8.AppendRune(dst, printable(r))
		}
	}
	return dst
}

// printable replaces what a receiver could take for the end of a line, of a
// text, or for a terminal's command: C0 and C1 controls, DEL, the line and
// paragraph separators, and the marks that turn the reading direction.
func printable(r rune) rune {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff:
		return utf8.RuneError
	}
	return r
}

// clip bounds a text without breaking a character.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

func clean(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// millis is CEF's time.
func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
