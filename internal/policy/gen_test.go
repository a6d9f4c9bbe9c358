package policy

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write actions_gen.go from actions.csv")

// TestActionsGenerated holds the Go constants to actions.csv.
func TestActionsGenerated(t *testing.T) {
	text, err := os.ReadFile("actions.csv")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(text)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("actions_gen.go", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("actions_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("actions_gen.go is not what actions.csv says; run: go test ./internal/policy -run TestActionsGenerated -update")
	}
}

func generate(text []byte) ([]byte, error) {
	rows, err := readCSV("actions.csv", text, 4)
	if err != nil {
		return nil, err
	}
	if len(rows)-1 > 127 {
		return nil, fmt.Errorf("%d actions do not fit an ActionSet", len(rows)-1)
	}
	kinds := map[string]string{"read": "Read", "write": "Write"}
	audiences := map[string]string{"tenant": "ForTenant", "self": "ForSelf", "platform": "ForPlatform", "public": "ForPublic"}
	var consts, infos strings.Builder
	seen := map[string]bool{}
	for i, row := range rows[1:] {
		c := row.cells
		kind, audience := kinds[c[1]], audiences[c[2]]
		if kind == "" || audience == "" || c[3] == "" || seen[c[0]] {
			return nil, fmt.Errorf("actions.csv: line %d is not good", row.line)
		}
		seen[c[0]] = true
		name := goName(c[0])
		iota := ""
		if i == 0 {
			iota = " Action = iota + 1"
		}
		fmt.Fprintf(&consts, "\t%s%s // %s\n", name, iota, c[3])
		fmt.Fprintf(&infos, "\t%s: {%q, %s, %s, %q},\n", name, c[0], kind, audience, c[3])
	}
	return format.Source([]byte("// Code generated from actions.csv by TestActionsGenerated -update. DO NOT EDIT.\n\npackage policy\n\nconst (\n" +
		consts.String() + ")\n\nvar actions = [...]actionInfo{\n" + infos.String() + "}\n"))
}

func goName(action string) string {
	var b strings.Builder
	for _, w := range strings.FieldsFunc(action, func(r rune) bool { return r == '.' || r == '_' }) {
		switch w {
		case "mfa", "oauth":
			b.WriteString(map[string]string{"mfa": "MFA", "oauth": "OAuth"}[w])
		default:
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
	}
	return b.String()
}
