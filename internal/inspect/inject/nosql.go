package inject

// mongoOps are the operators of MongoDB's query language that an attacker
// splices in, without their dollar sign.
var mongoOps = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range []string{"where", "ne", "gt", "gte", "lt", "lte", "in", "nin", "regex", "exists", "or", "and", "nor", "not", "expr", "function", "mod", "all", "size", "elemMatch", "eq", "lookup", "unionWith", "out", "merge", "accumulator", "set", "unset", "inc", "push", "pull", "rename", "facet", "group", "match", "project"} {
		m[w] = true
	}
	return m
}()

// mongo judges $word at token i: an operator stands where a key stands.
func (s *scan) mongo(i int) {
	t := &s.toks[i]
	w := s.lex.text[t.start+1 : t.end]
	if len(w) > 12 || !mongoOps[w] {
		return
	}
	j := i + 1
	p := s.at(i - 1)
	quoted := p.kind == tQuote
	if quoted && s.at(j).kind == tQuote {
		j++
	}
	n := s.at(j)
	score := 0.15
	switch {
	case p.kind == tLB && n.kind == tRB:
		score = 0.95 // user[$ne]=1
		if s.at(j+1).kind == tEnd {
			score = 0.8
		}
	case n.kind == tColon && (quoted || p.kind == tLC || p.kind == tComma || p.kind == tEnd):
		score = 0.93
	case n.kind == tCmp && (p.kind == tEnd || p.kind == tOp || p.kind == tDot || p.kind == tRB):
		score = 0.85
	case n.kind == tColon && s.at(j+1).kind != tEnd && (s.at(j+1).kind == tQuote || s.at(j+1).kind == tLB || s.at(j+1).kind == tLC):
		score = 0.8
	case s.base == 0 && i <= 1 && (n.kind == tEnd || s.at(j+1).kind == tEnd) && (w == "where" || w == "ne" || w == "gt" || w == "regex" || w == "nin"):
		score = 0.75 // the whole of a key
	}
	s.hit(rMongo, score, i, j)
}

// mongoBrace judges {"a": …} fragments that close one object and open another:
// ', $or: [ {}, { 'a':'a is left to mongo; '}, {'… is not JSON by itself.
func (s *scan) mongoBrace(i int) {
	p := s.at(i - 1)
	if p.kind == tComma && s.at(i-2).kind == tRC && s.at(i-3).kind == tQuote && s.at(i-3).flag&fOdd != 0 {
		s.hit(rMongo, 0.5, i-2, i)
	}
}

// mongoJS judges JavaScript that a store would run: ';return true;var a='.
func (s *scan) mongoJS(i int) {
	t := &s.toks[i]
	switch t.id {
	case kThis:
		if s.at(i+1).kind == tDot && s.at(i+2).kind >= tWord && s.at(i+2).kind <= tKey {
			p := s.at(i - 1)
			end, o := s.path(i)
			_, ok := s.isCmp(end)
			switch {
			case (p.kind == tLogic || p.kind == tQuote && p.flag&fOdd != 0) && (ok || o == oCall):
				s.hit(rMongoJS, 0.75, i, end)
			case p.id == kReturn && ok:
				s.hit(rMongoJS, 0.7, i, end)
			}
		}
	case kReturn:
		if where, j := s.before(i); where == pBreak {
			if score := s.scriptShape(i); score > 0 {
				s.hit(rMongoJS, score*0.9, j, i+1)
			}
		}
	}
}

// scriptShape judges a statement of JavaScript after a semicolon. Only what no
// statement of a program in a string needs: "return true", "while(true)", a
// variable left open to swallow the rest.
func (s *scan) scriptShape(i int) float64 {
	where := pOther
	if i > 0 && s.toks[i-1].kind == tSemi {
		where, _ = s.before(i - 1)
	}
	a := s.at(i + 1)
	broke := where == pBreak || where == pFirst || where == pStart
	switch s.at(i).id {
	case kReturn:
		switch {
		case broke && (a.class&cLit != 0 || a.kind == tNum || a.kind == tLP || a.kind == tOp || a.kind == tQuote || a.id == kThis):
			return 0.9
		case (a.class&cLit != 0 || a.kind == tNum) && s.at(i+2).kind == tSemi && s.at(i+3).id == kVar:
			return 0.8
		}
	case kVar:
		if broke && a.kind == tWord && s.at(i+2).kind == tCmp {
			return 0.85
		}
	case kWhile:
		if broke && (a.kind == tLP || a.kind == tLC) {
			return 0.88
		}
	}
	return 0
}
