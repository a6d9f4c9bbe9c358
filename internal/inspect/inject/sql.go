package inject

// sqlScan runs the tokenizer and the rules over one view. Time is linear: each
// token is an anchor at most once and a rule reads at most lookAhead tokens.
func (s *scan) sqlScan(v *view, plusSpace bool) {
	s.view = v
	s.lex.reset(v.text, plusSpace)
	s.n, s.base = 0, 0
	s.work += len(v.text)
	from := 0
	for {
		over := false
		for s.n < window {
			t := &s.toks[s.n]
			s.lex.next(t)
			if t.kind == tEnd {
				over = true
				break
			}
			s.n++
		}
		to := s.n
		s.semiTo, s.passed = 0, 0
		if s.gen++; s.gen == 0 { // what four billion windows ago was read is not true
			s.whole, s.single = [window]read{}, [window]read{}
			s.gen = 1
		}
		if !over {
			to -= lookAhead
		}
		s.work += s.n
		// Which tokens are anchors no processor foresees: they are listed without
		// asking, and then visited.
		n, i := 0, from
		if s.base == 0 {
			if s.n > 0 && s.toks[0].kind == tCmp {
				s.leadingCmp()
			}
			for ; i < min(to, firstNumbers); i++ {
				s.anchors[n] = uint16(i)
				n += int(anchorKinds >> s.toks[i].kind & 1)
			}
		}
		for k := range s.toks[i:max(i, to)] {
			t := &s.toks[i+k]
			s.anchors[n] = uint16(i + k)
			n += (int((t.flag|fAlways)&anchorFlags[t.kind&31]) + 0xff) >> 8
		}
		for _, i := range s.anchors[:n] {
			s.anchor(int(i))
		}
		if over || s.settled(rNone+1, rTag) {
			return
		}
		keep := to - lookBehind
		copy(s.toks[:], s.toks[keep:s.n])
		s.n -= keep
		s.base += keep
		from = lookBehind
	}
}

// anchorKinds are the tokens at which a rule may begin.
const anchorKinds = 1<<tKey | 1<<tLogic | 1<<tQuote | 1<<tNum | 1<<tSemi | 1<<tVar | 1<<tDollar | 1<<tLC

// firstNumbers is among how many tokens a number may be the first of a text.
const firstNumbers = 8

// anchorFlags are the flags of which an anchor has one, past the first tokens.
var anchorFlags = func() (t [32]flag) {
	for k := range t {
		if anchorKinds>>k&1 != 0 {
			t[k] = fAlways
		}
	}
	t[tQuote], t[tNum] = fOdd|fIntra, fInline
	return t
}()

// anchor runs the rules that begin at token i.
func (s *scan) anchor(i int) {
	t := &s.toks[i]
	switch t.kind {
	case tKey:
		s.keyword(i, t)
	case tLogic:
		s.logic(i)
	case tQuote:
		if t.flag&fOdd != 0 || t.flag&fIntra != 0 && s.at(i+1).kind == tKey {
			s.breakout(i)
		}
	case tNum:
		if s.base == 0 && i < firstNumbers && s.firstAt(i) {
			s.number(i)
		}
		if t.flag&fInline != 0 && i > 0 && s.toks[i-1].kind == tKey {
			s.hit(rObfuscated, 0.4, i-1, i)
		}
	case tSemi:
		s.stacked(i)
	case tVar:
		s.variable(i)
	case tDollar:
		s.mongo(i)
	case tLC:
		s.mongoBrace(i)
	}
}

func (s *scan) keyword(i int, t *token) {
	if t.flag&fInline != 0 {
		s.inline(i)
	}
	switch t.id {
	case kOr, kAnd, kXor:
		s.logic(i)
	case kUnion:
		s.union(i)
	case kSelect:
		s.selectAt(i)
	case kOrder, kGroup:
		s.orderBy(i)
	case kHaving:
		s.having(i)
	case kSleep, kPgSleep, kBenchmark, kWaitfor:
		s.time(i)
	case kDangerFunc, kPkg:
		s.danger(i)
	case kXp, kExec:
		s.exec(i)
	case kInto:
		s.into(i)
	case kSys:
		s.catalogue(i)
	case kCase, kIf:
		s.conditional(i)
	case kChar, kConcat:
		s.charCode(i)
	case kProcedure:
		if s.at(i+1).id == kAnalyse && s.at(i+2).kind == tLP {
			s.hit(rDangerFunc, 0.92, i, i+1)
		}
	case kDrop, kDelete, kInsert, kUpdate, kTruncate, kShutdown, kAlter, kCreate, kGrant, kDeclare, kCopy:
		if p, _ := s.before(i); p != pWord && p != pNum || s.base == 0 && i == 0 {
			s.statement(i, p)
		}
	case kExists:
		if s.at(i+1).kind == tLP && s.at(i+2).id == kSelect {
			s.hit(rSubselect, 0.7, i, i+2)
		}
	case kFunc:
		s.blindFunc(i)
	case kMatch, kMerge:
		s.match(i)
	case kDetach:
		if n := s.at(i + 1); n.id == kDelete && s.at(i+2).kind == tWord && (s.ends(i+3) || s.at(i+3).kind == tComma || t.flag&fUpper != 0) {
			s.hit(rCypherClause, 0.9, i, i+2)
		}
	case kCall:
		s.call(i)
	case kLoad:
		s.loadCSV(i)
	case kReturn, kThis, kVar, kWhile:
		s.mongoJS(i)
	}
}

// inline judges a comment that stands for a space between two words of SQL.
func (s *scan) inline(i int) {
	if i == 0 {
		return
	}
	switch p := &s.toks[i-1]; p.kind {
	case tKey, tNum, tQuote, tRP:
		s.hit(rObfuscated, 0.55, i-1, i)
	case tWord:
		s.hit(rObfuscated, 0.3, i-1, i)
	}
}

// logic judges OR, AND, XOR, || and && at token i by what stands before and
// what is claimed after.
func (s *scan) logic(i int) {
	t := &s.toks[i]
	where, j := s.before(i)
	end, left := s.operand(i + 1)
	if left == oNone {
		return
	}
	next, compares := s.isCmp(end)
	if !compares {
		s.bareClaim(i, where, j, end, left)
		return
	}
	symbol := s.at(end).kind == tCmp
	last, right := s.operand(next)
	if right == oNone {
		right, last = oIdent, next
	}
	closes := s.swallows(last)
	score, r := 0.0, rBoolean
	switch {
	case left.literal() && right.literal():
		r = rTautology
		score = s.tautology(where, j, symbol, closes)
	case left.active() || right.active():
		score = [...]float64{pBreak: 0.95, pFirst: 0.93, pParen: 0.8, pStart: 0.85, pComment: 0.9, pNum: 0.75, pPair: 0.7, pWord: 0.6, pOther: 0.3}[where]
	case left.literal() || right.literal():
		score = [...]float64{pBreak: 0.92, pFirst: 0.5, pParen: 0.3, pStart: 0.4, pComment: 0.5, pNum: 0.1, pPair: 0.15, pWord: 0.05, pOther: 0.05}[where]
		if !symbol && where == pBreak && right != oString && right != oOpen && right != oLit {
			score = 0.45
		}
		if (right == oString || right == oOpen) && where == pFirst {
			score = 0.8
		}
	default:
		score = [...]float64{pBreak: 0.7, pFirst: 0.4, pParen: 0.2, pStart: 0.2, pComment: 0.2, pNum: 0.05, pPair: 0.05, pWord: 0.05, pOther: 0.05}[where]
		if !symbol && where == pBreak {
			score = 0.3
		}
		if symbol && where != pBreak && s.same(i+1, end, next, last) {
			score = 0.7
		}
	}
	if closes {
		score = max(score, [...]float64{pBreak: 0.97, pFirst: 0.9, pParen: 0.85, pStart: 0.7, pComment: 0.8, pNum: 0.6, pPair: 0.75, pWord: 0.55, pOther: 0.4}[where])
	}
	if t.kind == tLogic && where != pBreak && where != pFirst && where != pStart && where != pParen {
		score *= 0.8 // programs speak like this too
	}
	s.hit(r, score, max(j, 0), last-1)
}

// tautology weighs a comparison of two literals, which no honest value needs.
func (s *scan) tautology(where place, j int, symbol, closes bool) float64 {
	switch where {
	case pBreak:
		return 0.97
	case pFirst:
		if symbol {
			return 0.95
		}
		return 0.85
	case pParen, pStart, pComment:
		return 0.9
	case pNum:
		if j > 0 && s.toks[j-1].kind == tCmp && !closes { // 1+1=2 and 2+2=4
			if k := j - 2; k < 0 || s.toks[k].kind != tWord {
				return 0.3
			}
		}
		if symbol {
			return 0.7
		}
		return 0.3
	case pPair, pWord:
		if symbol {
			return 0.72
		}
		return 0.35
	}
	return 0.55
}

// bareClaim judges a logical operator whose right side is no comparison.
func (s *scan) bareClaim(i int, where place, j, end int, left operandType) {
	if p, n := s.at(i-1), s.at(i+1); p.kind == tQuote && n.kind == tQuote && p.end == s.toks[i].start && s.toks[i].end == n.start {
		return // a quoted "or"
	}
	over, closes := s.ends(end), s.swallows(end)
	n := s.at(end)
	score := 0.0
	switch {
	case where == pBreak && left.literal():
		switch {
		case left == oOpen && s.at(end-1).kind == tQuote:
			return // a quoted "or"
		case left == oOpen && s.at(i+2).kind == tWord && s.at(i+2).end-s.at(i+2).start > 3 && s.toks[i].id == kAnd:
			score = 0.45 // one half of two quoted titles
		case left == oNum && n.kind == tQuote && s.unit(j) && s.unit(end):
			return // 12" or 14"
		case over || n.kind == tQuote || n.kind == tLogic || n.kind == tComment || n.class&cLogic != 0 || n.id == kUnion:
			score = 0.85
		default:
			score = 0.2
		}
	case left.active():
		score = [...]float64{pBreak: 0.9, pFirst: 0.85, pParen: 0.45, pStart: 0.75, pComment: 0.8, pNum: 0.6, pPair: 0.6, pWord: 0.5, pOther: 0.3}[where]
	case where == pFirst && left == oLit && over:
		score = 0.6
	case where == pFirst && left == oNum && over && end == i+2 && j >= 0 && s.word(j) == s.word(i+1) && s.toks[i].class&cLogic != 0 && j == i-1:
		score = 0.6 // 1 or 1: nobody offers the same twice
	case where == pFirst && left == oNum && over && s.at(i-1).kind == tRP && s.at(i+1).kind == tLP && s.at(i+1).start == s.toks[i].end:
		score = 0.7 // (1)or(1)
	case where == pBreak && left == oCall:
		score = 0.8
	case where == pBreak:
		score = 0.1
	case left == oCall:
		score = 0.1
	}
	if closes {
		score = max(score, [...]float64{pBreak: 0.9, pFirst: 0.85, pParen: 0.8, pStart: 0.5, pComment: 0.6, pNum: 0.3, pPair: 0.5, pWord: 0.3, pOther: 0.2}[where])
		if left.literal() && where == pWord {
			score = max(score, 0.6)
		}
	}
	s.hit(rBoolean, score, max(j, 0), end-1)
}

// same says whether two operands are the same single word: a=a.
func (s *scan) same(a, aEnd, b, bEnd int) bool {
	if aEnd-a != 1 || bEnd-b != 1 {
		return false
	}
	x, y := s.at(a), s.at(b)
	return s.lex.text[x.start:x.end] == s.lex.text[y.start:y.end]
}

// unit says whether the quote at j is a mark of inches, feet or minutes.
func (s *scan) unit(j int) bool {
	return j > 0 && s.at(j).flag&fSpace == 0 && s.at(j-1).kind == tNum
}
