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

func dialLoad(c contender, size int, cert certificate) (*load, error) {
	l := &load{body: []byte(strings.Repeat("0123456789abcdef", size/16))}
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /v1/echo?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", size)
	if err := c.header.Write(&b); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	b.Write(l.body)
	l.request = b.Bytes()
	l.dial = func() (*loadConn, error) {
		tc, err := tls.Dial("tcp", c.addr, cert.client())
		if err != nil {
			return nil, err
		}
		return &loadConn{Conn: tc, r: bufio.NewReaderSize(tc, 32<<10), buf: make([]byte, size)}, nil
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
				fresh, err := l.dial()
				if err != nil {
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
