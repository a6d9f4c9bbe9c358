package deps

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// No receipt, no effect, and no third way: what changes the database goes
// through Room.Change, what acts on the outside world through Room.Act. The
// tests below hold that by what code may say where.

// writesSQL is where statements that change rows may stand, and why.
var writesSQL = map[string]string{
	"internal/postgres":          "Change, Act and what keeps the log itself",
	"internal/app":               "tries, in a transaction that is rolled back, that the log cannot be rewritten (dev's self-test)",
	"internal/tools/sqllint/...": "samples of what it finds, never run",
	"internal/inspect/...":       "samples of attacks, sent to no database",
	"internal/e2e/...":           "tests",
	"internal/postgres/pgtest":   "tests",
	"internal/testservers/...":   "servers that tests bring up",
}

// actsOutside is where code may reach out of the process, and how an act there
// gets its events, or why it needs none.
var actsOutside = map[string]string{
	"internal/gateway/upstream/...": "gateway.proxy calls it inside Room.Act, or for a read",
	"internal/audit/sink/syslog":    "copies of events that are in the log; a sink's changes of state are events",
	"internal/audit/sink/wire":      "the same, for the sinks over HTTP",
	"internal/audit/witness":        "shows checkpoints to witnesses; their answers are kept beside the log",
	"internal/s3":                   "archives the log; what is there is read back and compared with it",
	"internal/evm":                  "anchors roots of checkpoints in a chain, never events",
	"internal/app":                  "hands transports to the above, and dev's self-test asks itself",
	"internal/embedded/pgserver":    "runs the private database that the log lives in",
	"internal/redis/redistest":      "tests",
	"internal/s3/s3test":            "tests",
	"internal/e2e/...":              "tests",
	"internal/testservers/...":      "tests",
}

// observes lists who writes an event without a change or an act, and what it
// observes: a read, a refusal, a login, a fault. Anything else is a change or an
// act.
var observes = map[string]string{
	"internal/gateway.settleRefusal": "a refusal (and the flood's counter, which has the same name)",
	"internal/gateway.settleRead":    "a plain read, before its answer",
	"internal/gateway.record":        "a plain read, promised before its answer",
	"internal/gateway.summarize":     "refusals that a flood left out",
	"internal/gateway.decide":        "a text that was flagged and passed",
	"internal/identity.loginFailed":  "a login that failed",
	"internal/identity.clientFailed": "a client's login that failed",
	"internal/app.announceOff":       "with which protections off the process starts",
	"internal/app.note":              "faults of stores and files, refused reloads, what the shield did on its own",
	"internal/app.logReady":          "how long the log took no events, once it takes them again",
	"internal/app.inTenant":          "that the archive of a tenant halted",
	"internal/audit/sink.announce":   "that a sink stopped or delivers again",
}

var (
	rowWriter = regexp.MustCompile(`(?is)\b(INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|TRUNCATE\s+\w|MERGE\s+INTO|COPY\s+\w+\s+FROM)\b`)
	outside   = map[string][]string{
		"net":               {"Dial", "DialTCP", "DialUDP", "DialUnix", "DialIP", "DialTimeout", "Dialer"},
		"net/http":          {"Client", "DefaultClient", "DefaultTransport", "Transport", "Get", "Post", "PostForm", "Head", "NewRequest", "NewRequestWithContext"},
		"crypto/tls":        {"Dial", "DialWithDialer", "Dialer", "Client"},
		"os/exec":           {"Command", "CommandContext"},
		"os":                {"StartProcess"},
		"net/smtp":          {"SendMail", "Dial", "NewClient"},
		"syscall":           {"ForkExec", "StartProcess", "Exec"},
		"net/rpc":           {"Dial", "DialHTTP"},
		"log/syslog":        {"Dial", "New"},
		"net/http/httputil": {"ReverseProxy", "NewSingleHostReverseProxy"},
	}
)

func allowedIn(table map[string]string, name string) (pattern string, ok bool) {
	for pattern := range table {
		if matches(pattern, name) {
			return pattern, true
		}
	}
	return "", false
}

// found is what one package says.
type found struct{ sql, outside, observes []string }

func inspectFile(f *ast.File, fset *token.FileSet, name string) (out found) {
	imports := map[string]string{}
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		local := path[strings.LastIndexByte(path, '/')+1:]
		if i.Name != nil {
			local = i.Name.Name
		}
		imports[local] = path
	}
	for _, d := range f.Decls {
		within := "a declaration"
		if fn, ok := d.(*ast.FuncDecl); ok {
			within = fn.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && rowWriter.MatchString(text) {
					out.sql = append(out.sql, fset.Position(n.Pos()).String())
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(outside[imports[x.Name]], n.Sel.Name) {
					out.outside = append(out.outside, fmt.Sprintf("%s: %s.%s", fset.Position(n.Pos()), x.Name, n.Sel.Name))
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) == 2 && slices.Contains([]string{"Record", "RecordAll", "Note", "Keep"}, sel.Sel.Name) {
					out.observes = append(out.observes, name+"."+within)
				}
			}
			return true
		})
	}
	return out
}

func TestNoThirdWay(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, file := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got := inspectFile(f, fset, name)
			if _, ok := allowedIn(writesSQL, name); !ok {
				for _, at := range got.sql {
					t.Errorf("%s changes rows; a change of the database goes through Room.Change, whose statements stand in internal/postgres", at)
				}
			}
			if pattern, ok := allowedIn(actsOutside, name); !ok {
				for _, at := range got.outside {
					t.Errorf("%s reaches out of the process; an act on the outside world goes through Room.Act: say in actsOutside how", at)
				}
			} else if len(got.outside) > 0 {
				used[pattern] = true
			}
			if !strings.HasPrefix(name, "internal/postgres") && name != "internal/plane" && !strings.HasPrefix(name, "internal/e2e") {
				for _, who := range got.observes {
					if observes[who] == "" {
						t.Errorf("%s writes an event beside what it does; a change goes through Room.Change and an act through Room.Act: only who merely observes is listed in observes", who)
					}
					used[who] = true
				}
			}
		}
	}
	for _, list := range []map[string]string{actsOutside, observes} {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			if !used[name] {
				t.Errorf("%s is listed and does no such thing any more", name)
			}
		}
	}
}

// The test can fail: each way around the two is seen.
func TestTheThirdWayIsSeen(t *testing.T) {
	t.Parallel()
	const text = `package x
import ("context"; "net/http"; run "os/exec"; "net")
func sneak(room Room, db DB) {
	db.Exec(ctx, "delete  from agents")
	db.Exec(ctx, ` + "`WITH a AS (SELECT 1)\n insert\n into b SELECT 2`" + `)
	http.Get("https://x"); run.Command("rm"); _ = &net.Dialer{}; _ = http.Client{}
	room.Record(ctx, ev)
	room.Note(ctx, ev)
	room.Change(ctx, ev, f)
	db.Exec(ctx, "SELECT deleted, updated FROM agents")
}`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "x.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	got := inspectFile(f, fset, "x")
	if len(got.sql) != 2 || len(got.outside) != 4 || !slices.Equal(got.observes, []string{"x.sneak", "x.sneak"}) {
		t.Errorf("seen: %+v", got)
	}
}
