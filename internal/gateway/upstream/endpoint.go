package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream/http1"
)

// endpointKey is what makes two routes share connections, breaker and health.
type endpointKey struct {
	scheme    string
	authority string // host:port, filled in
	filled    bool   // a tenant filled the host
	connect   time.Duration
	header    time.Duration
	breaker   Breaker
	health    Health
	audience  string
}

// endpoint is one upstream at one address.
type endpoint struct {
	key     endpointKey
	host    string // for the Host field: without the scheme's own port
	client  *http1.Client
	breaker breaker
	budget  budget
	using   atomic.Int64
	used    atomic.Int64 // unix seconds
	down    atomic.Bool  // its health check says so

	tls       *tls.Config
	once      sync.Once
	transport *http.Transport

	cancel context.CancelFunc
	done   chan struct{}
}

func newEndpoint(k endpointKey, tlsConfig *tls.Config, now func() time.Time) *endpoint {
	e := &endpoint{key: k, host: k.authority, tls: tlsConfig, breaker: breaker{set: k.breaker, now: now}, done: make(chan struct{})}
	if host, port, err := net.SplitHostPort(k.authority); err == nil && (port == "80" && k.scheme != "https" || port == "443" && k.scheme == "https") {
		if e.host = host; len(host) > 0 && k.authority[0] == '[' {
			e.host = "[" + host + "]"
		}
	}
	e.budget.milli.Store(budgetCap)
	e.client = http1.New(http1.Config{Dial: e.dial})
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	if k.health.Path == "" {
		close(e.done)
		return e
	}
	go func() {
		defer close(e.done)
		e.watchHealth(ctx)
	}()
	return e
}

func (e *endpoint) dial(ctx context.Context) (net.Conn, error) {
	address, loopback := dialAddress(e.key.authority)
	d := net.Dialer{Timeout: e.key.connect, Control: control(e.key.filled, loopback)}
	return d.DialContext(ctx, "tcp", address)
}

// standard is net/http's transport, for what package http1 leaves to it.
func (e *endpoint) standard() *http.Transport {
	e.once.Do(func() {
		t := &http.Transport{
			DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
			TLSHandshakeTimeout:    e.key.connect,
			ResponseHeaderTimeout:  e.key.header,
			IdleConnTimeout:        50 * time.Second,
			MaxIdleConns:           128,
			MaxIdleConnsPerHost:    128,
			MaxResponseHeaderBytes: http1.MaxHead,
			DisableCompression:     true, // the content passes as it is
			Protocols:              new(http.Protocols),
		}
		switch e.key.scheme {
		case "h2c":
			t.Protocols.SetUnencryptedHTTP2(true)
		case "https":
			t.Protocols.SetHTTP1(true)
			t.Protocols.SetHTTP2(true)
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
			if e.tls != nil {
				t.TLSClientConfig = e.tls.Clone()
			}
		default:
			t.Protocols.SetHTTP1(true)
		}
		e.transport = t
	})
	return e.transport
}

// close ends the health checks and the idle connections; those in use end with
// their exchanges.
func (e *endpoint) close() {
	e.cancel()
	<-e.done
	e.client.Close()
	e.standard().CloseIdleConnections()
}

// watchHealth asks at once and then at the interval. Two failures in a row take
// the endpoint out, one success brings it back.
func (e *endpoint) watchHealth(ctx context.Context) {
	t := time.NewTicker(e.key.health.Every)
	defer t.Stop()
	fails := 0
	for {
		if err := e.ask(ctx); ctx.Err() != nil {
			return
		} else if err == nil {
			fails = 0
			e.down.Store(false)
		} else if fails++; fails >= 2 {
			e.down.Store(true)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (e *endpoint) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.key.health.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.httpScheme()+"://"+e.key.authority+e.key.health.Path, nil)
	if err != nil {
		return err
	}
	req.Host = e.host
	req.Header.Set("User-Agent", "openclaw-health")
	resp, err := e.standard().RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("health: status %d", resp.StatusCode)
	}
	return nil
}

func (e *endpoint) httpScheme() string {
	if e.key.scheme == "https" {
		return "https"
	}
	return "http"
}

var errBusy = errors.New("every connection to the upstream is in use")
