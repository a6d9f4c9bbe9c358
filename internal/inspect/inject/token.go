package inject

import "strings"

// kind is what a token is, regardless of the string or statement it stands in.
// The tokenizer is deliberately blind to string literals: a breakout may begin
// at any quote, so quotes are tokens and what lies between them is tokens too.
type kind uint8

const (
	tEnd kind = iota
	tWord
	tKey
	tNum
	tQuote
	tCmp
	tLogic // || and &&
	tOp
	tLP
	tRP
	tComma
	tSemi
	tDot
	tComment
	tVar    // @x, @@x
	tDollar // $word
	tLB
	tRB
	tLC
	tRC
	tColon
	tOther
)

type flag uint8

const (
	fSpace  flag = 1 << iota // white space stands before it
	fIntra                   // an apostrophe inside a word
	fOdd                     // an odd quote of its kind: it may close a literal that is not ours
	fUpper                   // a keyword in capitals
	fInline                  // a /* comment */ stands before it
	fAlways                  // no token has it: what anchors of some kinds need not have
)

type token struct {
	kind       kind
	id         kw
	flag       flag
	ch         byte
	class      class
	start, end int32
}

// window is how many tokens are held at once. Rules look at most lookAhead
// tokens ahead and lookBehind behind, so memory does not grow with the text.
const (
	window     = 1024
	lookAhead  = 96
	lookBehind = 16
)

// byte classes of the tokenizer
const (
	bSpace = iota
	bLetter
	bDigit
	bQuote
	bPunct
	bSign // punctuation that means the same whatever follows
)

var byteClass = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c <= ' ' || c == 0x7f:
			t[c] = bSpace
		case c >= '0' && c <= '9':
			t[c] = bDigit
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80:
			t[c] = bLetter
		case c == '\'' || c == '"' || c == '`':
			t[c] = bQuote
		case punctKind[c] >= tLP && punctKind[c] != tCmp && c != ':' || c == '~' || c == '^' || c == '%':
			t[c] = bSign
		default:
			t[c] = bPunct
		}
	}
	return t
}()

var punctKind = [256]kind{
	'(': tLP, ')': tRP, ',': tComma, ';': tSemi, '.': tDot, '[': tLB, ']': tRB, '{': tLC, '}': tRC, ':': tColon,
	'=': tCmp, '<': tCmp, '>': tCmp, '~': tOp, '!': tOp, '+': tOp, '-': tOp, '*': tOp, '/': tOp, '^': tOp, '%': tOp, '&': tOp, '|': tOp,
}

// lexer cuts text into tokens. It never looks at a byte more than a constant
// number of times, whatever the text.
type lexer struct {
	text      string
	pos       int
	plusSpace bool // "+" stands for a space: the text has none of its own
	document  bool // a JSON document: double quotes close nothing of the application's
	noClose   bool // no "*/" lies ahead, so an open "/*" runs to the end
	parity    [3]uint8
}

func (l *lexer) reset(text string, plusSpace bool) {
	*l = lexer{text: text, plusSpace: plusSpace, document: l.document}
}

// next reads one token; kind tEnd when the text is over. It fills t field by
// field: a token made elsewhere and copied would wait for each of them.
func (l *lexer) next(t *token) {
	t.kind, t.id, t.ch, t.class = tEnd, kNone, 0, 0
	f := flag(0)
	s := l.text
	i := l.pos
	for i < len(s) {
		c := s[i]
		switch byteClass[c] {
		case bSpace:
			f |= fSpace
			i++
			continue
		case bLetter:
			t.flag = f
			l.word(t, i)
			return
		case bDigit:
			t.flag = f
			l.number(t, i)
			return
		case bQuote:
			t.flag = f
			l.quote(t, i)
			return
		case bSign:
			t.flag, t.kind, t.ch, t.start, t.end = f, punctKind[c], c, int32(i), int32(i+1)
			l.pos = i + 1
			return
		}
		if c == '+' && l.plusSpace {
			f |= fSpace
			i++
			continue
		}
		t.start, t.ch = int32(i), c
		if c == '-' || c == '/' || c == '#' || c == '*' {
			end, what := l.comment(i)
			if what == skipped {
				f |= fSpace | fInline
				i = end
				continue
			}
			if what == comment {
				if t.kind, t.end = tComment, int32(end); c == '/' {
					t.ch = s[i+1] // "*" or "/"
				}
				t.flag = f
				l.pos = end
				return
			}
		}
		t.flag = f
		l.punct(t, i)
		return
	}
	l.pos = i
	t.flag = f
	t.start, t.end = int32(i), int32(i)
}

// inName tells the bytes that a word goes on with.
var inName = func() (t [256]bool) {
	for c := range t {
		t[c] = byteClass[c] == bLetter || byteClass[c] == bDigit || c == '$'
	}
	return t
}()

func (l *lexer) word(t *token, start int) {
	s := l.text
	i := start + 1
	for i < len(s) && inName[s[i]] {
		i++
	}
	l.pos = i
	t.kind, t.start, t.end = tWord, int32(start), int32(i)
	n := i - start
	if n <= wordMax && wordLens[uint32(s[start]&31)<<5|uint32(s[i-1]&31)]&(1<<n) != 0 {
		if t.id, t.class = lookup(s[start:i]); t.id != kNone {
			t.kind = tKey
			if s[start] < 'a' && s[i-1] < 'a' {
				t.flag |= fUpper
			}
		}
	}
}

func (l *lexer) number(t *token, i int) {
	s := l.text
	t.kind, t.start = tNum, int32(i)
	if s[i] == '0' && i+2 < len(s) && s[i+1]|0x20 == 'x' && isHex(s[i+2]) {
		t.ch = 'x'
		for i += 2; i < len(s) && isHex(s[i]); i++ {
		}
	} else {
		for i < len(s) && (s[i]-'0' < 10 || s[i] == '.') {
			i++
		}
		if i+1 < len(s) && s[i]|0x20 == 'e' && s[i+1]-'0' < 10 {
			for i++; i < len(s) && s[i]-'0' < 10; i++ {
			}
		}
	}
	t.end, l.pos = int32(i), i
}

func (l *lexer) quote(t *token, i int) {
	s := l.text
	c := s[i]
	t.kind, t.ch, t.start, t.end = tQuote, c, int32(i), int32(i+1)
	l.pos = i + 1
	if c == '\'' && i > 0 && i+1 < len(s) && isLetter(s[i-1]) && isLetter(s[i+1]) {
		t.flag |= fIntra
		return
	}
	p := &l.parity[0]
	switch c {
	case '"':
		if l.document {
			return
		}
		p = &l.parity[1]
	case '`':
		// in pairs it marks code in prose; alone it may end an identifier
		if strings.IndexByte(s[i+1:min(len(s), i+64)], c) >= 0 {
			return
		}
		p = &l.parity[2]
	}
	*p ^= 1
	if *p == 1 {
		t.flag |= fOdd
	}
}

type commentKind uint8

const (
	noComment commentKind = iota
	comment               // begins one that may swallow the rest
	skipped               // stands for white space
)

// comment reads "--", "#", "/*", "//" and the "*/" of a version comment at i.
func (l *lexer) comment(i int) (int, commentKind) {
	s := l.text
	next := byte(0)
	if i+1 < len(s) {
		next = s[i+1]
	}
	switch s[i] {
	case '#':
		return l.line(i, i+1)
	case '-':
		if next == '-' {
			return l.line(i, i+2)
		}
	case '*':
		if next == '/' {
			return i + 2, skipped
		}
	case '/':
		if next == '/' && (i == 0 || s[i-1] != ':') {
			return i + 2, comment
		}
		if next == '*' {
			return l.block(i)
		}
	}
	return i, noComment
}

// lineCommentMax bounds the comments that are taken for white space. A longer
// one, or one with a quote in it, is read: it may not be a comment at all where
// the text ends up.
const lineCommentMax = 32

func (l *lexer) line(start, i int) (int, commentKind) {
	s := l.text
	for j := i; j < len(s) && j-i <= lineCommentMax; j++ {
		switch s[j] {
		case '\n':
			return j + 1, skipped
		case '\'', '"':
			return i, comment
		}
	}
	return i, comment
}

func (l *lexer) block(i int) (int, commentKind) {
	s := l.text
	if i+2 < len(s) && s[i+2] == '!' { // MySQL runs what is inside
		j := i + 3
		for j < len(s) && j-i < 10 && s[j]-'0' < 10 {
			j++
		}
		return j, skipped
	}
	if l.noClose {
		return i + 2, comment
	}
	for j := i + 2; j+1 < len(s); j++ {
		if s[j] == '*' && s[j+1] == '/' {
			return j + 2, skipped
		}
	}
	l.noClose = true
	return i + 2, comment
}

func (l *lexer) punct(t *token, i int) {
	s := l.text
	c := s[i]
	t.kind = punctKind[c]
	next := byte(0)
	if i+1 < len(s) {
		next = s[i+1]
	}
	n := 1
	switch c {
	case '|', '&':
		if next == c {
			t.kind, n = tLogic, 2
		}
	case '=', '<', '>':
		for i+n < len(s) && n < 3 && (s[i+n] == '=' || s[i+n] == '>' && c == '<') {
			n++
		}
	case '!':
		if next == '=' {
			t.kind, n = tCmp, 2
		}
	case ':':
		if next == '=' {
			t.kind, n = tCmp, 2
		}
	case '@':
		for i+n < len(s) && s[i+n] == '@' && n < 2 {
			n++
		}
		if j := wordEnd(s, i+n); j > i+n {
			t.kind, n = tVar, j-i
		}
	case '$':
		if j := wordEnd(s, i+1); j > i+1 {
			t.kind, n = tDollar, j-i
		}
	case '\\':
		if next == 'N' { // MySQL's null
			t.kind, t.id, t.class, n = tKey, kNull, cLit, 2
		}
	}
	if t.kind == tEnd {
		t.kind = tOther
	}
	t.end, l.pos = int32(i+n), i+n
}

// wordEnd finds the end of a name that begins at i, at most 40 bytes on.
func wordEnd(s string, i int) int {
	j := i
	for j < len(s) && j-i < 40 && (isLetter(s[j]) || j > i && s[j]-'0' < 10) {
		j++
	}
	return j
}

func isLetter(c byte) bool { return byteClass[c] == bLetter }

func isHex(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 }
