package redis

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	quotatest.Ledger(t, func(t *testing.T) quotatest.Ledgers {
		c, advance := frozen(t, s)
		return quotatest.Ledgers{A: NewLedger(c()), B: NewLedger(c()), Advance: advance}
	})
}

// TestLedgerKeys looks behind the adapter: everything of a tenant stands under
// its own hash tag and has a time to live.
func TestLedgerKeys(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := NewLedger(open(t, s, Config{}))
	id := tenant.NewID()
	a, err := quota.NewAccount(id, quota.Path{User: uuid.New(), Agent: uuid.New(), Run: uuid.New()})
	if err != nil {
		t.Fatal(err)
	}
	c := quota.Cap{Limit: quota.UnlimitedAmounts(), Period: quota.Month(time.Now())}
	caps := quota.Caps{Run: c, Agent: c, User: c, Tenant: c}
	ctx := context.Background()
	for i := range 5 {
		r, err := l.Reserve(ctx, a, caps, quota.Amounts{Money: 5}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := l.Settle(ctx, r, quota.Amounts{Money: 4, Tokens: quota.MaxAmount}); err != nil {
				t.Fatal(err)
			}
		}
	}
	keys := s.Keys()
	if len(keys) != 4+1+2+3 { // scopes, open, reservations, settlements
		t.Errorf("keys: %q", keys)
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, "tenant:{"+id.String()+"}:budget:") {
			t.Errorf("key %q", k)
		}
		if ttl := s.Do("PTTL", k); strings.HasPrefix(ttl, ":-") {
			t.Errorf("key %q never goes: %s", k, ttl)
		}
	}
	l.client.now = func() time.Time { return time.Now().Add(time.Hour) } // all terms end
	if _, err := l.Reserve(ctx, a, caps, quota.Amounts{Money: 5}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := s.Do("ZCARD", "tenant:{"+id.String()+"}:budget:open"); got != ":1\r\n" {
		t.Errorf("%q are open", got)
	}
	if got := len(s.Keys()); got != 4+1+1+3 {
		t.Errorf("%d keys after the terms ended", got)
	}
	s.Kill()
	if _, err := l.Reserve(ctx, a, caps, quota.Amounts{Money: 5}, time.Minute); fault.CodeOf(err) != fault.Unavailable {
		t.Fatalf("without redis: %v", err)
	}
}
