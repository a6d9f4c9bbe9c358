package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

func entry() audit.Entry {
	return audit.Entry{
		Seq: 7, ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), Time: time.Date(2026, 11, 22, 8, 9, 10, 123456000, time.UTC),
		Type: audit.AgentChanged, Severity: audit.Warning, Actor: audit.EntryActor{Kind: audit.ActorUser, ID: "u1", Name: "Ada"},
		Action: "agents.update", Resource: "agent/a1", Outcome: audit.Success, Reason: "allowed", IP: "203.0.113.9", UserAgent: "curl/8",
		RequestID: "r1", PolicyHash: "abc", Details: json.RawMessage(`{"n":1}`), Leaf: "AAAA",
	}
}

func of(entries ...audit.Entry) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// No cell starts a formula in any spreadsheet, and what is read back is what was
// meant.
func TestCSVInjection(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		`=cmd|'/C calc'!A0`, "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\ufeff=1", "＝1", "－1",
		`=HYPERLINK("http://x","y")`, `";=1;"`, "\",=1,\"", "a\x00=1", "\x00=1", "x\r\n=1", "\xff=1", "\x0b=1",
		" \x0b=1", "\u2003=1", "\u2028=1", "\u200e=1", "\u2060=1", "\u00ad+1", "\U000e0020=1", "\u3000\u200f\t@x", "﹦1", "﹢1", "﹣1", "﹫x", "−1", " −1",
	} {
		e := entry()
		e.Actor.ID, e.Actor.Name, e.Resource, e.Reason, e.UserAgent, e.RequestID = evil, evil, evil, evil, evil, evil
		var b bytes.Buffer
		if n, err := CSV(&b, true, of(e, e)); err != nil || n != 2 {
			t.Fatal(n, err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 3 {
			t.Fatalf("%q: %d rows, %v", evil, len(rows), err)
		}
		for _, cell := range rows[1][1:] {
			trimmed := strings.TrimLeftFunc(cell, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) })
			if strings.ContainsAny(firstOf(trimmed), "=+-@＝＋－＠﹦﹢﹣﹫−") {
				t.Errorf("%q became the cell %q", evil, cell)
			}
		}
	}
	var b bytes.Buffer
	if _, err := CSV(&b, true, of(entry())); err != nil {
		t.Fatal(err)
	}
	const want = `7,"01890a5d-ac96-774b-bcce-b302099a8057","2026-11-22T08:09:10.123456Z","AGENT_CHANGED","WARNING","user","u1","Ada","agents.update","agent/a1","success","allowed","203.0.113.9","curl/8","r1","abc","{""n"":1}","AAAA"` + "\r\n"
	if got := strings.TrimPrefix(b.String(), csvHeader); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func firstOf(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

// Every type and outcome is valid under the published JSON schema of OCSF 1.2:
// all members known, all required ones there, enumerations respected.
func TestOCSF(t *testing.T) {
	t.Parallel()
	// A clean machine has the module only once something asked for it.
	_ = exec.CommandContext(t.Context(), "go", "mod", "download", "github.com/valllabh/ocsf-schema-golang").Run()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/valllabh/ocsf-schema-golang").Output()
	if err != nil || len(bytes.TrimSpace(dir)) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("the OCSF schema is not in the module cache: %v", err)
		}
		t.Skip("the OCSF schema is not in the module cache")
	}
	schemas := map[float64]map[string]any{
		classAPIActivity:    schema(t, string(bytes.TrimSpace(dir)), "api_activity"),
		classAuthentication: schema(t, string(bytes.TrimSpace(dir)), "authentication"),
	}
	seen := map[float64]bool{}
	for _, typ := range audit.Types() {
		for _, outcome := range []audit.Outcome{audit.Success, audit.Refused, audit.Failed, audit.Intent, audit.Unknown} {
			for _, kind := range []audit.ActorKind{audit.ActorUser, audit.ActorOperator, audit.ActorSystem, audit.ActorAgent, audit.ActorNobody} {
				full, bare := entry(), audit.Entry{Seq: 1, Time: time.Unix(1, 0)}
				for _, e := range []*audit.Entry{&full, &bare} {
					e.Type, e.Outcome, e.Actor.Kind = typ, outcome, kind
				}
				var b bytes.Buffer
				if n, err := OCSF(&b, Product{"1.0", "t1"}, of(full, bare)); err != nil || n != 2 {
					t.Fatal(n, err)
				}
				for line := range bytes.Lines(b.Bytes()) {
					var v map[string]any
					if err := json.Unmarshal(line, &v); err != nil {
						t.Fatal(err)
					}
					class := v["class_uid"].(float64)
					seen[class] = true
					if v["type_uid"] != class*100+v["activity_id"].(float64) {
						t.Errorf("type_uid %v", v["type_uid"])
					}
					conform(t, schemas[class], schemas[class], v, string(typ))
				}
			}
		}
	}
	if len(seen) != 2 {
		t.Errorf("classes seen: %v", seen)
	}
}

func schema(t *testing.T, dir, class string) map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "ocsfvalidate/1.2/jsonschema/classes_"+class+".json.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var s map[string]any
	if err := json.NewDecoder(d).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// conform is stricter than JSON Schema where it can be: unknown members fail.
func conform(t *testing.T, root, s map[string]any, v any, at string) {
	if ref, ok := s["$ref"].(string); ok {
		name := ref[strings.LastIndex(ref, "/")+1:]
		s, _ = root["$defs"].(map[string]any)[name].(map[string]any)
		if s == nil {
			t.Fatalf("no schema for %s", ref)
		}
	}
	if enum, ok := s["enum"].([]any); ok {
		found := false
		for _, e := range enum {
			found = found || e == v
		}
		if !found {
			t.Errorf("%s: %v is not one of %v", at, v, enum)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for name, member := range v {
			if strings.HasSuffix(at, ".unmapped") {
				break
			}
			sub, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s has no member %s", at, name)
				continue
			}
			conform(t, root, sub, member, at+"."+name)
		}
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				t.Errorf("%s lacks %s", at, name)
			}
		}
	case []any:
		items, _ := s["items"].(map[string]any)
		for _, e := range v {
			conform(t, root, items, e, at+"[]")
		}
	case string:
		if s["type"] != nil && s["type"] != "string" {
			t.Errorf("%s is a string, want %v", at, s["type"])
		}
	case float64:
		if s["type"] != nil && s["type"] != "integer" && s["type"] != "number" {
			t.Errorf("%s is a number, want %v", at, s["type"])
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	away := errors.New("database away")
	failing := func(yield func(audit.Entry, error) bool) {
		if yield(entry(), nil) {
			yield(audit.Entry{}, away)
		}
	}
	var b bytes.Buffer
	if n, err := CSV(&b, true, failing); n != 1 || !errors.Is(err, away) || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("%d, %v: %q", n, err, &b)
	}
	r, w := io.Pipe()
	r.CloseWithError(away)
	if _, err := OCSF(w, Product{}, of(entry())); !errors.Is(err, away) {
		t.Errorf("broken pipe: %v", err)
	}
}

func BenchmarkCSV(b *testing.B) {
	benchmark(b, func(w io.Writer) error { _, err := CSV(w, true, many); return err })
}
func BenchmarkOCSF(b *testing.B) {
	benchmark(b, func(w io.Writer) error { _, err := OCSF(w, Product{}, many); return err })
}

func many(yield func(audit.Entry, error) bool) {
	e := entry()
	for range 10_000 {
		if !yield(e, nil) {
			return
		}
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func benchmark(b *testing.B, run func(io.Writer) error) {
	var n counter
	b.ReportAllocs()
	for b.Loop() {
		if err := run(&n); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(n) / int64(b.N))
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "entries/s")
}
