package inject

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject/injecttest"
)

// ruleCases: for each rule a text that fires it and a near miss that must not be
// blocked.
var ruleCases = map[rule][2]string{
	rTautology:      {"x' OR 5=5", "either 2 or 3 will do"},
	rBoolean:        {"x' AND name LIKE 'a%' --", "the dogs' and cats' food"},
	rBreakout:       {"admin'--", "the boys' -- and a lot more to say about them"},
	rOrderBy:        {"1 ORDER BY 7--", "order by 5 pm"},
	rUnion:          {"-1 UNION SELECT NULL,NULL", "the union select committee met"},
	rSubselect:      {"1 AND (SELECT pw FROM users LIMIT 1)='x'", "(select one from the list)"},
	rStatement:      {"DROP TABLE users;", "Drop table reservations by 5 pm"},
	rStacked:        {"1; DELETE FROM users WHERE id=1", "pick a seat; select one; update us"},
	rTime:           {"1 AND SLEEP(5)", "time.sleep(5)"},
	rDangerFunc:     {"1 AND extractvalue(1,concat(0x7e,version()))", "POLYGON((0 0, 1 1, 2 0, 0 0))"},
	rExec:           {"'; EXEC xp_cmdshell 'dir'--", "exec summary of the meeting"},
	rFile:           {"1 INTO OUTFILE '/tmp/x'", "into outfile folders we go"},
	rCatalogue:      {"1 UNION SELECT a FROM information_schema.tables", "the information_schema is documented"},
	rCase:           {"(CASE WHEN (1=1) THEN 1 ELSE 0 END)", "in case when it rains then stay"},
	rHaving:         {"1 HAVING 1=1", "having 2 is like having none"},
	rFunc:           {"1 AND ascii(substring((select a from t),1,1))>64", "count(items) in the list"},
	rCharCode:       {"CHAR(113,98,98)", "char(1) or char(2) wide"},
	rInsert:         {"x','y',1)--", "'a', 'b' and (c)"},
	rVersion:        {"1 UNION SELECT @@version", "mail @@home"},
	rArithmetic:     {"'+(SELECT 1)+'", "'tis - 'twas"},
	rObfuscated:     {"1/**/UNION/**/SELECT/**/2", "see /* this */ note"},
	rMongo:          {`{"a":{"$ne":null}}`, `{"$schema":"x","$ref":"y"}`},
	rMongoJS:        {"'; return true; var x='", "return true; or not"},
	rCypherMatch:    {"MATCH (n:User) DETACH DELETE n", "match (see above) the colours"},
	rCypherClause:   {"x'}) RETURN n //", "the players' return date"},
	rCypherCall:     {"CALL dbms.procedures()", "call db support"},
	rCypherLoad:     {"LOAD CSV FROM 'http://e.vil/x' AS r RETURN r", "load csv from the shared drive"},
	rTag:            {"<script>x", "List<Script>"},
	rEvent:          {"<img src=x onerror=alert(1)>", "once = 1; online=true"},
	rScheme:         {"javascript:alert(1)", "JavaScript: The Good Parts"},
	rScriptBreakout: {`";location='//e.vil'//`, `"quoted"; location = home`},
	rSink:           {"'-alert(1)-'", "alert (level 3)"},
	rTemplate:       {"{{constructor.constructor('x')()}}", "{{ user.name }}"},
	rCSS:            {"<p style=x:expression(alert(1))>", "expression (calm)"},
	rAttribute:      {"<iframe srcdoc=x>", "srcdoc = attribute"},
	rMarkup:         {"</script>", "<- back"},
	rSymbols:        {"[][(![]+[])[+[]]+([![]]+[][[]])[+!+[]+[+[]]]", "a[0][1] + b[2]"},
	rUTF7:           {"+ADw-script+AD4-", "+1 555 0100"},
}

func TestRules(t *testing.T) {
	t.Parallel()
	sc := New()
	for r := rNone + 1; r < ruleCount; r++ {
		c, ok := ruleCases[r]
		if !ok {
			t.Errorf("%s has no case", rules[r].id)
			continue
		}
		sql, xss := sc.ScanBoth(c[0])
		fired := false
		for _, f := range append(sql.Findings, xss.Findings...) {
			fired = fired || f.Rule == rules[r].id
		}
		if !fired {
			t.Errorf("%s does not fire on %q: %v %v", rules[r].id, c[0], sql.Findings, xss.Findings)
		}
		if sql, xss := sc.ScanBoth(c[1]); sql.Decision == inspect.Block || xss.Decision == inspect.Block {
			t.Errorf("%s: near miss %q is blocked: %v %v", rules[r].id, c[1], sql, xss)
		}
	}
}

// Numbers where a number is wanted: probes are refused, formulas, sizes and
// choices are not.
func TestNumbers(t *testing.T) {
	t.Parallel()
	sc := New()
	for _, s := range []string{"1 AND 1=1", "1 and 1=2", "-1 OR 17-7=10", "7 or 2>1", "1 || 1=1", "12 OR 3 LIKE 3", "1) OR (1=1", "1 or true", "1 AND 2 BETWEEN 1 AND 3", "5=5",
		"31=7", "1 OR 1", "(1)or(1)", "2-1--", "1 or 1 is not null", "if(1=1,1,0)", "1 and 'a'='a'", "1%20or%201=1", "1/**/or/**/1=1", "1 having 1=1", "9 order by 3--"} {
		if v, _ := sc.ScanBoth(s); v.Decision != inspect.Block {
			t.Errorf("%q passes: %v", s, v)
		}
	}
	for _, s := range []string{"1", "-1", "3.14", "1e9", "3*4", "1*1", "12*5 cm", "3-2", "10+0", "1/2", "24/7", "10-12", "2024-01-01", "555-1212", "+1 555 0100", "1 = 1", "2+2=4", "1 + 1 = 2",
		"E=mc2", "x=1", "a=b", "3 and 4", "5 or 6", "0 or 1", "1 or 2 people", "4 or more", "room 1 and 2", "(3)", "f(3)=4", "5=V", "16:9", "1,2", "3x+2=7", "50%", "10^3", "9 mod 4"} {
		if v, x := sc.ScanBoth(s); v.Decision == inspect.Block || x.Decision == inspect.Block {
			t.Errorf("%q is refused: %v %v", s, v, x)
		}
	}
}

func TestSpansPointAtTheOriginal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"name=%27%20OR%201=1--&x=1":       "%27%20OR%201=1",
		"say &lt;script&gt;alert(1)":      "&lt;script",
		"ok \\u003cscript\\u003ealert(1)": "\\u003cscript",
		"ＡＢ ＜script＞alert(1)＜/script＞":    "＜script",
	} {
		sql, xss := New().ScanBoth(text)
		found := false
		for _, f := range append(sql.Findings, xss.Findings...) {
			found = found || text[f.Start:f.End] == want
		}
		if !found {
			t.Errorf("%q: no span %q in %v %v", text, want, sql.Findings, xss.Findings)
		}
	}
}

// TestBuried: benign text around an attack does not hide it.
func TestBuried(t *testing.T) {
	t.Parallel()
	calm := strings.Repeat("It is a fine day, and the table by the window is free. ", 400)
	sc := New()
	for _, attack := range []string{"x' OR 1=1 --\n", "'; DROP TABLE users; --\n", "<script>alert(1)</script>", "<svg onload=alert(1)>", "1 UNION SELECT NULL,NULL FROM users"} {
		a, b := sc.ScanBoth(attack)
		c, d := sc.ScanBoth(calm + attack + calm)
		if c.Confidence < a.Confidence-0.4 || d.Confidence < b.Confidence-0.05 || c.Decision != inspect.Block && d.Decision != inspect.Block {
			t.Errorf("%q: alone %.2f %.2f, buried %.2f %.2f", attack, a.Confidence, b.Confidence, c.Confidence, d.Confidence)
		}
	}
}

func TestDetectorsAgreeWithBoth(t *testing.T) {
	t.Parallel()
	sc := New()
	for _, s := range injecttest.Dev(3)[:3000] {
		sql, xss := sc.ScanBoth(s.Text)
		// each alone may read further readings, never fewer
		if v := sc.SQL().Inspect(s.Text, inspect.User); v.Decision < sql.Decision && sql.Confidence > 0.9 {
			t.Errorf("%q: %v alone, %v with XSS", s.Text, v, sql)
		}
		if v := sc.XSS().Inspect(s.Text, inspect.User); v.Decision < xss.Decision && xss.Confidence > 0.9 {
			t.Errorf("%q: %v alone, %v with SQL", s.Text, v, xss)
		}
	}
}

func TestFastPathDoesNotAllocate(t *testing.T) {
	if racing {
		t.Skip("under the race detector pools drop at random, and so allocate")
	}
	sc := New()
	for _, text := range []string{"Anna Schmidt", "O'Connell St 12", "Please select a table, or update the order; thanks", "https://a.example/x?y=1&z=%20", "a < b and c > d", strings.Repeat("plain text ", 500)} {
		sc.ScanBoth(text)
		if n := testing.AllocsPerRun(100, func() { sc.ScanBoth(text) }); n >= 1 {
			t.Errorf("%.20q: %.0f allocations", text, n)
		}
	}
}

// FuzzScan: no panic, verdicts in range, spans inside the text, no trace of one
// text in the verdict on the next.
func FuzzScan(f *testing.F) {
	for _, c := range ruleCases {
		f.Add(c[0])
		f.Add(c[1])
	}
	for name, text := range hostile(3000) {
		_ = name
		f.Add(text)
	}
	f.Add("%")
	f.Add("&#xfffffffffffff;\\u{110000}\xc0\xe0\x80")
	f.Add("JyBPUiAxPTEgLS0=")
	sc := New()
	f.Fuzz(func(t *testing.T, text string) {
		sql, xss := sc.ScanBoth(text)
		for _, v := range []inspect.Verdict{sql, xss} {
			if v.Confidence < 0 || v.Confidence > 1 || (v.Decision == inspect.Block) != (v.Confidence > 0.5) {
				t.Fatalf("%q: %+v", text, v)
			}
			total := 0.0
			for i, x := range v.Findings {
				if x.Start < 0 || x.End < x.Start || x.End > len(text) || x.Rule == "" || x.Family == "" || i > 0 && x.Share > v.Findings[i-1].Share {
					t.Fatalf("%q: %+v", text, x)
				}
				total += x.Share
			}
			if len(v.Findings) > 0 && (v.Confidence >= faint && total < 0.999 || total > 1.001) {
				t.Fatalf("%q: shares add up to %v", text, total)
			}
		}
		again, _ := sc.ScanBoth(text)
		if again.Confidence != sql.Confidence {
			t.Fatalf("%q: %v, then %v", text, sql.Confidence, again.Confidence)
		}
	})
}

// FuzzDecode: offsets rise, stay inside the text, and there is one for each byte
// and the end.
func FuzzDecode(f *testing.F) {
	f.Add("%2527&lt;\\u0041\\x41&#x41;%u0041＜\xc0\xbc")
	f.Fuzz(func(t *testing.T, text string) {
		buf, off, changed := decodePass(nil, nil, text, nil)
		if len(off) != len(buf)+1 || int(off[len(buf)]) != len(text) {
			t.Fatalf("%q: %d bytes, %d offsets", text, len(buf), len(off))
		}
		for i := 1; i < len(off); i++ {
			if off[i] < off[i-1] {
				t.Fatalf("%q: offset %d falls", text, i)
			}
		}
		if !changed && string(buf) != text {
			t.Fatalf("%q became %q unchanged", text, buf)
		}
		if len(buf) > len(text)*utf8.UTFMax {
			t.Fatalf("%q grew to %d bytes", text, len(buf))
		}
	})
}

// FuzzTokens: tokens follow each other and cover only bytes of the text.
func FuzzTokens(f *testing.F) {
	f.Add("x' /*!50000 union*/ -- \n@@a $b \\N 0x1f 1e5", true)
	f.Fuzz(func(t *testing.T, text string, plus bool) {
		var l lexer
		l.reset(text, plus)
		last := int32(0)
		for range len(text) + 2 {
			var tok token
			l.next(&tok)
			if tok.kind == tEnd {
				return
			}
			if tok.start < last || tok.end <= tok.start || int(tok.end) > len(text) {
				t.Fatalf("%q: token %d–%d after %d", text, tok.start, tok.end, last)
			}
			last = tok.end
		}
		t.Fatalf("%q: more tokens than bytes", text)
	})
}
