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

// frozen returns a maker of clients whose scripts see a clock that stands still
// until it is advanced.
func frozen(t *testing.T, s *redistest.Server) (client func() *Client, advance func(time.Duration)) {
	var now atomic.Int64
	now.Store(1_800_000_000e6)
	client = func() *Client {
		c := open(t, s, Config{})
		c.now = func() time.Time { return time.UnixMicro(now.Load()) }
		return c
	}
	return client, func(d time.Duration) { now.Add(d.Microseconds()) }
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	quotatest.Limiter(t, func(t *testing.T) quotatest.Limiters {
		c, advance := frozen(t, s)
		cfg := LimiterConfig{SlotTerm: time.Minute}
		return quotatest.Limiters{A: NewLimiter(c(), cfg), B: NewLimiter(c(), cfg), Term: time.Minute, Advance: advance}
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
