package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream/http1"
)

// relay proxies by net/http's transport: TLS, h2c, Upgrade, Expect, trailers.
type relay struct {
	p     *Proxy
	proxy *httputil.ReverseProxy
}

type relayKey struct{}

// relayed is one request on this way.
type relayed struct {
	*exchange
	held  bool
	paced *pacedBody
	err   error

	interims atomic.Int32
	stop     context.CancelCauseFunc // of the call to the upstream
}

func newRelay(p *Proxy) *relay {
	l := &relay{p: p}
	l.proxy = &httputil.ReverseProxy{
		Rewrite:        l.rewrite,
		Transport:      l,
		FlushInterval:  -1,
		ModifyResponse: l.modify,
		ErrorHandler:   func(_ http.ResponseWriter, r *http.Request, err error) { of(r).err = err },
		ErrorLog:       log.New(io.Discard, "", 0), // its errors come back to the caller
		BufferPool:     &relayBuffers{},
	}
	return l
}

func of(r *http.Request) *relayed { return r.Context().Value(relayKey{}).(*relayed) }

func (l *relay) serve(x *exchange, held bool) (err error) {
	rl := &relayed{exchange: x, held: held}
	ctx, stop := context.WithCancelCause(context.WithValue(x.r.Context(), relayKey{}, rl))
	defer stop(nil)
	rl.stop = stop
	if !x.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, x.deadline)
		defer cancel()
	}
	in := x.r.WithContext(ctx)
	switch {
	case len(x.content) > 0:
		in.Body = io.NopCloser(bytes.NewReader(x.content))
	case !held:
		in.Body = http.MaxBytesReader(x.w, x.r.Body, x.rt.MaxBody)
		if x.r.ProtoMajor == 1 {
			rc := http.NewResponseController(x.w)
			_ = rc.EnableFullDuplex()
			rl.paced = &pacedBody{ReadCloser: in.Body, rc: rc, d: x.rt.Timeouts.Idle}
			in.Body = rl.paced
		}
	}
	defer func() {
		if pv := recover(); pv != nil {
			if pv != http.ErrAbortHandler {
				panic(pv)
			}
			err = x.cut(errors.New("the answer broke off"))
		}
	}()
	l.proxy.ServeHTTP(&relayWriter{ResponseWriter: x.w, rl: rl, early: http.Header{}}, in)
	switch {
	case rl.err == nil:
		return nil
	case x.begun:
		return x.cut(rl.err)
	}
	x.leave(held)
	var f *fault.Error
	if errors.As(rl.err, &f) {
		return f
	}
	return x.refuse(rl.err)
}

// rewrite prepares the request; ReverseProxy has taken off the fields of the
// connection already, and keeps Upgrade and TE: trailers.
func (l *relay) rewrite(pr *httputil.ProxyRequest) {
	rl := of(pr.In)
	upgrade, te := pr.Out.Header["Upgrade"], pr.Out.Header["Te"]
	conn := pr.Out.Header["Connection"]
	expect := pr.Out.Header["Expect"]
	for name := range pr.Out.Header {
		if stripped(name, rl.rt.pass) {
			delete(pr.Out.Header, name)
		}
	}
	if !ToWebSocket(pr.In) {
		upgrade, conn = nil, nil
	}
	for name, v := range map[string][]string{"Upgrade": upgrade, "Te": te, "Connection": conn, "Expect": expect} {
		if len(v) > 0 {
			pr.Out.Header[name] = v
		}
	}
	if _, ok := pr.Out.Header["User-Agent"]; !ok {
		pr.Out.Header["User-Agent"] = nil // or the transport adds its own
	}
	rl.own(pr.Out.Header.Set)
	rl.trail(pr)
	u := &url.URL{Scheme: rl.e.httpScheme(), Host: rl.e.key.authority}
	path, query, _ := cutQuery(rl.target)
	u.RawQuery = query
	u.Path, u.RawPath = path, ""
	if p, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = p, path
	}
	pr.Out.URL = u
	pr.Out.Host = rl.e.host
	if rl.rt.KeepHost {
		pr.Out.Host = pr.In.Host
	}
}

// trail hands on the trailers that were announced and that a client may set:
// their values come with the end of the content.
func (rl *relayed) trail(pr *httputil.ProxyRequest) {
	pr.Out.Trailer = nil
	for name := range pr.In.Trailer {
		if !stripped(name, rl.rt.pass) {
			if pr.Out.Trailer == nil {
				pr.Out.Trailer = http.Header{}
			}
			pr.Out.Trailer[name] = nil
		}
	}
	if pr.Out.Trailer != nil && pr.Out.Body != nil {
		pr.Out.Body = &trailBody{ReadCloser: pr.Out.Body, from: pr.In.Trailer, to: pr.Out.Trailer}
	}
}

// trailBody copies trailers when the content ends, before the transport, which
// reads it, looks for them.
type trailBody struct {
	io.ReadCloser
	from, to http.Header
}

func (b *trailBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		for name := range b.to {
			b.to[name] = b.from[name]
		}
	}
	return n, err
}

func cutQuery(target string) (path, query string, ok bool) {
	for i := range len(target) {
		if target[i] == '?' {
			return target[:i], target[i+1:], true
		}
	}
	return target, "", false
}

// RoundTrip asks the upstream, through the breaker, and again where that is
// allowed. It is the transport of our ReverseProxy only.
func (l *relay) RoundTrip(req *http.Request) (*http.Response, error) {
	rl := of(req)
	rl.e.budget.deposit(rl.rt.Retries.Budget)
	for attempt := 0; ; attempt++ {
		ps, err := rl.admit()
		if err != nil {
			return nil, err
		}
		if len(rl.content) > 0 {
			b := rl.content
			req.Body = io.NopCloser(bytes.NewReader(b))
			req.ContentLength = int64(len(b))
		}
		resp, err := rl.e.standard().RoundTrip(req)
		if err != nil {
			rl.settle(ps, 0, err)
			if rl.again(attempt, causeOf(err), rl.held) {
				continue
			}
			return nil, err
		}
		rl.settle(ps, resp.StatusCode, nil)
		if s := resp.StatusCode; s >= 502 && s <= 504 && rl.again(attempt, retryStatus[s-502], rl.held) {
			_ = resp.Body.Close()
			continue
		}
		return resp, nil
	}
}

// modify makes the upstream's answer ours.
func (l *relay) modify(resp *http.Response) error {
	rl := of(resp.Request)
	ours := rl.w.Header()
	drop := named(resp.Header["Connection"])
	upgraded := resp.StatusCode == http.StatusSwitchingProtocols
	if upgraded && (!ToWebSocket(rl.r) || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket")) {
		return http1.ErrProtocol // what nobody asked for
	}
	a := answer{rt: rl.rt, h: make(http.Header, len(resp.Header))}
	for name := range resp.Header {
		if v, there := ours[name]; there {
			a.h[name] = v
		}
	}
	for name, values := range resp.Header {
		if slices.Contains(drop, name) {
			continue
		}
		for _, v := range values {
			a.add(name, v)
		}
	}
	for _, name := range []string{"Content-Length", "Upgrade", "Connection"} {
		if v, there := resp.Header[name]; there && (upgraded || name == "Content-Length") {
			a.h[name] = v
		}
	}
	a.h["Via"] = ownVia
	if _, there := a.h["Content-Type"]; !there {
		ours["Content-Type"] = nil // or the server guesses one
	}
	resp.Header = a.h
	if upgraded {
		if rwc, ok := resp.Body.(io.ReadWriteCloser); ok {
			resp.Body = newIdleConn(rwc, rl.rt.Timeouts.Idle)
		}
		_ = http.NewResponseController(rl.w).SetReadDeadline(time.Time{})
		_ = http.NewResponseController(rl.w).SetWriteDeadline(time.Time{})
		rl.begun = true
		return nil
	}
	if rl.paced != nil && !rl.paced.whole.Load() {
		rl.closeClient()
	}
	body := newIdleBody(resp.Body, rl.rt.Timeouts.Idle, http.NewResponseController(rl.w))
	body.ended = func() { // trailers have come with the end
		for name := range resp.Trailer {
			if answerDropped(name, rl.rt) {
				delete(resp.Trailer, name)
			}
		}
	}
	body.ended() // and those announced are known now
	resp.Body = body
	rl.begun = true
	return nil
}

// relayWriter keeps ReverseProxy's hands off the answer's header until the final
// head: for each 1xx it would copy all of the upstream's fields into it, and
// then empty it, what the gateway has set included.
type relayWriter struct {
	http.ResponseWriter
	rl    *relayed
	early http.Header // nil once the final head is out
}

// Unwrap lets http.ResponseController reach Flush and Hijack.
func (w *relayWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *relayWriter) Header() http.Header {
	if w.early != nil {
		return w.early
	}
	return w.ResponseWriter.Header()
}

func (w *relayWriter) WriteHeader(status int) {
	if w.early == nil {
		return
	}
	if status < 200 {
		if w.rl.interims.Add(1) > http1.MaxInterim { // net/http counts none that somebody looks at
			w.rl.stop(http1.ErrProtocol)
			return
		}
		var links []http1.Field
		for _, v := range w.early["Link"] {
			links = append(links, http1.Field{Name: "Link", Value: v})
		}
		w.rl.interim(status, links)
		return
	}
	h := w.ResponseWriter.Header()
	for name, v := range w.early {
		h[name] = v
	}
	w.early = nil
	w.ResponseWriter.WriteHeader(status)
}

// pacedBody gives each Read of an HTTP/1 client's content a time limit, and
// takes it away at the end: it would hit the server's watch for the client's
// leaving.
type pacedBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	d     time.Duration
	whole atomic.Bool
}

func (b *pacedBody) Read(p []byte) (int, error) {
	_ = b.rc.SetReadDeadline(time.Now().Add(b.d))
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.rc.SetReadDeadline(time.Time{})
		b.whole.Store(true)
	}
	return n, err
}

// idleBody closes a body that yields nothing for too long, and gives each write
// to the client that follows a Read as long.
type idleBody struct {
	io.ReadCloser
	d     time.Duration
	timer *time.Timer
	rc    *http.ResponseController
	late  atomic.Bool
	ended func()
}

func newIdleBody(b io.ReadCloser, d time.Duration, rc *http.ResponseController) *idleBody {
	i := &idleBody{ReadCloser: b, d: d, rc: rc}
	i.timer = time.AfterFunc(d, func() { i.late.Store(true); _ = b.Close() })
	return i
}

func (i *idleBody) Read(p []byte) (int, error) {
	i.timer.Reset(i.d)
	n, err := i.ReadCloser.Read(p)
	i.timer.Stop()
	if err == io.EOF {
		i.ended()
	}
	if i.late.Load() && err != nil && n == 0 {
		err = fmt.Errorf("the upstream sent nothing for %s: %w", i.d, context.DeadlineExceeded)
	}
	_ = i.rc.SetWriteDeadline(time.Now().Add(i.d))
	return n, err
}

func (i *idleBody) Close() error {
	i.timer.Stop()
	return i.ReadCloser.Close()
}

// idleConn is an upgraded connection that closes when neither side says a thing
// for too long.
type idleConn struct {
	io.ReadWriteCloser
	d     time.Duration
	timer *time.Timer
	once  sync.Once
	err   error
}

func newIdleConn(c io.ReadWriteCloser, d time.Duration) *idleConn {
	i := &idleConn{ReadWriteCloser: c, d: d}
	i.timer = time.AfterFunc(d, func() { _ = c.Close() }) // not i's: it reads the timer
	return i
}

func (i *idleConn) Read(p []byte) (int, error) {
	n, err := i.ReadWriteCloser.Read(p)
	if n > 0 {
		i.timer.Reset(i.d)
	}
	return n, err
}

func (i *idleConn) Write(p []byte) (int, error) {
	i.timer.Reset(i.d)
	return i.ReadWriteCloser.Write(p)
}

func (i *idleConn) Close() error {
	i.once.Do(func() {
		i.timer.Stop()
		i.err = i.ReadWriteCloser.Close()
	})
	return i.err
}

// relayBuffers lends the copies their memory.
type relayBuffers struct{ pool sync.Pool }

func (b *relayBuffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *relayBuffers) Put(p []byte) { b.pool.Put(&p) }
