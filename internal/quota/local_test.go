package quota_test

import (
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestLocalLimiter(t *testing.T) {
	t.Parallel()
	quotatest.Limiter(t, func(*testing.T) quotatest.Limiters {
		c := newClock()
		l := quota.NewLocal(quota.LocalConfig{Clock: c.Now, SlotTerm: time.Minute})
		return quotatest.Limiters{A: l, B: l, Advance: c.Advance, Term: time.Minute}
	})
}

func TestLocalLedger(t *testing.T) {
	t.Parallel()
	quotatest.Ledger(t, func(*testing.T) quotatest.Ledgers {
		c := newClock()
		l := quota.NewLocalLedger(quota.LocalLedgerConfig{Clock: c.Now})
		return quotatest.Ledgers{A: l, B: l, Advance: c.Advance}
	})
}
