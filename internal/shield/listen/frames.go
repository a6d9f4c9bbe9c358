package listen

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/framing"
)

// What one HTTP/2 connection may do that brings no request nearer.
const (
	// controlBurst and controlPerSec bound frames that cost work and carry
	// nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA and
	// whatever we do not know (CVE-2019-9511 to 9518). Honest clients send some,
	// most of them in answer to what we sent: see owed.
	controlBurst  = 1000
	controlPerSec = 50
	unservedCost  = 10
	// A client may set up a request that is served, and answer a frame of ours with a WINDOW_UPDATE for the stream,
	// one for the connection, and a PING that measures the link; and update its
	// windows again for every few KB of a long one.
	owedPerRequest = 4
	owedPerFrame   = 3
	owedPerKB      = 1
	// owedMost bounds what is saved up, so that an hour's download is not a flood
	// to come.
	owedMost = 10_000
	// continuations and blockBytes bound one header block (CVE-2023-45288). net/http
	// ends the connection itself for a block a little larger, and names nobody.
	continuations = 32
	blockBytes    = 64 << 10
	// resetsKept is how many reset streams are remembered: content that was under
	// way when we refused a stream makes a reset for each of its frames.
	resetsKept = 16
)

// framed is an HTTP/2 connection whose frames are counted. It is not a
// *tls.Conn and hides ConnectionState: that is how net/http comes to serve
// HTTP/2 on a connection of ours (as if it came unencrypted). serve puts the
// state back into Request.TLS.
type framed struct {
	net.Conn // a *tls.Conn
	raw      *Conn

	in  framing.Frames
	out framing.Frames
	bad bool // net/http's one reading goroutine

	spent int64 // of the control budget: Unix nanoseconds, as a limiter's tat

	last    uint32 // the newest stream
	cancels int    // streams that the client reset
	blocks  int    // CONTINUATIONs of the block under way
	block   int64  // its bytes

	recent [resetsKept]uint32 // net/http's one writing goroutine
	oldest int
}

func newFramed(t *tls.Conn, raw *Conn) *framed {
	state := t.ConnectionState()
	raw.state = &state
	c := &framed{Conn: t, raw: raw}
	c.in = framing.Frames{Skip: uint64(len(framing.Preface)), See: c.came}
	c.out = framing.Frames{See: c.went}
	return c
}

// Read ends the connection that has overdrawn; what it read then goes nowhere.
func (c *framed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		if c.in.Feed(p[:n]); c.bad {
			return 0, net.ErrClosed
		}
	}
	return n, err
}

func (c *framed) Write(p []byte) (int, error) {
	c.out.Feed(p)
	return c.Conn.Write(p)
}

// came judges a frame of the client's.
func (c *framed) came(f framing.Frame) {
	switch f.Type {
	case framing.HeadersFrame:
		c.blocks, c.block = 0, int64(f.Length)
		if f.Stream > c.last {
			c.last = f.Stream
			// Streams that never reach a handler, because their head is too large
			// or says nothing that is a request, or because they are cancelled
			// before, are in nobody's allowance.
			if c.raw.unserved.Add(1) > int64(2*c.raw.listener.config.MaxStreams) && !c.excused() {
				c.end(shield.FrameFlood)
			}
		}
	case framing.ContinuationFrame:
		c.blocks++
		if c.block += int64(f.Length); c.block > blockBytes {
			c.end(shield.Oversize)
		} else if c.blocks > continuations {
			c.end(shield.HeaderFlood)
		}
	case framing.DataFrame:
		if f.Length == 0 && f.Flags&framing.EndStream == 0 {
			c.charge()
		}
	case framing.PingFrame, framing.SettingsFrame:
		if f.Flags&framing.Ack == 0 {
			c.charge()
		}
	case framing.ResetFrame:
		c.cancels++
		c.charge()
	default:
		c.charge()
	}
}

// excused forgives a stream without a handler where the budget of control
// frames has room for it. One costs as much as ten: a head of a few bytes may
// ask for a great one to be unpacked.
func (c *framed) excused() bool {
	c.raw.unserved.Add(-1)
	for range unservedCost {
		c.charge()
	}
	return !c.bad
}

// charge takes one frame from what is owed, or from the budget.
func (c *framed) charge() {
	if c.raw.owed.Load() > 0 {
		c.raw.owed.Add(-1) // nobody else takes any
		return
	}
	const every = int64(time.Second) / controlPerSec
	now := time.Now().UnixNano()
	c.spent = max(c.spent, now) + every
	if c.spent-now > controlBurst*every {
		c.end(shield.FrameFlood)
	}
}

// owe lets a client answer what we did with as many control frames.
func (c *Conn) owe(n int64) {
	if c.owed.Load() < owedMost {
		c.owed.Add(n)
	}
}

func (c *framed) end(o shield.Offence) {
	if c.bad {
		return
	}
	c.bad = true
	c.raw.gone.Store(true) // its streams end with it
	// Cancelled before a handler saw them, which is quicker than counting those
	// that one did.
	if o == shield.FrameFlood && c.cancels > c.raw.listener.config.ResetBurst {
		o = shield.RapidReset
		c.raw.listener.counters.reset.Add(1)
	} else {
		c.raw.listener.counters.frames.Add(1)
	}
	c.raw.listener.config.Guard.Report(c.raw.addr, o)
	c.raw.kill()
}

// went looks at a frame of ours: what it allows the client, and whether a
// client made us reset a stream (CVE-2025-8671). A handler of such a stream
// works on for nobody, as after a reset of the client's own.
func (c *framed) went(f framing.Frame) {
	switch f.Type {
	case framing.DataFrame:
		c.raw.owe(owedPerFrame + owedPerKB*int64(f.Length>>10))
	case framing.ResetFrame:
		switch f.Code {
		case 1, 3, 5, 6: // PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR: the client's doing
			for _, id := range c.recent {
				if id == f.Stream {
					return
				}
			}
			c.raw.provoke()
		}
		c.recent[c.oldest] = f.Stream
		c.oldest = (c.oldest + 1) % resetsKept
	}
}
