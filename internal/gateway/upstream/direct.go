package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream/http1"
)

const (
	// heldBody is the largest content that is read whole before the upstream is
	// asked: then it can be sent again, goes out in one write with its head, and
	// cannot be cut by an answer that comes first (golang/go#40747).
	heldBody = 64 << 10
	// plainHead is the largest head that package http1 is given.
	plainHead = 16 << 10
)

// buffer is a piece of memory that is used again.
type buffer struct{ b []byte }

var (
	buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 16<<10)} }}
	heads   = sync.Pool{New: func() any { return &http1.Head{Buf: make([]byte, 0, 4<<10)} }}
)

// Held is content that is all in memory already and stays there until the
// request is over: it is not read but taken as it is.
type Held struct {
	bytes.Reader
	all []byte
}

// NewHeld returns a request's body that holds b.
func NewHeld(b []byte) *Held {
	h := &Held{all: b}
	h.Reset(b)
	return h
}

// Close does nothing.
func (*Held) Close() error { return nil }

// hold reads small content of known length. held says that nothing is left to
// come from the client.
func (x *exchange) hold() (held bool, err error) {
	n := x.r.ContentLength
	if x.r.Body == nil || x.r.Body == http.NoBody || n == 0 {
		return true, nil
	}
	if n < 0 || n > heldBody {
		return false, nil
	}
	if h, ok := x.r.Body.(*Held); ok && int64(len(h.all)) == n {
		x.content = h.all
		return true, nil
	}
	buf := buffers.Get().(*buffer)
	buf.b = slices.Grow(buf.b[:0], int(n))[:n]
	x.lent, x.content = buf, buf.b
	rc := http.NewResponseController(x.w)
	_ = rc.SetReadDeadline(time.Now().Add(x.rt.Timeouts.Idle))
	_, err = io.ReadFull(x.r.Body, buf.b)
	if err == nil {
		// A limit that stays would hit the server's watch for the client's leaving.
		// After an error it stays: the server would wait for the rest without one.
		_ = rc.SetReadDeadline(time.Time{})
	} else {
		x.release()
		x.closeClient()
		if isTimeout(err) {
			return false, fault.Wrap(err, fault.Invalid, "the body did not arrive in time")
		}
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return false, fault.Wrap(err, fault.TooLarge, "the body is larger than the %d bytes allowed here", big.Limit)
		}
		return false, x.cut(fmt.Errorf("read the request: %w", err))
	}
	return true, nil
}

func (x *exchange) release() {
	if x.lent != nil {
		if cap(x.lent.b) <= heldBody {
			buffers.Put(x.lent)
		}
		x.lent = nil
	}
	x.content = nil
}

// closeClient has the server close the client's connection after the answer:
// what is left of the request in it must not be read as another request.
func (x *exchange) closeClient() {
	if x.r.ProtoMajor == 1 {
		x.w.Header().Set("Connection", "close")
	}
}

// ToWebSocket reports that the client asks for the one protocol that may follow
// on its connection (RFC 6455 section 4.1). Any other is not asked for: who gets
// h2c through a gateway asks the upstream whatever he likes, past every stage.
func ToWebSocket(r *http.Request) bool {
	up := r.Header["Upgrade"]
	return len(up) == 1 && strings.EqualFold(up[0], "websocket") && r.ProtoMajor == 1 && r.Method == http.MethodGet &&
		r.ContentLength == 0 && slices.ContainsFunc(named(r.Header["Connection"]), func(n string) bool { return n == "Upgrade" })
}

// plain reports whether package http1 may take the request.
func (x *exchange) plain() bool {
	r := x.r
	if len(r.Trailer) > 0 || len(r.Header) > 128 || !slices.Contains(methods, r.Method) {
		return false
	}
	if ToWebSocket(r) {
		return false
	}
	if _, ok := r.Header["Expect"]; ok {
		return false
	}
	return true
}

// direct proxies by package http1. errNotPlain means that it did nothing.
func (x *exchange) direct(held bool) error {
	head := heads.Get().(*http1.Head)
	defer func() {
		if cap(head.Buf) <= 128<<10 {
			heads.Put(head)
		}
	}()
	if !x.writeHead(head, held) {
		return errNotPlain
	}
	req := http1.Request{
		Method: x.r.Method, Bytes: head.Buf, HeaderTimeout: x.rt.Timeouts.Header, IdleTimeout: x.rt.Timeouts.Idle, Deadline: x.deadline,
		Replay: held && idempotent(x.r.Method), Interim: x.interim,
	}
	if len(x.content) > 0 {
		head.Buf = append(head.Buf, x.content...)
		req.Bytes = head.Buf
	}
	if !held {
		rc := http.NewResponseController(x.w)
		_ = rc.EnableFullDuplex() // or the server eats the content while we read it
		req.Length = x.r.ContentLength
		req.Stream = http.MaxBytesReader(x.w, x.r.Body, x.rt.MaxBody)
		req.Extend = func(t time.Time) { _ = rc.SetReadDeadline(t) }
	}
	x.e.budget.deposit(x.rt.Retries.Budget)
	for attempt := 0; ; attempt++ {
		ps, err := x.admit()
		if err != nil {
			x.leave(held)
			return err
		}
		resp, err := x.e.client.Do(x.r.Context(), &req)
		if err != nil {
			x.settle(ps, 0, err)
			if x.again(attempt, causeOf(err), held) {
				continue
			}
			x.leave(held)
			return x.refuse(err)
		}
		x.settle(ps, resp.Status, nil)
		if resp.Status >= 502 && resp.Status <= 504 && x.again(attempt, retryStatus[resp.Status-502], held) {
			resp.Close()
			continue
		}
		err = x.deliver(resp)
		resp.Close()
		return err
	}
}

var (
	errNotPlain = errors.New("upstream: not for package http1")
	ownVia      = []string{"1.1 " + pseudonym}[:1:1] // shared: nobody appends to it in place
	retryStatus = [...]string{"502", "503", "504"}
)

// leave: the request's content was not read to its end.
func (x *exchange) leave(held bool) {
	if !held {
		x.closeClient()
	}
}

// writeHead builds the request's head; false when it is too large.
func (x *exchange) writeHead(h *http1.Head, held bool) bool {
	host := x.e.host
	if x.rt.KeepHost && x.r.Host != "" {
		host = x.r.Host
	}
	h.Start(x.r.Method, x.target, host)
	drop := named(x.r.Header["Connection"])
	for name, values := range x.r.Header {
		if stripped(name, x.rt.pass) || drop != nil && slices.Contains(drop, name) {
			continue
		}
		for _, v := range values {
			h.Field(name, v)
		}
	}
	x.own(h.Field)
	switch {
	case !held:
		h.Length(x.r.ContentLength)
	case len(x.content) > 0:
		h.Length(int64(len(x.content)))
	case x.r.Method == "POST" || x.r.Method == "PUT" || x.r.Method == "PATCH":
		h.Length(0) // RFC 9110 section 8.6
	}
	return h.End() == nil && len(h.Buf) <= plainHead
}

// own gives set the fields that we say ourselves.
func (x *exchange) own(set func(name, value string)) {
	if x.r.ProtoMajor >= 2 {
		set("Via", viaOf("2.0", x.r.Header["Via"]))
	} else if via := x.r.Header["Via"]; len(via) == 0 {
		set("Via", "1.1 "+pseudonym)
	} else {
		set("Via", viaOf("1.1", via))
	}
	if x.token != "" {
		set(AssertionHeader, x.token)
	}
	if x.id.RequestID != "" {
		set("X-Request-Id", x.id.RequestID)
	}
	if x.id.Traceparent != "" {
		set("Traceparent", x.id.Traceparent)
	}
	if x.r.Host != "" {
		set("X-Forwarded-Host", x.r.Host)
	}
	if x.r.TLS != nil {
		set("X-Forwarded-Proto", "https")
	} else {
		set("X-Forwarded-Proto", "http")
	}
	if x.id.Client.IsValid() {
		set("X-Forwarded-For", x.id.Client.Unmap().WithZone("").String())
	}
}

// interim hands on a 1xx (RFC 9110 section 15.2): its fields are the client's
// only until the final head replaces them.
func (x *exchange) interim(status int, fields []http1.Field) {
	if x.r.ProtoMajor == 1 && x.r.ProtoMinor == 0 || status != http.StatusEarlyHints {
		return
	}
	h := x.w.Header()
	for _, f := range fields {
		if f.Name == "Link" {
			h.Add("Link", f.Value)
		}
	}
	x.w.WriteHeader(status)
	h.Del("Link")
}

// deliver writes the answer. Whatever fails from here on cuts it.
func (x *exchange) deliver(resp *http1.Response) error {
	h := x.w.Header()
	a := answer{rt: x.rt, h: h, vals: make([]string, 0, len(resp.Fields)+1), mine: make([]string, 0, len(resp.Fields))}
	streams := resp.Streams()
	for i := range resp.Fields {
		if f := &resp.Fields[i]; f.Name == "Connection" {
			a.drop = append(a.drop, named([]string{f.Value})...)
		}
	}
	for i := range resp.Fields {
		f := &resp.Fields[i]
		if f.Name == "Content-Length" && resp.Length >= 0 {
			a.vals = append(a.vals, f.Value)
			h["Content-Length"] = a.vals[len(a.vals)-1 : len(a.vals) : len(a.vals)]
			continue
		}
		if f.Name == "Content-Type" && strings.HasPrefix(f.Value, "text/event-stream") {
			streams = true
		}
		a.add(f.Name, f.Value)
	}
	if _, ok := h["Content-Type"]; !ok && !resp.Done() {
		h["Content-Type"] = nil // or the server guesses one
	}
	h["Via"] = ownVia
	if resp.Uploading() {
		x.closeClient()
	}
	x.begun = true
	x.w.WriteHeader(resp.Status)
	if resp.Done() {
		return nil
	}
	if resp.Whole() && !streams {
		p, err := resp.Next() // one piece: it is all at hand
		if err != nil {
			return x.cut(err)
		}
		if _, err := x.w.Write(p); err != nil {
			return x.cut(err)
		}
		return nil
	}
	return x.stream(resp, streams)
}

// stream writes an answer that is still coming, each write with a time limit.
func (x *exchange) stream(resp *http1.Response, flush bool) error {
	rc := http.NewResponseController(x.w)
	late := func() { _ = rc.SetWriteDeadline(time.Now().Add(x.rt.Timeouts.Idle)) }
	late()
	waiting := true // the head is not flushed yet
	if flush {
		resp.OnWait = func() error {
			if !waiting {
				return nil
			}
			waiting = false
			late()
			return rc.Flush()
		}
	}
	for {
		p, err := resp.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return x.cut(err)
		}
		late()
		waiting = true
		if _, err := x.w.Write(p); err != nil {
			return x.cut(err)
		}
	}
	for _, f := range resp.Trailers() {
		if !answerDropped(f.Name, x.rt) {
			x.w.Header().Add(http.TrailerPrefix+f.Name, f.Value)
		}
	}
	late()
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return x.cut(err)
	}
	if s, ok := x.r.Context().Value(http.ServerContextKey).(*http.Server); !ok || s.WriteTimeout <= 0 {
		_ = rc.SetWriteDeadline(time.Time{}) // the server will not set one for the next answer
	}
	return nil
}
