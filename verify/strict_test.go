package verify

import (
	"bytes"
	"strings"
	"testing"
)

func judged(t *testing.T, file []byte, o Options) *Report {
	t.Helper()
	r, err := Verify(bytes.NewReader(file), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every witness that is named must have signed, unless fewer are asked for, and
// one counts once however often it is named or has signed.
func TestQuorum(t *testing.T) {
	t.Parallel()
	key, one, two := string(read(t, "log.vkey")), string(read(t, "witness1.vkey")), string(read(t, "witness2.vkey"))
	for name, c := range map[string]struct {
		file      string
		witnesses []string
		quorum    int
		check     string
	}{
		"both":                {"good-cosigned.bundle", []string{one, two}, 0, ""},
		"all, one is missing": {"good-quorum.bundle", []string{one, two}, 0, "cosignature"},
		"one of two":          {"good-quorum.bundle", []string{one, two}, 1, ""},
		"two of two":          {"good-quorum.bundle", []string{one, two}, 2, "cosignature"},
		"one named twice":     {"good-cosigned.bundle", []string{one, strings.TrimSpace(one)}, 2, "cosignature"},
		"more than named":     {"good-cosigned.bundle", []string{one, two}, 3, "cosignature"},
		"none named":          {"good-cosigned.bundle", nil, 1, "cosignature"},
		"signed for another":  {"bad-cosignature.bundle", []string{one}, 0, "signature"},
	} {
		r := judged(t, read(t, c.file), Options{Key: key, Witnesses: c.witnesses, Quorum: c.quorum})
		if got := r.Wrong; (got == nil) != (c.check == "") || got != nil && got.Check != c.check {
			t.Errorf("%s: %+v", name, got)
		}
	}
	twice := read(t, "good-quorum.bundle")
	line := bytes.Index(twice, []byte("— witness.example/one"))
	end := line + bytes.Index(twice[line:], []byte("\\n")) + 2
	twice = append(append(bytes.Clone(twice[:end]), twice[line:end]...), twice[end:]...)
	if r := judged(t, twice, Options{Key: key, Witnesses: []string{one, two}, Quorum: 2}); r.Wrong == nil || r.Wrong.Check != "cosignature" {
		t.Errorf("a line given twice counts twice: %+v", r.Wrong)
	}
	if r := judged(t, twice, Options{Key: key, Witnesses: []string{one}}); r.Wrong != nil || strings.Count(r.String(), "cosignature of") != 1 {
		t.Errorf("a line given twice: %s", r)
	}
}

// What a line states is checked or refused, and a line says one thing.
func TestLines(t *testing.T) {
	t.Parallel()
	key := string(read(t, "log.vkey"))
	whole := string(read(t, "good-whole.bundle"))
	tail := string(read(t, "good-previous.bundle")) // records 290 to 300
	disclosed := string(read(t, "good-disclosed.bundle"))
	first := func(file, with string) string {
		head, rest, _ := strings.Cut(file, "\n")
		return head + "\n" + with + "\n" + rest
	}
	block := strings.SplitN(whole, "\n", 3)[1]
	if !strings.HasPrefix(block, `{"block":`) {
		t.Fatal(block)
	}
	for name, c := range map[string]struct{ file, check string }{
		"block twice":                {first(whole, block), "format"},
		"block before a part":        {first(tail, block), "format"},
		"block and more":             {strings.Replace(whole, block, strings.TrimSuffix(block, "}")+`,"x":1}`, 1), "format"},
		"block of another":           {strings.Replace(whole, block, `{"block":1}`, 1), "block"},
		"block never filled":         {whole + block + "\n", "format"},
		"empty line":                 {first(whole, ""), "canonical"},
		"list":                       {first(whole, "[1]"), "format"},
		"string":                     {first(whole, `"x"`), "format"},
		"number":                     {first(whole, "1"), "canonical"},
		"two values":                 {first(whole, block+block), "canonical"},
		"no body":                    {first(tail, `{"seq":290}`), "format"},
		"body no object":             {first(tail, `{"body":[1],"seq":290}`), "format"},
		"unknown member":             {strings.Replace(tail, `,"seq":290}`, `,"note":1,"seq":290}`, 1), "format"},
		"unknown member before body": {strings.Replace(tail, `{"body":`, `{"a":1,"body":`, 1), "format"},
		"no seq":                     {strings.Replace(tail, `,"seq":290}`, `}`, 1), "sequence"},
		"seq in quotes":              {strings.Replace(tail, `,"seq":290}`, `,"seq":"290"}`, 1), "sequence"},
		"leaf no hash":               {strings.Replace(tail, `"leaf":"`, `"leaf":"x`, 1), "leaf"},
		"leaf null":                  {strings.Replace(tail, `,"seq":290}`, `,"leaf":null,"seq":290}`, 1), "canonical"},
		"disclosure with more":       {strings.Replace(disclosed, `"},"`, `","z":1},"`, 1), "commitment"},
		"disclosure no object":       {strings.Replace(disclosed, `"disclosed":{"`, `"disclosed":{"a":1,"`, 1), "commitment"},
		"disclosure of nothing":      {strings.Replace(disclosed, `"disclosed":{"`, `"disclosed":{"a.b.c":{"salt":"AAAAAAAAAAAAAAAAAAAAAA","value":1},"`, 1), "commitment"},
		"disclosure without salt":    {strings.Replace(disclosed, `"disclosed":{"`, `"disclosed":{"a":{"value":1},"`, 1), "commitment"},
	} {
		if r := judged(t, []byte(c.file), Options{Key: key}); r.Wrong == nil || r.Wrong.Check != c.check {
			t.Errorf("%s: %+v, want %s", name, r.Wrong, c.check)
		}
	}
}
