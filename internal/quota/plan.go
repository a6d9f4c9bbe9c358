package quota

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Window is one token bucket of a Plan. Times are whole microseconds.
type Window struct {
	Policy   *Policy
	Interval int64 // µs between two tokens, rounded up so the limit is never exceeded
	Span     int64 // µs a full bucket is deep: Capacity x Interval; 0 refuses always
}

// Policy is the public face of one bucket or cap, as in RateLimit-Policy.
type Policy struct {
	Name     string        // e.g. tenant-minute, user-login-hour, tenant-concurrent
	Limit    int64         // requests per Window, or at once
	Window   time.Duration // 0 for a cap on concurrent requests
	Capacity int64         // what a full bucket holds; Limit for a cap
	item     string        // in RateLimit-Policy
}

// Subject says whose buckets a Level holds.
type Subject uint8

const (
	OfTenant      Subject = iota // the whole tenant
	OfTenantClass                // the whole tenant in one class
	OfUser                       // one user
	OfUserClass                  // one user in one class
)

// Level are the limits of one subject.
type Level struct {
	Subject Subject
	Windows [3]Window // minute, hour, day; Policy is nil where there is no limit
	Slots   *Policy   // cap on concurrent requests, or nil
}

// Plan is one tier seen through one class: everything Take has to decide. It
// never changes; a reload makes new ones.
type Plan struct {
	Tier, Class string
	mode        Mode
	share       bool    // made by Share: costs are checked against the whole
	levels      []Level // always in the order of Subject: it is the order of charging
	header      string
	steps       []step // the levels, flat, in the order of charging
	tenantSteps int    // how many of them a Key without a user is charged
	short       int    // windows of a plan that Local.short may decide; 0: none
}

// step is one bucket or cap of a Plan.
type step struct {
	level int
	index int // 0 to 2: window; 3: slots
	limit int64
	w     *Window
	// of w, at hand
	interval, span int64
	perMicro       float64
	near           int64 // deeper than this, Local.short leaves the bucket to decide
}

const slotStep = 3

// finish lays the levels out flat.
func (p *Plan) finish() *Plan {
	for i := range p.levels {
		l := &p.levels[i]
		for j := range l.Windows {
			if w := &l.Windows[j]; w.Policy != nil {
				p.steps = append(p.steps, step{level: i, index: j, w: w,
					interval: w.Interval, span: w.Span, perMicro: 1 / float64(w.Interval)})
			}
		}
		if l.Slots != nil {
			p.steps = append(p.steps, step{level: i, index: slotStep, limit: l.Slots.Limit})
		}
		if l.Subject < OfUser {
			p.tenantSteps = len(p.steps)
		}
	}
	p.shorten()
	return p
}

// shorten prepares Local.short, for plans of one level.
func (p *Plan) shorten() {
	if p.short = 0; len(p.levels) != 1 || len(p.steps) == 0 || p.steps[0].w == nil {
		return
	}
	windows := p.steps
	var slots int64
	if last := windows[len(windows)-1]; last.index == slotStep {
		windows, slots = windows[:len(windows)-1], last.limit
	}
	p.short = len(windows)
	for i := range windows {
		s, first := &windows[i], windows[0].w.Policy
		// Who was let through before this bucket, and may not have charged it yet.
		passed := slots
		if i > 0 {
			passed += first.Capacity + first.Limit
		}
		s.near = s.span - passed*s.interval
	}
}

// Mode is Limited, Unlimited or Off. The nil Plan is Unset.
func (p *Plan) Mode() Mode {
	if p == nil {
		return Unset
	}
	return p.mode
}

// Exempt is Refused when there is something to count for k, and otherwise says
// which nothing it is. For implementations of Limiter.
func (p *Plan) Exempt(k Key) Outcome {
	switch {
	case p.mode == Off:
		return SwitchedOff
	case p.mode == Unlimited, p.tenantSteps == 0 && k.user.none(): // limits per user only, and no user
		return Exempt
	}
	return Refused
}

// Levels are in a fixed order and must not be changed.
func (p *Plan) Levels() []Level { return p.levels }

// For leaves out the user's levels for a Key without a user.
func (p *Plan) For(k Key) []Level {
	l := p.levels
	if k.user.none() {
		for len(l) > 0 && l[len(l)-1].Subject >= OfUser {
			l = l[:len(l)-1]
		}
	}
	return l
}

// Share is the plan's n-th part, for one of n replicas that cannot talk: limits
// are divided and rounded down, so the parts never add up to more than the
// whole. A limit smaller than n becomes 0, which refuses.
func (p *Plan) Share(n int) *Plan {
	if n <= 1 || p.mode != Limited {
		return p
	}
	q := &Plan{Tier: p.Tier, Class: p.Class, mode: p.mode, share: true}
	for _, l := range p.levels {
		s := Level{Subject: l.Subject}
		for i, w := range l.Windows {
			if w.Policy != nil {
				s.Windows[i] = newWindow(w.Policy.Name, w.Policy.Limit/int64(n), w.Policy.Capacity/int64(n), w.Policy.Window)
			}
		}
		if l.Slots != nil {
			s.Slots = newSlots(l.Slots.Name, l.Slots.Limit/int64(n))
		}
		q.levels = append(q.levels, s)
	}
	q.header = p.header // clients see the promise, not the emergency
	return q.finish()
}

// Split gives the plan's windows and its caps as two plans, either of which may
// be Unlimited.
func (p *Plan) Split() (windows, slots *Plan) {
	windows = &Plan{Tier: p.Tier, Class: p.Class, mode: p.mode, share: p.share, header: p.header}
	slots = &Plan{Tier: p.Tier, Class: p.Class, mode: p.mode, share: p.share, header: p.header}
	for _, l := range p.levels {
		if l.Windows != [3]Window{} {
			windows.levels = append(windows.levels, Level{Subject: l.Subject, Windows: l.Windows})
		}
		if l.Slots != nil {
			slots.levels = append(slots.levels, Level{Subject: l.Subject, Slots: l.Slots})
		}
	}
	for _, x := range []*Plan{windows, slots} {
		if x.finish(); len(x.levels) == 0 && x.mode == Limited {
			x.mode = Unlimited
		}
	}
	return windows, slots
}

var windowNames = [3]string{"minute", "hour", "day"}
var windowSpans = [3]time.Duration{time.Minute, time.Hour, 24 * time.Hour}

func newLevel(s Subject, class string, l Limits) Level {
	name := "tenant"
	if s >= OfUser {
		name = "user"
	}
	if s == OfTenantClass || s == OfUserClass {
		name += "-" + class
	}
	out := Level{Subject: s}
	for i, limit := range [3]int64{l.PerMinute, l.PerHour, l.PerDay} {
		if limit == 0 {
			continue
		}
		capacity := limit
		if i == 0 {
			capacity = int64(math.Floor(float64(limit)*l.Burst + 1e-9)) // 1.1 x 10 is 11
		}
		out.Windows[i] = newWindow(name+"-"+windowNames[i], limit, capacity, windowSpans[i])
	}
	if l.Concurrent > 0 {
		out.Slots = newSlots(name+"-concurrent", l.Concurrent)
	}
	return out
}

func newWindow(name string, limit, capacity int64, window time.Duration) Window {
	p := &Policy{Name: name, Limit: limit, Capacity: capacity, Window: window}
	p.item = fmt.Sprintf("%q;q=%d;w=%d", name, limit, int64(window/time.Second))
	us := window.Microseconds()
	if limit <= 0 || capacity <= 0 {
		return Window{Policy: p, Interval: us}
	}
	interval := (us + limit - 1) / limit
	return Window{Policy: p, Interval: interval, Span: interval * capacity}
}

func newSlots(name string, limit int64) *Policy {
	return &Policy{Name: name, Limit: limit, Capacity: limit,
		item: fmt.Sprintf("%q;q=%d;qu=\"concurrent-requests\"", name, limit)}
}

func newPlan(t Tier, class string) *Plan {
	c := t.Classes[class]
	p := &Plan{Tier: t.Name, Class: class, mode: Limited}
	if c.Mode == Unlimited || c.Mode == Off {
		p.mode = c.Mode
		return p
	}
	add := func(s Subject, l Limits) {
		if l.Mode == Limited {
			p.levels = append(p.levels, newLevel(s, class, l))
		}
	}
	add(OfTenant, t.Tenant)
	if c.Mode == Limited {
		add(OfTenantClass, c.Tenant)
	}
	add(OfUser, t.User)
	if c.Mode == Limited {
		add(OfUserClass, c.User)
	}
	if len(p.levels) == 0 { // nothing left to count: say which nothing it is
		p.mode = Unlimited
		for _, m := range []Mode{t.Tenant.Mode, t.User.Mode, c.Tenant.Mode, c.User.Mode} {
			if m == Off {
				p.mode = Off
			}
		}
		return p
	}
	var items []string
	for _, l := range p.levels {
		for _, w := range l.Windows {
			if w.Policy != nil {
				items = append(items, w.Policy.item)
			}
		}
		if l.Slots != nil {
			items = append(items, l.Slots.item)
		}
	}
	p.header = strings.Join(items, ", ")
	return p.finish()
}
