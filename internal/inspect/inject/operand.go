package inject

// operandType says what stands on one side of a comparison.
type operandType uint8

const (
	oNone operandType = iota
	oNum
	oString
	oOpen // a string that the text does not close
	oLit  // null, true, false
	oIdent
	oCall  // f(...), f unknown
	oFunc  // f(...), f known from blind injection
	oQuery // (select ...)
	oVar
)

func (o operandType) literal() bool { return o == oNum || o == oString || o == oOpen || o == oLit }
func (o operandType) active() bool  { return o == oFunc || o == oQuery || o == oVar }

// at gives token i; kind tEnd outside the window.
func (s *scan) at(i int) *token {
	if uint(i) >= uint(s.n) {
		return &endToken
	}
	return &s.toks[i]
}

var endToken = token{}

// stringMax is how many tokens a literal may hold to be seen as one.
const stringMax = 14

// read is an operand that was read: where it ends and its type, true while gen
// is the scan's, which changes with the tokens.
type read struct {
	gen uint32
	end uint16
	typ operandType
}

// operand reads the operand that begins at token i: where it ends, and its type.
// In a row of quotes and signs each quote asks for the operands behind all of the
// next ones, and so do they; hence each is read once.
func (s *scan) operand(i int) (int, operandType) {
	if uint(i) >= uint(s.n) {
		return i, oNone
	}
	m := &s.whole[i]
	if m.gen == s.gen {
		return int(m.end), m.typ
	}
	end, typ := s.readOperand(i)
	*m = read{s.gen, uint16(end), typ}
	return end, typ
}

func (s *scan) readOperand(i int) (int, operandType) {
	i, typ := s.operandOne(i)
	for range 8 { // a sum, a concatenation
		t := s.at(i)
		if typ == oNone || t.kind != tOp && !(t.kind == tLogic && t.ch == '|' && typ != oLit) {
			break
		}
		end, next := s.operandOne(i + 1)
		if next == oNone {
			break
		}
		i = end
		if !next.literal() && typ.literal() {
			typ = next
		}
	}
	for s.at(i).kind == tRP {
		i++
	}
	return i, typ
}

// operandOne reads an operand without the sums and concatenations it is part of.
func (s *scan) operandOne(i int) (int, operandType) {
	if uint(i) >= uint(s.n) {
		return i, oNone
	}
	m := &s.single[i]
	if m.gen == s.gen {
		return int(m.end), m.typ
	}
	end, typ := s.readOne(i)
	*m = read{s.gen, uint16(end), typ}
	return end, typ
}

func (s *scan) readOne(i int) (int, operandType) {
	for range 8 {
		t := s.at(i)
		if t.kind != tLP && t.kind != tOp && t.id != kNot && t.id != kBinary && t.id != kAll {
			break
		}
		i++
	}
	t := s.at(i)
	switch t.kind {
	case tNum:
		return i + 1, oNum
	case tVar:
		return i + 1, oVar
	case tQuote:
		return s.stringFrom(i)
	case tKey:
		switch {
		case t.class&cLit != 0:
			return i + 1, oLit
		case t.id == kSelect || t.id == kExists:
			return s.skipGroup(i), oQuery
		case t.id == kCase:
			return s.skipGroup(i), oFunc
		case t.class&(cFunc|cDanger) != 0 && t.id != kMath && s.at(i+1).kind == tLP:
			return s.skipCall(i + 1), oFunc
		case t.class&(cLogic|cCmp) != 0 || t.id == kUnion || t.id == kOrder || t.id == kHaving:
			return i, oNone
		}
		return s.path(i)
	case tWord:
		if s.at(i+1).kind == tQuote && t.end-t.start == 1 && s.at(i+1).flag&fSpace == 0 { // n'x', x'41'
			return s.stringFrom(i + 1)
		}
		return s.path(i)
	}
	return i, oNone
}

// path reads a.b.c and a.b(...).
func (s *scan) path(i int) (int, operandType) {
	for range 6 {
		if s.at(i+1).kind != tDot {
			break
		}
		if k := s.at(i + 2).kind; k != tWord && k != tKey {
			break
		}
		i += 2
	}
	if s.at(i+1).kind == tLP {
		return s.skipCall(i + 1), oCall
	}
	return i + 1, oIdent
}

func (s *scan) stringFrom(i int) (int, operandType) {
	q := s.at(i).ch
	for j := i + 1; j <= i+stringMax; j++ {
		s.work++
		t := s.at(j)
		if t.kind == tEnd {
			return j, oOpen
		}
		if t.kind == tQuote && t.ch == q {
			return j + 1, oString
		}
	}
	return i, oNone
}

// Groups are passed only if they close within so many tokens.
const (
	callMax  = 40
	groupMax = 48
)

// skipCall passes the parenthesis at i and its partner, if near.
func (s *scan) skipCall(i int) int { return s.skip(i, i+1, callMax) }

// skipGroup passes everything up to the parenthesis that closes the group
// around i.
func (s *scan) skipGroup(i int) int { return s.skip(i, i, groupMax) }

// skip passes the parenthesis that closes the group around token in, if it is
// one of the n tokens from i; i is in these tokens.
func (s *scan) skip(i, in, n int) int {
	if s.passed < s.n {
		depth := 1
		for j := in; j < min(i+n, s.n); j++ {
			s.work++
			s.passed++
			switch s.toks[j].kind {
			case tLP:
				depth++
			case tRP:
				if depth--; depth == 0 {
					return j + 1
				}
			}
		}
	} else {
		if s.closesGen != s.gen {
			s.pair()
		}
		if j := int(s.closes[in]); j < min(i+n, s.n) {
			return j + 1
		}
	}
	return min(i+n, s.n)
}

// pair finds for every token which parenthesis closes the group around it; s.n
// stands for none. In a row of calls each would look for its own anew; in prose,
// where few ask, looking is cheaper, so this waits until as many tokens as there
// are were passed.
func (s *scan) pair() {
	s.closesGen = s.gen
	s.work += s.n
	none := uint16(s.n)
	s.closes[s.n] = none
	for i := s.n - 1; i >= 0; i-- {
		at := s.closes[i+1]
		switch s.toks[i].kind {
		case tRP:
			at = uint16(i)
		case tLP:
			if at != none {
				at = s.closes[at+1]
			}
		}
		s.closes[i] = at
	}
}

// isCmp says whether a comparison stands at i, and where its right side begins.
func (s *scan) isCmp(i int) (int, bool) {
	t := s.at(i)
	if t.kind == tCmp {
		for t = s.at(i + 1); t.kind == tCmp; t = s.at(i + 1) {
			i++
		}
		return i + 1, true
	}
	if t.id == kNot || t.id == kBinary {
		i++
		t = s.at(i)
	}
	if t.id == kStarts && s.at(i+1).id == kWith {
		return i + 2, true
	}
	if t.class&cCmp != 0 || t.id == kCollate {
		if n := s.at(i + 1); n.id == kNot || n.id == kBinary || n.id == kLike {
			i++
		}
		return i + 1, true
	}
	if t.kind == tOp && t.ch == '~' {
		return i + 1, true
	}
	return i, false
}

// place is what stands before a token.
type place uint8

const (
	pStart place = iota
	pBreak       // a quote that may close a literal of the application's
	pPair        // a quote that closes one of the text's own
	pFirst       // a number at the very beginning
	pNum
	pParen
	pComment
	pWord
	pOther
)

// before says what stands before token i, and where (the index of the token).
func (s *scan) before(i int) (place, int) {
	j := i - 1
	paren := false
	for j >= 0 && i-j < lookBehind && (s.toks[j].kind == tRP || s.toks[j].kind == tRC || s.toks[j].kind == tSemi && j > 0 && s.toks[j-1].kind == tQuote) {
		paren = paren || s.toks[j].kind != tSemi
		j--
	}
	if j < 0 {
		if paren {
			return pParen, 0
		}
		if s.base == 0 {
			return pStart, 0
		}
		return pOther, 0
	}
	t := &s.toks[j]
	switch t.kind {
	case tQuote:
		switch {
		case t.flag&fIntra != 0 && s.toks[i].flag&fSpace != 0:
			return pWord, j
		case t.flag&(fOdd|fIntra) != 0:
			return pBreak, j
		}
		return pPair, j
	case tNum:
		if s.base == 0 && s.firstAt(j) {
			return pFirst, j
		}
		if paren {
			return pParen, j
		}
		return pNum, j
	case tComment:
		return pComment, j
	case tWord, tKey:
		if paren {
			return pParen, j
		}
		return pWord, j
	}
	if paren {
		return pParen, j
	}
	return pOther, j
}

// firstAt says whether nothing but signs and parentheses stand before token j,
// or a name and "=" as in a query string.
func (s *scan) firstAt(j int) bool {
	for k := j - 1; k >= 0; k-- {
		t := &s.toks[k]
		if t.kind == tOp && t.ch == '-' || t.kind == tLP {
			continue
		}
		return t.kind == tCmp && t.ch == '=' && k == 1 && s.toks[0].kind == tWord
	}
	return true
}

// ends says whether the text is over at token i, or ends in a comment there
// that an attacker uses to swallow the rest of the statement.
func (s *scan) ends(i int) bool {
	for s.at(i).kind == tRP || s.at(i).kind == tSemi {
		i++
	}
	return s.at(i).kind == tEnd || s.swallows(i)
}

// swallows says whether a comment begins at token i with next to nothing after
// it.
func (s *scan) swallows(i int) bool {
	for s.at(i).kind == tSemi || s.at(i).kind == tRP || s.at(i).kind == tRC {
		i++
	}
	t := s.at(i)
	if t.kind != tComment {
		return false
	}
	rest := s.lex.text[t.end:]
	n := 0
	for k := 0; k < len(rest) && k < 24; k++ {
		switch c := rest[k]; {
		case c <= ' ' || c == '-' || c == '+' || c == '#' || c == '/' || c == '*' || c == '.':
		default:
			n++
		}
	}
	return len(rest) < 24 && (oneWord(rest) || n <= 1 || t.ch == '/' && n == 0 || rest[0] > ' ' && n <= 6 && t.ch == '-' || n <= 4 && rest[0] <= ' ' && isJunk(rest))
}

// oneWord says whether nothing but a short word follows a comment sign, as the
// marks of tools do.
func oneWord(rest string) bool {
	k := 0
	for k < len(rest) && rest[k] == ' ' {
		k++
	}
	if k == 0 || len(rest)-k > 14 {
		return false
	}
	for ; k < len(rest); k++ {
		if !isLetter(rest[k]) && rest[k]-'0' >= 10 {
			return false
		}
	}
	return true
}

// isJunk says whether what follows a comment sign is a lone quote or a mark
// such as scanners leave.
func isJunk(rest string) bool {
	for i := range len(rest) {
		if isLetter(rest[i]) && i+2 < len(rest) && isLetter(rest[i+1]) && isLetter(rest[i+2]) {
			return false
		}
	}
	return true
}
