package http1

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// graceForAnswer is how long an upstream that stopped reading may take to say
// why (RFC 9112 section 9.5: it may have answered early).
const graceForAnswer = 2 * time.Second

// Response is an upstream's answer whose head has come. Fields, and what Next
// returns, are good until Close. One goroutine uses it.
type Response struct {
	Status int
	Fields []Field
	// Length is what Content-Length says (also of an answer to HEAD), or -1.
	Length int64
	// OnWait is called before Next waits for the network.
	OnWait func() error

	cn     *conn
	head   head
	body   body
	req    *Request
	stop   func() bool // takes back the wish to be cut when ctx ends
	ctx    context.Context
	up     *upload
	failed bool
	open   bool
}

// exchange sends and waits for the head. op names the step that failed. On an
// error the connection is closed.
func (cn *conn) exchange(ctx context.Context, req *Request) (_ *Response, op string, err error) {
	r := &Response{cn: cn, head: head{fields: cn.fields[:0]}, req: req, ctx: ctx, open: true}
	cn.buf = bufs.Get().(*[]byte)
	r.stop = context.AfterFunc(ctx, cn.kill)
	defer func() {
		if err != nil {
			r.failed = true
			r.Close()
		}
	}()

	n, werr := cn.nc.Write(req.Bytes)
	if werr != nil {
		if n == 0 && cn.reused && isClosed(werr) {
			return nil, "write", &errStale{werr}
		}
		// It may have answered before it stopped reading.
		r.failed = true
		cn.armed = time.Time{}
		_ = cn.nc.SetReadDeadline(time.Now().Add(graceForAnswer))
	} else if req.Stream != nil {
		r.up = startUpload(cn, req)
	}
	if err := r.readHead(); err != nil {
		if se := r.streamErr(); se != nil {
			return nil, "read request", se
		}
		if werr != nil {
			return nil, "write", werr
		}
		if cn.reused && req.Stream == nil && req.Replay && cn.w == 0 && isClosed(err) {
			return nil, "read head", &errStale{err}
		}
		if errors.Is(err, io.EOF) {
			err = ErrTruncated
		}
		return nil, "read head", err
	}
	return r, "", nil
}

// isClosed: the other side closed the connection, as opposed to a time-out or
// an answer that is wrong.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (r *Response) readHead() error {
	cn := r.cn
	for interim, seen := 0, 0; ; {
		end := headEnd(cn.buffered(), seen)
		if end < 0 {
			if seen = len(cn.buffered()); seen > MaxHead {
				return broken("the head is longer than %d bytes", MaxHead)
			}
			if err := cn.fill(); err != nil {
				return err
			}
			continue
		}
		if end > MaxHead {
			return broken("the head is longer than %d bytes", MaxHead)
		}
		err := r.head.parse(cn.buffered()[:end], r.req.Method)
		if err != nil {
			return err
		}
		cn.consume(end)
		seen = 0
		if s := r.head.status; s < 200 {
			if interim++; s == 101 || interim > MaxInterim {
				return broken("status %d that nobody asked for", s)
			}
			if s != 100 && r.req.Interim != nil {
				r.req.Interim(s, r.head.fields)
			}
			continue
		}
		break
	}
	if r.up != nil {
		r.up.answered()
		cn.armed = time.Time{}
	}
	r.Status, r.Fields, r.Length = r.head.status, r.head.fields, r.head.length
	r.body = body{framing: r.head.framing, left: max(r.head.length, 0)}
	if r.body.framing == chunked {
		r.body.left = 0
	}
	r.body.done = r.body.framing == noBody
	return nil
}

// Done reports that the content has come in full.
func (r *Response) Done() bool { return r.body.done }

// Whole reports that nothing more has to be waited for.
func (r *Response) Whole() bool {
	return r.body.done || r.body.framing == sized && int64(len(r.cn.buffered())) >= r.body.left
}

// Streams reports that the content's end is not known beforehand.
func (r *Response) Streams() bool { return r.body.framing == chunked || r.body.framing == untilClose }

// Uploading reports that the request's content is not sent to its end.
func (r *Response) Uploading() bool {
	if r.up == nil {
		return false
	}
	select {
	case <-r.up.done:
		return !r.up.complete
	default:
		return true
	}
}

// Next returns the next piece of the content as it comes, and io.EOF after the
// last. Any other error means that the content is cut short.
func (r *Response) Next() ([]byte, error) {
	for {
		p, err := r.body.next(r.cn)
		if err != nil {
			return nil, r.fail(err)
		}
		if len(p) > 0 {
			return p, nil
		}
		if r.body.done {
			return nil, io.EOF
		}
		if r.OnWait != nil {
			if err := r.OnWait(); err != nil {
				r.failed = true
				return nil, err
			}
		}
		if d := r.req.IdleTimeout; d > 0 && r.up == nil {
			err = r.cn.armFor(d, r.req.Deadline)
		} else if d > 0 { // the upload sets the write side itself
			err = r.cn.nc.SetReadDeadline(earlier(time.Now().Add(d), r.req.Deadline))
		}
		if err == nil {
			err = r.cn.fill()
		}
		if err != nil {
			if err = r.body.eof(err); err != nil {
				return nil, r.fail(err)
			}
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (r *Response) fail(err error) error {
	r.failed = true
	if se := r.streamErr(); se != nil {
		return &Error{"read request", se}
	}
	return &Error{"read body", orCause(r.ctx, err)}
}

// streamErr is why the request's own content failed, if that came first.
func (r *Response) streamErr() error {
	if r.up == nil {
		return nil
	}
	r.up.abandon()
	return r.up.source
}

// Trailers are the chunked content's, once Next has returned io.EOF.
func (r *Response) Trailers() []Field { return r.body.trailers }

// Close ends the exchange. The connection is kept only if both messages are
// complete and not one byte is left over. Twice is fine.
func (r *Response) Close() {
	if !r.open {
		return
	}
	r.open = false
	cn := r.cn
	keep := r.stop() && !r.failed && r.body.done && r.head.keep && cn.r == cn.w && cn.raw != nil
	if r.up != nil {
		select {
		case <-r.up.done:
			keep = keep && r.up.complete
		default:
			keep = false
			r.up.abandon()
		}
		r.up = nil
		cn.armed = time.Time{}
	}
	cn.release()
	clear(r.head.fields)
	cn.fields = r.head.fields
	r.Fields, r.head.fields, r.req, r.OnWait, r.cn = nil, nil, nil, nil, nil
	if !keep {
		_ = cn.nc.Close()
		return
	}
	cn.client.put(cn)
}

// IsTimeout reports whether err is a deadline that passed.
func IsTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
