package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// speak opens a TLS connection as a client at an address.
func speak(t *testing.T, r *replica, from, proto string) *tls.Conn {
	t.Helper()
	raw, err := proxied(from)(t.Context(), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", NextProtos: []string{proto}})
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if err := c.HandshakeContext(t.Context()); err != nil {
		raw.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Attacks on the connection itself, against the assembled platform: each ends
// in a block with its reason, dropped before TLS, and nobody else is hurt.
func TestAttacksOnTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, balancer)
	a := w.start(t, nil)
	honest := closing(t, a.dial(nil, proxied("198.51.100.50")))
	for i, attack := range []struct {
		reason string
		do     func(t *testing.T, from string)
	}{
		{"smuggling", func(t *testing.T, from string) {
			c := speak(t, a, from, "http/1.1")
			fmt.Fprint(c, "POST /v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/tenants HTTP/1.1\r\nHost: localhost\r\n\r\n")
			answer, _ := io.ReadAll(c)
			if n := bytes.Count(answer, []byte("HTTP/1.1 ")); n > 1 || bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
				t.Errorf("a smuggled request was served: %.200s", answer)
			}
		}},
		{"header_flood", func(t *testing.T, from string) {
			c := speak(t, a, from, "http/1.1")
			fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\n%sConnection: close\r\n\r\n", strings.Repeat("X-A: b\r\n", 300))
			if answer, _ := io.ReadAll(c); bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
				t.Errorf("300 fields were served: %.200s", answer)
			}
		}},
		{"malformed", func(t *testing.T, from string) {
			c := speak(t, a, from, "http/1.1")
			_, _ = c.Write([]byte("\x01\x02\x03 not http at all\r\n\r\n"))
			_, _ = io.ReadAll(c)
		}},
		{"rapid_reset", func(t *testing.T, from string) {
			c := speak(t, a, from, "h2")
			cut := make(chan struct{})
			go func() { defer close(cut); _, _ = io.Copy(io.Discard, c) }()
			_, _ = io.WriteString(c, http2.ClientPreface)
			f := http2.NewFramer(c, nil)
			_ = f.WriteSettings()
			var head bytes.Buffer
			enc := hpack.NewEncoder(&head)
			var err error
			for id := uint32(1); err == nil && id < 200_000; id += 2 {
				head.Reset()
				for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/v1/auth/login"}, {"content-type", "application/json"}} {
					_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
				}
				if err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true}); err == nil {
					err = f.WriteRSTStream(id, http2.ErrCodeCancel)
				}
			}
			if err == nil {
				t.Error("a hundred thousand cancelled streams and still connected")
			}
			c.Close()
			<-cut
		}},
	} {
		t.Run(attack.reason, func(t *testing.T) {
			from := fmt.Sprintf("203.0.113.%d", i+1)
			tries := 0
			for ; tries < 20 && !dropped(t, a, proxied(from)); tries++ {
				attack.do(t, from)
			}
			t.Logf("%s: blocked after %d", attack.reason, tries)
			event(t, a.House, audit.DDoSBlocked, attack.reason, func(e audit.Entry) bool {
				return e.Reason == "block_placed" && e.IP == from && strings.Contains(string(e.Details), `"`+attack.reason+`"`)
			})
			ask{to: a, client: honest, path: "/livez"}.send(t).want(t, 200)
		})
	}
}

// Two thousand connections that only connect, or start TLS and stop: an honest
// client still gets in past a cap of 300.
func TestConnectionFloodAndAnHonestClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, balancer)
	a := w.start(t, map[string]string{"MAX_CONNECTIONS": "300"})
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := range 2000 {
		c, err := proxied(fmt.Sprintf("203.0.%d.%d", 112+i/250, 1+i%250))(t.Context(), a.addr)
		if err != nil {
			continue // the backlog is full: that, too, is a bound
		}
		open = append(open, c)
		if i%2 == 0 {
			_, _ = c.Write([]byte{22, 3, 1, 2, 0}) // a TLS record that never comes
		}
	}
	honest := closing(t, a.dial(nil, proxied("198.51.100.50")))
	for range 20 {
		ask{to: a, client: honest, path: "/livez"}.send(t).want(t, 200)
	}
}

// Redis dies and comes back empty while load goes on: nothing is admitted
// without it, and an empty Redis gives at most one more limit.
func TestRedisKilledUnderLoad(t *testing.T) {
	t.Parallel()
	w, redis := twoOnRedis(t, nil)
	a, b := w.start(t, nil), w.start(t, nil)
	c := a.customer(t, "standard")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[int]int{}
	count := func(status int) int {
		mu.Lock()
		defer mu.Unlock()
		return got[status]
	}
	for i := range 8 {
		to := []*replica{a, b}[i%2]
		wg.Go(func() {
			for ctx.Err() == nil {
				x, err := ask{to: to, path: "/v1/tenant", token: c.token}.try(context.WithoutCancel(ctx))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got[x.status]++
				mu.Unlock()
			}
		})
	}
	until(t, "the limit is used up", func() bool { return count(429) > 0 })
	redis.Kill()
	until(t, "refusals without Redis", func() bool { return count(503) > 20 })
	if n := count(200); n != 40 {
		t.Errorf("%d admitted before and without Redis, want 40", n)
	}
	redis.Restart()
	before := count(429)
	until(t, "the limit of an empty Redis is used up", func() bool { return count(429) > before+20 })
	cancel()
	wg.Wait()
	if got[200] != 80 || len(got) != 3 {
		t.Errorf("answers over a restart of Redis: %v, want 80 admitted in all and nothing but 429 and 503 beside", got)
	}
}

// The same with RATE_LIMIT_ON_FAILURE=local: nobody is turned away for Redis's
// sake, each replica spends its half of one more limit, and both know when Redis
// is back.
func TestRedisKilledUnderLoadWithShares(t *testing.T) {
	t.Parallel()
	w, redis := twoOnRedis(t, map[string]string{"RATE_LIMIT_ON_FAILURE": "local"})
	a, b := w.start(t, nil), w.start(t, nil)
	c := a.customer(t, "standard")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[int]int{}
	count := func(status int) int {
		mu.Lock()
		defer mu.Unlock()
		return got[status]
	}
	for i := range 8 {
		to := []*replica{a, b}[i%2]
		wg.Go(func() {
			for ctx.Err() == nil {
				x, err := ask{to: to, path: "/v1/tenant", token: c.token}.try(context.WithoutCancel(ctx))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got[x.status]++
				mu.Unlock()
			}
		})
	}
	until(t, "the limit is used up", func() bool { return count(200) >= 40 && count(429) > 0 })
	redis.Kill()
	until(t, "the replicas' shares are used up", func() bool { return count(200) >= 80 })
	before := count(429)
	until(t, "and bound everybody", func() bool { return count(429) > before+50 })
	if n := count(200); n != 80 {
		t.Errorf("%d admitted with Redis and without, want 40 and 20 each", n)
	}
	redis.Restart()
	until(t, "the limit of an empty Redis is used up", func() bool { return count(200) >= 120 })
	before = count(429)
	until(t, "exact again", func() bool { return count(429) > before+50 })
	cancel()
	wg.Wait()
	if got[200] != 120 || len(got) != 2 {
		t.Errorf("answers over a restart of Redis: %v, want 120 admitted in all and nothing but 429 beside", got)
	}
}

// With leasing a replica spends tokens it has fetched before: fewer round
// trips, and from a full bucket still not one more than the limit.
func TestLeasedTokensDoNotExceedTheLimit(t *testing.T) {
	t.Parallel()
	w, _ := twoOnRedis(t, map[string]string{"RATE_LIMIT_LEASE": "10"})
	a, b := w.start(t, nil), w.start(t, nil)
	c := a.customer(t, "standard")
	got := hammer(t, c.token, 120, a, b)
	if got[200] > 40 || got[200] < 20 || got[200]+got[429] != 120 {
		t.Errorf("with leases of 10: %v, want 20 to 40 admitted and the rest 429", got)
	}
	t.Logf("leases of 10: %v", got)
}
