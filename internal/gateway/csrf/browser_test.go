package csrf

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// browser sends what a browser sends: every cookie it holds for the target (the
// worst case: SameSite is not what protects), where the request comes from, and
// nothing a page may not set.
type browser struct {
	client *http.Client
	jar    http.CookieJar
	old    bool // knows no Sec-Fetch-Site
}

func newBrowser(t *testing.T, addr string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Dial: func(network, _ string) (net.Conn, error) { return net.Dial(network, addr) }}
	t.Cleanup(tr.CloseIdleConnections)
	return &browser{client: &http.Client{Transport: tr, Jar: jar}, jar: jar}
}

// site is the scheme and the registrable domain, which for the names used here
// is the last two labels.
func site(u *url.URL) string {
	labels := strings.Split(u.Hostname(), ".")
	return u.Scheme + "://" + strings.Join(labels[len(labels)-2:], ".")
}

// submit sends a request from a page; page "" is the address bar, "null" a
// sandboxed frame.
func (b *browser) submit(t *testing.T, page, method, target string, form url.Values, token string) int {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if method != "GET" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	from := "none"
	switch {
	case page == "null":
		from = "cross-site"
		r.Header.Set("Origin", "null")
	case page != "":
		p, err := url.Parse(page)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Scheme == u.Scheme && p.Host == u.Host:
			from = "same-origin"
		case site(p) == site(u):
			from = "same-site"
		default:
			from = "cross-site"
		}
		if method != "GET" {
			r.Header.Set("Origin", p.Scheme+"://"+p.Host)
		}
	}
	if !b.old {
		r.Header.Set("Sec-Fetch-Site", from)
	}
	if token != "" {
		r.Header.Set(Header, token) // a page of another origin cannot, without CORS
	}
	res, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestBrowsers(t *testing.T) {
	t.Parallel()
	g, err := New(Options{Key: key, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" { // as any name: the session is in the query
			session := r.URL.Query().Get("as")
			token, err := g.Token(session)
			if err != nil {
				t.Error(err)
			}
			http.SetCookie(w, &http.Cookie{Name: Session, Value: session, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode})
			g.SetCookie(w, token)
			return
		}
		if r.URL.Path == "/plant" { // what a sibling site, or a network without HTTPS, may do to cookies
			for _, c := range strings.Split(r.URL.Query().Get("set"), "|") {
				w.Header().Add("Set-Cookie", c)
			}
			return
		}
		session := ""
		if c, err := r.Cookie(Session); err == nil {
			session = c.Value
		}
		if session == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
		if err := r.ParseForm(); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if err := g.Check(r, session); err != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(srv.Close)
	const app, sibling, evil = "https://console.example.com", "https://blog.example.com", "https://evil.example.org"
	login := func(t *testing.T, as string) (*browser, string) {
		b := newBrowser(t, srv.Listener.Addr().String())
		if code := b.submit(t, "", "GET", app+"/login?as="+as, nil, ""); code != 200 {
			t.Fatal(code)
		}
		u, _ := url.Parse(app)
		for _, c := range b.jar.Cookies(u) {
			if c.Name == Cookie {
				return b, c.Value
			}
		}
		t.Fatal("no token cookie")
		return nil, ""
	}
	_, others := login(t, "mallory")
	strange, _ := New(Options{Key: []byte(strings.Repeat("z", 32))})
	forged, _ := strange.Token("alice")
	for name, k := range map[string]struct {
		page, method string
		old          bool
		header       func(own string) string
		field        func(own string) string
		plant        string
		want         int
	}{
		"own page, header":               {page: app, method: "POST", header: own, want: 200},
		"own page, form":                 {page: app, method: "POST", field: own, want: 200},
		"own page, old browser":          {page: app, method: "POST", old: true, header: own, want: 200},
		"own page, no token":             {page: app, method: "POST", want: 403},
		"own page, delete":               {page: app, method: "DELETE", header: own, want: 200},
		"reading":                        {page: evil, method: "GET", want: 200},
		"another site":                   {page: evil, method: "POST", want: 403},
		"another site, old browser":      {page: evil, method: "POST", old: true, want: 403},
		"another site with the token":    {page: evil, method: "POST", field: own, want: 403},
		"a sandboxed frame":              {page: "null", method: "POST", field: own, want: 403},
		"a sandboxed frame, old":         {page: "null", method: "POST", old: true, field: own, want: 403},
		"a sibling site":                 {page: sibling, method: "POST", field: own, want: 403},
		"a sibling site, old browser":    {page: sibling, method: "POST", old: true, field: own, want: 403},
		"plain http of the same name":    {page: "http://console.example.com", method: "POST", field: own, want: 403},
		"another's token":                {page: app, method: "POST", header: func(string) string { return others }, want: 403},
		"another's token, planted":       {page: app, method: "POST", header: func(string) string { return others }, plant: Cookie + "=" + others + "; Path=/; Secure", want: 403},
		"a forged token, planted":        {page: app, method: "POST", header: func(string) string { return forged }, plant: Cookie + "=" + forged + "; Path=/; Secure", want: 403},
		"a second cookie, from a folder": {page: app, method: "POST", header: own, plant: Cookie + "=" + others + "; Path=/act; Secure", want: 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, token := login(t, "alice")
			if k.plant != "" {
				b.submit(t, "", "GET", app+"/plant?set="+url.QueryEscape(k.plant), nil, "")
			}
			b.old = k.old
			var header string
			form := url.Values{"amount": {"100"}}
			if k.header != nil {
				header = k.header(token)
			}
			if k.field != nil {
				form.Set(Field, k.field(token))
			}
			if got := b.submit(t, k.page, k.method, app+"/act", form, header); got != k.want {
				t.Errorf("%d, want %d", got, k.want)
			}
		})
	}
	// A token outlives its session's id no longer than the id: another login of
	// the same browser makes the old token worthless.
	b, old := login(t, "alice")
	b.submit(t, "", "GET", app+"/login?as=alice-again", nil, "")
	if got := b.submit(t, app, "POST", app+"/act", nil, old); got != 403 {
		t.Errorf("a token of the session before: %d", got)
	}
}

func own(token string) string { return token }
