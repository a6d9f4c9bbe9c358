package listen

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate is one for 127.0.0.1, made when the tests start.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shield test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"shield.test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
})

// house is a real TLS net/http server behind a shield, as the gateway wires it.
type house struct {
	t      testing.TB
	shield *shield.Shield
	listen *Listener
	server *http.Server
	addr   string
}

type build struct {
	shield   shield.Config
	listen   Config
	plain    bool
	handler  http.Handler
	resolver shield.Resolver
}

func open(t testing.TB, b build) *house {
	t.Helper()
	if b.shield.Clients == 0 {
		b.shield.Clients, b.shield.Suspects = 1<<14, 1<<12
	}
	s, err := shield.New(b.shield)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := TCP(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := certificate()
	b.listen.Guard = s
	if !b.plain {
		b.listen.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	}
	l, err := New(inner, b.listen)
	if err != nil {
		t.Fatal(err)
	}
	s.Watch(l.Drop)
	next := b.handler
	if next == nil {
		next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" && r.URL.Path != "/echo" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			// All of it first: net/http drops the rest of a large body once an
			// HTTP/1 handler has begun to answer.
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
			fmt.Fprintf(w, "%s tls=%v", r.Proto, r.TLS != nil)
		})
	}
	h := &house{t: t, shield: s, listen: l, addr: inner.Addr().String()}
	h.server = &http.Server{
		ErrorLog: stdlog.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			addr, err := b.resolver.Client(r)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.Header().Set("Client", addr.String())
			switch d := s.Check(time.Now(), addr, r); d.Verdict {
			case shield.Limit:
				w.WriteHeader(http.StatusTooManyRequests)
			case shield.Refused:
				w.WriteHeader(http.StatusBadRequest)
			case shield.Barred:
				w.WriteHeader(http.StatusForbidden)
			default:
				answer := &status{ResponseWriter: w, code: 200}
				next.ServeHTTP(answer, r)
				s.Observe(addr, shield.Outcome{Status: answer.code, LoginFailed: answer.code == 401 && r.URL.Path == "/login", Account: r.URL.Query().Get("account")})
			}
		}),
	}
	l.Harden(h.server)
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(l) }()
	t.Cleanup(func() {
		_ = h.server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
		// Close does not wait for connections' goroutines; hijacked and killed
		// ones give their place back, too.
		for end := time.Now().Add(10 * time.Second); l.Counters().Open != 0; runtime.Gosched() {
			if time.Now().After(end) {
				t.Errorf("%d places are still taken after the server has closed", l.Counters().Open)
				break
			}
		}
	})
	return h
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int)        { s.code = code; s.ResponseWriter.WriteHeader(code) }
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// dial connects from one of the many addresses of loopback.
func (h *house) dial(from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: 10 * time.Second}
	c, err := d.Dial("tcp4", h.addr)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(20 * time.Second))
}

func (h *house) dialTLS(from, proto string) (*tls.Conn, error) {
	c, err := h.dial(from)
	if err != nil {
		return nil, err
	}
	_, pool := certificate()
	t := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "shield.test", NextProtos: []string{proto}})
	if err := t.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

// must connects or fails.
func (h *house) must(from, proto string) *tls.Conn {
	h.t.Helper()
	c, err := h.dialTLS(from, proto)
	if err != nil {
		h.t.Fatalf("an honest client at %s is kept out: %v", from, err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// client speaks HTTP/1.1 or HTTP/2 from one address.
func (h *house) client(from string, h2 bool) *http.Client {
	_, pool := certificate()
	tr := &http.Transport{
		DialContext:     func(context.Context, string, string) (net.Conn, error) { return h.dial(from) },
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "shield.test"},
		Protocols:       new(http.Protocols),
	}
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetHTTP2(h2)
	h.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func (h *house) get(c *http.Client, path string) (int, string, error) {
	res, err := c.Get("https://" + h.addr + path)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// fine asserts that an honest client is served.
func (h *house) fine(from string) {
	h.t.Helper()
	c := h.client(from, false)
	defer c.CloseIdleConnections()
	code, body, err := h.get(c, "/")
	if err != nil || code != 200 || !strings.HasPrefix(body, "HTTP/1.1") {
		h.t.Fatalf("an honest client at %s: %d %q %v (%+v)", from, code, body, err, h.listen.Counters())
	}
}

// out asserts that an address is dropped before TLS.
func (h *house) out(from string) {
	h.t.Helper()
	before := h.listen.Counters()
	c, err := h.dialTLS(from, "http/1.1")
	if err == nil {
		c.Close()
		h.t.Fatalf("%s can still shake hands", from)
	}
	after := h.listen.Counters()
	if after.Dropped == before.Dropped || after.Handshake != before.Handshake {
		h.t.Fatalf("%s was not dropped at accept: %+v then %+v, %v", from, before, after, err)
	}
}

// ended reads until the server has closed, and returns what it said.
func ended(t testing.TB, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(bufio.NewReader(c))
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("the server has not closed the connection; it said %q", b)
	}
	return string(b)
}

func tlsConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
}
