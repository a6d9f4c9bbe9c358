package fold

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

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

// unmix turns the look-alike letters of the word alt[word:] into Latin ones. A
// word wholly of another script stays unless every letter is a look-alike and
// the result is a common English word; a short one counts only in Cyrillic and
// after a Latin word, for formulas name things α and β.
func (t *Text) unmix(word int, mixed, after bool) bool {
	b := t.alt
	t.work += len(b) - word
	s := t.scratch[:0]
	for k := word; k < len(b); {
		r, n := utf8.DecodeRune(b[k:])
		after = after && r >= 0x400
		if c := twinOf(r); c != 0 {
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
		if twinOf(r) != 0 {
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

// twinEnd is past the last letter of twin.
const twinEnd = 0x600

// twins is twin as a table.
var twins = func() (t [twinEnd]byte) {
	for r, c := range twin {
		t[r] = c
	}
	return t
}()

func twinOf(r rune) byte {
	if r < twinEnd {
		return twins[r]
	}
	return 0
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
