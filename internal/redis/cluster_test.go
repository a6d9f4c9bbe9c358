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

// TestThreeMasters runs both contracts over a cluster of three, each tenant
// wholly on one of them: every script finds all its keys, and none asks a node
// for another's.
func TestThreeMasters(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartMasters(t, 3)
	t.Run("contracts", func(t *testing.T) {
		t.Run("limiter", func(t *testing.T) {
			quotatest.Limiter(t, func(t *testing.T) quotatest.Limiters {
				c, advance := frozen(t, nodes[0])
				cfg := LimiterConfig{SlotTerm: time.Minute}
				return quotatest.Limiters{A: NewLimiter(c(), cfg), B: NewLimiter(c(), cfg), Term: time.Minute, Advance: advance}
			})
		})
		t.Run("ledger", func(t *testing.T) {
			quotatest.Ledger(t, func(t *testing.T) quotatest.Ledgers {
				c, advance := frozen(t, nodes[1])
				return quotatest.Ledgers{A: NewLedger(c()), B: NewLedger(c()), Advance: advance}
			})
		})
	})
	where := map[string]int{} // tenant to node
	for i, s := range nodes {
		keys := s.Keys()
		if len(keys) == 0 {
			t.Errorf("node %d was never asked", i)
		}
		for _, k := range keys {
			id, _, ok := strings.Cut(strings.TrimPrefix(k, "tenant:{"), "}")
			if !ok {
				continue // the probe
			}
			if other, seen := where[id]; seen && other != i {
				t.Errorf("tenant %s is on nodes %d and %d", id, other, i)
			}
			where[id] = i
		}
	}
	t.Logf("%d tenants over three masters", len(where))
}
