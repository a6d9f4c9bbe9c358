// Package sqllint finds SQL that is built from strings where it runs. Statements
// are constants and values are parameters; what is joined, formatted or built
// at run time and then handed to a method that runs SQL is a finding.
//
// It reads syntax only. In packages that import pgx or database/sql it follows
// the SQL argument of the methods in sinks to the variables of the same function
// and through the parameters of functions of the same package, so a helper that
// passes its argument on is a sink itself. pgx.Identifier{…}.Sanitize() may be
// joined, for names cannot be parameters. A line that must do otherwise says
// why: //sqllint:allow followed by the reason, on the line or the one above.
package sqllint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Finding is one place.
type Finding struct {
	Pos  token.Position
	What string
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s", f.Pos, f.What) }

// sinks are the methods that run SQL and which argument is the statement.
var sinks = map[string]int{
	"Query": 1, "QueryRow": 1, "Exec": 1, "QueryFunc": 1, "Prepare": 2, "Queue": 0,
	"QueryContext": 1, "QueryRowContext": 1, "ExecContext": 1, "PrepareContext": 1,
}

// Dir reads all packages below root, leaving out testdata, vendor, hidden
// folders, test files and packages that import testing: a test may set its own
// stage.
func Dir(root string) ([]Finding, error) {
	packages := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lint sql: %w", err)
	}
	var all []Finding
	for _, files := range packages {
		found, err := Files(files)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].String() < all[j].String() })
	return all, nil
}

// Files reads the files of one package.
func Files(names []string) ([]Finding, error) {
	l := linter{fset: token.NewFileSet(), consts: map[string]bool{}, helpers: map[string]int{}, allowed: map[string]bool{}}
	runsSQL, forTests := false, false
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("lint sql: %w", err)
		}
		f, err := parser.ParseFile(l.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("lint sql: %w", err)
		}
		l.files = append(l.files, f)
		sql, test := imports(f)
		runsSQL, forTests = runsSQL || sql, forTests || test
	}
	if !runsSQL || forTests {
		return nil, nil
	}
	return l.run(), nil
}

// imports says whether f can run SQL, and whether it is a stage for tests.
func imports(f *ast.File) (sql, test bool) {
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		sql = sql || path == "database/sql" || strings.HasPrefix(path, "github.com/jackc/pgx/")
		test = test || path == "testing"
	}
	return sql, test
}

type linter struct {
	fset    *token.FileSet
	files   []*ast.File
	consts  map[string]bool // package-level names of constant text
	helpers map[string]int  // functions that pass a parameter on to a sink, and which
	allowed map[string]bool // file:line of exceptions
	found   map[token.Pos]string
}

func (l *linter) run() []Finding {
	for _, f := range l.files {
		l.collect(f)
	}
	for before := -1; before != len(l.helpers); { // helpers of helpers
		before = len(l.helpers)
		l.found = map[token.Pos]string{}
		for _, f := range l.files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
					l.function(fn)
				}
			}
		}
	}
	var out []Finding
	for pos, what := range l.found {
		p := l.fset.Position(pos)
		if !l.allowed[key(p.Filename, p.Line)] {
			out = append(out, Finding{p, what})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

func key(file string, line int) string { return file + ":" + strconv.Itoa(line) }

func (l *linter) collect(f *ast.File) {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if reason, ok := strings.CutPrefix(c.Text, "//sqllint:allow"); ok && len(strings.TrimSpace(reason)) > 9 {
				p := l.fset.Position(c.Pos())
				l.allowed[key(p.Filename, p.Line)] = true
				l.allowed[key(p.Filename, p.Line+1)] = true
			}
		}
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST && g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if g.Tok == token.CONST || i < len(v.Values) && l.constant(v.Values[i]) {
					l.consts[name.Name] = true
				}
			}
		}
	}
}

// constant says whether e is text known before the program runs.
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
	case *ast.CallExpr:
		return sanitized(e)
	}
	return false
}

// scope is what one function knows of its names.
type scope struct {
	l      *linter
	fn     *ast.FuncDecl
	params map[string]int
	built  map[string]string // local variables whose text is built, and how
	consts map[string]bool   // local constants and quoted identifiers
	spoilt map[string]bool   // quoted identifiers that were assigned again
}

func (l *linter) function(fn *ast.FuncDecl) {
	sc := scope{l: l, fn: fn, params: map[string]int{}, built: map[string]string{}, consts: map[string]bool{}, spoilt: map[string]bool{}}
	n := 0
	for _, field := range fn.Type.Params.List {
		for _, name := range field.Names {
			sc.params[name.Name] = n
			n++
		}
		if len(field.Names) == 0 {
			n++
		}
	}
	ast.Inspect(fn.Body, sc.declares)
	ast.Inspect(fn.Body, sc.assigns) // quoted identifiers first
	clear(sc.built)
	for before := -1; before != len(sc.built); { // a = "x" + y; b = a
		before = len(sc.built)
		ast.Inspect(fn.Body, sc.assigns)
	}
	ast.Inspect(fn.Body, sc.calls)
}

func (sc *scope) declares(n ast.Node) bool {
	if g, ok := n.(*ast.GenDecl); ok && g.Tok == token.CONST {
		for _, spec := range g.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				sc.consts[name.Name] = true
			}
		}
	}
	return true
}

func (sc *scope) assigns(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			id, ok := left.(*ast.Ident)
			if !ok || len(n.Rhs) != len(n.Lhs) {
				continue
			}
			if sanitized(n.Rhs[i]) && n.Tok == token.DEFINE {
				sc.consts[id.Name] = true
				continue
			}
			if n.Tok != token.DEFINE {
				sc.spoilt[id.Name] = true
			}
			if how := sc.how(n.Rhs[i]); how != "" {
				sc.built[id.Name] = how
			} else if n.Tok == token.ADD_ASSIGN && !sc.constant(n.Rhs[i]) {
				sc.built[id.Name] = "joined"
			}
		}
	case *ast.ValueSpec:
		for i, v := range n.Values {
			if how := sc.how(v); how != "" && i < len(n.Names) {
				sc.built[n.Names[i].Name] = how
			}
		}
	}
	return true
}

func (sc *scope) constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return sc.consts[e.Name] && !sc.spoilt[e.Name] || sc.l.consts[e.Name]
	case *ast.ParenExpr:
		return sc.constant(e.X)
	case *ast.BinaryExpr:
		return sc.constant(e.X) && sc.constant(e.Y)
	}
	return sc.l.constant(e)
}

// sanitized says whether e is a quoted identifier.
func sanitized(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Sanitize" && len(call.Args) == 0
}

// builders are functions that make text from parts.
var builders = map[string]map[string]bool{
	"fmt":     {"Sprintf": true, "Sprint": true, "Sprintln": true, "Appendf": true},
	"strings": {"Join": true, "Replace": true, "ReplaceAll": true, "Repeat": true, "Map": true, "Concat": true},
	"bytes":   {"Join": true, "Replace": true, "ReplaceAll": true},
}

// how says in a word how e is built at run time, "" if it is not.
func (sc *scope) how(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return sc.how(e.X)
	case *ast.Ident:
		return sc.built[e.Name]
	case *ast.BinaryExpr:
		if e.Op != token.ADD || sc.constant(e) {
			return ""
		}
		return "joined"
	case *ast.CallExpr:
		switch f := e.Fun.(type) {
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok && builders[x.Name][f.Sel.Name] {
				return "made by " + x.Name + "." + f.Sel.Name
			}
			// the String of a builder or buffer
			if f.Sel.Name == "String" && len(e.Args) == 0 {
				if x, ok := f.X.(*ast.Ident); ok && sc.isBuilder(x.Name) {
					return "made by a builder"
				}
			}
			if f.Sel.Name == "Replace" && len(e.Args) == 1 {
				return "made by a replacer"
			}
		case *ast.Ident: // string(x)
			if f.Name == "string" && len(e.Args) == 1 && !sc.constant(e.Args[0]) {
				return "converted"
			}
		}
	}
	return ""
}

// isBuilder says whether name is declared in the function as a strings.Builder
// or bytes.Buffer.
func (sc *scope) isBuilder(name string) bool {
	found := false
	ast.Inspect(sc.fn.Body, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, id := range v.Names {
			if s, ok := v.Type.(*ast.SelectorExpr); ok && id.Name == name && (s.Sel.Name == "Builder" || s.Sel.Name == "Buffer") {
				found = true
			}
		}
		return true
	})
	return found
}

func (sc *scope) calls(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return true
	}
	var name string
	at, sink := 0, false
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
		if at, sink = sinks[name]; sink && at > 0 && len(call.Args) > 0 && sc.statementFirst(call.Args[0]) {
			at = 0 // database/sql's Query(sql) has no context
		}
		if !sink {
			at, sink = sc.l.helpers[name]
		}
	case *ast.Ident:
		name = f.Name
		at, sink = sc.l.helpers[name]
	}
	if !sink || at >= len(call.Args) {
		return true
	}
	arg := call.Args[at]
	if how := sc.how(arg); how != "" {
		sc.l.found[arg.Pos()] = fmt.Sprintf("the statement of %s is %s; use a constant and parameters", name, how)
	}
	if id, ok := arg.(*ast.Ident); ok && !sc.consts[id.Name] && !sc.l.consts[id.Name] {
		if i, ok := sc.params[id.Name]; ok && sc.fn.Name.Name != name {
			sc.l.helpers[sc.fn.Name.Name] = i
		}
	}
	return true
}

// statementFirst says whether the first argument is text and no context.
func (sc *scope) statementFirst(e ast.Expr) bool {
	if sc.how(e) != "" {
		return true
	}
	lit, ok := e.(*ast.BasicLit)
	return ok && lit.Kind == token.STRING
}
