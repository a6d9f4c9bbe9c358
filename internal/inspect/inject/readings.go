package inject

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// minBlob is the shortest text without a space that may be base64 or hex.
const minBlob = 12

// readings scans the text as it is and as those who decode would read it.
func (s *scan) readings(text string, m mask, doSQL, doXSS bool) {
	s.views[0] = view{text: text}
	s.read(&s.views[0], m, doSQL, doXSS)
	if s.certain(doSQL, doXSS) {
		return
	}
	last := 0
	if m&maskCoded != 0 {
		last = s.decode(text, doSQL, doXSS)
	}
	v := &s.views[last]
	if m&mSlash != 0 && m&mStar != 0 || last > 0 {
		if c, ok := s.uncomment(v, last+1); ok {
			s.read(c, classify(c.text), doSQL, doXSS)
		}
	}
	s.blobs(v, last+2, doSQL, doXSS)
}

// certain says whether what was found so far leaves no question open. A text is
// an attack of one kind far more often than of both.
func (s *scan) certain(doSQL, doXSS bool) bool {
	return s.dirty && (!doSQL || s.confidence(rNone+1, rTag) > 0.9) && (!doXSS || s.confidence(rTag, ruleCount) > 0.9)
}

func (s *scan) read(v *view, m mask, doSQL, doXSS bool) {
	if doSQL && m&maskSQL != 0 {
		s.lex.document = isDocument(v.text)
		s.sqlScan(v, m&mPlus != 0 && m&mSpace == 0)
	}
	if doXSS && m&maskXSS != 0 {
		s.xssScan(v)
	}
}

// decode peels layer after layer and scans the innermost reading, and the one
// after the first layer, for what lies between.
func (s *scan) decode(text string, doSQL, doXSS bool) int {
	if len(text) > maxDecoded {
		return s.decodeParts(text, doSQL, doXSS)
	}
	last := 0
	for depth := 1; depth <= maxDepth; depth++ {
		prev := &s.views[last]
		if depth > 1 && classify(prev.text)&maskCoded == 0 {
			break
		}
		buf, off, changed := decodePass(s.bufs[depth][:0], s.offs[depth][:0], prev.text, prev.off)
		s.work += len(prev.text)
		s.bufs[depth], s.offs[depth] = buf, off
		if !changed {
			break
		}
		s.views[depth] = view{text: text_(buf), off: off}
		last = depth
	}
	if last == 0 {
		return 0
	}
	v := &s.views[last]
	s.read(v, classify(v.text), doSQL, doXSS)
	if last > 1 {
		v := &s.views[1]
		s.read(v, classify(v.text), doSQL, doXSS)
	}
	return last
}

// decodeParts decodes a text beyond maxDecoded piece by piece, pieces
// overlapping so that an attack on a seam is seen whole.
func (s *scan) decodeParts(text string, doSQL, doXSS bool) int {
	const overlap = 4 << 10
	for at := 0; at < len(text); at += maxDecoded - overlap {
		part := text[at:min(at+maxDecoded, len(text))]
		s.views[0] = view{text: part, base: at}
		last := 0
		for depth := 1; depth <= maxDepth; depth++ {
			prev := &s.views[last]
			buf, off, changed := decodePass(s.bufs[depth][:0], s.offs[depth][:0], prev.text, prev.off)
			s.work += len(prev.text)
			if depth == 1 {
				for i := range off {
					off[i] += int32(at)
				}
			}
			s.bufs[depth], s.offs[depth] = buf, off
			if !changed {
				break
			}
			s.views[depth] = view{text: text_(buf), off: off}
			last = depth
		}
		if last > 0 {
			v := &s.views[last]
			s.read(v, classify(v.text), doSQL, doXSS)
		}
	}
	s.views[0] = view{text: text}
	return 0
}

// text_ reads a buffer as a string without copying. The buffer lives in the
// scan and is not written while a view of it is in use.
func text_(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// uncomment makes a reading without /*…*/, for filters that drop comments and
// join what they parted: UN/**/ION.
func (s *scan) uncomment(v *view, slot int) (*view, bool) {
	t := v.text
	if len(t) > maxDecoded || !strings.Contains(t, "/*") {
		return nil, false
	}
	buf, off := s.bufs[slot][:0], s.offs[slot][:0]
	found := false
	for i := 0; i < len(t); {
		if t[i] == '/' && i+3 < len(t) && t[i+1] == '*' && t[i+2] != '!' {
			end := -1
			for j := i + 2; j+1 < len(t); j++ {
				s.work++
				if t[j] == '*' && t[j+1] == '/' {
					end = j + 2
					break
				}
			}
			if end < 0 && !found {
				break
			}
			if end > 0 {
				// only a comment inside a word tells more than a space would
				found = found || i > 0 && end < len(t) && isLetter(t[i-1]) && isLetter(t[end])
				i = end
				continue
			}
			// no comment closes any more: copy the rest as it is
			for ; i < len(t); i++ {
				buf, off = append(buf, t[i]), append(off, v.at(i))
			}
			break
		}
		buf, off = append(buf, t[i]), append(off, v.at(i))
		i++
	}
	s.bufs[slot], s.offs[slot] = buf, append(off, v.at(len(t)))
	if !found {
		return nil, false
	}
	s.views[slot] = view{text: text_(buf), off: s.offs[slot]}
	return &s.views[slot], true
}

func (v *view) at(i int) int32 {
	if v.off == nil {
		return int32(v.base + i)
	}
	return v.off[i]
}

// isDocument says whether a text is an object or a list of JSON, at a glance. Its
// double quotes are its own, however they count.
func isDocument(t string) bool {
	t = trim(t)
	if len(t) < 2 || t[0] != '{' && t[0] != '[' || t[len(t)-1] != '}' && t[len(t)-1] != ']' {
		return false
	}
	return strings.Count(t, `"`)&1 == 0
}

// blobMax bounds what is tried as base64 or hex.
const blobMax = 16 << 10

// blobs reads a text that is one run of base64 or hex. A decoded reading counts
// only if all of it is printable: a hash or a key never is.
func (s *scan) blobs(v *view, slot int, doSQL, doXSS bool) {
	t := trim(v.text)
	if len(t) < minBlob || len(t) > blobMax {
		return
	}
	hex, b64, lower, upper := true, true, false, false
	n := len(t)
	for n > 0 && t[n-1] == '=' {
		n--
	}
	for i := range n {
		c := t[i]
		switch {
		case c-'0' < 10:
		case c-'a' < 26:
			lower = true
			hex = hex && c <= 'f'
		case c-'A' < 26:
			upper = true
			hex = hex && c <= 'F'
		case c == '+' || c == '/' || c == '-' || c == '_':
			hex = false
		case (c == 'x' || c == 'X') && i == 1 && t[0] == '0':
		default:
			return
		}
		if !hex && (c|0x20) == 'x' && i == 1 && t[0] == '0' {
			hex = true
		}
	}
	b64 = lower && upper && len(t)-n <= 2
	buf := s.bufs[slot][:0]
	switch {
	case hex && n == len(t):
		if t[1]|0x20 == 'x' {
			t = t[2:]
		}
		for i := 0; i+1 < len(t); i += 2 {
			buf = append(buf, unhex(t[i])<<4|unhex(t[i+1]))
		}
	case b64:
		if cap(buf) < n {
			buf = make([]byte, 0, n)
		}
		var tmp [4]byte
		for i := 0; i+1 < n; i += 4 {
			m := copy(tmp[:], t[i:min(i+4, n)])
			for k := range m {
				switch tmp[k] {
				case '-':
					tmp[k] = '+'
				case '_':
					tmp[k] = '/'
				}
			}
			var out [3]byte
			k, err := base64.RawStdEncoding.Decode(out[:], tmp[:m])
			if err != nil && k == 0 {
				return
			}
			for _, c := range out[:k] {
				if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
					return
				}
			}
			buf = append(buf, out[:k]...)
		}
	default:
		return
	}
	s.bufs[slot] = buf
	for _, c := range buf {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return
		}
	}
	if len(buf) < 6 || !utf8.Valid(buf) {
		return
	}
	// the whole blob is the place of whatever is found in it
	off := s.offs[slot][:0]
	from, to := v.at(0), v.at(len(v.text))
	for range len(buf) {
		off = append(off, from)
	}
	off = append(off, to)
	s.offs[slot] = off
	s.views[slot] = view{text: text_(buf), off: off, blob: true}
	m := classify(text_(buf))
	w := &s.views[slot]
	s.read(w, m, doSQL, doXSS)
	if m&maskCoded != 0 {
		buf, off, changed := decodePass(s.bufs[slot-1][:0], s.offs[slot-1][:0], w.text, w.off)
		s.bufs[slot-1], s.offs[slot-1] = buf, off
		if changed {
			s.views[slot-1] = view{text: text_(buf), off: off, blob: true}
			s.read(&s.views[slot-1], classify(text_(buf)), doSQL, doXSS)
		}
	}
}

func trim(t string) string {
	for len(t) > 0 && t[0] <= ' ' {
		t = t[1:]
	}
	for len(t) > 0 && t[len(t)-1] <= ' ' {
		t = t[:len(t)-1]
	}
	return t
}
