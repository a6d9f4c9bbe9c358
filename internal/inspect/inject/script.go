package inject

// sink judges a "(" or a back-tick by the function that is called there and by
// what the call follows: a quote and an operator mean a script was broken into.
func (s *scan) sink(t string, i int) {
	j := i
	for j > 0 && i-j < 4 && t[j-1] <= ' ' {
		j--
	}
	if j > 0 && t[j-1] == ')' && t[i] == '(' || j > 1 && t[j-1] == ']' {
		s.indirect(t, i, j)
	}
	end := j
	for j > 0 && end-j < 20 && (isLetter(t[j-1]) || j < end && t[j-1]-'0' < 10) {
		j--
	}
	if end > j && t[i] == '(' && i+1 < len(t) {
		switch t[i+1] | 0x20 {
		case 'a', 'e', 'c', 'p':
			for _, w := range [...]string{"alert)", "eval)", "confirm)", "prompt)"} {
				if hasFold(t, i+1, w) {
					s.note(rSink, 0.85, j, i+len(w))
				}
			}
		}
	}
	if end-j < 4 || !sinkNames.may(t[j:end]) {
		return
	}
	var buf [40]byte
	name := lowered(&buf, t[j:end])
	weight := sinkScore[string(name)]
	if weight == 0 {
		return
	}
	if string(name) == "expression" {
		s.expression(t, i, j)
		return
	}
	start := j
	dotted := j > 0 && t[j-1] == '.'
	j = objectStart(t, j)
	if string(name) == "constructor" {
		if dotted || start > 0 && t[start-1] == '[' {
			s.note(rSink, 0.85, j, i+1)
		}
		return
	}
	score := 0.25 * weight
	switch {
	case s.x.open >= 0 && weight > 0.5:
		score = 0.7 * weight
	case s.afterQuote(t, j):
		score = 0.92 * max(weight, 0.7)
	case s.taint(t, i):
		score = 0.75 * weight
	case weight == 1 && t[i] == '`':
		score = 0.75
	case weight == 1 && j > 0 && start-j == 0 && joins(t[j-1]):
		score = 0.55
	case weight >= 0.95 && probe(t, i):
		score = 0.6
	case dotted && weight == 1 && !hasFold(t, j, "window."):
		score = 0.05 // dialog.alert(
	}
	s.note(rSink, score, j, i+1)
}

// objectStart goes back from the last name of a.b[0].c to the first, and past
// "new".
func objectStart(t string, j int) int {
	start := j
	for j > 0 && start-j < 40 {
		c := t[j-1]
		if !isLetter(c) && c != '.' && c != ']' && c != '[' && c != '$' && (c-'0' >= 10 || t[j] != ']') && !(c == ')' && t[j] == '.') && !(c == '(' && t[j] == ')') {
			break
		}
		j--
	}
	if j >= 4 && t[j-1] == ' ' && hasFold(t, j-4, "new") {
		j -= 4
	}
	return j
}

// assignment judges what a script that was broken into sets: ";location='//x'.
func (s *scan) assignment(t string, i, j int, name []byte) {
	switch string(name) {
	case "innerhtml", "outerhtml", "location", "href", "src", "cookie", "domain", "onerror":
		if k := objectStart(t, j); s.afterQuote(t, k) && (k < j || string(name) == "location") {
			s.note(rScriptBreakout, 0.85, k, i+1)
		}
	}
}

// afterQuote says whether only what ends a literal stands between an odd quote
// and j.
func (s *scan) afterQuote(t string, j int) bool {
	q := s.x.odd
	if q < 0 || q >= j || j-q > 32 {
		return false
	}
	glue := uint8(0)
	for k := q + 1; k < j; k++ {
		between := glueBytes[t[k]]
		if between == 0 {
			return false
		}
		glue |= between
	}
	return glue&gluing != 0
}

const (
	gluing   = 1 << iota // ends a literal or goes on with an expression
	harmless             // may stand beside
)

var glueBytes = func() (t [256]uint8) {
	for c := range byte(' ' + 1) {
		t[c] = harmless
	}
	for _, c := range []byte("({[\\") {
		t[c] = harmless
	}
	for _, c := range []byte(";+-*/|&,^%><?:=!~\n})]") {
		t[c] = gluing
	}
	return t
}()

// taint says whether the arguments at i name what a script steals. Calls come in
// their order, so what one found clean the next does not read again.
func (s *scan) taint(t string, i int) bool {
	k, end := max(i, s.x.cleanTo), min(len(t), i+48)
	for ; k < end; k++ {
		s.work++
		if taints(t, i, k) {
			break
		}
	}
	s.x.cleanTo = max(k, s.x.cleanTo)
	return k < end
}

func taints(t string, i, k int) bool {
	switch t[k] | 0x20 {
	case 'd':
		return hasFold(t, k, "document.")
	case 'c':
		return hasFold(t, k, "cookie")
	case 's':
		return hasFold(t, k, "string.fromcharcode")
	case 'a':
		return hasFold(t, k, "atob(") || k > i+1 && hasFold(t, k, "alert(")
	case 'x':
		return hasFold(t, k, "xss")
	case 'l':
		return hasFold(t, k, "location.") || hasFold(t, k, "localstorage")
	}
	return false
}

// probe says whether the call at i has the argument of a probe: (1), (/x/), (“x”).
func probe(t string, i int) bool {
	n := 0
	for k := i + 1; k < len(t) && k < i+8; k++ {
		switch c := t[k]; {
		case c == ')':
			return n > 0
		case c-'0' < 10:
			n++
		default:
			return c == '/' && n == 0
		}
	}
	return false
}

func joins(c byte) bool {
	return c == ';' || c == '-' || c == '+' || c == '*' || c == '^' || c == '|' || c == '&' || c == ',' || c == '%' || c == '}' || c == '/' || c == '!'
}

// indirect judges calls of a name in parentheses or brackets: (alert)(1),
// top["al"+"ert"](1).
func (s *scan) indirect(t string, i, j int) {
	closer, k := t[j-1], s.x.lastOpen
	if closer == ']' {
		k = s.x.lastList
	}
	if k < 0 || j-k > 48 {
		return
	}
	inner := t[k+1 : j-1]
	var buf [40]byte
	if closer == ')' {
		if inner != "" && sinkNames.may(inner) && sinkScore[string(lowered(&buf, inner))] > 0.6 {
			s.note(rSink, 0.88, k, i+1)
		}
		return
	}
	w := k
	for w > 0 && k-w < 12 && isLetter(t[w-1]) {
		w--
	}
	switch string(lowered(&buf, t[w:k])) {
	case "window", "top", "self", "parent", "frames", "globalthis", "this", "document":
		if len(inner) > 1 && (inner[0] == '\'' || inner[0] == '"' || inner[0] == '/' || inner[0] == '`' || inner[0]-'0' < 10 || inner[0]|0x20 == 'a') {
			score := 0.6
			for q := 1; q < len(inner); q++ {
				if inner[q] == '+' || inner[q] == '/' {
					score = 0.88
				}
			}
			if len(inner) > 6 && sinkScore[string(lowered(&buf, inner[1:len(inner)-1]))] > 0 {
				score = 0.9
			}
			s.note(rSink, score, w, i+1)
		}
	}
}

func (s *scan) expression(t string, i, j int) {
	for k := j; k > 0 && j-k < 24; k-- {
		switch c := t[k-1]; {
		case c == ':' || c == '=':
			s.note(rCSS, 0.85, k-1, i+1)
			return
		case c > ' ' && c != '*' && c != '/' && c != '"' && c != '\'' && c != '\\':
			return
		}
	}
}

// template judges {{…}}, ${…}, #{…} and *{…}: a sum of digits is a probe, a way to
// a constructor is an escape from the sandbox.
func (s *scan) template(t string, i int) {
	if i+2 >= len(t) {
		return
	}
	double := t[i+1] == '{'
	sigil := i > 0 && (t[i-1] == '$' || t[i-1] == '#' || t[i-1] == '*' || t[i-1] == '@' || t[i-1] == '~')
	if !double && !sigil || i > 0 && t[i-1] == '{' || i < s.x.braceTo {
		return
	}
	from := i + 1
	if double {
		from++
	}
	end := from
	for end < len(t) && end < from+160 && t[end] != '}' {
		end++
	}
	s.x.braceTo = end
	inner := t[from:end]
	start := i
	if sigil {
		start--
	}
	if arithmetic(inner) {
		s.note(rTemplate, 0.85, start, end)
	}
	for k := 0; k+1 < len(inner); k++ {
		by := &templateBy[inner[k]]
		if by.next>>(inner[k+1]&31)&1 == 0 {
			continue
		}
		for _, w := range by.words {
			if hasFold(inner, k, w) {
				s.note(rTemplate, 0.85, start, end)
				return
			}
		}
	}
}

// templateBy is templateWords by their first byte, in either case, with five bits
// of the bytes that come second.
var templateBy = func() (t [256]struct {
	next  uint32
	words []string
}) {
	add := func(c byte, w string) {
		t[c].next |= 1 << (w[1] & 31)
		t[c].words = append(t[c].words, w)
	}
	for _, w := range templateWords {
		add(w[0], w)
		if w[0]-'a' < 26 {
			add(w[0]-0x20, w)
		}
	}
	return t
}()

var templateWords = [...]string{"constructor", "__proto__", "__class__", "__globals__", "__init__", "alert(", "alert`", "$eval", "$on.", "getruntime", "t(java", "require(", "process.", "request.", "self.", "config.items", "cycler.", "lipsum", "_self.env", "document.", "fromcharcode", "import(", "tostring().", "eval(", "prompt(", "confirm(", "onerror"}

// arithmetic says whether s is only digits and operators, with one of each.
func arithmetic(s string) bool {
	digits, ops := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c-'0' < 10:
			digits++
		case c == '*' || c == '+' || c == '-' || c == '/':
			if digits > 0 {
				ops++
			}
		case c <= ' ' || c == '\'' || c == '"' || c == '(' || c == ')':
		default:
			return false
		}
	}
	return digits > 1 && ops > 0
}

// symbols judges a run of nothing but brackets, signs and braces, which some
// encoders make of a script. Runs are judged once.
func (s *scan) symbols(t string, i int) {
	if i < s.x.symbolsTo {
		return
	}
	brackets, signs := 0, 0
	j := i
	for j < len(t) && j < i+400 {
		switch t[j] {
		case '[', ']', '(', ')':
			brackets++
		case '!', '+':
			signs++
		case '{', '}', '$', '_', '.', '"', ':', '~', '=', ';', ',':
		default:
			goto done
		}
		j++
	}
done:
	s.x.symbolsTo = j
	if j-i >= 24 && brackets >= 8 && signs >= 3 {
		s.note(rSymbols, 0.88, i, j)
	}
}
