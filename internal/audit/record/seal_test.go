package record

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/canon"
)

type word string

func sealNow() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC) }

func TestSealTakesWhateverAClientSends(t *testing.T) {
	t.Parallel()
	ev := audit.Event{
		Type: audit.APIRequest, Outcome: audit.Refused, Actor: audit.Actor{Name: "a\x00b\xff"},
		UserAgent: strings.Repeat("é", 600) + "\xc3", IP: netip.MustParseAddr("::ffff:203.0.113.9%eth0"),
		Resource: "x\u2028<script>\"\\", Details: map[string]any{
			"code": word("forbidden"), "big": int64(math.MaxInt64), "huge": uint64(math.MaxUint64), "score": 0.75, "list": []word{"a"}, "any": []any{"b"},
			"long": strings.Repeat("y", 5000), "bad": "\xff\x00", "nan": math.NaN(), "no": nil,
		},
	}
	s, err := Seal("0190a5d0-0000-7000-8000-000000000001", ev, sealNow)
	if err != nil {
		t.Fatal(err)
	}
	if err := canon.Verify(s.Body); err != nil {
		t.Errorf("the body is not canonical: %v\n%s", err, s.Body)
	}
	if s.Leaf != Leaf(s.Body) || s.IPString() != "203.0.113.9" || s.Time.Nanosecond()%1000 != 0 || s.ID.Version() != 7 {
		t.Errorf("sealed %+v", s)
	}
	for _, want := range []string{`"code":"forbidden"`, `"big":"9223372036854775807"`, `"score":"0.75"`, `"list":["a"]`, `"tenant":"0190a5d0`} {
		if !strings.Contains(string(s.Body), want) {
			t.Errorf("the body lacks %s:\n%s", want, s.Body)
		}
	}
	if strings.Contains(string(s.Body), "203.0.113.9") || strings.ContainsRune(string(s.Body), 'é') {
		t.Errorf("the body holds a personal value:\n%s", s.Body)
	}
	if _, ok := ev.Details["code"].(word); !ok {
		t.Error("the caller's details were changed")
	}
	if s.Salts.Name == s.Salts.IP || s.Salts.IP == s.Salts.UserAgent || SaltsOf(s.Salts.Bytes()) != s.Salts {
		t.Errorf("salts %x", s.Salts)
	}
	// What is stored discloses exactly what was committed to.
	s.Details = nil // still the caller's own kinds
	_, want, err := Append(nil, nil, "t", &s.Event, &s.Salts)
	if err != nil {
		t.Fatal(err)
	}
	got := Disclose(s.Salts, s.Actor.Name, s.IPString(), s.UserAgent)
	if len(got) != 3 || len(want) != 3 {
		t.Fatalf("disclosed %d of %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Field != want[i].Field || got[i].Salt != want[i].Salt || string(got[i].Value) != string(want[i].Value) {
			t.Errorf("disclosed %+v, committed %+v", got[i], want[i])
		}
	}
}

func TestSealRefuses(t *testing.T) {
	t.Parallel()
	for name, ev := range map[string]audit.Event{
		"type":    {Type: "NO_SUCH", Outcome: audit.Success},
		"outcome": {Type: audit.APIRequest},
		"map":     {Type: audit.APIRequest, Outcome: audit.Success, Details: map[string]any{"m": map[string]any{}}},
		"numbers": {Type: audit.APIRequest, Outcome: audit.Success, Details: map[string]any{"m": []int{1}}},
		"name":    {Type: audit.APIRequest, Outcome: audit.Success, Details: map[string]any{"é": 1}},
		"size":    {Type: audit.APIRequest, Outcome: audit.Success, Details: map[string]any{"m": make([]string, 5000)}},
		"year":    {Type: audit.APIRequest, Outcome: audit.Success, Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if _, err := Seal("t", ev, sealNow); !errors.Is(err, ErrEvent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An id sorts by its time and is never given twice.
func TestNewID(t *testing.T) {
	t.Parallel()
	at := sealNow()
	seen, last := map[uuid.UUID]bool{}, uuid.UUID{}
	for i := range 5000 {
		random := takeRandom()
		id := newID(at.Add(time.Duration(i)*time.Microsecond), [8]byte(random[48:]))
		if sec, ns := id.Time().UnixTime(); id.Version() != 7 || id.Variant() != uuid.RFC4122 || seen[id] ||
			time.Unix(sec, ns).UnixMilli() != at.Add(time.Duration(i)*time.Microsecond).UnixMilli() || bytes.Compare(id[:8], last[:8]) <= 0 {
			t.Fatalf("%d: %s after %s", i, id, last)
		}
		seen[id], last = true, id
	}
}

// Sealed together, in a room that was used before, or one by one, the bodies are
// the same, and none can be appended into its neighbour.
func TestRoom(t *testing.T) {
	t.Parallel()
	var room Room
	ip := netip.MustParseAddr("203.0.113.9")
	for round, size := range []int{40, 300, 7, 300} {
		var events []audit.Event
		for i := range size {
			e := audit.Event{
				ID: uuid.New(), Time: sealNow(), Type: audit.APIRequest, Outcome: audit.Success, Details: map[string]any{"n": i, "pad": strings.Repeat("x", i*3)},
			}
			if (i+round)%2 == 0 { // where the round before has none
				e.IP, e.UserAgent, e.Actor.Name = ip, "curl/8", "ann"
			}
			events = append(events, e)
		}
		all, err := room.Seal("t", events, sealNow)
		if err != nil || len(all) != size {
			t.Fatal(len(all), err)
		}
		salts := map[Salt]bool{}
		for i := range all {
			body, _, err := Append(nil, nil, "t", &all[i].Event, &all[i].Salts)
			if err != nil || string(body) != string(all[i].Body) || all[i].Leaf != Leaf(body) || cap(all[i].Body) != len(all[i].Body) {
				t.Fatalf("%d: %s and %s, %v", i, body, all[i].Body, err)
			}
			name, address, agent := all[i].Personal()
			if with := events[i].IP.IsValid(); with != (name != nil) || with != (address != nil) || with != (agent != nil) || with && *address != "203.0.113.9" {
				t.Fatalf("%d: personal values of another event: %v, %v, %v", i, name, address, agent)
			}
			for _, s := range []Salt{all[i].Salts.Name, all[i].Salts.IP, all[i].Salts.UserAgent} {
				if salts[s] {
					t.Fatalf("%d: a salt is there twice", i)
				}
				salts[s] = true
			}
		}
		events[3].Type = "NO_SUCH"
		if _, err := room.Seal("t", events, sealNow); !errors.Is(err, ErrEvent) {
			t.Errorf("one bad event: %v", err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	ev := audit.Event{
		Type: audit.AgentChanged, Outcome: audit.Success, Action: "agents.create", Resource: "agent/0192e4a0-7d3c-7000-8000-000000000001",
		Actor: audit.Actor{Kind: audit.ActorUser, ID: "0192e4a0-7d3c-7000-8000-000000000002", Name: "ann@acme.example"},
		IP:    netip.MustParseAddr("203.0.113.9"), UserAgent: "curl/8.5.0", RequestID: "0123456789abcdef", Details: map[string]any{"version": int64(3)},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal("0190a5d0-0000-7000-8000-000000000001", ev, time.Now); err != nil {
			b.Fatal(err)
		}
	}
}
