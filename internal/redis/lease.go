package redis

import (
	"context"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
)

// Leasing trades exactness in time for round trips. A replica fetches up to
// Lease tokens at once, all charged in Redis when they are fetched, and spends
// them by itself within LeaseTerm. Then:
//
//   - No token is ever spent that was not charged. But a token may be spent up
//     to LeaseTerm after it was charged: over any window the replicas together
//     admit at most the limit and the leases outstanding at its beginning, that
//     is limit + Lease x replicas.
//   - Tokens left when the term ends are lost to the tenant. A lease therefore
//     begins at one token, doubles while leases are used up in time, and falls
//     back to what was used: under little traffic it costs nothing.
//   - Caps on concurrent requests are not asked of Redis: each replica holds
//     its share, cap / Replicas.
//   - Tokens in hand are spent even while Redis is away: they are charged.
//   - A refusal is remembered until the time it named, a second at most:
//     before then Redis would refuse again.
type leases struct {
	max  int
	mu   sync.Mutex
	rows map[leaseKey]*lease
}

type leaseKey struct {
	key  quota.Key
	plan *quota.Plan
}

// lease is the tokens this replica holds for one key and plan.
type lease struct {
	mu      sync.Mutex // held over a fetch: the others wait for its tokens
	left    int64
	size    int64 // of the last fetch
	until   time.Time
	last    quota.Decision // of the last fetch
	refused int64          // the cost that was refused, until that time; 0: none
}

func newLeases(c LimiterConfig) *leases {
	if c.MaxRows == 0 {
		c.MaxRows = 1 << 16
	}
	return &leases{max: c.MaxRows, rows: map[leaseKey]*lease{}}
}

// open returns the lease of k, or nil when too many are outstanding.
func (s *leases) open(k leaseKey, now time.Time) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.rows[k]; x != nil {
		return x
	}
	if len(s.rows) >= s.max {
		looked := 0
		for k, x := range s.rows {
			if x.mu.TryLock() {
				if now.After(x.until) {
					delete(s.rows, k)
				}
				x.mu.Unlock()
			}
			if looked++; looked == 64 {
				break
			}
		}
		if len(s.rows) >= s.max {
			return nil
		}
	}
	x := &lease{}
	s.rows[k] = x
	return x
}

func (l *Limiter) takeLeased(ctx context.Context, ask quota.Ask, p *planned, cost int64) (quota.Decision, error) {
	var d quota.Decision
	if p.slots.Exempt(ask.Key) == quota.Refused {
		var err error
		d, err = l.local.Take(ctx, quota.Ask{Key: ask.Key, Plan: p.slots})
		if err != nil || !d.Allowed() {
			d.Plan = ask.Plan
			return d, err
		}
	}
	slot := d.Slot
	if p.windows.Exempt(ask.Key) != quota.Refused {
		d.Plan = ask.Plan
		return d, nil
	}
	d, err := l.takeTokens(ctx, ask.Key, p, cost)
	if err != nil || !d.Allowed() {
		slot.Release()
		d.Slot = quota.Slot{}
	} else {
		d.Slot = slot
	}
	d.Plan = ask.Plan
	return d, err
}

func (l *Limiter) takeTokens(ctx context.Context, k quota.Key, p *planned, cost int64) (quota.Decision, error) {
	now := l.cfg.Clock()
	x := l.leases.open(leaseKey{k, p.windows}, now)
	if x == nil {
		d, _, err := l.fetch(ctx, k, p.windows, l.planned(p.windows).args, cost, cost)
		return d, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	now = l.cfg.Clock()
	fresh := now.Before(x.until)
	if fresh && x.refused > 0 && cost >= x.refused {
		d := x.last
		d.RetryAfter = max(time.Microsecond, x.until.Sub(now))
		return d, nil
	}
	if fresh && x.left >= cost {
		x.left -= cost
		d := x.last
		d.Remaining += x.left
		return d, nil
	}
	if !fresh {
		if x.size -= x.left; x.size < 1 {
			x.size = 1
		}
		x.left = 0
	} else if x.refused == 0 {
		x.size *= 2
	}
	x.size = min(max(1, x.size), int64(l.cfg.Lease))
	d, granted, err := l.fetch(ctx, k, p.windows, l.planned(p.windows).args, cost, max(cost, x.size))
	if err != nil {
		return d, err
	}
	x.last, x.refused = d, 0
	if !d.Allowed() {
		x.refused, x.left = cost, 0
		x.until = now.Add(min(d.RetryAfter, time.Second))
		return d, nil
	}
	x.left = granted - cost
	x.until = now.Add(l.cfg.LeaseTerm)
	d.Remaining += x.left
	return d, nil
}
