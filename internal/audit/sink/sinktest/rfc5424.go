package sinktest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Message is an RFC 5424 message.
type Message struct {
	Facility, Severity                  int
	Time, Host, App, ProcID, MsgID, Msg string
	BOM                                 bool
	SD                                  map[string]map[string]string
}

var header = regexp.MustCompile(`^<(0|[1-9][0-9]{0,2})>1 ` +
	`(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)) ` +
	`([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) `)

// Parse reads a message by RFC 5424's grammar, section 6, and nothing looser.
func Parse(b []byte) (*Message, error) {
	m := header.FindSubmatch(b)
	if m == nil {
		return nil, fmt.Errorf("no RFC 5424 header: %.120q", b)
	}
	pri, _ := strconv.Atoi(string(m[1]))
	if pri > 191 {
		return nil, fmt.Errorf("PRI %d", pri)
	}
	out := &Message{Facility: pri / 8, Severity: pri % 8, Time: string(m[2]), Host: string(m[3]), App: string(m[4]), ProcID: string(m[5]), MsgID: string(m[6]), SD: map[string]map[string]string{}}
	rest := string(b[len(m[0]):])
	if strings.HasPrefix(rest, "-") {
		rest = rest[1:]
	} else {
		var err error
		if rest, err = out.structured(rest); err != nil {
			return nil, err
		}
	}
	if rest == "" {
		return out, nil
	}
	if rest[0] != ' ' {
		return nil, fmt.Errorf("after STRUCTURED-DATA: %.40q", rest)
	}
	rest = rest[1:]
	if rest, out.BOM = strings.CutPrefix(rest, "\xef\xbb\xbf"); out.BOM {
		if !utf8.ValidString(rest) {
			return nil, errors.New("a mark and no UTF-8")
		}
	} else if strings.ContainsFunc(rest, func(r rune) bool { return r >= 0x80 }) {
		return nil, errors.New("beyond ASCII without the mark")
	}
	out.Msg = rest
	return out, nil
}

func (m *Message) structured(s string) (string, error) {
	for strings.HasPrefix(s, "[") {
		id, rest, err := sdName(s[1:])
		if err != nil {
			return "", err
		}
		if m.SD[id] != nil {
			return "", fmt.Errorf("SD-ID %s twice", id)
		}
		m.SD[id] = map[string]string{}
		for strings.HasPrefix(rest, " ") {
			name, after, err := sdName(rest[1:])
			if err != nil {
				return "", err
			}
			if !strings.HasPrefix(after, `="`) {
				return "", fmt.Errorf("PARAM %s without value", name)
			}
			after = after[2:]
			var value strings.Builder
			for {
				if after == "" {
					return "", errors.New("PARAM-VALUE without end")
				}
				c := after[0]
				if c == '"' {
					break
				}
				if c == ']' {
					return "", errors.New("a bracket unescaped")
				}
				if c == '\\' {
					if len(after) < 2 || !strings.ContainsRune(`"\]`, rune(after[1])) {
						return "", errors.New("a backslash unescaped")
					}
					after, c = after[1:], after[1]
				}
				value.WriteByte(c)
				after = after[1:]
			}
			if !utf8.ValidString(value.String()) {
				return "", errors.New("PARAM-VALUE is no UTF-8")
			}
			m.SD[id][name] = value.String()
			rest = after[1:]
		}
		if !strings.HasPrefix(rest, "]") {
			return "", fmt.Errorf("SD-ELEMENT without end: %.40q", rest)
		}
		s = rest[1:]
	}
	if len(m.SD) == 0 {
		return "", fmt.Errorf("no STRUCTURED-DATA: %.40q", s)
	}
	return s, nil
}

func sdName(s string) (name, rest string, err error) {
	i := strings.IndexAny(s, "= ]\"")
	if i < 1 || i > 32 {
		return "", "", fmt.Errorf("SD-NAME: %.40q", s)
	}
	for _, c := range []byte(s[:i]) {
		if c < '!' || c > '~' {
			return "", "", fmt.Errorf("SD-NAME: %q", s[:i])
		}
	}
	return s[:i], s[i:], nil
}

// Frame reads one octet-counted frame (RFC 5425, section 4.3); io.EOF only
// between frames.
func Frame(r *bufio.Reader) ([]byte, error) {
	n := 0
	for i := 0; ; i++ {
		c, err := r.ReadByte()
		switch {
		case err == io.EOF && i > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case c == ' ' && i > 0:
			b := make([]byte, n)
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, io.ErrUnexpectedEOF
			}
			return b, nil
		case c < '0' || c > '9' || i == 0 && c == '0' || i > 6:
			return nil, fmt.Errorf("MSG-LEN holds %q", c)
		}
		n = n*10 + int(c-'0')
	}
}

var cefKey = regexp.MustCompile(`^[A-Za-z0-9]+$`)

// ParseCEF reads a CEF message: the seven header fields after the version, and
// the extension.
func ParseCEF(s string) (fields []string, ext map[string]string, err error) {
	rest, ok := strings.CutPrefix(s, "CEF:0|")
	if !ok {
		return nil, nil, fmt.Errorf("no CEF: %.60q", s)
	}
	var field strings.Builder
	for len(fields) < 6 {
		if rest == "" {
			return nil, nil, errors.New("the header is short")
		}
		c := rest[0]
		rest = rest[1:]
		switch c {
		case '|':
			fields = append(fields, field.String())
			field.Reset()
		case '\\':
			if rest == "" || rest[0] != '\\' && rest[0] != '|' {
				return nil, nil, errors.New("a backslash unescaped in the header")
			}
			field.WriteByte(rest[0])
			rest = rest[1:]
		default:
			field.WriteByte(c)
		}
	}
	// Each unescaped equals sign ends a key, which begins after a space.
	ext = map[string]string{}
	var marks []int
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
			if i == len(rest) || !strings.ContainsRune(`\=nr`, rune(rest[i])) {
				return nil, nil, errors.New("a backslash unescaped in the extension")
			}
		case '=':
			marks = append(marks, i)
		}
	}
	unescape := strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r")
	begin := 0
	for k, at := range marks {
		key := rest[begin:at]
		if !cefKey.MatchString(key) {
			return nil, nil, fmt.Errorf("the key %q", key)
		}
		if _, twice := ext[key]; twice {
			return nil, nil, fmt.Errorf("the key %s twice", key)
		}
		end := len(rest)
		if k+1 < len(marks) {
			if end = strings.LastIndexByte(rest[:marks[k+1]], ' '); end < at {
				return nil, nil, errors.New("two equals signs in one value")
			}
			begin = end + 1
		}
		ext[key] = unescape.Replace(rest[at+1 : end])
	}
	return fields, ext, nil
}
