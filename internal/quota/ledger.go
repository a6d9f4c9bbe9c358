package quota

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// LocalLedgerConfig is for NewLocalLedger. The zero value is good.
type LocalLedgerConfig struct {
	Clock   func() time.Time // time.Now
	MaxOpen int              // scopes, and open or lately settled reservations, of one tenant; 100,000 each
}

// LocalLedger is the Ledger of one process. It forgets everything with the
// process: whoever owns the durable record of usage carries it over.
type LocalLedger struct {
	clock func() time.Time
	max   int
	mu    sync.Mutex // books
	books map[tenant.ID]*book
}

var _ Ledger = (*LocalLedger)(nil)

// NewLocalLedger returns an empty ledger. It starts nothing.
func NewLocalLedger(c LocalLedgerConfig) *LocalLedger {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.MaxOpen == 0 {
		c.MaxOpen = 100_000
	}
	return &LocalLedger{clock: c.Clock, max: c.MaxOpen, books: map[tenant.ID]*book{}}
}

// book is one tenant's ledger: no method of it can reach another's.
type book struct {
	mu      sync.Mutex
	tallies map[string]*tally
	open    map[string]*reserved // also the lately settled
	queue   expiries
}

type tally struct {
	spent, reserved [5]int64
	until           time.Time
}

type reserved struct {
	id      string
	names   []string
	amounts [5]int64
	until   time.Time // then it returns; or, once settled, is forgotten
	settled bool
	at      int // in the queue
}

func (l *LocalLedger) book(id tenant.ID) *book {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.books[id]
	if b == nil {
		b = &book{tallies: map[string]*tally{}, open: map[string]*reserved{}}
		l.books[id] = b
	}
	return b
}

// Reserve implements Ledger.
func (l *LocalLedger) Reserve(ctx context.Context, a Account, caps Caps, amounts Amounts, term time.Duration) (Reservation, error) {
	entries, err := CheckReserve(a, caps, amounts, term)
	if err != nil {
		return Reservation{}, err
	}
	if err := ctx.Err(); err != nil {
		return Reservation{}, err
	}
	b := l.book(a.tenant)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := l.clock()
	b.reclaim(now)
	v := amounts.Vector()
	for _, e := range entries {
		t := b.tallies[e.Name]
		if t == nil {
			t = &tally{}
		}
		if x := e.Room(v, sum(t.spent, t.reserved)); x != nil {
			return Reservation{}, x.Refusal()
		}
	}
	if len(b.open) >= l.max || len(b.tallies)+len(entries) > l.max && !b.sweep(now, l.max-len(entries)) {
		return Reservation{}, fault.New(fault.Unavailable, "too many budgets are tracked for this tenant")
	}
	r := &reserved{id: uuid.NewString(), amounts: v, until: now.Add(term)}
	for _, e := range entries {
		t := b.tally(e, now)
		t.reserved = sum(t.reserved, v)
		r.names = append(r.names, e.Name)
	}
	b.open[r.id] = r
	heap.Push(&b.queue, r)
	return NewReservation(r.id, a, entries, amounts), nil
}

// Settle implements Ledger.
func (l *LocalLedger) Settle(_ context.Context, r Reservation, actual Amounts) error {
	if err := CheckSettle(r, actual); err != nil {
		return err
	}
	b := l.book(r.tenant)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := l.clock()
	b.reclaim(now)
	x := b.open[r.id]
	switch {
	case x != nil && x.settled, r.Settled():
		return nil
	case x != nil:
		b.giveBack(x)
	default: // returned when its term ended; what was used is charged all the same
		x = &reserved{id: r.id}
		b.open[r.id] = x
		heap.Push(&b.queue, x)
	}
	x.settled, x.until = true, now.Add(SettledFor)
	heap.Fix(&b.queue, x.at)
	for _, e := range r.entries {
		t := b.tally(e, now)
		t.spent = sum(t.spent, actual.Vector())
	}
	r.MarkSettled()
	return nil
}

// Balance implements Ledger.
func (l *LocalLedger) Balance(_ context.Context, a Account, caps Caps) ([]Balance, error) {
	entries, err := a.Entries(caps)
	if err != nil {
		return nil, err
	}
	b := l.book(a.tenant)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reclaim(l.clock())
	out := make([]Balance, 0, len(entries))
	for _, e := range entries {
		t := b.tallies[e.Name]
		if t == nil {
			t = &tally{}
		}
		out = append(out, NewBalance(e, caps, t.spent, t.reserved))
	}
	return out, nil
}

// NewBalance is for implementations of Ledger.
func NewBalance(e Entry, caps Caps, spent, reserved [5]int64) Balance {
	period := [4]Period{caps.Run.Period, caps.Agent.Period, caps.User.Period, caps.Tenant.Period}[e.Scope]
	return Balance{e.Scope, period, e.Limit, AmountsOf(spent), AmountsOf(reserved)}
}

// reclaim returns the reservations whose term has ended and forgets the settled
// ones that are old enough.
func (b *book) reclaim(now time.Time) {
	for len(b.queue) > 0 && !b.queue[0].until.After(now) {
		r := heap.Pop(&b.queue).(*reserved)
		delete(b.open, r.id)
		if !r.settled {
			b.giveBack(r)
		}
	}
}

func (b *book) giveBack(r *reserved) {
	for _, name := range r.names {
		if t := b.tallies[name]; t != nil {
			for i, v := range r.amounts {
				t.reserved[i] = max(0, t.reserved[i]-v)
			}
		}
	}
}

func (b *book) tally(e Entry, now time.Time) *tally {
	t := b.tallies[e.Name]
	if t == nil {
		t = &tally{}
		b.tallies[e.Name] = t
	}
	t.until = now.Add(e.Keep)
	return t
}

// sweep forgets periods that are over and reports whether at most room tallies
// are left.
func (b *book) sweep(now time.Time, room int) bool {
	for name, t := range b.tallies {
		if !t.until.After(now) {
			delete(b.tallies, name)
		}
	}
	return len(b.tallies) <= room
}

// sum adds without leaving the range in which Redis's numbers are exact.
func sum(a, b [5]int64) [5]int64 {
	for i := range a {
		a[i] = min(a[i]+b[i], 1<<53-1)
	}
	return a
}

// expiries is a heap by until.
type expiries []*reserved

func (q expiries) Len() int           { return len(q) }
func (q expiries) Less(i, j int) bool { return q[i].until.Before(q[j].until) }
func (q expiries) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}
func (q *expiries) Push(x any) {
	r := x.(*reserved)
	r.at = len(*q)
	*q = append(*q, r)
}
func (q *expiries) Pop() any {
	old := *q
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return r
}
