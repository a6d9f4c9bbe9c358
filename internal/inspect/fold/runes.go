package fold

import (
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// tableEnd bounds the runes whose plain form is computed once.
const tableEnd = 0x3100

// plainTable holds the plain forms of runes below tableEnd: an offset and a
// length into one arena. Eleven thousand runes take about two milliseconds.
var plainTable = sync.OnceValue(func() *table {
	t := &table{}
	for r := rune(utf8.RuneSelf); r < tableEnd; r++ {
		start := len(t.arena)
		t.arena = appendStable(t.arena, r)
		t.at[r] = uint32(start)<<8 | uint32(len(t.arena)-start)
	}
	return t
})

type table struct {
	at    [tableEnd]uint32
	arena []byte
}

func (t *table) plain(dst []byte, r rune) []byte {
	switch {
	case r < utf8.RuneSelf:
		return append(dst, byte(r))
	case r < tableEnd:
		e := t.at[r]
		return append(dst, t.arena[e>>8:e>>8+e&0xff]...)
	case r >= 0x3400 && r <= 0x9FFF, r >= 0xAC00 && r <= 0xD7A3:
		return utf8.AppendRune(dst, r)
	}
	return appendStable(dst, r)
}

// appendStable appends the plain form of the plain form, as often as it
// changes.
func appendStable(dst []byte, r rune) []byte {
	cur := appendPlain(nil, r)
	for range 4 {
		var next []byte
		for _, c := range string(cur) {
			if c < utf8.RuneSelf {
				next = append(next, byte(c))
			} else {
				next = appendPlain(next, c)
			}
		}
		if string(next) == string(cur) {
			break
		}
		cur = next
	}
	return append(dst, cur...)
}

// appendPlain appends the plain form of one NFKC rune: nothing for what no
// reader sees, a letter without its accent, ASCII for its look-alikes.
func appendPlain(dst []byte, r rune) []byte {
	if s, ok := special[r]; ok {
		return append(dst, s...)
	}
	switch {
	case r >= 0xE0020 && r <= 0xE007E:
		return append(dst, byte(r-0xE0000))
	case invisible(r):
		return dst
	case r >= 0x1F1E6 && r <= 0x1F1FF: // regional indicators spell words
		return append(dst, byte('A'+r-0x1F1E6))
	case r >= 0x1F130 && r <= 0x1F149:
		return append(dst, byte('A'+r-0x1F130))
	case r >= 0x1F150 && r <= 0x1F169:
		return append(dst, byte('A'+r-0x1F150))
	case r >= 0x1F170 && r <= 0x1F189:
		return append(dst, byte('A'+r-0x1F170))
	case r == 0x2028 || r == 0x2029 || r == 0x85:
		return append(dst, '\n')
	case unicode.Is(unicode.Zs, r):
		return append(dst, ' ')
	case unicode.Is(unicode.Pi, r) || unicode.Is(unicode.Pf, r):
		return append(dst, '"')
	case unicode.Is(unicode.Pd, r):
		return append(dst, '-')
	case r == utf8.RuneError:
		return append(dst, ' ')
	case r >= 0xAC00 && r <= 0xD7A3:
		return utf8.AppendRune(dst, r)
	}
	var in [utf8.UTFMax]byte
	n := utf8.EncodeRune(in[:], unicode.ToLower(r))
	var out [32]byte
	dec := norm.NFKD.Append(out[:0], in[:n]...)
	if len(dec) == n && string(dec) == string(in[:n]) {
		return append(dst, dec...)
	}
	// A letter sheds its accent. Marks elsewhere (Devanagari, Thai, kana) carry
	// meaning and stay composed.
	d, _ := utf8.DecodeRune(dec)
	if d >= 0x0600 && !(d >= 0x1E00 && d <= 0x1FFF) && d >= utf8.RuneSelf {
		return append(dst, in[:n]...)
	}
	for len(dec) > 0 {
		c, m := utf8.DecodeRune(dec)
		dec = dec[m:]
		if invisible(c) {
			continue
		}
		if s, ok := special[c]; ok {
			dst = append(dst, s...)
			continue
		}
		dst = utf8.AppendRune(dst, unicode.ToLower(c))
	}
	return dst
}

// invisible tells what a reader does not see or does not need: format
// characters, combining accents of the Latin block, Arabic and Hebrew vowel
// points, variation selectors, fillers.
func invisible(r rune) bool {
	switch {
	case r >= 0x0300 && r <= 0x036F, r >= 0x1AB0 && r <= 0x1AFF, r >= 0x1DC0 && r <= 0x1DFF,
		r >= 0x20D0 && r <= 0x20FF, r >= 0xFE20 && r <= 0xFE2F,
		r >= 0x064B && r <= 0x065F, r == 0x0670, r == 0x0640, r >= 0x0591 && r <= 0x05C7 && r != 0x05BE && r != 0x05C0 && r != 0x05C3,
		r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, r == 0x17B4, r == 0x17B5,
		r >= 0x180B && r <= 0x180F,
		r >= 0xFE00 && r <= 0xFE0F, r >= 0xE0100 && r <= 0xE01EF,
		r >= 0xE0000 && r <= 0xE001F, r == 0xE007F,
		r >= 0x80 && r <= 0x9F && r != 0x85:
		return true
	}
	return unicode.Is(unicode.Cf, r)
}

// hides tells the invisible characters that also have no honest use inside
// words of a script that does not join letters.
func hides(r rune) bool {
	switch {
	case r >= 0x200B && r <= 0x200F, r >= 0x202A && r <= 0x202E, r >= 0x2060 && r <= 0x2069,
		r == 0xFEFF, r == 0x00AD, r == 0x034F, r == 0x3164, r == 0x115F, r == 0x1160:
		return true
	}
	return false
}

// special are runes whose plain form no Unicode table gives: foreign sentence
// marks, and letters of phonetic and ornamental blocks drawn like ASCII.
var special = func() map[rune]string {
	m := map[rune]string{
		'。': ".", '．': ".", '｡': ".", '।': ".", '॥': ".", '۔': ".", '။': ".", '។': ".", '։': ".",
		'、': ",", '،': ",", '，': ",", '؛': ";", '؟': "?", ';': "?", '՞': "?",
		'「': "\"", '」': "\"", '『': "\"", '』': "\"", '„': "\"", '‟': "\"", '′': "'", '″': "\"",
		'‘': "'", '’': "'", '‚': "'", '‛': "'", '´': "'", 'ʼ': "'", '`': "`", 'ʹ': "'", '׳': "'", '״': "\"",
		'【': "[", '】': "]", '〔': "[", '〕': "]", '《': "\"", '》': "\"", '〈': "<", '〉': ">", '❮': "<", '❯': ">", '‹': "\"", '›': "\"",
		'⟨': "<", '⟩': ">", '∕': "/", '⁄': "/", '∣': "|", '│': "|", '｜': "|", 'ǀ': "|", '⧸': "/", '∶': ":", '꞉': ":", '﹕': ":",
		'‐': "-", '−': "-", '•': "*", '·': " ", '⠀': " ", '…': "...", '\u00a0': " ",
		'ß': "ss", 'æ': "ae", 'Æ': "ae", 'ø': "o", 'Ø': "o", 'œ': "oe", 'Œ': "oe", 'đ': "d", 'Đ': "d", 'ł': "l", 'Ł': "l",
		'ð': "d", 'Ð': "d", 'þ': "th", 'Þ': "th", 'ħ': "h", 'ı': "i", 'ŀ': "l", 'ŋ': "n", 'ſ': "s", 'ς': "σ",
		'ə': "ə", 'أ': "ا", 'إ': "ا", 'آ': "ا", 'ٱ': "ا", 'ى': "ي", 'ی': "ي", 'ک': "ك", 'ة': "ه", 'ۀ': "ه",
	}
	// pairs of look-alike and letter
	like := "ɑaɐaᴀaʙbɓbᴄcƈcɗdɖdᴅdᴇeɛeɜeǝeɘeꜰfƒfɠgɡgɢgʜhɦhɪiɩiᴊjĸkᴋkʟlɭlɫlᴍmɱmɴnɲnɳnᴏoɔoɵoᴘpƥpʀrɹrɾrɽrꜱsʂsᴛtƭtʈtᴜuʊuᴠvʋvᴡwʍwʏyɣyᴢzʐzʑz" +
		"ꓮAꓐBꓚCꓓDꓰEꓝFꓖGꓧHꓲIꓙJꓗKꓡLꓟMꓠNꓳOꓑPꓣRꓢSꓔTꓴUꓦVꓪWꓫXꓬYꓜZ" +
		"ᎪAᏴBᏟCᎠDᎬEᏀGᎻHᎥiᎫJᏦKᏞLᎷMᏢPᎡRᏚSᎢTᏙVᎳWᏃZ" +
		"ɓbȼcđdɇeǥgħhɨiɉjłlɍrŧtɏyƶz"
	rs := []rune(like)
	for i := 0; i+1 < len(rs); i += 2 {
		m[rs[i]] = string(rs[i+1])
	}
	return m
}()

// twin maps Cyrillic, Greek, Armenian and Hebrew letters drawn like a Latin one
// to that letter, for words that mix scripts.
var twin = func() map[rune]byte {
	m := map[rune]byte{}
	rs := []rune("аaбbвbсcԁdеeѐeёeғfԍgһhнhіiїiйnјjкkӏlмmоoөoрpԛqѓrгrѕsтtцuѵvѡwшwхxуyүyзz" +
		"αaβbεeηnγyιiκkνvορρpσoτtυuχxωwζzμuοoϲcϳj" +
		"աwօoսuոnհhցgզqгrеe")
	for i := 0; i+1 < len(rs); i += 2 {
		if rs[i+1] < utf8.RuneSelf {
			m[rs[i]] = byte(rs[i+1])
		}
	}
	m['ο'], m['ρ'] = 'o', 'p'
	return m
}()

// chars is the pass that writes the plain form of every rune.
func (t *Text) chars() {
	tab := plainTable()
	t.begin()
	src := t.Bytes
	limit := t.n*maxGrowth + 4096
	p := pen{t: t, word: 0}
	open := 0
	for i := 0; i < len(src); {
		for open < len(t.Regions) && t.Regions[open].End <= i {
			t.Regions[open].End = len(t.alt)
			open++
		}
		if open < len(t.Regions) && t.Regions[open].Start == i {
			t.Regions[open].Start = len(t.alt)
		}
		if c := src[i]; c < utf8.RuneSelf {
			t.alt = append(t.alt, c)
			t.afrom, t.ato = append(t.afrom, t.from[i]), append(t.ato, t.to[i])
			p.ascii(c)
			i++
			continue
		}
		// Full-width ASCII is frequent and needs no tables.
		if r := fullwidth(src[i:]); r != 0 {
			p.rune(tab, r, i, i+3, limit)
			i += 3
			continue
		}
		j := i
		for j < len(src) && src[j] >= utf8.RuneSelf {
			if src[j] == 0xEF && fullwidth(src[j:]) != 0 {
				break
			}
			if open < len(t.Regions) && j > i && (t.Regions[open].End == j || t.Regions[open].Start == j) {
				break
			}
			j++
		}
		run := src[i:j]
		if norm.NFKC.IsNormal(run) {
			for k := 0; k < len(run); {
				r, n := utf8.DecodeRune(run[k:])
				p.rune(tab, r, i+k, i+k+n, limit)
				k += n
			}
		} else {
			it := &t.iter
			it.Init(norm.NFKC, run)
			var from, to int // a rune that grows comes in pieces, the later ones of no width
			for !it.Done() {
				at := it.Pos()
				seg := it.Next()
				if q := it.Pos(); q > at {
					from, to = at, q
				} else if at == 0 || at != to {
					_, n := utf8.DecodeRune(run[at:])
					from, to = at, at+n
				}
				for len(seg) > 0 {
					r, n := utf8.DecodeRune(seg)
					p.rune(tab, r, i+from, i+to, limit)
					seg = seg[n:]
				}
			}
		}
		i = j
	}
	p.end()
	for ; open < len(t.Regions); open++ {
		t.Regions[open].End = len(t.alt)
	}
	// The regions were moved in place; words found to mix scripts were noted apart.
	t.aregions = mergeRegions(t.Regions, t.aregions)
	t.commit()
}

// fullwidth returns the ASCII character whose full-width form begins s, or 0.
func fullwidth(s []byte) rune {
	if len(s) < 3 || s[0] != 0xEF || s[1] != 0xBC && s[1] != 0xBD {
		return 0
	}
	r := rune(0xF000) | rune(s[1]&0x3F)<<6 | rune(s[2]&0x3F)
	if s[2]&0xC0 != 0x80 || r < 0xFF01 || r > 0xFF5E {
		return 0
	}
	return r - 0xFEE0
}

// pen writes to the other buffer and watches the word it is in.
type pen struct {
	t              *Text
	word           int  // where the word began
	latin, foreign bool // what it holds so far
	after          bool // the word before was Latin
}

func (p *pen) ascii(c byte) {
	if isAlpha(c) {
		p.latin = true
	} else if !isDigit(c) && c != '\'' {
		// the word ends before c
		t := p.t
		n := len(t.alt) - 1
		f, e := t.afrom[n], t.ato[n]
		t.alt, t.afrom, t.ato = t.alt[:n], t.afrom[:n], t.ato[:n]
		p.end()
		t.alt, t.afrom, t.ato = append(t.alt, c), append(t.afrom, f), append(t.ato, e)
		p.word = len(t.alt)
	}
}

func (p *pen) end() {
	if p.foreign {
		p.latin = p.t.unmix(p.word, p.latin, p.after) || p.latin
	}
	if len(p.t.alt) > p.word {
		p.after = p.latin
	}
	p.latin, p.foreign = false, false
}

// rune writes the plain form of r, which stands for Bytes[from:to].
func (p *pen) rune(tab *table, r rune, from, to, limit int) {
	t := p.t
	if len(t.alt) >= limit {
		return
	}
	if hides(r) {
		t.Ways |= Invisible
	}
	start := len(t.alt)
	t.alt = tab.plain(t.alt, r)
	n := len(t.alt)
	if n == start {
		return
	}
	for k := start; k < n; k++ {
		t.afrom, t.ato = append(t.afrom, t.from[from]), append(t.ato, t.to[to-1])
	}
	if r >= 0xE0020 && r <= 0xE007E {
		t.note(start, n, Tags)
	}
	if c := t.alt[start]; c < utf8.RuneSelf {
		if n == start+1 {
			p.ascii(c)
		} else if isAlpha(c) {
			p.latin = true
		} else {
			p.end()
			p.word = n
		}
		return
	}
	q, _ := utf8.DecodeRune(t.alt[start:])
	if _, ok := twin[q]; ok {
		p.foreign = true
	}
}

// unmix turns the look-alike letters of the word alt[word:] into Latin ones. A
// word wholly of another script stays unless every letter is a look-alike and
// the result is a common English word; a short one counts only in Cyrillic and
// after a Latin word, for formulas name things α and β.
func (t *Text) unmix(word int, mixed, after bool) bool {
	b := t.alt
	s := t.scratch[:0]
	for k := word; k < len(b); {
		r, n := utf8.DecodeRune(b[k:])
		after = after && r >= 0x400
		if c, ok := twin[r]; ok {
			s = append(s, c)
		} else if n > 1 && !mixed {
			return false
		} else {
			s = append(s, b[k:k+n]...)
		}
		k += n
	}
	t.scratch = s
	if !mixed && (len(s) < 4 && !after || !Common(s)) {
		return false
	}
	out, si := word, 0
	for k := word; k < len(b); {
		r, n := utf8.DecodeRune(b[k:])
		m := n
		if _, ok := twin[r]; ok {
			m = 1
		}
		f, e := t.afrom[k], t.ato[k+n-1]
		copy(b[out:out+m], s[si:si+m])
		for x := range m {
			t.afrom[out+x], t.ato[out+x] = f, e
		}
		out, si, k = out+m, si+m, k+n
	}
	t.alt, t.afrom, t.ato = b[:out], t.afrom[:out], t.ato[:out]
	t.note(word, out, Lookalike)
	return true
}

// mergeRegions appends to dst the regions of a, which are in order, between
// its own.
func mergeRegions(a, dst []Region) []Region {
	if len(a) == 0 {
		return dst
	}
	dst = append(dst, a...)
	slices.SortStableFunc(dst, func(x, y Region) int { return x.Start - y.Start })
	return dst
}

func isAlpha(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
