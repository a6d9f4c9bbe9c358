package sinktest

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Syslog is an RFC 5425 receiver. Before it has books it reads strictly, and
// closes when it has read to the end.
type Syslog struct {
	*Book
	Address string
	// Dies, if positive, is after how many messages of a connection the receiver
	// dies: unread data makes the kernel reset it.
	Dies atomic.Int64
	// Hangs has it read one byte of a connection, and no more before Wake.
	Hangs atomic.Bool
	awake chan struct{}
	Conns atomic.Int64

	mu       sync.Mutex
	listener net.Listener
	tls      *tls.Config
	open     map[net.Conn]bool
	wg       sync.WaitGroup
	down     bool
}

// NewSyslog listens on loopback; conf nil is plain TCP.
func NewSyslog(t testing.TB, conf *tls.Config) *Syslog {
	t.Helper()
	s := &Syslog{Book: newBook(), Address: "127.0.0.1:0", tls: conf, open: map[net.Conn]bool{}, awake: make(chan struct{})}
	s.Up(t)
	t.Cleanup(func() { s.Wake(); s.Down() })
	return s
}

// Wake ends the hanging, for good.
func (s *Syslog) Wake() {
	if s.Hangs.Swap(false) {
		close(s.awake)
	}
}

// Up listens, on the same address as before.
func (s *Syslog) Up(t testing.TB) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.Address)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.listener, s.down, s.Address = l, false, l.Addr().String()
	s.mu.Unlock()
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c) })
		}
	})
}

// Down cuts every connection and listens no more.
func (s *Syslog) Down() {
	s.mu.Lock()
	s.down = true
	_ = s.listener.Close()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Syslog) serve(raw net.Conn) {
	s.Conns.Add(1)
	s.mu.Lock()
	if s.down {
		_ = raw.Close()
	}
	s.open[raw] = true
	s.mu.Unlock()
	defer func() {
		_ = raw.Close()
		s.mu.Lock()
		delete(s.open, raw)
		s.mu.Unlock()
	}()
	var c io.ReadWriteCloser = raw
	if s.tls != nil {
		secure := tls.Server(raw, s.tls)
		defer secure.Close()
		c = secure
	}
	if s.Hangs.Load() {
		_, _ = io.ReadFull(c, make([]byte, 1))
		<-s.awake
		return
	}
	r := bufio.NewReaderSize(c, 512) // small: what is unread stays in the kernel
	for n := int64(1); ; n++ {
		b, err := Frame(r)
		if err != nil {
			var ne net.Error
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &ne) && !isTLS(err) {
				s.complain("frame: %v", err)
			}
			return
		}
		m, err := Parse(b)
		if err != nil {
			s.complain("%v", err)
			return
		}
		s.judge(b, m)
		if d := s.Dies.Load(); d > 0 && n >= d {
			if t, ok := raw.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			_ = raw.Close() // no close_notify: it is dead
			return
		}
	}
}

func isTLS(err error) bool { return strings.Contains(err.Error(), "tls:") }

func (s *Syslog) judge(raw []byte, m *Message) {
	for _, c := range raw {
		if c < ' ' || c == 0x7f {
			s.complain("a control character %#x in %.200q", c, raw)
		}
	}
	own := m.SD["openclaw@32473"]
	seq, err := strconv.ParseInt(own["seq"], 10, 64)
	if err != nil || own["tenant"] == "" {
		s.complain("no number in %v", m.SD)
		return
	}
	if strings.HasPrefix(m.Msg, "{") {
		var e struct {
			Tenant string `json:"tenant"`
			Seq    int64  `json:"seq"`
		}
		if err := json.Unmarshal([]byte(m.Msg), &e); err != nil || e.Seq != seq || e.Tenant != own["tenant"] {
			s.complain("JSON: %v: %.200q", err, m.Msg)
		}
	} else if _, ext, err := ParseCEF(m.Msg); err != nil || ext["cn1"] != own["seq"] || ext["cs1"] != own["tenant"] {
		s.complain("CEF: %v: %.300q", err, m.Msg)
	}
	s.take(own["tenant"], seq)
}
