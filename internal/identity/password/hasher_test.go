package password

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/alexedwards/argon2id"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestHasher(t testing.TB, c Config) *Hasher {
	t.Helper()
	h, err := NewHasher(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestVerify(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newTestHasher(t, Config{Wait: time.Minute})
	const p = "Caf\u00e9 au lait, 7 spoons"
	stored, err := h.Hash(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("stored %q", stored)
	}
	second, err := h.Hash(ctx, p)
	if err != nil || second == stored {
		t.Fatalf("no salt: %v", err)
	}
	weak, err := argon2id.CreateHash(p, &argon2id.Params{Memory: 8192, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		password, stored string
		match, stale     bool
		fails            bool
	}{
		"right":                {password: p, stored: stored, match: true},
		"right, decomposed":    {password: "Cafe\u0301 au lait, 7 spoons", stored: stored, match: true},
		"right, other salt":    {password: p, stored: second, match: true},
		"old parameters":       {password: p, stored: weak, match: true, stale: true},
		"old parameters wrong": {password: p + "x", stored: weak},
		"wrong":                {password: p + "x", stored: stored},
		"wrong case":           {password: strings.ToUpper(p), stored: stored},
		"empty":                {password: "", stored: stored},
		"bad utf-8":            {password: p + "\xff", stored: stored},
		"megabyte":             {password: strings.Repeat("x", 1<<20), stored: stored},
		"nobody":               {password: p},
		"nobody, dummy's hash": {password: h.dummy},
		"not a hash":           {password: p, stored: "x", fails: true},
		"bcrypt":               {password: p, stored: "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", fails: true},
		"terabytes of memory":  {password: p, stored: strings.Replace(stored, "m=19456", "m=1073741824", 1), fails: true},
		"endless passes":       {password: p, stored: strings.Replace(stored, "t=2", "t=4000000000", 1), fails: true},
		"no passes":            {password: p, stored: strings.Replace(stored, "t=2", "t=0", 1), fails: true},
		"no threads":           {password: p, stored: strings.Replace(stored, "p=1", "p=0", 1), fails: true},
		"no key":               {password: p, stored: stored[:strings.LastIndexByte(stored, '$')+1], fails: true},
		"endless":              {password: p, stored: stored + strings.Repeat("A", 1<<16), fails: true},
		"other variant":        {password: p, stored: strings.Replace(stored, "argon2id", "argon2i", 1), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			match, stale, err := h.Verify(ctx, c.password, c.stored)
			if match != c.match || stale != c.stale || (err != nil) != c.fails {
				t.Fatalf("got %v %v %v", match, stale, err)
			}
			if err != nil && (strings.Contains(err.Error(), c.password) || strings.Contains(err.Error(), c.stored)) {
				t.Errorf("the error gives away too much: %v", err)
			}
		})
	}
	if _, err := h.Hash(ctx, "bad\xff"); fault.CodeOf(err) != fault.Unprocessable {
		t.Errorf("hashed bad UTF-8: %v", err)
	}
}

// The work for an unknown user is told by what it allocates: 19 MiB, like a
// real comparison.
func TestUnknownUserCostsTheSame(t *testing.T) {
	h := newTestHasher(t, Config{})
	stored, err := h.Hash(context.Background(), "some password of ours")
	if err != nil {
		t.Fatal(err)
	}
	spent := func(stored string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _ = h.Verify(context.Background(), "another password", stored)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	known, unknown, corrupt := spent(stored), spent(""), spent("not a hash")
	const pass = 19 << 20
	for name, n := range map[string]uint64{"known": known, "unknown": unknown, "corrupt": corrupt} {
		if n < pass || n > pass+pass/4 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newTestHasher(t, Config{Concurrent: 1, Waiting: 2, Wait: time.Hour})
	leave, err := h.enter(ctx) // the only place is taken
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make(chan error, 2)
	for range 2 {
		wg.Go(func() {
			_, _, err := h.Verify(ctx, "whatever it may be", "")
			results <- err
		})
	}
	for h.waiting.Load() < 2 {
		runtime.Gosched()
	}
	for range 100 {
		_, _, err := h.Verify(ctx, "whatever it may be", "")
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != fault.Unavailable || f.RetryAfter <= 0 {
			t.Fatalf("beyond the queue: %v", err)
		}
	}
	if _, err := h.Hash(ctx, "whatever it may be"); fault.CodeOf(err) != fault.Unavailable {
		t.Fatalf("hash beyond the queue: %v", err)
	}
	leave()
	wg.Wait()
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("who waited in the queue: %v", err)
		}
	}
	if n := h.waiting.Load(); n != 0 {
		t.Errorf("%d still counted as waiting", n)
	}
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	h := newTestHasher(t, Config{Concurrent: 1, Wait: time.Millisecond})
	leave, err := h.enter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if _, err := h.Hash(context.Background(), "whatever it may be"); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("deadline: %v", err)
	}
	patient := newTestHasher(t, Config{Concurrent: 1, Wait: time.Hour})
	out, err := patient.enter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer out()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := patient.Verify(ctx, "whatever it may be", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("caller gone: %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{Concurrent: -1}, {Waiting: -1}, {Wait: -1}} {
		if _, err := NewHasher(c); err == nil {
			t.Errorf("accepted %+v", c)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	h := newTestHasher(b, Config{})
	stored, err := h.Hash(context.Background(), "some password of ours")
	if err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]string{"known": stored, "unknown": ""} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = h.Verify(context.Background(), "another password", s)
			}
		})
	}
}
