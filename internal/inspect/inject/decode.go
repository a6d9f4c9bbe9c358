package inject

import (
	"slices"
	"unicode/utf8"
)

// Decoding limits. A payload hidden deeper than maxDepth layers needs a reader
// that decodes as often; MaxDecoded bounds the memory of one inspection.
const (
	maxDepth   = 4
	maxDecoded = 1 << 20
)

// view is one reading of a text. off maps each of its bytes to the original;
// nil means the view is the original.
type view struct {
	text string
	off  []int32
	base int  // added where off is nil
	blob bool // the original is one run of base64 or hex: any place in it is all of it
}

// origin gives the place in the original text of the view's bytes [start,end).
func (v *view) origin(start, end int) (int, int) {
	if v.off == nil {
		return v.base + start, v.base + end
	}
	if v.blob {
		return int(v.off[0]), int(v.off[len(v.off)-1])
	}
	if len(v.off) < 2 {
		return 0, 0
	}
	start = min(start, len(v.off)-2)
	end = min(max(end, start+1), len(v.off)-1)
	from := int(v.off[start])
	return from, max(int(v.off[end]), from)
}

// decodePass undoes one layer of every encoding it meets: %XX, %uXXXX, \uXXXX,
// \u{X}, \xXX, HTML character references, full-width forms, overlong UTF-8. It appends
// to dst and off and says whether anything changed. off[i] is where byte i of
// dst came from, through prev (nil: identity).
func decodePass(dst []byte, off []int32, s string, prev []int32) ([]byte, []int32, bool) {
	changed := false
	// What is decoded is never longer than what it was.
	n, o := len(dst), len(off)
	dst, off = slices.Grow(dst, len(s))[:n+len(s)], slices.Grow(off, len(s)+1)[:o+len(s)+1]
	for i := 0; i < len(s); {
		c, next := s[i], byte(0)
		if i+1 < len(s) {
			next = s[i+1]
		}
		from := int32(i)
		if prev != nil {
			from = prev[i]
		}
		if codedBy[c]&codedNext[next] == 0 {
			dst[n], off[o] = c, from
			n, o, i = n+1, o+1, i+1
			continue
		}
		r, took := decodeOne(s, i)
		if took == 0 {
			dst[n], off[o] = c, from
			n, o, i = n+1, o+1, i+1
			continue
		}
		changed = true
		if r != 0 {
			before := n
			n = len(appendRune(dst[:n], r))
			for range n - before {
				off[o] = from
				o++
			}
		}
		i += took
	}
	off[o] = int32(len(s))
	if prev != nil {
		off[o] = prev[len(s)]
	}
	return dst[:n], off[:o+1], changed
}

// codedBy and codedNext have a bit in common where a byte may begin something
// encoded and the one behind it may go on with it: most of a row of signs stands
// for itself, which the two tell without asking for each sign.
var codedBy, codedNext = func() (by, next [256]uint8) {
	const percent, backslash, amp, alone = 1, 2, 4, 8
	by['%'], by['\\'], by['&'], by[0] = percent, backslash, amp, alone
	for c := range next {
		if c >= 0x80 {
			by[c] = alone
		}
		next[c] = alone
		b := byte(c)
		if isHex(b) || b|0x20 == 'u' {
			next[c] |= percent
		}
		switch b {
		case 'x', 'X', 'u', 'U', '0', '1':
			next[c] |= backslash
		}
		if b == '#' || isLetter(b) && b < 0x80 && len(entitiesBy[b&31].list) > 0 {
			next[c] |= amp
		}
	}
	return by, next
}()

// appendRune writes r; a decoded byte above 0x7f stays a byte, for it may be
// a part of UTF-8 that the next layer puts together.
func appendRune(dst []byte, r rune) []byte {
	if r < 0x100 {
		return append(dst, byte(r))
	}
	return utf8.AppendRune(dst, r)
}

// decodeOne reads one encoded character at i: what it stands for and how many
// bytes it took, or 0 bytes if nothing is encoded there. NUL is dropped (0, n).
func decodeOne(s string, i int) (rune, int) {
	switch c := s[i]; {
	case c == '%':
		return decodePercent(s, i)
	case c == '\\':
		return decodeBackslash(s, i)
	case c == '&':
		return decodeEntity(s, i)
	case c == 0:
		return 0, 1
	case c >= 0x80:
		return decodeWide(s, i)
	}
	return 0, 0
}

func decodePercent(s string, i int) (rune, int) {
	if i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
		return rune(unhex(s[i+1])<<4 | unhex(s[i+2])), 3
	}
	if i+5 < len(s) && s[i+1]|0x20 == 'u' {
		if r, ok := hexRune(s[i+2 : i+6]); ok {
			return fold(r), 6
		}
	}
	return 0, 0
}

func decodeBackslash(s string, i int) (rune, int) {
	if i+3 >= len(s) {
		return 0, 0
	}
	switch s[i+1] {
	case 'x', 'X':
		if r, ok := hexRune(s[i+2 : i+4]); ok {
			return r, 4
		}
	case 'u', 'U':
		if s[i+2] == '{' {
			for j := i + 3; j < len(s) && j < i+10; j++ {
				if s[j] == '}' && j > i+3 {
					if r, ok := hexRune(s[i+3 : j]); ok {
						return fold(r), j + 1 - i
					}
				}
			}
			return 0, 0
		}
		if i+5 < len(s) {
			if r, ok := hexRune(s[i+2 : i+6]); ok {
				return fold(r), 6
			}
		}
	case '0', '1':
		// octal, as JavaScript reads it: \047, \74 is left alone (a path)
		if isOctal(s[i+2]) && isOctal(s[i+3]) {
			return rune(s[i+1]-'0')<<6 | rune(s[i+2]-'0')<<3 | rune(s[i+3]-'0'), 4
		}
	}
	return 0, 0
}

func isOctal(c byte) bool { return c-'0' < 8 }

type entity struct {
	name string
	r    rune
}

// entities are the named references that matter to an attack.
var entities = []entity{
	{"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}, {"amp", '&'}, {"colon", ':'}, {"lpar", '('}, {"rpar", ')'},
	{"tab", '\t'}, {"newline", '\n'}, {"nbsp", ' '}, {"equals", '='}, {"semi", ';'}, {"sol", '/'}, {"bsol", '\\'},
	{"comma", ','}, {"period", '.'}, {"grave", '`'}, {"num", '#'}, {"excl", '!'}, {"lbrace", '{'}, {"rbrace", '}'},
	{"lcub", '{'}, {"rcub", '}'}, {"lsqb", '['}, {"rsqb", ']'}, {"dollar", '$'}, {"percnt", '%'}, {"ast", '*'}, {"plus", '+'}, {"zerowidthspace", 0},
}

// entitiesBy are entities by their first letter, with the lengths that occur.
var entitiesBy = func() (t [32]struct {
	lens uint32
	list []entity
}) {
	for _, e := range entities {
		by := &t[e.name[0]&31]
		by.lens |= 1 << len(e.name)
		by.list = append(by.list, e)
	}
	return t
}()

func decodeEntity(s string, i int) (rune, int) {
	if i+2 >= len(s) {
		return 0, 0
	}
	if s[i+1] == '#' {
		return decodeNumeric(s, i)
	}
	end := i + 1
	for end < len(s) && end-i < 16 && (s[end]|0x20)-'a' < 26 {
		end++
	}
	name := s[i+1 : end]
	if len(name) == 0 {
		return 0, 0
	}
	known := &entitiesBy[name[0]&31]
	if known.lens>>len(name)&1 == 0 {
		return 0, 0
	}
	for _, e := range known.list {
		if equalFold(name, e.name) {
			if end < len(s) && s[end] == ';' {
				return e.r, end + 1 - i
			}
			// without its semicolon only the oldest names count
			if e.r == '<' || e.r == '>' || e.r == '"' {
				return e.r, end - i
			}
			return 0, 0
		}
	}
	return 0, 0
}

func decodeNumeric(s string, i int) (rune, int) {
	j, r, digits := i+2, rune(0), 0
	if j < len(s) && s[j]|0x20 == 'x' {
		for j++; j < len(s) && isHex(s[j]) && digits < 12; j++ {
			r = min(r<<4|rune(unhex(s[j])), utf8.MaxRune+1)
			digits++
		}
	} else {
		for ; j < len(s) && s[j]-'0' < 10 && digits < 12; j++ {
			r = min(r*10+rune(s[j]-'0'), utf8.MaxRune+1)
			digits++
		}
	}
	if digits == 0 || r > utf8.MaxRune {
		return 0, 0
	}
	if j < len(s) && s[j] == ';' {
		j++
	}
	return fold(r), j - i
}

// decodeWide folds what a database or a browser would take for ASCII.
func decodeWide(s string, i int) (rune, int) {
	if (s[i] == 0xc0 || s[i] == 0xc1) && i+1 < len(s) && s[i+1]&0xc0 == 0x80 {
		return rune(s[i]&0x1f)<<6 | rune(s[i+1]&0x3f), 2 // overlong
	}
	if s[i] == 0xe0 && i+2 < len(s) && (s[i+1] == 0x80 || s[i+1] == 0x81) && s[i+2]&0xc0 == 0x80 {
		return rune(s[i+1]&0x3f)<<6 | rune(s[i+2]&0x3f), 3 // overlong
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if n < 2 {
		return 0, 0
	}
	if f := fold(r); f != r {
		return f, n
	}
	return 0, 0
}

// fold maps look-alikes that software narrows to ASCII, white space and
// invisible characters; anything else stays itself.
func fold(r rune) rune {
	switch {
	case r < 0x80:
		return r
	case r >= 0xff01 && r <= 0xff5e:
		return r - 0xfee0
	case r == 0x3000 || r == 0xa0 || r == 0x1680 || r >= 0x2000 && r <= 0x200a || r == 0x202f || r == 0x205f:
		return ' '
	case r == 0x200b || r == 0x200c || r == 0x200d || r == 0x2060 || r == 0xfeff || r == 0xad:
		return 0
	case r == 0x02b9 || r == 0x02bc || r == 0x2032:
		return '\''
	case r == 0xfe64:
		return '<'
	case r == 0xfe65:
		return '>'
	case r == 0x017f:
		return 's'
	case r == 0x212a:
		return 'k'
	}
	return r
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}

func hexRune(s string) (rune, bool) {
	r := rune(0)
	for i := range len(s) {
		if !isHex(s[i]) {
			return 0, false
		}
		r = r<<4 | rune(unhex(s[i]))
	}
	return r, r <= utf8.MaxRune
}
