package http1

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// upload sends a request's content while the answer may already be coming. It
// is the one goroutine of this package, and it ends before Close returns.
type upload struct {
	cn        *conn
	req       *Request
	done      chan struct{}
	abandoned atomic.Bool

	mu   sync.Mutex
	head bool // the answer's head has come: the read deadline is the reader's

	// Read after done.
	complete bool  // all of it was sent
	source   error // Stream failed, and not because of us
}

const chunkRoom = 20 // for a chunk's size and CRLF

var uploadBufs = sync.Pool{New: func() any { b := make([]byte, chunkRoom+32<<10+2); return &b }}

var (
	errShort = errors.New("the content is shorter than announced")
	errLong  = errors.New("the content is longer than announced")
)

func startUpload(cn *conn, req *Request) *upload {
	u := &upload{cn: cn, req: req, done: make(chan struct{})}
	// The header timeout begins when all is sent.
	cn.armed = time.Time{}
	_ = cn.nc.SetReadDeadline(req.Deadline)
	go func() {
		defer close(u.done)
		u.run()
	}()
	return u
}

// answered hands the read deadline to the reader.
func (u *upload) answered() {
	u.mu.Lock()
	u.head = true
	u.mu.Unlock()
}

// abandon ends the upload and waits for it. The connection is lost.
func (u *upload) abandon() {
	select {
	case <-u.done:
		return
	default:
	}
	u.abandoned.Store(true)
	_ = u.cn.nc.Close()
	if u.req.Extend != nil {
		u.req.Extend(time.Unix(1, 0)) // wakes a Read that waits for the client
	}
	<-u.done
}

func (u *upload) run() {
	bp := uploadBufs.Get().(*[]byte)
	defer uploadBufs.Put(bp)
	buf, left := *bp, u.req.Length
	for {
		u.extend()
		n, rerr := u.req.Stream.Read(buf[chunkRoom : len(buf)-2])
		if u.req.Length >= 0 {
			if left -= int64(n); left < 0 {
				rerr = errLong
			}
		}
		if n > 0 && !errors.Is(rerr, errLong) {
			if err := u.write(u.piece(buf, n)); err != nil {
				return // the reader learns why
			}
		}
		switch {
		case rerr == nil:
			continue
		case rerr == io.EOF && left > 0:
			rerr = errShort
		}
		if rerr != io.EOF {
			if !u.abandoned.Load() {
				u.source = rerr
				_ = u.cn.nc.Close() // an unfinished request must not look finished
			}
			return
		}
		break
	}
	if u.req.Length < 0 {
		if err := u.write([]byte("0\r\n\r\n")); err != nil {
			return
		}
	}
	u.complete = true
	if u.req.Extend != nil && !u.abandoned.Load() {
		u.req.Extend(time.Time{})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := u.req.HeaderTimeout; d > 0 && !u.head {
		_ = u.cn.nc.SetReadDeadline(earlier(time.Now().Add(d), u.req.Deadline))
	}
}

// piece frames n bytes that stand at chunkRoom.
func (u *upload) piece(buf []byte, n int) []byte {
	if u.req.Length >= 0 {
		return buf[chunkRoom : chunkRoom+n]
	}
	var size [chunkRoom]byte
	s := append(strconv.AppendInt(size[:0], int64(n), 16), '\r', '\n')
	start := chunkRoom - len(s)
	copy(buf[start:], s)
	buf[chunkRoom+n], buf[chunkRoom+n+1] = '\r', '\n'
	return buf[start : chunkRoom+n+2]
}

func (u *upload) extend() {
	if u.req.Extend != nil && u.req.IdleTimeout > 0 && !u.abandoned.Load() {
		u.req.Extend(earlier(time.Now().Add(u.req.IdleTimeout), u.req.Deadline))
		if u.abandoned.Load() { // it was told to wake before we moved the time
			u.req.Extend(time.Unix(1, 0))
		}
	}
}

func (u *upload) write(p []byte) error {
	if d := u.req.IdleTimeout; d > 0 {
		if err := u.cn.nc.SetWriteDeadline(earlier(time.Now().Add(d), u.req.Deadline)); err != nil {
			return err
		}
	}
	_, err := u.cn.nc.Write(p)
	return err
}
