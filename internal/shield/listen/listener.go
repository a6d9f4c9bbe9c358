// Package listen is the shield at the socket: what a connection may hold
// before, while and after it speaks TLS.
//
//	accept → blocked? → PROXY header → blocked? → caps → TLS → net/http
//
// A blocked address is dropped with a reset before anything was allocated for
// it. Handshakes run beside the accept loop, each under one deadline, so a
// slow one delays nobody. An HTTP/1 connection is read through a
// framing.Watcher; HTTP/2 has its own framing, and its frames and cancelled
// streams are counted. Harden puts the other half, which works on requests, around an
// http.Server's handler.
package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/framing"
	"github.com/Nissimmiracles/openclaw/internal/shield/proxyproto"
)

// Guard is what a Listener asks; *shield.Shield is one.
type Guard interface {
	Admit(netip.Addr) bool                  // may this address connect
	Report(netip.Addr, shield.Offence) bool // score; true when blocked now
}

// Config is what a Listener is built from. A zero field takes the default that
// stands beside it.
type Config struct {
	Guard Guard       // required
	TLS   *tls.Config // nil: plaintext HTTP/1.1, behind a proxy or in development

	// Trusted are the proxies. Connections from them have no cap per address.
	Trusted []netip.Prefix
	// ProxyProtocol expects a PROXY protocol version 2 header on every
	// connection and refuses peers that are not Trusted: without that anybody
	// could name himself.
	ProxyProtocol bool

	MaxConns   int // open at once: 10,000
	PerAddress int // of them, per IPv4 address or IPv6 /64: 256; a /48 may have four times as many

	Handshake  time.Duration // PROXY header and TLS together: 10 s
	Header     time.Duration // a request's head: 10 s
	Idle       time.Duration // between requests: 2 min
	WriteStall time.Duration // one write of at most 64 KiB: 30 s

	BodyRate  int           // bytes per second a request's body must arrive at: 1,024
	BodyGrace time.Duration // waiting that is free: 10 s

	// Cancelled HTTP/2 streams. ResetBurst stays below MaxStreams: net/http
	// starts no handler for a stream that was cancelled while it waited for
	// one, so only MaxStreams cancellations are sure to be seen before it gives
	// the connection up by itself, without saying whose it was.
	MaxStreams  int // at once on one connection: 128
	ResetBurst  int // cancelled at once on one connection: 100
	ResetPerSec int // and in the long run: 10

	Limits framing.Limits
}

// Listener is a net.Listener whose connections have passed the shield. Serve it
// with an http.Server that went through Harden. Its goroutines end with Close.
type Listener struct {
	config Config
	inner  net.Listener
	ledger *ledger

	start   sync.Once
	stop    sync.Once
	ready   chan net.Conn
	done    chan struct{}
	running sync.WaitGroup
	fatal   atomic.Pointer[error]
	closing error

	mu      sync.Mutex
	greeted map[*Conn]struct{} // before or in their handshake

	counters counters
}

// Counters are exact totals since the start, and Open is a level.
type Counters struct {
	Open      int
	Accepted  uint64 // by the kernel
	Dropped   uint64 // by the Guard
	Untrusted uint64 // peers outside Trusted where ProxyProtocol is on
	BadProxy  uint64 // PROXY headers that were not understood
	OverCap   uint64 // beyond PerAddress
	Full      uint64 // beyond MaxConns, with nobody to evict
	Evicted   uint64 // closed to make room
	Handshake uint64 // TLS failures
	Violation uint64 // HTTP/1 requests with no single reading
	SlowHead  uint64
	SlowBody  uint64
	Resets    uint64 // HTTP/2 streams cancelled by the client
	Reset     uint64 // HTTP/2 connections closed for it
	Frames    uint64 // HTTP/2 connections closed for floods of frames
}

type counters struct {
	accepted, dropped, untrusted, badProxy, overCap, full, evicted, handshake,
	violation, slowHead, slowBody, resets, reset, frames atomic.Uint64
}

// New wraps inner, which should come from TCP. Nothing runs before the first Accept.
func New(inner net.Listener, c Config) (*Listener, error) {
	if c.Guard == nil {
		return nil, errors.New("configure listener: no guard")
	}
	if c.ProxyProtocol && len(c.Trusted) == 0 {
		return nil, errors.New("configure listener: PROXY protocol without trusted proxies would refuse everybody")
	}
	c.MaxConns = cmp.Or(c.MaxConns, 10_000)
	c.PerAddress = cmp.Or(c.PerAddress, 256)
	c.Handshake = cmp.Or(c.Handshake, 10*time.Second)
	c.Header = cmp.Or(c.Header, 10*time.Second)
	c.Idle = cmp.Or(c.Idle, 2*time.Minute)
	c.WriteStall = cmp.Or(c.WriteStall, 30*time.Second)
	c.BodyRate = cmp.Or(c.BodyRate, 1024)
	c.BodyGrace = cmp.Or(c.BodyGrace, 10*time.Second)
	c.MaxStreams = cmp.Or(c.MaxStreams, 128)
	c.ResetBurst = cmp.Or(c.ResetBurst, min(100, c.MaxStreams-1))
	c.ResetPerSec = cmp.Or(c.ResetPerSec, 10)
	if min(c.MaxConns, c.PerAddress, c.BodyRate, c.MaxStreams, c.ResetBurst, c.ResetPerSec) < 0 ||
		min(c.Handshake, c.Header, c.Idle, c.WriteStall, c.BodyGrace) < 0 {
		return nil, errors.New("configure listener: a limit is negative")
	}
	if c.ResetBurst >= c.MaxStreams {
		return nil, fmt.Errorf("configure listener: ResetBurst %d must be below MaxStreams %d", c.ResetBurst, c.MaxStreams)
	}
	c.Trusted = slices.Clone(c.Trusted)
	for i, p := range c.Trusted {
		c.Trusted[i] = shield.NormalPrefix(p)
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		if len(c.TLS.NextProtos) == 0 {
			c.TLS.NextProtos = []string{"h2", "http/1.1"}
		}
	}
	return &Listener{
		config:  c,
		inner:   inner,
		ledger:  newLedger(c.MaxConns, c.PerAddress),
		ready:   make(chan net.Conn),
		done:    make(chan struct{}),
		greeted: map[*Conn]struct{}{},
	}, nil
}

// TCP listens on address. It leaves keep-alive to the Listener, which sets it
// on connections that stay: four system calls that a dropped one is not worth.
func TCP(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// Addr is the inner listener's.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection that has finished its handshake, read
// through a framing.Watcher, or through framing.Frames for HTTP/2.
func (l *Listener) Accept() (net.Conn, error) {
	l.start.Do(func() {
		l.running.Add(1)
		go l.accept()
	})
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		if err := l.fatal.Load(); err != nil {
			return nil, *err
		}
		return nil, net.ErrClosed
	}
}

// Close stops accepting, ends unfinished handshakes and waits for both.
// Connections that were handed out stay. Closing twice is fine.
func (l *Listener) Close() error {
	l.shut(nil)
	l.running.Wait()
	return l.closing
}

func (l *Listener) shut(cause error) {
	l.stop.Do(func() {
		if cause != nil {
			l.fatal.Store(&cause)
		}
		close(l.done)
		l.closing = l.inner.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for c := range l.greeted {
			c.kill()
		}
	})
}

// Drop cuts every open connection of a network. Give it to shield.Watch, so
// that a block ends what is already open.
func (l *Listener) Drop(p netip.Prefix) {
	for _, c := range l.ledger.within(p) {
		c.kill()
	}
}

// Counters returns the totals at this instant.
func (l *Listener) Counters() Counters {
	c := &l.counters
	return Counters{
		Open: l.ledger.open(), Accepted: c.accepted.Load(), Dropped: c.dropped.Load(),
		Untrusted: c.untrusted.Load(), BadProxy: c.badProxy.Load(), OverCap: c.overCap.Load(),
		Full: c.full.Load(), Evicted: c.evicted.Load(), Handshake: c.handshake.Load(),
		Violation: c.violation.Load(), SlowHead: c.slowHead.Load(), SlowBody: c.slowBody.Load(),
		Resets: c.resets.Load(), Reset: c.reset.Load(), Frames: c.frames.Load(),
	}
}

func (l *Listener) accept() {
	defer l.running.Done()
	pause := time.Duration(0)
	for {
		tcp, err := l.inner.Accept()
		if err != nil {
			var ne net.Error
			//lint:ignore SA1019 as net/http does: out of descriptors is over soon
			if errors.As(err, &ne) && ne.Temporary() {
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				wait := time.NewTimer(pause)
				select {
				case <-wait.C:
					continue
				case <-l.done:
					wait.Stop()
					return
				}
			}
			l.shut(err)
			return
		}
		pause = 0
		l.counters.accepted.Add(1)
		l.greet(tcp)
	}
}

// greet decides on a new connection without blocking; what has to be waited
// for goes on in its own goroutine, of which there are at most MaxConns.
func (l *Listener) greet(tcp net.Conn) {
	peer := addrOf(tcp.RemoteAddr())
	trusted := contains(l.config.Trusted, peer)
	switch {
	case l.config.ProxyProtocol && !trusted:
		l.counters.untrusted.Add(1)
		reset(tcp)
		return
	case !l.config.ProxyProtocol && !l.config.Guard.Admit(peer):
		l.counters.dropped.Add(1)
		reset(tcp)
		return
	}
	c := newConn(l, tcp, peer)
	if !l.admit(c, trusted) {
		return
	}
	l.mu.Lock()
	select {
	case <-l.done:
		l.mu.Unlock()
		c.kill()
		return
	default:
	}
	l.greeted[c] = struct{}{}
	l.running.Add(1)
	l.mu.Unlock()
	go func() {
		defer l.running.Done()
		served := l.shake(c)
		l.mu.Lock()
		delete(l.greeted, c)
		l.mu.Unlock()
		if served == nil {
			c.kill()
			return
		}
		select {
		case l.ready <- served:
		case <-l.done:
			c.kill()
		}
	}()
}

// admit enters a connection into the ledger. A proxied one is entered under
// the proxy, uncapped, and moves to its client once that is known.
func (l *Listener) admit(c *Conn, trusted bool) bool {
	victim, refused := l.ledger.join(c, trusted)
	if victim != nil {
		l.counters.evicted.Add(1)
		victim.kill()
	}
	switch refused {
	case overAddress:
		l.counters.overCap.Add(1)
		l.config.Guard.Report(c.addr, shield.ConnectionFlood)
	case overAll:
		l.counters.full.Add(1)
	default:
		return true
	}
	c.kill()
	return false
}

// shake reads the PROXY header and shakes hands; nil when the connection is
// to be dropped.
func (l *Listener) shake(c *Conn) net.Conn {
	_ = c.SetDeadline(time.Now().Add(l.config.Handshake))
	if l.config.ProxyProtocol && !l.introduce(c) {
		return nil
	}
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true})
	}
	if l.config.TLS == nil {
		_ = c.SetDeadline(time.Time{})
		return &watched{Conn: c, raw: c, watcher: framing.New(l.config.Limits)}
	}
	t := tls.Server(c, l.config.TLS)
	if err := t.Handshake(); err != nil {
		l.counters.handshake.Add(1)
		// A load balancer's probe connects and leaves without a word; whoever
		// speaks or waits out the deadline is counted. Our own closing is not.
		var ne net.Error
		if !c.killed.Load() && (c.heard.Load() || errors.As(err, &ne) && ne.Timeout()) {
			l.config.Guard.Report(c.addr, shield.Handshake)
		}
		return nil
	}
	_ = c.SetDeadline(time.Time{})
	switch t.ConnectionState().NegotiatedProtocol {
	case "h2":
		return newFramed(t, c)
	case "", "http/1.1":
	default: // an authority's challenge, whose handshake is all there is to say
		return nil
	}
	return &watchedTLS{watched{Conn: t, raw: c, watcher: framing.New(l.config.Limits)}, t}
}

// introduce reads the PROXY header and puts the client in the proxy's place.
func (l *Listener) introduce(c *Conn) bool {
	h, err := proxyproto.Read(c)
	if err != nil {
		l.counters.badProxy.Add(1)
		return false
	}
	if h.Local || !h.Source.IsValid() {
		return true // the proxy's own connection
	}
	client := shield.Normal(h.Source.Addr())
	if !l.config.Guard.Admit(client) {
		l.counters.dropped.Add(1)
		return false
	}
	l.ledger.leave(c)
	c.addr = client
	c.remote = net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, h.Source.Port()))
	if h.Destination.IsValid() {
		c.local = net.TCPAddrFromAddrPort(h.Destination)
	}
	if !l.admit(c, contains(l.config.Trusted, client)) {
		return false
	}
	c.heard.Store(false)
	return true
}

// reset closes with RST: no FIN handshake, no TIME_WAIT to hold.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return shield.Normal(tcp.AddrPort().Addr())
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return shield.Normal(ap.Addr())
}

func contains(all []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
}
