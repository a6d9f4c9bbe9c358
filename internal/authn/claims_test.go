package authn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// Whatever is signed by us and is not exactly what we mint is refused all the
// same: a signing oracle elsewhere must not become a login.
func TestClaimAttacks(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	now := o.now().Unix()
	id := o.who.Tenant.String()
	sid, jti := uuid.NewString(), uuid.NewString()
	base := func() claims {
		return claims{Issuer: self, Audience: self + "/v1", Subject: "user-1", Client: firstParty, Tenant: id, User: "user-1", Kind: "user",
			Roles: []string{"developer", "viewer"}, Session: sid, Epoch: 7, IssuedAt: now, NotBefore: now, Expires: now + 900, ID: jti}
	}
	good := base()
	text, err := good.encode()
	if err != nil {
		t.Fatal(err)
	}
	honest := string(text)
	if _, err := o.verifier.Verify(o.sign(t, honest)); err != nil {
		t.Fatalf("the attacks below would prove nothing: %v", err)
	}
	swap := func(old, new string) string {
		if !strings.Contains(honest, old) {
			t.Fatalf("%s does not hold %s", honest, old)
		}
		return strings.Replace(honest, old, new, 1)
	}
	edit := func(f func(*claims)) string {
		c := base()
		f(&c)
		text, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	exp := fmt.Sprintf(`"exp":%d`, now+900)
	cases := map[string]struct {
		payload string
		cause   error
	}{
		"other issuer":              {edit(func(c *claims) { c.Issuer = "https://evil.example" }), ErrIssuer},
		"issuer with a slash":       {edit(func(c *claims) { c.Issuer += "/" }), ErrIssuer},
		"no issuer":                 {edit(func(c *claims) { c.Issuer = "" }), ErrIssuer},
		"other audience":            {edit(func(c *claims) { c.Audience = self }), ErrAudience},
		"audience list":             {swap(`"aud":"`+self+`/v1"`, `"aud":["`+self+`/v1","https://evil.example"]`), ErrClaims},
		"expired":                   {edit(func(c *claims) { c.IssuedAt, c.NotBefore, c.Expires = now-900, now-900, now }), ErrExpired},
		"no exp":                    {swap(exp+",", ""), ErrClaims},
		"exp null":                  {swap(exp, `"exp":null`), ErrClaims},
		"exp zero":                  {edit(func(c *claims) { c.Expires = 0 }), ErrLifetime},
		"exp negative":              {edit(func(c *claims) { c.Expires = -1 }), ErrLifetime},
		"exp string":                {swap(exp, fmt.Sprintf(`"exp":"%d"`, now+900)), ErrClaims},
		"exp fraction":              {swap(exp, exp+".5"), ErrClaims},
		"exp with .0":               {swap(exp, exp+".0"), ErrClaims},
		"exp 1e10":                  {swap(exp, `"exp":1e10`), ErrClaims},
		"exp beyond int64":          {swap(exp, `"exp":99999999999999999999`), ErrClaims},
		"exp int64 max":             {edit(func(c *claims) { c.Expires = 1<<63 - 1 }), ErrLifetime},
		"a year":                    {edit(func(c *claims) { c.Expires = now + 365*86400 }), ErrLifetime},
		"exp before iat":            {edit(func(c *claims) { c.Expires = now - 1 }), ErrLifetime},
		"overflowing lifetime":      {edit(func(c *claims) { c.IssuedAt, c.NotBefore, c.Expires = -1<<63, -1<<63, 1<<63-1 }), ErrLifetime},
		"not yet":                   {edit(func(c *claims) { c.IssuedAt, c.NotBefore, c.Expires = now+11, now+11, now+911 }), ErrNotYet},
		"nbf without iat":           {edit(func(c *claims) { c.NotBefore = now + 60 }), ErrLifetime},
		"iat negative":              {edit(func(c *claims) { c.IssuedAt, c.NotBefore, c.Expires = -5, -5, 895 }), ErrLifetime},
		"iat in the far future":     {edit(func(c *claims) { c.IssuedAt, c.NotBefore, c.Expires = now+86400, now+86400, now+87300 }), ErrNotYet},
		"second exp":                {swap(exp, exp+`,"exp":9999999999`), ErrClaims},
		"same exp twice":            {swap(exp, exp+","+exp), ErrClaims},
		"second tenant first":       {swap(`{"iss"`, `{"tenant_id":"`+uuid.NewString()+`","iss"`), ErrClaims},
		"Tenant_ID":                 {swap(`"sid"`, `"Tenant_ID":"`+uuid.NewString()+`","sid"`), ErrClaims},
		"EXP":                       {swap(`"exp"`, `"EXP"`), ErrClaims},
		"unknown claim":             {swap(`"sid"`, `"admin":true,"sid"`), ErrClaims},
		"proto":                     {swap(`"sid"`, `"__proto__":{},"sid"`), ErrClaims},
		"white space":               {swap(`,"sid"`, `, "sid"`), ErrClaims},
		"leading white space":       {" " + honest, ErrClaims},
		"trailing line break":       {honest + "\n", ErrClaims},
		"two objects":               {honest + honest, ErrClaims},
		"trailing bytes":            {honest + "x", ErrClaims},
		"escaped":                   {swap("developer", `de\u0076eloper`), ErrClaims},
		"bom":                       {"\ufeff" + honest, ErrClaims},
		"bad utf-8":                 {swap("user-1", "user-\xff"), ErrClaims},
		"bad utf-8, both":           {strings.ReplaceAll(honest, "user-1", "user-\xff"), ErrClaims},
		"replacement character":     {strings.ReplaceAll(honest, "user-1", "user-\ufffd"), ErrClaims},
		"array":                     {"[" + honest + "]", ErrClaims},
		"null":                      {"null", ErrClaims},
		"empty object":              {"{}", ErrClaims},
		"empty":                     {"", ErrClaims},
		"string":                    {`"` + id + `"`, ErrClaims},
		"deep":                      {strings.Repeat(`[`, 2500) + strings.Repeat(`]`, 2500), ErrClaims},
		"other order":               {swap(`"epoch":7,"iat":`+fmt.Sprint(now), `"iat":`+fmt.Sprint(now)+`,"epoch":7`), ErrClaims},
		"no tenant":                 {edit(func(c *claims) { c.Tenant = "" }), ErrClaims},
		"zero tenant":               {edit(func(c *claims) { c.Tenant = uuid.Nil.String() }), ErrClaims},
		"tenant in capitals":        {edit(func(c *claims) { c.Tenant = strings.ToUpper(id) }), ErrClaims},
		"tenant in braces":          {edit(func(c *claims) { c.Tenant = "{" + id + "}" }), ErrClaims},
		"tenant is sql":             {edit(func(c *claims) { c.Tenant = "' or ''='" }), ErrClaims},
		"no subject":                {edit(func(c *claims) { c.Subject, c.User = "", "" }), ErrClaims},
		"subject with a slash":      {edit(func(c *claims) { c.Subject, c.User = "a/b", "a/b" }), ErrClaims},
		"subject with a line break": {edit(func(c *claims) { c.Subject, c.User = "a\nb", "a\nb" }), ErrClaims},
		"endless subject":           {edit(func(c *claims) { c.Subject, c.User = strings.Repeat("a", 129), strings.Repeat("a", 129) }), ErrClaims},
		"user is not the subject":   {edit(func(c *claims) { c.User = "user-2" }), ErrClaims},
		"no client":                 {edit(func(c *claims) { c.Client = "" }), ErrClaims},
		"no session":                {edit(func(c *claims) { c.Session = "" }), ErrClaims},
		"zero session":              {edit(func(c *claims) { c.Session = uuid.Nil.String() }), ErrClaims},
		"no jti":                    {edit(func(c *claims) { c.ID = "" }), ErrClaims},
		"negative epoch":            {edit(func(c *claims) { c.Epoch = -1 }), ErrClaims},
		"unknown role":              {edit(func(c *claims) { c.Roles = []string{"god"} }), ErrClaims},
		"role twice":                {edit(func(c *claims) { c.Roles = []string{"viewer", "viewer"} }), ErrClaims},
		"roles in other order":      {edit(func(c *claims) { c.Roles = []string{"viewer", "developer"} }), ErrClaims},
		"roles null":                {edit(func(c *claims) { c.Roles = nil }), ErrClaims},
		"roles string":              {swap(`["developer","viewer"]`, `"developer"`), ErrClaims},
		"a million roles":           {swap(`["developer","viewer"]`, `[`+strings.Repeat(`"viewer",`, 500)+`"viewer"]`), ErrClaims},
		"no kind":                   {edit(func(c *claims) { c.Kind = "" }), ErrClaims},
		"unknown kind":              {edit(func(c *claims) { c.Kind = "god" }), ErrClaims},
		"anonymous":                 {edit(func(c *claims) { c.Kind = "anonymous" }), ErrClaims},
		"platform admin as user":    {edit(func(c *claims) { c.Roles = []string{"platform_admin"} }), ErrClaims},
		"operator outside":          {edit(func(c *claims) { c.Kind, c.Roles = "operator", []string{"platform_admin"} }), ErrClaims},
		"service account as admin":  {edit(func(c *claims) { c.Kind, c.Roles = "service_account", []string{"tenant_admin"} }), ErrClaims},
		"user with grants":          {edit(func(c *claims) { c.Grants = []string{"agents.read"} }), ErrClaims},
		"unknown grant": {edit(func(c *claims) {
			c.Kind, c.Roles, c.Grants = "service_account", []string{"service_account"}, []string{"everything"}
		}), ErrClaims},
		"empty grants":           {swap(`"sid"`, `"grants":[],"sid"`), ErrClaims},
		"agent without agent":    {edit(func(c *claims) { c.Kind, c.Roles = "agent", []string{"agent"} }), ErrClaims},
		"user with an agent":     {edit(func(c *claims) { c.Agent = uuid.NewString() }), ErrClaims},
		"agent with more roles":  {edit(func(c *claims) { c.Kind, c.Roles, c.Agent = "agent", []string{"viewer", "agent"}, uuid.NewString() }), ErrClaims},
		"cnf empty":              {edit(func(c *claims) { c.Confirm = &confirm{} }), ErrClaims},
		"cnf short":              {edit(func(c *claims) { c.Confirm = &confirm{"AAAA"} }), ErrClaims},
		"cnf zero":               {edit(func(c *claims) { c.Confirm = &confirm{strings.Repeat("A", 43)} }), ErrClaims},
		"cnf line break":         {edit(func(c *claims) { c.Confirm = &confirm{strings.Repeat("B", 20) + "\n" + strings.Repeat("B", 22) + "A"} }), ErrClaims},
		"cnf with stray bits":    {edit(func(c *claims) { c.Confirm = &confirm{strings.Repeat("B", 43)} }), ErrClaims},
		"cnf of another kind":    {swap(`}`, `,"cnf":{"jkt":"AA"}}`), ErrClaims},
		"cnf and another member": {swap(`}`, `,"cnf":{"x5t#S256":"`+strings.Repeat("B", 42)+`A","jku":"x"}}`), ErrClaims},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := o.sign(t, c.payload)
			if len(token) > MaxToken {
				t.Fatal("would be refused for its length alone")
			}
			for range 2 { // a refusal is not remembered as anything else
				_, err := o.verifier.Verify(token)
				wantRefusal(t, err, c.cause)
			}
		})
	}
}
