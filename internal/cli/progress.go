package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progress counts the records of an export on their way into the file and, on a
// terminal, draws how far it is: events, size and rate.
type progress struct {
	w       io.Writer
	on      bool // w is a terminal
	csv     bool // whose quoted cells may hold line ends
	total   int64
	now     func() time.Time
	begun   time.Time
	drawn   time.Time
	done    int64
	bytes   int64
	inQuote bool
}

func newProgress(w io.Writer, csv, header bool, total int64) *progress {
	p := &progress{w: w, on: terminal(w), csv: csv, total: max(total, 0), now: time.Now, begun: time.Now()}
	if csv && header {
		p.done = -1
	}
	return p
}

const drawEvery = 100 * time.Millisecond

func (p *progress) Write(b []byte) (int, error) {
	p.bytes += int64(len(b))
	for _, c := range b {
		switch {
		case c == '"' && p.csv:
			p.inQuote = !p.inQuote
		case c == '\n' && !p.inQuote:
			p.done++
		}
	}
	if p.on && p.now().Sub(p.drawn) >= drawEvery {
		p.draw()
	}
	return len(b), nil
}

func (p *progress) draw() {
	p.drawn = p.now()
	const width = 30
	part := int64(width)
	if p.total > 0 {
		part = min(width, width*max(p.done, 0)/p.total)
	}
	rate := float64(max(p.done, 0)) / max(p.drawn.Sub(p.begun).Seconds(), 1e-3)
	fmt.Fprintf(p.w, "\r\x1b[K[%s%s] %d of at most %d events, %.1f MB, %.0f events/s",
		strings.Repeat("#", int(part)), strings.Repeat(".", int(width-part)), max(p.done, 0), p.total, float64(p.bytes)/1e6, rate)
}

// end draws the last state, if any was drawn, and leaves the line.
func (p *progress) end() {
	if p.on {
		p.draw()
		fmt.Fprintln(p.w)
	}
}

// terminal: /dev/null is a character device too, so its mode does not tell.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
