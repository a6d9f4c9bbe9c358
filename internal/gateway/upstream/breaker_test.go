package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRetries(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if calls.Add(1)%2 == 1 {
			w.WriteHeader(503)
		}
	})
	for method, want := range map[string]int{"GET": 200, "PUT": 200, "DELETE": 200, "POST": 503, "PATCH": 503} {
		calls.Store(0)
		b := setup(t, route(up.URL, `, retries: {count: 1, on: ["503"], budget: 0}`))
		resp, _ := b.do(t, method, "/", strings.NewReader("body"))
		if resp.StatusCode != want || calls.Load() != map[int]int64{200: 2, 503: 1}[want] {
			t.Errorf("%s: %d after %d calls", method, resp.StatusCode, calls.Load())
		}
	}
	// The budget is ten at first, and then nothing here.
	calls.Store(0)
	always := backend(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); w.WriteHeader(503) })
	b := setup(t, route(always.URL, `, retries: {count: 1, on: [503], budget: 0}, breaker: {failures: 0}`))
	for range 30 {
		b.do(t, "GET", "/", nil)
	}
	if n := calls.Load(); n != 40 {
		t.Errorf("%d calls for 30 requests", n)
	}
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	var status atomic.Int64
	var calls atomic.Int64
	status.Store(500)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); w.WriteHeader(int(status.Load())) })
	b := setup(t, route(up.URL, ", retries: {count: 0}, breaker: {failures: 3, open: 10s, probes: 2}"))
	expect := func(want int, wantCalls int64, state string) {
		t.Helper()
		calls.Store(0)
		resp, _ := b.do(t, "GET", "/", nil)
		if got := b.Upstreams()[0].Breaker; resp.StatusCode != want || calls.Load() != wantCalls || got != state {
			t.Fatalf("status %d, %d calls, breaker %s; want %d, %d, %s", resp.StatusCode, calls.Load(), got, want, wantCalls, state)
		}
		if want == 503 && wantCalls == 0 && resp.Header.Get("Retry-After") != "10" {
			t.Fatalf("Retry-After %q", resp.Header.Get("Retry-After"))
		}
	}
	for range 5 {
		expect(500, 1, Closed) // an application's own error is an answer
	}
	status.Store(502)
	expect(502, 1, Closed)
	expect(502, 1, Closed)
	status.Store(200)
	expect(200, 1, Closed) // in a row, or not at all
	status.Store(502)
	expect(502, 1, Closed)
	expect(502, 1, Closed)
	expect(502, 1, Open)
	expect(503, 0, Open)
	b.clock.add(10 * time.Second)
	expect(502, 1, Open) // the probe failed
	expect(503, 0, Open)
	b.clock.add(10 * time.Second)
	status.Store(200)
	expect(200, 1, HalfOpen)
	expect(200, 1, Closed)
	expect(200, 1, Closed)
}

// A crowd waits behind an open breaker. When the time is over, as many as there
// are probes get through and no more until they are answered; a prober who
// leaves gives its place to another and decides nothing.
func TestHalfOpenLetsProbesThroughAndNoCrowd(t *testing.T) {
	t.Parallel()
	var bad atomic.Bool
	bad.Store(true)
	arrived, answer := make(chan struct{}, 100), make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if bad.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		arrived <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
	})
	b := setup(t, route(up.URL, ", retries: {count: 0}, breaker: {failures: 1, open: 10s, probes: 2}"))
	b.do(t, "GET", "/", nil)
	bad.Store(false)
	b.clock.add(10 * time.Second)

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "GET", b.front.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		if resp, err := b.front.Client().Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-arrived
	leave()
	<-left
	<-b.ended // the first, which opened it
	<-b.ended // and the one who left

	var statuses [600]atomic.Int64
	var wg sync.WaitGroup
	refused := make(chan struct{}, 100)
	for range 50 {
		wg.Go(func() {
			resp, _ := b.do(t, "GET", "/", nil)
			statuses[resp.StatusCode].Add(1)
			if resp.StatusCode == 503 {
				refused <- struct{}{}
			}
		})
	}
	for range 2 {
		<-arrived
	}
	for range 48 {
		<-refused
	}
	close(answer)
	wg.Wait()
	if n := len(arrived); n != 0 || statuses[200].Load() != 2 || b.Upstreams()[0].Breaker != Closed {
		t.Errorf("%d more than two probes, %d answered, breaker %s", n, statuses[200].Load(), b.Upstreams()[0].Breaker)
	}
}
