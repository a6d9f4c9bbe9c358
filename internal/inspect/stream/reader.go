package stream

import (
	"fmt"
	"io"
	"mime"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Reader hands on the bytes of a body that stand behind what was inspected. A
// body that is refused ends with the refusal, its last bytes withheld, so that
// no reader gets all of it. It is not safe for concurrent use.
type Reader struct {
	src    io.Reader
	parser parser
	buf    *[]byte // read and not handed on
	base   int64   // the raw place of its first byte
	start  int     // of what is not handed on, in *buf
	ready  int64   // the raw place up to which it may go
	err    error   // why there will be no more: io.EOF, a refusal, a fault
}

// ErrEmpty is why a JSON body that holds nothing is refused.
var ErrEmpty = fault.New(fault.Invalid, "the document is not JSON: it is empty")

// readSize is how much is asked of the source at once.
const readSize = 32 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, windowSize+2*readSize); return &b }}

// keepBuffer is the largest buffer that goes back to the pool.
const keepBuffer = 512 << 10

// New reads src as contentType says: JSON (also +json), text, a form or
// multipart/form-data. Any other type, or another alphabet than UTF-8, is
// unsupported_media_type; so is text where a pattern names a place, for text has
// none, and many a reader takes it for JSON whatever its type. Close returns its
// memory.
func New(src io.Reader, contentType string, limits Limits, patterns Patterns, visit Visit) (*Reader, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, errKind()
	}
	if err := charset(params); err != nil {
		return nil, err
	}
	r := &Reader{src: src}
	switch {
	case isJSON(kind):
		r.parser = newJSON(limits, patterns, visit)
	case strings.HasPrefix(kind, "text/"):
		if patterns.named() {
			return nil, fault.New(fault.MediaType, "this route takes JSON or forms: places in it are inspected")
		}
		_, cover := patterns.root()
		r.parser = newText(limits, cover, nil, visit)
	case kind == "application/x-www-form-urlencoded":
		r.parser = newForm(limits, patterns, visit)
	case kind == "multipart/form-data":
		if r.parser, err = newMultipart(params["boundary"], limits, patterns, visit); err != nil {
			return nil, err
		}
	default:
		return nil, errKind()
	}
	r.buf = buffers.Get().(*[]byte)
	return r, nil
}

func errKind() error {
	return fault.New(fault.MediaType, "this route takes JSON, text or forms: its content is inspected")
}

// NewJSON is New for a body that is read as JSON whatever it calls itself.
func NewJSON(src io.Reader, limits Limits, patterns Patterns, visit Visit) *Reader {
	return &Reader{src: src, parser: newJSON(limits, patterns, visit), buf: buffers.Get().(*[]byte)}
}

func isJSON(kind string) bool {
	return kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}

func charset(params map[string]string) error {
	if c, ok := params["charset"]; ok && !strings.EqualFold(c, "utf-8") && !strings.EqualFold(c, "us-ascii") {
		return fault.New(fault.MediaType, "text is taken in UTF-8 only: its content is inspected")
	}
	return nil
}

// held is how many bytes wait here.
func (r *Reader) held() int { return len(*r.buf) - r.start }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 || r.buf == nil {
		return 0, r.err
	}
	for {
		if n := int(min(r.ready-r.base, int64(r.held()))); n > 0 {
			n = copy(p, (*r.buf)[r.start:r.start+n])
			r.start += n
			r.base += int64(n)
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
}

// Ahead reads and inspects until the body is over or more than n bytes of it
// wait. It says whether the body is over; the bytes are still to be Read.
func (r *Reader) Ahead(n int) (over bool, err error) {
	for r.err == nil && r.held() <= n {
		r.fill()
	}
	if r.err == nil || r.err == io.EOF {
		return r.err == io.EOF, nil
	}
	return false, r.err
}

// Len is how many bytes wait; all of the body once Ahead has said that it is over.
func (r *Reader) Len() int { return r.held() }

// Err is why the body ended: nil while it has not, or if it ended well.
func (r *Reader) Err() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// Close returns the memory. What was not read is lost.
func (r *Reader) Close() error {
	if r.buf == nil {
		return nil
	}
	if cap(*r.buf) <= keepBuffer {
		*r.buf = (*r.buf)[:0]
		buffers.Put(r.buf)
	}
	r.buf = nil
	if p, ok := r.parser.(*jsonParser); ok {
		p.release()
	}
	r.parser = nil
	if r.err == nil || r.err == io.EOF {
		r.err = fmt.Errorf("read the body: %w", io.ErrClosedPipe)
	}
	return nil
}

// fill takes one piece from the source through the parser. A panic there is a
// fault of ours and shuts the door.
func (r *Reader) fill() {
	defer func() {
		if p := recover(); p != nil {
			r.fail(fault.Wrap(fmt.Errorf("inspection panicked: %v\n%s", p, debug.Stack()), fault.Internal, "something failed here; the request id finds it in the operator's log"))
		}
	}()
	b := *r.buf
	if r.start > 0 {
		b = b[:copy(b, b[r.start:])]
		r.start = 0
	}
	n0 := len(b)
	for cap(b)-n0 < readSize {
		b = append(b[:cap(b)], make([]byte, readSize)...)[:n0]
	}
	n, err := r.src.Read(b[n0 : n0+readSize])
	*r.buf = b[:n0+n]
	at := r.base + int64(n0)
	if n > 0 {
		if werr := r.parser.write(b[n0:n0+n], at); werr != nil {
			r.fail(werr)
			return
		}
		r.ready = max(r.ready, r.parser.safe(at+int64(n)))
	}
	switch {
	case err == io.EOF:
		if cerr := r.parser.close(); cerr != nil {
			r.fail(cerr)
			return
		}
		r.ready, r.err = at+int64(n), io.EOF
	case err != nil:
		r.fail(err)
	}
}

// fail withholds everything that is left.
func (r *Reader) fail(err error) {
	r.err, r.ready = err, r.base
}
