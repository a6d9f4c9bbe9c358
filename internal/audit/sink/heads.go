package sink

import (
	"context"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const headReaders = 4

// heads knows each log's newest number, asked for once for all sinks: often
// while a log grows, seldom while it rests.
type heads struct {
	cfg    Config
	mu     sync.Mutex
	known  map[tenant.ID]*head
	listen map[*worker]bool
	cancel context.CancelFunc
	done   chan struct{}
}

type head struct {
	room plane.Room
	seq  int64
	seen bool // asked at least once
	due  time.Time
	wait time.Duration
}

func newHeads(cfg Config) *heads {
	return &heads{cfg: cfg, known: map[tenant.ID]*head{}, listen: map[*worker]bool{}}
}

func (h *heads) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.done = cancel, make(chan struct{})
	go h.run(ctx, h.done)
}

func (h *heads) stop() {
	h.mu.Lock()
	cancel, done := h.cancel, h.done
	h.cancel = nil
	h.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

func (h *heads) join(w *worker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listen[w] = true
}

func (h *heads) leave(w *worker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listen, w)
}

// all gives every log that was asked once, with its newest number.
func (h *heads) all() map[tenant.ID]head {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[tenant.ID]head, len(h.known))
	for id, e := range h.known {
		if e.seen {
			out[id] = *e
		}
	}
	return out
}

func (h *heads) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	tick := time.NewTicker(h.cfg.Poll)
	defer tick.Stop()
	var listed time.Time
	for {
		if now := h.cfg.Now(); now.Sub(listed) >= h.cfg.Idle || listed.IsZero() {
			if err := h.list(ctx); err == nil {
				listed = now
			} else if ctx.Err() == nil {
				h.cfg.Log.Warn("list the logs for the sinks", "error", err)
			}
		}
		h.ask(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// list takes in new tenants and forgets those that are gone.
func (h *heads) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	rooms, err := h.cfg.Rooms.Rooms(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	live := make(map[tenant.ID]bool, len(rooms))
	for _, r := range rooms {
		id := r.Scope().ID()
		live[id] = true
		if h.known[id] == nil {
			h.known[id] = &head{room: r, wait: h.cfg.Poll}
		}
	}
	for id := range h.known {
		if !live[id] {
			delete(h.known, id)
		}
	}
	return nil
}

// ask asks the logs that are due, a few at a time, and wakes the sinks if one
// has grown.
func (h *heads) ask(ctx context.Context) {
	now := h.cfg.Now()
	h.mu.Lock()
	var due []*head
	for _, e := range h.known {
		if !now.Before(e.due) {
			due = append(due, e)
		}
	}
	h.mu.Unlock()
	if len(due) == 0 {
		return
	}
	work := make(chan *head)
	var wg sync.WaitGroup
	var mu sync.Mutex
	grew := false
	for range min(headReaders, len(due)) {
		wg.Go(func() {
			for e := range work {
				seq, err := newest(ctx, e.room)
				h.mu.Lock()
				switch {
				case err != nil:
					if ctx.Err() == nil {
						h.cfg.Log.Warn("ask for a log's newest number", "tenant", e.room.Scope().ID().String(), "error", err)
					}
				case seq > e.seq || !e.seen:
					e.seq, e.seen, e.wait = seq, true, h.cfg.Poll
					mu.Lock()
					grew = true
					mu.Unlock()
				default:
					e.wait = min(2*e.wait, h.cfg.Idle)
				}
				e.due = now.Add(e.wait)
				h.mu.Unlock()
			}
		})
	}
	for _, e := range due {
		work <- e
	}
	close(work)
	wg.Wait()
	if grew {
		h.mu.Lock()
		defer h.mu.Unlock()
		for w := range h.listen {
			w.poke()
		}
	}
}

func newest(ctx context.Context, r plane.Room) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	last, _, err := r.Log().Events(ctx, audit.Query{Newest: true, Limit: 1})
	if err != nil || len(last) == 0 {
		return 0, err
	}
	return last[0].Seq, nil
}
