package stream

import (
	"bytes"
	"strings"
	"sync"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

// Watch looks for canaries in an answer as it passes: in its bytes, and, where it
// comes as events (text/event-stream) of JSON, in what the strings at each place
// add up to, for models speak a syllable an event. It is safe for concurrent use:
// what to look for may be learnt while the answer has begun.
type Watch struct {
	mu       sync.Mutex
	canaries []inspect.Canary
	raw      trail
	line     []byte // of an event, not yet whole
	long     bool   // the line is too long to be read as JSON
	places   map[string]*trail
}

// Bounds of what a Watch remembers.
const (
	maxCanaries = 16
	maxPlaces   = 64
	maxLine     = 64 << 10
	trailLen    = 128 // more letters than any form of a canary has
)

// trail is the end of a text: its letters and digits, and all but white space.
type trail struct{ letters, tight []byte }

// Look adds what an answer must not hold.
func (w *Watch) Look(cs ...inspect.Canary) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.canaries = append(w.canaries, cs[:min(len(cs), maxCanaries-len(w.canaries))]...)
}

// Looking says whether there is anything to look for.
func (w *Watch) Looking() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.canaries) > 0
}

// Saw takes the next bytes of the answer and says whether they complete a
// canary. They must not go on if they do.
func (w *Watch) Saw(b []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.canaries) == 0 {
		return false
	}
	return w.betrays(&w.raw, string(b)) || w.events(b)
}

func (w *Watch) betrays(t *trail, text string) bool {
	for _, c := range w.canaries {
		if c.In(string(t.letters)+text) || c.In(string(t.tight)+text) {
			return true
		}
	}
	t.add(text)
	return false
}

func (t *trail) add(text string) {
	// only the end matters, and separators may be many: keep enough to find it
	for i := range len(text) {
		c := text[i]
		if c <= ' ' {
			continue
		}
		t.tight = append(t.tight, c)
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			t.letters = append(t.letters, c)
		}
	}
	t.letters, t.tight = last(t.letters), last(t.tight)
}

func last(b []byte) []byte {
	if n := len(b) - trailLen; n > 0 {
		b = b[:copy(b, b[n:])]
	}
	return b
}

// events reads whole lines "data: {…}".
func (w *Watch) events(b []byte) bool {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		part := b
		if i >= 0 {
			part, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if w.long = w.long || len(w.line)+len(part) > maxLine; !w.long {
			w.line = append(w.line, part...)
		}
		if i < 0 {
			return false
		}
		line := w.line
		w.line = w.line[:0]
		if w.long {
			w.long = false
			continue
		}
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && w.event(bytes.TrimSpace(data)) {
			return true
		}
	}
	return false
}

// event adds the strings of one event to what its places said before.
func (w *Watch) event(data []byte) (found bool) {
	if len(data) == 0 || data[0] != '{' && data[0] != '[' && data[0] != '"' {
		return w.place("data", string(data))
	}
	p := newJSON(Limits{}, Patterns{}, func(p Piece) error {
		if !p.Key && !found {
			found = w.place(p.Where(), p.Text)
		}
		return nil
	})
	if p.write(data, 0) == nil {
		_ = p.close()
	}
	return found
}

func (w *Watch) place(where, text string) bool {
	if strings.TrimSpace(text) == "" {
		return false
	}
	t := w.places[where]
	if t == nil {
		if len(w.places) >= maxPlaces {
			where = "" // the rest share one
		}
		if t = w.places[where]; t == nil {
			if w.places == nil {
				w.places = map[string]*trail{}
			}
			t = &trail{}
			w.places[where] = t
		}
	}
	return w.betrays(t, text)
}
