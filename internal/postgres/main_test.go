package postgres_test

import (
	"os"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(readerDir) != "" {
		reader() // the process that TestACrashTellsWhatItLost kills
	}
	os.Exit(pgtest.Run(m))
}
