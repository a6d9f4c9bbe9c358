package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// connKey finds a request's *Conn. It is put there by Harden's ConnContext, and
// a client cannot influence it.
type connKey struct{}

// Harden sets an http.Server up for this Listener: deadlines, header size,
// HTTP/2 limits, the TLS configuration, and the handler's wrapping. Call it
// after Handler and ConnContext are set and before Serve.
//
// ReadTimeout and WriteTimeout are left alone: they bound whole requests and
// would end streams. The Listener bounds progress instead.
func (l *Listener) Harden(s *http.Server) {
	c := &l.config
	s.ReadHeaderTimeout = c.Header
	s.IdleTimeout = c.Idle
	if s.MaxHeaderBytes == 0 {
		s.MaxHeaderBytes = 64 << 10
	}
	s.TLSConfig = c.TLS
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	// Every TLS connection comes from shake, which hides the TLS of HTTP/2 from
	// net/http; HTTP/1's shows, so nothing else is taken for unencrypted HTTP/2.
	s.Protocols.SetHTTP2(c.TLS != nil)
	s.Protocols.SetUnencryptedHTTP2(c.TLS != nil)
	h2 := http.HTTP2Config{}
	if s.HTTP2 != nil {
		h2 = *s.HTTP2
	}
	h2.MaxConcurrentStreams = c.MaxStreams
	h2.WriteByteTimeout = c.WriteStall
	if h2.SendPingTimeout == 0 {
		h2.SendPingTimeout, h2.PingTimeout = c.Idle, 15*time.Second
	}
	s.HTTP2 = &h2
	before := s.ConnContext
	s.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, nc)
		}
		if raw := rawOf(nc); raw != nil {
			ctx = context.WithValue(ctx, connKey{}, raw)
		}
		return ctx
	}
	next := s.Handler
	if next == nil {
		next = http.DefaultServeMux
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(w, r, next) })
}

func rawOf(nc net.Conn) *Conn {
	switch c := nc.(type) {
	case *watched:
		return c.raw
	case *watchedTLS:
		return c.raw
	case *framed:
		return c.raw
	}
	return nil
}

// Authenticated notes that a request's connection belongs to somebody known:
// it is the last to be evicted when all places are taken. Call it when a
// credential was accepted.
func Authenticated(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*Conn); ok {
		c.known.Store(true)
	}
}

// Unmetered lets a request's body take its time: for gRPC, whose requests are
// streams that may be silent for long, and other duplex calls. Call it when the
// caller is known, before Body is read or wrapped; false means that Body was
// wrapped already and is still metered.
func Unmetered(r *http.Request) bool {
	b, ok := r.Body.(*body)
	if !ok {
		return r.Body == nil || r.Body == http.NoBody
	}
	_ = b.control.SetReadDeadline(time.Time{})
	b.free = true
	return true
}

// serve is the half of the shield that works on requests.
func (l *Listener) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	c, ok := r.Context().Value(connKey{}).(*Conn)
	if !ok {
		// Not from this Listener, so nothing here holds: a wiring mistake.
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	c.serving.Add(1)
	defer c.serving.Add(-1)
	c.served.Store(true)
	var b *body
	if r.Body != nil && r.Body != http.NoBody {
		b = &body{ReadCloser: r.Body, control: http.NewResponseController(w), conn: c}
		r.Body = b
	}
	if r.ProtoMajor < 2 {
		if b == nil {
			next.ServeHTTP(w, r)
			return
		}
		// What the handler leaves of the body net/http reads by itself, up to
		// 256 KiB and past this body's rate: before it sends the answer's head,
		// or at the end. Without a deadline that would be a place held for as
		// long as the client likes to drip.
		_ = b.control.SetReadDeadline(time.Now().Add(l.config.BodyGrace))
		next.ServeHTTP(w, r)
		if !b.ended && !b.free {
			_ = b.control.SetReadDeadline(time.Now().Add(max(0, b.left())))
		}
		return
	}
	c.unserved.Add(-1)
	c.owe(owedPerRequest)
	r.TLS = c.state
	// The standard library does not show RST_STREAM. It cancels the request's
	// context, and while the handler runs nothing else does, short of the
	// connection's end (CVE-2023-44487; it also closes a connection by itself
	// once four times MaxStreams cancelled requests wait for their handler).
	if r.Context().Err() == nil {
		c.settle()
		defer func() {
			if r.Context().Err() != nil && !c.gone.Load() {
				c.cancel()
			}
		}()
		next.ServeHTTP(w, r)
	} else if !c.gone.Load() {
		c.cancel() // before it began: nothing to do
	}
}

// body makes a request's body arrive at BodyRate. Only the time spent waiting
// for the client counts, so a slow handler costs the client nothing. A deadline
// that is left when the body has ended does no harm: net/http lifts it before
// it watches for the client's leaving (HTTP/1), or it dies with its stream.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	conn    *Conn

	read     int64
	waited   time.Duration
	deadline time.Time // as last set
	slow     bool
	free     bool
	ended    bool
}

// left is how long the client may still let us wait.
func (b *body) left() time.Duration {
	c := &b.conn.listener.config
	return c.BodyGrace + time.Duration(b.read)*time.Second/time.Duration(c.BodyRate) - b.waited
}

// Read fails with os.ErrDeadlineExceeded when the client was too slow.
func (b *body) Read(p []byte) (int, error) {
	if b.free {
		return b.ReadCloser.Read(p)
	}
	c := &b.conn.listener.config
	start := time.Now()
	left := b.left()
	if b.slow || left <= 0 {
		return 0, b.late()
	}
	// Setting a deadline costs more than a small read: it is renewed only when
	// it has fallen behind by half the grace.
	if due := start.Add(left); due.Sub(b.deadline) > c.BodyGrace/2 {
		if err := b.control.SetReadDeadline(due); err != nil {
			return 0, err
		}
		b.deadline = due
	}
	n, err := b.ReadCloser.Read(p)
	b.waited += time.Since(start)
	b.read += int64(n)
	b.ended = err == io.EOF
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, b.late()
	}
	return n, err
}

func (b *body) late() error {
	if !b.slow {
		b.slow = true
		b.conn.listener.counters.slowBody.Add(1)
		b.conn.listener.config.Guard.Report(b.conn.addr, shield.SlowBody)
	}
	return os.ErrDeadlineExceeded
}
