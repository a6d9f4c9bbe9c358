package quota

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// Ledger keeps budgets: what is about to be used is reserved first, over all
// scopes at once, and settled with what was used. Parallel calls cannot overrun
// a budget by more than they exceed their own reservations. Implementations
// pass quotatest.Ledger.
type Ledger interface {
	// Reserve sets amounts aside in every scope of the account, or in none. A
	// scope without room is fault budget_exceeded, with an *Exceeded inside.
	// A reservation neither settled nor released within term (1 s to 24 h)
	// returns by itself: that is what a crash leaves.
	Reserve(ctx context.Context, a Account, caps Caps, amounts Amounts, term time.Duration) (Reservation, error)
	// Settle replaces a reservation by what was really used, be it less or
	// more; more is charged too, and the next Reserve finds no room. Settling
	// nothing releases. It also charges after the term ended. Settling again
	// within SettledFor does nothing; after an error, do so.
	Settle(ctx context.Context, r Reservation, actual Amounts) error
	// Balance shows every scope, charging nothing.
	Balance(ctx context.Context, a Account, caps Caps) ([]Balance, error)
}

// SettledFor is how long a ledger remembers that a reservation was settled.
const SettledFor = 10 * time.Minute

// Amounts of everything a budget counts, each 0 to MaxAmount.
type Amounts struct {
	Requests       int64
	Tokens         int64 // of models, in and out
	Money          int64 // micro-units: 1,000,000 are one unit of the currency
	SandboxSeconds int64
	EgressBytes    int64
}

// MaxAmount bounds one amount or limit; totals stay exact to 2^53 in Lua too.
const MaxAmount = 1 << 50

// NoLimit as a limit in a Cap says: decided, there is none. 0 is a limit: none
// may be used.
const NoLimit = -1

// UnlimitedAmounts is a Cap's Limit that limits nothing.
func UnlimitedAmounts() Amounts { return Amounts{NoLimit, NoLimit, NoLimit, NoLimit, NoLimit} }

// resources names the fields of Amounts in order.
var resources = [5]string{"requests", "tokens", "money", "sandbox seconds", "egress bytes"}

// Vector lists the fields in the order requests, tokens, money, sandbox
// seconds, egress bytes. For implementations of Ledger.
func (a Amounts) Vector() [5]int64 {
	return [5]int64{a.Requests, a.Tokens, a.Money, a.SandboxSeconds, a.EgressBytes}
}

// AmountsOf undoes Vector.
func AmountsOf(v [5]int64) Amounts { return Amounts{v[0], v[1], v[2], v[3], v[4]} }

func (a Amounts) check(lowest int64) error {
	for i, v := range a.Vector() {
		if v < lowest || v > MaxAmount {
			return fault.New(fault.Invalid, "%s: want %d to %d", resources[i], lowest, int64(MaxAmount))
		}
	}
	return nil
}

// Scope is one level of a budget.
type Scope uint8

// From the narrowest: it is the order in which room is looked for.
const (
	RunScope Scope = iota
	AgentScope
	UserScope
	TenantScope
)

func (s Scope) String() string { return [...]string{"run", "agent", "user", "tenant"}[s] }

// Path names the scopes below the tenant; a nil UUID is a scope that does not
// apply (a person calling a model has no run).
type Path struct{ User, Agent, Run uuid.UUID }

// Account names who pays. Its zero value refuses.
type Account struct {
	tenant tenant.ID
	path   Path
}

// NewAccount names a run of an agent of a user of a tenant.
func NewAccount(id tenant.ID, p Path) (Account, error) {
	if id.IsZero() {
		return Account{}, ErrNoKey
	}
	return Account{id, p}, nil
}

// Tenant is whose account it is.
func (a Account) Tenant() tenant.ID { return a.tenant }

// Period is the time over which a Cap counts. Its zero value refuses.
type Period struct {
	label string
	keep  time.Duration // how long a ledger remembers it after its last use
}

// Lifetime counts for as long as the scope is used at all; it is forgotten 400
// days after its last use.
func Lifetime() Period { return Period{"life", 400 * 24 * time.Hour} }

// Day is t's day in UTC.
func Day(t time.Time) Period { return Period{t.UTC().Format("2006-01-02"), 49 * time.Hour} }

// Month is t's calendar month in UTC.
func Month(t time.Time) Period { return Period{t.UTC().Format("2006-01"), 63 * 24 * time.Hour} }

func (p Period) String() string { return p.label }

// Cap is what one scope may use in a period.
type Cap struct {
	Limit  Amounts
	Period Period
}

// Caps are the caps of all scopes. Those of scopes an account does not have are
// not looked at; every other must have a Period.
type Caps struct{ Run, Agent, User, Tenant Cap }

// Exceeded says which budget had no room.
type Exceeded struct {
	Scope    Scope
	Resource string
	Left     int64 // below 0 after an overrun
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("the %s's budget of %s has %d left", e.Scope, e.Resource, max(0, e.Left))
}

// Refusal is the fault for e.
func (e *Exceeded) Refusal() error { return fault.Wrap(e, fault.Budget, "%s", e.Error()) }

// Balance is the state of one scope.
type Balance struct {
	Scope    Scope
	Period   Period
	Limit    Amounts
	Spent    Amounts // settled
	Reserved Amounts // set aside and not yet settled
}

// Left is what can still be reserved; NoLimit where there is no limit, below 0
// after an overrun.
func (b Balance) Left() Amounts {
	l, s, r := b.Limit.Vector(), b.Spent.Vector(), b.Reserved.Vector()
	for i := range l {
		if l[i] != NoLimit {
			// -1 after an overrun of one must not read as NoLimit
			if l[i] -= s[i] + r[i]; l[i] == NoLimit {
				l[i] = 0
			}
		}
	}
	return AmountsOf(l)
}

// Reservation is what Reserve set aside. Copies are the same reservation.
type Reservation struct {
	id      string
	entries []Entry
	tenant  tenant.ID
	amounts Amounts
	settled *atomic.Bool
}

// Entry is one scope of a reservation or an account. For implementations of
// Ledger.
type Entry struct {
	Scope Scope
	Name  string // unique in the tenant: scope, id and period
	Limit Amounts
	Keep  time.Duration
}

// NewReservation is for implementations of Ledger.
func NewReservation(id string, a Account, entries []Entry, amounts Amounts) Reservation {
	return Reservation{id, entries, a.tenant, amounts, new(atomic.Bool)}
}

// ID, Tenant, Entries and Amounts are for implementations of Ledger.
func (r Reservation) ID() string        { return r.id }
func (r Reservation) Tenant() tenant.ID { return r.tenant }
func (r Reservation) Entries() []Entry  { return r.entries }
func (r Reservation) Amounts() Amounts  { return r.amounts }

// Settled reports a settlement in this process; MarkSettled notes it.
func (r Reservation) Settled() bool { return r.settled != nil && r.settled.Load() }
func (r Reservation) MarkSettled()  { r.settled.Store(true) }

// CheckReserve refuses what no ledger may book, and names the scopes.
func CheckReserve(a Account, caps Caps, amounts Amounts, term time.Duration) ([]Entry, error) {
	if term < time.Second || term > 24*time.Hour {
		return nil, fault.New(fault.Invalid, "a reservation lasts 1 s to 24 h")
	}
	if err := amounts.check(0); err != nil {
		return nil, err
	}
	return a.Entries(caps)
}

// CheckSettle refuses what no ledger may book.
func CheckSettle(r Reservation, actual Amounts) error {
	if r.id == "" || r.tenant.IsZero() {
		return ErrNoKey
	}
	return actual.check(0)
}

// Entries names the account's scopes under caps, narrowest first.
func (a Account) Entries(caps Caps) ([]Entry, error) {
	if a.tenant.IsZero() {
		return nil, ErrNoKey
	}
	out := make([]Entry, 0, 4)
	for s, x := range [4]struct {
		id  uuid.UUID
		cap Cap
	}{{a.path.Run, caps.Run}, {a.path.Agent, caps.Agent}, {a.path.User, caps.User}, {uuid.UUID(a.tenant), caps.Tenant}} {
		if x.id == uuid.Nil {
			continue
		}
		if x.cap.Period.label == "" {
			return nil, fault.New(fault.Internal, "no budget is decided for the %s", Scope(s))
		}
		if err := x.cap.Limit.check(NoLimit); err != nil {
			return nil, err
		}
		out = append(out, Entry{Scope(s), Scope(s).String() + ":" + x.id.String() + ":" + x.cap.Period.label, x.cap.Limit, x.cap.Period.keep})
	}
	return out, nil
}

// Room returns an *Exceeded if amounts do not fit an entry that has used so
// much (spent and reserved). A resource that is not asked for is not looked at.
func (e Entry) Room(amounts, used [5]int64) *Exceeded {
	limit := e.Limit.Vector()
	for i, want := range amounts {
		if want > 0 && limit[i] != NoLimit && used[i]+want > limit[i] {
			return e.Exceeded(i, limit[i]-used[i])
		}
	}
	return nil
}

// Exceeded names the i-th of Amounts.Vector.
func (e Entry) Exceeded(i int, left int64) *Exceeded {
	return &Exceeded{e.Scope, resources[i], left}
}
