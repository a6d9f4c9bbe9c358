package inject

// pattern reads a node pattern "(n:Label {…})" at i: where it ends, 0 if none.
func (s *scan) pattern(i int) int {
	if s.at(i).kind != tLP {
		return 0
	}
	j := i + 1
	if k := s.at(j).kind; k == tWord || k == tKey {
		j++
	}
	for s.at(j).kind == tColon {
		j += 2
	}
	if s.at(j).kind == tLC {
		for k := 0; k < 24 && s.at(j).kind != tRC; k++ {
			if s.at(j).kind == tEnd {
				return 0
			}
			j++
		}
		j++
	}
	if s.at(j).kind != tRP {
		return 0
	}
	return j + 1
}

// match judges MATCH (n) …: a pattern and then a clause or a relationship. In
// prose "match (see above)" has neither.
func (s *scan) match(i int) {
	j := i + 1
	if s.at(j).kind == tWord && s.at(j+1).kind == tCmp { // p = (a)-[*]-(b)
		j += 2
	}
	end := s.pattern(j)
	if end == 0 {
		return
	}
	label := s.at(j+1).kind == tColon || s.at(j+2).kind == tColon || end-j == 2
	where, k := s.before(i)
	n := s.at(end)
	score := 0.15
	switch {
	case n.class&cCypher != 0 || n.id == kDelete || n.id == kWhere || n.id == kSet || n.id == kCall || n.id == kCreate || n.id == kOrder || n.id == kLimit:
		score = 0.9
		if where == pWord && !label && s.toks[i].flag&fUpper == 0 && n.id != kDetach {
			score = 0.55
		}
	case (n.kind == tOp || n.kind == tCmp || n.kind == tComment) && (s.at(end+1).kind == tLB || s.at(end+1).kind == tLP || s.at(end+1).kind == tOp || s.at(end+1).kind == tCmp):
		score = 0.85
	case where == pBreak || where == pParen && label:
		score = 0.85
	case label && (where == pStart || s.swallows(end)):
		score = 0.6
	}
	s.hit(rCypherMatch, score, max(min(k, i), 0), end-1)
}

// cypherBreakout judges a clause that follows a quote: ' RETURN n //, '}) DELETE.
func (s *scan) cypherBreakout(i, j int, n *token) {
	braces := j > i+1
	score := 0.0
	switch n.id {
	case kReturn:
		end, o := s.operand(j + 1)
		switch {
		case s.at(j+1).kind == tOp && s.at(j+1).ch == '*', s.at(j+1).id == kAll:
			score = 0.8
		case o == oNone:
		case s.swallows(end) || s.at(end).id == kUnion || s.at(end).id == kLimit:
			score = 0.92
		case braces:
			score = 0.75
		case o == oFunc || o == oNum && s.at(end).kind != tWord:
			score = 0.6
		}
	case kMatch, kMerge:
		if s.pattern(j+1) > 0 || s.at(j+1).kind == tLP {
			score = 0.9
		}
	case kWith:
		for k := j + 1; k < j+16; k++ {
			t := s.at(k)
			if t.class&cCypher != 0 && k > j+1 || t.id == kCall || t.id == kWhere && k < j+8 {
				score = 0.85
			}
			if t.kind == tEnd {
				break
			}
		}
	case kDetach, kDelete, kRemove, kSet, kCall, kCreate, kUnwind, kForeach, kLoad:
		switch {
		case braces:
			score = 0.88
		case n.id == kUnwind || n.id == kForeach:
			if k := s.at(j + 1).kind; k == tLB || k == tLP || k == tWord && s.swallowsWithin(j, 20) {
				score = 0.85
			}
		case n.id == kDetach && s.at(j+1).id == kDelete, n.id == kRemove && s.at(j+2).kind == tDot, n.id == kSet && s.at(j+2).kind == tDot && s.at(j+4).kind == tCmp, n.id == kCreate && s.at(j+1).kind == tLP:
			score = 0.9
		case n.id == kDelete && s.swallows(j+2):
			score = 0.9
		}
	}
	s.hit(rCypherClause, score, i, j)
}

func (s *scan) swallowsWithin(i, n int) bool {
	for j := i; j < i+n; j++ {
		if s.at(j).kind == tComment {
			return s.swallows(j)
		}
	}
	return false
}

// call judges CALL of a procedure of the server.
func (s *scan) call(i int) {
	n, d := s.at(i+1), s.at(i+2)
	if n.id == kApoc && d.kind == tDot {
		score := 0.92
		if !s.callsWithin(i + 3) {
			score = 0.5
		}
		s.hit(rCypherCall, score, i, i+3)
	}
	if n.kind == tLC {
		if k := s.at(i + 2); k.class&cCypher != 0 {
			s.hit(rCypherCall, 0.85, i, i+2)
		}
	}
}

// callsWithin says whether a dotted name at i ends in "(", YIELD or the text's end.
func (s *scan) callsWithin(i int) bool {
	for j := i; j < i+8; j++ {
		switch t := s.at(j); t.kind {
		case tLP, tEnd, tComment:
			return true
		case tDot, tKey:
		case tWord:
			if equalFold(s.word(j), "yield") {
				return true
			}
			if s.at(j-1).kind != tDot && j > i {
				return false
			}
		default:
			return false
		}
	}
	return false
}

// loadCSV judges LOAD CSV … FROM 'url'.
func (s *scan) loadCSV(i int) {
	if s.at(i+1).id != kCSV {
		return
	}
	for j := i + 2; j < i+6; j++ {
		if s.at(j).id != kFrom {
			continue
		}
		n := s.at(j + 1)
		switch {
		case n.kind == tQuote || n.kind == tDollar:
			s.hit(rCypherLoad, 0.92, i, j+1)
		case s.at(j+2).kind == tOp || s.at(j+2).kind == tColon || s.at(j+2).kind == tLP || s.toks[i].flag&fUpper != 0:
			s.hit(rCypherLoad, 0.7, i, j+1)
		}
		return
	}
}
