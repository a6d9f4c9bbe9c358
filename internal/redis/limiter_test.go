package redis

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
	"go.uber.org/goleak"
)

// patience is the tests' deadline of one decision: the machine may be busy, and
// only the tests of the deadline itself are about it.
const patience = 10 * time.Second

func open(t testing.TB, s *redistest.Server, c Config) *Client {
	t.Helper()
	c.URL = "redis://" + s.Addr()
	if c.Deadline == 0 {
		c.Deadline = patience
	}
	cl, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	quotatest.Limiter(t, func(t *testing.T) quotatest.Limiters {
		var now atomic.Int64
		now.Store(1_800_000_000e6)
		replica := func() *Limiter {
			c := open(t, s, Config{})
			c.now = func() time.Time { return time.UnixMicro(now.Load()) }
			return NewLimiter(c, LimiterConfig{SlotTerm: time.Minute})
		}
		return quotatest.Limiters{A: replica(), B: replica(), Term: time.Minute,
			Advance: func(d time.Duration) { now.Add(d.Microseconds()) }}
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
