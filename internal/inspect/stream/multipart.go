package stream

import (
	"bytes"
	"mime"
	"net/http"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// multipartParser reads multipart/form-data (RFC 7578), and only its one plain
// form: no preamble, no epilogue, CRLF everywhere, no transfer encodings, none
// of the header's continuations. Readers differ on all of these.
type multipartParser struct {
	limits   Limits
	patterns Patterns
	visit    Visit

	delim []byte // CRLF "--" boundary
	state partState
	buf   []byte // bytes that may belong to a delimiter, or a part's header
	at    int64  // the raw place of buf[0]
	parts int

	name  string
	cover Cover
	sub   parser
	sniff []byte // the first bytes of a file of no textual type
	snAt  int64
	join  joiner
}

type partState uint8

const (
	partFirst  partState = iota // the first delimiter, without its CRLF
	partAfter                   // what follows a delimiter
	partHeader                  // until the empty line
	partBody
	partOver
)

// Limits of a part's header and of what a boundary may be (RFC 2046, 5.1.1).
const (
	maxPartHeader = 8 << 10
	maxBoundary   = 70
	sniffLen      = 512 // as much as http.DetectContentType looks at
)

func newMultipart(boundary string, limits Limits, patterns Patterns, visit Visit) (*multipartParser, error) {
	if boundary == "" || len(boundary) > maxBoundary || strings.ContainsAny(boundary, "\r\n") || strings.HasSuffix(boundary, " ") {
		return nil, invalid("the boundary of the multipart body is missing or not of RFC 2046")
	}
	return &multipartParser{limits: limits.withDefaults(), patterns: patterns, visit: visit, delim: []byte("\r\n--" + boundary), join: joiner{of: patterns.joins, visit: visit}}, nil
}

func (p *multipartParser) where() string { return p.name }

// show shows what stands in a part.
func (p *multipartParser) show(x Piece) error {
	x.Cover, x.where = p.cover, p.where
	if err := p.visit(x); err != nil || x.Key {
		return err
	}
	return p.join.field(p.name, p.cover, x.Text, x.At)
}

func (p *multipartParser) safe(int64) int64 {
	switch {
	case p.sniff != nil:
		return p.snAt
	case p.sub != nil:
		return p.sub.safe(p.at)
	}
	return p.at
}

func (p *multipartParser) take(n int) {
	p.buf = p.buf[:copy(p.buf, p.buf[n:])]
	p.at += int64(n)
}

func (p *multipartParser) write(b []byte, raw int64) error {
	if len(p.buf) == 0 {
		p.at = raw
	}
	for len(b) > 0 {
		// buf stays small: a header, or a delimiter and a stretch of content
		n := min(len(b), maxPartHeader)
		p.buf = append(p.buf, b[:n]...)
		b = b[n:]
		for more := true; more; {
			var err error
			if more, err = p.step(); err != nil {
				return err
			}
		}
	}
	return nil
}

// step consumes what it can; more says that it may be called again.
func (p *multipartParser) step() (more bool, err error) {
	switch p.state {
	case partFirst:
		d := p.delim[2:]
		if n := min(len(d), len(p.buf)); !bytes.Equal(p.buf[:n], d[:n]) {
			return false, invalid("the multipart body does not begin with its boundary")
		}
		if len(p.buf) < len(d) {
			return false, nil
		}
		p.take(len(d))
		p.state = partAfter
	case partAfter:
		if len(p.buf) < 2 {
			return false, nil
		}
		switch string(p.buf[:2]) {
		case "\r\n":
			p.state = partHeader
		case "--":
			if err := p.join.end(); err != nil { // before the last byte goes on
				return false, err
			}
			p.state = partOver
		default:
			return false, invalid("a boundary of the multipart body is followed by neither CRLF nor two hyphens")
		}
		p.take(2)
	case partHeader:
		end := bytes.Index(p.buf, []byte("\r\n\r\n"))
		if end < 0 {
			if len(p.buf) > maxPartHeader {
				return false, fault.New(fault.TooLarge, "a part's header is larger than %d bytes", maxPartHeader)
			}
			return false, nil
		}
		head := string(p.buf[:end])
		p.take(end + 4)
		if err := p.header(head); err != nil {
			return false, err
		}
		p.state = partBody
	case partBody:
		return p.content()
	case partOver:
		if rest := string(p.buf); rest != "" && rest != "\r" && rest != "\r\n" {
			return false, invalid("the multipart body goes on after its end")
		}
		return false, nil
	}
	return true, nil
}

func (p *multipartParser) content() (more bool, err error) {
	if k := bytes.Index(p.buf, p.delim); k >= 0 {
		if err := p.feed(p.buf[:k], p.at); err != nil {
			return false, err
		}
		p.take(k)
		if err := p.partEnd(); err != nil {
			return false, err
		}
		p.take(len(p.delim))
		p.state = partAfter
		return true, nil
	}
	keep := 0 // of a delimiter that may be coming
	for n := min(len(p.delim)-1, len(p.buf)); n > 0; n-- {
		if p.buf[len(p.buf)-n] == '\r' && bytes.HasPrefix(p.delim, p.buf[len(p.buf)-n:]) {
			keep = n
			break
		}
	}
	n := len(p.buf) - keep
	if err := p.feed(p.buf[:n], p.at); err != nil {
		return false, err
	}
	p.take(n)
	return false, nil
}

// feed hands content on, or gathers enough of it to see what it is.
func (p *multipartParser) feed(b []byte, raw int64) error {
	if p.sniff == nil {
		if len(b) == 0 {
			return nil
		}
		return p.sub.write(b, raw)
	}
	p.sniff = append(p.sniff, b...)
	if len(p.sniff) < sniffLen {
		return nil
	}
	return p.seen()
}

// seen decides on a file of no textual type: what reads as text is inspected as
// text whatever it calls itself.
func (p *multipartParser) seen() error {
	b := p.sniff
	p.sniff = nil
	p.sub = opaqueParser{}
	if strings.HasPrefix(http.DetectContentType(b), "text/") {
		t := newText(p.limits, p.cover, p.where, p.show)
		t.w.reset(p.snAt)
		p.sub = t
	}
	return p.sub.write(b, p.snAt)
}

func (p *multipartParser) partEnd() error {
	if p.sniff != nil {
		if err := p.seen(); err != nil {
			return err
		}
	}
	err := p.sub.close()
	p.sub = nil
	return err
}

func (p *multipartParser) close() error {
	if p.state != partOver || string(p.buf) == "\r" { // half a line's end is none
		return invalid("the multipart body ends without its last boundary")
	}
	return nil
}

// header reads the fields of a part.
func (p *multipartParser) header(head string) error {
	odd := invalid("a part of the multipart body has a header that readers may understand differently")
	fields := map[string]string{}
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(line, "\r\n\x00") {
			return odd
		}
		name = strings.ToLower(name)
		if _, twice := fields[name]; twice {
			return odd
		}
		fields[name] = strings.TrimSpace(value)
	}
	kind, params, err := mime.ParseMediaType(fields["content-disposition"])
	if err != nil || kind != "form-data" || strings.Contains(fields["content-disposition"], "*") {
		return odd
	}
	if t := strings.ToLower(fields["content-transfer-encoding"]); t != "" && t != "binary" && t != "8bit" && t != "7bit" {
		return fault.New(fault.MediaType, "a part of the multipart body has a transfer encoding: its content is inspected")
	}
	name, named := params["name"]
	if !named {
		return odd
	}
	if p.parts++; p.parts > p.limits.Keys {
		return fault.New(fault.TooLarge, "the form has more than %d fields", p.limits.Keys)
	}
	p.name = name
	p.cover = p.patterns.field(name)
	if err := p.visit(Piece{Text: name, Key: true, Cover: p.cover, where: p.where}); err != nil {
		return err
	}
	file, isFile := params["filename"]
	if isFile {
		if err := p.visit(Piece{Text: file, Key: true, Cover: p.cover, where: p.where}); err != nil {
			return err
		}
	}
	return p.open(fields["content-type"], isFile)
}

// open chooses how a part's content is read.
func (p *multipartParser) open(contentType string, isFile bool) error {
	text := func() {
		t := newText(p.limits, p.cover, p.where, p.show)
		t.w.reset(p.at)
		p.sub = t
	}
	if contentType == "" {
		if !isFile {
			text()
			return nil
		}
		contentType = "application/octet-stream"
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fault.Wrap(err, fault.MediaType, "a part of the multipart body has no readable type: its content is inspected")
	}
	if err := charset(params); err != nil {
		return err
	}
	switch {
	case isJSON(kind):
		j := newJSON(p.limits, Patterns{}, p.show)
		p.sub = &shifted{parser: j, by: p.at}
	case strings.HasPrefix(kind, "text/"), kind == "application/xml", strings.HasSuffix(kind, "+xml"), !isFile:
		text()
	case strings.HasPrefix(kind, "multipart/"):
		return fault.New(fault.MediaType, "a part of the multipart body is one itself: its content is inspected")
	default:
		p.sniff, p.snAt = make([]byte, 0, sniffLen), p.at
	}
	return nil
}

// shifted is a parser that has a safe place before its first byte.
type shifted struct {
	parser
	by      int64
	started bool
}

func (s *shifted) write(b []byte, raw int64) error { s.started = true; return s.parser.write(b, raw) }

func (s *shifted) safe(raw int64) int64 {
	if !s.started {
		return s.by
	}
	return s.parser.safe(raw)
}
