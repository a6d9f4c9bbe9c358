package inject

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

func TestJSONFindsByPointer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		doc, where string
		key        bool
		kind       inspect.Kind
	}{
		{`{"a":{"b":["x","' OR 1=1 --"]}}`, "/a/b/1", false, inspect.SQL},
		{`{"a/b":{"~":"<script>alert(1)</script>"}}`, "/a~1b/~0", false, inspect.XSS},
		{`{"user":{"$ne":null}}`, "/user/$ne", true, inspect.SQL},
		{`{"x":{"<img src=x onerror=alert(1)>":1}}`, "/x/<img src=x onerror=alert(1)>", true, inspect.XSS},
		{`{"q":"\u0027 OR \u00271\u0027=\u00271"}`, "/q", false, inspect.SQL},
		{`"' UNION SELECT password FROM users --"`, "", false, inspect.SQL},
	} {
		found, err := New().JSON([]byte(c.doc), Limits{}, nil)
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", c.doc, found, err)
		}
		f := found[0]
		v := f.SQL
		if c.kind == inspect.XSS {
			v = f.XSS
		}
		if f.Where != c.where || f.Key != c.key || v.Decision != inspect.Block || !f.Blocks() {
			t.Errorf("%s: %+v", c.doc, f)
		}
	}
}

func TestJSONSkipsWhatIsAPrompt(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"messages":[{"content":"explain ' OR 1=1 --"}],"name":"x' OR 1=1 --"}`)
	found, err := New().JSON(doc, Limits{}, func(p string) bool { return p == "/messages" })
	if err != nil || len(found) != 1 || found[0].Where != "/name" {
		t.Fatalf("%v, %v", found, err)
	}
}

func TestJSONLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		doc  string
		l    Limits
		code fault.Code
	}{
		"bytes":         {`["aaaaaaaa"]`, Limits{Bytes: 5}, fault.TooLarge},
		"depth":         {strings.Repeat("[", 40) + strings.Repeat("]", 40), Limits{}, fault.TooLarge},
		"depth open":    {strings.Repeat("[", 1<<20), Limits{}, fault.TooLarge},
		"members":       {`[1,2,3,4]`, Limits{Members: 3}, fault.TooLarge},
		"string":        {`["` + strings.Repeat("a", 100) + `"]`, Limits{String: 99}, fault.TooLarge},
		"key":           {`{"` + strings.Repeat("a", 100) + `":1}`, Limits{String: 99}, fault.TooLarge},
		"skipped key":   {`{"p":{"` + strings.Repeat("a", 100) + `":1}}`, Limits{String: 99}, fault.TooLarge},
		"not json":      {`{"a":}`, Limits{}, fault.Invalid},
		"empty":         {``, Limits{}, fault.Invalid},
		"open":          {`{"a":1`, Limits{}, fault.Invalid},
		"two":           {`{} {}`, Limits{}, fault.Invalid},
		"key twice":     {`{"a":1,"a":2}`, Limits{}, fault.Invalid},
		"not utf-8":     {"[\"\xff\"]", Limits{}, fault.Invalid},
		"trailing junk": {`[1]]`, Limits{}, fault.Invalid},
	} {
		_, err := New().JSON([]byte(c.doc), c.l, func(p string) bool { return p == "/p" })
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New().JSON([]byte(strings.Repeat("[", 32)+strings.Repeat("]", 32)), Limits{}, nil); err != nil {
		t.Errorf("32 levels: %v", err)
	}
}

func TestQueryAndPath(t *testing.T) {
	t.Parallel()
	sc := New()
	for raw, where := range map[string]string{
		"a=1&b=%27+OR+1%3D1+--":               "query.b",
		"user%5B%24ne%5D=1":                   "query.user[$ne]",
		"user[$gt]=":                          "query.user[$gt]",
		"q=%3Cscript%3Ealert(1)%3C%2Fscript>": "query.q",
	} {
		found, err := sc.Query(raw, Limits{}, nil)
		if err != nil || len(found) == 0 || found[0].Where != where || !found[0].Blocks() {
			t.Errorf("%s: %+v, %v", raw, found, err)
		}
	}
	if found, err := sc.Query("q=select+a+table&name=O%27Brien&sort=-created&page[size]=3", Limits{}, nil); err != nil || len(found) != 0 {
		t.Errorf("innocent: %+v, %v", found, err)
	}
	for _, raw := range []string{"a=%2", "a=%zz", "%=1"} {
		if _, err := sc.Query(raw, Limits{}, nil); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if _, err := sc.Query("a&b&c", Limits{Members: 2}, nil); fault.CodeOf(err) != fault.TooLarge {
		t.Error(err)
	}
	found, err := sc.Path("/v1/users/1%27%20OR%201=1--", Limits{})
	if err != nil || len(found) != 1 || found[0].Where != "path.2" {
		t.Errorf("%+v, %v", found, err)
	}
}

// FuzzJSON walks any bytes: no panic, findings only from valid JSON, spans
// inside their strings.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":["' or 1=1--",{"$ne":1}]}`))
	f.Add([]byte(`[[[[`))
	f.Add([]byte(`{"a":"\ud800"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		found, err := New().JSON(doc, Limits{Depth: 8, Members: 100, String: 1000}, nil)
		if err != nil {
			if c := fault.CodeOf(err); c != fault.Invalid && c != fault.TooLarge {
				t.Fatal(err)
			}
			return
		}
		if !utf8.Valid(doc) {
			t.Fatal("accepted bytes that are not UTF-8")
		}
		if len(found) > maxFound {
			t.Fatal(len(found))
		}
	})
}
