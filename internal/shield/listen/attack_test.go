package listen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// drip writes one byte of text every few milliseconds, again and again, until
// the server has had enough. It is the attack's own pace, not a wait.
func drip(c net.Conn, text string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		<-tick.C
		if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
	}
}

func TestSlowHeader(t *testing.T) {
	t.Parallel()
	h := open(t, build{listen: Config{Header: 700 * time.Millisecond}})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := h.dialTLS(attacker, "http/1.1")
			if err != nil {
				return // dropped meanwhile: that is the point
			}
			defer c.Close()
			go drip(c, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("y", 10_000))
			ended(t, c)
		})
	}
	h.fine(honest)
	wg.Wait()
	if n := h.listen.Counters().SlowHead; n < 10 {
		t.Fatalf("%d slow heads seen", n)
	}
	if b := h.shield.Blocks(); len(b) != 1 || b[0].Reason != "slow_header" {
		t.Fatalf("%+v", b)
	}
	h.out(attacker)
	h.fine(honest)
}

// A connection that says nothing, before TLS or after, ends by itself.
func TestSilence(t *testing.T) {
	t.Parallel()
	h := open(t, build{listen: Config{Handshake: 100 * time.Millisecond, Header: 100 * time.Millisecond, Idle: 100 * time.Millisecond}})
	c, err := h.dial(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended(t, c)
	slow, err := h.dial(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	go drip(slow, "\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03"+strings.Repeat("x", 4000))
	ended(t, slow)
	for _, proto := range []string{"http/1.1", "h2"} {
		c, err := h.dialTLS(attacker, proto)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if proto == "h2" { // a preface, and then nothing
			fmt.Fprint(c, http2.ClientPreface)
			if err := http2.NewFramer(c, nil).WriteSettings(); err != nil {
				t.Fatal(err)
			}
		}
		ended(t, c)
	}
	if got := h.listen.Counters(); got.Handshake != 2 {
		t.Fatalf("%+v", got)
	}
	if sum := h.shield.Explain(netip.MustParseAddr(attacker)).Client.Parts["handshake"]; sum < 3.9 {
		t.Fatalf("two held handshakes score %v", sum)
	}
}

// An HTTP/2 head that never ends is bounded by Idle: no stream exists yet.
func TestEndlessContinuation(t *testing.T) {
	t.Parallel()
	h := open(t, build{listen: Config{Idle: 150 * time.Millisecond}})
	s, err := h.stream(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.head, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if s.WriteContinuation(1, false, []byte{0x10, 1, 'x', 1, 'y'}) != nil {
				return
			}
		}
	}()
	ended(t, s.Conn)
	h.fine(honest)
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			t.Parallel()
			outcome := make(chan error, 1)
			h := open(t, build{listen: Config{BodyGrace: 150 * time.Millisecond}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					_, err := io.Copy(io.Discard, r.Body)
					outcome <- err
				}
				fmt.Fprint(w, r.Proto)
			})})
			body, feed := io.Pipe()
			defer feed.Close()
			go func() { // 200 bytes a second where 1,024 are due
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for range tick.C {
					if _, err := feed.Write([]byte("x")); err != nil {
						return
					}
				}
			}()
			c := h.client(attacker, h2)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if res, err := c.Post("https://"+h.addr+"/", "text/plain", body); err == nil {
					res.Body.Close()
				}
			}()
			if err := <-outcome; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the handler reads %v", err)
			}
			body.Close()
			<-done
			c.CloseIdleConnections()
			if h.listen.Counters().SlowBody != 1 || h.shield.Explain(netip.MustParseAddr(attacker)).Client.Parts["slow_body"] < 9 {
				t.Fatalf("%+v", h.listen.Counters())
			}
			h.fine(honest)
		})
	}
}

// A body that the handler answers without reading is read by net/http, past the
// rate of bodies: dripping it must not hold the place either.
func TestBodyNobodyReads(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"refused at once":           func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusUnauthorized) },
		"answered while it arrives": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x"); w.(http.Flusher).Flush() },
		"read in part": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
			http.Error(w, "enough", http.StatusBadRequest)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, build{listen: Config{BodyGrace: 150 * time.Millisecond}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					answer(w, r)
					return
				}
				fmt.Fprint(w, r.Proto)
			})})
			c, err := h.dialTLS(attacker, "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
			go drip(c, "x")
			ended(t, c)
			h.fine(honest)
		})
	}
}

// A handler that takes its time must not cost an honest client its body, and
// one that has read everything must not lose its context to a left deadline.
func TestSlowHandlerIsNotTheClientsFault(t *testing.T) {
	t.Parallel()
	const grace = 150 * time.Millisecond
	h := open(t, build{listen: Config{BodyGrace: grace}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		half := make([]byte, 100)
		if _, err := io.ReadFull(r.Body, half); err != nil {
			t.Error(err)
		}
		<-time.After(3 * grace) // the handler's work
		rest, err := io.ReadAll(r.Body)
		if err != nil || len(rest) != 100 {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
		select {
		case <-r.Context().Done():
			t.Error("the request was cancelled by our own deadline")
		case <-time.After(3 * grace):
		}
		fmt.Fprint(w, r.Proto)
	})})
	for _, h2 := range []bool{false, true} {
		c := h.client(honest, h2)
		res, err := c.Post("https://"+h.addr+"/", "text/plain", strings.NewReader(strings.Repeat("x", 200)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
}

// A stream that is silent for longer than the grace goes on where the handler
// says so.
func TestUnmetered(t *testing.T) {
	t.Parallel()
	const grace = 100 * time.Millisecond
	h := open(t, build{listen: Config{BodyGrace: grace}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Unmetered(r) {
			t.Error("the body cannot be freed")
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	})})
	for _, h2 := range []bool{false, true} {
		body, feed := io.Pipe()
		res, err := h.client(honest, h2).Post("https://"+h.addr+"/", "application/grpc", body)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(4 * grace) // the client's silence
		fmt.Fprint(feed, "late")
		feed.Close()
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(got) != "late" {
			t.Fatalf("h2=%v: %q %v", h2, got, err)
		}
	}
	if n := h.listen.Counters().SlowBody; n != 0 {
		t.Fatalf("%d slow bodies", n)
	}
}

// A client that does not read its answer holds a handler for WriteStall.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	outcome := make(chan error, 1)
	h := open(t, build{listen: Config{WriteStall: 200 * time.Millisecond}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 64<<10)
		for {
			if _, err := w.Write(piece); err != nil {
				outcome <- err
				return
			}
		}
	})})
	c := h.must(attacker, "http/1.1")
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := <-outcome; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}

// stream opens an HTTP/2 connection by hand.
type stream struct {
	net.Conn
	*http2.Framer
	next uint32
	head []byte
}

func (h *house) stream(from string) (*stream, error) {
	c, err := h.dialTLS(from, "h2")
	if err != nil {
		return nil, err
	}
	s := &stream{Conn: c, Framer: http2.NewFramer(c, c), next: 1}
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a"}, {":path", "/"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	s.head = buf.Bytes()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	return s, s.WriteSettings()
}

func (s *stream) request() (uint32, error) {
	id := s.next
	s.next += 2
	// The static and the freshly indexed fields stay valid for the next ones:
	// each request sends the same literal block.
	return id, s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.head, EndStream: true, EndHeaders: true})
}

func TestRapidReset(t *testing.T) {
	t.Parallel()
	h := open(t, build{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, r.Proto)
	})})
	s, err := h.stream(attacker)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cut := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, s.Conn); close(cut) }()
	sent := 0
	for ; sent < 100_000; sent++ {
		id, err := s.request()
		if err == nil {
			err = s.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err != nil {
			break
		}
	}
	<-cut
	c := h.listen.Counters()
	if c.Reset != 1 || c.Resets > 1000 {
		t.Fatalf("after %d resets: %+v", sent, c)
	}
	if b := h.shield.Blocks(); len(b) != 1 || b[0].Reason != "rapid_reset" {
		t.Fatalf("%+v", b)
	}
	h.out(attacker)
	h.fine(honest)
}

// A browser that leaves a page cancels a lot at once, and a client that goes
// away cancels everything it had: neither is an attack.
func TestCancellingIsNotRapidReset(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1000)
	left := make(chan struct{}, 1000)
	h := open(t, build{listen: Config{ResetBurst: 60, MaxStreams: 100}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			arrived <- struct{}{}
			<-r.Context().Done()
			left <- struct{}{}
			return
		}
		fmt.Fprint(w, r.Proto)
	})})
	s, err := h.stream(honest)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() { _, _ = io.Copy(io.Discard, s.Conn) }()
	for range 50 {
		id, err := s.request()
		if err != nil {
			t.Fatal(err)
		}
		<-arrived
		if err := s.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		<-left
	}
	for range 5 { // five times, fifty streams end with their connection
		s, err := h.stream(honest)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if _, err := s.request(); err != nil {
				t.Fatal(err)
			}
			<-arrived
		}
		s.Close()
		for range 50 {
			<-left
		}
	}
	if c := h.listen.Counters(); c.Reset != 0 || c.Resets > 50 {
		t.Fatalf("%+v", c)
	}
	h.fine(honest)
}
