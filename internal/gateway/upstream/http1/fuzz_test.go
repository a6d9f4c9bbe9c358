package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// memory is a source that holds a whole answer and gives it in pieces.
type memory struct {
	all      []byte
	seen, at int
	step     int
}

func (m *memory) buffered() []byte { return m.all[m.at:m.seen] }
func (m *memory) consume(n int)    { m.at += n }
func (m *memory) fill() error {
	if m.seen == len(m.all) {
		return io.EOF
	}
	m.seen = min(m.seen+m.step, len(m.all))
	return nil
}

func readMemory(raw []byte, method string, step int) (h head, content []byte, trailers []Field, rest []byte, err error) {
	end := headEnd(raw, 0)
	if end < 0 {
		return h, nil, nil, nil, io.ErrUnexpectedEOF
	}
	if err = h.parse(raw[:end], method); err != nil {
		return
	}
	m := &memory{all: raw[end:], step: step}
	b := body{framing: h.framing, left: max(h.length, 0)}
	if b.framing == chunked {
		b.left = 0
	}
	for !b.done {
		var p []byte
		if p, err = b.next(m); err != nil {
			return
		}
		content = append(content, p...)
		if len(p) == 0 && !b.done {
			if e := m.fill(); e != nil {
				if e = b.eof(e); e != nil {
					err = e
					return
				}
			}
		}
	}
	return h, content, b.trailers, m.all[m.at:], nil
}

// FuzzResponse: what we take, net/http takes and reads the same: status, fields,
// content and where it ends. And it does not matter how the bytes arrive.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\nrest",
		"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\nuntil the end",
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nEtag: \"a\"\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(s), false, uint8(3))
		f.Add([]byte(s), true, uint8(255))
	}
	f.Fuzz(func(t *testing.T, raw []byte, isHead bool, step uint8) {
		if len(raw) > 1<<16 {
			return
		}
		method := "GET"
		if isHead {
			method = "HEAD"
		}
		h, content, trailers, rest, err := readMemory(raw, method, int(step)+1)
		h2, content2, _, rest2, err2 := readMemory(raw, method, len(raw)+1)
		if (err == nil) != (err2 == nil) || err == nil && (h.status != h2.status || !bytes.Equal(content, content2) || !bytes.Equal(rest, rest2)) {
			t.Fatalf("pieces change the meaning: %v, %v", err, err2)
		}
		if err != nil || h.status < 200 {
			return
		}
		br := bufio.NewReader(bytes.NewReader(raw))
		want, nerr := http.ReadResponse(br, &http.Request{Method: method})
		if nerr != nil {
			t.Fatalf("we take what net/http refuses: %v", nerr)
		}
		if want.StatusCode != h.status {
			t.Fatalf("status %d, net/http %d", h.status, want.StatusCode)
		}
		got, nerr := io.ReadAll(want.Body)
		want.Body.Close()
		if nerr != nil {
			t.Fatalf("we read what net/http cannot: %v", nerr)
		}
		if !bytes.Equal(got, content) {
			t.Fatalf("content %q, net/http %q", content, got)
		}
		nrest, _ := io.ReadAll(br)
		if h.framing != untilClose && !bytes.Equal(nrest, rest) {
			t.Fatalf("after the content %q, net/http %q", rest, nrest)
		}
		for _, fl := range h.fields {
			switch fl.Name {
			case "Transfer-Encoding", "Connection", "Trailer", "Content-Length":
				continue // net/http takes these out or rewrites them
			}
			found := false
			for _, v := range want.Header[fl.Name] {
				found = found || v == fl.Value
			}
			if !found {
				t.Fatalf("%s: %q, net/http has %q", fl.Name, fl.Value, want.Header[fl.Name])
			}
		}
		for _, fl := range trailers {
			if forbiddenTrailer(fl.Name) {
				t.Fatalf("trailer %s", fl.Name)
			}
		}
		if h.keep && (h.framing == untilClose || strings.HasPrefix(string(raw), "HTTP/1.0")) {
			t.Fatal("kept although its end is the connection's")
		}
	})
}

// FuzzHead: what Head takes, net/http reads as exactly one request with exactly
// these fields.
func FuzzHead(f *testing.F) {
	f.Add("GET", "/a?b=c", "host:80", "X-A", "b")
	f.Add("POST", "/", "h", "Content-Length", "5")
	f.Add("GET", "/", "h", "A", "b\r\nC: d")
	f.Fuzz(func(t *testing.T, method, target, host, name, value string) {
		var h Head
		h.Start(method, target, host)
		h.Field("X-Before", "1")
		h.Field(name, value)
		err := h.End()
		if err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Fatal(err)
			}
			return
		}
		if n := bytes.Count(h.Buf, []byte("\r\n")); n != 5 || bytes.Count(h.Buf, []byte("\n")) != 5 || bytes.Count(h.Buf, []byte("\r")) != 5 {
			t.Fatalf("%d lines in %q", n, h.Buf)
		}
	})
}
