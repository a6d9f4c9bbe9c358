package prompt

import (
	"slices"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// A token is a word, a run of one punctuation mark, or one character of a
// script that writes no spaces.
type token struct {
	lexeme
	start uint32 // byte offset in the folded text
	end   uint32
	kind  kind
	flags uint8
}

// A lexeme is what a token's letters say of it, whatever their case.
type lexeme struct {
	hash uint32 // of the lower-case word
	stem uint32 // of its longest lexicon stem, or 0
	pre  uint32 // place of the feature of a long word's beginning, see prefixed, or 0
	// the nodes of the lexicon that entries reach which begin with it, or with its stem, or 0
	root, stemRoot uint16
}

type kind uint8

const (
	wordTok kind = iota
	charTok      // Han, kana, Thai and their like
	numberTok
	punctTok
	linkTok // a URL, or an e-mail address
	blobTok // a word too long to be one
)

const (
	capsFlag   uint8 = 1 << iota // all capitals, three letters or more
	titleFlag                    // first letter is a capital
	digitFlag                    // letters and digits mixed
	quoteFlag                    // inside quotation marks
	hiddenFlag                   // came out of an encoding
	opensFlag                    // a clause may begin behind it
)

// A segment is what lies between two sentence ends.
type segment struct {
	first, last uint32 // tokens [first,last)
	mark        byte   // the mark that ended it
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
	// hardSplit is the length, in tokens, at which a sentence without an end is
	// cut; shortSegment the length below which a sentence joins the next one.
	hardSplit    = 48
	shortSegment = 3
	// longWord is where a word becomes a blob, in bytes.
	longWord = 40
	// mixedWord is where letters and digits in one word are an identifier, a key
	// or noise: its letters must not count as a word's.
	mixedWord = 14
)

func fold32(h uint64) uint32 {
	x := uint32(h>>32) ^ uint32(h)
	if x == 0 {
		x = 1
	}
	return x
}

// Hashes that stand for classes of tokens.
const (
	hashLink  = 0x11
	hashMail  = 0x12
	hashBlob  = 0x13
	hashNum   = 0x20 // plus the number of digits, at most 15
	hashPunct = 0x100
)

// class sorts bytes: 0 space, 1 word, 2 punctuation, 3 newline, 4 high.
var class = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c >= utf8.RuneSelf:
			t[i] = 4
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			t[i] = 1
		case c == '\n':
			t[i] = 3
		case c > ' ' && c != 0x7f:
			t[i] = 2
		}
	}
	return t
}()

// What a word holds.
const (
	isDigit uint8 = 1 << iota
	isLetter
	isLower
	isUpper
)

// letters tells of each byte that words are made of its lower case, in the low
// byte, and what it adds to a word, in the high one; 0 ends a word.
var letters = func() (t [256]uint16) {
	for i := range t {
		switch c := byte(i); {
		case c >= '0' && c <= '9':
			t[i] = uint16(c) | uint16(isDigit)<<8
		case c >= 'a' && c <= 'z':
			t[i] = uint16(c) | uint16(isLetter|isLower)<<8
		case c >= 'A' && c <= 'Z':
			t[i] = uint16(c|0x20) | uint16(isLetter|isUpper)<<8
		case c == '_':
			t[i] = uint16(c) | uint16(isLetter)<<8
		}
	}
	return t
}()

// spaceless tells scripts whose writers put no spaces between words.
func spaceless(r rune) bool {
	return r >= 0x0E00 && r <= 0x0EFF || r >= 0x1000 && r <= 0x109F || r >= 0x1780 && r <= 0x17FF ||
		r >= 0x3005 && r <= 0x30FF && r != 0x3001 || r >= 0x3400 && r <= 0x9FFF || r >= 0xF900 && r <= 0xFAFF || r >= 0x20000 && r <= 0x3FFFF
}

// wordish tells letters and marks from foreign signs and emoji.
func wordish(r rune) bool {
	return r < 0x2000 && r != 0xD7 && r != 0xF7 && r >= 0xAA || r >= 0x2C00 && r < 0x2E00 || r >= 0xA000 && r < 0xD800 || r >= 0xFB00 && r < 0xFE00 || r >= 0xFE70 && r < 0xFF00 || r >= 0x10000 && r < 0x1D000
}

// tokenize fills s.toks and s.segs from the folded text b.
func (s *scan) tokenize(b []byte, runs []fold.Run) {
	toks, segs := s.toks[:0], s.segs[:0]
	segStart, k := 0, 0 // k counts runs
	quoted := uint8(0)
	for i := 0; i < len(b); {
		mark := byte(0) // that ends the segment
		if len(toks) == cap(toks) {
			toks = slices.Grow(toks, len(toks)+64)
		}
		if len(toks)-segStart >= hardSplit {
			segs = append(segs, segment{uint32(segStart), uint32(len(toks)), ' '})
			segStart = len(toks)
		}
		c := b[i]
		switch class[c] {
		case 0:
			i++
			continue
		case 3:
			i++
			quoted = 0
			mark = '\n'
		case 2:
			start := i
			for i++; i < len(b) && b[i] == c; i++ {
			}
			h := hashPunct + uint32(c)
			if i-start > 2 {
				h += 256
			}
			if c == '"' {
				quoted ^= quoteFlag
			}
			m := &s.lex.marks[h%512]
			toks = toks[:len(toks)+1]
			t := &toks[len(toks)-1]
			t.hash, t.stem, t.start, t.end, t.pre = h, 0, uint32(start), uint32(i), 0
			t.root, t.stemRoot, t.kind, t.flags = m.root, 0, punctTok, quoted|m.flags
			if ends[c] && s.ends(b, i, c, toks) {
				mark = c
			}
		default:
			toks = toks[:len(toks)+1]
			t := &toks[len(toks)-1]
			if k < len(runs) && int(runs[k].Start) == i && runs[k].End-runs[k].Start <= recallLongest {
				r := runs[k]
				behind := wordEnd[b[:cap(b)][r.End]]
				if behind != goesOn {
					x := r.Spell(b)
					w := &s.recall[recallAt(&x)]
					if w.low != x.Low || w.high != x.High {
						s.learn(w, &x)
					}
					t.lexeme, t.start, t.end, t.kind, t.flags = w.lexeme, r.Start, r.End, wordTok, quoted
					if x.Capital() {
						t.flags |= capitals(&x)
					}
					i = int(r.End)
					k++
					if behind == blank && i+1 < len(b) { // else the sentence may end here
						i++
						continue
					}
					if behind != linked {
						continue
					}
					if i = s.lex.link(t, b, i); i == int(r.End) {
						continue
					}
				} else {
					i = s.lex.word(t, b, i, quoted)
				}
			} else {
				i = s.lex.word(t, b, i, quoted)
			}
			for k < len(runs) && int(runs[k].Start) < i {
				k++
			}
			continue
		}
		if mark != 0 && len(toks)-segStart >= shortSegment {
			segs = append(segs, segment{uint32(segStart), uint32(len(toks)), mark})
			segStart = len(toks)
		}
	}
	if segStart < len(toks) {
		if m := len(segs); m > 0 && len(toks)-segStart < shortSegment {
			segs[m-1].last = uint32(len(toks))
		} else {
			// The end of a text is the end of a line: what follows must not count.
			segs = append(segs, segment{uint32(segStart), uint32(len(toks)), '\n'})
		}
	}
	s.toks, s.segs = toks, segs
}

// ends are the marks that may end a sentence.
var ends = [256]bool{'!': true, '?': true, ';': true, ':': true, '.': true}

// ends tells whether the mark c before b[i] ends a sentence.
func (*scan) ends(b []byte, i int, c byte, toks []token) bool {
	switch c {
	case ':':
		// a salutation, not a key of JSON
		n := len(toks)
		return (i >= len(b) || class[b[i]] == 0) && n > 1 && toks[n-2].kind == wordTok
	case '.':
		return i >= len(b) || class[b[i]] != 1
	}
	return true
}

// word fills t with the word, number, link or foreign sign at b[start:] and
// returns its end.
func (lex *lexicon) word(t *token, b []byte, start int, flags uint8) int {
	h := uint64(fnvOffset)
	var stem uint32
	points := 0
	var has uint8
	k := wordTok
	i := start
word:
	for i < len(b) {
		if e := letters[b[i]]; e != 0 { // ordinary letters
			has |= uint8(e >> 8)
			h = (h ^ uint64(uint8(e))) * fnvPrime
			i++
			if points++; points >= 3 && lex.stemBit(h) {
				if x := fold32(h); lex.isStem(x) {
					stem = x
				}
			}
			continue
		}
		c := b[i]
		if c < utf8.RuneSelf {
			// an apostrophe inside a word counts for nothing
			if c == '\'' && i > start && i+1 < len(b) && (class[b[i+1]] == 1 || class[b[i+1]] == 4) && has&isLetter != 0 {
				i++
				continue
			}
			break word
		}
		r, w := utf8.DecodeRune(b[i:])
		if spaceless(r) {
			if i > start {
				break word
			}
			k = charTok
		} else if !wordish(r) {
			if i > start {
				break word
			}
			k = punctTok
		} else {
			has |= isLetter | isLower
		}
		for _, c := range b[i : i+w] {
			h = (h ^ uint64(c)) * fnvPrime
		}
		i += w
		if k != wordTok {
			break word
		}
		if points++; points >= 2 && lex.stemBit(h) {
			if x := fold32(h); lex.isStem(x) {
				stem = x
			}
		}
	}
	hash := fold32(h)
	switch {
	case k != wordTok:
	case has&isLetter == 0:
		k, hash, stem = numberTok, hashNum+uint32(min(i-start, 15)), 0
	case i-start > longWord, has&isDigit != 0 && i-start >= mixedWord:
		k, hash, stem = blobTok, hashBlob, 0
	default:
		if has&isDigit != 0 {
			flags |= digitFlag
		}
		if has&(isUpper|isLower) == isUpper && i-start >= 3 {
			flags |= capsFlag
		} else if has&isUpper != 0 && b[start] < 'a' {
			flags |= titleFlag
		}
	}
	pre := uint32(0)
	if k == wordTok && i-start > 5 {
		pre = prefixed(prefix(b[start:i]))
	}
	// Field by field: a copy of the whole would wait for each of them.
	t.hash, t.stem, t.start, t.end, t.pre, t.kind, t.flags = hash, stem, uint32(start), uint32(i), pre, k, flags
	if t.root, t.stemRoot = lex.root(hash), 0; stem != 0 {
		t.stemRoot = lex.root(stem ^ stemMark)
	}
	if k == wordTok && i < len(b) && (b[i] == ':' || b[i] == '@' || b[i] == '.') {
		return lex.link(t, b, i)
	}
	return i
}

// link makes of the word t, which ends at i, the URL or e-mail address that it
// begins, if it does, and returns where that ends.
func (lex *lexicon) link(t *token, b []byte, i int) int {
	e, mail := link(b, int(t.start), i)
	if e == 0 {
		return i
	}
	t.hash, t.stem, t.end, t.pre, t.kind = hashLink, 0, uint32(e), 0, linkTok
	if mail {
		t.hash = hashMail
	}
	t.root, t.stemRoot = lex.root(t.hash), 0
	return e
}

// link recognises a URL or an e-mail address whose first word is b[start:i]
// and returns its end, or 0.
func link(b []byte, start, i int) (end int, mail bool) {
	stop := min(len(b), i+300)
	switch {
	case b[i] == ':' && i+2 < len(b) && b[i+1] == '/' && b[i+2] == '/':
	case b[i] == '.' && i-start == 3 && b[start]|0x20 == 'w' && b[start+1]|0x20 == 'w' && i+1 < len(b) && class[b[i+1]] == 1:
	default:
		// word(.word)*@word(.word)+
		j := i
		for j < stop && j-i < 64 && (class[b[j]] == 1 || b[j] == '.' || b[j] == '-' || b[j] == '+') {
			j++
		}
		if j >= stop || b[j] != '@' {
			return 0, false
		}
		k, dot := j+1, 0
		for k < stop && (class[b[k]] == 1 || b[k] == '-' || b[k] == '.' && k+1 < len(b) && class[b[k+1]] == 1) {
			if b[k] == '.' {
				dot++
			}
			k++
		}
		if dot == 0 || k == j+1 {
			return 0, false
		}
		return k, true
	}
	j := i
	for j < stop && b[j] > ' ' && b[j] != '"' && b[j] != '\'' && b[j] != '>' && b[j] != ')' && b[j] != '<' && b[j] != ']' && b[j] < utf8.RuneSelf {
		j++
	}
	for j > i && (b[j-1] == '.' || b[j-1] == ',' || b[j-1] == '!' || b[j-1] == '?' || b[j-1] == ';') {
		j--
	}
	return j, false
}
