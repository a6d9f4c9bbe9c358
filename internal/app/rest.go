package app

import (
	"context"
	"runtime/debug"
	measure "runtime/metrics"
	"time"
)

const (
	restEvery = 5 * time.Second
	restBelow = 1 << 20 // allocated in restEvery: nobody asks anything
	restAfter = 8 << 20 // allocated since memory was last given back
)

// rest gives memory back to the system whenever the platform has had nothing
// to do. The collector comes when the heap has doubled, and the shield's tables
// (80 MB, of which an idle platform touches next to nothing) count as heap: the
// 19 MB of each password's hash, or what a burst leaves, would stay resident
// until 90 MB of them were there. Under load this does nothing, so requests pay
// no collection for it.
type rest struct {
	last, given uint64 // bytes ever allocated: at the last look, when last given back
}

// due says whether to give memory back now, when so much was ever allocated.
func (r *rest) due(allocated uint64) bool {
	quiet := allocated-r.last < restBelow
	r.last = allocated
	if !quiet || allocated-r.given < restAfter {
		return false
	}
	r.given = allocated
	return true
}

func (r *rest) run(ctx context.Context) {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	sample := []measure.Sample{{Name: "/gc/heap/allocs:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if measure.Read(sample); r.due(sample[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
