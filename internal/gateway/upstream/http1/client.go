package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Config says how to reach one upstream; zero fields mean the defaults.
type Config struct {
	Dial    func(context.Context) (net.Conn, error)
	MaxIdle int           // kept connections: 128
	IdleFor time.Duration // and for how long: 50 s, under the 60 s and more that servers give
	Now     func() time.Time
}

// Client keeps connections to one upstream. It has no goroutine of its own;
// Close ends the idle ones, and those in use when they are done.
type Client struct {
	cfg Config

	mu     sync.Mutex
	idle   []*conn // the youngest last
	closed bool
}

// New returns a client.
func New(c Config) *Client {
	if c.MaxIdle <= 0 {
		c.MaxIdle = 128
	}
	if c.IdleFor <= 0 {
		c.IdleFor = 50 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Client{cfg: c}
}

// Request is one exchange to make.
type Request struct {
	Method string
	Bytes  []byte // the head, and the content where it is at hand

	// Stream is content that follows Bytes while it arrives: exactly Length
	// bytes, or chunked when Length is below zero. Extend sets the time by which
	// Stream's next Read must return; the zero time takes the limit away.
	Stream io.Reader
	Length int64
	Extend func(time.Time)

	// Replay allows a second attempt, on a new connection, when a kept one turns
	// out to be closed after the request was written to it. Only an idempotent
	// request whose content is all in Bytes may set it.
	Replay bool

	HeaderTimeout time.Duration // from the request's end to the response's head
	IdleTimeout   time.Duration // between two pieces of either content
	Deadline      time.Time     // of the whole exchange; zero means none

	// Interim gets each 1xx but 100. Fields are good until it returns.
	Interim func(status int, fields []Field)
}

// Error is a failure of the exchange. Op says how far it came: "dial", "write",
// "read head", "read body", or "read request" when Stream failed.
type Error struct {
	Op  string
	Err error
}

func (e *Error) Error() string { return "http1: " + e.Op + ": " + e.Err.Error() }

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// errStale marks a kept connection that the upstream had closed.
type errStale struct{ err error }

func (e *errStale) Error() string { return e.err.Error() }
func (e *errStale) Unwrap() error { return e.err }

// Do sends the request and returns when the response's head has come. The
// response must be closed. Deadlines are met within an eighth. When ctx ends,
// the connection is cut.
func (c *Client) Do(ctx context.Context, req *Request) (*Response, error) {
	for fresh := false; ; fresh = true {
		cn, err := c.get(ctx, req, fresh)
		if err != nil {
			return nil, &Error{"dial", orCause(ctx, err)}
		}
		resp, op, err := cn.exchange(ctx, req)
		if err == nil {
			return resp, nil
		}
		var stale *errStale
		if !fresh && errors.As(err, &stale) && ctx.Err() == nil {
			continue
		}
		return nil, &Error{op, orCause(ctx, err)}
	}
}

// orCause prefers why the context ended over what that did to the socket.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// get takes the youngest idle connection that is still open and silent, or
// dials.
func (c *Client) get(ctx context.Context, req *Request, fresh bool) (*conn, error) {
	now := c.cfg.Now()
	for !fresh {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			break
		}
		cn := c.idle[n-1]
		c.idle[n-1] = nil
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if now.Sub(cn.since) < c.cfg.IdleFor && cn.arm(req) == nil && cn.silent() {
			cn.reused = true
			return cn, nil
		}
		_ = cn.nc.Close()
	}
	nc, err := c.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	cn := newConn(c, nc)
	if err := cn.arm(req); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return cn, nil
}

func (c *Client) put(cn *conn) {
	cn.since = c.cfg.Now()
	c.mu.Lock()
	ok := !c.closed && len(c.idle) < c.cfg.MaxIdle
	if ok {
		c.idle = append(c.idle, cn)
	}
	c.mu.Unlock()
	if !ok {
		_ = cn.nc.Close()
	}
}

// Sweep closes connections that have been idle for too long.
func (c *Client) Sweep() {
	old := c.cfg.Now().Add(-c.cfg.IdleFor)
	c.mu.Lock()
	n := 0
	for n < len(c.idle) && c.idle[n].since.Before(old) { // oldest first
		n++
	}
	dead := append([]*conn(nil), c.idle[:n]...)
	c.idle = append(c.idle[:0], c.idle[n:]...)
	clear(c.idle[len(c.idle):cap(c.idle)])
	c.mu.Unlock()
	for _, cn := range dead {
		_ = cn.nc.Close()
	}
}

// Idle is how many connections are kept.
func (c *Client) Idle() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle)
}

// Close closes what is idle and keeps nothing from now on. Twice is fine.
func (c *Client) Close() {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	for _, cn := range idle {
		_ = cn.nc.Close()
	}
}

// conn is one connection: in the pool, or owned by one exchange.
type conn struct {
	client *Client
	nc     net.Conn
	raw    syscall.RawConn // nil: cannot tell whether it is silent, never kept
	since  time.Time       // idle since
	armed  time.Time       // the socket's deadline, zero when unknown
	reused bool
	quiet  bool
	peek   func(uintptr) bool
	kill   func()

	buf    *[]byte // only while in use
	r, w   int
	fields []Field // reused from answer to answer
}

const bufSize = 16 << 10 // one TLS record, and 8 KB with its head

var bufs = sync.Pool{New: func() any { b := make([]byte, bufSize); return &b }}

func newConn(c *Client, nc net.Conn) *conn {
	cn := &conn{client: c, nc: nc}
	cn.kill = func() { _ = nc.Close() }
	if sc, ok := nc.(syscall.Conn); ok {
		cn.raw, _ = sc.SyscallConn()
	}
	cn.peek = func(fd uintptr) bool { cn.quiet = socketSilent(fd); return true }
	return cn
}

// silent reports whether the connection is open and nothing waits in it: a
// byte that nobody asked for would be the next client's answer.
func (cn *conn) silent() bool {
	cn.quiet = false
	return cn.raw != nil && cn.raw.Read(cn.peek) == nil && cn.quiet
}

// arm sets the socket's deadline for the next step. Setting one costs a third
// of a microsecond, so one that is right within an eighth is left alone.
func (cn *conn) arm(req *Request) error {
	d := req.HeaderTimeout
	if d <= 0 {
		d = time.Minute
	}
	return cn.armFor(d, req.Deadline)
}

func (cn *conn) armFor(d time.Duration, deadline time.Time) error {
	want := time.Now().Add(d)
	slack := d / 8
	if !deadline.IsZero() && deadline.Before(want) {
		want, slack = deadline, 0
	}
	if !cn.armed.IsZero() && !cn.armed.Before(want) && !cn.armed.After(want.Add(slack)) {
		return nil
	}
	cn.armed = want.Add(slack)
	return cn.nc.SetDeadline(cn.armed)
}

func (cn *conn) buffered() []byte { return (*cn.buf)[cn.r:cn.w] }
func (cn *conn) consume(n int)    { cn.r += n }

func (cn *conn) fill() error {
	b := *cn.buf
	if cn.r == cn.w {
		cn.r, cn.w = 0, 0
	}
	if cn.w == len(b) {
		if cn.r > 0 {
			cn.w = copy(b, b[cn.r:cn.w])
			cn.r = 0
		} else {
			if len(b) > MaxHead {
				return broken("more than %d bytes without an end", MaxHead)
			}
			bigger := make([]byte, 2*len(b))
			copy(bigger, b)
			cn.buf, b = &bigger, bigger
		}
	}
	n, err := cn.nc.Read(b[cn.w:])
	cn.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (cn *conn) release() {
	if b := cn.buf; b != nil && len(*b) == bufSize {
		bufs.Put(b)
	}
	cn.buf, cn.r, cn.w = nil, 0, 0
}
