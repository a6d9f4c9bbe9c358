package export

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

const csvHeader = "seq,id,time,type,severity,actor_kind,actor_id,actor_name,action,resource,outcome,reason,ip,user_agent,request_id,policy_hash,details,leaf\r\n"

func appendRow(dst []byte, e audit.Entry) ([]byte, error) {
	dst = strconv.AppendInt(dst, e.Seq, 10)
	for _, cell := range [...]string{
		e.ID.String(), e.Time.UTC().Format(time.RFC3339Nano), string(e.Type), string(e.Severity),
		string(e.Actor.Kind), e.Actor.ID, e.Actor.Name, e.Action, e.Resource, string(e.Outcome), e.Reason,
		e.IP, e.UserAgent, e.RequestID, e.PolicyHash, string(e.Details), e.Leaf,
	} {
		dst = appendCell(append(dst, ','), cell)
	}
	return append(dst, '\r', '\n'), nil
}

// appendCell writes a quoted cell. A cell that a spreadsheet might take for a
// formula gets a single quote first (OWASP, CSV Injection): one that starts, white
// space and what cannot be seen aside, with = + - @ or their full-width and small
// forms, or with a control character. Every cell is quoted, so neither a separator of another locale nor a
// line end inside starts a new cell.
func appendCell(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	dst = append(dst, '"')
	if dangerous(s) {
		dst = append(dst, '\'')
	}
	for {
		i := strings.IndexAny(s, "\"\x00")
		if i < 0 {
			break
		}
		dst = append(dst, s[:i]...)
		if s[i] == '"' { // and NUL, which ends a cell for some readers, goes
			dst = append(dst, '"', '"')
		}
		s = s[i+1:]
	}
	return append(append(dst, s...), '"')
}

func dangerous(s string) bool {
	if s == "" {
		return false
	}
	if s[0] < ' ' || s[0] == 0x7f {
		return true
	}
	shown := strings.TrimLeftFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.In(r, unicode.C) })
	r, _ := utf8.DecodeRuneInString(shown)
	return strings.ContainsRune("=+-@＝＋－＠﹦﹢﹣﹫−", r) && r != utf8.RuneError
}
