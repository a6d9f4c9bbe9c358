package edge

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
)

// hammer sends n requests of one tenant, spread over the replicas and all at
// once, and counts the answers by status.
func hammer(t *testing.T, token string, n int, at ...*replica) map[int]int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[int]int{}
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			a, err := ask{to: at[i%len(at)], path: "/v1/tenant", token: token}.try(context.Background())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[a.status]++
		})
	}
	close(begin)
	wg.Wait()
	return got
}

// left is what GET /v1/usage says of one limit.
func left(t *testing.T, r *replica, token, policy string) int64 {
	t.Helper()
	a := ask{to: r, path: "/v1/usage", token: token}.send(t).want(t, 200)
	var v struct {
		Limits []struct {
			Policy    string
			Remaining int64
		}
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatal(err)
	}
	for _, l := range v.Limits {
		if l.Policy == policy {
			return l.Remaining
		}
	}
	t.Fatalf("no limit %s in %s", policy, a.body)
	return 0
}

// twoOnRedis is a world of replicas that share one Redis.
func twoOnRedis(t *testing.T, env map[string]string) (*world, *redistest.Server) {
	t.Helper()
	redis := redistest.Start(t)
	w := newWorld(t, env)
	w.env["RATE_LIMIT_REDIS_URL"], w.env["REPLICAS"] = "redis://"+redis.Addr(), "2"
	return w, redis
}

func TestTwoReplicasAdmitExactlyTheLimit(t *testing.T) {
	t.Parallel()
	w, redis := twoOnRedis(t, nil)
	a, b := w.start(t, nil), w.start(t, nil)
	c, other := a.customer(t, "standard"), a.customer(t, "standard")

	got := hammer(t, c.token, 120, a, b)
	if want := map[int]int{200: 40, 429: 80}; !maps.Equal(got, want) {
		t.Fatalf("two replicas answered %v, want %v", got, want)
	}
	refused := ask{to: b, path: "/v1/tenant", token: c.token}.send(t).want(t, 429)
	if refused.code() != "rate_limit_exceeded" || refused.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a refusal is %s %s", refused.header.Get("Content-Type"), refused.body)
	}
	for _, h := range []string{"RateLimit", "RateLimit-Policy", "Retry-After"} {
		if refused.header.Get(h) == "" {
			t.Errorf("a refusal lacks %s: %v", h, refused.header)
		}
	}
	if p := refused.header.Get("RateLimit-Policy"); !strings.Contains(p, `"tenant-day";q=40;w=86400`) {
		t.Errorf("RateLimit-Policy: %s", p)
	}
	if n := left(t, a, c.token, "tenant-day"); n != 0 {
		t.Errorf("after the limit usage shows %d left", n)
	}

	// The other tenant's is untouched, and looking costs nothing.
	for range 3 {
		for _, r := range []*replica{a, b} {
			if n := left(t, r, other.token, "tenant-day"); n != 40 {
				t.Fatalf("a look shows %d left of 40", n)
			}
		}
	}
	one := ask{to: a, path: "/v1/tenant", token: other.token}.send(t).want(t, 200)
	if h := one.header.Get("RateLimit"); !strings.Contains(h, ";r=39") {
		t.Errorf("after one of 40: RateLimit: %s", h)
	}
	if n := left(t, b, other.token, "tenant-day"); n != 39 {
		t.Errorf("the other replica shows %d left, want 39", n)
	}
	for _, k := range redis.Keys() {
		if !strings.HasPrefix(k, "tenant:{") && k != "openclaw:probe" {
			t.Errorf("key %q stands outside its tenant", k)
		}
	}
}

func TestRedisAway(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"deny", "local"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w, redis := twoOnRedis(t, map[string]string{"RATE_LIMIT_ON_FAILURE": mode})
			a, b := w.start(t, nil), w.start(t, nil)
			c := a.customer(t, "standard")
			for _, r := range []*replica{a, b} {
				ask{to: r, path: "/v1/tenant", token: c.token}.send(t).want(t, 200)
			}

			redis.Kill()
			got := hammer(t, c.token, 100, a, b)
			switch mode {
			case "deny":
				if want := map[int]int{503: 100}; !maps.Equal(got, want) {
					t.Errorf("without Redis: %v, want %v", got, want)
				}
				x := ask{to: a, path: "/v1/tenant", token: c.token}.send(t).want(t, 503)
				if x.code() != "unavailable" || x.header.Get("Retry-After") == "" {
					t.Errorf("without Redis: %s, Retry-After %q", x.body, x.header.Get("Retry-After"))
				}
				ask{to: a, path: "/readyz"}.send(t).want(t, 503)
				ask{to: a, path: "/livez"}.send(t).want(t, 200)
			case "local":
				// Each replica's share is half, whatever Redis had counted: at
				// most one limit more, however long it is away.
				if want := map[int]int{200: 40, 429: 60}; !maps.Equal(got, want) {
					t.Errorf("without Redis: %v, want each replica's 20: %v", got, want)
				}
				ask{to: a, path: "/readyz"}.send(t).want(t, 200)
			}
			gone := func(e audit.Entry) bool { return e.Reason == "rate_limit_store_away" }
			if e := event(t, a.House, audit.SecurityError, "away", gone); e.Severity != audit.High || e.Outcome != audit.Failed {
				t.Errorf("the event of Redis going away is %s %s", e.Severity, e.Outcome)
			}

			redis.Restart()
			for name, r := range map[string]*replica{"one": a, "the other": b} {
				until(t, "Redis back, replica "+name, func() bool {
					x := ask{to: r, path: "/v1/tenant", token: c.token}.send(t)
					return x.status == 200 && strings.Contains(x.header.Get("RateLimit-Policy"), "q=40;w=86400")
				})
			}
			event(t, a.House, audit.SecurityError, "back", func(e audit.Entry) bool { return e.Reason == "rate_limit_store_back" })
		})
	}
}

func TestConcurrencyCap(t *testing.T) {
	t.Parallel()
	w, _ := twoOnRedis(t, nil)
	a, b := w.start(t, nil), w.start(t, nil)
	c := a.customer(t, "enhanced")

	// Three uploads that do not end hold the three slots, over both replicas.
	var ends []*io.PipeWriter
	var wg sync.WaitGroup
	for i := range 3 {
		r, end := io.Pipe()
		ends = append(ends, end)
		to := []*replica{a, b}[i%2]
		wg.Go(func() {
			_, _ = ask{to: to, method: "POST", path: "/v1/memories", token: c.token, body: io.Reader(r)}.try(context.Background())
		})
		if _, err := end.Write([]byte(`{"text":`)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "three slots taken", func() bool { return left(t, b, c.token, "tenant-concurrent") == 0 })
	x := ask{to: b, path: "/v1/tenant", token: c.token}.send(t).want(t, 429)
	if !strings.Contains(x.header.Get("RateLimit"), "tenant-concurrent") || x.header.Get("Retry-After") != "1" {
		t.Errorf("a fourth at once: RateLimit %q, Retry-After %q", x.header.Get("RateLimit"), x.header.Get("Retry-After"))
	}
	for _, end := range ends {
		_, _ = end.Write([]byte(`"hello"}`))
		end.Close()
	}
	wg.Wait()
	until(t, "slots are free again", func() bool {
		return left(t, a, c.token, "tenant-concurrent") == 3
	})
	ask{to: a, path: "/v1/tenant", token: c.token}.send(t).want(t, 200)
}

func TestTierChangeReachesEveryReplica(t *testing.T) {
	t.Parallel()
	w, _ := twoOnRedis(t, nil)
	a, b := w.start(t, nil), w.start(t, nil)
	c, op := a.customer(t, "standard"), a.operator(t)
	both := []*replica{a, b}
	for _, r := range both { // both have read the tenant, and keep it for a while
		if h := (ask{to: r, path: "/v1/tenant", token: c.token}).send(t).want(t, 200).header.Get("RateLimit-Policy"); !strings.Contains(h, "q=40") {
			t.Fatalf("standard: RateLimit-Policy: %s", h)
		}
	}
	platform := closing(t, a.dial(&op.cert, nil))
	ask{to: a, client: platform, method: "PATCH", path: "/v1/tenants/" + c.room.Scope().ID().String(), body: map[string]string{"tier": "enhanced"}}.send(t).want(t, 200)
	for name, r := range map[string]*replica{"the same replica": a, "the other replica": b} {
		until(t, "new tier on "+name, func() bool {
			return strings.Contains(ask{to: r, path: "/v1/tenant", token: c.token}.send(t).header.Get("RateLimit-Policy"), "q=10000;w=3600")
		})
	}
}

func TestTiersFileReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.start(t, nil)
	c := a.customer(t, "standard")
	policy := func() string {
		return ask{to: a, path: "/v1/tenant", token: c.token}.send(t).header.Get("RateLimit-Policy")
	}
	if h := policy(); !strings.Contains(h, "q=40;w=86400") {
		t.Fatalf("RateLimit-Policy: %s", h)
	}
	if n := reasons(t, a, "tiers_reloaded"); n != 0 {
		t.Errorf("%d events of a reload at a start, which is none", n)
	}
	write(t, w.tiers, strings.Replace(tiers, "per_day: 40", "per_day: 77", 1))
	until(t, "the new table is in force", func() bool { return strings.Contains(policy(), "q=77;w=86400") })
	before := a.Tiers.Digest()
	event(t, a.House, audit.ConfigChanged, "reloaded", func(e audit.Entry) bool {
		return e.Reason == "tiers_reloaded" && e.Outcome == audit.Success && strings.Contains(string(e.Details), before)
	})

	for name, bad := range map[string]string{
		"a word for a number": strings.Replace(tiers, "per_day: 40", "per_day: many", 1),
		"nothing":             "",
		"an unknown key":      tiers + "surprise: true\n",
	} {
		count := func() (n int) {
			for _, e := range events(t, a.House, audit.ConfigChanged) {
				if e.Reason == "tiers_refused" && e.Outcome == audit.Refused {
					n++
				}
			}
			return n
		}
		had := count()
		write(t, w.tiers, bad)
		until(t, "refusal of "+name, func() bool { return count() > had })
		if a.Tiers.Digest() != before || !strings.Contains(policy(), "q=77;w=86400") {
			t.Errorf("%s: the old table is no longer in force", name)
		}
	}
}

func TestFloodIsSampledAndCountedExactly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.start(t, nil)
	b := w.start(t, nil) // to read with, when a has stopped
	c := a.customer(t, "standard")
	const sent = 400
	got := hammer(t, c.token, sent, a)
	if want := map[int]int{200: 40, 429: sent - 40}; !maps.Equal(got, want) {
		t.Fatalf("answers: %v, want %v", got, want)
	}
	room, err := b.Identity.Enter(t.Context(), c.name)
	if err != nil {
		t.Fatal(err)
	}
	a.stop() // the period ends with the process
	var single, summed, summaries int
	for _, e := range events(t, room, audit.RateLimitExceeded) {
		var d struct {
			Summary         bool
			Count, Recorded int
		}
		if err := json.Unmarshal(e.Details, &d); err != nil {
			t.Fatal(err)
		}
		if d.Summary {
			summaries++
			summed += d.Count - d.Recorded
			continue
		}
		single++
	}
	if single+summed != sent-40 {
		t.Errorf("%d single events and %d in %d summaries are not the %d refusals", single, summed, summaries, sent-40)
	}
	if single >= sent-40 || summaries == 0 {
		t.Errorf("%d of %d refusals stand in the log one by one, with %d summaries: nothing was sampled", single, sent-40, summaries)
	}
}

func TestLimitsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"ENABLE_RATE_LIMITING": "false"})
	a := w.start(t, nil)
	c := a.customer(t, "standard")
	if got := hammer(t, c.token, 60, a); got[http.StatusOK] != 60 {
		t.Errorf("with limits off: %v", got)
	}
	event(t, a.House, audit.ConfigChanged, "switched off", func(e audit.Entry) bool {
		return e.Reason == "protection_switched_off" && e.Severity == audit.High && strings.Contains(string(e.Details), "ENABLE_RATE_LIMITING")
	})
}
