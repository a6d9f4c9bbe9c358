package blocktest

import (
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	Run(t, func(_ *testing.T, now func() time.Time) shield.BlockStore { return shield.NewMemoryStore(now) })
}
