// Package deps tests the plan of the house: which package may import which,
// and who may open a tenant's door.
package deps

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/Nissimmiracles/openclaw/"

// allowed lists, per package, the packages of ours it may import. Nouns stand
// below, technologies beside, wiring on top; a package that is not listed fails
// the test, so a new one has to say where it stands. "x/..." covers a family.
var allowed = map[string][]string{
	"internal/fault":  {},
	"internal/tenant": {"internal/fault"},

	// The log's words, and what proves it.
	"internal/audit/...": {"internal/audit/...", "internal/fault", "verify"},
	"verify/...":         {"verify/..."},
	// Sinks read rooms' logs and send them out.
	"internal/audit/sink/...": {"internal/plane", "internal/tenant", "internal/yamlfile"},
	"internal/yamlfile":       {},

	// Nouns.
	"internal/plane":        {"internal/audit", "internal/fault", "internal/tenant"},
	"internal/policy/...":   {"internal/policy/...", "internal/fault", "internal/tenant"},
	"internal/quota/...":    {"internal/quota/...", "internal/fault", "internal/tenant", "internal/yamlfile"},
	"internal/shield/...":   {"internal/shield/...", "internal/fault"},
	"internal/inspect/...":  {"internal/inspect/...", "internal/fault"},
	"internal/authn/...":    {"internal/authn/...", "internal/policy", "internal/fault", "internal/tenant"},
	"internal/identity/...": {"internal/identity/...", "internal/authn", "internal/plane", "internal/policy", "internal/audit", "internal/fault", "internal/tenant"},
	"internal/agent":        {"internal/plane", "internal/audit", "internal/fault", "internal/tenant"},

	// Technologies: they import owners, never each other.
	"internal/postgres":          {"internal/agent", "internal/audit/...", "verify", "internal/authn", "internal/identity", "internal/plane", "internal/policy", "internal/shield", "internal/fault", "internal/tenant"},
	"internal/postgres/pgtest":   {"internal/postgres", "internal/embedded/...", "internal/audit", "internal/plane", "internal/tenant"},
	"internal/redis/...":         {"internal/redis/...", "internal/quota/...", "internal/fault", "internal/tenant"},
	"internal/s3":                {"internal/audit/archive"},
	"internal/s3/s3test":         {"internal/s3"},
	"internal/embedded/pgserver": {},
	"internal/evm":               {"internal/audit/anchor"},

	// The path of a request.
	"internal/gateway":              {"internal/audit", "internal/authn", "internal/plane", "internal/policy", "internal/quota", "internal/shield/...", "internal/inspect/...", "internal/gateway/...", "internal/fault", "internal/tenant"},
	"internal/gateway/upstream/...": {"internal/gateway/upstream/...", "internal/policy", "internal/quota", "internal/fault", "internal/authn", "internal/yamlfile"},
	"internal/gateway/csrf":         {"internal/fault"},
	"internal/api":                  {"internal/agent", "internal/audit/...", "internal/authn", "internal/gateway/...", "internal/identity/...", "internal/inspect/...", "internal/plane", "internal/policy", "internal/quota", "internal/shield", "internal/fault", "internal/tenant"},

	// Wiring: it knows everybody, and only main knows it.
	"internal/app":       {"..."},
	"internal/cli":       {"..."},
	"cmd/openclaw":       {"internal/cli"},
	"internal/deps":      {},
	"internal/tools/...": {},

	// Servers of other modules, for tests alone.
	"internal/testservers": {},

	"internal/e2e/...": {"..."},
}

// onlyBy lists packages that few may import: everybody else goes through what
// their owner offers.
var onlyBy = map[string][]string{
	"internal/postgres":          {"internal/app", "internal/cli", "internal/postgres/pgtest", "internal/e2e/..."},
	"internal/redis":             {"internal/app", "internal/e2e/..."},
	"internal/s3":                {"internal/app", "internal/s3/s3test"},
	"internal/embedded/pgserver": {"internal/app", "internal/postgres/pgtest", "internal/e2e/..."},
	"internal/app":               {"internal/cli", "internal/e2e/..."},
	"internal/cli":               {"cmd/openclaw", "internal/e2e/..."},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Dir        string
	GoFiles    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Dir,GoFiles", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var ps []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == base || strings.HasPrefix(name, base+"/")
	}
	return pattern == name
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func TestImportsFollowThePlan(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, listed := []string(nil), false
		for pattern, list := range allowed {
			if matches(pattern, name) {
				may, listed = append(may, list...), true
			}
		}
		if !listed {
			t.Errorf("%s stands nowhere in the plan: list it in allowed", name)
			continue
		}
		for _, imp := range p.Imports {
			imp, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if !matchesAny(may, imp) {
				t.Errorf("%s imports %s, which the plan does not allow", name, imp)
			}
			if by, ok := onlyBy[imp]; ok && !matchesAny(by, name) && name != imp {
				t.Errorf("%s imports %s, which only %v may", name, imp, by)
			}
		}
	}
}

// Who opens doors and who writes without a Room: the calls by name, over the
// code that ships.
func TestFewOpenDoors(t *testing.T) {
	t.Parallel()
	holders := map[string][]string{
		"NewDoor":        {"internal/app", "internal/postgres/pgtest"},
		"Admit":          {"internal/gateway", "internal/identity", "internal/postgres/pgtest", "internal/shield/listen"}, // shield's Admit is an address's
		"AdmitAnyStatus": {"internal/gateway", "internal/identity", "internal/app"},
		"NewRoom":        {},
	}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if by, guarded := holders[sel.Sel.Name]; guarded && !matchesAny(by, name) && name != "internal/tenant" && !strings.HasPrefix(name, "internal/shield") && !strings.HasPrefix(name, "internal/e2e") {
					t.Errorf("%s/%s calls %s, which only %v may", name, file, sel.Sel.Name, by)
				}
				return true
			})
		}
	}
}
