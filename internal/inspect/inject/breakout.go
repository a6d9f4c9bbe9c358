package inject

// breakout judges an odd quote at i: what follows would be statement, not value.
func (s *scan) breakout(i int) {
	q := &s.toks[i]
	j := i + 1
	for s.at(j).kind == tRP || s.at(j).kind == tRC {
		j++
	}
	n := s.at(j)
	intra := q.flag&fIntra != 0
	switch n.kind {
	case tEnd, tWord, tDot, tNum:
		return
	case tComment:
		switch {
		case n.ch == '/':
			s.hit(rBreakout, 0.3, i, j)
		case s.swallows(j):
			s.hit(rBreakout, 0.92, i, j)
		case n.ch == '-' && n.flag&fSpace == 0, n.ch == '*':
			s.hit(rBreakout, 0.55, i, j)
		}
	case tSemi:
		if s.swallows(j) {
			s.hit(rBreakout, 0.9, i, j)
		} else if s.at(j+1).kind == tEnd && i <= 2 {
			s.hit(rBreakout, 0.55, i, j)
		}
	case tCmp:
		s.breakoutCmp(i, j)
	case tKey:
		if !intra || n.class&cLogic == 0 {
			s.breakoutWord(i, j, n)
		}
	case tOp, tLogic:
		s.breakoutOp(i, j, n)
	case tComma:
		s.breakoutList(i, j)
	case tQuote:
		if n.ch == q.ch && j == i+1 && s.base == 0 && i == 0 && s.swallows(j+1) {
			s.hit(rBreakout, 0.85, i, j)
		}
	}
	if n.kind == tOp && n.ch == '-' && j > i+1 && (s.at(j+1).kind == tLB || s.at(j+1).kind == tCmp) {
		s.hit(rCypherClause, 0.88, i, j+1)
	}
	if n.class&cCypher != 0 || n.kind == tKey && s.at(i+1).kind == tRC {
		s.cypherBreakout(i, j, n)
	}
}

func (s *scan) breakoutCmp(i, j int) {
	next, _ := s.isCmp(j)
	end, right := s.operand(next)
	score := 0.0
	switch {
	case s.unit(i):
		score = 0.2 // 6' > 5'
	case right == oString || right == oOpen:
		score = 0.8
	case right == oNone && s.at(next).kind == tEnd && i <= 2:
		score = 0.55
	case right.literal() && s.ends(end):
		score = 0.75
		if i > 0 && s.toks[i].flag&fSpace == 0 && s.toks[i-1].end-s.toks[i-1].start == 1 && !s.swallows(end) {
			score = 0.3 // f' = 3
		}
	case right.active():
		score = 0.8
	}
	if s.swallows(end) {
		score = max(score, 0.9)
	}
	s.hit(rBreakout, score, i, end-1)
}

func (s *scan) breakoutWord(i, j int, n *token) {
	q := &s.toks[i]
	if c := s.at(j + 1); c.kind == tQuote && c.ch == q.ch && n.start == q.end && c.start == n.end {
		return // a quoted word
	}
	switch {
	case n.class&cCmp != 0 || n.id == kNot:
		next, ok := s.isCmp(j)
		if !ok {
			return
		}
		end, right := s.operand(next)
		score := 0.0
		switch {
		case n.id == kIs && right != oLit:
		case right == oString || right == oOpen || right == oQuery || right == oFunc || right == oLit:
			score = 0.75
		case right == oNum && s.ends(end):
			score = 0.5
		}
		if right != oNone && s.swallows(end) {
			score = 0.9
		}
		s.hit(rBreakout, score, i, end-1)
	case n.id == kLimit || n.id == kOffset:
		if s.at(j+1).kind == tNum && s.ends(j+2) {
			s.hit(rBreakout, 0.7, i, j+1)
		}
	case n.id == kDiv:
		if s.at(j+1).kind == tNum {
			s.hit(rArithmetic, 0.6, i, j+1)
		}
	case n.id == kIf || n.id == kCase || n.id == kWaitfor || n.class&(cTime|cDanger) != 0:
		if k := s.at(j + 1); k.kind == tLP || k.id == kWhen || k.id == kDelay {
			s.hit(rBreakout, 0.6, i, j)
		}
	case n.id == kCollate && s.at(j+1).kind == tWord && s.ends(j+2):
		s.hit(rBreakout, 0.6, i, j)
	}
}

func (s *scan) breakoutOp(i, j int, n *token) {
	if n.ch == '!' {
		return
	}
	if s.opensAtEnd(j) {
		s.hit(rArithmetic, 0.8, i, j)
	}
	m := s.at(j + 1)
	if n.kind == tLogic && n.ch == '&' {
		return
	}
	for m.kind == tOp {
		j++
		m = s.at(j + 1)
	}
	switch {
	case m.kind == tQuote && m.ch == s.toks[i].ch && s.base == 0 && i <= 1 && s.ends(j+2):
		s.hit(rArithmetic, 0.75, i, j+1)
	case m.kind == tLP && (s.at(j+2).id == kSelect || s.at(j+2).class&cFunc != 0 || s.at(j+2).id == kCase):
		s.hit(rArithmetic, 0.88, i, j+2)
	case m.class&(cFunc|cDanger) != 0 && s.at(j+2).kind == tLP, m.id == kCase:
		s.hit(rArithmetic, 0.85, i, j+2)
	case m.kind == tVar && m.end-m.start > 3:
		s.hit(rArithmetic, 0.75, i, j+1)
	case m.kind == tNum && s.swallows(j+2):
		s.hit(rArithmetic, 0.88, i, j+2)
	case m.kind == tNum && s.at(j+2).kind == tCmp && !s.unit(i):
		s.hit(rArithmetic, 0.6, i, j+2)
	case m.kind == tNum && s.at(j+2).kind == tOp && s.at(j+3).kind == tQuote:
		s.hit(rArithmetic, 0.8, i, j+3)
	case m.kind == tNum && s.ends(j+2) && !s.unit(i) && n.ch != '-':
		s.hit(rArithmetic, 0.5, i, j+2)
	}
}

// opensAtEnd says whether operators and operands lead from token j to a literal
// that is left open for the application to close, or to a swallowing comment:
// x'*null or '1.
func (s *scan) opensAtEnd(j int) bool {
	for range 8 {
		next, ok := s.isCmp(j)
		if !ok {
			t := s.at(j)
			if t.kind != tOp && t.kind != tLogic && t.class&cLogic == 0 && t.id != kDiv {
				return s.swallows(j)
			}
			next = j + 1
		}
		end, typ := s.operand(next)
		if typ == oNone {
			return false
		}
		if s.at(end).kind == tEnd {
			return typ == oOpen && end-next <= 5 && !s.unit(end-1) && s.at(end-1).kind != tQuote
		}
		j = end
	}
	return false
}

// breakoutList judges a quote that closes one value of a list and goes on with
// the next: ',1,2)--.
func (s *scan) breakoutList(i, j int) {
	for k := j; k < j+24; k++ {
		switch t := s.at(k); {
		case t.kind == tEnd:
			return
		case t.kind == tComment:
			if s.swallows(k) {
				s.hit(rInsert, 0.85, i, k)
			}
			return
		case t.kind == tLP && s.at(k+1).id == kSelect:
			s.hit(rInsert, 0.85, i, k)
			return
		}
	}
}

// number judges what follows a number at the very beginning of a text.
func (s *scan) number(i int) {
	j := i + 1
	for s.at(j).kind == tRP || s.at(j).kind == tQuote && s.at(j).flag&fOdd != 0 {
		j++
	}
	n := s.at(j)
	switch {
	case j == i+1 && s.bareEquation(i):
		s.hit(rTautology, 0.55, i, j+1)
	case n.kind == tOp && n.ch != '!':
		m := s.at(j + 1)
		for m.kind == tOp || m.kind == tLP {
			j++
			m = s.at(j + 1)
		}
		switch {
		case m.kind == tNum && j+1 == i+2 && s.swallows(j+2): // 2-1--
			s.hit(rArithmetic, 0.75, i, j+2)
		case m.kind == tNum && s.identity(i, n, m):
			s.hit(rArithmetic, 0.35, i, j+1)
		case m.id == kSelect && s.selectShape(j+1) >= 1, m.id == kCase, m.class&cTime != 0 && s.at(j+2).kind == tLP, m.id == kIf && s.at(j+2).kind == tLP && n.ch != '/':
			s.hit(rArithmetic, 0.88, i, j+1)
		case s.at(j).kind == tLP:
			end, left := s.operand(j + 1)
			if next, ok := s.isCmp(end); ok && left != oNone {
				if _, right := s.operand(next); right == oString || right == oOpen || right == oQuery {
					s.hit(rArithmetic, 0.75, i, end)
				}
			}
		case m.class&cFunc != 0 && m.id != kIf && s.at(j+2).kind == tLP:
			s.hit(rArithmetic, 0.6, i, j+1)
		}
	case n.id == kRlike && s.at(j+1).kind != tWord:
		s.hit(rBoolean, 0.8, i, j+1)
	case (n.id == kIn || n.id == kLike || n.id == kBetween || n.kind == tCmp) && s.at(j+1).kind == tLP && s.at(j+2).id == kSelect:
		s.hit(rSubselect, 0.9, i, j+2)
	case n.kind == tComma && s.at(j+1).kind == tLP && s.at(j+2).id == kSelect:
		s.hit(rSubselect, 0.9, i, j+2)
	}
}

// bareEquation says whether the text is nothing but two numbers and an equals
// sign, without a space: people put spaces into equations, and write what an
// expression comes to only after an expression.
func (s *scan) bareEquation(i int) bool {
	a, eq, b := s.at(i), s.at(i+1), s.at(i+2)
	return i == 0 && eq.kind == tCmp && eq.ch == '=' && eq.end-eq.start == 1 && b.kind == tNum && s.at(i+3).kind == tEnd &&
		a.end == eq.start && eq.end == b.start && a.start == 0 && int(b.end) == len(s.lex.text)
}

// identity says whether the text is nothing but a number times one, which
// changes nothing but shows that somebody calculates. That is a hint, no more:
// sizes and scores look alike.
func (s *scan) identity(i int, op, m *token) bool {
	return i == 0 && op.ch == '*' && s.word(i+2) == "1" && s.at(i).end == op.start && op.end == m.start && s.at(i+3).kind == tEnd
}

// leadingCmp judges a text that begins with a comparison, as a value that was
// spliced in after a column: "= 1 or 1=1" is left to the other rules.
func (s *scan) leadingCmp() {
	if s.at(1).kind == tLP && s.at(2).id == kSelect && s.selectShape(2) > 0 {
		s.hit(rSubselect, 0.85, 0, 2)
	}
}
