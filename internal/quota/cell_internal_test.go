package quota

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// undecided sets up a tenant whose minute has one token left, which another
// decision has charged tentatively, and an ask that meets it.
func undecided(t *testing.T) (l *Local, w *window, inc int64, answer chan Decision) {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	l = NewLocal(LocalConfig{Clock: func() time.Time { return now }})
	p, k := mustPlan(t, "standard", "read"), sequentialKey(1)
	for range 89 {
		d, err := l.Take(context.Background(), Ask{Key: k, Plan: p})
		if err != nil || !d.Allowed() {
			t.Fatalf("%v %v", d.Outcome, err)
		}
		d.Slot.Release()
	}
	rk := rowKey{tenant: k.tenant}
	w = &l.rows.find(rk).windows[0]
	level := &p.levels[0].Windows[0]
	if v, _ := w.charge(0, level.Interval, level.Span, true); v != charged {
		t.Fatal("the last token is not there")
	}
	answer = make(chan Decision, 1)
	go func() {
		d, _ := l.Take(context.Background(), Ask{Key: k, Plan: p})
		answer <- d
	}()
	for range 1000 {
		runtime.Gosched()
		select {
		case d := <-answer:
			t.Fatalf("%v: answered before the other's outcome was known", d.Outcome)
		default:
		}
	}
	return l, w, level.Interval, answer
}

// TestWaitsForOutcome: a token that another decision holds tentatively is
// neither refused nor admitted before that decision ends.
func TestWaitsForOutcome(t *testing.T) {
	t.Parallel()
	_, w, inc, answer := undecided(t)
	w.giveBack(inc)
	if d := <-answer; d.Outcome != Admitted || d.Remaining != 0 {
		t.Fatalf("given back, and %v", d.Outcome)
	}
	_, w, _, answer = undecided(t)
	w.commit()
	if d := <-answer; d.Outcome != Refused {
		t.Fatalf("kept, and %v", d.Outcome)
	}
}

// TestDrainedUnderTentative: a bucket that fills up while it holds a tentative
// charge must not let the giving back undo a later charge.
func TestDrainedUnderTentative(t *testing.T) {
	t.Parallel()
	var w window
	if v, _ := w.charge(0, 10, 100, true); v != charged {
		t.Fatal(v)
	}
	type result struct {
		v verdict
		d int64
	}
	done := make(chan result, 1)
	go func() {
		v, d := w.charge(1000, 10, 100, false)
		done <- result{v, d}
	}()
	for range 1000 {
		runtime.Gosched()
	}
	w.giveBack(10)
	if r := <-done; r.v != charged || r.d != 10 || w.depth(1000) != 10 {
		t.Fatalf("%+v, depth %d: the later charge was undone", r, w.depth(1000))
	}
}

// TestKill: a row is evicted only when it tells nothing, and afterwards nobody
// can charge it.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, touch := range map[string]func(*row){
		"minute":    func(r *row) { r.windows[0].charge(0, 10, 100, false) },
		"day":       func(r *row) { r.windows[2].charge(0, 10, 100, false) },
		"tentative": func(r *row) { r.windows[1].charge(0, 10, 100, true); r.windows[1].word.Store(1) },
		"slot":      func(r *row) { r.slots.take(0, 1, false) },
		"last term": func(r *row) { r.slots.take(0, 1, false) },
	} {
		r := new(row)
		touch(r)
		before := [4]uint64{r.windows[0].word.Load(), r.windows[1].word.Load(), r.windows[2].word.Load(), r.slots.word.Load()}
		term := uint64(0)
		if name == "last term" {
			term = 1
		}
		if r.kill(5, term) {
			t.Errorf("%s: evicted", name)
		}
		if after := [4]uint64{r.windows[0].word.Load(), r.windows[1].word.Load(), r.windows[2].word.Load(), r.slots.word.Load()}; after != before {
			t.Errorf("%s: %v became %v", name, before, after)
		}
	}
	r := new(row)
	r.windows[0].charge(0, 10, 100, false)
	r.slots.take(0, 1, false)
	if !r.kill(10, 2) {
		t.Fatal("a full row with expired slots was kept")
	}
	for i := range r.windows {
		if v, _ := r.windows[i].charge(20, 1, 100, false); v != gone || r.windows[i].depth(20) != 0 {
			t.Fatalf("window %d: %v", i, v)
		}
	}
	if v, _ := r.slots.take(3, 5, false); v != gone {
		t.Fatal(v)
	}
	r.slots.release(0)
	if _, ok := r.slots.renew(0, 1); ok || r.slots.running(1) != 0 {
		t.Fatal("a dead row's slot lives")
	}
}
