package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/canon"
	"github.com/Nissimmiracles/openclaw/internal/audit/verifytest"
)

func event() *audit.Event {
	return &audit.Event{
		ID:         uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"),
		Time:       time.Date(2026, 11, 22, 19, 20, 21, 123456789, time.FixedZone("", 3600)),
		Type:       audit.RoleGranted,
		Severity:   audit.Warning,
		Actor:      audit.Actor{Kind: audit.ActorUser, ID: "u1", Name: "ada@example.com"},
		Action:     "roles.grant",
		Resource:   "user/u2",
		Outcome:    audit.Success,
		Reason:     "allowed",
		IP:         netip.MustParseAddr("203.0.113.9"),
		UserAgent:  `curl/8 "x"`,
		RequestID:  "r1",
		PolicyHash: "abc",
		Details:    map[string]any{"role": "developer", "count": 2, "rules": []string{"b", "a"}},
	}
}

// commitment is written from docs/AUDIT.md.
func commitment(field string, salt Salt, value []byte) string {
	sum := sha256.Sum256(bytes.Join([][]byte{[]byte("\x02openclaw commitment v1\x00"), salt[:], []byte(field), {0}, value}, nil))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestAppend(t *testing.T) {
	t.Parallel()
	salts := &Salts{Salt{1}, Salt{2}, Salt{3}}
	body, personal, err := Append(nil, nil, "t1", event(), salts)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"action":"roles.grant","actor":{"id":"u1","kind":"user","name":{"commit":"` + commitment("actor.name", Salt{1}, []byte(`"ada@example.com"`)) + `"}},` +
		`"details":{"count":2,"role":"developer","rules":["b","a"]},"id":"01890a5d-ac96-774b-bcce-b302099a8057",` +
		`"ip":{"commit":"` + commitment("ip", Salt{2}, []byte(`"203.0.113.9"`)) + `"},"outcome":"success","policy_hash":"abc","reason":"allowed","request_id":"r1",` +
		`"resource":"user/u2","severity":"WARNING","tenant":"t1","time":"2026-11-22T18:20:21.123456Z","type":"ROLE_GRANTED",` +
		`"user_agent":{"commit":"` + commitment("user_agent", Salt{3}, []byte(`"curl/8 \"x\""`)) + `"},"v":1}`
	if string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
	if len(personal) != 3 || personal[0].Field != FieldName || string(personal[0].Value) != `"ada@example.com"` {
		t.Errorf("personal: %+v", personal)
	}
	for _, word := range []string{"ada", "203.0", "curl"} {
		if strings.Contains(string(body), word) {
			t.Errorf("the body discloses %q", word)
		}
	}
	if Leaf(body) != tlog.RecordHash(body) {
		t.Error("leaf is not RFC 6962's")
	}
}

// Whatever a stranger puts into an event, it is recorded, in canonical form.
func TestHostileStrings(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"\xff\xfe", "\xed\xa0\x80", "a\x00b", "\"}{\"commit\":\"", "\u2028", strings.Repeat("\\", 1000), "😀\x80"} {
		e := event()
		e.UserAgent, e.Resource, e.RequestID, e.Actor.Name, e.Actor.ID, e.Reason = s, s, s, s, s, s
		e.Details = map[string]any{"s": s, "l": []string{s}}
		body, _, err := Append(nil, nil, "t1", e, new(Salts))
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if err := canon.Verify(body); err != nil {
			t.Errorf("%q: %v: %s", s, err, body)
		}
		if err := verifytest.Canonical(body); err != nil {
			t.Errorf("%q: %v: %s", s, err, body)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*audit.Event){
		"no id":        func(e *audit.Event) { e.ID = uuid.Nil },
		"no time":      func(e *audit.Event) { e.Time = time.Time{} },
		"no type":      func(e *audit.Event) { e.Type = "NOSUCH" },
		"year 10000":   func(e *audit.Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"float":        func(e *audit.Event) { e.Details = map[string]any{"f": 1.5} },
		"object":       func(e *audit.Event) { e.Details = map[string]any{"o": map[string]any{"commit": "x"}} },
		"large number": func(e *audit.Event) { e.Details = map[string]any{"n": int64(1 << 60)} },
		"name":         func(e *audit.Event) { e.Details = map[string]any{"é": 1} },
		"quoted name":  func(e *audit.Event) { e.Details = map[string]any{`a"b`: 1} },
	} {
		e := event()
		spoil(e)
		dst := []byte("kept")
		body, personal, err := Append(dst, nil, "t1", e, new(Salts))
		if !errors.Is(err, ErrEvent) || string(body) != "kept" || personal != nil {
			t.Errorf("%s: %s, %v", name, body, err)
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("agent", "resource", "detail", int64(1))
	f.Fuzz(func(t *testing.T, agent, resource, detail string, n int64) {
		e := event()
		e.UserAgent, e.Resource, e.Details = agent, resource, map[string]any{"d": detail, "n": n % canon.MaxInt}
		body, personal, err := Append(nil, nil, "t1", e, new(Salts))
		if err != nil {
			t.Fatal(err)
		}
		if err := verifytest.Canonical(body); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		for _, p := range personal {
			if canon.Verify(p.Value) != nil {
				t.Fatalf("%s: %q", p.Field, p.Value)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	e := event()
	body := make([]byte, 0, 2048)
	personal := make([]Personal, 0, 3)
	salts := new(Salts)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if body, personal, err = Append(body[:0], personal[:0], "01890a5d-ac96-774b-bcce-b302099a8057", e, salts); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(body)))
}

func BenchmarkLeaf(b *testing.B) {
	body, _, err := Append(nil, nil, "01890a5d-ac96-774b-bcce-b302099a8057", event(), new(Salts))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		Leaf(body)
	}
}
