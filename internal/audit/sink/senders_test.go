package sink_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/hec"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/otlp"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/sinktest"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/syslog"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/webhook"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

const secretA, secretB = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// httpSinks are the senders over HTTP, each with its receiver.
type httpSink struct {
	name string
	recv *sinktest.HTTP
	open func() (sink.Sender, error)
}

func httpSinks(t testing.TB, c *sinktest.Certs) []httpSink {
	t.Helper()
	at := func(r *sinktest.HTTP, path string) wire.Endpoint {
		return wire.Endpoint{URL: r.URL + path, TLS: wire.TLS{CAFile: c.CAFile}, Gzip: true}
	}
	token, secret := sinktest.File(t, "token", sinktest.Token+"\n"), sinktest.File(t, "secret", secretA+"\n"+secretB+"\n")
	plainHEC, ackHEC := sinktest.NewHEC(t, c, false), sinktest.NewHEC(t, c, true)
	collector := sinktest.NewOTLP(t, c, nil)
	single := sinktest.NewWebhook(t, c, func() string { return secretA })
	batched := sinktest.NewWebhook(t, c, func() string { return secretB })
	return []httpSink{
		{"hec", plainHEC, func() (sink.Sender, error) {
			return hec.Open(hec.Config{Endpoint: at(plainHEC, ""), TokenFile: token, Type: "openclaw:audit"})
		}},
		{"hec-ack", ackHEC, func() (sink.Sender, error) {
			return hec.Open(hec.Config{Endpoint: at(ackHEC, ""), TokenFile: token, Type: "openclaw:audit", Ack: true, Poll: 5 * time.Millisecond})
		}},
		{"otlp", collector, func() (sink.Sender, error) {
			return otlp.Open(otlp.Config{Endpoint: at(collector, "/v1/logs"), Service: "openclaw"})
		}},
		{"webhook", single, func() (sink.Sender, error) {
			return webhook.Open(webhook.Config{Endpoint: at(single, "/hook"), SecretFile: secret, Source: "https://openclaw.example.com"})
		}},
		{"webhook-batched", batched, func() (sink.Sender, error) {
			return webhook.Open(webhook.Config{Endpoint: at(batched, "/hook"), SecretFile: secret, Source: "https://openclaw.example.com", Batched: true})
		}},
	}
}

// items are entries that never saw a database.
func items(n int, change ...func(*audit.Entry)) []sink.Item {
	out := make([]sink.Item, n)
	for i := range out {
		e := audit.Entry{
			Seq: int64(i + 1), ID: uuid.Must(uuid.NewV7()), Time: time.Now().UTC(), Type: audit.LoginFailed, Severity: audit.Warning,
			Actor: audit.EntryActor{Kind: audit.ActorUser, ID: "u1", Name: "Ann"}, Outcome: audit.Refused, Reason: "password", IP: "203.0.113.9",
			Resource: "user/u1", Details: json.RawMessage(`{"tries":3,"list":["a","b"],"ok":true,"n":null}`), Leaf: "AAAA",
		}
		for _, c := range change {
			c(&e)
		}
		out[i] = sink.Item{Tenant: "0192e4a0-7d3c-7000-8000-000000000001", Name: "acme", Entry: e}
	}
	return out
}

const acme = "0192e4a0-7d3c-7000-8000-000000000001"

func send(t testing.TB, s sink.Sender, batch []sink.Item, most time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	return s.Send(ctx, batch)
}

// Hostile contents arrive whole, under each protocol, and nothing breaks its
// standard.
func TestHostileContentsArrive(t *testing.T) {
	t.Parallel()
	c := sinktest.NewCerts(t)
	evil := "a|b\\c=d\n\r\x00\"']}>\u2028\u202e é🙂 \x1b[2J"
	batch := items(3, func(e *audit.Entry) {
		e.Reason, e.Resource, e.Actor.ID, e.Actor.Name, e.UserAgent, e.RequestID = evil, evil, evil, evil+"\xff", evil, evil
		big, _ := json.Marshal(map[string]string{"k": strings.Repeat(evil, 1<<20/len(evil))})
		e.Details = big
	})
	for _, h := range httpSinks(t, c) {
		s, err := h.open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := send(t, s, batch, deadline); err != nil {
			t.Errorf("%s: %v", h.name, err)
		}
		if n, twice := h.recv.Tally(acme, 3); n != 3 || twice != 0 || len(h.recv.Wrong()) > 0 {
			t.Errorf("%s: %d arrived, %d twice, wrong: %q", h.name, n, twice, h.recv.Wrong())
		}
	}
}

// What each answer means, under each protocol.
func TestAnswers(t *testing.T) {
	t.Parallel()
	c := sinktest.NewCerts(t)
	var elsewhere atomic.Int64
	other := sinktest.NewWebhook(t, c, func() string { return secretA })
	other.Behave(func(http.ResponseWriter, *http.Request) bool { elsewhere.Add(1); return false })
	for _, h := range httpSinks(t, c) {
		s, err := h.open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for status, want := range map[int]sink.Kind{
			500: sink.Temporary, 502: sink.Temporary, 503: sink.Temporary, 429: sink.Temporary, 408: sink.Temporary, 425: sink.Temporary,
			400: sink.Refused, 413: sink.Refused, 422: sink.Refused,
			401: sink.Denied, 403: sink.Denied, 404: sink.Denied, 405: sink.Denied, 410: sink.Denied, 415: sink.Denied, 418: sink.Denied,
			301: sink.Denied, 302: sink.Denied, 307: sink.Denied, 308: sink.Denied, 304: sink.Denied,
		} {
			h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool {
				_, _ = sinktest.Body(r)
				w.Header().Set("Location", other.URL+"/hook")
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(status)
				if status != http.StatusNotModified {
					fmt.Fprint(w, "secret words of the receiver")
				}
				return true
			})
			err := send(t, s, items(2), deadline)
			var f *sink.Failure
			if !errors.As(err, &f) || f.Kind != want || f.Done != 0 || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %d answers %+v", h.name, status, f)
				continue
			}
			if f.RetryAfter != 7*time.Second {
				t.Errorf("%s: %d: Retry-After is %s", h.name, status, f.RetryAfter)
			}
		}
		// A success that is none: a login page of a proxy, say.
		h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool { fmt.Fprint(w, "<html>log in</html>"); return true })
		if err := send(t, s, items(1), deadline); err == nil && !strings.HasPrefix(h.name, "webhook") {
			t.Errorf("%s takes a web page for success", h.name)
		}
		// Cut in the middle of the answer: nobody knows, so it goes again.
		h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{")
			panic(http.ErrAbortHandler)
		})
		var f *sink.Failure
		if err := send(t, s, items(1), deadline); !errors.As(err, &f) || f.Kind != sink.Temporary {
			t.Errorf("%s: a cut answer is %v", h.name, err)
		}
		// Slow: a byte now and then, for ever.
		h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				fmt.Fprint(w, " ")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return true
				case <-tick.C:
				}
			}
		})
		if err := send(t, s, items(1), 200*time.Millisecond); !errors.As(err, &f) || f.Kind != sink.Temporary {
			t.Errorf("%s: an answer without end is %v", h.name, err)
		}
		// An endless answer in a hurry is cut at its bound.
		h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(500)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return true
				}
			}
			return true
		})
		if err := send(t, s, items(1), deadline); !errors.As(err, &f) || f.Kind != sink.Temporary {
			t.Errorf("%s: an endless answer is %v", h.name, err)
		}
		h.recv.Behave(nil)
		if err := send(t, s, items(5), deadline); err != nil {
			t.Errorf("%s: after all that: %v", h.name, err)
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// Of Splunk's 400s some are about an event and some about us.
func TestSplunkCodes(t *testing.T) {
	t.Parallel()
	c := sinktest.NewCerts(t)
	h := httpSinks(t, c)[0]
	s, err := h.open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for code, want := range map[int]sink.Kind{6: sink.Refused, 12: sink.Refused, 7: sink.Denied, 10: sink.Denied, 14: sink.Denied} {
		h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"text":"x","code":%d}`, code)
			return true
		})
		var f *sink.Failure
		if err := send(t, s, items(1), deadline); !errors.As(err, &f) || f.Kind != want {
			t.Errorf("code %d: %+v", code, f)
		}
	}
}

// Partial success names no record: each goes alone, once, and the rejected one is
// known for good.
func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	c := sinktest.NewCerts(t)
	h := httpSinks(t, c)[2]
	s, err := h.open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reply := func(b []byte) {
		h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool { _, _ = w.Write(b); return true })
	}
	var f *sink.Failure
	reply([]byte{0x0a, 0x02, 0x08, 0x01})
	if err := send(t, s, items(3), deadline); !errors.As(err, &f) || f.Kind != sink.Refused || f.Final {
		t.Errorf("some rejected: %+v", f)
	}
	if err := send(t, s, items(1), deadline); !errors.As(err, &f) || f.Kind != sink.Refused || !f.Final {
		t.Errorf("the one rejected: %+v", f)
	}
	reply([]byte{0x0a, 0x05, 0x12, 0x03, 'w', 'a', 'r'}) // a warning alone
	if err := send(t, s, items(3), deadline); err != nil {
		t.Errorf("a warning: %v", err)
	}
	for _, bad := range [][]byte{{0x0a}, {0x0a, 0x7f, 1}, {0xff, 0xff, 0xff}, {0x0a, 0x01, 0x08}} {
		reply(bad)
		if err := send(t, s, items(3), deadline); err == nil {
			t.Errorf("%x is success", bad)
		}
	}
}

// While secrets change, whoever has either verifies; a wrong one is 401, which
// stops and skips nothing.
func TestWebhookSecrets(t *testing.T) {
	t.Parallel()
	c := sinktest.NewCerts(t)
	file := sinktest.File(t, "secret", "# old, then new\n"+secretA+"\n"+secretB+"\n")
	now := secretA
	r := sinktest.NewWebhook(t, c, func() string { return now })
	s, err := webhook.Open(webhook.Config{Endpoint: wire.Endpoint{URL: r.URL, TLS: wire.TLS{CAFile: c.CAFile}}, SecretFile: file, Source: "https://x"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, now = range []string{secretA, secretB} {
		if err := send(t, s, items(1), deadline); err != nil {
			t.Errorf("%s: %v", now, err)
		}
	}
	now = "whsec_" + base64.StdEncoding.EncodeToString([]byte("some other secret of no use"))
	var f *sink.Failure
	if err := send(t, s, items(1), deadline); !errors.As(err, &f) || f.Kind != sink.Denied {
		t.Errorf("a wrong secret: %v", err)
	}
	// The file changes under a running sink.
	if err := os.WriteFile(file, []byte(now), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := send(t, s, items(1), deadline); err != nil {
		t.Errorf("a new secret: %v", err)
	}
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_AAAA", secretA + "\n" + secretB + "\n" + secretA} {
		if _, err := webhook.Open(webhook.Config{Endpoint: wire.Endpoint{URL: r.URL}, SecretFile: sinktest.File(t, "bad", bad)}); err == nil {
			t.Errorf("%q is a secret", bad)
		}
	}
	// The specification's own example.
	key, _ := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if got := webhook.Sign([][]byte{key}, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("the signature is %s", got)
	}
}

// Who the receiver is gets verified, always, and who we are when it asks.
func TestTrust(t *testing.T) {
	t.Parallel()
	c, stranger := sinktest.NewCerts(t), sinktest.NewCerts(t)
	denied := func(name string, open func() (sink.Sender, error)) {
		t.Helper()
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var f *sink.Failure
		if err := send(t, s, items(1), deadline); !errors.As(err, &f) || f.Kind != sink.Denied {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := sinktest.NewOTLP(t, c, nil)
	post := func(tlsFiles wire.TLS) func() (sink.Sender, error) {
		return func() (sink.Sender, error) {
			return otlp.Open(otlp.Config{Endpoint: wire.Endpoint{URL: r.URL + "/v1/logs", TLS: tlsFiles}})
		}
	}
	denied("system roots", post(wire.TLS{}))
	denied("another CA", post(wire.TLS{CAFile: stranger.CAFile}))
	denied("another name", post(wire.TLS{CAFile: c.CAFile, ServerName: "other.example.com"}))

	mutual := sinktest.NewSyslog(t, &tls.Config{Certificates: []tls.Certificate{c.Server}, ClientCAs: c.Pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12})
	old := sinktest.NewSyslog(t, &tls.Config{Certificates: []tls.Certificate{c.Server}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	line := func(to *sinktest.Syslog, files wire.TLS) func() (sink.Sender, error) {
		return func() (sink.Sender, error) {
			return syslog.Open(syslog.Config{Address: to.Address, TLS: files, Format: syslog.CEF, SDID: "openclaw@32473", App: "openclaw", MaxMessage: 8192})
		}
	}
	denied("no client certificate", line(mutual, wire.TLS{CAFile: c.CAFile}))
	denied("another client certificate", line(mutual, wire.TLS{CAFile: c.CAFile, CertFile: stranger.CertFile, KeyFile: stranger.KeyFile}))
	denied("another CA", line(mutual, wire.TLS{CAFile: stranger.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}))
	denied("TLS 1.1", line(old, wire.TLS{CAFile: c.CAFile}))
	for name, to := range map[string]interface{ Arrived() int }{"mutual": mutual, "old": old, "otlp": r} {
		if n := to.Arrived(); n != 0 {
			t.Errorf("the %s receiver took %d events of those that it refused, or that refused it", name, n)
		}
	}
	plain := sinktest.NewSyslog(t, nil)
	s, err := line(plain, wire.TLS{CAFile: c.CAFile})()
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t, s, items(1), time.Second); err == nil {
		t.Error("TLS to a plain receiver delivers")
	}
	s, err = line(mutual, wire.TLS{CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile})()
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t, s, items(50), deadline); err != nil {
		t.Error(err)
	}
	if n, _ := mutual.Tally(acme, 50); n != 50 || len(mutual.Wrong()) > 0 {
		t.Errorf("%d arrived, wrong: %q", n, mutual.Wrong())
	}
}
