package redis

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// flood takes from l with many goroutines until limit+extra asks were made.
func flood(l quota.Limiter, k quota.Key, p *quota.Plan, asks int) (admitted int64, err error) {
	var got, left atomic.Int64
	var failed atomic.Pointer[error]
	left.Store(int64(asks))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				d, err := l.Take(context.Background(), quota.Ask{Key: k, Plan: p})
				if err != nil {
					failed.Store(&err)
					return
				}
				if d.Allowed() {
					got.Add(1)
					d.Slot.Release()
				}
			}
		})
	}
	wg.Wait()
	if e := failed.Load(); e != nil {
		err = *e
	}
	return got.Load(), err
}

// TestSkewedReplicas: two replicas, one of whose clocks is 5 s ahead, flood one
// tenant on Redis's own clock.
func TestSkewedReplicas(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p, k := quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	var total atomic.Int64
	var wg sync.WaitGroup
	for _, skew := range []time.Duration{0, 5 * time.Second, -5 * time.Second} {
		l := NewLimiter(open(t, s, Config{}), LimiterConfig{Clock: func() time.Time { return time.Now().Add(skew) }})
		wg.Go(func() {
			n, err := flood(l, k, p, 900)
			if err != nil {
				t.Error(err)
			}
			total.Add(n)
		})
	}
	wg.Wait()
	if total.Load() != 1000 {
		t.Fatalf("%d admitted, want 1000", total.Load())
	}
}

// TestTwoProcesses runs the test binary again as the second replica.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p, k := quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestSecondProcess$", "-test.v")
	cmd.Env = append(os.Environ(), "OPENCLAW_TEST_REDIS="+s.Addr(), "OPENCLAW_TEST_TENANT="+k.Tenant().String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func(prefix string) string {
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return rest
			}
		}
		t.Fatalf("the second process ended before %q", prefix)
		return ""
	}
	next("ready")
	l := NewLimiter(open(t, s, Config{}), LimiterConfig{})
	fmt.Fprintln(in, "go")
	mine, err := flood(l, k, p, 1500)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := strconv.ParseInt(next("admitted "), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if mine+theirs != 1000 {
		t.Fatalf("%d here and %d there, want 1000 together", mine, theirs)
	}
	if mine == 0 || theirs == 0 {
		t.Fatalf("%d here and %d there: they did not meet", mine, theirs)
	}
	t.Logf("%d here, %d in the other process", mine, theirs)
}

// TestSecondProcess is the other half of TestTwoProcesses.
func TestSecondProcess(t *testing.T) {
	addr := os.Getenv("OPENCLAW_TEST_REDIS")
	if addr == "" {
		t.Skip("started by TestTwoProcesses")
	}
	c, err := Open(Config{URL: "redis://" + addr, Deadline: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id, err := tenant.ParseID(os.Getenv("OPENCLAW_TEST_TENANT"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := quota.TenantKey(id)
	if err != nil {
		t.Fatal(err)
	}
	l, p := NewLimiter(c, LimiterConfig{}), quotatest.Plan(t, "wide", "read")
	fmt.Println("ready")
	if _, err := fmt.Scanln(new(string)); err != nil {
		t.Fatal(err)
	}
	n, err := flood(l, k, p, 1500)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("admitted %d\n", n)
}

// TestScriptFlush: the server forgets its scripts under load; nothing is
// refused for it, lost or admitted twice.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var events atomic.Int64
	c := open(t, s, Config{OnEvent: func(Event) { events.Add(1) }})
	l, p, k := NewLimiter(c, LimiterConfig{}), quotatest.Plan(t, "wide", "read"), quotatest.Tenant(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				s.Do("SCRIPT", "FLUSH")
			}
		}
	}()
	n, err := flood(l, k, p, 3000)
	close(stop)
	<-done
	if err != nil || n != 1000 || events.Load() != 0 {
		t.Fatalf("%d admitted, %v, %d events", n, err, events.Load())
	}
}

// TestKeys looks behind the adapter: names, times to live, and nothing left
// when there is nothing to tell.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := NewLimiter(open(t, s, Config{}), LimiterConfig{})
	ten := quotatest.Tenant(t)
	u := quotatest.User(t, ten, [16]byte{1, 2, 3})
	ctx := context.Background()
	for _, class := range []string{"read", "login", "expensive", "probe", "dropped"} {
		if _, err := l.Take(ctx, quota.Ask{Key: u, Plan: quotatest.Plan(t, "small", class)}); err != nil {
			t.Fatal(err)
		}
	}
	base := "tenant:{" + ten.Tenant().String() + "}:quota"
	user := base + ":user:01020300-0000-0000-0000-000000000000"
	want := map[string]bool{base: true, base + ":slots": true, user: true, user + ":class:login": true,
		base + ":class:expensive": true, base + ":class:expensive:slots": true}
	for _, key := range s.Keys() {
		if !want[key] {
			t.Errorf("key %q", key)
		}
		delete(want, key)
		if ttl := s.Do("PTTL", key); strings.HasPrefix(ttl, ":-") {
			t.Errorf("key %q never goes: %s", key, ttl)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
