package syslog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/sinktest"
)

func config(f Format) *Config {
	return &Config{Format: f, Facility: 13, Host: "openclaw.example.com", App: "openclaw", Version: "0.1.0", SDID: "openclaw@32473", MaxMessage: 8192}
}

// hostile puts one text wherever text from outside may stand.
func hostile(evil string) *sink.Item {
	details, _ := json.Marshal(map[string]string{"k": evil})
	return &sink.Item{Tenant: "0192e4a0-7d3c-7000-8000-000000000001", Name: "acme", Entry: audit.Entry{
		Seq: 7, ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), Time: time.Date(2026, 11, 22, 8, 9, 10, 123456000, time.UTC),
		Type: audit.LoginFailed, Severity: audit.Warning, Actor: audit.EntryActor{Kind: audit.ActorUser, ID: evil, Name: evil},
		Action: evil, Resource: evil, Outcome: audit.Outcome(evil), Reason: evil, IP: "203.0.113.9", UserAgent: evil, RequestID: evil, PolicyHash: evil,
		Details: details, Leaf: evil,
	}}
}

var evils = []string{
	"plain", "", `a|b\c=d`, `\`, `\\`, `=`, `"`, `]`, `"]`, `\"]`, "a=b c=d", " cs1=other", "x\nCEF:0|a|b|c|d|e|1|", "\r\n<134>1 2026-01-01T00:00:00Z h a - - - forged",
	"\x00", "a\x00b", "\x1b[2J", "\u0085", "\u2028x", "\u2029", "\u202eevil", "\ufeff", "é世界🙂", "\xff\xfe", "\xc3", "\xed\xa0\x80", "tab\there", "]][x@1 y=\"z\"",
	"12 <134>1 - - - - - -", strings.Repeat("é", 4_000), strings.Repeat("|=\\\n\"]", 1_000), "a\\nb", `\n`, `\r\=\|`, "\x7f\x9b",
}

// check holds one message to the standards and to what it should say.
func check(t testing.TB, c *Config, it *sink.Item, evil string) {
	t.Helper()
	text := c.append([]byte("12345"), it)[5:]
	if len(text) > c.MaxMessage {
		t.Fatalf("%.40q: %d bytes", evil, len(text))
	}
	if i := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		t.Fatalf("%.40q: a control character in %.300q", evil, text)
	}
	// Framed among others it is one frame, and they stay whole.
	frames := fmt.Appendf(nil, "%d %s%d %s%d %s", len(text), text, 3, "abc", len(text), text)
	r := bufio.NewReader(bytes.NewReader(frames))
	for _, want := range [][]byte{text, []byte("abc"), text} {
		if got, err := sinktest.Frame(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%.40q: frame: %v", evil, err)
		}
	}
	if _, err := sinktest.Frame(r); err != io.EOF {
		t.Fatalf("%.40q: more frames than messages", evil)
	}
	m, err := sinktest.Parse(text)
	if err != nil {
		t.Fatalf("%.40q: %v\n%.400q", evil, err, text)
	}
	if m.Facility != 13 || m.Severity != 4 || m.Time != "2026-11-22T08:09:10.123456Z" || m.Host != "openclaw.example.com" || m.MsgID != "LOGIN_FAILED" ||
		m.SD["meta"]["sequenceId"] != "7" || m.SD["openclaw@32473"]["seq"] != "7" || m.SD["openclaw@32473"]["tenant"] != it.Tenant || len(m.SD) != 3 {
		t.Fatalf("%.40q: %+v", evil, m)
	}
	if c.Format == JSON {
		var e struct {
			Tenant string
			Seq    int64
			Reason string
			Actor  struct{ ID string }
		}
		if err := json.Unmarshal([]byte(m.Msg), &e); err != nil || e.Seq != 7 || e.Tenant != it.Tenant {
			t.Fatalf("%.40q: %v: %.300q", evil, err, m.Msg)
		}
		if len(evil) <= 16 && utf8.ValidString(evil) && e.Reason != evil {
			t.Errorf("%.40q became %.40q", evil, e.Reason)
		}
		return
	}
	fields, ext, err := sinktest.ParseCEF(m.Msg)
	if err != nil {
		t.Fatalf("%.40q: %v\n%.600q", evil, err, m.Msg)
	}
	if len(fields) != 6 || fields[0] != "openclaw" || fields[2] != "0.1.0" || fields[3] != "LOGIN_FAILED" || fields[5] != "5" {
		t.Fatalf("%.40q: header %q", evil, fields)
	}
	if ext["cn1"] != "7" || ext["cs1"] != it.Tenant || ext["src"] != "203.0.113.9" || ext["externalId"] != it.Entry.ID.String() {
		t.Fatalf("%.40q: extension %q", evil, ext)
	}
	want := []rune(strings.ToValidUTF8(evil, "\ufffd"))
	for i, r := range want {
		switch {
		case r == '\t':
			want[i] = ' '
		case r != '\n' && r != '\r':
			want[i] = printable(r)
		}
	}
	if got := ext["suid"]; len(evil) <= 16 && got != string(want) {
		t.Errorf("%.40q became %.80q", evil, got)
	}
}

func TestHostileContents(t *testing.T) {
	t.Parallel()
	for _, f := range []Format{CEF, JSON} {
		for _, evil := range evils {
			for _, most := range []int{8192, MinMessage, 1 << 20} {
				c := config(f)
				c.MaxMessage = most
				check(t, c, hostile(evil), evil)
			}
		}
		big := hostile("x") // details of a megabyte, which no log holds
		big.Entry.Details, _ = json.Marshal(map[string]string{"k": strings.Repeat("|=\\\n\"]", 170_000)})
		check(t, config(f), big, "x")
	}
}

func TestSeverities(t *testing.T) {
	t.Parallel()
	for s, want := range map[audit.Severity]int{audit.Info: 6, audit.Warning: 4, audit.High: 3, audit.Critical: 2, "NEW": 1} {
		it := hostile("x")
		it.Entry.Severity = s
		m, err := sinktest.Parse(config(CEF).append(nil, it))
		if err != nil || m.Severity != want || m.Facility != 13 {
			t.Errorf("%s: %+v %v", s, m, err)
		}
	}
}

// The mark stands before text beyond ASCII, and only there; a sequenceId beyond
// its maximum begins at 1 again (RFC 5424, 6.4 and 7.3.1).
func TestMarkAndSequence(t *testing.T) {
	t.Parallel()
	for evil, mark := range map[string]bool{"ascii": false, "é": true} {
		m, err := sinktest.Parse(config(CEF).append(nil, hostile(evil)))
		if err != nil || m.BOM != mark {
			t.Errorf("%q: mark %t, %v", evil, m.BOM, err)
		}
		if m, err := sinktest.Parse(config(JSON).append(nil, hostile(evil))); err != nil || m.BOM {
			t.Errorf("JSON in ASCII has a mark: %v", err)
		}
	}
	it := hostile("x")
	for seq, want := range map[int64]string{1: "1", 2147483647: "2147483647", 2147483648: "1"} {
		it.Entry.Seq = seq
		if m, err := sinktest.Parse(config(CEF).append(nil, it)); err != nil || m.SD["meta"]["sequenceId"] != want {
			t.Errorf("%d: %v %v", seq, m.SD["meta"], err)
		}
	}
}

// Version 6 addresses have keys of their own.
func TestIPv6(t *testing.T) {
	t.Parallel()
	it := hostile("x")
	it.Entry.IP = "2001:db8::1"
	m, err := sinktest.Parse(config(CEF).append(nil, it))
	if err != nil {
		t.Fatal(err)
	}
	_, ext, err := sinktest.ParseCEF(m.Msg)
	if err != nil || ext["c6a2"] != "2001:db8::1" || ext["c6a2Label"] == "" || ext["src"] != "" {
		t.Errorf("%v %v", ext, err)
	}
}

// Whatever stands in an event, a receiver finds one message, and in it the number
// and tenant that are its own.
func FuzzMessage(f *testing.F) {
	for _, evil := range evils {
		if len(evil) < 1000 {
			f.Add(evil, true)
			f.Add(evil, false)
		}
	}
	f.Fuzz(func(t *testing.T, evil string, cef bool) {
		format := JSON
		if cef {
			format = CEF
		}
		check(t, config(format), hostile(evil), evil)
	})
}

func BenchmarkMessage(b *testing.B) {
	for _, f := range []Format{CEF, JSON} {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			c, it := config(f), hostile("agent/0192e4a0-7d3c-7000-8000-000000000001")
			var dst []byte
			for b.Loop() {
				dst = c.append(dst[:0], it)
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}
