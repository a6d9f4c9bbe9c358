package render

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/microcosm-cc/bluemonday"
)

var policy = sync.OnceValue(func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "b", "strong", "i", "em", "code", "pre", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("https", "mailto")
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AddTargetBlankToFullyQualifiedLinks(true)
	return p
})

// HTML keeps of s what a page may show: text, links to https and mailto, lists
// and simple emphasis. Scripts, styles, images, forms, frames and handlers are
// gone; the result is safe as the content of an element, not of an attribute.
func HTML(s string) string { return policy().Sanitize(s) }

// Nonce is a fresh value for one answer's CSP, 128 random bits (CSP3, section
// 7.1).
func Nonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(b[:])
}

// CSP is a page's content security policy (W3C CSP3). The zero value lets a page
// load from its own origin only, run scripts and styles that carry the nonce,
// and be framed by nobody. Each list holds origins such as
// "https://api.example.com".
type CSP struct {
	Connect   []string // beside 'self'
	Images    []string // beside 'self' and data:
	Ancestors []string // instead of 'none'
	FormPost  []string // beside 'self'
	ReportURI string   // where browsers send violations, if anywhere
}

// Check says whether every origin can stand in a policy. A "*", a path or a
// character that ends a directive would say something else than was meant.
func (c CSP) Check() error {
	for _, list := range [][]string{c.Connect, c.Images, c.Ancestors, c.FormPost} {
		for _, origin := range list {
			u, err := url.Parse(origin)
			if err != nil || u.Scheme != "https" && u.Scheme != "wss" && u.Scheme != "http" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.ContainsAny(origin, " ;,*'\"\r\n\t") {
				return errors.New("check content security policy: " + strings.ToValidUTF8(origin, "?") + " is no origin; want one like https://api.example.com")
			}
		}
	}
	if strings.ContainsAny(c.ReportURI, " ;,\r\n\t") {
		return errors.New("check content security policy: the report address has a space or a separator")
	}
	return nil
}

// Header is the policy's text for one answer. Trusted Types are required, so a
// script that was let in still cannot write markup from strings.
func (c CSP) Header(nonce string) string {
	list := func(base string, more []string) string {
		return strings.Join(append([]string{base}, more...), " ")
	}
	ancestors := "'none'"
	if len(c.Ancestors) > 0 {
		ancestors = strings.Join(c.Ancestors, " ")
	}
	d := []string{
		"default-src 'none'",
		"script-src 'self' 'nonce-" + nonce + "'",
		"style-src 'self' 'nonce-" + nonce + "'",
		"img-src " + list("'self' data:", c.Images),
		"font-src 'self'",
		"connect-src " + list("'self'", c.Connect),
		"form-action " + list("'self'", c.FormPost),
		"base-uri 'none'",
		"object-src 'none'",
		"frame-ancestors " + ancestors,
		"require-trusted-types-for 'script'",
	}
	if c.ReportURI != "" {
		d = append(d, "report-uri "+c.ReportURI)
	}
	return strings.Join(d, "; ")
}

// SetPage sets the headers of an answer that is a page.
func (c CSP) SetPage(h http.Header, nonce string) {
	h.Set("Content-Security-Policy", c.Header(nonce))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// SetJSON sets the headers of an answer that is JSON: never sniffed, and if
// opened as a page, nothing in it may load or run.
func SetJSON(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
}
