package witness

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// State is how a witness last answered.
type State string

const (
	Cosigning State = "cosigning"
	Away      State = "away"  // no answer, or none that verifies
	Ahead     State = "ahead" // it has seen more records than the log has: an alarm
	Fork      State = "fork"  // it has seen another history: an alarm
)

// Alarm reports whether a witness in this state contradicts the log.
func (s State) Alarm() bool { return s == Ahead || s == Fork }

func stateOf(err error) State {
	switch {
	case err == nil:
		return Cosigning
	case errors.Is(err, ErrAhead):
		return Ahead
	case errors.Is(err, ErrFork):
		return Fork
	}
	return Away
}

// Status is a witness as the log's keeper knows it.
type Status struct {
	Witness string    `json:"witness"`
	State   State     `json:"state"`
	Since   time.Time `json:"since" doc:"When it came into this state"`
	Asked   time.Time `json:"asked"`
	Size    int64     `json:"size" doc:"Of the newest checkpoint that it cosigned"`
	Detail  string    `json:"detail,omitempty"`
}

// Head is a published checkpoint.
type Head struct {
	Tree   tlog.Tree
	Signed []byte
}

// Log is what is cosigned, and where that is kept.
type Log interface {
	// Alone runs do while no other replica runs one; busy is no error and does
	// not run it.
	Alone(ctx context.Context, do func(context.Context) error) error
	// Newest is the newest checkpoint; size 0 means that there is none.
	Newest(ctx context.Context) (Head, error)
	// Prove proves that the head's tree contains the log's of the old size.
	Prove(ctx context.Context, h Head, old int64) (tlog.TreeProof, error)
	// Witnesses tells how each witness that was ever asked stands, by name.
	Witnesses(ctx context.Context) (map[string]Status, error)
	// Keep stores what came of asking about a checkpoint.
	Keep(ctx context.Context, h Head, answers []Answer, states []Status) error
}

// Cosigner has a log's newest checkpoint cosigned, soon after it is published
// and never before: publishing does not wait for witnesses. Any number of
// replicas run one; one at a time asks.
type Cosigner struct {
	log     Log
	policy  Policy
	every   time.Duration
	changed func(Status)
	slog    *slog.Logger

	mu      sync.Mutex
	last    []Status
	wake    chan struct{}
	closing context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// NewCosigner makes one that asks every so often at most; changed hears of each
// witness whose state is another than before, after it is stored.
func NewCosigner(l Log, p Policy, every time.Duration, changed func(Status), logger *slog.Logger) *Cosigner {
	c := &Cosigner{log: l, policy: p, every: every, changed: changed, slog: logger, wake: make(chan struct{}, 1)}
	c.closing, c.stop = context.WithCancel(context.Background())
	return c
}

// Start begins asking.
func (c *Cosigner) Start() { c.wg.Go(c.run) }

// Stop ends it; what is under way is broken off. Stopping twice is fine.
func (c *Cosigner) Stop() {
	c.stop()
	c.wg.Wait()
}

// Wake has the newest checkpoint cosigned at once: somebody waits for it.
func (c *Cosigner) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Last is what this replica's last round found.
func (c *Cosigner) Last() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *Cosigner) run() {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		if err := c.log.Alone(c.closing, c.Round); err != nil && c.closing.Err() == nil {
			c.slog.Warn("the house log was not cosigned", "error", err)
		}
		select {
		case <-c.closing.Done():
			return
		case <-c.wake:
		case <-tick.C:
		}
	}
}

// Round asks the witnesses about the newest checkpoint, those that have not
// cosigned it yet.
func (c *Cosigner) Round(ctx context.Context) error {
	head, err := c.log.Newest(ctx)
	if err != nil || head.Tree.N == 0 {
		return err
	}
	before, err := c.log.Witnesses(ctx)
	if err != nil {
		return err
	}
	due := c.policy
	due.Witnesses = nil
	states := make([]Status, 0, len(c.policy.Witnesses))
	for _, w := range c.policy.Witnesses {
		if b := before[w.Name()]; b.State == Cosigning && b.Size == head.Tree.N {
			states = append(states, b)
		} else {
			due.Witnesses = append(due.Witnesses, w)
		}
	}
	if len(due.Witnesses) == 0 {
		c.set(states)
		return nil
	}
	answers := due.Ask(ctx, head.Signed, head.Tree.N, func(name string) int64 { return min(before[name].Size, head.Tree.N) },
		func(ctx context.Context, old int64) (tlog.TreeProof, error) { return c.log.Prove(ctx, head, old) })
	if err := ctx.Err(); err != nil {
		return err // ours, not theirs
	}
	var asked, turned []Status
	for _, a := range answers {
		s := Status{Witness: a.Witness, State: stateOf(a.Err), Size: before[a.Witness].Size}
		if a.Err != nil {
			s.Detail = a.Err.Error()
		} else {
			s.Size = head.Tree.N
		}
		asked = append(asked, s)
		if b := before[a.Witness]; b.State != s.State && (b.State != "" || s.State != Cosigning) {
			turned = append(turned, s)
		}
	}
	if err := c.log.Keep(ctx, head, answers, asked); err != nil {
		return err
	}
	c.set(append(states, asked...))
	for _, s := range turned {
		c.slog.Warn("a witness changed its answer", "witness", s.Witness, "state", string(s.State), "detail", s.Detail)
		if c.changed != nil {
			c.changed(s)
		}
	}
	return nil
}

func (c *Cosigner) set(s []Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = s
}
