package listen

import (
	"bytes"
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/framing"
)

// Conn is a connection below TLS.
type Conn struct {
	net.Conn
	listener *Listener
	addr     netip.Addr // the client's; set before the connection is served
	remote   net.Addr
	local    net.Addr

	owner *owner // both: the ledger's
	place *list.Element

	serving atomic.Int32 // requests in their handler
	served  atomic.Bool  // has had a request served
	known   atomic.Bool  // has authenticated once
	heard   atomic.Bool  // has sent a byte
	gone    atomic.Bool  // the client has left, or we have closed
	killed  atomic.Bool
	once    sync.Once
	closed  error

	stalled atomic.Int64 // Unix nanoseconds at which the write deadline was set
	timed   atomic.Bool  // the server set a write deadline of its own
	resets  atomic.Int64 // Unix nanoseconds, as a limiter's tat

	cancelled atomic.Int64 // streams, not yet counted
	settling  atomic.Bool

	state    *tls.ConnectionState // HTTP/2 only
	unserved atomic.Int64         // HTTP/2 streams that no handler has seen
	owed     atomic.Int64         // HTTP/2 control frames that what we did excuses
}

func newConn(l *Listener, tcp net.Conn, addr netip.Addr) *Conn {
	return &Conn{Conn: tcp, listener: l, addr: addr, remote: tcp.RemoteAddr(), local: tcp.LocalAddr()}
}

// RemoteAddr is the client's: the socket's, or what a trusted proxy said.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is where the client connected to.
func (c *Conn) LocalAddr() net.Addr { return c.local }

func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// Before anybody above can learn of it: what ends with the connection
		// is no cancelled stream.
		c.gone.Store(true)
	}
	return n, err
}

// pieces bounds what has to be written within one WriteStall.
const pieces = 64 << 10

// Write gives every piece its own deadline, so that a client which does not
// read holds a goroutine for WriteStall at most, however large the answer.
func (c *Conn) Write(p []byte) (n int, err error) {
	for {
		if !c.timed.Load() {
			stall := c.listener.config.WriteStall
			if now := time.Now(); now.UnixNano()-c.stalled.Load() > int64(stall)/4 {
				c.stalled.Store(now.UnixNano())
				_ = c.Conn.SetWriteDeadline(now.Add(stall))
			}
		}
		m, err := c.Conn.Write(p[:min(len(p), pieces)])
		n, p = n+m, p[m:]
		if err != nil {
			c.gone.Store(true)
		}
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// SetWriteDeadline replaces the stall deadline until it is set to zero.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.timed.Store(!t.IsZero())
	c.stalled.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.Conn.SetReadDeadline(t)
}

// CloseWrite sends FIN, where the transport can.
func (c *Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close gives the place back. Closing twice is fine.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.gone.Store(true)
		c.listener.ledger.leave(c)
		c.closed = c.Conn.Close()
	})
	return c.closed
}

// kill closes with a reset.
func (c *Conn) kill() {
	c.killed.Store(true)
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// settleAfter is how long cancelled streams wait to be counted. A client that
// leaves cancels all it had; net/http then cancels the requests first and
// closes the connection right after, and TLS tells it of the leaving without
// our reading an end.
const settleAfter = 250 * time.Millisecond

// cancel notes a cancelled stream. It is counted when the connection opens
// another one, as rapid reset does, has cancelled more than it can have had
// open, or is still there a while later.
func (c *Conn) cancel() {
	if c.cancelled.Add(1) > int64(c.listener.config.MaxStreams) {
		c.settle()
		return
	}
	if c.settling.Swap(true) {
		return
	}
	time.AfterFunc(settleAfter, func() {
		c.settling.Store(false)
		if !c.gone.Load() {
			c.settle()
		}
	})
}

// settle counts what was cancelled and closes the connection that has
// cancelled too much.
func (c *Conn) settle() {
	if c.cancelled.Load() == 0 {
		return
	}
	c.reset(c.cancelled.Swap(0))
}

// provoke counts a stream that the client made us reset.
func (c *Conn) provoke() {
	if !c.gone.Load() {
		c.reset(1)
	}
}

// reset counts n streams against the connection's budget.
func (c *Conn) reset(n int64) {
	l, now := c.listener, time.Now().UnixNano()
	l.counters.resets.Add(uint64(n))
	every := int64(time.Second) / int64(l.config.ResetPerSec)
	for {
		old := c.resets.Load()
		tat := max(old, now) + n*every
		if !c.resets.CompareAndSwap(old, tat) {
			continue
		}
		if tat-now > int64(l.config.ResetBurst)*every && !c.killed.Swap(true) {
			l.counters.reset.Add(1)
			l.config.Guard.Report(c.addr, shield.RapidReset)
			c.kill()
		}
		return
	}
}

// watched is an HTTP/1 connection whose requests have one reading.
type watched struct {
	net.Conn // a *tls.Conn or the raw connection
	raw      *Conn

	mu      sync.Mutex // net/http reads and writes at once
	watcher *framing.Watcher
}

// watchedTLS has net/http fill in Request.TLS.
type watchedTLS struct {
	watched
	tls *tls.Conn
}

// ConnectionState is the handshake's result.
func (c *watchedTLS) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// Read hands on only what the watcher has accepted. Its error makes net/http
// answer 400 and close.
func (c *watched) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		if bad := c.watcher.Feed(p[:n]); bad != nil {
			var v *framing.Violation
			if errors.As(bad, &v) {
				c.raw.listener.counters.violation.Add(1)
				c.raw.listener.config.Guard.Report(c.raw.addr, offenceOf(v.Kind))
			}
			return 0, bad
		}
	}
	// net/http moves the deadline into the past to stop its own reading, but
	// only while a request is served.
	if err != nil && c.watcher.Phase() == framing.Head && c.raw.serving.Load() == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		c.raw.listener.counters.slowHead.Add(1)
		c.raw.listener.config.Guard.Report(c.raw.addr, shield.SlowHeader)
	}
	return n, err
}

// Write looks for the answer that leaves HTTP/1.
func (c *watched) Write(p []byte) (int, error) {
	c.mu.Lock()
	switch {
	case !c.watcher.Upgrading():
	case bytes.HasPrefix(p, []byte("HTTP/1.1 101 ")):
		c.watcher.Release()
	case !bytes.HasPrefix(p, []byte("HTTP/1.1 1")): // no informational answer: the final one, whose content somebody else writes
		c.watcher.Decline()
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// CloseWrite sends what ends the writing side.
func (c *watched) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

func offenceOf(k framing.Kind) shield.Offence {
	switch k {
	case framing.Smuggling:
		return shield.Smuggling
	case framing.HeaderFlood:
		return shield.HeaderFlood
	case framing.Oversize:
		return shield.Oversize
	}
	return shield.Malformed
}
