package inject

// stacked judges what follows a semicolon.
func (s *scan) stacked(i int) {
	// All of a row of semicolons have the same statement behind them: who looked
	// for it anew at each would look as often as the row is long, squared.
	j := s.semiTo
	if j <= i {
		for j = i + 1; s.at(j).kind == tComment || s.at(j).kind == tSemi; j++ {
			s.work++
		}
		s.semiTo = j
	}
	n := s.at(j)
	if n.kind != tKey || n.class&cStmt == 0 && n.id != kIf && n.id != kCase && n.id != kWhile {
		return
	}
	score := s.statementShape(j)
	if score > 0.3 {
		if where, _ := s.before(i); where == pBreak || where == pFirst {
			score = max(score, 0.92)
		}
		s.hit(rStacked, score, i, j+1)
	}
}

// statement judges a statement that no semicolon leads.
func (s *scan) statement(i int, where place) {
	score := s.statementShape(i)
	switch {
	case where == pBreak || where == pFirst || where == pComment:
	case where == pStart:
		if s.toks[i].flag&fUpper == 0 && !s.sqlTail(i) {
			score *= 0.5
		} else {
			score *= 0.85
		}
	default:
		score *= 0.5
	}
	s.hit(rStatement, score, i, i+1)
}

// sqlTail says whether signs of SQL stand near the end of a statement at i.
func (s *scan) sqlTail(i int) bool {
	for j := i; j < i+16; j++ {
		switch t := s.at(j); t.kind {
		case tEnd:
			return false
		case tSemi, tComment, tCmp, tVar:
			return true
		}
	}
	return false
}

// statementShape says how much a statement at i has the form of its grammar.
func (s *scan) statementShape(i int) float64 {
	a, b, c := s.at(i+1), s.at(i+2), s.at(i+3)
	name := func(t *token) bool { return t.kind == tWord || t.kind == tKey || t.kind == tQuote || t.kind == tLB }
	switch t := s.at(i); t.id {
	case kDrop, kAlter, kTruncate:
		if a.id == kObject && name(b) {
			end, _ := s.path(i + 2)
			if t.id == kAlter || b.kind == tQuote || b.kind == tLB || b.id == kIf || s.ends(end) || s.at(end).kind == tComma || s.at(end).kind == tSemi || equalFold(s.word(end), "cascade") {
				return 0.92
			}
			return 0.3
		}
		if t.id == kTruncate && a.kind == tWord && s.ends(i+2) {
			return 0.6
		}
	case kCreate:
		if a.id == kObject && name(b) || a.id == kOr && b.kind == tKey {
			return 0.9
		}
	case kDelete:
		if a.id == kFrom && name(b) {
			end, _ := s.path(i + 2)
			if s.at(end).id == kWhere || s.ends(end) {
				return 0.9
			}
			return 0.35
		}
	case kInsert:
		if a.id == kInto && name(b) {
			end, o := s.path(i + 2)
			if o == oCall || s.at(end).id == kValues || s.at(end).id == kSelect || s.at(end).id == kSet || s.at(end).kind == tLP || t.flag&fUpper != 0 {
				return 0.92
			}
		}
	case kUpdate:
		if name(a) {
			end, _ := s.path(i + 1)
			if s.at(end).id == kSet && s.at(end+2).kind == tCmp {
				return 0.92
			}
		}
	case kSelect:
		switch shape := s.selectShape(i); {
		case shape >= 2:
			return 0.92
		case shape == 1:
			return 0.6
		}
	case kExec:
		if a.id == kXp || a.id == kSys || a.kind == tLP || a.kind == tVar || a.id == kImmediate || a.kind == tWord && (b.kind == tQuote || b.kind == tDot || s.swallows(i+2)) {
			return 0.92
		}
	case kDeclare:
		if a.kind == tVar || a.kind == tWord && (b.kind == tWord && c.kind == tSemi) {
			return 0.92
		}
	case kSet:
		if a.kind == tVar {
			return 0.85
		}
	case kWaitfor, kShutdown:
		if t.id == kWaitfor && a.id == kDelay || s.ends(i+1) || equalFold(s.word(i+1), "nowait") {
			return 0.92
		}
		if a.id == kWith {
			return 0.9
		}
	case kGrant:
		for j := i + 1; j < i+10; j++ {
			if s.at(j).kind == tEnd {
				break
			}
			if equalFold(s.word(j), "on") || equalFold(s.word(j), "to") && s.at(j+1).kind != tEnd && t.flag&fUpper != 0 {
				return 0.8
			}
		}
	case kIf:
		if a.kind == tLP || name(a) && b.kind == tLP {
			end, left := s.operand(i + 2)
			if _, ok := s.isCmp(end); ok && left != oNone && left != oIdent {
				return 0.85
			}
			if s.at(i+2).id == kSelect || s.at(i+2).id == kExists {
				return 0.9
			}
		}
	case kCopy:
		end := i + 2
		if a.kind == tLP {
			end = s.skipCall(i + 1)
		} else if name(a) {
			end, _ = s.path(i + 1)
		}
		if n := s.at(end + 1); (s.at(end).id == kFrom || equalFold(s.word(end), "to")) && (n.kind == tQuote || n.id == kProgram) {
			return 0.9
		}
	case kCall:
		if a.id == kApoc && b.kind == tDot {
			return 0.92
		}
	case kMatch, kMerge:
		if a.kind == tLP {
			return 0.85
		}
	case kLoad:
		if a.id == kCSV {
			return 0.85
		}
		if equalFold(s.word(i+1), "data") {
			return 0.8
		}
	case kAttach:
		if a.id == kObject {
			return 0.85
		}
	case kBackup:
		if a.id == kObject || equalFold(s.word(i), "vacuum") && b.kind == tEnd {
			return 0.8
		}
	case kReturn, kVar, kWhile:
		return s.scriptShape(i)
	}
	return 0
}
