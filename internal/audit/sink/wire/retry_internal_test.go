package wire

import (
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "+7": 0, " 7": 0, "7.5": 0, "soon": 0, "0x10": 0,
		"4294967295": 4294967295 * time.Second, "4294967296": 0, "99999999999999999999999": 0,
		"Sun, 22 Nov 2026 12:01:30 GMT": 90 * time.Second, "Sun, 22 Nov 2026 11:00:00 GMT": 0, "Sunday, 22-Nov-26 12:00:01 GMT": time.Second,
		"Fri, 31 Dec 9999 23:59:59 GMT": time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Sub(now), // saturates; the worker bounds it
	} {
		if got := retryAfter(text, now); got != want || got < 0 {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
