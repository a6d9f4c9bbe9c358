package httpbench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is 16 connections that send the same request again and again and check
// each answer.
type load struct {
	conns   []*loadConn
	request []byte
	body    []byte
	dial    func() (*loadConn, error)
	last    atomic.Pointer[error]
}

type loadConn struct {
	*tls.Conn
	r   *bufio.Reader
	buf []byte
}

// chat is a request of an agent's user, as large as asked for: what is inspected
// costs by what it says, so the words are ordinary ones.
func chat(size int) []byte {
	const head, tail = `{"model":"small","messages":[{"role":"user","content":"`, `"}]}`
	const words = "The committee met on Tuesday and went through the plans for the new building. Anna has asked three firms for an offer; two of them have answered. The report is due on Friday, and Peter calls the builder before that. "
	n := size - len(head) - len(tail)
	return []byte(head + strings.Repeat(words, n/len(words)+1)[:n] + tail)
}

func dialLoad(c contender, shape Shape, cert certificate) (*load, error) {
	l := &load{body: chat(shape.Bytes)}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /v1/echo?n=%d HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n", shape.Method, shape.Bytes)
	if shape.Method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", shape.Bytes)
	}
	if err := c.header.Write(&b); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	if shape.Method == http.MethodPost {
		b.Write(l.body)
	}
	l.request = b.Bytes()
	l.dial = func() (*loadConn, error) {
		tc, err := tls.Dial("tcp", c.addr, cert.client())
		if err != nil {
			return nil, err
		}
		return &loadConn{Conn: tc, r: bufio.NewReaderSize(tc, 32<<10), buf: make([]byte, shape.Bytes)}, nil
	}
	for range connsAll {
		lc, err := l.dial()
		if err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, lc)
	}
	return l, nil
}

// run sends n requests over all connections and returns how many failed: a bare
// ReverseProxy loses a few. A connection that failed is replaced.
func (l *load) run(n int) (failed int) {
	var wg sync.WaitGroup
	var left, bad atomic.Int64
	left.Store(int64(n))
	for i := range l.conns {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				err := l.once(l.conns[i])
				if err == nil {
					continue
				}
				bad.Add(1)
				l.last.Store(&err)
				fresh, derr := l.dial()
				if derr != nil {
					return // what is left falls to the others
				}
				_ = l.conns[i].Close()
				l.conns[i] = fresh
			}
		})
	}
	wg.Wait()
	return int(bad.Load() + max(left.Load(), 0))
}

func (l *load) err() error {
	if err := l.last.Load(); err != nil {
		return *err
	}
	return nil
}

func (l *load) once(c *loadConn) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(l.request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answer %q", line)
		}
		if len(line) == 0 {
			break
		}
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && http.CanonicalHeaderKey(string(k)) == "Content-Length" {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(v)))
		}
	}
	if length != len(l.body) {
		return fmt.Errorf("content of %d bytes", length)
	}
	if _, err := io.ReadFull(c.r, c.buf); err != nil {
		return err
	}
	if !bytes.Equal(c.buf, l.body) {
		return fmt.Errorf("the content is not what was sent")
	}
	return nil
}

func (l *load) close() {
	for _, c := range l.conns {
		_ = c.Close()
	}
}
