// Package syslog sends audit events as RFC 5424 messages over TLS (RFC 5425),
// in CEF or JSON.
//
// Syslog has no acknowledgement. What stands for one is the end of the
// connection: a batch goes over a connection of its own, which we then close for
// writing, and it counts as taken when the receiver, having read to the end,
// closes too. A receiver that dies with unread data resets the connection, and
// the batch goes again. What a receiver loses after it has read it, no syslog
// can tell.
package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

// Format is a message's.
type Format string

const (
	CEF  Format = "cef"
	JSON Format = "json"
)

// Config is a receiver.
type Config struct {
	Address    string // host:port
	Plain      bool   // TCP without TLS, octet-counted as RFC 6587 has it
	TLS        wire.TLS
	Format     Format
	Facility   int    // 0 to 23
	Host       string // HOSTNAME
	App        string // APP-NAME
	Version    string
	SDID       string // of our SD-ELEMENT, name@enterprise number
	MaxMessage int    // bytes; RFC 5425 has receivers take 2048, better 8192
	NoBOM      bool   // for receivers that choke on the mark
}

// lastWord is how long after a failed write a receiver's reason is waited for.
const lastWord = time.Second

// Sender is a sink.Sender.
type Sender struct {
	cfg  Config
	tls  *tls.Config // nil: plain
	room []byte
}

// Open reads the files.
func Open(cfg Config) (*Sender, error) {
	s := &Sender{cfg: cfg}
	if cfg.Plain {
		return s, nil
	}
	var err error
	if s.tls, err = cfg.TLS.Config(); err != nil {
		return nil, err
	}
	if s.tls.ServerName == "" {
		host, _, err := net.SplitHostPort(cfg.Address)
		if err != nil {
			return nil, errors.New("address: want host:port")
		}
		s.tls.ServerName = host
	}
	return s, nil
}

// Close has nothing to let go of: no connection outlives its batch.
func (s *Sender) Close() {}

// halfCloser closes one direction; TCP's and TLS's connections do.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// Send writes the batch and waits for the receiver to have read it.
func (s *Sender) Send(ctx context.Context, batch []sink.Item) error {
	s.room = s.room[:0]
	var message []byte
	for i := range batch {
		message = s.cfg.append(message[:0], &batch[i])
		s.room = strconv.AppendInt(s.room, int64(len(message)), 10) // octet counting: no byte of a message can end it
		s.room = append(s.room, ' ')
		s.room = append(s.room, message...)
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return sink.Fail(sink.Temporary, "connect: %w", err)
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := raw.(halfCloser)
	if s.tls != nil {
		secure := tls.Client(raw, s.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			kind := sink.Temporary
			if wire.IsTrust(err) {
				kind = sink.Denied
			}
			return sink.Fail(kind, "TLS handshake: %w", err)
		}
		conn = secure
	}
	// Reading goes on beside writing: a receiver that refuses our certificate, or
	// speaks, must not wait for us to listen.
	end := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, io.LimitReader(conn, 64<<10))
		if err != nil {
			_ = raw.Close() // the write need not go on
		}
		end <- err
	}()
	_, werr := conn.Write(s.room)
	if werr == nil {
		werr = conn.CloseWrite()
	}
	if werr != nil {
		// A receiver that refuses us has said why before it closed: what it said
		// may still be on the way to the reader.
		_ = raw.SetReadDeadline(time.Now().Add(lastWord))
		rerr := <-end
		if wire.IsTrust(rerr) {
			return sink.Fail(sink.Denied, "the receiver refused the connection: %w", rerr)
		}
		return sink.Fail(sink.Temporary, "write: %w", werr)
	}
	if err := <-end; err != nil {
		if wire.IsTrust(err) {
			return sink.Fail(sink.Denied, "the receiver refused the connection: %w", err)
		}
		return sink.Fail(sink.Temporary, "the receiver did not read to the end: %w", err)
	}
	if cap(s.room) > 8<<20 {
		s.room = nil
	}
	return nil
}
