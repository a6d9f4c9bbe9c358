package inject

import "github.com/Nissimmiracles/openclaw/internal/inspect"

// rule is one reason for a verdict. Its name and family are what operators see;
// neither goes to a client.
type rule uint8

const (
	rNone rule = iota
	rTautology
	rBoolean
	rBreakout
	rOrderBy
	rUnion
	rSubselect
	rStatement
	rStacked
	rTime
	rDangerFunc
	rExec
	rFile
	rCatalogue
	rCase
	rHaving
	rFunc
	rCharCode
	rInsert
	rVersion
	rArithmetic
	rObfuscated
	rMongo
	rMongoJS
	rCypherMatch
	rCypherClause
	rCypherCall
	rCypherLoad

	rTag
	rEvent
	rScheme
	rScriptBreakout
	rSink
	rTemplate
	rCSS
	rAttribute
	rMarkup
	rSymbols
	rUTF7
	ruleCount
)

var rules = [ruleCount]struct {
	id, family string
	kind       inspect.Kind
}{
	rTautology:    {"sql.tautology", "boolean", inspect.SQL},
	rBoolean:      {"sql.boolean", "boolean", inspect.SQL},
	rBreakout:     {"sql.breakout", "breakout", inspect.SQL},
	rOrderBy:      {"sql.order_by_probe", "union", inspect.SQL},
	rUnion:        {"sql.union_select", "union", inspect.SQL},
	rSubselect:    {"sql.subselect", "subquery", inspect.SQL},
	rStatement:    {"sql.statement", "statement", inspect.SQL},
	rStacked:      {"sql.stacked", "stacked", inspect.SQL},
	rTime:         {"sql.time", "time", inspect.SQL},
	rDangerFunc:   {"sql.dangerous_function", "exfiltration", inspect.SQL},
	rExec:         {"sql.exec", "execution", inspect.SQL},
	rFile:         {"sql.file", "file", inspect.SQL},
	rCatalogue:    {"sql.catalogue", "catalogue", inspect.SQL},
	rCase:         {"sql.conditional", "boolean", inspect.SQL},
	rHaving:       {"sql.having", "boolean", inspect.SQL},
	rFunc:         {"sql.blind_function", "boolean", inspect.SQL},
	rCharCode:     {"sql.char_code", "obfuscation", inspect.SQL},
	rInsert:       {"sql.values_breakout", "breakout", inspect.SQL},
	rVersion:      {"sql.server_variable", "catalogue", inspect.SQL},
	rArithmetic:   {"sql.arithmetic_breakout", "breakout", inspect.SQL},
	rObfuscated:   {"sql.comment_obfuscation", "obfuscation", inspect.SQL},
	rMongo:        {"nosql.operator", "nosql", inspect.SQL},
	rMongoJS:      {"nosql.javascript", "nosql", inspect.SQL},
	rCypherMatch:  {"cypher.match", "cypher", inspect.SQL},
	rCypherClause: {"cypher.breakout", "cypher", inspect.SQL},
	rCypherCall:   {"cypher.call", "cypher", inspect.SQL},
	rCypherLoad:   {"cypher.load_csv", "cypher", inspect.SQL},

	rTag:            {"xss.tag", "markup", inspect.XSS},
	rEvent:          {"xss.event_handler", "event", inspect.XSS},
	rScheme:         {"xss.scheme", "scheme", inspect.XSS},
	rScriptBreakout: {"xss.script_breakout", "script", inspect.XSS},
	rSink:           {"xss.sink", "script", inspect.XSS},
	rTemplate:       {"xss.template", "template", inspect.XSS},
	rCSS:            {"xss.css", "css", inspect.XSS},
	rAttribute:      {"xss.attribute", "markup", inspect.XSS},
	rMarkup:         {"xss.markup_breakout", "markup", inspect.XSS},
	rSymbols:        {"xss.symbol_script", "obfuscation", inspect.XSS},
	rUTF7:           {"xss.utf7", "obfuscation", inspect.XSS},
}
