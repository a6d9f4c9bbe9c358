package syslog

import (
	"encoding/json"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
)

// appendJSON writes the entry as one line of JSON in ASCII.
func appendJSON(dst []byte, it *sink.Item) []byte {
	e := it.Entry
	if !json.Valid(e.Details) {
		e.Details = nil
	}
	text, err := json.Marshal(struct {
		Tenant string `json:"tenant"`
		Name   string `json:"tenant_name"`
		audit.Entry
	}{it.Tenant, it.Name, e})
	if err != nil { // no value of an entry can do this
		text = []byte(`{"seq":` + fmt.Sprint(e.Seq) + `,"error":"the event is no JSON"}`)
	}
	for len(text) > 0 {
		b := text[0]
		if b == 0x7f {
			dst = append(dst, "\\u007f"...)
			text = text[1:]
			continue
		}
		if b < utf8.RuneSelf {
			dst = append(dst, b)
			text = text[1:]
			continue
		}
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		if a, z := utf16.EncodeRune(r); a != utf8.RuneError {
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, a, z)
		} else {
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
	}
	return dst
}
