package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// cut gives a body in pieces of the sizes that a seed chooses.
type cut struct {
	r    io.Reader
	rand *rand.Rand
	most int
}

func (c *cut) Read(p []byte) (int, error) {
	return c.r.Read(p[:min(len(p), 1+c.rand.IntN(c.most))])
}

func inPieces(body string, seed uint64, most int) io.Reader {
	return &cut{strings.NewReader(body), rand.New(rand.NewPCG(seed, 1)), most}
}

// shown is what a visitor saw of one string.
type shown struct {
	Where, Text string
	Key         bool
	At          int
	Cover       Cover
	Seams       string // as text; empty: one string
}

// readAll reads a body to its end; out is what came through.
func readAll(t testing.TB, src io.Reader, kind string, limits Limits, places ...string) (out []byte, saw []shown, err error) {
	t.Helper()
	patterns, err := Compile(places)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(src, kind, limits, patterns.Joining(^Cover(0)), func(p Piece) error {
		s := shown{Where: p.Where(), Text: p.Text, Key: p.Key, At: p.At, Cover: p.Cover}
		if len(p.Seams) > 0 {
			s.Seams = fmt.Sprint(p.Seams)
		}
		saw = append(saw, s)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	out, err = io.ReadAll(r)
	return out, saw, err
}

func TestJSON(t *testing.T) {
	t.Parallel()
	body := `{"a":"x\n\u00e9\ud83d\ude00\ud800z","b":[1,-0.5e+3,true,null,{"c/~":"y"}],"d":"","é":"日本"}`
	want := []shown{
		{"/a", "a", true, 0, 1, ""}, {"/a", "x\né😀\ufffdz", false, 0, 1, ""}, {"/b", "b", true, 0, 1, ""}, {"/b/4/c~1~0", "c/~", true, 0, 1, ""}, {"/b/4/c~1~0", "y", false, 0, 1, ""},
		{"/d", "d", true, 0, 1, ""}, {"/é", "é", true, 0, 1, ""}, {"/é", "日本", false, 0, 1, ""},
	}
	for seed := range uint64(50) {
		out, saw, err := readAll(t, inPieces(body, seed, 1+int(seed)), "application/json", Limits{}, "")
		if err != nil || string(out) != body || !reflect.DeepEqual(saw, want) {
			t.Fatalf("in pieces of %d: %v\n%q\n%v", 1+seed, err, out, saw)
		}
	}
}

func TestJSONRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3000)
	for body, code := range map[string]fault.Code{
		``: fault.Invalid, ` `: fault.Invalid, `{`: fault.Invalid, `{}x`: fault.Invalid, `{}{}`: fault.Invalid, `[1,]`: fault.Invalid, `{"a":1,}`: fault.Invalid, `{,}`: fault.Invalid,
		`01`: fault.Invalid, `1.`: fault.Invalid, `0. `: fault.Invalid, `[1e+]`: fault.Invalid, `[0.x]`: fault.Invalid, `-`: fault.Invalid, `+1`: fault.Invalid, `1e`: fault.Invalid, `.5`: fault.Invalid, `tru`: fault.Invalid, `nul1`: fault.Invalid, `"\x"`: fault.Invalid,
		`"\u12g4"`: fault.Invalid, "\"\n\"": fault.Invalid, "\"\xff\"": fault.Invalid, "{\"\xff\":1}": fault.Invalid, "\ufeff{}": fault.Invalid, `{'a':1}`: fault.Invalid, `{"a" 1}`: fault.Invalid,
		`{"a":1,"a":2}`: fault.Invalid, `{"a":1,"\u0061":2}`: fault.Invalid, `[{"a":1},{"b":{"c":1,"c":1}}]`: fault.Invalid,
		`[[[[[[1]]]]]]`: fault.TooLarge, `{"a":{"b":1,"c":2,"d":3,"e":4}}`: fault.TooLarge, `"` + long + `"`: fault.TooLarge, `{"` + long + `":1}`: fault.TooLarge, `[1,2,3,4,5,6,7,8,9]`: fault.TooLarge,
	} {
		limits := Limits{Depth: 5, Keys: 4, Members: 8, String: 2000}
		if _, _, err := readAll(t, strings.NewReader(body), "application/json", limits, ""); fault.CodeOf(err) != code {
			t.Errorf("%.60q: %v, want %s", body, err, code)
		}
	}
	// objects one after the other may use the same names, and many of them
	for _, body := range []string{`[{"a":1},{"a":1}]`, `{"a":{"a":{"a":1}}}`, ` [ ] `, `"x"`, `-0`, `1e5`, "[" + strings.Repeat(`{"a":1},`, 2000) + "0]"} {
		if _, _, err := readAll(t, strings.NewReader(body), "application/json", Limits{Depth: 5, Keys: 4}, ""); err != nil {
			t.Errorf("%.60q: %v", body, err)
		}
	}
}

// A limit that breaks ends the body there: what follows is never asked for.
func TestLimitsBreakAtOnce(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct{ head, rest string }{
		"depth":  {strings.Repeat("[", 100), "["},
		"keys":   {`{"a":1,"b":1,"c":1,"d":1,"e":1,`, `"f":1,`},
		"string": {`["` + strings.Repeat("y", 5000), "y"},
		"twice":  {`{"a":1,"a":1,`, " "},
		"syntax": {`{"a":]`, " "},
	} {
		src := &counting{r: io.MultiReader(strings.NewReader(k.head), forever(k.rest))}
		_, _, err := readAll(t, src, "application/json", Limits{Depth: 10, Keys: 4, String: 4000}, "")
		if c := fault.CodeOf(err); c != fault.TooLarge && c != fault.Invalid || src.n > int64(len(k.head)+readSize) {
			t.Errorf("%s: %v after %d bytes", name, err, src.n)
		}
	}
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// endless repeats a unit.
type endless struct {
	unit string
	at   int
}

func forever(unit string) *endless { return &endless{unit: unit} }

func (f *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k := copy(p[n:], f.unit[f.at:])
		n, f.at = n+k, (f.at+k)%len(f.unit)
	}
	return n, nil
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	body := `{"messages":[{"role":"user","content":"one"},{"role":"user","content":[{"type":"text","text":"two"}]}],"content":"three","messages2":{"content":"four"},"n":{"messages":[{"content":"five"}]}}`
	got := map[string]Cover{}
	_, saw, err := readAll(t, strings.NewReader(body), "application/json", Limits{}, ".messages[*].content", ".n", "", ".messages.content")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range saw {
		if !s.Key && s.Seams == "" {
			got[s.Text] = s.Cover
		}
	}
	// a list stands where the last pattern means one object: all of it is covered
	want := map[string]Cover{"user": 12, "one": 13, "text": 13, "two": 13, "three": 4, "four": 4, "five": 6}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, bad := range []string{"x", ".", ".a..b", "[*", "[0]", ".a[1]"} {
		if _, err := Compile([]string{bad}); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	if _, err := Compile(make([]string, 65)); err == nil {
		t.Error("65 patterns pass")
	}
	if p, err := Compile(slices.Repeat([]string{".a"}, 64)); err != nil {
		t.Error(err)
	} else if alive, _ := p.root(); alive != ^Cover(0) {
		t.Error("64 patterns are not all alive")
	}
}

type iotestChunks struct {
	r io.Reader
	n int
}

func (c iotestChunks) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

// A long string is seen in full by windows whose places do not depend on how
// the body was cut, and what fits into the overlap is seen whole.
func TestWindows(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := 0; b.Len() < 150<<10; i++ {
		fmt.Fprintf(&b, "%d 日本 é\t\"😀 ", i)
	}
	text := b.String()
	doc, _ := json.Marshal([]string{text})
	esc := []byte{'[', '"'}
	for _, r := range text {
		if r >= 0x10000 {
			esc = fmt.Appendf(esc, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		} else {
			esc = fmt.Appendf(esc, `\u%04x`, r)
		}
	}
	esc = append(esc, '"', ']')
	var first []shown
	for name, k := range map[string]struct{ kind, body string }{
		"json": {"application/json", string(doc)}, "escaped json": {"application/json", string(esc)}, "text": {"text/plain; charset=utf-8", text},
		"form": {"application/x-www-form-urlencoded", "f=" + url.QueryEscape(text)},
	} {
		for seed := range uint64(2) {
			out, saw, err := readAll(t, inPieces(k.body, seed, 7+int(seed)*40000), k.kind, Limits{}, "")
			if err != nil || string(out) != k.body {
				t.Fatalf("%s: %v, %d of %d bytes", name, err, len(out), len(k.body))
			}
			if k.kind[0] == 'a' && len(saw) > 0 && saw[0].Key {
				saw = saw[1:]
			}
			end := 0
			for i, s := range saw {
				if s.Where = ""; s.At > max(0, end-overlap+4) || s.At+len(s.Text) <= end || text[s.At:s.At+len(s.Text)] != s.Text || !utf8.ValidString(s.Text) || len(s.Text) > windowSize+3 {
					t.Fatalf("%s: window %d at %d of %d bytes after %d", name, i, s.At, len(s.Text), end)
				}
				end = s.At + len(s.Text)
				saw[i] = s
			}
			if end != len(text) {
				t.Fatalf("%s: seen to %d of %d", name, end, len(text))
			}
			if first == nil {
				first = saw
			}
			if !reflect.DeepEqual(saw, first) {
				t.Errorf("%s, cut by %d: other windows", name, seed)
			}
		}
	}
}

// A refused body is never handed on in full, nor any byte of the string at fault.
func TestRefusedBodyIsWithheld(t *testing.T) {
	t.Parallel()
	pad := strings.Repeat("all is well here. ", 8000)
	bad := errors.New("bad")
	mp := multipartBody(t, "f", "", "text/plain", pad+"EVIL")
	for name, k := range map[string]struct{ kind, body string }{
		"json string":  {"application/json", `{"pad":"` + pad + `","x":"EVIL"}`},
		"long string":  {"application/json", `{"pad":"` + pad + `EVIL` + pad + `"}`},
		"key":          {"application/json", `{"pad":"` + pad + `","EVIL":1}`},
		"text":         {"text/plain", pad + "EVIL"},
		"text, middle": {"text/plain", pad + "EVIL" + pad},
		"form":         {"application/x-www-form-urlencoded", "a=" + url.QueryEscape(pad) + "&b=EV%49L"},
		"multipart":    {mp.kind, mp.body},
	} {
		for _, most := range []int{5, 4096, 1 << 20} {
			patterns, _ := Compile([]string{""})
			r, err := New(inPieces(k.body, 3, most), k.kind, Limits{}, patterns, func(p Piece) error {
				if strings.Contains(p.Text, "EVIL") {
					return bad
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(r)
			if !errors.Is(err, bad) || strings.Contains(string(out), "EV") || !strings.HasPrefix(k.body, string(out)) || len(out) == len(k.body) {
				t.Errorf("%s by %d: %v after %d of %d bytes", name, most, err, len(out), len(k.body))
			}
			if most == 4096 && len(out) < len(pad)/2 && !strings.Contains(name, "middle") && !strings.Contains(name, "long") {
				t.Errorf("%s: only %d bytes went on: nothing streams", name, len(out))
			}
			r.Close()
		}
	}
}

type madeBody struct{ kind, body string }

func multipartBody(t testing.TB, name, file, kind, content string) madeBody {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	h := textproto.MIMEHeader{}
	d := fmt.Sprintf(`form-data; name=%q`, name)
	if file != "" {
		d += fmt.Sprintf(`; filename=%q`, file)
	}
	h.Set("Content-Disposition", d)
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	part, err := w.CreatePart(h)
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return madeBody{w.FormDataContentType(), b.String()}
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	binary := "\x89PNG\r\n\x1a\n" + strings.Repeat("\x00\xff\r\n--not the boundary\r\n", 100)
	for name, k := range map[string]struct {
		name, file, kind, content string
		want                      []string
	}{
		"a field":              {"comment", "", "", "hello there", []string{"comment", "hello there"}},
		"empty":                {"comment", "", "", "", []string{"comment"}},
		"a text file":          {"f", "a.txt", "text/plain", "in a file", []string{"f", "a.txt", "in a file"}},
		"json":                 {"f", "a.json", "application/json", `{"a":["b"]}`, []string{"f", "a.json", "a", "b"}},
		"a picture":            {"f", "a.png", "image/png", binary, []string{"f", "a.png"}},
		"text in disguise":     {"f", "a.png", "image/png", strings.Repeat("ignore this. ", 100), []string{"f", "a.png", strings.Repeat("ignore this. ", 100)}},
		"short, no type":       {"f", "a", "application/octet-stream", "ignore", []string{"f", "a", "ignore"}},
		"a field called bytes": {"f", "", "application/octet-stream", "ignore", []string{"f", "ignore"}},
	} {
		m := multipartBody(t, k.name, k.file, k.kind, k.content)
		for _, most := range []int{1, 3, 5000} {
			out, saw, err := readAll(t, inPieces(m.body, 9, most), m.kind, Limits{}, ".f", ".comment")
			var got []string
			for _, s := range saw {
				got = append(got, s.Text)
				if s.Cover == 0 || s.Where != k.name {
					t.Errorf("%s: %+v", name, s)
				}
			}
			if err != nil || string(out) != m.body || !slices.Equal(got, k.want) {
				t.Errorf("%s by %d: %v %q", name, most, err, got)
			}
		}
	}
}

func TestMultipartRefuses(t *testing.T) {
	t.Parallel()
	head := "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
	for name, k := range map[string]struct {
		body string
		code fault.Code
	}{
		"preamble":           {"hello\r\n" + head + "x\r\n--b--", fault.Invalid},
		"epilogue":           {head + "x\r\n--b--\r\nmore", fault.Invalid},
		"no end":             {head + "x\r\n--b", fault.Invalid},
		"bare line feeds":    {strings.ReplaceAll(head+"x\r\n--b--", "\r\n", "\n"), fault.Invalid},
		"space after":        {"--b \r\n" + head + "x\r\n--b--", fault.Invalid},
		"continued header":   {"--b\r\nContent-Disposition: form-data;\r\n name=\"a\"\r\n\r\nx\r\n--b--", fault.Invalid},
		"two dispositions":   {"--b\r\nContent-Disposition: form-data; name=\"a\"\r\ncontent-disposition: form-data; name=\"b\"\r\n\r\nx\r\n--b--", fault.Invalid},
		"extended file name": {"--b\r\nContent-Disposition: form-data; name=\"a\"; filename*=utf-8''x\r\n\r\nx\r\n--b--", fault.Invalid},
		"attachment":         {"--b\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx\r\n--b--", fault.Invalid},
		"no name":            {"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", fault.Invalid},
		"no disposition":     {"--b\r\nX: y\r\n\r\nx\r\n--b--", fault.Invalid},
		"base64":             {"--b\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--", fault.MediaType},
		"nested":             {"--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x\"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\nx\r\n--b--", fault.MediaType},
		"utf-16":             {"--b\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-16\r\n\r\nx\r\n--b--", fault.MediaType},
		"nul":                {head + "i\x00g\x00\r\n--b--", fault.MediaType},
		"long header":        {"--b\r\nX: " + strings.Repeat("y", 20000) + "\r\n\r\nx\r\n--b--", fault.TooLarge},
		"many parts":         {strings.Repeat(head+"x\r\n", 6) + "--b--", fault.TooLarge},
	} {
		if _, _, err := readAll(t, strings.NewReader(k.body), "multipart/form-data; boundary=b", Limits{Keys: 5}, ""); fault.CodeOf(err) != k.code {
			t.Errorf("%s: %v, want %s", name, err, k.code)
		}
	}
	for _, kind := range []string{"multipart/form-data", "multipart/form-data; boundary=" + strings.Repeat("b", 71)} {
		if _, _, err := readAll(t, strings.NewReader(""), kind, Limits{}, ""); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%.40s: %v", kind, err)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for kind, ok := range map[string]bool{
		"application/json": true, "application/ld+json": true, "application/json; charset=UTF-8": true, "text/plain": true, "text/html;charset=us-ascii": true, "application/x-www-form-urlencoded": true,
		"": false, "application/octet-stream": false, "text/plain; charset=utf-16": false, "text/plain; charset=utf-7": false, "application/json; charset=iso-8859-1": false, "application/xml": false, "/": false, "multipart/mixed; boundary=x": false,
	} {
		if _, _, err := readAll(t, strings.NewReader(`"a"`), kind, Limits{}, ""); ok != (err == nil) || err != nil && fault.CodeOf(err) != fault.MediaType {
			t.Errorf("%q: %v", kind, err)
		}
	}
	for _, text := range []string{"i\x00g\x00n\x00", "\xff\xfei\x00", "\xe9t\xe9", "cut \xe6\x97"} {
		if _, _, err := readAll(t, strings.NewReader(text), "text/plain", Limits{}, ""); fault.CodeOf(err) != fault.MediaType {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	patterns, _ := Compile([]string{""})
	r, err := New(strings.NewReader("some text"), "text/plain", Limits{}, patterns, func(Piece) error { panic("zzz") })
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if len(out) > 0 || fault.CodeOf(err) != fault.Internal {
		t.Errorf("a panic: %q %v", out, err)
	}
	r.Close()
	r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("a closed reader reads")
	}
	if _, _, err := readAll(t, iotest.ErrReader(io.ErrUnexpectedEOF), "text/plain", Limits{}, ""); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a source that fails: %v", err)
	}
}

// Memory does not grow with the body.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct{ kind, head, unit string }{
		"one string":     {"application/json", `"`, "abc def "},
		"one escape":     {"application/json", `"`, `\u0041`},
		"many strings":   {"application/json", `[""`, `,"abcdefgh"`},
		"many objects":   {"application/json", `[0`, `,{"a":1,"b":[2]}`},
		"blanks":         {"application/json", `[`, " "},
		"a number":       {"application/json", `1`, "0"},
		"text":           {"text/plain", "", "word "},
		"form":           {"application/x-www-form-urlencoded", "a=", "%41"},
		"multipart text": {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", "\r\n--x"},
		"multipart file": {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x\"\r\n\r\n\x00\x01", "\x00\xff\r"},
	} {
		patterns, _ := Compile([]string{""})
		r, err := New(io.MultiReader(strings.NewReader(k.head), io.LimitReader(forever(k.unit), 3<<20)), k.kind, Limits{}, patterns.Joining(1), func(Piece) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		most, total := 0, 0
		p := make([]byte, 8<<10)
		for {
			n, err := r.Read(p)
			total += n
			most = max(most, cap(*r.buf))
			if err != nil {
				break
			}
		}
		if most > 6*(windowSize+8)+3*readSize {
			t.Errorf("%s: %d bytes were held", name, most)
		}
		if total < 2<<20 {
			t.Errorf("%s: %d bytes went on", name, total)
		}
		r.Close()
	}
}
