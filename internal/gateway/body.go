package gateway

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/inspect/stream"
)

// wholeBody is the largest body that is inspected before anything is asked of
// the upstream. A larger one is inspected while it passes.
const wholeBody = 64 << 10

// inspectBody lets visit judge every string of the body before anybody behind
// us reads it. open says how the body is read; inflate whether it may come
// compressed.
func (j *judge) inspectBody(inflate bool, limit int64, open func(io.Reader) (*stream.Reader, error)) error {
	r := j.x.Request
	if noBody(r) {
		return nil
	}
	client := &pacedReader{src: r.Body, rc: http.NewResponseController(j.x.guard.ResponseWriter)}
	if j.x.upstream != nil {
		client.idle = j.x.upstream.Timeouts.Idle
		client.src = http.MaxBytesReader(nil, r.Body, limit)
	}
	var src io.Reader = client
	plain, err := notEncoded(r.Header)
	if err == nil && !plain {
		if err = fault.New(fault.MediaType, "the body is compressed in a way that this route does not take"); inflate && gzipped(r.Header) {
			src, err = &gunzip{in: counted{r: client}, limit: limit}, nil
		}
	}
	if err != nil {
		return err
	}
	body, err := open(src)
	if err != nil {
		return err
	}
	over, err := body.Ahead(wholeBody)
	if j.x.upstream == nil {
		for err == nil && !over { // a handler takes nothing less than all of it
			over, err = body.Ahead(2 * body.Len())
		}
	}
	switch {
	case err == stream.ErrEmpty: // by identity: faults compare by their code
		_ = body.Close()
		r.Body, r.ContentLength = http.NoBody, 0
		client.done()
		return nil
	case err != nil:
		_ = body.Close()
		j.x.unread()
		return err
	}
	if !plain { // what goes on is what was inspected
		r.Header.Del("Content-Encoding")
		r.ContentLength = -1
	}
	if !over {
		j.x.passing = &passing{body: body, judge: j}
		r.Body = j.x.passing
		return nil
	}
	whole := make([]byte, body.Len())
	if _, err := io.ReadFull(body, whole); err != nil {
		return err
	}
	_ = body.Close()
	client.done()
	r.Body, r.ContentLength = upstream.NewHeld(whole), int64(len(whole))
	return nil
}

func noBody(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0
}

// unread: the connection cannot be used again, for the rest of a refused body
// may still come.
func (x *Exchange) unread() {
	if x.Request.ProtoMajor == 1 {
		x.Writer.Header().Set("Connection", "close")
	}
}

func notEncoded(h http.Header) (bool, error) {
	values := h.Values("Content-Encoding")
	if len(values) > 1 {
		return false, fault.New(fault.MediaType, "the body is encoded more than once")
	}
	return len(values) == 0 || strings.EqualFold(strings.TrimSpace(values[0]), "identity"), nil
}

func gzipped(h http.Header) bool {
	e := strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding")))
	return e == "gzip" || e == "x-gzip"
}

// pacedReader gives each piece of a client's body a time limit.
type pacedReader struct {
	src  io.Reader
	rc   *http.ResponseController
	idle time.Duration // 0: the route's own deadline holds
}

func (p *pacedReader) Read(b []byte) (int, error) {
	if p.idle > 0 {
		_ = p.rc.SetReadDeadline(time.Now().Add(p.idle))
	}
	n, err := p.src.Read(b)
	if err != nil && err != io.EOF && p.idle > 0 && isTimeout(err) {
		err = fault.Wrap(err, fault.Invalid, "the body did not arrive in time")
	}
	return n, err
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// done takes the limit away: it would hit the server's watch for the client's
// leaving.
func (p *pacedReader) done() {
	if p.idle > 0 {
		_ = p.rc.SetReadDeadline(time.Time{})
	}
}

// How far a compressed body may expand: beyond expandFree bytes at most
// expandRatio times what came, and never beyond the route's limit.
const (
	expandFree  = 64 << 10
	expandRatio = 100
)

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// gunzip inflates a body (RFC 1952) within limits.
type gunzip struct {
	in    counted
	z     *gzip.Reader
	out   int64
	limit int64
}

func (g *gunzip) Read(b []byte) (n int, err error) {
	if g.z == nil {
		if g.z, err = gzip.NewReader(&g.in); err != nil {
			return 0, g.named(err)
		}
	}
	n, err = g.z.Read(b)
	g.out += int64(n)
	switch {
	case g.out > g.limit:
		return 0, fault.New(fault.TooLarge, "the body is larger than the %d bytes allowed here", g.limit)
	case g.out > expandFree && g.out > expandRatio*g.in.n:
		return 0, fault.New(fault.TooLarge, "the body expands to more than %d times its size", expandRatio)
	}
	return n, g.named(err)
}

func (g *gunzip) named(err error) error {
	switch {
	case err == nil, err == io.EOF && g.z != nil:
		return err
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return fault.Wrap(err, fault.Invalid, "the body is not gzip")
	}
	var f *fault.Error
	var big *http.MaxBytesError
	if errors.As(err, &f) || errors.As(err, &big) {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "the body is not gzip")
}

// passing is a body that is inspected while an upstream reads it. Whoever reads
// may still wait for the client when the exchange is over.
type passing struct {
	body  *stream.Reader
	judge *judge

	mu      sync.Mutex
	reading bool
	over    bool
	refused error
}

// errOver answers whoever still reads when the exchange is over.
var errOver = errors.New("the exchange is over")

func (p *passing) Read(b []byte) (int, error) {
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return 0, errOver
	}
	p.reading = true
	p.mu.Unlock()
	n, err := p.body.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reading = false
	if err != nil && err != io.EOF && p.refused == nil {
		p.refused = err
	}
	if p.over {
		_ = p.body.Close()
	}
	return n, err
}

// Close ends reading; the refusal stays.
func (p *passing) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		if !p.reading {
			_ = p.body.Close()
		}
	}
	return nil
}

// verdict is what the inspection of a passing body came to, once the upstream
// is done with it; nil if there was nothing to say. A refusal stands over
// whatever else the exchange failed of.
func (x *Exchange) verdict() *fault.Error {
	p := x.passing
	if p == nil {
		return nil
	}
	_ = p.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	var f *fault.Error
	if p.refused == nil || !errors.As(p.refused, &f) {
		return nil
	}
	x.details, x.severity = p.judge.details, p.judge.severity
	if f.Code == fault.Internal && x.severity == "" {
		x.severity = audit.High
	}
	return f
}
