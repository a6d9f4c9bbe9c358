package gateway

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// quiet is a log that keeps nothing.
type quiet struct{ plane.Store }

func (quiet) AuditSettings(context.Context, tenant.Scope) (audit.Settings, error) {
	return audit.Settings{}, nil
}
func (quiet) Promise(context.Context, tenant.Scope) error           { return nil }
func (quiet) Keep(context.Context, tenant.Scope, audit.Event) error { return nil }
func (quiet) Act(ctx context.Context, _ tenant.Scope, _ audit.Event, do plane.Deed) (audit.Receipt, error) {
	_, _, err := do(ctx)
	return audit.Receipt{}, err
}

// sink is a client that looks at nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header             { return s.header }
func (s *sink) WriteHeader(status int)          { s.status = status }
func (s *sink) SetReadDeadline(time.Time) error { return nil }
func (s *sink) Write(b []byte) (int, error)     { return len(b), nil }

// echoes answers each request on each connection with 1 KB, and allocates nothing.
func echoes(b *testing.B) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 22 Nov 2026 22:00:00 GMT\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("a", 1024))
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for length := 0; ; length = 0 {
					for {
						line, err := r.ReadSlice('\n')
						if err != nil {
							return
						}
						if len(line) == 2 {
							break
						}
						if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
							for _, d := range v[:len(v)-2] {
								length = 10*length + int(d-'0')
							}
						}
					}
					if _, err := r.Discard(length); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// BenchmarkProxied is one request through all stages to an upstream on loopback,
// without TLS, without net/http's server and with a log that is not written.
func BenchmarkProxied(b *testing.B) {
	cfg := newFixture(b).gate.cfg
	cfg.Plane = plane.New(quiet{})
	cfg.Limiter, cfg.Tiers, cfg.Shield = nil, nil, nil // they have benchmarks of their own
	cfg.Inspection = &Inspection{Prompt: must[*prompt.Detector](b)(prompt.New())}
	p, err := upstream.New(upstream.Config{Issuer: "https://gw.example", Sign: func(string, []byte) (string, error) { return "signed", nil }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	text := "version: 1\nroutes:\n  - {match: /, upstream: " + echoes(b) + ", limit: write, inspect: [{field: body, for: [prompt]}]}\n"
	p.Load(must[*upstream.Table](b)(upstream.ParseTable("bench", []byte(text), quota.DefaultTable())))
	cfg.Upstreams = p
	gate := must[*Gateway](b)(New(cfg))
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("what is the weather in Ulm? ", 33) + `"}]}`
	for _, method := range []string{"GET", "POST"} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var content io.Reader
				if method == "POST" {
					content = strings.NewReader(body)
				}
				r, err := http.NewRequest(method, "http://gw.example/chat", content)
				if err != nil {
					b.Fatal(err)
				}
				if content == nil {
					r.Body = http.NoBody
				}
				r.RemoteAddr = "192.0.2.1:1000"
				r.Header["Authorization"] = []string{"Bearer developer"}
				r.Header["Content-Type"] = []string{"application/json"}
				w := &sink{header: http.Header{}}
				gate.ServeHTTP(w, r)
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
}
