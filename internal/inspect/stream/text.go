package stream

import (
	"strings"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// textParser shows a text by windows.
type textParser struct {
	w     window
	cover Cover
	visit Visit
	where func() string
}

func newText(limits Limits, cover Cover, where func() string, visit Visit) *textParser {
	p := &textParser{cover: cover, visit: visit, where: where}
	p.w.limit = limits.String
	p.w.show = p.show
	return p
}

// show refuses what some reader would read in another alphabet than we do:
// UTF-16 of plain letters is UTF-8 with a NUL after each.
func (p *textParser) show(text string, at int) error {
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return fault.New(fault.MediaType, "text is taken in UTF-8 and without NUL only: its content is inspected")
	}
	return p.visit(Piece{Text: text, Cover: p.cover, At: at, where: p.where})
}

func (p *textParser) write(b []byte, raw int64) error { return p.w.add(b, raw) }
func (p *textParser) close() error                    { return p.w.end() }
func (p *textParser) safe(int64) int64                { return p.w.from }

// opaqueParser lets content pass that nobody reads as text.
type opaqueParser struct{}

func (opaqueParser) write([]byte, int64) error { return nil }
func (opaqueParser) close() error              { return nil }
func (opaqueParser) safe(raw int64) int64      { return raw }
