package postgres_test

import (
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/blocktest"
)

func TestBlocksKeepTheContract(t *testing.T) {
	t.Parallel()
	blocktest.Run(t, func(t *testing.T, _ func() time.Time) shield.BlockStore { return pgtest.New(t).Open(t).Blocks() })
}
