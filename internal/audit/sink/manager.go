package sink

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// Config is what a Manager works with. Zero durations take the defaults below.
type Config struct {
	Store Store
	Rooms Rooms
	House plane.Room // where a sink's stops and recoveries are recorded
	Log   *slog.Logger
	Now   func() time.Time

	Lease time.Duration // a dead replica's sinks are taken over within this
	Poll  time.Duration // how soon an active log's new events are seen
	Idle  time.Duration // and one at rest's
	Quiet time.Duration // a receiver may be away so long before it is an event
}

const (
	defaultLease = 6 * time.Second
	defaultPoll  = 500 * time.Millisecond
	defaultIdle  = 4 * time.Second
	defaultQuiet = 30 * time.Second
	storeTime    = 10 * time.Second // of one question to the store
	leaveTime    = 5 * time.Second  // a Send under way may take at a stop
)

// Manager runs one worker for each sink. Load again changes which; Stop ends
// all. It is safe for concurrent use.
type Manager struct {
	cfg    Config
	holder uuid.UUID
	heads  *heads

	mu      sync.Mutex
	workers map[string]*worker
	stopped bool
}

// NewManager returns a manager without sinks.
func NewManager(cfg Config) *Manager {
	for d, v := range map[*time.Duration]time.Duration{&cfg.Lease: defaultLease, &cfg.Poll: defaultPoll, &cfg.Idle: defaultIdle, &cfg.Quiet: defaultQuiet} {
		if *d == 0 {
			*d = v
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Manager{cfg: cfg, holder: uuid.New(), heads: newHeads(cfg), workers: map[string]*worker{}}
}

// Load puts specs in force: sinks that are new start, those that are gone or
// differ stop first. A sink's cursors survive both.
func (m *Manager) Load(specs []Spec) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	var leaving []*worker
	for name, w := range m.workers {
		if !slices.ContainsFunc(specs, func(s Spec) bool { return s.Name == name && s.Digest == w.spec.Digest }) {
			leaving = append(leaving, w)
			delete(m.workers, name)
		}
	}
	stopAll(leaving)
	for _, s := range specs {
		if m.workers[s.Name] == nil {
			m.workers[s.Name] = startWorker(m.cfg, s, m.holder, m.heads)
		}
	}
	if len(m.workers) > 0 {
		m.heads.start()
	} else {
		m.heads.stop()
	}
}

// Stop lets Sends under way end for a moment, gives the leases back and stops.
// Stopping twice is fine.
func (m *Manager) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	var all []*worker
	for _, w := range m.workers {
		all = append(all, w)
	}
	stopAll(all)
	m.workers = map[string]*worker{}
	m.heads.stop()
}

func stopAll(ws []*worker) {
	var wg sync.WaitGroup
	for _, w := range ws {
		wg.Go(w.stop)
	}
	wg.Wait()
}

// Snapshot is a sink as this replica sees it. What it has not held since its
// start has zero counters.
type Snapshot struct {
	Status
	Kind    string
	Holding bool
}

// Snapshots are those of all sinks in force, by name.
func (m *Manager) Snapshots() []Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Snapshot, 0, len(m.workers))
	for _, w := range m.workers {
		out = append(out, w.snapshot())
	}
	slices.SortFunc(out, func(a, b Snapshot) int { return strings.Compare(a.Sink, b.Sink) })
	return out
}

// within bounds one question to the store, which a stop does not cut.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}
