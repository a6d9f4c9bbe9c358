package stream

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// stringsOf are the strings and keys of a document, as encoding/json reads it.
func stringsOf(dec *json.Decoder) (out []string, err error) {
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if s, ok := tok.(string); ok && s != "" {
			out = append(out, s)
		}
	}
}

// FuzzJSON: what we take encoding/json takes, with the same strings in the same
// order, however the body is cut; and all of it comes through.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x\u00e9\ud83d\ude00\\"],"b":{"c":-1.5e7}}`, `["\ud800\ud800\udc00x","\udc00"]`, `{"a":1,"a":2}`, ` [ ] `, `1 2`, "\"\xff\"", `{"":{"":""}}`} {
		f.Add(s, uint8(1))
	}
	f.Fuzz(func(t *testing.T, body string, most uint8) {
		whole, saw, err := readAll(t, strings.NewReader(body), "application/json", Limits{}, "")
		_, pieces, perr := readAll(t, inPieces(body, uint64(most), 1+int(most)), "application/json", Limits{}, "")
		if (err == nil) != (perr == nil) || !reflect.DeepEqual(saw, pieces) && err == nil {
			t.Fatalf("whole %v %v, in pieces %v %v", err, saw, perr, pieces)
		}
		if err != nil {
			return
		}
		if string(whole) != body {
			t.Fatalf("%q came through as %q", body, whole)
		}
		if !json.Valid([]byte(body)) {
			t.Fatalf("we take %q, encoding/json does not", body)
		}
		dec := json.NewDecoder(strings.NewReader(body))
		dec.UseNumber()
		want, err := stringsOf(dec)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range saw {
			if s.Text != "" && s.Seams == "" {
				got = append(got, s.Text)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q: saw %q, want %q", body, got, want)
		}
	})
}

// FuzzMultipart: what we take mime/multipart takes, with the same parts.
func FuzzMultipart(f *testing.F) {
	f.Add("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"b\"; filename=\"c\"\r\nContent-Type: text/plain\r\n\r\n\r\n--bx\r\n--b--\r\n", uint8(3))
	f.Add("--b--\r", uint8(3))
	f.Fuzz(func(t *testing.T, body string, most uint8) {
		out, saw, err := readAll(t, strings.NewReader(body), "multipart/form-data; boundary=b", Limits{}, "")
		_, pieces, perr := readAll(t, inPieces(body, uint64(most), 1+int(most)), "multipart/form-data; boundary=b", Limits{}, "")
		if (err == nil) != (perr == nil) || err == nil && !reflect.DeepEqual(saw, pieces) {
			t.Fatalf("whole %v %v, in pieces %v %v", err, saw, perr, pieces)
		}
		if err != nil {
			return
		}
		if string(out) != body {
			t.Fatalf("%q came through as %q", body, out)
		}
		var names, got []string
		r := multipart.NewReader(strings.NewReader(body), "b")
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("we take %q, mime/multipart says %v", body, err)
			}
			names = append(names, p.FormName())
			_, params, _ := strings.Cut(p.Header.Get("Content-Disposition"), ";")
			if strings.Contains(strings.ToLower(params), "filename") {
				names = append(names, "file")
			}
		}
		for _, s := range saw {
			if s.Key {
				got = append(got, s.Text)
			}
		}
		if len(got) != len(names) {
			t.Fatalf("%q: %q and %q", body, got, names)
		}
	})
}

// FuzzForm: what we take net/url takes, with the same names and values.
func FuzzForm(f *testing.F) {
	f.Add("a=b&c=%41+d&e&=f&&g=h=i", uint8(2))
	f.Fuzz(func(t *testing.T, body string, most uint8) {
		out, saw, err := readAll(t, strings.NewReader(body), "application/x-www-form-urlencoded", Limits{}, "")
		_, pieces, perr := readAll(t, inPieces(body, uint64(most), 1+int(most)), "application/x-www-form-urlencoded", Limits{}, "")
		if (err == nil) != (perr == nil) || err == nil && !reflect.DeepEqual(saw, pieces) {
			t.Fatalf("whole %v %v, in pieces %v %v", err, saw, perr, pieces)
		}
		if err != nil {
			return
		}
		if string(out) != body {
			t.Fatalf("%q came through as %q", body, out)
		}
		if strings.Contains(body, ";") {
			return // net/url refuses it, others take it for an "&", as our detectors' text it is whole
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("we take %q, net/url says %v", body, err)
		}
		n, m := 0, 0
		for k, vs := range want {
			if k != "" {
				n += len(vs)
			}
			for _, v := range vs {
				if v != "" {
					m++
				}
			}
		}
		for _, s := range saw {
			if s.Seams != "" {
				continue
			}
			if s.Key {
				n--
			} else if m--; !slices.Contains(want[s.Where], s.Text) {
				t.Fatalf("%q: %+v is not among %v", body, s, want)
			}
		}
		if n != 0 || m != 0 {
			t.Fatalf("%q: saw %v of %v", body, saw, want)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	doc := []byte("[" + strings.Repeat(`{"role":"user","content":"The quarterly report is attached, please review it before Monday.\n"},`, 10000) + "0]")
	patterns, _ := Compile([]string{""})
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		r, _ := New(bytes.NewReader(doc), "application/json", Limits{}, patterns, func(Piece) error { return nil })
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
