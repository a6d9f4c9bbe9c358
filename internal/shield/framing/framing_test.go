package framing

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

const head = "POST /x HTTP/1.1\r\nHost: a\r\n"

// anyKind is for attacks that are seen differently by how the bytes fall.
const anyKind = Kind(100)

func feed(w *Watcher, s string, step int) error {
	for len(s) > 0 {
		n := min(step, len(s))
		if err := w.Feed([]byte(s[:n])); err != nil {
			return err
		}
		s = s[n:]
	}
	return nil
}

var steps = []int{1, 2, 7, 1 << 20}

func TestOrdinaryRequests(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]string{
		"get":            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"http/1.0":       "GET / HTTP/1.0\r\n\r\n",
		"empty value":    "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n",
		"obs-text":       "GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n",
		"leading CRLF":   "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"length":         head + "Content-Length: 5\r\n\r\nhello",
		"zero length":    head + "Content-Length: 0\r\n\r\n",
		"chunked":        head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
		"trailer":        head + "Transfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
		"LF in content":  head + "Content-Length: 6\r\n\r\n\n\r\n\x00\n\n",
		"LF in a chunk":  head + "Transfer-Encoding: chunked\r\n\r\n3\r\n\n\r\x00\r\n0\r\n\r\n",
		"absolute form":  "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"options star":   "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"tiny chunks":    head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\na\r\n", 100_000) + "0\r\n\r\n",
		"large":          head + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1_000_000),
		"tabs in values": "GET / HTTP/1.1\r\nHost:\ta\t\r\nX: a\tb\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, step := range steps {
				w := New(Limits{})
				// Three in a row: the second and third show that the end was found.
				if err := feed(w, s+s+s, step); err != nil {
					t.Fatalf("in steps of %d: %v", step, err)
				}
				if w.Phase() != Idle {
					t.Fatalf("in steps of %d: ends in phase %d", step, w.Phase())
				}
			}
		})
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	smuggle := "GET /admin HTTP/1.1\r\nX: y"
	for name, c := range map[string]struct {
		bytes string
		kind  Kind
	}{
		"CL.TE":                     {head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", Smuggling},
		"TE.CL":                     {head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + smuggle, Smuggling},
		"two lengths":               {head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", Smuggling},
		"the same length twice":     {head + "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", Smuggling},
		"length list":               {head + "Content-Length: 5, 5\r\n\r\n", Smuggling},
		"signed length":             {head + "Content-Length: +5\r\n\r\n", Smuggling},
		"negative length":           {head + "Content-Length: -1\r\n\r\n", Smuggling},
		"hex length":                {head + "Content-Length: 0x5\r\n\r\n", Smuggling},
		"empty length":              {head + "Content-Length:\r\n\r\n", Smuggling},
		"huge length":               {head + "Content-Length: 99999999999999999999\r\n\r\n", Smuggling},
		"space before colon":        {head + "Content-Length : 5\r\n\r\n", Smuggling},
		"space in name":             {head + "Transfer Encoding: chunked\r\n\r\n", Smuggling},
		"TE with a tab":             {head + "Transfer-Encoding\t: chunked\r\n\r\n", Smuggling},
		"TE identity":               {head + "Transfer-Encoding: identity\r\n\r\n", Smuggling},
		"TE x":                      {head + "Transfer-Encoding: xchunked\r\n\r\n", Smuggling},
		"TE list":                   {head + "Transfer-Encoding: gzip, chunked\r\n\r\n", Smuggling},
		"TE twice":                  {head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", Smuggling},
		"TE quoted":                 {head + "Transfer-Encoding: \"chunked\"\r\n\r\n", Smuggling},
		"TE in HTTP/1.0":            {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Smuggling},
		"TE with vertical tab":      {head + "Transfer-Encoding: \x0bchunked\r\n\r\n", Malformed},
		"folded TE":                 {head + "Transfer-Encoding:\r\n chunked\r\n\r\n", Smuggling},
		"folded first line":         {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Smuggling},
		"bare LF":                   {"GET / HTTP/1.1\nHost: a\r\n\r\n", Smuggling},
		"bare LF in headers":        {head + "X: y\nTransfer-Encoding: chunked\r\n\r\n", Smuggling},
		"bare LF ends the head":     {head + "\n", Smuggling},
		"bare CR":                   {head + "X: y\rTransfer-Encoding: chunked\r\n\r\n", Smuggling},
		"NUL":                       {head + "X: a\x00b\r\n\r\n", Malformed},
		"no name":                   {head + ": x\r\n\r\n", Smuggling},
		"no colon":                  {head + "x\r\n\r\n", Smuggling},
		"two hosts":                 {head + "Host: b\r\n\r\n", Smuggling},
		"TLS on a plain port":       {"\x16\x03\x01\x02\x00\x01\x00", Malformed},
		"HTTP/2 preface":            {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Malformed},
		"HTTP/0.9":                  {"GET /\r\n", Malformed},
		"two spaces":                {"GET  / HTTP/1.1\r\n", Malformed},
		"space in target":           {"GET /a b HTTP/1.1\r\n", Malformed},
		"lower-case version":        {"GET / http/1.1\r\n", Malformed},
		"version 1.10":              {"GET / HTTP/1.10\r\n", Malformed},
		"bad method":                {"G[T / HTTP/1.1\r\n", Malformed},
		"endless method":            {strings.Repeat("A", 100), Malformed},
		"two empty lines":           {"\r\n\r\n\r\n", Malformed},
		"chunk without size":        {head + "Transfer-Encoding: chunked\r\n\r\n\r\n", Malformed},
		"chunk size sign":           {head + "Transfer-Encoding: chunked\r\n\r\n+5\r\n", Malformed},
		"chunk size 0x":             {head + "Transfer-Encoding: chunked\r\n\r\n0x5\r\n", Malformed},
		"chunk size overflow":       {head + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", Malformed},
		"chunk size white space":    {head + "Transfer-Encoding: chunked\r\n\r\n5 \r\n", Malformed},
		"chunk size bare LF":        {head + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n", Smuggling},
		"extension bare LF":         {head + "Transfer-Encoding: chunked\r\n\r\n5;\nhello\r\n", Smuggling},
		"extension bare CR":         {head + "Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n", Smuggling},
		"chunk too long":            {head + "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n", anyKind},
		"chunk ends in bare LF":     {head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n", Smuggling},
		"length in a trailer":       {head + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", Smuggling},
		"TE in a trailer":           {head + "Transfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", Smuggling},
		"extension flood":           {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 250)+"\r\na\r\n", 1000), Oversize},
		"header flood":              {head + strings.Repeat("X: y\r\n", 101), HeaderFlood},
		"long line":                 {head + "X: " + strings.Repeat("y", 17<<10), Oversize},
		"long head":                 {head + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 70), Oversize},
		"second request is no HTTP": {"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x00\x01", Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, step := range steps {
				w := New(Limits{})
				err := feed(w, c.bytes, step)
				var v *Violation
				if !errors.As(err, &v) {
					t.Fatalf("in steps of %d: accepted (phase %d)", step, w.Phase())
				}
				if c.kind != anyKind && v.Kind != c.kind {
					t.Fatalf("in steps of %d: kind %d, want %d: %v", step, v.Kind, c.kind, v)
				}
				if err := w.Feed([]byte("GET / HTTP/1.1\r\n")); !errors.Is(err, ErrEnded) || w.Phase() != Ended {
					t.Fatalf("goes on after a violation: %v", err)
				}
			}
		})
	}
}

func TestPhases(t *testing.T) {
	t.Parallel()
	w := New(Limits{})
	for _, c := range []struct {
		bytes string
		after Phase
	}{
		{"", Idle}, {"G", Head}, {"ET / HTTP/1.1\r\n", Head}, {"Host: a\r\nUpgrade: websocket\r\n", Head}, {"\r\n", Idle},
		{head, Head}, {"Content-Length: 3\r\n\r\n", Body}, {"ab", Body}, {"c", Idle},
		{head + "Transfer-Encoding: chunked\r\n\r\n", Body}, {"1\r\na", Body}, {"\r\n0\r\n", Body}, {"\r\n", Idle},
	} {
		if err := w.Feed([]byte(c.bytes)); err != nil || w.Phase() != c.after {
			t.Fatalf("after %q: phase %d, %v", c.bytes, w.Phase(), err)
		}
	}
	if w.Upgrading() {
		t.Fatal("an upgrade that was not agreed to is remembered")
	}
	w.Release()
	if err := w.Feed([]byte("\x81\x00\n\n")); err != nil || w.Phase() != Opaque {
		t.Fatal(err)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 20 {
			b := bytes.Repeat([]byte{'\xff'}, 20)
			b[at] = byte(c)
			want := -1
			if c < ' ' || c == 0x7f {
				want = at
			}
			if got := control(b); got != want {
				t.Fatalf("byte %#x at %d: %d", c, at, got)
			}
		}
	}
}

// What the Watcher accepts, net/http reads as the same sequence of requests,
// and in any division into reads the answer is the same.
func FuzzWatcher(f *testing.F) {
	f.Add([]byte(head+"Content-Length: 5\r\n\r\nhello"), 3)
	f.Add([]byte(head+"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 1)
	f.Add([]byte(head+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 9)
	f.Add([]byte("\r\nGET / HTTP/1.0\nHost: a\r\n\r\n"), 2)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		whole, parts := New(Limits{}), New(Limits{})
		err := whole.Feed(data)
		perr := feed(parts, string(data), max(step, 1)&1023+1)
		if (err == nil) != (perr == nil) || whole.Phase() != parts.Phase() {
			t.Fatalf("whole: %v (%d), in parts: %v (%d)", err, whole.Phase(), perr, parts.Phase())
		}
		if err != nil || whole.Phase() != Idle {
			return
		}
		// Count the requests of an accepted, finished stream both ways.
		ours := 0
		counter := New(Limits{})
		for i := range data {
			before := counter.state
			_ = counter.Feed(data[i : i+1])
			if counter.state == start && before != start && before != again {
				ours++
			}
		}
		theirs := 0
		br := bufio.NewReader(bytes.NewReader(data))
		for {
			// RFC 9112 section 2.2: the server may skip an empty line first.
			if p, _ := br.Peek(2); string(p) == "\r\n" {
				_, _ = br.Discard(2)
			}
			req, err := http.ReadRequest(br)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					return // net/http is stricter about URLs, hosts and methods
				}
				break
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				t.Fatalf("net/http cannot read a body that was accepted: %v", err)
			}
			theirs++
		}
		if ours != theirs {
			t.Fatalf("%d requests here, %d in net/http", ours, theirs)
		}
	})
}

func BenchmarkWatcher(b *testing.B) {
	browser := []byte("GET /v1/agents?limit=20 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer " + strings.Repeat("a", 600) + "\r\nCookie: a=b\r\n\r\n")
	post := []byte(head + "Content-Type: application/json\r\nContent-Length: 8192\r\n\r\n" + strings.Repeat("x", 8192))
	for name, data := range map[string][]byte{"get": browser, "post 8 KiB": post} {
		b.Run(name, func(b *testing.B) {
			w := New(Limits{})
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := w.Feed(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
