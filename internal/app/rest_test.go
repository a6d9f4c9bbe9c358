package app

import "testing"

func TestRest(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	var r rest
	for i, step := range []struct {
		allocated uint64
		due       bool
	}{
		{90 * mb, false},  // starting: busy
		{90 * mb, true},   // quiet since
		{90 * mb, false},  // given back already
		{97 * mb, false},  // a login
		{97 * mb, false},  // quiet, but little to give
		{120 * mb, false}, // busy
		{150 * mb, false}, // still busy
		{150*mb + mb/2, true},
		{151 * mb, false},
	} {
		if got := r.due(step.allocated); got != step.due {
			t.Fatalf("step %d, %d bytes: due %v", i, step.allocated, got)
		}
	}
}
