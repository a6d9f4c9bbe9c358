package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
	"github.com/redis/rueidis"
)

//go:embed reserve.lua
var reserveScript string

//go:embed settle.lua
var settleScript string

//go:embed balance.lua
var balanceScript string

// Ledger is a quota.Ledger shared by all replicas that use the same Redis. When
// Redis is away every call is unavailable: there is no local share of money.
// It is as durable as Redis is set to be (appendonly); after a loss budgets
// start empty.
type Ledger struct {
	client                   *Client
	reserve, settle, balance *rueidis.Lua
}

var _ quota.Ledger = (*Ledger)(nil)

// NewLedger returns a ledger over client. It starts nothing.
func NewLedger(client *Client) *Ledger {
	return &Ledger{
		client:  client,
		reserve: rueidis.NewLuaScript(reserveScript),
		settle:  rueidis.NewLuaScript(settleScript),
		balance: rueidis.NewLuaScript(balanceScript),
	}
}

func room(id tenant.ID) string { return "tenant:{" + id.String() + "}:budget:" }

// Reserve implements quota.Ledger. A reservation whose answer was lost on the
// way returns when its term ends.
func (l *Ledger) Reserve(ctx context.Context, a quota.Account, caps quota.Caps, amounts quota.Amounts, term time.Duration) (quota.Reservation, error) {
	entries, err := quota.CheckReserve(a, caps, amounts, term)
	if err != nil {
		return quota.Reservation{}, err
	}
	id, prefix := uuid.NewString(), room(a.Tenant())
	keys := []string{prefix + "open", prefix + "open:" + id}
	args := append([]string{id, l.client.clock(), strconv.FormatInt(term.Microseconds(), 10)}, texts(amounts)...)
	for _, e := range entries {
		keys = append(keys, prefix+e.Name)
		args = append(append(args, texts(e.Limit)...), millis(e.Keep))
	}
	reply, err := l.strings(ctx, l.reserve, keys, args)
	if err != nil {
		return quota.Reservation{}, err
	}
	if len(reply) == 0 {
		return quota.NewReservation(id, a, entries, amounts), nil
	}
	n, err := ints(reply)
	if err != nil || len(n) != 3 || n[0] < 0 || int(n[0]) >= len(entries) || n[1] < 0 || n[1] > 4 {
		return quota.Reservation{}, errors.New("reserve a budget: unexpected reply from redis")
	}
	return quota.Reservation{}, entries[n[0]].Exceeded(int(n[1]), n[2]).Refusal()
}

// Settle implements quota.Ledger.
func (l *Ledger) Settle(ctx context.Context, r quota.Reservation, actual quota.Amounts) error {
	if err := quota.CheckSettle(r, actual); err != nil {
		return err
	}
	if r.Settled() {
		return nil
	}
	prefix := room(r.Tenant())
	keys := []string{prefix + "open", prefix + "open:" + r.ID(), prefix + "settled:" + r.ID()}
	args := append([]string{r.ID(), millis(quota.SettledFor)}, texts(actual)...)
	for _, e := range r.Entries() {
		keys = append(keys, prefix+e.Name)
		args = append(args, millis(e.Keep))
	}
	if _, err := l.exec(ctx, l.settle, keys, args); err != nil {
		return err
	}
	r.MarkSettled()
	return nil
}

// Balance implements quota.Ledger.
func (l *Ledger) Balance(ctx context.Context, a quota.Account, caps quota.Caps) ([]quota.Balance, error) {
	entries, err := a.Entries(caps)
	if err != nil {
		return nil, err
	}
	prefix := room(a.Tenant())
	keys := []string{prefix + "open"}
	for _, e := range entries {
		keys = append(keys, prefix+e.Name)
	}
	reply, err := l.strings(ctx, l.balance, keys, []string{l.client.clock()})
	if err != nil {
		return nil, err
	}
	n, err := ints(reply)
	if err != nil || len(n) != 10*len(entries) {
		return nil, errors.New("read a budget: unexpected reply from redis")
	}
	var out []quota.Balance
	for i, e := range entries {
		out = append(out, quota.NewBalance(e, caps, [5]int64(n[10*i:]), [5]int64(n[10*i+5:])))
	}
	return out, nil
}

func (l *Ledger) exec(ctx context.Context, s *rueidis.Lua, keys, args []string) (rueidis.RedisMessage, error) {
	m, err := l.client.exec(ctx, s, keys, args)
	if errors.Is(err, ErrAway) {
		f := fault.Wrap(err, fault.Unavailable, "budgets cannot be checked right now")
		f.RetryAfter = time.Second
		return m, f
	}
	return m, err
}

func (l *Ledger) strings(ctx context.Context, s *rueidis.Lua, keys, args []string) ([]string, error) {
	m, err := l.exec(ctx, s, keys, args)
	if err != nil {
		return nil, err
	}
	all, err := m.ToArray()
	if err != nil {
		return nil, fmt.Errorf("read redis's reply: %w", err)
	}
	out := make([]string, len(all))
	for i := range all {
		if n, err := all[i].ToInt64(); err == nil {
			out[i] = strconv.FormatInt(n, 10)
		} else if out[i], err = all[i].ToString(); err != nil {
			return nil, fmt.Errorf("read redis's reply: %w", err)
		}
	}
	return out, nil
}

func ints(s []string) ([]int64, error) {
	out := make([]int64, len(s))
	for i := range s {
		n, err := strconv.ParseInt(s[i], 10, 64)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

func texts(a quota.Amounts) []string {
	out := make([]string, 0, 5)
	for _, v := range a.Vector() {
		out = append(out, strconv.FormatInt(v, 10))
	}
	return out
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
