package inject

// mask is the set of byte classes that occur in a text.
type mask uint32

const (
	mSpace mask = 1 << iota
	mLetter
	mDigit
	mQuote
	mLess
	mPercent
	mAmp
	mBackslash
	mWide // may begin a character that folds to ASCII
	mNul
	mParen
	mEquals
	mSemi
	mColon
	mDollar
	mBrace
	mBracket
	mHash
	mDash
	mSlash
	mStar
	mPipe
	mAt
	mTick
	mPlus
	mComma
	mUnder
	mGreater
	mDot
	mOther
)

const (
	// maskCoded: something may be encoded.
	maskCoded = mPercent | mAmp | mBackslash | mWide | mNul
	// maskSQL: what an injection cannot do without. Letters, spaces, full stops
	// and hyphens alone say nothing to a database that prose does not say.
	maskSQL = mDigit | mQuote | mLess | mParen | mEquals | mSemi | mDollar | mBrace | mBracket | mHash | mStar | mPipe | mAt | mComma | mUnder | mGreater
	// maskXSS: the anchors of script.
	maskXSS = mLess | mParen | mEquals | mColon | mBrace | mBracket | mTick | mPlus
)

var maskOf = func() (t [256]mask) {
	for c := range t {
		switch {
		case c == 0:
			t[c] = mNul
		case c <= ' ':
			t[c] = mSpace
		case c >= '0' && c <= '9':
			t[c] = mDigit
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			t[c] = mLetter
		}
	}
	for c, m := range map[byte]mask{
		'\'': mQuote, '"': mQuote, '`': mTick | mQuote, '<': mLess, '>': mGreater, '%': mPercent, '&': mAmp, '\\': mBackslash,
		'(': mParen, ')': mOther, '=': mEquals, ';': mSemi, ':': mColon, '$': mDollar, '{': mBrace, '}': mOther,
		'[': mBracket, ']': mOther, '#': mHash, '-': mDash, '/': mSlash, '*': mStar, '|': mPipe, '@': mAt, '+': mPlus,
		',': mComma, '_': mUnder, '.': mDot,
		// lead bytes of overlong forms, of U+00A0, U+017F, U+02B9…, U+16xx, U+2xxx, U+3000, U+Fxxx
		0xc0: mWide, 0xc1: mWide, 0xc2: mWide, 0xc5: mWide, 0xca: mWide, 0xe0: mWide, 0xe1: mWide, 0xe2: mWide, 0xe3: mWide, 0xef: mWide,
	} {
		t[c] = m
	}
	return t
}()

// classify is the one pass that every text pays for.
func classify(s string) mask {
	var a, b mask
	i := 0
	for ; i+8 <= len(s); i += 8 {
		t := s[i : i+8]
		a |= maskOf[t[0]] | maskOf[t[1]] | maskOf[t[2]] | maskOf[t[3]]
		b |= maskOf[t[4]] | maskOf[t[5]] | maskOf[t[6]] | maskOf[t[7]]
	}
	for ; i < len(s); i++ {
		a |= maskOf[s[i]]
	}
	return a | b
}
