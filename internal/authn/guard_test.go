package authn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// register is a small store of standings that can be slow, away or mad.
type register struct {
	mu    sync.Mutex
	known map[standingKey]Standing
	err   error
	boom  bool
	asked atomic.Int64

	// With hold set, each question announces itself and waits.
	hold    chan struct{}
	arrived chan struct{}
}

func (r *register) set(k standingKey, s Standing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[standingKey]Standing)
	}
	r.known[k] = s
}

func (r *register) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *register) Standing(ctx context.Context, id tenant.ID, subject string, session uuid.UUID) (Standing, error) {
	r.asked.Add(1)
	// Read first and wait then: the answer is of the time of the question.
	r.mu.Lock()
	s, ok := r.known[standingKey{id, subject, session}]
	err, boom := r.err, r.boom
	r.mu.Unlock()
	if r.hold != nil {
		r.arrived <- struct{}{}
		select {
		case <-r.hold:
		case <-ctx.Done():
			return Standing{}, ctx.Err()
		}
	}
	switch {
	case boom:
		panic("boom")
	case err != nil:
		return Standing{}, err
	case !ok:
		return Standing{}, fault.New(fault.NotFound, "no such subject")
	}
	return s, nil
}

func newGuard(t testing.TB, store Standings, c GuardConfig) *Guard {
	t.Helper()
	g, err := NewGuard(store, c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func somebody() (Principal, standingKey) {
	p := Principal{Tenant: tenant.NewID(), Subject: uuid.NewString(), Kind: policy.KindUser, Session: uuid.New(), Epoch: 3, Method: ByToken}
	return p, standingKey{p.Tenant, p.Subject, p.Session}
}

func TestGuardDecides(t *testing.T) {
	t.Parallel()
	active := Standing{TenantActive: true, SubjectActive: true, Epoch: 3}
	for name, c := range map[string]struct {
		store  *Standing
		err    error
		method Method
		code   fault.Code
		cause  error
	}{
		"stands":                   {store: &active},
		"bound token":              {store: &active, method: ByBoundToken},
		"zero standing":            {store: &Standing{}, code: fault.Suspended},
		"tenant suspended":         {store: &Standing{SubjectActive: true, Epoch: 3}, code: fault.Suspended},
		"subject suspended":        {store: &Standing{TenantActive: true, Epoch: 3}, code: fault.Unauthorized, cause: ErrSubject},
		"session revoked":          {store: &Standing{TenantActive: true, SubjectActive: true, SessionRevoked: true, Epoch: 3}, code: fault.Unauthorized, cause: ErrSession},
		"epoch raised":             {store: &Standing{TenantActive: true, SubjectActive: true, Epoch: 4}, code: fault.Unauthorized, cause: ErrStale},
		"epoch lower":              {store: &Standing{TenantActive: true, SubjectActive: true, Epoch: 2}, code: fault.Unauthorized, cause: ErrStale},
		"certificate has no epoch": {store: &Standing{TenantActive: true, SubjectActive: true, Epoch: 9}, method: ByCert},
		"revoked by certificate":   {store: &Standing{TenantActive: true}, method: ByCert, code: fault.Unauthorized, cause: ErrSubject},
		"unknown":                  {code: fault.Unauthorized, cause: ErrSubject},
		"store away":               {err: errors.New("connection refused to 10.0.0.1"), code: fault.Unavailable},
		"store away, by a fault":   {err: fault.New(fault.Timeout, "x"), code: fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, key := somebody()
			if c.method != "" {
				p.Method = c.method
			}
			r := &register{err: c.err}
			if c.store != nil {
				r.set(key, *c.store)
			}
			err := newGuard(t, r, GuardConfig{Now: newClock().now}).Check(context.Background(), p)
			if fault.CodeOf(err) != c.code {
				t.Fatalf("got %v, want code %q", err, c.code)
			}
			if c.cause != nil {
				wantRefusal(t, err, c.cause)
			}
			if c.code == fault.Unavailable && err.(*fault.Error).RetryAfter <= 0 {
				t.Error("no word on when to come again")
			}
		})
	}
}

func TestGuardRemembersForLessThanASecond(t *testing.T) {
	t.Parallel()
	ctx, clk, r := context.Background(), newClock(), &register{}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	g := newGuard(t, r, GuardConfig{Now: clk.now})
	step := func(what string, code fault.Code, asked int64) {
		t.Helper()
		if err := g.Check(ctx, p); fault.CodeOf(err) != code {
			t.Fatalf("%s: %v", what, err)
		}
		if n := r.asked.Load(); n != asked {
			t.Fatalf("%s: the store was asked %d times, want %d", what, n, asked)
		}
	}
	step("first", "", 1)
	step("second", "", 1)
	r.set(key, Standing{TenantActive: true, SubjectActive: true, SessionRevoked: true, Epoch: 3})
	clk.advance(499 * time.Millisecond)
	step("still remembered", "", 1)
	clk.advance(time.Millisecond)
	step("asked again", fault.Unauthorized, 2)
	step("a no is remembered, too", fault.Unauthorized, 2)

	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	clk.advance(500 * time.Millisecond)
	step("back", "", 3)
	r.fail(errors.New("away"))
	clk.advance(499 * time.Millisecond)
	step("the store is away, the answer is fresh", "", 3)
	clk.advance(time.Millisecond)
	step("the store is away, the answer is old", fault.Unavailable, 4)
	step("a failure is not remembered", fault.Unavailable, 5)
	r.fail(nil)
	step("recovered", "", 6)

	clk.advance(-time.Hour)
	step("the clock was set back", "", 7)
}

func TestGuardForgets(t *testing.T) {
	t.Parallel()
	ctx, clk, r := context.Background(), newClock(), &register{}
	g := newGuard(t, r, GuardConfig{Now: clk.now})
	good := Standing{TenantActive: true, SubjectActive: true, Epoch: 3}
	a, ka := somebody()
	b, kb := somebody() // another tenant
	c := a              // another session of a
	c.Session = uuid.New()
	kc := standingKey{c.Tenant, c.Subject, c.Session}
	d := a // a colleague of a
	d.Subject = uuid.NewString()
	kd := standingKey{d.Tenant, d.Subject, d.Session}
	all := []Principal{a, b, c, d}
	for _, k := range []standingKey{ka, kb, kc, kd} {
		r.set(k, good)
	}
	for name, c := range map[string]struct {
		forget func()
		asked  int64
	}{
		"nothing":          {func() {}, 0},
		"session":          {func() { g.Forget(a.Tenant, a.Subject, a.Session) }, 1},
		"subject":          {func() { g.Forget(a.Tenant, a.Subject, uuid.Nil) }, 2},
		"tenant":           {func() { g.Forget(a.Tenant, "", uuid.Nil) }, 3},
		"session anywhere": {func() { g.Forget(tenant.ID{}, "", b.Session) }, 1},
		"everything":       {g.ForgetAll, 4},
		"a stranger":       {func() { g.Forget(tenant.NewID(), a.Subject, uuid.Nil) }, 0},
	} {
		for _, p := range all {
			if err := g.Check(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		before := r.asked.Load()
		c.forget()
		for _, p := range all {
			if err := g.Check(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		if n := r.asked.Load() - before; n != c.asked {
			t.Errorf("%s: the store was asked %d times, want %d", name, n, c.asked)
		}
	}
}

// A revocation that arrives while its subject is being asked for must not be
// answered with what was true before, and must not be remembered as such.
func TestForgetWhileAsking(t *testing.T) {
	t.Parallel()
	ctx, clk := context.Background(), newClock()
	r := &register{hold: make(chan struct{}), arrived: make(chan struct{}, 8)}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	g := newGuard(t, r, GuardConfig{Now: clk.now})
	early := make(chan error, 1)
	go func() { early <- g.Check(ctx, p) }()
	<-r.arrived // the old answer is read and under way

	r.set(key, Standing{TenantActive: true, SubjectActive: true, SessionRevoked: true, Epoch: 3})
	g.Forget(p.Tenant, p.Subject, p.Session)
	late := make(chan error, 1)
	go func() { late <- g.Check(ctx, p) }()
	<-r.arrived // it asked for itself instead of waiting for the old answer
	close(r.hold)
	if err := <-early; err != nil {
		t.Errorf("who asked before: %v", err)
	}
	wantRefusal(t, <-late, ErrSession)
	go func() { late <- g.Check(ctx, p) }()
	err := <-late
	wantRefusal(t, err, ErrSession)
	if n := r.asked.Load(); n > 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestConcurrentMissesAskOnce(t *testing.T) {
	t.Parallel()
	ctx, clk := context.Background(), newClock()
	r := &register{hold: make(chan struct{}), arrived: make(chan struct{}, 128)}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	g := newGuard(t, r, GuardConfig{Now: clk.now})
	results := make(chan error, 100)
	for range 100 {
		go func() { results <- g.Check(ctx, p) }()
	}
	<-r.arrived
	close(r.hold)
	for range 100 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the store was asked %d times", n)
	}
}

// Who waits for somebody else's question may leave; who asks does so for all.
func TestCancellation(t *testing.T) {
	t.Parallel()
	clk := newClock()
	r := &register{hold: make(chan struct{}), arrived: make(chan struct{}, 8)}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	g := newGuard(t, r, GuardConfig{Now: clk.now})
	ctx, cancel := context.WithCancel(context.Background())
	leader := make(chan error, 1)
	go func() { leader <- g.Check(ctx, p) }()
	<-r.arrived
	cancel()
	gone, leave := context.WithCancel(context.Background())
	leave()
	err := g.Check(gone, p)
	if !errors.Is(err, context.Canceled) || fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("who left: %v", err)
	}
	close(r.hold)
	if err := <-leader; err != nil {
		t.Errorf("the question was dropped with its first asker: %v", err)
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestSlowStoreTimesOut(t *testing.T) {
	t.Parallel()
	r := &register{hold: make(chan struct{}), arrived: make(chan struct{}, 8)}
	p, _ := somebody()
	g := newGuard(t, r, GuardConfig{Now: newClock().now, Timeout: time.Millisecond})
	if err := g.Check(context.Background(), p); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
}

// An answer that takes longer than it may live serves those who waited, and
// nobody who comes later joins it.
func TestLateAnswerIsNotShared(t *testing.T) {
	t.Parallel()
	ctx, clk := context.Background(), newClock()
	r := &register{hold: make(chan struct{}), arrived: make(chan struct{}, 8)}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	g := newGuard(t, r, GuardConfig{Now: clk.now})
	results := make(chan error, 2)
	go func() { results <- g.Check(ctx, p) }()
	<-r.arrived
	clk.advance(600 * time.Millisecond)
	go func() { results <- g.Check(ctx, p) }()
	<-r.arrived // asks beside the slow one
	close(r.hold)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := g.Check(ctx, p); err != nil || r.asked.Load() != 2 {
		t.Errorf("%v after %d questions", err, r.asked.Load())
	}
}

func TestPanickingStore(t *testing.T) {
	t.Parallel()
	r := &register{boom: true}
	p, _ := somebody()
	g := newGuard(t, r, GuardConfig{Now: newClock().now})
	for range 2 {
		if err := g.Check(context.Background(), p); fault.CodeOf(err) != fault.Unavailable {
			t.Fatalf("got %v", err)
		}
	}
}

// A token of a newer epoch than remembered is proof that the memory is behind.
func TestNewerEpochAsksAgain(t *testing.T) {
	t.Parallel()
	ctx, r := context.Background(), &register{}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 2})
	g := newGuard(t, r, GuardConfig{Now: newClock().now})
	wantRefusal(t, g.Check(ctx, p), ErrStale)
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	if err := g.Check(ctx, p); err != nil {
		t.Fatal(err)
	}
	old := p
	old.Epoch = 2
	wantRefusal(t, g.Check(ctx, old), ErrStale)
}

func TestGuardIsBounded(t *testing.T) {
	t.Parallel()
	ctx, clk, r := context.Background(), newClock(), &register{}
	g := newGuard(t, r, GuardConfig{Now: clk.now, Size: 64})
	for i := range 3000 {
		p, _ := somebody()
		_ = g.Check(ctx, p)
		clk.advance(time.Duration(i%3) * time.Millisecond)
		if n := g.answers.len(); n > 64 {
			t.Fatalf("%d answers", n)
		}
	}
}

func TestGuardUnderFire(t *testing.T) {
	t.Parallel()
	ctx, clk, r := context.Background(), newClock(), &register{}
	g := newGuard(t, r, GuardConfig{Now: clk.now, Size: 32})
	var people []Principal
	for range 50 {
		p, key := somebody()
		r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
		people = append(people, p)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				p := people[rand.IntN(len(people))]
				if err := g.Check(ctx, p); err != nil {
					t.Error(err)
					return
				}
				switch rand.IntN(20) {
				case 0:
					g.Forget(p.Tenant, p.Subject, p.Session)
				case 1:
					clk.advance(100 * time.Millisecond)
				case 2:
					g.ForgetAll()
				case 3:
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
}

func TestGuardConfigRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []GuardConfig{{TTL: time.Second}, {TTL: -1}, {Timeout: -1}, {Size: -1}} {
		if _, err := NewGuard(&register{}, c); err == nil {
			t.Errorf("took %+v", c)
		}
	}
	if _, err := NewGuard(nil, GuardConfig{}); err == nil {
		t.Error("took no store")
	}
}

func TestGuardHitAllocatesNothing(t *testing.T) {
	ctx, r := context.Background(), &register{}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	g := newGuard(t, r, GuardConfig{Now: newClock().now})
	if n := testing.AllocsPerRun(200, func() { _ = g.Check(ctx, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGuard(b *testing.B) {
	ctx, r := context.Background(), &register{}
	p, key := somebody()
	r.set(key, Standing{TenantActive: true, SubjectActive: true, Epoch: 3})
	g := newGuard(b, r, GuardConfig{})
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = g.Check(ctx, p)
		}
	})
	full := newGuard(b, r, GuardConfig{Now: newClock().now})
	for i := range 16 << 10 {
		_ = full.Check(ctx, Principal{Tenant: p.Tenant, Subject: fmt.Sprint(i), Kind: policy.KindUser})
	}
	b.Run("forget one of 16384", func(b *testing.B) {
		for b.Loop() {
			full.Forget(p.Tenant, p.Subject, p.Session)
		}
	})
}
