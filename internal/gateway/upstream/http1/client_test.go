package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server answers each connection with a script, and counts connections.
type server struct {
	addr  string
	conns atomic.Int64
}

func serve(t *testing.T, each func(n int64, c net.Conn)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: ln.Addr().String()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := s.conns.Add(1)
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				each(n, c)
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return s
}

func (s *server) client(t *testing.T) *Client {
	c := New(Config{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.addr)
	}})
	t.Cleanup(c.Close)
	return c
}

func request(method string) *Request {
	var h Head
	h.Start(method, "/", "upstream")
	if err := h.End(); err != nil {
		panic(err)
	}
	return &Request{Method: method, Bytes: h.Buf, HeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second}
}

func readAll(r *Response) (string, error) {
	defer r.Close()
	var b strings.Builder
	for {
		p, err := r.Next()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		b.Write(p)
	}
}

// readHeadOf reads one request without content.
func readHeadOf(c net.Conn, br *bufio.Reader) bool {
	_, err := http.ReadRequest(br)
	return err == nil
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 40<<10)
	for name, tc := range map[string]struct {
		method, raw string
		want        string
		status      int
		kept        int
		bad         bool // the head is refused
		cut         bool // the content is
	}{
		"sized":                       {raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: "hello", status: 200, kept: 1},
		"empty":                       {raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", status: 200, kept: 1},
		"no reason":                   {raw: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", status: 200, kept: 1},
		"larger than the buffer":      {raw: "HTTP/1.1 200 OK\r\nContent-Length: 40960\r\n\r\n" + big, want: big, status: 200, kept: 1},
		"chunked":                     {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", want: "hello!", status: 200, kept: 1},
		"chunked, trailers":           {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", want: "a", status: 200, kept: 1},
		"until close":                 {raw: "HTTP/1.1 200 OK\r\n\r\nhello", want: "hello", status: 200},
		"close":                       {raw: "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 2\r\n\r\nhi", want: "hi", status: 200},
		"1.0":                         {raw: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", want: "hi", status: 200},
		"head":                        {method: "HEAD", raw: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", status: 200, kept: 1},
		"204":                         {raw: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, kept: 1},
		"304 with a length":           {raw: "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", status: 304, kept: 1},
		"100 and 103 first":           {raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", status: 200, kept: 1},
		"one byte too many":           {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", want: "hi", status: 200},
		"a second answer":             {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", want: "hi", status: 200},
		"a second answer after HEAD":  {method: "HEAD", raw: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", status: 200},
		"bytes after 204":             {raw: "HTTP/1.1 204 No Content\r\n\r\nevil", status: 204},
		"bytes after 304":             {raw: "HTTP/1.1 304 x\r\n\r\nevil", status: 304},
		"both framings":               {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad: true},
		"both framings, other order":  {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", bad: true},
		"two lengths":                 {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", bad: true},
		"two equal lengths":           {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", bad: true},
		"a list of lengths":           {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", bad: true},
		"signed length":               {raw: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", bad: true},
		"hex length":                  {raw: "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi", bad: true},
		"overflowing length":          {raw: "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nhi", bad: true},
		"empty length":                {raw: "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi", bad: true},
		"gzip, chunked":               {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", bad: true},
		"identity":                    {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhi", bad: true},
		"chunked twice":               {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad: true},
		"xchunked":                    {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", bad: true},
		"chunked with vertical tab":   {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", bad: true},
		"chunked in 1.0":              {raw: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad: true},
		"chunked 204":                 {raw: "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad: true},
		"204 with a length":           {raw: "HTTP/1.1 204 x\r\nContent-Length: 4\r\n\r\nevil", bad: true},
		"space before the colon":      {raw: "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi", bad: true},
		"folded":                      {raw: "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", bad: true},
		"folded first line":           {raw: "HTTP/1.1 200 OK\r\n X: a\r\n\r\n", bad: true},
		"bare LF":                     {raw: "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", bad: true},
		"one bare LF":                 {raw: "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nhi", bad: true},
		"bare CR in a value":          {raw: "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 2\r\n\r\nhi", bad: true},
		"NUL":                         {raw: "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", bad: true},
		"no name":                     {raw: "HTTP/1.1 200 OK\r\n: a\r\n\r\n", bad: true},
		"no colon":                    {raw: "HTTP/1.1 200 OK\r\nevil\r\n\r\n", bad: true},
		"HTTP/2.0":                    {raw: "HTTP/2.0 200 OK\r\n\r\n", bad: true},
		"HTTP/1.2":                    {raw: "HTTP/1.2 200 OK\r\n\r\n", bad: true},
		"lower case http":             {raw: "http/1.1 200 OK\r\n\r\n", bad: true},
		"leading line":                {raw: "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", bad: true},
		"status 99":                   {raw: "HTTP/1.1 099 OK\r\n\r\n", bad: true},
		"status 600":                  {raw: "HTTP/1.1 600 OK\r\n\r\n", bad: true},
		"status 2000":                 {raw: "HTTP/1.1 2000 OK\r\n\r\n", bad: true},
		"status +20":                  {raw: "HTTP/1.1 +20 OK\r\n\r\n", bad: true},
		"101 that nobody asked for":   {raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", bad: true},
		"endless 1xx":                 {raw: strings.Repeat("HTTP/1.1 102 x\r\n\r\n", 20), bad: true},
		"1xx with a length":           {raw: "HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", bad: true},
		"nothing":                     {raw: "", bad: true},
		"half a head":                 {raw: "HTTP/1.1 200 OK\r\nContent-Len", bad: true},
		"a huge head":                 {raw: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", bad: true},
		"too many fields":             {raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 300) + "\r\n", bad: true},
		"another protocol":            {raw: "220 smtp ready\r\n\r\n", bad: true},
		"short content":               {raw: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", want: "hello", status: 200, cut: true},
		"chunked without an end":      {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", want: "hello", status: 200, cut: true},
		"chunked, last CRLF missing":  {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", want: "hello", status: 200, cut: true},
		"chunk size empty":            {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk size 0x5":              {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk size -1":               {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk size overflow":         {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk size after space":      {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk size then junk":        {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 x\r\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk line with bare LF":     {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk extension with CR":     {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n", status: 200, cut: true},
		"chunk without its CRLF":      {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", want: "hello", status: 200, cut: true},
		"chunk extension flood":       {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("a", 400)+"\r\nx\r\n", 20), status: 200, want: strings.Repeat("x", 10), cut: true},
		"trailer with a length":       {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", status: 200, cut: true},
		"folded trailer":              {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n", status: 200, cut: true},
		"a second answer, in chunked": {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1 << 20, 1, 7} { // however the bytes come
				if size == 1 && len(tc.raw) > 4096 {
					continue
				}
				s := serve(t, func(_ int64, c net.Conn) {
					br := bufio.NewReader(c)
					if !readHeadOf(c, br) {
						return
					}
					for raw := []byte(tc.raw); len(raw) > 0; {
						n := min(size, len(raw))
						if _, err := c.Write(raw[:n]); err != nil {
							return
						}
						raw = raw[n:]
					}
					if tc.kept > 0 { // or the end of the connection decides
						_, _ = br.ReadByte()
					}
				})
				c := s.client(t)
				if tc.method == "" {
					tc.method = "GET"
				}
				resp, err := c.Do(context.Background(), request(tc.method))
				if tc.bad {
					if err == nil {
						t.Fatalf("status %d was taken", resp.Status)
					}
					if n := c.Idle(); n != 0 {
						t.Fatalf("%d connections kept", n)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if resp.Status != tc.status {
					t.Errorf("status %d", resp.Status)
				}
				got, err := readAll(resp)
				if (err != nil) != tc.cut || got != tc.want {
					t.Errorf("content of %d bytes, %v", len(got), err)
				}
				if n := c.Idle(); size != 1<<20 && tc.kept == 0 {
					// Left-over bytes may come later than the answer: then the check
					// before the next use finds them (TestLateBytes).
				} else if n != tc.kept {
					t.Errorf("%d connections kept, want %d", n, tc.kept)
				}
			}
		})
	}
}

// A hostile upstream sends a second answer once the first is read: the next
// client must not get it.
func TestLateBytes(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{})
	answered := make(chan struct{})
	s := serve(t, func(n int64, c net.Conn) {
		br := bufio.NewReader(c)
		if !readHeadOf(c, br) {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		if n == 1 {
			<-answered
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			close(sent)
		}
		_, _ = br.ReadByte()
	})
	c := s.client(t)
	for i, want := range []string{"1", "2"} {
		resp, err := c.Do(context.Background(), request("GET"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(resp); err != nil || got != want {
			t.Fatalf("answer %q, %v", got, err)
		}
		if i == 0 {
			close(answered)
			<-sent
		}
	}
}

func TestKeepAliveAndStale(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 8)
	s := serve(t, func(n int64, c net.Conn) {
		br := bufio.NewReader(c)
		for range 2 { // then it closes without a word
			if !readHeadOf(c, br) {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		c.Close()
		closed <- struct{}{}
	})
	c := s.client(t)
	for i := range 6 {
		resp, err := c.Do(context.Background(), request("POST")) // no replay is needed: the close is seen before
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(resp); err != nil || got != "ok" {
			t.Fatalf("%q %v", got, err)
		}
		if i%2 == 1 {
			<-closed
		}
	}
	if n := s.conns.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// The upstream reads the request and then closes a kept connection: only what
// may be repeated is.
func TestReplay(t *testing.T) {
	t.Parallel()
	for _, replay := range []bool{true, false} {
		s := serve(t, func(n int64, c net.Conn) {
			br := bufio.NewReader(c)
			if !readHeadOf(c, br) {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			_ = readHeadOf(c, br)
		})
		c := s.client(t)
		for i := range 2 {
			req := request("GET")
			req.Replay = replay
			resp, err := c.Do(context.Background(), req)
			if i == 1 && !replay {
				var e *Error
				if !errors.As(err, &e) || e.Op != "read head" || s.conns.Load() != 1 {
					t.Fatalf("%v after %d connections", err, s.conns.Load())
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := readAll(resp); err != nil || got != "ok" {
				t.Fatalf("%q %v", got, err)
			}
		}
		if n := s.conns.Load(); replay && n != 2 {
			t.Errorf("%d connections", n)
		}
	}
}

func TestTimeoutsAndCancel(t *testing.T) {
	t.Parallel()
	s := serve(t, func(n int64, c net.Conn) {
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if r.URL.Path == "/body" {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
		}
		_, _ = br.ReadByte()
	})
	c := s.client(t)
	req := request("GET")
	req.HeaderTimeout = 30 * time.Millisecond
	if _, err := c.Do(context.Background(), req); !IsTimeout(err) {
		t.Errorf("header: %v", err)
	}
	req = request("GET")
	req.Deadline = time.Now().Add(30 * time.Millisecond)
	if _, err := c.Do(context.Background(), req); !IsTimeout(err) {
		t.Errorf("deadline: %v", err)
	}
	var h Head
	h.Start("GET", "/body", "u")
	_ = h.End()
	resp, err := c.Do(context.Background(), &Request{Method: "GET", Bytes: h.Buf, HeaderTimeout: 10 * time.Second, IdleTimeout: 30 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(resp); got != "hello" || !IsTimeout(err) {
		t.Errorf("idle: %q %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Do(ctx, request("GET")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancel: %v", err)
	}
	if c.Idle() != 0 {
		t.Errorf("%d kept", c.Idle())
	}
}

func streamed(body io.Reader, length int64) *Request {
	var h Head
	h.Start("POST", "/", "u")
	h.Length(length)
	_ = h.End()
	return &Request{Method: "POST", Bytes: h.Buf, Stream: body, Length: length, HeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %v", len(b), err)
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	s := &server{addr: ln.Addr().String()}
	c := s.client(t)
	data := bytes.Repeat([]byte("abc"), 100_000)
	for _, length := range []int64{int64(len(data)), -1} {
		resp, err := c.Do(context.Background(), streamed(bytes.NewReader(data), length))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(resp); err != nil || got != "300000 <nil>" {
			t.Errorf("length %d: %q %v", length, got, err)
		}
		if c.Idle() != 1 {
			t.Errorf("length %d: %d kept", length, c.Idle())
		}
	}
	// A source that breaks, or is not as long as it said, is not sent as whole.
	broke := errors.New("gone")
	for name, r := range map[string]*Request{
		"broken":       streamed(io.MultiReader(bytes.NewReader(data), errReader{broke}), -1),
		"short":        streamed(bytes.NewReader(data), int64(len(data))+1),
		"long":         streamed(bytes.NewReader(data), int64(len(data))-1),
		"broken early": streamed(errReader{broke}, 10),
	} {
		_, err := c.Do(context.Background(), r)
		var e *Error
		if !errors.As(err, &e) || e.Op != "read request" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// The upstream refuses before it has read the content: its words arrive, the
// upload ends, the connection is not used again.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t, func(n int64, c net.Conn) {
		br := bufio.NewReader(c)
		if !readHeadOf(c, br) {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		_, _ = io.Copy(io.Discard, io.LimitReader(br, 1<<20))
	})
	c := s.client(t)
	pr, pw := io.Pipe()
	defer pw.Close()
	req := streamed(pr, -1)
	req.Extend = func(at time.Time) {
		if !at.IsZero() && at.Before(time.Now()) {
			pr.CloseWithError(errors.New("time is over"))
		}
	}
	resp, err := c.Do(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if !resp.Uploading() {
		t.Error("the upload looks finished")
	}
	if got, err := readAll(resp); resp.Status != 413 || got != "big" || err != nil {
		t.Errorf("%d %q %v", resp.Status, got, err)
	}
	if c.Idle() != 0 {
		t.Error("kept")
	}
}

func TestHeadRefusesInjection(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(*Head){
		"CRLF in a value":  func(h *Head) { h.Start("GET", "/", "u"); h.Field("A", "b\r\nC: d") },
		"LF in a value":    func(h *Head) { h.Start("GET", "/", "u"); h.Field("A", "b\nC: d") },
		"NUL in a value":   func(h *Head) { h.Start("GET", "/", "u"); h.Field("A", "\x00") },
		"colon in a name":  func(h *Head) { h.Start("GET", "/", "u"); h.Field("A: b", "c") },
		"space in target":  func(h *Head) { h.Start("GET", "/ HTTP/1.1", "u") },
		"CRLF in target":   func(h *Head) { h.Start("GET", "/\r\nA: b", "u") },
		"absolute target":  func(h *Head) { h.Start("GET", "http://evil/", "u") },
		"no target":        func(h *Head) { h.Start("GET", "", "u") },
		"space in method":  func(h *Head) { h.Start("GET /", "/", "u") },
		"CRLF in the host": func(h *Head) { h.Start("GET", "/", "u\r\nA: b") },
		"raw UTF-8":        func(h *Head) { h.Start("GET", "/é", "u") },
	} {
		var h Head
		f(&h)
		if err := h.End(); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
