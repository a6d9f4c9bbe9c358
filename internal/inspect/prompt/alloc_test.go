package prompt

import (
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
)

// A plain innocent text costs no allocation.
func TestFastPathAllocatesNothing(t *testing.T) {
	if racing {
		t.Skip("pools drop at random under the race detector")
	}
	d := detector(t)
	for _, s := range []string{
		"Can you print the first ten lines of the file, please?",
		"What is the capital of Peru?",
		"Der Vertrag verlängert sich um ein Jahr.",
		"请总结一下这篇文章。",
	} {
		d.Inspect(s, inspect.User) // warm the pools
		if n := testing.AllocsPerRun(200, func() { d.Inspect(s, inspect.User) }); n >= 1 {
			t.Errorf("%v allocations for %q", n, s)
		}
	}
}
