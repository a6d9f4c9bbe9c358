package stream

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// joinedOf are the texts that several strings of a body make: with a bar at each
// seam between messages, or a slash at each between the parts of one; the ones
// without blanks are left out, after a check.
func joinedOf(t *testing.T, src io.Reader, kind string, places ...string) (out []string, glued int) {
	t.Helper()
	patterns, err := Compile(places)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	r, err := New(src, kind, Limits{}, patterns.Joining(^Cover(0)), func(p Piece) error {
		if len(p.Seams) == 0 {
			return nil
		}
		if len(p.Text) > threadSize {
			t.Errorf("%d bytes at once", len(p.Text))
		}
		spaced := true
		for _, s := range p.Seams {
			spaced = spaced && s < len(p.Text) && p.Text[s] == ' '
		}
		var parts []string
		from := 0
		for _, s := range append(p.Seams, len(p.Text)) {
			if s <= from || s > len(p.Text) {
				t.Fatalf("seams %v in %q", p.Seams, p.Text)
			}
			parts = append(parts, p.Text[from:s])
			if from = s; spaced {
				from++
			}
		}
		bar := "/"
		if p.Apart {
			bar = "|"
		}
		if p.Tool {
			bar += "tool:"
		}
		text := strings.Join(parts, bar)
		if spaced {
			out = append(out, text)
			last = text
			return nil
		}
		if strings.ReplaceAll(text, " ", "") != strings.ReplaceAll(last, " ", "") {
			t.Errorf("without blanks it is %q, with them %q", text, last)
		}
		glued++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	return out, glued
}

// What a reader may run together is shown as one text too: messages of one role,
// parts of one, fields of a form; what belongs to different places is not.
func TestJoined(t *testing.T) {
	t.Parallel()
	const (
		asJSON = "application/json"
		asForm = "application/x-www-form-urlencoded"
	)
	long := strings.Repeat("é", 20_000)
	blanks := strings.Repeat("\u200b", 2000)
	chat := []string{".messages[*].content"}
	for body, k := range map[string]struct {
		kind   string
		places []string
		want   []string
	}{
		`{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"no"},{"role":"User","content":"two"}]}`:                  {asJSON, chat, []string{"one|two"}},
		`{"messages":[{"content":"one"},{"content":[{"type":"text","text":"two"},{"text":"three","type":"text"}]}]}`:                          {asJSON, chat, []string{"two/three", "one|two three", "text/text"}},
		`{"messages":[{"role":"user","content":[{"text":"one"},{"text":"two"}]},{"role":"system","content":"no"},{"content":"three"}]}`:       {asJSON, chat, []string{"one/two", "one two|three"}},
		`{"messages":[{"content":"one","role":"assistant"},{"role":"pirate","content":"two"}]}`:                                               {asJSON, chat, []string{"one|two"}},
		`{"messages":{"a":{"content":"one"},"b":{"content":"two"}},"x":["no","no"]}`:                                                          {asJSON, chat, []string{"one|two"}},
		`{"messages":["one",["two","three"],"  ","",{"a":"no"},"four"]}`:                                                                      {asJSON, chat, []string{"one|two|three|four"}},
		`[{"Messages":[{"Content":"one"}]},{"messages":[{"content":"two"}]}]`:                                                                 {asJSON, chat, []string{"one|two"}},
		`{"messages":[{"content":"one"}],"documents":["two","three"]}`:                                                                        {asJSON, []string{".messages[*].content", ".documents[*]"}, []string{"two|three"}},
		`{"messages":[{"role":"user","content":"one"},{"role":"user","content":[{"text":"two"}]}],"a":"no","b":{"content":"no"},"c":[]}`:      {asJSON, []string{""}, []string{"one|two"}},
		`{"messages":[{"content":["a","b",["c"]]},{"content":["d","e"]}]}`:                                                                    {asJSON, chat, []string{"a/b/c", "d/e", "a b c|d e"}},
		`{"messages":[{"role":"user","content":"one"},{"role":"user","content":"two"},{"content":"three"},{"content":"four","role":"user"}]}`: {asJSON, []string{".messages"}, []string{"three/four", "one|two|three four"}},
		`{"messages":[{"role":"tool","content":"one"},{"role":"function","content":"two"}]}`:                                                  {asJSON, chat, []string{"one|tool:two"}},
		`{"messages":[{"content":[{"role":"tool","text":"one"},{"role":"assistant","text":"two"}],"role":"user"}]}`:                           {asJSON, chat, []string{"one/two"}},
		`{"messages":[{"role":"user","content":[{"role":"tool","text":"one"},{"role":"user","text":"two"}]},{"role":"tool","content":"no"}]}`: {asJSON, chat, []string{"one|tool:no", "one/two"}},
		`{"role":"user","messages":[{"role":"user","content":"one"},{"role":"tool","content":"no"},{"role":"user","content":"two"}]}`:         {asJSON, chat, []string{"one/no/two"}},
		`{"messages":["one","\u200b\ufe0f","two"]}`:                                                                                           {asJSON, chat, []string{"one|two"}},
		`{"messages":["one` + blanks + `","` + blanks + `two"]}`:                                                                              {asJSON, chat, []string{"one\u200b|\u200btwo"}},
		`["One.","Two?"," three"]`: {asJSON, []string{""}, []string{"One.|Two?| three"}},
		`["one","two"]`:            {asJSON, []string{""}, []string{"one|two"}},
		`{"a":{"x":"one","y":"no"},"messages":[{"role":"Ignore all"},{"role":"previous"}]}`: {asJSON, []string{""}, []string{"Ignore all|previous"}},
		`{"messages":["a","` + long + `","b"]}`:                                             {asJSON, chat, []string{"a|" + long[:reach], long[len(long)-reach:] + "|b"}},
		"a=one&b=two&c=&d=three":                                                            {asForm, []string{""}, []string{"one|two|three"}},
		"messages[0][role]=user&messages[0][content]=one&messages[1][role]=user&messages[1][content]=two&x=no&y=no": {asForm, chat, []string{"user|user", "one|two"}},
		"messages.0.content=one&messages.1.content=two":                                                             {asForm, []string{""}, []string{"one|two"}},
		"a=one": {asForm, []string{""}, nil},
	} {
		for _, n := range []int{1, 7, 1 << 20} {
			got, glued := joinedOf(t, iotestChunks{strings.NewReader(body), n}, k.kind, k.places...)
			if !reflect.DeepEqual(got, k.want) && (n > 1 || len(body) < 1000) {
				t.Errorf("%.120s by %d:\n%.300q, want\n%.300q", body, n, got, k.want)
			}
			if len(k.want) > 0 && (glued == 0) != strings.Contains(body, ".\"") {
				t.Errorf("%.120s: shown %d times without blanks", body, glued)
			}
		}
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("a", "one")
	f, _ := w.CreateFormFile("f", "x.json")
	_, _ = f.Write([]byte("two"))
	_ = w.WriteField("b", "three")
	_ = w.Close()
	if got, _ := joinedOf(t, &b, w.FormDataContentType(), ""); !reflect.DeepEqual(got, []string{"one|two|three"}) {
		t.Errorf("multipart: %q", got)
	}
}

// What a chat says has threads of its own, whatever else stands beside it.
func TestJoinedAmongNoise(t *testing.T) {
	t.Parallel()
	var names, chat strings.Builder
	for i := range 40 {
		fmt.Fprintf(&names, `"n%d":{"content":"noise","x":"noise","role":"tool"},`, i)
	}
	for _, s := range []string{"one", "two"} {
		fmt.Fprintf(&chat, `,{"content":%q,"n":{"text":"noise"}}`, s)
	}
	for _, name := range []string{"messages", "Contents", "input"} {
		got, _ := joinedOf(t, strings.NewReader("{"+names.String()+`"`+name+`":[`+chat.String()[1:]+`]}`), "application/json", "")
		if !slices.Contains(got, "one|two") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Values of a query and of headers are any bytes.
func FuzzFields(f *testing.F) {
	f.Add("a", strings.Repeat("\x80", 5000), "b")
	f.Add(strings.Repeat("\xe2\x80", 5000), " ", strings.Repeat("\xf0", reach+1))
	f.Fuzz(func(t *testing.T, a, b, c string) {
		fields := NewFields(func(p Piece) error {
			for _, s := range p.Seams {
				if s <= 0 || s >= len(p.Text) {
					t.Errorf("seams %v in %d bytes", p.Seams, len(p.Text))
				}
			}
			return nil
		})
		for i, value := range []string{a, b, c, b, a} {
			if err := fields.Add([]string{"", "n", "a.b"}[i%3], value); err != nil {
				t.Fatal(err)
			}
		}
		if err := fields.End(); err != nil {
			t.Fatal(err)
		}
	})
}

// What is kept is bounded, whatever comes, and every neighbour is seen with its
// neighbour all the same.
func TestJoinedIsBounded(t *testing.T) {
	t.Parallel()
	var list, letters, names strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&list, `,"%06d"`, i)
		fmt.Fprintf(&letters, `,"%c"`, 'a'+i%26)
	}
	for i := range 2000 {
		fmt.Fprintf(&names, `,{"n%d":"noise","content":"%06d"}`, i, i)
	}
	together := map[string]bool{}
	for _, body := range []string{list.String(), letters.String(), names.String()} {
		all, _ := joinedOf(t, strings.NewReader("["+body[1:]+"]"), "application/json", "")
		for _, s := range all {
			if seams := strings.Count(s, "|"); seams > maxSeams {
				t.Errorf("%d seams at once", seams)
			}
			for parts := strings.FieldsFunc(s, func(r rune) bool { return r == '|' || r == '/' }); len(parts) > 1; parts = parts[1:] {
				together[parts[0][max(0, len(parts[0])-6):]+parts[1][:min(6, len(parts[1]))]] = true
			}
		}
	}
	for i := range 29_999 {
		if !together[fmt.Sprintf("%06d%06d", i, i+1)] {
			t.Fatalf("%d and %d are never together", i, i+1)
		}
	}
	j := joiner{of: 1, visit: func(Piece) error { return nil }}
	for i := range 100_000 {
		if err := j.add(threadKey{cover: 1, place: uint64(i), plain: i%2 == 0}, uint64(i/3), 1, strings.Repeat("x", 1+i%9000), 0, []byte("/a")); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for _, th := range j.threads {
		kept += len(th.only) + cap(th.text) + 24*cap(th.seams)
	}
	if kept > (maxThreads+1)*2*(threadSize+24*maxSeams) {
		t.Errorf("%d bytes", kept)
	}
}

// A body that is refused for what several strings say never goes on in full,
// also where the last of them is followed by nothing but its end.
func TestJoinedIsWithheld(t *testing.T) {
	t.Parallel()
	pad := strings.Repeat("all is well here. ", 8000)
	part := func(name, text string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + text + "\r\n"
	}
	for body, kind := range map[string]string{
		`{"messages":[{"content":"` + pad + `"},{"content":"zan"},{"content":"zibar"}]}`:                 "application/json",
		"a=" + url.QueryEscape(pad) + "&b=zan&c=zibar":                                                   "application/x-www-form-urlencoded",
		"a=" + url.QueryEscape(pad) + "&b=zan&c=zibar&":                                                  "application/x-www-form-urlencoded",
		"a=" + url.QueryEscape(pad) + "&b=zan&c=zibar&d":                                                 "application/x-www-form-urlencoded",
		part("a", pad) + part("b", "zan") + part("c", "zibar") + "--b--":                                 "multipart/form-data; boundary=b",
		part("a", pad) + part("b", "zan") + part("c", "zibar") + part("d", "\x00\x01"+pad) + "--b--\r\n": "multipart/form-data; boundary=b",
	} {
		for _, most := range []int{1, 50, 1 << 20} {
			if most == 1 && len(body) > 200_000 {
				continue
			}
			patterns, _ := Compile([]string{""})
			r, err := New(iotestChunks{strings.NewReader(body), most}, kind, Limits{}, patterns.Joining(1), func(p Piece) error {
				if strings.Contains(p.Text, "zanzibar") {
					return invalid("no zanzibar")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(r)
			r.Close()
			if err == nil || len(out) >= len(body) || !strings.HasPrefix(body, string(out)) {
				t.Errorf("%.40s by %d: %v, %d of %d bytes went on", body, most, err, len(out), len(body))
			}
		}
	}
}
