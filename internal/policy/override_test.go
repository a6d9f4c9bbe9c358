package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// statement finds one policy with its @id.
var statement = regexp.MustCompile(`(?s)@id\("([a-z_]+)"\).*?;\n`)

func withText(policy string) (*Engine, error) {
	return load("site.cedar", []byte(policy), "roles.csv", defaultRoles)
}

func TestHostilePolicies(t *testing.T) {
	t.Parallel()
	ours := string(defaultPolicy)
	for name, c := range map[string]struct{ text, says string }{
		"permits everything": {`@id("all") permit (principal, action, resource);`, "sample cross_tenant:"},
		"permits all beside the walls": {ours + `@id("all") permit (principal, action, resource);`,
			"sample no_role:"},
		"forbids everything": {ours + `@id("none") forbid (principal, action, resource);`, "sample tenant_admin_not_locked_out:"},
		"empty":              {"", "0 policies"},
		"only a comment":     {"// nothing\n", "0 policies"},
		"syntax error": {"@id(\"a\")\npermit (principal, action, resource);\n\n@id(\"b\")\npermit (principal action, resource);\n",
			"site.cedar:5:25"},
		"unclosed string": {"@id(\"a\")\npermit (principal, action, resource) when { resource.id == \"x };\n", "site.cedar:2:60"},
		"not utf-8":       {"@id(\"a\") permit (principal, action, resource) when { resource.id == \"\xff\xfe\" };", "site.cedar"},
		"no id":           {"\n\npermit (principal, action, resource);", `line 3: the policy needs @id`},
		"strange id":      {`@id("Robert'); DROP") permit (principal, action, resource);`, "the policy needs @id"},
		"our own reason":  {`@id("no_policy_permits") permit (principal, action, resource);`, "the policy needs @id"},
		"an id twice":     {ours + "\n" + `@id("viewer") permit (principal in Role::"viewer", action == Action::"tenant.read", resource);`, `@id("viewer") is taken by the policy at line`},
		"unknown action":  {ours + `@id("x") permit (principal in Role::"viewer", action == Action::"agents.raed", resource);`, "agents.raed"},
		"unknown group":   {ours + `@id("x") permit (principal in Role::"viewer", action in Action::"area:agent", resource);`, "area:agent"},
		"unknown role":    {ours + `@id("x") permit (principal in Role::"veiwer", action == Action::"tenant.read", resource);`, `"veiwer" is not one`},
		"unknown role in a condition": {ours + `@id("x") permit (principal, action == Action::"tenant.read", resource) when { principal in [Role::"viewer", Role::"root"] };`,
			`"root" is not one`},
		"unknown attribute": {ours + `@id("x") forbid (principal, action, resource) when { principal.tennant == resource.tenant };`, "tennant"},
		"unknown context":   {ours + `@id("x") forbid (principal, action, resource) when { context.admin };`, "admin"},
		"wrong type":        {ours + `@id("x") forbid (principal, action, resource) when { principal.kind > 3 };`, "policy x"},
		"a back door for one name": {ours + `@id("x") permit (principal == Subject::"mallory", action in Action::"audience:tenant", resource);`,
			"proof: tenant.read: policy x may permit it without a credential"},
		"a back door by condition": {ours + `@id("x") permit (principal, action in Action::"audience:tenant", resource) when { principal.kind == "user" && principal.id == "mallory" };`,
			"policy x may permit it to a user without a role"},
		"a viewer who writes sometimes": {ours + `@id("x") permit (principal in Role::"viewer", action == Action::"memories.create", resource) when { resource.kind == "note" };`,
			"policy x may permit it to a viewer"},
		"a wall with a hole for one name": {strings.Replace(ours, `unless { principal.tenant == resource.tenant };`, `unless { principal.tenant == resource.tenant || principal.id == "mallory" };`, 1),
			"no forbid holds for everyone whose tenant is not the resource's"},
		"a wall with a hole for the house": {strings.Replace(ours, `unless { principal.tenant == resource.tenant };`, `unless { principal.tenant == resource.tenant || principal.tenant == Tenant::"house" };`, 1),
			"sample cross_tenant_from_house:"},
		"the channel with a hole": {strings.Replace(ours, `unless { context.admin_channel };`, `unless { context.admin_channel || principal.id like "root*" };`, 1),
			"no forbid holds for everyone outside the admin channel"},
		"agents on one another": {strings.Replace(ours, `principal.agent != "" && principal.agent == resource.agent`, `principal.agent == resource.agent || resource.kind == "shared"`, 1),
			"every agent on what is not its own"},
		"agents with any model": {strings.Replace(ours, `principal.models.contains(resource.model)`, `resource.model like "*"`, 1),
			"every agent on what is not its own or not allowed"},
		"an agent who reads the log": {ours + `@id("x") permit (principal in Role::"agent", action == Action::"audit.read", resource) when { resource.kind == "x" };` +
			"\n", "no forbid keeps every agent from it"},
		"a service account beyond its grants": {strings.Replace(ours, `unless { context.granted };`, `unless { context.granted || principal.id == "robot" };`, 1),
			"every service account that was not granted it"},
		"too long": {strings.Repeat("// x\n", maxText/4), "bytes, at most"},
		"too many": {strings.Repeat("@id(\"x\")permit(principal,action,resource);", maxPolicies+1), "policies, want"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.text == ours {
				t.Fatal("the hostile change did not apply")
			}
			if strings.HasPrefix(name, "an agent who reads") { // its other wall must fall first
				c.text = strings.Replace(c.text, "    Action::\"area:memories\",\n    Action::\"area:graph\",\n    Action::\"models.call\"", "    Action::\"area:memories\",\n    Action::\"area:audit\",\n    Action::\"area:graph\",\n    Action::\"models.call\"", 1)
			}
			e, err := withText(c.text)
			if err == nil || e != nil || !strings.Contains(words(err), c.says) {
				t.Fatalf("want an error with %q, not: %s", c.says, words(err))
			}
		})
	}
}

// TestEveryPolicyCarriesWeight takes each policy of ours away in turn.
func TestEveryPolicyCarriesWeight(t *testing.T) {
	t.Parallel()
	ids := statement.FindAllSubmatch(defaultPolicy, -1)
	if len(ids) != len(embedded(t).rules) {
		t.Fatalf("found %d policies in the text", len(ids))
	}
	for _, m := range ids {
		less := bytes.Replace(defaultPolicy, m[0], nil, 1)
		if _, err := withText(string(less)); err == nil {
			t.Errorf("without %s nobody notices", m[1])
		}
	}
}

// TestEveryCellCarriesWeight changes each cell of the table in turn.
func TestEveryCellCarriesWeight(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	for a := range Actions() {
		for col := range len(roleNames) {
			was := e.table.cells[a][col]
			for _, c := range []cell{cellYes, cellOwn, cellModel, cellTool, cellGranted, cellChannel, cellNo} {
				if c == was {
					continue
				}
				other := table{cells: append([][len(roleNames)]cell(nil), e.table.cells...)}
				other.cells[a][col] = c
				if e.compareCell(&other, a, Role(col)) == nil {
					t.Errorf("%s, %q: nobody notices %q instead of %q", a, Role(col), c, was)
				}
			}
		}
	}
}

func TestHostileTables(t *testing.T) {
	t.Parallel()
	ours := string(defaultRoles)
	row := regexp.MustCompile(`(?m)^runs\.cancel .*\n`)
	for name, c := range map[string]struct{ text, says string }{
		"empty":           {"", "nothing in it"},
		"a row is gone":   {row.ReplaceAllString(ours, ""), "no row for action runs.cancel"},
		"a row twice":     {ours + row.FindString(ours), "runs.cancel stands twice"},
		"unknown action":  {strings.Replace(ours, "runs.cancel ", "runs.cancle ", 1), `"runs.cancle" is not one`},
		"unknown role":    {strings.Replace(ours, "viewer", "veiwer", 1), `"veiwer" is not one`},
		"a role twice":    {strings.Replace(ours, "viewer", "analyst", 1), "analyst stands twice"},
		"unknown answer":  {strings.Replace(ours, "granted        , -             , -\n", "mostly, -, -\n", 1), `"mostly" is not an answer`},
		"a cell too many": {ours + "x,x,x,x,x,x,x,x,x,x,x,x\n", "wrong number of fields"},
		"other columns":   {strings.Replace(ours, "\naction ", "\nverb ", 1), "the first column"},
		"too long":        {ours + strings.Repeat("#\n", maxText), "bytes, at most"},
		"wishful": {row.ReplaceAllStringFunc(ours, func(s string) string { return strings.ReplaceAll(s, ", - ", ", yes") }),
			`runs.cancel, org_admin: the table says "yes", so allow, and the policy says deny`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load("policy.cedar", defaultPolicy, "site.csv", []byte(c.text))
			if err == nil || !strings.Contains(words(err), c.says) || !strings.Contains(words(err), "site.csv") {
				t.Fatalf("want an error with %q, not: %s", c.says, words(err))
			}
		})
	}
}

// TestOperatorsOwn: a narrower policy with a condition beyond the masks, and a
// wider one together with its table.
func TestOperatorsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	ours := embedded(t)
	narrow := write("narrow.cedar", string(defaultPolicy)+`
@id("board_papers")
forbid (principal in Role::"viewer", action in Action::"area:memories", resource)
when { resource.kind == "board" && 9223372036854775807 + (if resource.id == "broken" then 1 else 0) > 0 && !(resource.id like "public*") };
`)
	e, err := Load(Sources{PolicyFile: narrow})
	if err != nil {
		t.Fatal(err)
	}
	if e.Hash() == ours.Hash() {
		t.Error("another policy has the same hash")
	}
	for _, c := range []struct {
		kind, id string
		allow    bool
		reason   string
	}{
		{"board", "7", false, "board_papers"},
		{"board", "public7", true, "viewer"},
		{"note", "7", true, "viewer"},
		{"board", "broken", false, ReasonPolicyError}, // a forbid that fails stays shut
	} {
		d := e.Decide(user(Viewer), MemoriesRead, Resource{Tenant: tryTenant, Kind: c.kind, ID: c.id})
		if d.Allowed != c.allow || d.Reason != c.reason || d.Hash != e.Hash() {
			t.Errorf("%s %s: %+v", c.kind, c.id, d)
		}
	}
	if d := e.Decide(user(Developer), MemoriesRead, Resource{Tenant: tryTenant, Kind: "board", ID: "broken"}); !d.Allowed {
		t.Errorf("a forbid that cannot concern a developer: %+v", d)
	}
	if d := e.Consider(user(Viewer), MemoriesRead); !d.Allowed || !d.Conditional {
		t.Errorf("considered %+v", d)
	}

	wide := write("wide.cedar", strings.Replace(string(defaultPolicy), `    Action::"usage.read",`, `    Action::"usage.read", Action::"audit.read",`, 1))
	if _, err := Load(Sources{PolicyFile: wide}); err == nil || !strings.Contains(err.Error(), "audit.read, analyst") {
		t.Errorf("a policy wider than its table: %v", err)
	}
	lines := strings.Split(string(defaultRoles), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "audit.read") {
			cells := strings.Split(l, ",")
			cells[5] = "yes"
			lines[i] = strings.Join(cells, ",")
		}
	}
	e, err = Load(Sources{PolicyFile: wide, RolesFile: write("wide.csv", strings.Join(lines, "\n"))})
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Decide(user(Analyst), AuditRead, Resource{Tenant: tryTenant}); !d.Allowed || e.Expected(Analyst, AuditRead) != "yes" {
		t.Errorf("analyst: %+v", d)
	}
	// A permit that a forbid shuts again is no hole.
	shut := string(defaultPolicy) + `
@id("notes") permit (principal in Role::"viewer", action == Action::"memories.create", resource) when { resource.kind == "note" };
@id("not_yet") forbid (principal in Role::"viewer", action == Action::"memories.create", resource);
`
	if _, err := withText(shut); err != nil {
		t.Errorf("a permit behind a forbid: %v", err)
	}
	if _, err := Load(Sources{PolicyFile: filepath.Join(dir, "none.cedar")}); err == nil || !strings.Contains(err.Error(), "none.cedar") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Load(Sources{RolesFile: dir}); err == nil {
		t.Error("a folder is read as a table")
	}
}

// TestNestingIsBounded: each would blow the stack or the clock without limits.
func TestNestingIsBounded(t *testing.T) {
	t.Parallel()
	rule := func(cond string) string {
		return `@id("x") forbid (principal in Role::"viewer", action == Action::"agents.read", resource) when { ` + cond + " };"
	}
	nest := func(open, middle, shut string, n int) string {
		return strings.Repeat(open, n) + middle + strings.Repeat(shut, n)
	}
	var wide strings.Builder
	for range 500 {
		wide.WriteString(`(context.granted || principal.agent == "" || resource.tool == "" || principal.kind == "user") && `)
	}
	for name, cond := range map[string]string{
		"parentheses":           nest("(", "true", ")", 20000),
		"sets":                  nest("[", "true", "]", 20000) + " == [true]",
		"conditions in if":      nest("if ", "context.granted", " then context.admin_channel else context.granted", 500),
		"conditions in then":    nest("if context.granted then ", "true", " else false", 500),
		"conjunction":           wide.String() + "true",
		"negations":             nest("!(", "context.granted", ")", 5000),
		"a long disjunction":    strings.Repeat(`resource.id == "a" || `, 2500) + "false",
		"a long chain of sums":  strings.Repeat("1 + ", 10000) + "1 > 3",
		"attributes of records": strings.Repeat("{a: ", 4000) + "1" + strings.Repeat("}", 4000) + ".a == 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := withText(string(defaultPolicy) + rule(cond))
			if err == nil && e.Decide(user(Viewer), AgentsRead, Resource{Tenant: tryOther}).Allowed {
				t.Fatal("loaded, and the wall fell")
			}
		})
	}
}

// FuzzLoad: whatever loads keeps the walls, and never panics on the way.
func FuzzLoad(f *testing.F) {
	f.Add(defaultPolicy, defaultRoles)
	f.Add([]byte(`@id("all") permit (principal, action, resource);`), defaultRoles)
	f.Add(append(append([]byte(nil), defaultPolicy...), `@id("x") forbid (principal, action, resource) when { resource.id like "*x" };`...), defaultRoles)
	f.Add([]byte("@id(\"a\") permit"), []byte("action\n"))
	for _, m := range statement.FindAll(defaultPolicy, -1) {
		f.Add(m, []byte("action,viewer\nagents.read,yes\n"))
	}
	f.Add([]byte(`@id("x") forbid (principal, action in Action::"kind:write", resource) when { if resource.id > "a" then false else 1 + 1 == 3 };`), defaultRoles)
	f.Add([]byte(`@id("x") permit (principal in Role::"viewer", action == Action::"tenant.read", resource) unless { principal.kind != "agent" };`), []byte("x"))
	// Alone, and behind our own text, where what is small and odd gets further.
	f.Fuzz(func(t *testing.T, text, roles []byte) {
		keepsWalls(t, text, roles)
		keepsWalls(t, append(append([]byte(nil), defaultPolicy...), text...), defaultRoles)
	})
}

func keepsWalls(t *testing.T, text, roles []byte) {
	t.Helper()
	e, err := load("fuzz.cedar", text, "fuzz.csv", roles)
	if (err == nil) != (e != nil) {
		t.Fatalf("engine %v with error %v", e, err)
	}
	if err != nil {
		return
	}
	for a := range Actions() {
		for _, s := range []Subject{
			user(TenantAdmin), user(Viewer), user(TenantAdmin, OrgAdmin, Developer),
			{Tenant: tenant.House, ID: "op", Kind: KindOperator, Roles: NewRoleSet(PlatformAdmin)},
		} {
			r := Resource{Tenant: tryOther, Kind: "k", ID: "1"}
			if a.Audience() != ForPublic && e.Decide(s, a, r).Allowed {
				t.Fatalf("%s across tenants by %v", a, s.Roles.Names())
			}
			r.Tenant = s.Tenant
			d := e.Decide(s, a, r)
			if want, _ := judge(e, s, a, r); d.Allowed != want && d.Reason != ReasonPolicyError {
				t.Fatalf("%s by %v: %+v, cedar %t", a, s.Roles.Names(), d, want)
			}
		}
		if a.Audience() != ForPublic && e.Decide(Anonymous(), a, Resource{}).Allowed {
			t.Fatalf("%s by nobody", a)
		}
	}
}
