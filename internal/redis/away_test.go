package redis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
)

func take(t *testing.T, l quota.Limiter, k quota.Key, p *quota.Plan) (quota.Decision, error) {
	t.Helper()
	return l.Take(context.Background(), quota.Ask{Key: k, Plan: p})
}

// edges collects events.
type edges chan Event

func (e edges) next(t *testing.T, away bool) {
	t.Helper()
	select {
	case got := <-e:
		if got.Away != away || (got.Err != nil) != away {
			t.Fatalf("event %+v, want away %v", got, away)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no event, want away %v", away)
	}
}

func (e edges) none(t *testing.T) {
	t.Helper()
	select {
	case got := <-e:
		t.Fatalf("event %+v: edges only", got)
	default:
	}
}

// TestKilledUnderLoad kills and restarts Redis under parallel load, with both
// settings: never an admission the setting does not allow, one event per edge,
// recovery by itself.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]LimiterConfig{
		"deny":  {OnFailure: Deny},
		"local": {OnFailure: Local, Replicas: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			events := make(edges, 100)
			c := open(t, s, Config{OnEvent: func(e Event) { events <- e }, Deadline: 2 * time.Second})
			l, p, k := NewLimiter(c, cfg), quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
			var phase atomic.Int32 // 0 up, 1 being killed, 2 gone, 3 coming back
			var exact, away, degraded, denied atomic.Int64
			stop, tick := make(chan struct{}), make(chan struct{}, 1)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						before := phase.Load()
						d, err := l.Take(context.Background(), quota.Ask{Key: k, Plan: p})
						after := phase.Load()
						switch {
						case err != nil && fault.CodeOf(err) != fault.Unavailable:
							t.Error(err)
							return
						case err != nil:
							denied.Add(1)
							if d.Allowed() {
								t.Error("admitted with an error")
							}
						case d.Degraded && d.Allowed():
							degraded.Add(1)
						case d.Allowed() && before == 2 && after == 2:
							away.Add(1)
						case d.Allowed():
							exact.Add(1)
						}
						d.Slot.Release()
						select {
						case tick <- struct{}{}:
						default:
						}
					}
				})
			}
			wait := func(what string, done func() bool) {
				t.Helper()
				deadline := time.After(30 * time.Second)
				for !done() {
					select {
					case <-tick:
					case <-deadline:
						t.Fatalf("waited for %s in vain", what)
					}
				}
			}
			wait("the limit", func() bool { return exact.Load() >= 1000 })
			events.none(t)
			phase.Store(1)
			s.Kill()
			phase.Store(2)
			if cfg.OnFailure == Local {
				wait("the share", func() bool { return degraded.Load() >= 250 })
			} else {
				wait("denials", func() bool { return denied.Load() >= 500 })
			}
			events.next(t, true)
			events.none(t)
			phase.Store(3)
			s.Restart()
			events.next(t, false)
			wait("service", func() bool { return exact.Load() >= 2000 }) // Redis came back empty
			close(stop)
			wg.Wait()
			events.none(t)
			if exact.Load() != 2000 || away.Load() != 0 {
				t.Errorf("%d before and after, %d in between; want 2000 and 0", exact.Load(), away.Load())
			}
			want := int64(0)
			if cfg.OnFailure == Local {
				want = 250 // 1000 / 4 replicas
			}
			if degraded.Load() != want {
				t.Errorf("%d admitted while away, want %d", degraded.Load(), want)
			}
		})
	}
}

// TestHung: a server that takes connections and never answers is away after
// one deadline, and the calls after the first do not wait for it.
func TestHung(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	events := make(edges, 10)
	c := open(t, s, Config{OnEvent: func(e Event) { events <- e }, Deadline: 50 * time.Millisecond})
	l, p, k := NewLimiter(c, LimiterConfig{}), quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	s.Pause()
	if _, err := take(t, l, k, p); fault.CodeOf(err) != fault.Unavailable || !errors.Is(err, ErrAway) {
		t.Fatalf("%v", err)
	}
	events.next(t, true)
	for range 10_000 { // 500 s, if each waited
		if _, err := take(t, l, k, p); fault.CodeOf(err) != fault.Unavailable {
			t.Fatalf("%v", err)
		}
	}
	if _, err := l.Usage(context.Background(), k, p); fault.CodeOf(err) != fault.Unavailable {
		t.Fatalf("usage: %v", err)
	}
	s.Resume()
	events.next(t, false)
	events.none(t)
}

// TestStartsAway: a replica that starts before its Redis serves by its setting
// and finds Redis when it comes.
func TestStartsAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	events := make(edges, 10)
	c := open(t, s, Config{OnEvent: func(e Event) { events <- e }})
	events.next(t, true)
	l, p, k := NewLimiter(c, LimiterConfig{}), quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	if _, err := take(t, l, k, p); fault.CodeOf(err) != fault.Unavailable {
		t.Fatalf("%v", err)
	}
	if err := c.Check(context.Background()); !errors.Is(err, ErrAway) {
		t.Fatalf("check: %v", err)
	}
	s.Restart()
	events.next(t, false)
	if d, err := take(t, l, k, p); err != nil || !d.Allowed() {
		t.Fatalf("%v %v", d.Outcome, err)
	}
	if err := c.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if _, err := take(t, l, k, p); fault.CodeOf(err) != fault.Unavailable {
		t.Fatalf("closed: %v", err)
	}
	events.none(t)
}

// TestFullServer: a server that answers PING and takes no writes is away.
func TestFullServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	events := make(edges, 10)
	c := open(t, s, Config{OnEvent: func(e Event) { events <- e }})
	l, p, k := NewLimiter(c, LimiterConfig{}), quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	s.Do("CONFIG", "SET", "maxmemory", "1")
	if d, err := take(t, l, k, p); fault.CodeOf(err) != fault.Unavailable || d.Allowed() {
		t.Fatalf("%v %v", d.Outcome, err)
	}
	events.next(t, true)
	s.Do("CONFIG", "SET", "maxmemory", "0")
	events.next(t, false)
	s.Do("CONFIG", "SET", "maxmemory", "100mb")
	s.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	if err := c.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Fatalf("check: %v", err)
	}
}

// TestCancelled: a caller who gives up says nothing about Redis.
func TestCancelled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	events := make(edges, 10)
	c := open(t, s, Config{OnEvent: func(e Event) { events <- e }})
	l, p, k := NewLimiter(c, LimiterConfig{OnFailure: Local}), quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d, err := l.Take(ctx, quota.Ask{Key: k, Plan: p}); !errors.Is(err, context.Canceled) || d.Allowed() {
		t.Fatalf("%v %v", d.Outcome, err)
	}
	events.none(t)
}

func TestURL(t *testing.T) {
	t.Parallel()
	_, err := Open(Config{URL: "redis://user:hunter2@host:port:1/%zz"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("%v", err)
	}
}
