package gateway

import (
	"errors"
	"net/http"

	"github.com/Nissimmiracles/openclaw/internal/gateway/csrf"
)

// ambient guards against requests that a page of another site makes a browser
// send with credentials the browser adds by itself. A token in the Authorization
// header is none of these: its client put it there. A client certificate is, and
// a cookie would be, but cookies authenticate nobody here: until sessions exist
// a request that brings one to change something is refused outright.
func (g *Gateway) ambient(r *http.Request) error {
	if len(r.Header["Authorization"]) > 0 {
		return nil
	}
	if len(r.CookiesNamed(csrf.Session)) > 0 && !csrf.Safe(r.Method) {
		return csrf.Refused(errors.New("a session cookie, where there are no sessions"))
	}
	if !g.cfg.CSRF {
		return nil
	}
	// Browsers say where a request comes from (Sec-Fetch-Site, Origin); programs
	// do not, and pass. Origins that may read answers get no certificate's word.
	if err := g.crossSite.Check(r); err != nil {
		return csrf.Refused(err)
	}
	return nil
}
