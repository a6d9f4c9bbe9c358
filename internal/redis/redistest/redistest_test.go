package redistest_test

import (
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	if got := s.Do("SET", "a", "1"); got != "+OK\r\n" {
		t.Fatalf("%q", got)
	}
	if got := s.Keys(); len(got) != 1 || got[0] != "a" {
		t.Fatalf("%q", got)
	}
	addr := s.Addr()
	s.Kill()
	s.Kill()
	s.Restart()
	if s.Addr() != addr {
		t.Fatal("the address moved")
	}
	if got := s.Do("GET", "a"); got != "$-1\r\n" {
		t.Fatalf("%q survived", got)
	}
	if got := s.Do("INFO", "persistence"); !strings.Contains(got, "aof_enabled:0") {
		t.Fatal(got)
	}
}
