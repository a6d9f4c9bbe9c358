package quota

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// LocalConfig is for NewLocal. The zero value is good.
type LocalConfig struct {
	Clock    func() time.Time // time.Now; its monotonic reading is used where there is one
	SlotTerm time.Duration    // a Slot neither released nor renewed lasts one to two of these; 2 min, at least 10 s
	MaxRows  int              // subjects tracked at once; 1 Mi (at about 110 bytes)
}

// Local is the Limiter of one process: exact, without locks on the path of a
// decision, in bounded memory. When MaxRows subjects carry information at once,
// a subject not seen before is refused as unavailable. It starts nothing.
type Local struct {
	clock func() time.Time // nil: time.Now
	base  time.Time
	term  int64 // µs
	rows  *rows
	holds sync.Pool
}

var _ Limiter = (*Local)(nil)

// NewLocal returns an empty limiter: all buckets are full.
func NewLocal(c LocalConfig) *Local {
	if c.SlotTerm == 0 {
		c.SlotTerm = 2 * time.Minute
	}
	if c.MaxRows == 0 {
		c.MaxRows = 1 << 20
	}
	l := &Local{clock: c.Clock, base: time.Now(), rows: newRows(c.MaxRows)}
	if c.Clock != nil {
		l.base = c.Clock()
	}
	l.term = max(c.SlotTerm, 10*time.Second).Microseconds() // 24 bits of terms: 5 years
	l.holds.New = func() any { return &hold{owner: l} }
	return l
}

// Rows is the number of subjects tracked now.
func (l *Local) Rows() int { return l.rows.count() }

func (l *Local) now(at time.Time) int64 {
	var since time.Duration
	switch {
	case !at.IsZero():
		since = at.Sub(l.base)
	case l.clock == nil:
		since = time.Since(l.base) // reads one clock where time.Now reads two
	default:
		since = l.clock().Sub(l.base)
	}
	// A row evicted for being full must not be found full again by a clock that
	// went back to before it was.
	return max(0, since.Microseconds(), l.rows.floor.Load())
}

func (l *Local) termAt(now int64) uint64 { return min(uint64(now/l.term), maxTerm) }

// Take implements Limiter. It does not block and ignores ctx.
func (l *Local) Take(_ context.Context, ask Ask) (d Decision, err error) {
	err = l.take(&d, &ask)
	return d, err
}

func (l *Local) take(d *Decision, ask *Ask) (err error) {
	p, cost := ask.Plan, ask.Cost
	if cost == 0 {
		cost = 1
	}
	if cost != 1 || ask.Key.tenant.none() || p == nil || p.mode == Unset {
		if cost, err = ask.Check(); err != nil {
			return err
		}
	}
	d.Plan = p
	if d.Outcome = p.Exempt(ask.Key); d.Outcome != Refused {
		return nil
	}
	steps := p.steps
	if ask.Key.user.none() {
		steps = steps[:p.tenantSteps]
	}
	now := l.now(ask.At)
	last := steps[len(steps)-1].level
	for {
		var at [4]*row
		for i := 0; i <= last; i++ {
			user, class := p.whose(i, ask.Key)
			if at[i] = l.rows.open(ask.Key.tenant, user, class, now, l); at[i] == nil {
				return errFull
			}
		}
		v := over
		if p.short > 0 {
			v = l.short(d, p, &at, cost, now)
		}
		if v == over {
			v = l.decide(d, steps, &at, cost, now)
		}
		if v == charged {
			return nil
		}
		runtime.Gosched() // a row was being evicted: look again
	}
}

var errFull = &fault.Error{Code: fault.Unavailable, Detail: "too many callers are tracked", RetryAfter: time.Second}

// whose names the rest of the i-th level's row: the user, none for the tenant's
// own, and the class, "" for all.
func (p *Plan) whose(i int, k Key) (user id, class string) {
	s := p.levels[i].Subject
	if s >= OfUser {
		user = k.user
	}
	if s == OfTenantClass || s == OfUserClass {
		class = p.Class
	}
	return user, class
}

// short decides over one subject's windows and cap with one write each, where
// one of them alone can refuse: the cap, or without one the first window. It is
// charged first; who fails there has charged nothing. The others are charged
// after it, and looking has shown them to have more room than everybody who may
// have passed the first and not yet reached them can take: the places of the
// cap, and what the first window lets through in its own length. So none of
// them refuses, unless a thread slept longer than that window between two lines
// of this function, and then the ask is refused although it charged the first:
// one token too few, never one too many. Where a bucket has less room, the
// answer is over and nothing has happened: decide does it.
func (l *Local) short(d *Decision, p *Plan, at *[4]*row, cost, now int64) verdict {
	r, windows := at[0], p.steps[:p.short]
	capped := len(p.steps) > len(windows)
	for i := range windows {
		if s := &windows[i]; i > 0 || capped { // a dead row's words are deep
			if max(int64(r.windows[s.index].word.Load()>>pendingBits), now)+cost*s.interval > now+s.near {
				return over
			}
		}
	}
	var term uint64
	if capped {
		var v verdict
		if v, term = r.slots.take(l.termAt(now), p.steps[p.short].limit, false); v != charged {
			if v == over {
				l.refuse(d, p.steps, at, p.short, cost, now)
				v = charged
			}
			return v
		}
	}
	best := math.Inf(1)
	for i := range windows {
		s := &windows[i]
		w, v := &r.windows[s.index], charged
		depth, ok := w.swift(now, cost*s.interval, s.span)
		if !ok {
			v, depth = w.charge(now, cost*s.interval, s.span, false)
		}
		if v != charged {
			if capped {
				r.slots.release(term)
			}
			if v == over {
				l.refuse(d, p.steps, at, i, cost, now)
				v = charged
			}
			return v
		}
		if left := s.left(depth); left < best {
			best = left
			d.Reading = Reading{s.w, depth}
		}
	}
	if capped {
		h := l.holds.Get().(*hold)
		h.n, h.slots[0], h.terms[0] = 1, &r.slots, term
		d.Slot = Slot{h, h.token.Load()}
	}
	d.Outcome, d.Policy, d.Remaining = Admitted, d.Reading.Window.Policy, int64(best)
	return charged
}

// left is tokens. Half a µs keeps a whole number from being rounded below it
// and is less than any true fraction; multiplying is a fifth of a division's
// cost.
func (s *step) left(depth int64) float64 { return (float64(s.span-depth) + 0.5) * s.perMicro }

// decide charges every step or none: charged when it filled d, or gone.
func (l *Local) decide(d *Decision, steps []step, at *[4]*row, cost, now int64) verdict {
	// Looking first keeps a flood at a closed door from writing anything. A
	// bucket that is over its limit and holds no tentative charge refuses
	// rightly, whatever the others say.
	if len(steps) > 1 {
		for i := 1; i < len(steps); i++ { // the first is looked at below
			if s := &steps[i]; s.index != slotStep {
				word := at[s.level].windows[s.index].word.Load()
				if word&pendingMask == 0 && int64(word>>pendingBits)-now+cost*s.interval > s.span {
					l.refuse(d, steps, at, i, cost, now)
					return charged
				}
			}
		}
	}
	var h *hold
	best := math.Inf(1) // tokens left under the tightest window
	for i := range steps {
		s := &steps[i]
		r := at[s.level]
		tentative := i < len(steps)-1
		var v verdict
		if s.index == slotStep {
			var t uint64
			if v, t = r.slots.take(l.termAt(now), s.limit, tentative); v == charged {
				if h == nil {
					h = l.holds.Get().(*hold)
					h.n = 0
				}
				h.slots[h.n], h.terms[h.n] = &r.slots, t
				h.n++
			}
		} else {
			var depth int64
			if v, depth = r.windows[s.index].charge(now, cost*s.interval, s.span, tentative); v == charged {
				if left := s.left(depth); left < best {
					best = left
					d.Reading = Reading{s.w, depth}
				}
			}
		}
		if v == charged {
			continue
		}
		for j := range steps[:i] {
			if s := &steps[j]; s.index == slotStep {
				at[s.level].slots.giveBack()
			} else {
				at[s.level].windows[s.index].giveBack(cost * s.interval)
			}
		}
		if h != nil {
			h.drop()
		}
		if v == gone {
			return gone
		}
		l.refuse(d, steps, at, i, cost, now)
		return charged
	}
	for i := range steps[:len(steps)-1] {
		if s := &steps[i]; s.index == slotStep {
			at[s.level].slots.commit()
		} else {
			at[s.level].windows[s.index].commit()
		}
	}
	d.Outcome = Admitted
	if h != nil {
		d.Slot = Slot{h, h.token.Load()}
	}
	if d.Reading.Window == nil { // caps only
		s := &steps[0]
		d.Policy = d.Plan.levels[s.level].Slots
		d.Remaining = max(0, s.limit-at[s.level].slots.running(l.termAt(now)))
		return charged
	}
	d.Policy, d.Remaining = d.Reading.Window.Policy, int64(best)
	return charged
}

// refuse fills d for step i, naming the bucket that has to be waited for
// longest: a client that waited for a shorter one would come in vain.
func (l *Local) refuse(d *Decision, steps []step, at *[4]*row, i int, cost, now int64) {
	d.Outcome, d.Remaining, d.Reading = Refused, 0, Reading{}
	s := &steps[i]
	if s.index == slotStep {
		d.Policy, d.RetryAfter = d.Plan.levels[s.level].Slots, SlotRetry
	} else {
		d.Policy, d.RetryAfter = s.w.Policy, micros(1)
	}
	for j := range steps {
		s := &steps[j]
		if s.index == slotStep {
			continue
		}
		read := Reading{s.w, at[s.level].windows[s.index].depth(now)}
		if w := read.Wait(cost); w >= d.RetryAfter {
			d.Policy, d.RetryAfter = s.w.Policy, w
			d.Remaining, d.Reading = read.Remaining(), read
		}
	}
}

// Usage implements Limiter.
func (l *Local) Usage(_ context.Context, key Key, plan *Plan) ([]State, error) {
	if _, err := (Ask{Key: key, Plan: plan}).Check(); err != nil {
		return nil, err
	}
	now := l.now(time.Time{})
	var out []State
	for i, level := range plan.For(key) {
		user, class := plan.whose(i, key)
		r := l.rows.find(rowKey{key.tenant, user, class})
		if r == nil {
			r = new(row)
		}
		for j := range level.Windows {
			if w := &level.Windows[j]; w.Policy != nil {
				read := Reading{w, r.windows[j].depth(now)}
				out = append(out, State{w.Policy, read.Remaining(), read.Reset()})
			}
		}
		if level.Slots != nil {
			out = append(out, State{level.Slots, max(0, level.Slots.Limit-r.slots.running(l.termAt(now))), 0})
		}
	}
	return out, nil
}

// hold stands behind a Slot and is used again after it. The token tells a late
// second Release that the hold is somebody else's by now: it is even while the
// slot is held, odd while someone works on it, and larger ever after.
type hold struct {
	owner *Local
	token atomic.Uint64
	n     int
	slots [4]*slots
	terms [4]uint64
}

var _ Holder = (*hold)(nil)

// begin makes the caller the only one to touch the hold, if it is still token's.
func (h *hold) begin(token uint64) bool {
	for !h.token.CompareAndSwap(token, token+1) {
		if h.token.Load() != token+1 {
			return false
		}
		runtime.Gosched()
	}
	return true
}

func (h *hold) Release(token uint64) {
	if !h.begin(token) {
		return
	}
	for i := range h.n {
		h.slots[i].release(h.terms[i])
	}
	h.token.Store(token + 2)
	h.drop()
}

func (h *hold) Renew(token uint64) bool {
	if !h.begin(token) {
		return false
	}
	term := h.owner.termAt(h.owner.now(time.Time{}))
	ok := true
	for i := range h.n {
		t, kept := h.slots[i].renew(h.terms[i], term)
		if kept {
			h.terms[i] = t
		}
		ok = ok && kept
	}
	h.token.Store(token)
	return ok
}

func (h *hold) drop() {
	clear(h.slots[:h.n])
	h.n = 0
	h.owner.holds.Put(h)
}
