package quota_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
)

// TestWriteHeader holds the fields against draft-ietf-httpapi-ratelimit-headers
// through a real server and client.
func TestWriteHeader(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := quota.NewLocal(quota.LocalConfig{Clock: c.Now})
	table := quota.DefaultTable()
	read, _ := table.Class("read")
	p, _ := table.Plan("standard", read)
	k := quotatest.Tenant(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		d, err := l.Take(context.Background(), quota.Ask{Key: k, Plan: p})
		if err != nil {
			t.Error(err)
		}
		defer d.Slot.Release()
		d.WriteHeader(w.Header())
		if !d.Allowed() {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer srv.Close()
	get := func() *http.Response {
		t.Helper()
		r, err := srv.Client().Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r
	}
	check := func(r *http.Response, field, want string) {
		t.Helper()
		if got := r.Header.Get(field); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	r := get()
	check(r, "RateLimit-Policy", `"tenant-minute";q=60;w=60, "tenant-hour";q=2000;w=3600, "tenant-day";q=20000;w=86400, "tenant-concurrent";q=10;qu="concurrent-requests"`)
	check(r, "RateLimit", `"tenant-minute";r=89;t=1`)
	check(r, "Retry-After", "")
	for range 89 {
		r = get()
	}
	check(r, "RateLimit", `"tenant-minute";r=0;t=1`)
	r = get()
	if r.StatusCode != 429 {
		t.Fatal(r.Status)
	}
	check(r, "RateLimit", `"tenant-minute";r=0;t=1`)
	check(r, "Retry-After", "1")
	c.Advance(1500 * time.Millisecond)
	r = get()
	check(r, "RateLimit", `"tenant-minute";r=0;t=1`)
	check(r, "Retry-After", "")
}

func TestDecisionErr(t *testing.T) {
	t.Parallel()
	var zero quota.Decision
	if zero.Allowed() || fault.CodeOf(zero.Err()) != fault.RateLimited {
		t.Fatal("the zero Decision must refuse")
	}
	h := http.Header{}
	zero.WriteHeader(h)
	if len(h) != 0 {
		t.Fatal(h)
	}
	zero.Slot.Release()
	c := newClock()
	l := quota.NewLocal(quota.LocalConfig{Clock: c.Now})
	k, p := quotatest.Tenant(t), quotatest.Plan(t, "small", "read")
	quotatest.Drain(t, l, k, p, 100)
	c.Advance(100 * time.Millisecond)
	d, err := l.Take(context.Background(), quota.Ask{Key: k, Plan: p})
	var f *fault.Error
	if err != nil || !errors.As(d.Err(), &f) || f.RetryAfter != 900*time.Millisecond {
		t.Fatalf("%v %v", err, f)
	}
	d.WriteHeader(h)
	if h.Get("Retry-After") != "1" {
		t.Fatal(h)
	}
}

// TestShare: the parts of a plan never add up to more than the whole.
func TestShare(t *testing.T) {
	t.Parallel()
	whole := quotatest.Plan(t, "small", "read")
	for _, n := range []int{1, 2, 3, 7, 61, 1000} {
		part := whole.Share(n)
		for i, level := range part.Levels() {
			for j, w := range level.Windows {
				all := whole.Levels()[i].Windows[j].Policy
				if (w.Policy == nil) != (all == nil) {
					t.Fatal("a limit was lost")
				}
				if w.Policy != nil && (w.Policy.Capacity*int64(n) > all.Capacity || w.Policy.Limit*int64(n) > all.Limit) {
					t.Fatalf("%d times %+v of %+v", n, w.Policy, all)
				}
			}
			if all := whole.Levels()[i].Slots; all != nil && level.Slots.Limit*int64(n) > all.Limit {
				t.Fatal("more slots than the whole")
			}
		}
		l := quota.NewLocal(quota.LocalConfig{Clock: newClock().Now})
		want := 90 / n
		if n > 60 { // less than one a minute: refuses
			want = 0
		}
		if got := quotatest.Drain(t, l, quotatest.Tenant(t), part, 200); got != want {
			t.Fatalf("a share of 1/%d admits %d, want %d", n, got, want)
		}
	}
}
