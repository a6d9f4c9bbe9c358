package csrf

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

var key = []byte(strings.Repeat("k", 32))

func setup(t *testing.T, at *time.Time) *Guard {
	t.Helper()
	g, err := New(Options{Key: key, TTL: time.Hour, TrustedOrigins: []string{"https://console.example"}, Now: func() time.Time { return *at }})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func request(method, token, cookie string) *http.Request {
	r := httptest.NewRequest(method, "https://api.example/v1/agents", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if token != "" {
		r.Header.Set(Header, token)
	}
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: Cookie, Value: cookie})
	}
	return r
}

func TestCheck(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := setup(t, &now)
	token, err := g.Token("session-1")
	if err != nil {
		t.Fatal(err)
	}
	other, _ := g.Token("session-2")
	strange, err := New(Options{Key: []byte(strings.Repeat("x", 32)), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	forged, _ := strange.Token("session-1")
	flip := func(s string, i int) string {
		b := []byte(s)
		if b[i]++; b[i] == 'z'+1 || b[i] == 'Z'+1 || b[i] == '9'+1 {
			b[i] = 'a'
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		r       *http.Request
		session string
		ok      bool
	}{
		"good":                  {request("POST", token, token), "session-1", true},
		"delete":                {request("DELETE", token, token), "session-1", true},
		"get needs none":        {request("GET", "", ""), "session-1", true},
		"bearer needs none":     {request("POST", "", ""), "", true},
		"bearer cross site":     {cross(request("POST", "", "")), "", true},
		"no token":              {request("POST", "", token), "session-1", false},
		"no cookie":             {request("POST", token, ""), "session-1", false},
		"differ":                {request("POST", token, other), "session-1", false},
		"another session's":     {request("POST", other, other), "session-1", false},
		"another key's":         {request("POST", forged, forged), "session-1", false},
		"expiry changed":        {request("POST", flip(token, 9), flip(token, 9)), "session-1", false},
		"mac changed":           {request("POST", flip(token, 60), flip(token, 60)), "session-1", false},
		"garbage":               {request("POST", "x", "x"), "session-1", false},
		"cut":                   {request("POST", token[:20], token[:20]), "session-1", false},
		"cross site, all right": {cross(request("POST", token, token)), "session-1", false},
		"foreign origin":        {origin(request("POST", token, token), "https://evil.example"), "session-1", false},
		"trusted origin":        {origin(request("POST", token, token), "https://console.example"), "session-1", true},
		"two cookies":           {second(request("POST", token, token), other), "session-1", false},
		"two headers":           {twice(request("POST", token, token)), "session-1", false},
		"odd method":            {request("get", "", ""), "session-1", false},
	} {
		err := g.Check(c.r, c.session)
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && fault.CodeOf(err) != fault.CSRF {
			t.Errorf("%s: code %s", name, fault.CodeOf(err))
		}
	}
	now = now.Add(time.Hour)
	if err := g.Check(request("POST", token, token), "session-1"); err == nil {
		t.Error("an expired token passed")
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := setup(t, &now)
	token, _ := g.Token("s")
	r := request("POST", "", token)
	r.PostForm = url.Values{Field: {token}}
	if err := g.Check(r, "s"); err != nil {
		t.Error(err)
	}
	// a token in the query string would be in logs and referrers
	r = request("POST", "", token)
	r.URL.RawQuery = Field + "=" + token
	if err := g.Check(r, "s"); err == nil {
		t.Error("a token from the query passed")
	}
}

func TestOverTLS(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := setup(t, &now)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			token, _ := g.Token("s")
			g.SetCookie(w, token)
			return
		}
		if err := g.Check(r, "s"); err != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	c := res.Cookies()[0]
	if !c.Secure || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteStrictMode || c.Name != Cookie {
		t.Errorf("cookie %+v", c)
	}
	for header, want := range map[string]int{c.Value: 200, "": 403} {
		r, _ := http.NewRequest("POST", srv.URL, nil)
		r.AddCookie(&http.Cookie{Name: Cookie, Value: c.Value})
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if header != "" {
			r.Header.Set(Header, header)
		}
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%q: %d", header, res.StatusCode)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"short key":  {Key: key[:31]},
		"no key":     {},
		"negative":   {Key: key, TTL: -1},
		"bad origin": {Key: key, TrustedOrigins: []string{"console.example"}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	g, _ := New(Options{Key: key})
	if _, err := g.Token(""); err == nil {
		t.Error("a token without a session")
	}
}

func FuzzVerify(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	g, err := New(Options{Key: key, Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	good, _ := g.Token("s")
	f.Add(good)
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		// one session has many tokens, but none that this guard did not sign
		if g.verify(token, "s") == nil && g.verify(token, "t") == nil {
			t.Fatalf("%q opens two sessions", token)
		}
	})
}

func cross(r *http.Request) *http.Request {
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return r
}

func origin(r *http.Request, o string) *http.Request {
	r.Header.Del("Sec-Fetch-Site")
	r.Header.Set("Origin", o)
	return r
}

func second(r *http.Request, value string) *http.Request {
	r.AddCookie(&http.Cookie{Name: Cookie, Value: value})
	return r
}

func twice(r *http.Request) *http.Request {
	r.Header.Add(Header, r.Header.Get(Header))
	return r
}
