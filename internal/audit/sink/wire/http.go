package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
)

const maxAnswer = 64 << 10

// Endpoint is an HTTP receiver.
type Endpoint struct {
	URL  string
	TLS  TLS
	Gzip bool
}

// Client posts to one endpoint.
type Client struct {
	url       *url.URL
	gzip      bool
	client    *http.Client
	transport *http.Transport
	packed    bytes.Buffer
	packer    *gzip.Writer
}

// NewClient reads the endpoint's files. Proxies of the environment are not used:
// the operator's file says where an audit log goes, nothing else does.
func NewClient(e Endpoint) (*Client, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, errors.New("url: not a URL")
	}
	conf, err := e.TLS.Config()
	if err != nil {
		return nil, err
	}
	c := &Client{url: u, gzip: e.Gzip, packer: gzip.NewWriter(io.Discard)}
	dial := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	c.transport = &http.Transport{
		DialContext: dial.DialContext, TLSClientConfig: conf, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
		MaxConnsPerHost: 2, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 32 << 10,
		DisableCompression: true, // an answer is not worth a bomb
	}
	c.client = &http.Client{Transport: c.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// At is another path and query of the same endpoint.
func (c *Client) At(path, query string) *url.URL {
	u := *c.url
	u.Path, u.RawPath, u.RawQuery = path, "", query
	return &u
}

// URL is the endpoint.
func (c *Client) URL() *url.URL { return c.url }

// Answer is what came back.
type Answer struct {
	Status     int
	RetryAfter time.Duration
	Body       []byte
}

// Post sends a body and reads at most 64 KiB of the answer. The error is a
// *sink.Failure about the connection; the status is the caller's to judge.
func (c *Client) Post(ctx context.Context, u *url.URL, body []byte, h http.Header) (Answer, error) {
	if c.gzip {
		c.packed.Reset()
		c.packer.Reset(&c.packed)
		_, _ = c.packer.Write(body)
		if err := c.packer.Close(); err != nil {
			return Answer{}, err
		}
		// Not the buffer itself: after an early answer the transport may still
		// read from it.
		body = bytes.Clone(c.packed.Bytes())
		h.Set("Content-Encoding", "gzip")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	h.Set("User-Agent", "openclaw")
	req.Header = h
	resp, err := c.client.Do(req)
	if err != nil {
		var ue *url.Error // its text repeats the URL, which may hold a token
		if errors.As(err, &ue) {
			err = ue.Err
		}
		kind := sink.Temporary
		if IsTrust(err) {
			kind = sink.Denied
		}
		return Answer{}, sink.Fail(kind, "post: %w", err)
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil && a.Status/100 == 2 {
		// Taken or not, nobody knows: it goes again.
		return Answer{}, sink.Fail(sink.Temporary, "read the answer: %w", err)
	}
	return a, nil
}

// Failure is what a status means, nil for 2xx.
func (a Answer) Failure() *sink.Failure {
	if a.Status/100 == 2 {
		return nil
	}
	f := sink.Fail(Judge(a.Status), "the receiver answered %d %s", a.Status, http.StatusText(a.Status))
	if a.Status/100 == 3 {
		f = sink.Fail(sink.Denied, "the receiver answered %d, a redirect, which is not followed", a.Status)
	}
	f.RetryAfter = a.RetryAfter
	return f
}

// Judge says what a status beyond 2xx means. Only the three that blame the
// content are about the content; in doubt nothing is skipped.
func Judge(status int) sink.Kind {
	switch {
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnprocessableEntity:
		return sink.Refused
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return sink.Temporary
	}
	return sink.Denied
}

// retryAfter reads RFC 9110, section 10.2.3: seconds or a date.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

// CheckURL accepts https URLs with a host and no user, and http ones if plain is
// said.
func CheckURL(s string, plain bool) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("want a URL with a host, without user and fragment")
	case u.Scheme == "https", u.Scheme == "http" && plain:
		return nil
	case u.Scheme == "http":
		return errors.New("http sends the log in the clear; say plaintext: true if that is meant")
	}
	return fmt.Errorf("want https, not %q", u.Scheme)
}

// Host is a URL without what may be secret in it.
func Host(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
