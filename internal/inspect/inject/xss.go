package inject

// xssState is what the scan of markup remembers between anchors.
type xssState struct {
	open      int // where the last tag began that has not ended, or -1
	odd       int // where the last odd quote stands, or -1
	quotes    [2]uint8
	anyQuote  bool
	braceTo   int // templates before this place were judged
	symbolsTo int // runs of symbols before this place were judged
	cleanTo   int // nothing that taints stands before this place, from the last call on
	lastOpen  int // where the last "(" stands, or -1
	lastList  int // where the last "[" stands, or -1
}

var xssAnchor = func() (t [256]bool) {
	for _, c := range "<>=:(`{['\"@+" {
		t[c] = true
	}
	return t
}()

// xssScan visits the anchors of one view. Every check looks a bounded way back
// and ahead.
func (s *scan) xssScan(v *view) {
	s.view = v
	s.x = xssState{open: -1, odd: -1, lastOpen: -1, lastList: -1}
	t := v.text
	s.work += len(t)
	seen := 0
	for i := 0; i < len(t); i++ {
		c := t[i]
		if !xssAnchor[c] {
			continue
		}
		if seen++; seen&0x3ff == 0 && s.settled(rTag, ruleCount) {
			return
		}
		switch c {
		case '<':
			s.tag(t, i)
		case '>':
			s.x.open = -1
		case '=':
			s.attribute(t, i)
		case ':':
			s.scheme(t, i)
		case '(':
			s.sink(t, i)
			s.x.lastOpen = i
		case '`':
			s.sink(t, i)
			s.x.anyQuote = true
		case '{':
			s.template(t, i)
		case '[':
			s.x.lastList = i
			s.symbols(t, i)
		case '\'', '"':
			s.quoteMark(t, i, c)
		case '@':
			if hasFold(t, i+1, "import") && i+7 < len(t) && (t[i+7] <= ' ' || t[i+7] == '\'' || t[i+7] == '"' || t[i+7] == '/') && (s.x.open >= 0 || i == 0 || s.x.anyQuote) {
				s.note(rCSS, 0.7, i, i+7)
			}
		case '+':
			if i+4 < len(t) && t[i+1] == 'A' && (t[i+2:i+4] == "Dw" || t[i+2:i+4] == "D4" || t[i+2:i+4] == "CI") {
				s.note(rUTF7, 0.85, i, i+5)
			}
		}
	}
}

func (s *scan) quoteMark(t string, i int, c byte) {
	s.x.anyQuote = true
	if c == '\'' && i > 0 && i+1 < len(t) && isLetter(t[i-1]) && isLetter(t[i+1]) {
		return
	}
	k := 0
	if c == '"' {
		k = 1
	}
	s.x.quotes[k] ^= 1
	if s.x.quotes[k] == 1 || i > 0 && t[i-1] == '\\' {
		s.x.odd = i
	}
}

// hasFold says whether low stands in t at i, in any case.
func hasFold(t string, i int, low string) bool {
	return i >= 0 && i+len(low) <= len(t) && equalFold(t[i:i+len(low)], low)
}

// tag judges a "<".
func (s *scan) tag(t string, i int) {
	j := i + 1
	space, closing := false, false
	for j < len(t) && j-i < 8 {
		c := t[j]
		if c == '/' {
			closing = true
		} else if c <= ' ' {
			space = true
		} else if c != '<' {
			break
		}
		j++
	}
	if j >= len(t) {
		return
	}
	if c := t[j]; c == '!' || c == '?' || c == '%' {
		s.declaration(t, i, j)
		return
	}
	end := j
	for end < len(t) && end-j < 32 && (isLetter(t[end]) || end > j && (t[end]-'0' < 10 || t[end] == ':' || t[end] == '-')) {
		end++
	}
	if end == j {
		return
	}
	var buf [40]byte
	name := lowered(&buf, t[j:end])
	if !space {
		s.x.open = i
	}
	after := byte('>')
	if end < len(t) {
		after = t[end]
	}
	if after > ' ' && after != '/' && after != '>' && after != '<' && after != '"' && after != '\'' && after != '&' && after != '`' && after < 0x80 {
		if string(name) != "script" || after != '\\' && after != '(' && after != '{' {
			return
		}
	}
	if end == len(t) && !closing && (i == 0 || isLetter(t[i-1]) || t[i-1] <= ' ') && string(name) != "script" && string(name) != "iframe" && string(name) != "svg" {
		return // a < base
	}
	if closing {
		if space || !closeNames.may(t[j:end]) {
			return
		}
		if sc := closeScore[string(name)]; sc > 0 {
			s.note(rMarkup, sc, i, end)
		}
		return
	}
	if !tagNames.may(t[j:end]) {
		return
	}
	score := tagScore[string(name)]
	if score == 0 {
		return
	}
	if space && string(name) != "script" && string(name) != "iframe" && (string(name) != "img" && string(name) != "svg" || after == ' ') {
		return
	}
	if i > 0 && (isLetter(t[i-1]) || t[i-1]-'0' < 10) && s.generic(t, j, end) {
		return
	}
	if score < 0.5 && s.x.odd >= 0 && i-s.x.odd <= 3 {
		score = 0.7 // "><img
	}
	s.note(rTag, score, i, end)
}

// generic says whether the tag at t[j:end] is a type argument: List<Object>.
func (s *scan) generic(t string, j, end int) bool {
	if t[j]-'A' >= 26 || end-j > 1 && t[end-1]-'a' >= 26 {
		return false
	}
	k := end
	for k < len(t) && (t[k] == ' ' || t[k] == '?') {
		k++
	}
	if k >= len(t) || t[k] != '>' && t[k] != ',' && t[k] != '<' {
		return false
	}
	for m := k + 1; m+1 < len(t) && m < k+64; m++ {
		if t[m] == '<' && t[m+1] == '/' {
			return false
		}
	}
	return true
}

// declaration judges <!…, <?… and <%….
func (s *scan) declaration(t string, i, j int) {
	switch {
	case hasFold(t, j, "!entity"):
		s.note(rMarkup, 0.9, i, j+7)
	case hasFold(t, j, "![cdata["):
		s.note(rMarkup, 0.65, i, j+8)
	case hasFold(t, j, "!--[if"):
		s.note(rMarkup, 0.85, i, j+6)
	case hasFold(t, j, "!--#"):
		s.note(rMarkup, 0.85, i, j+4)
	case hasFold(t, j, "!doctype"):
		s.note(rMarkup, 0.55, i, j+8)
	case hasFold(t, j, "?xml-stylesheet"):
		s.note(rMarkup, 0.9, i, j+15)
	case hasFold(t, j, "?import"):
		s.note(rMarkup, 0.8, i, j+7)
	case hasFold(t, j, "!--"):
		s.note(rMarkup, 0.3, i, j+3)
	case t[j] == '%':
		s.serverTag(t, i, j)
	default:
		if j+1 < len(t) && isLetter(t[j+1]) {
			s.x.open = i
		}
		s.note(rMarkup, 0.2, i, j+1)
	}
}

// attribute judges an "=": an event handler, or an attribute that makes active.
func (s *scan) attribute(t string, i int) {
	j := i
	for j > 0 && i-j < 8 && t[j-1] <= ' ' {
		j--
	}
	spaced := j < i
	end := j
	for j > 0 && end-j < 40 && (isLetter(t[j-1]) || t[j-1] == ':' || t[j-1] == '-') {
		j--
	}
	if end-j < 4 {
		return
	}
	var buf [40]byte
	name := lowered(&buf, t[j:end])
	inTag := s.x.open >= 0
	if name[0] != 'o' || name[1] != 'n' {
		// a handler may hide behind the quote or slash that ends another value
		s.activeAttribute(t, i, j, name, inTag)
		s.assignment(t, i, j, name)
		return
	}
	pre := byte(' ')
	if j > 0 {
		pre = t[j-1]
	}
	if pre == '.' || pre == '$' || pre == '-' || pre == '_' {
		return
	}
	known := handlerNames.may(t[j:end]) && eventNames[string(name)]
	js := scriptLike(t, i+1)
	score := 0.0
	switch {
	case inTag && (known || js):
		score = 0.97
		if s.jsx(t, i+1) {
			score = 0.3
		}
	case inTag:
		score = 0.6
	case known && s.x.odd >= 0 && (pre == '"' || pre == '\'' || pre == '/' || pre <= ' '):
		score = 0.55
		if js {
			score = 0.95
		} else if s.x.odd >= j-2 {
			score = 0.85
		}
	case known && js && !spaced:
		score = 0.75
	case known && js:
		score = 0.35
	case js && !spaced && s.x.anyQuote && len(name) > 5:
		score = 0.4
	case known && !spaced:
		score = 0.25
	}
	s.note(rEvent, score, j, i+1)
}

// jsx says whether the value at i is a property of a component: {handler}.
func (s *scan) jsx(t string, i int) bool {
	if i >= len(t) || t[i] != '{' {
		return false
	}
	for i++; i < len(t) && (isLetter(t[i]) || t[i] == '.' || t[i]-'0' < 10); i++ {
	}
	return i+1 < len(t) && t[i] == '}' && (t[i+1] == ' ' || t[i+1] == '>' || t[i+1] == '/')
}

// scriptLike says whether what follows i reads like a script.
func scriptLike(t string, i int) bool {
	for k := i; k < len(t) && k < i+80; k++ {
		switch t[k] {
		case '(', '`':
			return true
		case '=':
			if k > i+1 && t[k-1] != '=' {
				return true
			}
		case ':':
			return true
		}
	}
	return false
}

// serverTag judges <% … %>: a sum of digits is a probe.
func (s *scan) serverTag(t string, i, j int) {
	from := j + 1
	if from < len(t) && (t[from] == '=' || t[from] == '-') {
		from++
	}
	end := from
	for end < len(t) && end < j+80 && t[end] != '%' {
		end++
	}
	if end > from && arithmetic(t[from:end]) {
		s.note(rTemplate, 0.85, i, end)
	}
}

func (s *scan) activeAttribute(t string, i, j int, name []byte, inTag bool) {
	if !inTag && (s.x.odd < 0 || i-s.x.odd > 40) {
		return
	}
	switch string(name) {
	case "srcdoc":
		s.note(rAttribute, 0.85, j, i+1)
	case "formaction", "http-equiv", "xlink:href", "attributename", "dynsrc", "lowsrc", "allowscriptaccess", "datasrc", "onreadystatechange", "fscommand", "seeksegmenttime":
		s.note(rAttribute, 0.7, j, i+1)
	case "style":
		if s.x.odd >= 0 && i-s.x.odd < 12 {
			s.note(rAttribute, 0.5, j, i+1)
		}
	}
}

// scheme judges a ":" after javascript, vbscript, data and their kin. Browsers
// drop tabs and line breaks inside a scheme.
func (s *scan) scheme(t string, i int) {
	var buf [16]byte
	n := len(buf)
	j := i
	gap := false
	for j > 0 && i-j < 48 && n > 0 {
		c := t[j-1]
		if c <= ' ' {
			if c == ' ' && s.x.open < 0 {
				break
			}
			gap = true
			j--
			continue
		}
		if !isLetter(c) {
			break
		}
		n--
		buf[n] = c | 0x20
		j--
	}
	if len(buf)-n < 4 {
		return
	}
	word := string(buf[n:])
	ends := func(w string) bool { return len(word) >= len(w) && word[len(word)-len(w):] == w }
	switch {
	case ends("javascript"), ends("vbscript"), ends("livescript"), ends("jscript"), ends("mocha"):
		s.scriptURL(t, i, j, gap)
	case ends("data"):
		s.dataURL(t, i, j)
	case ends("binding") && j > 0 && t[j-1] == '-':
		s.note(rCSS, 0.85, j, i+1)
	case (ends("behavior") || ends("behaviour")) && (hasFold(t, i+1, "url") || hasFold(t, i+2, "url")):
		s.note(rCSS, 0.8, j, i+1)
	}
}

func (s *scan) scriptURL(t string, i, j int, gap bool) {
	if i+1 >= len(t) {
		if s.x.open >= 0 || j == 0 {
			s.note(rScheme, 0.4, j, i+1)
		}
		return
	}
	next := t[i+1]
	if hasFold(t, i+1, "void(0)") || hasFold(t, i+1, "void 0") || hasFold(t, i+1, ";\"") {
		s.note(rScheme, 0.35, j, i+1)
		return
	}
	js := scriptLike(t, i+1)
	score := 0.1
	switch {
	case s.x.open >= 0:
		score = 0.95
	case gap && next != ' ':
		score = 0.9
	case next == ' ' && !js:
	case next == ' ':
		if j == 0 && i+2 < len(t) && t[i+2]-'A' >= 26 {
			score = 0.6
		}
	case js || next == '/' || next == '%' || next == '\'' || next == '"':
		score = 0.95
	case j == 0 || t[j-1] == '"' || t[j-1] == '\'' || t[j-1] == '(':
		score = 0.6
	}
	s.note(rScheme, score, j, i+1)
}

func (s *scan) dataURL(t string, i, j int) {
	k := i + 1
	for k < len(t) && k < i+6 && t[k] <= ' ' {
		k++
	}
	score := 0.0
	switch {
	case hasFold(t, k, "text/html"), hasFold(t, k, "image/svg"), hasFold(t, k, "text/xml"), hasFold(t, k, "application/x"), hasFold(t, k, "text/javascript"), hasFold(t, k, "application/javascript"), hasFold(t, k, "text/vbscript"), hasFold(t, k, "application/ecmascript"), hasFold(t, k, "text/css"):
		score = 0.9
		if k > i+1 && s.x.open < 0 {
			score = 0.4
		}
	case s.x.open >= 0 && (hasFold(t, k, ",") || hasFold(t, k, ";base64") || hasFold(t, k, "text/")):
		score = 0.75
	case hasFold(t, i+1, ";base64,"), hasFold(t, i+1, "text/plain;base64,"), hasFold(t, i+1, ",<"), hasFold(t, i+1, ",alert"):
		score = 0.6
	}
	s.note(rScheme, score, j, min(k+9, len(t)))
}
