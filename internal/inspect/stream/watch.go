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
	canaries []inspect.Forms
	raw      inspect.Letters
	line     []byte // of an event, not yet whole
	long     bool   // the line is too long to be read as JSON
	places   map[string]*inspect.Letters
}

// Bounds of what a Watch remembers.
const (
	maxCanaries = 16
	maxPlaces   = 64
	maxLine     = 64 << 10
)

// Look adds what an answer must not hold.
func (w *Watch) Look(cs ...inspect.Canary) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range cs[:min(len(cs), maxCanaries-len(w.canaries))] {
		w.canaries = append(w.canaries, c.Forms())
	}
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

func (w *Watch) betrays(l *inspect.Letters, text string) bool {
	plain, unescaped := l.Add(text)
	for _, f := range w.canaries {
		if f.In(plain, unescaped) {
			return true
		}
	}
	return false
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
	p.release()
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
				w.places = map[string]*inspect.Letters{}
			}
			t = &inspect.Letters{}
			w.places[where] = t
		}
	}
	return w.betrays(t, text)
}
