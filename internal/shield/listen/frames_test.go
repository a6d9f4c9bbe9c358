package listen

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// Floods of frames, written by hand over TLS. Each connection is ended, its
// address pays, memory stays where it was, and others are served.
func TestFrameFloods(t *testing.T) {
	t.Parallel()
	open1 := func(s *stream) error { _, err := s.request(); return err }
	for name, c := range map[string]struct {
		offence shield.Offence
		begin   func(s *stream) error
		flood   func(s *stream) error
	}{
		"PING":              {shield.FrameFlood, nil, func(s *stream) error { return s.WritePing(false, [8]byte{}) }},
		"SETTINGS":          {shield.FrameFlood, nil, func(s *stream) error { return s.WriteSettings() }},
		"PRIORITY":          {shield.FrameFlood, nil, func(s *stream) error { return s.WritePriority(1, http2.PriorityParam{StreamDep: 3}) }},
		"WINDOW_UPDATE":     {shield.FrameFlood, nil, func(s *stream) error { return s.WriteWindowUpdate(0, 1) }},
		"unknown":           {shield.FrameFlood, nil, func(s *stream) error { return s.WriteRawFrame(0x10, 0, 0, []byte("u=1")) }},
		"empty DATA":        {shield.FrameFlood, func(s *stream) error { return s.WriteHeaders(s.post()) }, func(s *stream) error { return s.WriteData(1, false, nil) }},
		"SETTINGS with ACK": {shield.FrameFlood, nil, func(s *stream) error { return s.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{0, 3, 0, 0, 0, 1}) }},
		"CONTINUATION": {shield.HeaderFlood, func(s *stream) error {
			return s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.head})
		}, func(s *stream) error { return s.WriteContinuation(1, false, nil) }},
		"large CONTINUATIONs": {shield.Oversize, func(s *stream) error {
			return s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.head})
		}, func(s *stream) error { return s.WriteContinuation(1, false, literal("x", 16<<10-20)) }},
		"heads too large for a handler": {shield.FrameFlood, nil, func(s *stream) error {
			id := s.next
			s.next += 2
			return s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.bomb(), EndStream: true, EndHeaders: true})
		}},
		"heads that are no request": {shield.RapidReset, nil, func(s *stream) error {
			id := s.next
			s.next += 2
			return s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x82}, EndStream: true, EndHeaders: true})
		}},
		"cancelled at once": {shield.RapidReset, nil, func(s *stream) error {
			id, err := s.request()
			if err == nil {
				err = s.WriteRSTStream(id, http2.ErrCodeCancel)
			}
			return err
		}},
		"made you reset: a window update of zero": {shield.RapidReset, nil, func(s *stream) error {
			id, err := s.request()
			if err == nil {
				err = s.WriteRawFrame(http2.FrameWindowUpdate, 0, id, []byte{0, 0, 0, 0})
			}
			return err
		}},
		"made you reset: a window that overflows": {shield.RapidReset, nil, func(s *stream) error {
			id, err := s.request()
			if err == nil {
				err = s.WriteWindowUpdate(id, 1<<31-1)
			}
			return err
		}},
		"made you reset: content after the end": {shield.RapidReset, nil, func(s *stream) error {
			id, err := s.request()
			if err == nil {
				err = s.WriteData(id, true, []byte("x"))
			}
			return err
		}},
		"made you reset: a stream that depends on itself": {shield.RapidReset, nil, func(s *stream) error {
			id, err := s.request()
			if err == nil {
				err = s.WritePriority(id, http2.PriorityParam{StreamDep: id})
			}
			return err
		}},
		"made you reset: streams that are nobody's": {shield.RapidReset, open1, func(s *stream) error {
			s.next += 2
			return s.WriteRawFrame(http2.FrameWindowUpdate, 0, s.next, []byte{0, 0, 0, 0})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, build{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor == 2 {
					<-r.Context().Done()
					return
				}
				fmt.Fprint(w, r.Proto)
			})})
			addr := netip.MustParseAddr(attacker)
			blocked := func() bool { return h.shield.Explain(addr).Block != nil }
			tries := 0
			for ; tries < 12 && !blocked(); tries++ {
				s, err := h.stream(attacker)
				if err != nil {
					t.Fatal(err)
				}
				cut := make(chan struct{})
				go func() { _, _ = io.Copy(io.Discard, s.Conn); close(cut) }()
				if c.begin != nil {
					err = c.begin(s)
				}
				sent := 0
				for ; err == nil && sent < 200_000; sent++ {
					err = c.flood(s)
				}
				<-cut // ended by the server, or the client's own deadline says otherwise
				s.Close()
				if err == nil {
					t.Fatalf("%d frames and still connected: %+v", sent, h.listen.Counters())
				}
			}
			b := h.shield.Blocks()
			// Streams that are reset before their handler runs count as frames.
			if len(b) != 1 || b[0].Reason != c.offence.String() && (c.offence != shield.RapidReset || b[0].Reason != "frame_flood") {
				t.Fatalf("after %d connections: %+v, %+v", tries, b, h.listen.Counters())
			}
			h.out(attacker)
			h.fine(honest)
		})
	}
}

// post is a request whose content follows.
func (s *stream) post() http2.HeadersFrameParam {
	s.next += 2
	return http2.HeadersFrameParam{StreamID: s.next - 2, BlockFragment: s.head, EndHeaders: true}
}

// literal is one field that is not indexed.
func literal(name string, size int) []byte {
	var b bytes.Buffer
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: name, Value: strings.Repeat("~", size/2), Sensitive: true})
	return b.Bytes()
}

// bomb is a small head of 200 KB: one field in the table, asked for again and again.
func (s *stream) bomb() []byte {
	b := bytes.Clone(s.head)
	b = append(b, 0x40, 1, 'x', 0x7f, 0xa1, 0x1e) // a literal of 4000 bytes, to be indexed
	b = append(b, bytes.Repeat([]byte{'y'}, 4000)...)
	return append(b, bytes.Repeat([]byte{0x80 | 62}, 50)...)
}

// What honest clients do most of: long downloads with small windows, uploads
// that are refused while they arrive, pings that measure, requests by the
// hundred. Nobody's connection ends.
func TestManyFramesOfHonestClients(t *testing.T) {
	t.Parallel()
	h := open(t, build{shield: shield.Config{Limit: 1 << 16}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			piece := bytes.Repeat([]byte("x"), 1000)
			for range 3_000 {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		case "/refuse":
			w.WriteHeader(http.StatusRequestEntityTooLarge) // and nobody reads the content
		default:
			fmt.Fprint(w, r.Proto)
		}
	})})
	c := h.client(honest, true)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			res, err := c.Get("https://" + h.addr + "/large")
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if n, err := io.Copy(io.Discard, res.Body); n != 3_000_000 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
		wg.Go(func() {
			for range 10 {
				res, err := c.Post("https://"+h.addr+"/refuse", "text/plain", bytes.NewReader(make([]byte, 2<<20)))
				if err != nil {
					continue // a client may see the stream end first
				}
				res.Body.Close()
			}
		})
		wg.Go(func() {
			for range 200 {
				if code, _, err := h.get(c, "/"); code != 200 || err != nil {
					t.Errorf("%d %v", code, err)
					return
				}
			}
		})
	}
	wg.Wait()
	n := h.listen.Counters()
	if n.Frames != 0 || n.Reset != 0 || n.Dropped != 0 {
		t.Errorf("%+v", n)
	}
}

// A request over HTTP/2 shows its TLS, whatever scheme the client says it has.
func TestSchemeDoesNotHideTLS(t *testing.T) {
	t.Parallel()
	said := make(chan bool, 1)
	h := open(t, build{handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		said <- r.TLS != nil && r.TLS.HandshakeComplete && r.TLS.NegotiatedProtocol == "h2"
	})})
	s, err := h.stream(honest)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() { _, _ = io.Copy(io.Discard, s.Conn) }()
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	s.head = buf.Bytes()
	if _, err := s.request(); err != nil {
		t.Fatal(err)
	}
	if !<-said {
		t.Error("a request without TLS over TLS")
	}
}
