package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
)

// TestCluster runs both contracts on a node in cluster mode, which refuses any
// script whose keys are not in one slot.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t)
	if got := s.Do("EVAL", "return 1", "2", "tenant:{a}:x", "tenant:{b}:x"); !strings.Contains(got, "CROSSSLOT") {
		t.Fatalf("the node takes anything: %q", got)
	}
	t.Run("limiter", func(t *testing.T) {
		quotatest.Limiter(t, func(t *testing.T) quotatest.Limiters {
			c, advance := frozen(t, s)
			cfg := LimiterConfig{SlotTerm: time.Minute}
			return quotatest.Limiters{A: NewLimiter(c(), cfg), B: NewLimiter(c(), cfg), Term: time.Minute, Advance: advance}
		})
	})
	t.Run("ledger", func(t *testing.T) {
		quotatest.Ledger(t, func(t *testing.T) quotatest.Ledgers {
			c, advance := frozen(t, s)
			return quotatest.Ledgers{A: NewLedger(c()), B: NewLedger(c()), Advance: advance}
		})
	})
}
