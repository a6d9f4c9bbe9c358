// Package sqllint finds SQL that is not known before it runs. Statements are
// constants and values are parameters; what is joined, formatted, built, looked
// up or received at run time and then handed to a method that runs SQL is a
// finding. So is a method that runs SQL where it is not called, for nobody sees
// what it will be given.
//
// It reads syntax only. In packages that import pgx or database/sql the SQL
// argument of the methods in sinks has to be made of constants, through variables
// of the same function and parameters of functions of the same package: a helper
// that passes its argument on is a sink itself. pgx.Identifier{…}.Sanitize() may
// be joined, for names cannot be parameters. A line that must do otherwise says
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
	"ExecParams": 1, "CopyTo": 2, // of pgconn
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
	l := linter{fset: token.NewFileSet(), consts: map[string]bool{}, lists: map[string]bool{}, helpers: map[string]int{}, allowed: map[string]bool{}}
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
	lists   map[string]bool // and of lists and maps of it
	helpers map[string]int  // functions that pass a parameter on to a sink, and which
	allowed map[string]bool // file:line of exceptions
	found   map[token.Pos]string
}

func (l *linter) run() []Finding {
	for _, f := range l.files {
		l.collect(f)
	}
	l.forgetAssigned()
	for before := -1; before != len(l.helpers); { // helpers of helpers
		before = len(l.helpers)
		l.found = map[token.Pos]string{}
		for _, f := range l.files {
			for _, d := range f.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Body != nil {
						l.function(d.Name.Name, d.Type, d.Body)
					}
				case *ast.GenDecl: // functions that stand in variables
					l.function("", &ast.FuncType{Params: &ast.FieldList{}}, d)
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
				switch {
				case g.Tok == token.CONST, i < len(v.Values) && l.constant(v.Values[i]):
					l.consts[name.Name] = true
				case i < len(v.Values) && l.listOfConstants(v.Values[i]):
					l.lists[name.Name] = true
				}
			}
		}
	}
}
