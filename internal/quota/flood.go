package quota

import (
	"context"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// FloodConfig is for NewFloods. The zero value is good.
type FloodConfig struct {
	Clock func() time.Time // time.Now
	First uint64           // of each (tenant, kind) and period, recorded whole; 5
	Every uint64           // of the rest, one in so many is recorded; 1,000
	Span  time.Duration    // of a period; 1 min
	Max   int              // (tenant, kind) pairs counted apart in a period; 10,000
}

// Flood is the exact account of one kind of event of one tenant in one period.
type Flood struct {
	Tenant   tenant.ID // zero: of all tenants beyond FloodConfig.Max together
	Kind     string
	From, To time.Time
	Count    uint64 // all of them
	Recorded uint64 // those that Note said to record
}

// Floods keeps an attack from filling the log: it says which events to record
// one by one, and counts all of them, exactly, for a summary per period: every
// event was either recorded or stands in a summary as Count - Recorded.
type Floods struct {
	cfg    FloodConfig
	shards [16]floodShard
}

type floodKey struct {
	tenant tenant.ID
	kind   string
}

type floodShard struct {
	mu   sync.Mutex
	rows map[floodKey]*Flood
}

// NewFloods returns an empty account. Kinds are a closed set of the program's
// own names, never a client's words.
func NewFloods(c FloodConfig) *Floods {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.First == 0 {
		c.First = 5
	}
	if c.Every == 0 {
		c.Every = 1000
	}
	if c.Span == 0 {
		c.Span = time.Minute
	}
	if c.Max == 0 {
		c.Max = 10_000
	}
	f := &Floods{cfg: c}
	for i := range f.shards {
		f.shards[i].rows = map[floodKey]*Flood{}
	}
	return f
}

// Note counts one event and reports whether to record it by itself, and which
// one of its period it is (from 1).
func (f *Floods) Note(id tenant.ID, kind string) (record bool, nth uint64) {
	s := &f.shards[id[15]%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rows[floodKey{id, kind}]
	if r == nil {
		k := floodKey{id, kind}
		if len(s.rows) >= max(1, f.cfg.Max/len(f.shards)) {
			k.tenant = tenant.ID{}
		}
		if r = s.rows[k]; r == nil {
			r = &Flood{Tenant: k.tenant, Kind: kind, From: f.cfg.Clock()}
			s.rows[k] = r
		}
	}
	r.Count++
	past := r.Count - f.cfg.First
	record = r.Count <= f.cfg.First || past%f.cfg.Every == 0
	if record {
		r.Recorded++
	}
	return record, r.Count
}

// Flush ends the period and returns what it held of which more happened than
// was recorded.
func (f *Floods) Flush() []Flood {
	var out []Flood
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		rows := s.rows
		s.rows = make(map[floodKey]*Flood, min(len(rows), 64))
		s.mu.Unlock()
		now := f.cfg.Clock()
		for _, r := range rows {
			if r.Count > r.Recorded {
				r.To = now
				out = append(out, *r)
			}
		}
	}
	return out
}

// Run flushes once a period, and a last time when ctx ends, into summary, which
// is called from this goroutine alone. It returns when ctx has ended.
func (f *Floods) Run(ctx context.Context, summary func(Flood)) {
	tick := time.NewTicker(f.cfg.Span)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		}
		for _, r := range f.Flush() {
			summary(r)
		}
	}
}
