package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/redis/rueidis"
)

//go:embed take.lua
var takeScript string

//go:embed usage.lua
var usageScript string

//go:embed renew.lua
var renewScript string

// OnFailure is what happens to requests while Redis is away.
type OnFailure uint8

const (
	Deny  OnFailure = iota // refuse as unavailable
	Local                  // each replica its share: limit / replicas, starting full
)

// LimiterConfig is for NewLimiter. The zero value is exact and denies.
type LimiterConfig struct {
	OnFailure OnFailure
	Replicas  int           // how many share the limits; 1. Used by Local and by Lease
	SlotTerm  time.Duration // a Slot neither released nor renewed lasts this long; 2 min
	Lease     int           // > 1: fetch up to so many tokens at a time; see lease.go
	LeaseTerm time.Duration // unused leased tokens are lost after this; 1 s
	Clock     func() time.Time
	MaxRows   int // of the local share and of leases; as in quota.LocalConfig
}

// Limiter is a quota.Limiter exact over all replicas that use the same Redis.
type Limiter struct {
	client *Client
	cfg    LimiterConfig
	take   *rueidis.Lua
	usage  *rueidis.Lua
	renew  *rueidis.Lua
	local  *quota.Local // shares while Redis is away
	leases *leases      // nil without leasing
	seed   string       // slot ids are seed and count: unique over replicas
	count  atomic.Uint64
	term   string // µs

	plans  sync.Map // *quota.Plan to *planned
	cached atomic.Int64
}

var _ quota.Limiter = (*Limiter)(nil)

// NewLimiter returns a limiter over client. It starts nothing; close the client.
func NewLimiter(client *Client, cfg LimiterConfig) *Limiter {
	cfg.Replicas = max(1, cfg.Replicas)
	if cfg.SlotTerm <= 0 {
		cfg.SlotTerm = 2 * time.Minute
	}
	if cfg.LeaseTerm <= 0 {
		cfg.LeaseTerm = time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	l := &Limiter{
		client: client,
		cfg:    cfg,
		take:   rueidis.NewLuaScript(takeScript),
		usage:  rueidis.NewLuaScript(usageScript), // reads only, but on the primary: a replica lags
		renew:  rueidis.NewLuaScript(renewScript),
		local:  quota.NewLocal(quota.LocalConfig{Clock: cfg.Clock, SlotTerm: cfg.SlotTerm, MaxRows: cfg.MaxRows}),
		seed:   hex.EncodeToString(b[:]) + "-",
		term:   strconv.FormatInt(cfg.SlotTerm.Microseconds(), 10),
	}
	if cfg.Lease > 1 {
		l.leases = newLeases(cfg)
	}
	return l
}

// planned is what does not change of a plan's calls.
type planned struct {
	args  []string // of take.lua, after the first five
	masks []string // of usage.lua
	share *quota.Plan
	// With leasing: tokens come from Redis, slots from the local share.
	windows, slots *quota.Plan
}

func (l *Limiter) planned(p *quota.Plan) *planned {
	if x, ok := l.plans.Load(p); ok {
		return x.(*planned)
	}
	x := &planned{share: p.Share(l.cfg.Replicas)}
	for _, level := range p.Levels() {
		mask, at := 0, len(x.args)
		x.args = append(x.args, "")
		for i, w := range level.Windows {
			if w.Policy != nil {
				mask |= 1 << i
				x.args = append(x.args, strconv.FormatInt(w.Interval, 10), strconv.FormatInt(w.Span, 10))
			}
		}
		if level.Slots != nil {
			mask |= 8
			x.args = append(x.args, strconv.FormatInt(level.Slots.Limit, 10))
		}
		x.args[at] = strconv.Itoa(mask)
		x.masks = append(x.masks, x.args[at])
	}
	if l.leases != nil {
		windows, slots := p.Split()
		x.windows, x.slots = windows, slots.Share(l.cfg.Replicas)
	}
	// Reloads make new plans; the old ones' entries are dropped all together.
	if l.cached.Add(1) > 4096 {
		l.plans.Clear()
		l.cached.Store(1)
	}
	l.plans.Store(p, x)
	return x
}

// argsFor cuts the arguments to the levels that hold for the key.
func argsFor(levels []quota.Level, all []string) []string {
	n := 0
	for _, level := range levels {
		n++
		for _, w := range level.Windows {
			if w.Policy != nil {
				n += 2
			}
		}
		if level.Slots != nil {
			n++
		}
	}
	return all[:n]
}

// keys names what is kept for the levels of a key, in the scripts' order.
// Tenant and user are UUIDs and a class is a word, so no two subjects share a
// name and nobody chooses a brace or a colon.
func keys(k quota.Key, class string, levels []quota.Level) (all, slots []string) {
	tenant := "tenant:{" + k.Tenant().String() + "}:quota"
	all = make([]string, 0, 2*len(levels))
	for _, level := range levels {
		name := tenant
		if level.Subject >= quota.OfUser {
			name += ":user:" + k.User().String()
		}
		if level.Subject == quota.OfTenantClass || level.Subject == quota.OfUserClass {
			name += ":class:" + class
		}
		if level.Windows != [3]quota.Window{} {
			all = append(all, name)
		}
		if level.Slots != nil {
			all = append(all, name+":slots")
			slots = append(slots, name+":slots")
		}
	}
	return all, slots
}

// Take implements quota.Limiter: one round trip, or none while Redis is away
// or tokens are leased.
func (l *Limiter) Take(ctx context.Context, ask quota.Ask) (quota.Decision, error) {
	cost, err := ask.Check()
	if err != nil {
		return quota.Decision{}, err
	}
	if o := ask.Plan.Exempt(ask.Key); o != quota.Refused {
		return quota.Decision{Outcome: o, Plan: ask.Plan}, nil
	}
	p := l.planned(ask.Plan)
	var d quota.Decision
	if l.leases != nil {
		d, err = l.takeLeased(ctx, ask, p, cost)
	} else {
		d, _, err = l.fetch(ctx, ask.Key, ask.Plan, p.args, cost, cost)
	}
	if errors.Is(err, ErrAway) {
		return l.failure(ctx, ask, p, err)
	}
	return d, err
}

// fetch asks Redis for at least cost and at most want tokens.
func (l *Limiter) fetch(ctx context.Context, k quota.Key, plan *quota.Plan, planArgs []string, cost, want int64) (quota.Decision, int64, error) {
	levels := plan.For(k)
	names, slotNames := keys(k, plan.Class, levels)
	id := ""
	if len(slotNames) > 0 {
		id = l.seed + strconv.FormatUint(l.count.Add(1), 36)
	}
	rest := argsFor(levels, planArgs)
	args := make([]string, 0, 5+len(rest))
	args = append(args, strconv.FormatInt(cost, 10), strconv.FormatInt(want, 10), id, l.term, l.client.clock())
	args = append(args, rest...)
	m, err := l.client.exec(ctx, l.take, names, args)
	if err != nil {
		return quota.Decision{}, 0, err
	}
	reply, err := m.AsIntSlice()
	if err != nil || len(reply) != 5 || reply[1] < 0 || int(reply[1]) >= len(levels) || reply[2] < 0 || reply[2] > 3 {
		return quota.Decision{}, 0, fmt.Errorf("read a decision from redis: %w: unexpected reply", ErrAway)
	}
	d := quota.Decision{Plan: plan}
	level := levels[reply[1]]
	if reply[2] == 3 {
		d.Policy = level.Slots
	} else {
		w := level.Windows[reply[2]]
		d.Policy = w.Policy
		d.Reading = quota.Reading{Window: &w, Depth: reply[3]}
		d.Remaining = d.Reading.Remaining()
	}
	if reply[0] <= 0 {
		d.RetryAfter = max(time.Microsecond, time.Duration(reply[4])*time.Microsecond)
		return d, 0, nil
	}
	d.Outcome = quota.Admitted
	if id != "" {
		d.Slot = quota.NewSlot(&slot{l: l, keys: slotNames, id: id}, 0)
	}
	return d, reply[0], nil
}

// failure is the configured answer while Redis is away.
func (l *Limiter) failure(ctx context.Context, ask quota.Ask, p *planned, cause error) (quota.Decision, error) {
	if l.cfg.OnFailure == Local {
		whole := ask.Plan
		ask.Plan, ask.At = p.share, time.Time{}
		d, err := l.local.Take(ctx, ask)
		d.Degraded, d.Plan = true, whole
		return d, err
	}
	err := fault.Wrap(cause, fault.Unavailable, "rate limits cannot be checked right now")
	err.RetryAfter = time.Second
	return quota.Decision{}, err
}

// Usage implements quota.Limiter. While Redis is away it is unavailable: the
// local share would be a wrong answer.
func (l *Limiter) Usage(ctx context.Context, k quota.Key, plan *quota.Plan) ([]quota.State, error) {
	if _, err := (quota.Ask{Key: k, Plan: plan}).Check(); err != nil {
		return nil, err
	}
	if plan.Exempt(k) != quota.Refused {
		return nil, nil
	}
	levels := plan.For(k)
	names, _ := keys(k, plan.Class, levels)
	args := append([]string{l.client.clock()}, l.planned(plan).masks[:len(levels)]...)
	m, err := l.client.exec(ctx, l.usage, names, args)
	if err != nil {
		if errors.Is(err, ErrAway) {
			err = fault.Wrap(err, fault.Unavailable, "usage cannot be read right now")
		}
		return nil, err
	}
	reply, err := m.AsIntSlice()
	if err != nil {
		return nil, fmt.Errorf("read usage from redis: %w", err)
	}
	var out []quota.State
	for _, level := range levels {
		for i := range level.Windows {
			if level.Windows[i].Policy != nil && len(reply) > 0 {
				read := quota.Reading{Window: &level.Windows[i], Depth: reply[0]}
				out = append(out, quota.State{Policy: level.Windows[i].Policy, Remaining: read.Remaining(), Reset: read.Reset()})
				reply = reply[1:]
			}
		}
		if level.Slots != nil && len(reply) > 0 {
			out = append(out, quota.State{Policy: level.Slots, Remaining: max(0, level.Slots.Limit-reply[0])})
			reply = reply[1:]
		}
	}
	return out, nil
}

// slot stands behind a quota.Slot.
type slot struct {
	l        *Limiter
	keys     []string
	id       string
	released atomic.Bool
}

var _ quota.Holder = (*slot)(nil)

// Release is one pipelined command per cap. If Redis does not hear it, the
// slot comes back when its term ends.
func (s *slot) Release(uint64) {
	if s.released.Swap(true) {
		return
	}
	conn := s.l.client.conn.Load()
	if conn == nil || s.l.client.Away() {
		return
	}
	life := s.l.client.life.Load()
	ctx, cancel := context.WithTimeout(context.Background(), s.l.client.deadline)
	defer cancel()
	cmds := make(rueidis.Commands, 0, 4)
	for _, k := range s.keys {
		cmds = append(cmds, (*conn).B().Zrem().Key(k).Member(s.id).Build())
	}
	for _, r := range (*conn).DoMulti(ctx, cmds...) {
		if err := r.Error(); err != nil {
			s.l.client.lost(err, life)
			return
		}
	}
}

// Renew while Redis is away answers false under Deny: whether the slot is still
// held cannot be known.
func (s *slot) Renew(uint64) bool {
	if s.released.Load() {
		return false
	}
	m, err := s.l.client.exec(context.Background(), s.l.renew, s.keys, []string{s.id, s.l.term, s.l.client.clock()})
	if errors.Is(err, ErrAway) {
		return s.l.cfg.OnFailure == Local
	}
	n, err := m.AsInt64()
	return err == nil && n == 1
}
