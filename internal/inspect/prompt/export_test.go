package prompt

import (
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// concepts names the concepts found in text, in order.
func (d *Detector) concepts(text string) string {
	f := fold.Get(text)
	defer f.Release()
	s := d.scans.Get().(*scan)
	defer d.release(s)
	s.read(f)
	var out []string
	for _, h := range s.hits {
		n := d.lex.names[h.c]
		if h.opening {
			n = "^" + n
		}
		out = append(out, n)
	}
	return strings.Join(out, " ")
}
