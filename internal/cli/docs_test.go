package cli_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/cli"
)

var (
	codeSpan   = regexp.MustCompile("(?s)```[a-z]*\n(.*?)```|`([^`\n]+)`")
	makeCall   = regexp.MustCompile(`(?m)(?:^|\n|&& )make ([a-z][a-z-]*)`)
	verbCall   = regexp.MustCompile(`(?m)(?:^|[\s(])(?:bin/)?openclaw ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*){0,2})?([^\n|;]*)`)
	longFlag   = regexp.MustCompile(`--[a-z][a-z-]+`)
	shouted    = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b`)
	endpoint   = regexp.MustCompile(`(?:^|[\s"'(]|\$API|[A-Z] )(/v1/[A-Za-z0-9/_{}$-]+)`)
	sourcePath = regexp.MustCompile(`^(?:\./)?[a-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.-]+)+$`)
	link       = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	goTest     = regexp.MustCompile(`go test ([^\n|;]*)`)
	goRun      = regexp.MustCompile(`-(?:run|bench|fuzz)[ =]'?([A-Za-z]+)`)
	goFolder   = regexp.MustCompile(`(?:\./|\.\.\.)[a-z][a-z0-9/]*`)
)

// What documents name has to be there: make targets, verbs and their flags,
// variables, endpoints, files, and the tests that measure a figure.
func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	house := readHouse(t, root)
	documents := []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"}
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(more) == 0 {
		t.Fatalf("documents: %v, %v", more, err)
	}
	for _, m := range more {
		documents = append(documents, filepath.Join("docs", filepath.Base(m)))
	}
	for _, name := range documents {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range link.FindAllStringSubmatch(string(text), -1) {
				if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), m[1])); err != nil {
					t.Errorf("a link to %s: %v", m[1], err)
				}
			}
			for _, m := range codeSpan.FindAllStringSubmatch(string(text), -1) {
				for _, complaint := range house.check(m[1] + m[2]) {
					t.Error(complaint)
				}
			}
		})
	}
}

// The test itself has to notice.
func TestDocumentsAreDoubted(t *testing.T) {
	t.Parallel()
	house := readHouse(t, filepath.Join("..", ".."))
	for _, wrong := range []string{
		"make nothing", "openclaw agents list", "openclaw tenant destroy", "openclaw dev --nothing", "NO_SUCH_VARIABLE=1",
		"curl https://localhost:3000 $API/v1/nothing", "internal/nothing/nothing.go", "gateway/nothing.go",
		"go test -bench NoSuchThing ./internal/shield", "go test -run TestRest ./internal/nothing",
	} {
		if len(house.check(wrong)) == 0 {
			t.Errorf("%q passes", wrong)
		}
	}
	for _, right := range []string{
		"make run", "openclaw", "bin/openclaw tenant create initech --admin peter@initech.example", "PORT and DATABASE_URL=x",
		"`$API/v1/memories/$ID`", "internal/shield/sets.go", "gateway/gateway.go", "go test -run '^$' -bench Limiter ./internal/shield",
	} {
		if c := house.check(right); len(c) > 0 {
			t.Errorf("%q: %v", right, c)
		}
	}
}

// house is what there is to name.
type house struct {
	files   map[string]bool // and folders, from the root
	text    string          // of all code, for names
	tests   map[string]string
	targets []string
	routes  []*regexp.Regexp
}

func readHouse(t *testing.T, root string) *house {
	t.Helper()
	h := &house{files: map[string]bool{}, tests: map[string]string{}}
	var text strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "bin", "data"}, name) {
			return filepath.SkipDir
		}
		h.files[filepath.ToSlash(name)] = true
		code := strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".sql") || strings.HasSuffix(name, ".sh") || name == "Makefile"
		if d.IsDir() || !code || strings.HasSuffix(name, "docs_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text.Write(b)
		if strings.HasSuffix(name, "_test.go") {
			h.tests[filepath.ToSlash(filepath.Dir(name))] += string(b)
		}
		if name == "Makefile" {
			for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(b), -1) {
				h.targets = append(h.targets, m[1])
			}
		}
		if strings.HasPrefix(filepath.ToSlash(name), "internal/api/") {
			for _, m := range regexp.MustCompile(`"(/v1/[^"]*)"`).FindAllStringSubmatch(string(b), -1) {
				pattern := regexp.MustCompile(`\\\{[^/]*\\\}`).ReplaceAllString(regexp.QuoteMeta(m[1]), `[^/]+`)
				h.routes = append(h.routes, regexp.MustCompile("^"+pattern+"$"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.text = text.String()
	return h
}

// check returns what a piece of code in a document names and is not there.
func (h *house) check(code string) (complaints []string) {
	say := func(what, name string) { complaints = append(complaints, what+": "+name) }
	for _, m := range makeCall.FindAllStringSubmatch(code, -1) {
		if !slices.Contains(h.targets, m[1]) {
			say("no make target", m[1])
		}
	}
	for _, m := range verbCall.FindAllStringSubmatch(code, -1) {
		h.verb(strings.Fields(m[1]), m[2], say)
	}
	for _, name := range shouted.FindAllString(code, -1) {
		if !strings.Contains(h.text, name) && !strings.HasPrefix(name, "TLS_AES_") {
			say("nothing in the code is called", name)
		}
	}
	for _, m := range endpoint.FindAllStringSubmatch(code, -1) {
		path := strings.TrimRight(m[1], "/")
		if !slices.ContainsFunc(h.routes, func(r *regexp.Regexp) bool { return r.MatchString(path) }) {
			say("no endpoint", path)
		}
	}
	if path := strings.TrimPrefix(code, "./"); sourcePath.MatchString(code) {
		first, _, _ := strings.Cut(path, "/")
		ours := slices.Contains([]string{"internal", "docs", "cmd", "scripts", "verify", "tools"}, first) || strings.HasSuffix(path, ".go")
		if ours && !h.files[path] && !h.files["internal/"+path] {
			say("no such path", path)
		}
	}
	for _, m := range goTest.FindAllStringSubmatch(code, -1) {
		var in string
		for _, f := range goFolder.FindAllString(m[1], -1) {
			if folder := strings.TrimSuffix(strings.TrimPrefix(f, "./"), "/"); strings.HasPrefix(f, "./") {
				if !h.files[folder] {
					say("no such package", f)
				}
				in += h.tests[folder]
			}
		}
		for _, name := range goRun.FindAllStringSubmatch(m[1], -1) {
			if in != "" && !regexp.MustCompile(`func (?:Test|Benchmark|Fuzz)\w*`+strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(name[1], "Test"), "Benchmark"), "Fuzz")).MatchString(in) {
				say("no test", name[1]+" for "+m[1])
			}
		}
	}
	return complaints
}

// verb tries a command line's help, which names the command it belongs to.
func (h *house) verb(words []string, rest string, say func(what, name string)) {
	help := func(words []string) string {
		var out bytes.Buffer
		cli.Main(append(slices.Clone(words), "--help"), strings.NewReader(""), &out, &out)
		return out.String()
	}
	known := 0
	var text string
	for n := len(words); n > 0; n-- {
		line := strings.Join(words[:n], " ")
		if text = help(words[:n]); line == "audit verify" && strings.Contains(text, "-house-key") { // the offline verifier's own help
			known = n
			break
		}
		if strings.Contains(text, "openclaw "+line+" ") {
			known = n
			break
		}
	}
	switch {
	case len(words) > 0 && known == 0:
		say("no verb", words[0])
		return
	case known < len(words) && strings.Contains(text, "Available Commands"):
		say("no verb", strings.Join(words, " "))
		return
	}
	for _, f := range longFlag.FindAllString(rest, -1) {
		if known > 0 && !strings.Contains(text, strings.TrimPrefix(f, "-")) {
			say("no flag", "openclaw "+strings.Join(words[:known], " ")+" "+f)
		}
	}
}
