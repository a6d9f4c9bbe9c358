package sqllint

import (
	"fmt"
	"go/ast"
	"go/token"
)

// constant says whether e, in a declaration of the package, is text known before
// the program runs.
func (l *linter) constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.ParenExpr:
		return l.constant(e.X)
	case *ast.BinaryExpr:
		return l.constant(e.X) && l.constant(e.Y)
	case *ast.Ident:
		return l.consts[e.Name]
	}
	return false
}

// listOfConstants says whether e is a list or map whose values are constants.
func (l *linter) listOfConstants(e ast.Expr) bool {
	lit, ok := e.(*ast.CompositeLit)
	if !ok {
		return false
	}
	switch lit.Type.(type) {
	case *ast.ArrayType, *ast.MapType:
	default:
		return false
	}
	for _, v := range lit.Elts {
		if kv, ok := v.(*ast.KeyValueExpr); ok {
			v = kv.Value
		}
		if !l.constant(v) {
			return false
		}
	}
	return true
}

// forgetAssigned drops package variables that anything assigns, or takes the
// address of, after they were declared.
func (l *linter) forgetAssigned() {
	forget := func(e ast.Expr) {
		if x, ok := e.(*ast.IndexExpr); ok {
			e = x.X
		}
		if id, ok := e.(*ast.Ident); ok {
			delete(l.consts, id.Name)
			delete(l.lists, id.Name)
		}
	}
	for _, f := range l.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, left := range n.Lhs {
						forget(left)
					}
				}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					forget(n.X)
				}
			}
			return true
		})
	}
}

// scope is what one function knows of its names.
type scope struct {
	l      *linter
	name   string
	params map[string]int
	values map[string][]ast.Expr // what a name was given; nil: nobody knows
	busy   map[string]bool

	closures map[*ast.FuncLit]string // functions in place that have a name
	inner    map[string]place        // their parameters
	helpers  map[string]int          // and those that pass one on
}

// place is a parameter of a closure.
type place struct {
	closure string
	index   int
}

// unknown is the value of a name that nobody can follow.
var unknown ast.Expr

func (l *linter) function(name string, typ *ast.FuncType, body ast.Node) {
	sc := scope{l: l, name: name, params: map[string]int{}, values: map[string][]ast.Expr{}, busy: map[string]bool{},
		closures: map[*ast.FuncLit]string{}, inner: map[string]place{}, helpers: map[string]int{}}
	n := 0
	for _, field := range typ.Params.List {
		for _, p := range field.Names {
			sc.params[p.Name] = n
			n++
		}
		if len(field.Names) == 0 {
			n++
		}
	}
	if name != "" {
		ast.Inspect(body, sc.gives)
	} else {
		for _, lit := range literals(body) {
			ast.Inspect(lit, sc.gives)
		}
	}
	ast.Inspect(body, sc.calls)
}

// literals are the functions written in place in a declaration.
func literals(n ast.Node) (out []ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.FuncLit); ok {
			out = append(out, lit)
			return false
		}
		return true
	})
	return out
}

// gives notes what the names of a function are given.
func (sc *scope) gives(n ast.Node) bool {
	give := func(left, value ast.Expr) {
		if id, ok := left.(*ast.Ident); ok && id.Name != "_" {
			sc.values[id.Name] = append(sc.values[id.Name], value)
		}
	}
	switch n := n.(type) {
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if len(n.Rhs) == len(n.Lhs) {
				if lit, ok := n.Rhs[i].(*ast.FuncLit); ok && n.Tok == token.DEFINE {
					sc.closures[lit] = left.(*ast.Ident).Name
				}
				give(left, n.Rhs[i])
			} else {
				give(left, unknown)
			}
		}
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if i < len(n.Values) && len(n.Names) == len(n.Values) {
				give(name, n.Values[i])
			} else if len(n.Values) > 0 {
				give(name, unknown)
			} // else it is empty, until it is given something
		}
	case *ast.RangeStmt:
		if n.Key != nil {
			give(n.Key, unknown)
		}
		switch id, ok := n.X.(*ast.Ident); {
		case n.Value == nil:
		case ok && sc.l.lists[id.Name] && len(sc.values[id.Name]) == 0, sc.l.listOfConstants(n.X):
			give(n.Value, &ast.BasicLit{Kind: token.STRING})
		default:
			give(n.Value, unknown)
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			give(n.X, unknown)
		}
	case *ast.FuncLit:
		i := 0
		for _, field := range n.Type.Params.List {
			for _, name := range field.Names {
				if closure := sc.closures[n]; closure != "" && len(sc.values[name.Name]) == 0 {
					sc.inner[name.Name] = place{closure, i}
				} else {
					give(name, unknown)
				}
				i++
			}
		}
	}
	return true
}

// how says in a word why e is not known before the program runs, "" if it is.
func (sc *scope) how(e ast.Expr) string {
	switch e := e.(type) {
	case nil:
		return "made elsewhere"
	case *ast.BasicLit:
		return ""
	case *ast.ParenExpr:
		return sc.how(e.X)
	case *ast.Ident:
		values, local := sc.values[e.Name]
		if _, param := sc.params[e.Name]; param {
			return "a parameter"
		}
		if _, inner := sc.inner[e.Name]; inner {
			return "a parameter"
		}
		if !local {
			if sc.l.consts[e.Name] {
				return ""
			}
			return "a variable"
		}
		if sc.busy[e.Name] { // s = s + "…"
			return ""
		}
		sc.busy[e.Name] = true
		defer delete(sc.busy, e.Name)
		for _, v := range values {
			if how := sc.how(v); how != "" {
				return how
			}
		}
		return ""
	case *ast.BinaryExpr:
		if e.Op != token.ADD || sc.how(e.X) != "" || sc.how(e.Y) != "" {
			return "joined"
		}
		return ""
	case *ast.SelectorExpr:
		if e.Sel.Name == "SQL" { // of a pgx.QueuedQuery: what is put there is looked at
			return ""
		}
		return "a field"
	case *ast.IndexExpr:
		if id, ok := e.X.(*ast.Ident); ok && sc.l.lists[id.Name] && len(sc.values[id.Name]) == 0 {
			return ""
		}
		return "looked up"
	case *ast.CallExpr:
		if sanitized(e) {
			return ""
		}
		if f, ok := e.Fun.(*ast.SelectorExpr); ok {
			return "made by " + f.Sel.Name
		}
		return "made by a function"
	}
	return "not a constant"
}

// sanitized says whether e is a quoted identifier.
func sanitized(e *ast.CallExpr) bool {
	s, ok := e.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Sanitize" || len(e.Args) != 0 {
		return false
	}
	lit, ok := s.X.(*ast.CompositeLit)
	if !ok {
		return false
	}
	t, ok := lit.Type.(*ast.SelectorExpr)
	return ok && t.Sel.Name == "Identifier"
}

// calls looks at what runs SQL.
func (sc *scope) calls(n ast.Node) bool {
	for _, v := range uncalled(n) {
		if s, ok := v.(*ast.SelectorExpr); ok && isSink(s) {
			sc.l.found[s.Pos()] = fmt.Sprintf("%s is passed on as a value; call it with a constant and parameters", s.Sel.Name)
		}
	}
	switch n := n.(type) {
	case *ast.CallExpr:
		if name, at, sink := sc.sink(n); sink && at < len(n.Args) {
			sc.statement(name, n.Args[at])
		}
	case *ast.CompositeLit: // pgx.QueuedQuery{SQL: …}
		t, ok := n.Type.(*ast.SelectorExpr)
		if n.Type != nil && (!ok || t.Sel.Name != "QueuedQuery") {
			break
		}
		for _, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				if id, ok := kv.Key.(*ast.Ident); ok && id.Name == "SQL" {
					sc.statement("a queued query", kv.Value)
				}
			}
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if s, ok := left.(*ast.SelectorExpr); ok && s.Sel.Name == "SQL" {
				var value ast.Expr
				if len(n.Rhs) == len(n.Lhs) && n.Tok == token.ASSIGN {
					value = n.Rhs[i]
				}
				if how := sc.how(value); how != "" {
					sc.l.found[left.Pos()] = fmt.Sprintf("the statement of a queued query is %s; use a constant and parameters", how)
				}
			}
		}
	}
	return true
}

// statement judges what is handed to name. A parameter that is handed on makes
// a helper of its function.
func (sc *scope) statement(name string, arg ast.Expr) {
	if id, ok := arg.(*ast.Ident); ok && len(sc.values[id.Name]) == 0 {
		if in, ok := sc.inner[id.Name]; ok {
			sc.helpers[in.closure] = in.index
			return
		}
		if i, ok := sc.params[id.Name]; ok && sc.name != "" {
			if sc.name != name {
				sc.l.helpers[sc.name] = i
			}
			return
		}
	}
	if how := sc.how(arg); how != "" {
		sc.l.found[arg.Pos()] = fmt.Sprintf("the statement of %s is %s; use a constant and parameters", name, how)
	}
}

// uncalled are expressions in n that stand for a value.
func uncalled(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return n.Rhs
	case *ast.ValueSpec:
		return n.Values
	case *ast.ReturnStmt:
		return n.Results
	case *ast.CallExpr:
		return n.Args
	case *ast.KeyValueExpr:
		return []ast.Expr{n.Value}
	}
	return nil
}

// isSink says whether s, which nobody calls here, names a method that runs SQL.
func isSink(s *ast.SelectorExpr) bool {
	_, ok := sinks[s.Sel.Name]
	return ok
}

// sink says whether call runs SQL, and which argument is the statement.
func (sc *scope) sink(call *ast.CallExpr) (name string, at int, ok bool) {
	fun := call.Fun
	for {
		switch f := fun.(type) {
		case *ast.ParenExpr:
			fun = f.X
			continue
		case *ast.IndexExpr: // a generic function with its type
			fun = f.X
			continue
		case *ast.IndexListExpr:
			fun = f.X
			continue
		case *ast.Ident:
			if at, ok = sc.helpers[f.Name]; !ok {
				at, ok = sc.l.helpers[f.Name]
			}
			return f.Name, at, ok
		case *ast.SelectorExpr:
			name = f.Sel.Name
			if at, ok = sinks[name]; !ok {
				at, ok = sc.l.helpers[name]
				return name, at, ok
			}
			if p, method := f.X.(*ast.ParenExpr); method { // (*pgx.Conn).Exec(conn, ctx, sql)
				if _, star := p.X.(*ast.StarExpr); star {
					return name, at + 1, true
				}
			}
			if at > 0 && len(call.Args) > 0 && isText(call.Args[0]) {
				at = 0 // database/sql's Query(sql) has no context
			}
			return name, at, true
		}
		return "", 0, false
	}
}

// isText says whether an argument is a statement and no context.
func isText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit, *ast.BinaryExpr:
		return true
	case *ast.ParenExpr:
		return isText(e.X)
	}
	return false
}
