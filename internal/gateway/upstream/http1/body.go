package http1

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// ErrTruncated means that the upstream went away in the middle of an answer.
var ErrTruncated = errors.New("http1: the upstream's answer ended early")

// source is where a body's bytes come from: a connection's buffer, and more
// from the connection.
type source interface {
	// buffered is what has been read and not consumed.
	buffered() []byte
	consume(n int)
	// fill reads more; it may move what is buffered. Any error is final.
	fill() error
}

// body yields a response's content, piece by piece, without copying.
type body struct {
	framing  framing
	left     int64 // of the body when sized, of the chunk when chunked
	inChunk  bool
	exts     int
	done     bool
	trailers []Field
}

// next returns the next piece, at most what is at hand; nil and nil when more
// must be read first. After the last piece done is set. The piece is good until
// the next call to fill.
func (b *body) next(s source) ([]byte, error) {
	switch b.framing {
	case noBody:
		b.done = true
		return nil, nil
	case sized:
		p := s.buffered()
		if int64(len(p)) > b.left {
			p = p[:b.left]
		}
		s.consume(len(p))
		b.left -= int64(len(p))
		b.done = b.left == 0
		return p, nil
	case untilClose:
		p := s.buffered()
		s.consume(len(p))
		return p, nil
	}
	return b.nextChunk(s)
}

// nextChunk decodes RFC 9112 section 7.1.
func (b *body) nextChunk(s source) ([]byte, error) {
	for {
		p := s.buffered()
		switch {
		case b.inChunk && b.left > 0:
			if int64(len(p)) > b.left {
				p = p[:b.left]
			}
			s.consume(len(p))
			b.left -= int64(len(p))
			return p, nil
		case b.inChunk:
			if len(p) < 2 {
				return nil, nil
			}
			if p[0] != '\r' || p[1] != '\n' {
				return nil, broken("a chunk does not end in CRLF")
			}
			s.consume(2)
			b.inChunk = false
			continue
		case b.left < 0: // after the last chunk
			return nil, b.readTrailers(s, p)
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if len(p) > maxChunkExt {
				return nil, broken("a chunk's size line is too long")
			}
			return nil, nil
		}
		if i > maxChunkExt || i < 1 || p[i-1] != '\r' {
			return nil, broken("bad chunk size line")
		}
		n, ext, ok := parseChunkSize(p[:i-1])
		if b.exts += ext; !ok || b.exts > maxExts {
			return nil, broken("bad chunk size")
		}
		s.consume(i + 1)
		if b.left = n; n == 0 {
			b.left = -1
			continue
		}
		b.inChunk = true
	}
}

func (b *body) readTrailers(s source, p []byte) error {
	end := -1
	if len(p) >= 2 && p[0] == '\r' && p[1] == '\n' {
		end = 2
	} else {
		end = headEnd(p, 0)
	}
	if end < 0 && len(p) <= maxTrailers {
		return nil
	}
	if end < 0 || end > maxTrailers {
		return broken("trailers are too long")
	}
	fs, err := parseFields(nil, string(p[:end]))
	if err != nil {
		return err
	}
	for _, f := range fs {
		if forbiddenTrailer(f.Name) {
			return broken("a trailer changes the framing")
		}
	}
	s.consume(end)
	b.trailers, b.done = fs, true
	return nil
}

// forbiddenTrailer names fields that mean something only before the content
// (RFC 9110 section 6.5.1).
func forbiddenTrailer(name string) bool {
	switch name {
	case "Transfer-Encoding", "Content-Length", "Host", "Connection", "Trailer", "Upgrade", "Te", "Keep-Alive",
		"Content-Encoding", "Content-Type", "Content-Range", "Authorization", "Set-Cookie", "Location", "Cache-Control":
		return true
	}
	return strings.HasPrefix(name, "Proxy-")
}

// parseChunkSize reads 1*HEXDIG [ chunk-ext ]. Fifteen digits fit an int64.
func parseChunkSize(line []byte) (n int64, ext int, ok bool) {
	i := 0
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			goto end
		}
		if i == 15 {
			return 0, 0, false
		}
		n = n<<4 | int64(c)
	}
end:
	rest := line[i:]
	if i == 0 {
		return 0, 0, false
	}
	if len(rest) > 0 {
		if t := bytes.TrimLeft(rest, " \t"); len(t) == 0 || t[0] != ';' {
			return 0, 0, false
		}
		for _, c := range rest {
			if class[c]&isValue == 0 {
				return 0, 0, false
			}
		}
	}
	return n, len(rest), true
}

// eof says what the end of the connection means in the middle of b.
func (b *body) eof(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	if b.framing == untilClose {
		b.done = true
		return nil
	}
	return ErrTruncated
}
