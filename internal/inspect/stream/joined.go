package stream

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A thread is what a model may read as one text though it came in several
// strings: the contents of messages of one role, the parts of one, the fields of
// a form. An attack may have been cut anywhere.
type thread struct {
	key   threadKey
	cover Cover
	only  string // the text while there is but one string
	text  []byte // a blank at each seam
	seams []seam
	of    uint64 // the message of the last string, and its place
	where []byte
}

// seam is a blank between two strings.
type seam struct {
	at    int
	part  bool // both are of one message
	fresh bool // not shown yet
}

// threadKey says which strings belong together: those that the same patterns
// cover. place keeps apart what stands under other names there, of which plain are
// those for texts; role says who speaks.
type threadKey struct {
	cover Cover
	place uint64
	plain bool
	role  role
}

// Bounds of what is kept. A thread is shown, and goes on with its last reach
// bytes, when it has threadSize of them or maxSeams: every string is seen with
// its neighbours. reach is the longest stretch that the prompt detector takes for
// one attack (its pieces overlap by as much).
const (
	threadSize = 16 << 10
	reach      = 4 << 10
	maxSeams   = 1 << 10
	maxThreads = 16
)

// joiner gathers the strings of a document that some patterns want joined, in
// the order of the document.
type joiner struct {
	of      Cover
	visit   Visit
	threads [maxThreads + 1]thread // the last may be everybody else's
	n       int
}

// add takes a string, or one window of a long one. Of a long string only the ends
// may belong to what its neighbours say. of says which message it is a part of; 0:
// it is one.
func (j *joiner) add(key threadKey, of uint64, cover Cover, text string, at int, where []byte) error {
	if text = trim(text); text == "" {
		return nil
	}
	t := j.thread(key)
	t.cover |= cover
	first := head(text)
	if at == 0 {
		if len(t.text)+1+len(first) > threadSize || len(t.seams) >= maxSeams {
			if err := j.show(t); err != nil {
				return err
			}
			t.shorten()
		}
		t.add(first, of, where)
	}
	if at == 0 && len(first) == len(text) {
		return nil
	}
	err := j.show(t)
	t.only, t.text, t.seams = strings.Clone(tail(text)), t.text[:0], t.seams[:0]
	return err
}

func (t *thread) add(text string, of uint64, where []byte) {
	switch {
	case t.only != "":
		t.text, t.only = append(t.text[:0], t.only...), ""
		fallthrough
	case len(t.text) > 0:
		t.seams = append(t.seams, seam{at: len(t.text), part: of != 0 && of == t.of, fresh: true})
		t.text = append(append(t.text, ' '), text...)
		t.where = append(t.where[:0], where...)
	default:
		t.only = text
	}
	t.of = of
}

// shorten leaves the end of what was shown.
func (t *thread) shorten() {
	from := len(t.text) - len(tail(string(t.text)))
	if n := len(t.seams); n > maxSeams/2 {
		from = max(from, t.seams[n-maxSeams/2-1].at+1)
	}
	kept := t.seams[:0]
	for _, s := range t.seams {
		if s.at > from {
			s.at -= from
			kept = append(kept, s)
		}
	}
	t.text, t.seams = t.text[:copy(t.text, t.text[from:])], kept
}

// field is add for a field of a form: names that frameworks make structures of
// say the place, and all others are fields of one text.
func (j *joiner) field(name string, cover Cover, text string, at int) error {
	if cover &= j.of; cover == 0 {
		return nil
	}
	key := threadKey{cover: cover, plain: true}
	if strings.ContainsAny(name, ".[") {
		path := []byte(strings.NewReplacer("[", "/", "]", "", ".", "/").Replace(name))
		key.place, key.plain = placeOf(path, true)
	}
	return j.add(key, 0, cover, text, at, []byte(name))
}

// Fields shows what values say together that come by other ways than a body: those
// of a query, of a header that is sent twice. Their Cover is 1.
type Fields struct{ join joiner }

// NewFields begins with none.
func NewFields(visit Visit) *Fields { return &Fields{joiner{of: 1, visit: visit}} }

// Add takes the next value.
func (f *Fields) Add(name, value string) error { return f.join.field(name, 1, value, 0) }

// End shows what is left.
func (f *Fields) End() error { return f.join.end() }

// thread is the one of a key. What is found under ever new names shares one, and
// takes no place from what stands where texts are meant to, nor those under names
// that a sender may make up from where chats have theirs.
func (j *joiner) thread(key threadKey) *thread {
	most := maxThreads / 4
	switch {
	case key.plain && (key.place == 0 || key.place == messages):
		most = maxThreads
	case key.plain:
		most = maxThreads / 2
	}
	var rest *thread
	for i := range j.n {
		switch t := &j.threads[i]; t.key {
		case key:
			return t
		case threadKey{}:
			rest = t
		}
	}
	if j.n >= most {
		if rest != nil {
			return rest
		}
		key = threadKey{}
	}
	t := &j.threads[j.n]
	t.key, j.n = key, j.n+1
	return t
}

// show shows what is new: the parts of one message as one text, and then what
// several messages say.
func (j *joiner) show(t *thread) error {
	start, from, fresh, apart, any := 0, 0, false, false, false
	for i := 0; i <= len(t.seams); i++ {
		if i < len(t.seams) && t.seams[i].part {
			fresh = fresh || t.seams[i].fresh
			continue
		}
		end := len(t.text)
		if i < len(t.seams) {
			end = t.seams[i].at
			apart, any = true, any || t.seams[i].fresh
		}
		if any = any || fresh; fresh {
			if err := j.together(t, start, end, t.seams[from:i], false); err != nil {
				return err
			}
		}
		start, from, fresh = end+1, i+1, false
	}
	if apart && any {
		if err := j.together(t, 0, len(t.text), t.seams, true); err != nil {
			return err
		}
	}
	for i := range t.seams {
		t.seams[i].fresh = false
	}
	return nil
}

// together shows a stretch with blanks at its seams, and without if the cut may be
// inside a word.
func (j *joiner) together(t *thread, start, end int, seams []seam, apart bool) error {
	p := Piece{Text: string(t.text[start:end]), Apart: apart, Tool: t.key.role == roleTool, Cover: t.cover, where: func() string { return string(t.where) }}
	inWord := false
	for _, s := range seams {
		if s.part != apart {
			p.Seams = append(p.Seams, s.at-start)
		}
		inWord = inWord || glues(t.text[s.at-1], t.text[s.at+1])
	}
	if err := j.visit(p); err != nil || !inWord {
		return err
	}
	plain, from := make([]byte, 0, end-start), start
	p.Seams = make([]int, 0, len(p.Seams))
	for _, s := range seams {
		plain = append(plain, t.text[from:s.at]...)
		if from = s.at + 1; s.part != apart {
			p.Seams = append(p.Seams, len(plain))
		}
	}
	p.Text = string(append(plain, t.text[from:end]...))
	return j.visit(p)
}

// glues says whether one word may end with left and go on with right.
func glues(left, right byte) bool {
	return strings.IndexByte(" \t\r\n.,:;!?)\"'", left) < 0 && strings.IndexByte(" \t\r\n", right) < 0
}

// pending says whether the end of the document will show something.
func (j *joiner) pending() bool {
	for i := range j.n {
		if s := j.threads[i].seams; len(s) > 0 && s[len(s)-1].fresh {
			return true
		}
	}
	return false
}

// end shows what is left.
func (j *joiner) end() error {
	for i := range j.n {
		if err := j.show(&j.threads[i]); err != nil {
			return err
		}
	}
	return nil
}

// role is who speaks, as chat APIs say it. Whoever calls himself something else
// is a user.
type role uint8

const (
	roleUser role = iota
	roleSystem
	roleAssistant
	roleTool
)

func roleOf(name string) (r role, known bool) {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "user", "human":
		return roleUser, true
	case "system", "developer":
		return roleSystem, true
	case "assistant", "model":
		return roleAssistant, true
	case "tool", "function":
		return roleTool, true
	}
	return roleUser, false
}

// plainNames are what chat APIs call a text; a message may have one of them or
// another, and they are one place.
var plainNames = map[string]bool{"content": true, "contents": true, "text": true, "parts": true, "value": true, "input": true, "body": true}

// oneMessage says whether all that has this name is said in one message.
func oneMessage(name []byte) bool {
	return bytes.EqualFold(name, []byte("content")) || bytes.EqualFold(name, []byte("parts")) || bytes.EqualFold(name, []byte("text"))
}

// messages is the place of the texts of a chat whose document is a prompt.
var messages, _ = placeOf([]byte("/messages/0/content"), false)

// placeOf is a path without what numbers its elements and without the names of
// plain texts at its end, as a hash: of all of it, or of its last name alone. It
// says whether that end is a plain text's.
func placeOf(path []byte, last bool) (place uint64, plain bool) {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	if last {
		path = path[bytes.LastIndexByte(path, '/')+1:]
	}
	h := uint64(offset)
	for name := range bytes.SplitSeq(path, []byte("/")) {
		if plain = numbers(name) || plainName(name); numbers(name) {
			continue
		}
		for _, c := range name {
			if c-'A' < 26 {
				c |= 0x20
			}
			h = (h ^ uint64(c)) * prime
		}
		if h = (h ^ '/') * prime; !plain {
			place = h
		}
	}
	return place, plain
}

// numbers says whether a name is nothing but the number of an element.
func numbers(name []byte) bool {
	for _, c := range name {
		if c-'0' >= 10 {
			return false
		}
	}
	return true
}

func plainName(name []byte) bool {
	var b [8]byte
	if len(name) > len(b) {
		return false
	}
	for i, c := range name {
		if c-'A' < 26 {
			c |= 0x20
		}
		b[i] = c
	}
	return plainNames[string(b[:len(name)])]
}

// trim leaves one of the blanks at each end of a text: a cut is no longer one if
// enough of them keep what is left from what is right.
func trim(s string) string {
	a, b := strings.IndexFunc(s, seen), strings.LastIndexFunc(s, seen)
	if a < 0 {
		return ""
	}
	_, n := utf8.DecodeLastRuneInString(s[:a])
	_, m := utf8.DecodeRuneInString(s[b:])
	_, k := utf8.DecodeRuneInString(s[b+m:])
	return s[a-n : b+m+k]
}

// seen says whether a character leaves a trace.
func seen(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && r != 0x7F
	}
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// head and tail are a text's ends, cut between characters; what is no UTF-8, as in
// a query, is cut anywhere.
func head(s string) string {
	n := min(len(s), reach)
	for i := 1; i < utf8.UTFMax && n < len(s) && !utf8.RuneStart(s[n]); i++ {
		n--
	}
	return s[:n]
}

func tail(s string) string {
	n := max(0, len(s)-reach)
	for i := 1; i < utf8.UTFMax && n < len(s) && !utf8.RuneStart(s[n]); i++ {
		n++
	}
	return s[n:]
}
