package inject

// union judges UNION … SELECT at token i. "The union select committee" is prose;
// a list, a number, null or a star after SELECT is not.
func (s *scan) union(i int) {
	j := i + 1
	if s.at(j).id == kAll {
		j++
	}
	for s.at(j).kind == tLP {
		j++
	}
	where, _ := s.before(i)
	n := s.at(j)
	switch {
	case n.id == kSelect:
	case n.id == kValues && s.at(j+1).kind == tLP:
		s.hit(rUnion, 0.85, i, j)
		return
	case n.id == kMatch && s.at(j+1).kind == tLP, n.id == kCall && s.at(j+1).id == kApoc:
		s.hit(rCypherClause, 0.92, i, j)
		return
	default:
		if j-i > 1 && where != pWord && s.at(j).kind == tEnd && s.at(i+1).id == kAll {
			s.hit(rUnion, 0.5, i, j-1)
		}
		return
	}
	upper := s.toks[i].flag&fUpper != 0 && n.flag&fUpper != 0
	score := 0.0
	switch shape := s.selectShape(j); {
	case shape >= 2:
		score = 0.95
	case where == pBreak || where == pFirst || where == pComment:
		score = 0.9
	case upper:
		score = 0.8
	case shape == 1 && where != pWord && where != pNum:
		score = 0.85
	case shape == 1:
		score = 0.45
	case where == pStart && s.at(j+1).kind == tEnd:
		score = 0.6
	case where == pParen:
		score = 0.6
	}
	s.hit(rUnion, score, i, j)
}

// selectShape says how much what follows SELECT at i is a query: 0 not, 1 like
// prose, 2 a query, 3 a query of the catalogue.
func (s *scan) selectShape(i int) int {
	i++
	if s.at(i).id == kAll {
		i++
	}
	open := false
	for s.at(i).kind == tLP {
		open = true
		i++
	}
	t, n := s.at(i), s.at(i+1)
	switch {
	case t.kind == tOp && t.ch == '*':
		return s.fromShape(i+1, 2)
	case t.kind == tOp && n.kind == tNum, t.kind == tVar && t.end-t.start > 2, t.id == kNull, t.kind == tKey && t.class&(cFunc|cDanger) != 0 && n.kind == tLP, t.id == kCase && n.id == kWhen:
		return 2
	case t.kind == tNum:
		if n.kind == tWord && n.end-n.start > 1 || n.kind == tKey && n.id != kFrom && n.class&cLogic == 0 && n.id != kUnion && n.id != kWhere && n.id != kInto {
			return 0
		}
		if n.kind == tRP || n.kind == tEnd {
			return 1
		}
		return s.fromShape(i+1, 2)
	case t.kind == tQuote:
		if _, o := s.stringFrom(i); o == oNone {
			return 0
		}
		return 2
	case t.kind == tWord && n.kind == tLP && n.flag&fSpace == 0:
		return 2
	case open && t.id == kSelect:
		return 2
	case t.kind == tWord || t.kind == tKey:
		return s.columns(i)
	}
	return 0
}

// columns reads a, b.c, d FROM x.
func (s *scan) columns(i int) int {
	commas := 0
	for range 12 {
		t := s.at(i)
		if t.kind != tWord && t.kind != tKey || t.id == kFrom {
			return 0
		}
		end, o := s.path(i)
		if o == oCall {
			return 2
		}
		for s.at(end).kind == tLogic || s.at(end).kind == tOp { // a||':'||b
			e, o := s.operand(end + 1)
			if o == oNone {
				break
			}
			if o.literal() {
				commas++
			}
			end = e
		}
		switch n := s.at(end); {
		case n.kind == tComma:
			commas++
			i = end + 1
			continue
		case n.id == kFrom:
			shape := s.fromShape(end, 1)
			if commas > 0 && shape > 0 {
				shape = max(shape, 2)
			}
			return shape
		}
		return 0
	}
	return 0
}

// fromShape looks for FROM near i and at what it names.
func (s *scan) fromShape(i, base int) int {
	for j := i; j < i+24; j++ {
		s.work++
		t := s.at(j)
		if t.kind == tEnd {
			break
		}
		if t.id != kFrom {
			continue
		}
		n := s.at(j + 1)
		switch {
		case n.class&cSys != 0:
			return 3
		case n.kind == tLP:
			return max(base, 2)
		case n.kind == tWord || n.kind == tKey || n.kind == tQuote:
			m := s.at(j + 2)
			if m.kind == tRP || m.id == kWhere || m.id == kLimit || m.kind == tSemi || m.kind == tComment || m.kind == tEnd || m.kind == tDot {
				return max(base, 1)
			}
			return base
		}
	}
	return base
}

// selectAt judges a SELECT that no UNION leads.
func (s *scan) selectAt(i int) {
	shape := s.selectShape(i)
	if shape == 0 {
		return
	}
	var p *token
	if i > 0 {
		p = &s.toks[i-1]
	}
	switch {
	case p == nil:
		if s.base == 0 && shape >= 1 {
			score := 0.4
			if shape == 3 {
				score = 0.75
			}
			s.hit(rStatement, score, i, i+1)
		}
	case p.kind == tLP:
		score := 0.4
		if i >= 2 {
			switch pp := s.at(i - 2); {
			case pp.kind == tCmp || pp.kind == tOp || pp.kind == tLogic || pp.kind == tQuote || pp.kind == tComma || pp.kind == tLP || pp.class&(cLogic|cFunc|cCmp) != 0 || pp.id == kSelect || pp.id == kFrom || pp.id == kExists || pp.id == kBy || pp.id == kAll || pp.kind == tNum:
				score = 0.85
			}
		}
		if shape >= 2 {
			score = max(score, 0.6)
		}
		if shape == 1 && s.at(i+2).kind == tRP {
			score = min(score, 0.5)
		}
		s.hit(rSubselect, score, i-1, i+1)
	case p.kind == tQuote && p.flag&fOdd != 0 || p.kind == tCmp || p.kind == tOp || p.class&cLogic != 0 || p.kind == tLogic:
		if shape >= 2 {
			s.hit(rSubselect, 0.8, i-1, i+1)
		}
	case shape == 3:
		s.hit(rSubselect, 0.6, i, i+1)
	}
}

// orderBy judges the probes that count columns, and grouping after a breakout.
func (s *scan) orderBy(i int) {
	if s.at(i+1).id != kBy {
		return
	}
	where, j := s.before(i)
	n := s.at(i + 2)
	score := 0.0
	switch {
	case n.kind == tNum && (s.at(i+3).kind == tComma || s.ends(i+3)):
		score = [...]float64{pBreak: 0.95, pFirst: 0.92, pParen: 0.9, pStart: 0.55, pComment: 0.8, pNum: 0.3, pPair: 0.5, pWord: 0.3, pOther: 0.4}[where]
		if s.swallows(i + 3) {
			score = max(score, 0.85)
		}
	case n.kind == tLP && (s.at(i+3).id == kSelect || s.at(i+3).id == kCase || s.at(i+3).class&cFunc != 0):
		score = 0.85
	case (where == pBreak || where == pFirst || where == pParen) && (n.kind == tWord || n.kind == tKey):
		_, end := i+3, i+3
		if e, _ := s.path(i + 2); e > i+2 {
			end = e
		}
		if s.swallows(end) || s.at(end).id == kHaving || s.at(end).kind == tComma && where == pBreak {
			score = 0.9
		} else if s.ends(end) {
			score = 0.6
		}
	}
	s.hit(rOrderBy, score, max(j, 0), i+2)
}

func (s *scan) having(i int) {
	end, left := s.operand(i + 1)
	if left == oNone {
		return
	}
	next, ok := s.isCmp(end)
	where, _ := s.before(i)
	switch {
	case ok:
		last, right := s.operand(next)
		if left.literal() && right.literal() {
			s.hit(rHaving, 0.9, i, last-1)
		} else if right != oNone && (where == pBreak || where == pFirst || s.swallows(last)) {
			s.hit(rHaving, 0.8, i, last-1)
		}
	case where == pBreak && left.literal():
		s.hit(rHaving, 0.7, i, end-1)
	}
}

// time judges functions and statements that make a server wait.
func (s *scan) time(i int) {
	t := &s.toks[i]
	if t.id == kWaitfor {
		if s.at(i+1).id == kDelay || equalFold(s.word(i+1), "time") {
			score := 0.7
			if s.at(i+2).kind == tQuote || s.at(i+2).kind == tVar {
				score = 0.97
			}
			s.hit(rTime, score, i, i+2)
		}
		return
	}
	if s.at(i+1).kind != tLP {
		return
	}
	p := s.at(i - 1)
	score := 0.35
	switch {
	case p.kind == tDot && t.id != kPgSleep:
		return
	case t.id == kPgSleep:
		score = 0.92
	case t.id == kBenchmark:
		if s.at(i+2).kind == tNum && s.at(i+3).kind == tComma {
			score = 0.92
		}
	case p.kind == tLogic || p.class&(cLogic|cCmp) != 0 || p.kind == tCmp || p.id == kSelect || p.kind == tQuote && p.flag&fOdd != 0 || p.kind == tComma || p.id == kThen || p.id == kBy || p.id == kNot || p.kind == tOp && i > 1:
		score = 0.9
	case p.kind == tSemi && s.at(i-2).kind == tQuote && s.at(i-2).flag&fOdd != 0:
		score = 0.85
	case p.kind == tLP:
		score = 0.55
		if pp := s.at(i - 2); pp.kind == tKey {
			score = 0.9
		}
	case t.flag&fUpper != 0:
		score = 0.7
	}
	if s.swallows(s.skipCall(i + 1)) {
		score = max(score, 0.85)
	}
	s.hit(rTime, score, i, i+1)
}

func (s *scan) word(i int) string {
	t := s.at(i)
	return s.lex.text[t.start:t.end]
}

func (s *scan) danger(i int) {
	n := s.at(i + 1)
	if s.toks[i].id == kPkg {
		if n.kind == tDot && s.at(i+3).kind == tLP || n.kind == tLP {
			s.hit(rDangerFunc, 0.92, i, i+2)
		}
		return
	}
	if n.kind == tLP {
		score := 0.88
		if w := s.word(i); len(w) < 12 && w[0]|0x20 == 'p' || equalFold(w, "linestring") || equalFold(w, "multipolygon") || equalFold(w, "geometrycollection") {
			if s.at(i+2).kind != tLP || s.at(i+3).id != kSelect { // POLYGON((0 0, …)) is geometry
				score = 0.2
			}
		}
		s.hit(rDangerFunc, score, i, i+1)
	}
}

// exec judges EXEC and the extended procedures of SQL Server.
func (s *scan) exec(i int) {
	t, n := &s.toks[i], s.at(i+1)
	if t.id == kXp {
		score := 0.35
		switch p := s.at(i - 1); {
		case p.id == kExec || p.kind == tDot || p.kind == tSemi || p.kind == tCmp || p.kind == tQuote && p.flag&fOdd != 0:
			score = 0.95
		case n.kind == tQuote && !(p.kind == tQuote && p.ch == n.ch), n.kind == tLP, n.kind == tComment:
			score = 0.85
		case i == 0 && n.kind == tEnd:
			score = 0.6
		}
		s.hit(rExec, score, i, i+1)
		return
	}
	switch {
	case n.id == kXp, n.id == kSys && s.at(i+2).kind == tDot:
		s.hit(rExec, 0.97, i, i+1)
	case n.id == kImmediate:
		s.hit(rExec, 0.85, i, i+1)
	case n.kind == tLP && (s.at(i+2).kind == tQuote || s.at(i+2).kind == tVar || s.at(i+2).id == kChar):
		p := s.at(i - 1)
		if p.kind != tDot && p.kind != tWord {
			s.hit(rExec, 0.6, i, i+2)
		}
	case n.kind == tWord && len(s.word(i+1)) > 3 && (equalFold(s.word(i + 1)[:3], "sp_") || equalFold(s.word(i + 1)[:3], "xp_")):
		s.hit(rExec, 0.85, i, i+1)
	}
}

func (s *scan) into(i int) {
	if s.at(i+1).id != kOutfile {
		return
	}
	score := 0.5
	if n := s.at(i + 2); n.kind == tQuote || n.kind == tNum || n.kind == tVar {
		score = 0.97
	}
	s.hit(rFile, score, i, i+2)
}

func (s *scan) catalogue(i int) {
	w := s.word(i)
	n, p := s.at(i+1), s.at(i-1)
	score := 0.0
	long := len(w) > 7
	switch {
	case p.id == kFrom && (long || n.kind == tDot):
		score = 0.7
		if n.kind != tDot && n.kind == tWord { // "from sysobjects we learn"
			score = 0.4
		}
	case p.kind == tDot && long:
		score = 0.45
	case n.kind == tDot && long && s.at(i+2).kind == tWord:
		score = 0.4
	}
	s.hit(rCatalogue, score, i, i)
}

func (s *scan) conditional(i int) {
	t := &s.toks[i]
	if t.id == kCase {
		j := i + 1
		for k := 0; k < 4 && s.at(j).id != kWhen; k++ {
			j++
		}
		if s.at(j).id != kWhen {
			return
		}
		end, left := s.operand(j + 1)
		next, ok := s.isCmp(end)
		if ok {
			end, _ = s.operand(next)
		}
		if left != oNone && s.at(end).id == kThen {
			score := 0.6
			if ok {
				score = 0.8
			}
			s.hit(rCase, score, i, end)
		}
		return
	}
	if s.at(i+1).kind != tLP {
		return
	}
	end, left := s.operand(i + 2)
	next, ok := s.isCmp(end)
	if !ok {
		return
	}
	last, right := s.operand(next)
	switch {
	case left.literal() && right.literal() && s.at(last).kind == tComma:
		s.hit(rCase, 0.8, i, last)
	case left.literal() && right.literal():
		s.hit(rCase, 0.45, i, last)
	case left.active() && s.at(last).kind == tComma:
		s.hit(rCase, 0.6, i, last)
	}
}

func (s *scan) charCode(i int) {
	t := &s.toks[i]
	if s.at(i+1).kind != tLP {
		return
	}
	n := s.at(i + 2)
	m := s.at(i + 3)
	switch {
	case t.id == kConcat && (n.kind == tNum && n.ch == 'x' || n.id == kChar || n.kind == tLP && s.at(i+3).id == kSelect):
		s.hit(rCharCode, 0.75, i, i+2)
	case t.id == kChar && n.kind == tNum && (m.kind == tComma && s.at(i+4).kind == tNum && s.at(i+4).end-s.at(i+4).start > 1):
		s.hit(rCharCode, 0.75, i, i+4)
	case t.id == kChar && n.kind == tNum && m.kind == tRP:
		if o := s.at(i + 4); (o.kind == tLogic || o.kind == tOp) && s.at(i+5).id == kChar {
			s.hit(rCharCode, 0.8, i, i+5)
		}
	}
}

// blindFunc judges nested functions of blind injection: ascii(substring(...
func (s *scan) blindFunc(i int) {
	if s.at(i+1).kind != tLP {
		return
	}
	n := s.at(i + 2)
	if n.kind == tLP && s.at(i+3).id == kSelect || n.id == kSelect {
		s.hit(rFunc, 0.8, i, i+2)
		return
	}
	if n.class&cFunc != 0 && s.at(i+3).kind == tLP {
		end := s.skipCall(i + 1)
		score := 0.3
		if _, ok := s.isCmp(end); ok {
			score = 0.5
		}
		s.hit(rFunc, score, i, i+3)
	}
}

func (s *scan) variable(i int) {
	t := &s.toks[i]
	if t.end-t.start < 4 || s.lex.text[t.start+1] != '@' {
		return
	}
	score := 0.3
	switch p := s.at(i - 1); {
	case p.id == kSelect || p.kind == tCmp || p.kind == tComma || p.kind == tLP || p.kind == tOp || p.class&cLogic != 0 || p.kind == tQuote:
		score = 0.75
	}
	s.hit(rVersion, score, i, i)
}
