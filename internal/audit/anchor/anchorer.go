package anchor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// Config bounds what is spent and says when.
type Config struct {
	ChainID       uint64
	Every         time.Duration // between anchors
	MaxFee        uint64        // wei, for one transaction
	MaxPerDay     uint64        // wei, for the transactions signed within 24 hours
	Confirmations uint64        // blocks that make an anchor final, its own counted
	Stuck         time.Duration // until a transaction is signed anew with a higher fee; 0: 3 min
	Look          time.Duration // between rounds; 0: 15 s
}

// Store keeps anchors. Only the round that Alone lets run writes.
type Store interface {
	// Alone runs do while no other replica runs one; busy is no error.
	Alone(ctx context.Context, do func(context.Context) error) error
	// Newest is the house log's newest checkpoint; size 0: there is none.
	Newest(ctx context.Context) (origin string, tree tlog.Tree, err error)
	// Open gives the anchors that are sent or mined and the last one of all, by
	// number.
	Open(ctx context.Context) ([]Anchor, error)
	// Since gives the anchors made since then, by number.
	Since(ctx context.Context, t time.Time) ([]Anchor, error)
	// Create stores a new anchor with its first attempt, durable on return.
	Create(ctx context.Context, a *Anchor) error
	// Attempt adds one, durable on return.
	Attempt(ctx context.Context, a *Anchor, t Attempt) error
	// Update stores state, problem and place.
	Update(ctx context.Context, a *Anchor) error
	// Seen stores what a round found, for those who ask.
	Seen(ctx context.Context, s Sight) error
}

// Sight is what the last round found.
type Sight struct {
	At      time.Time `json:"at"`
	Problem Problem   `json:"problem,omitempty" doc:"What keeps the next anchor; none when empty"`
	Since   time.Time `json:"since" doc:"Of the problem, or of there being none"`
	Head    uint64    `json:"head" doc:"The chain's newest block"`
	Balance uint64    `json:"balance" doc:"Wei of the sender"`
	Day     uint64    `json:"day" doc:"Wei that the anchors of the last 24 hours cost, or may cost"`
}

// Act does what the world outside sees between a durable intent and a durable
// outcome (plane.Room.Act).
type Act func(ctx context.Context, ev audit.Event, do func(context.Context) (audit.Outcome, map[string]any, error)) error

// Anchorer anchors the house log. Any number of replicas run one; one at a time
// works.
type Anchorer struct {
	cfg   Config
	store Store
	chain Chain
	act   Act
	note  func(audit.Event)
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	last    Sight
	closing context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// New makes an anchorer; note records what needs no answer (mined, final, a
// problem begun or ended).
func New(cfg Config, s Store, c Chain, act Act, note func(audit.Event), log *slog.Logger, now func() time.Time) *Anchorer {
	if cfg.Stuck == 0 {
		cfg.Stuck = 3 * time.Minute
	}
	if cfg.Look == 0 {
		cfg.Look = 15 * time.Second
	}
	a := &Anchorer{cfg: cfg, store: s, chain: c, act: act, note: note, log: log, now: now}
	a.closing, a.stop = context.WithCancel(context.Background())
	return a
}

// Start begins; Stop ends it. Stopping twice is fine.
func (a *Anchorer) Start() { a.wg.Go(a.run) }

// Stop breaks off what is under way: what was stored is found again.
func (a *Anchorer) Stop() {
	a.stop()
	a.wg.Wait()
}

// Last is what this replica's last round found.
func (a *Anchorer) Last() Sight {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *Anchorer) run() {
	tick := time.NewTicker(a.cfg.Look)
	defer tick.Stop()
	for {
		if err := a.store.Alone(a.closing, a.Round); err != nil && a.closing.Err() == nil {
			a.log.Warn("the house log was not anchored", "error", err)
		}
		select {
		case <-a.closing.Done():
			return
		case <-tick.C:
		}
	}
}

// Round looks at the chain, moves what is under way, and sends what is due. What
// the chain or its node lacks is a problem in the sight, not an error.
func (a *Anchorer) Round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	s := Sight{At: a.now().UTC()}
	view, err := a.chain.Look(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.Problem = NodeAway
		a.log.Warn("the chain's node", "error", err)
	case view.ChainID != a.cfg.ChainID:
		s.Problem = WrongChain
	default:
		s.Head, s.Balance = view.Head, view.Balance
		if err := a.advance(ctx, view, &s); err != nil {
			return err
		}
	}
	a.mu.Lock()
	before := a.last
	if s.Since = before.Since; before.Problem != s.Problem || s.Since.IsZero() {
		s.Since = s.At
	}
	a.last = s
	a.mu.Unlock()
	if before.Problem != s.Problem {
		ev := event(audit.Warning, audit.Failed, "anchor_"+string(s.Problem), nil)
		if s.Problem == "" {
			ev = event(audit.Info, audit.Success, "anchor_well", nil)
			ev.Details = map[string]any{"was": string(before.Problem)}
		}
		a.note(ev)
	}
	return a.store.Seen(ctx, s)
}

func event(sev audit.Severity, out audit.Outcome, reason string, an *Anchor) audit.Event {
	ev := audit.Event{Type: audit.Egress, Severity: sev, Outcome: out, Reason: reason, Action: "audit.anchor", Actor: audit.Actor{Kind: audit.ActorSystem}}
	if an != nil {
		ev.Resource = "anchor/" + strconv.FormatInt(an.Tree.N, 10)
		ev.Details = map[string]any{"chain": strconv.FormatUint(an.ChainID, 10), "size": an.Tree.N, "root": an.Tree.Hash.String(),
			"nonce": strconv.FormatUint(an.Nonce, 10), "transaction": an.newest().Hash, "most_wei": strconv.FormatUint(an.cost(), 10)}
	}
	return ev
}

// advance moves each anchor under way and then sees whether one is due.
func (a *Anchorer) advance(ctx context.Context, v View, s *Sight) error {
	open, err := a.store.Open(ctx)
	if err != nil {
		return err
	}
	var last *Anchor
	waiting := false // one holds the next nonce, or a later one
	for i := range open {
		an := &open[i]
		last = an
		if an.State != Sent && an.State != Mine {
			continue
		}
		if an.Sender != a.chain.Sender() || an.ChainID != v.ChainID {
			continue // of an account before this one: shown, and left
		}
		if err := a.follow(ctx, v, an); err != nil {
			if errors.Is(err, ErrAway) {
				s.Problem = NodeAway
				return nil
			}
			return err
		}
		if an.State == Sent {
			waiting = waiting || an.Problem != NonceGap
			s.Problem = an.Problem
		}
	}
	recent, err := a.store.Since(ctx, a.now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	for i := range recent {
		s.Day += recent[i].cost()
	}
	origin, tree, err := a.store.Newest(ctx)
	if err != nil || waiting || tree.N == 0 {
		return err
	}
	if last != nil && last.State != Replaced && last.State != Failed && (tree.N <= last.Tree.N || a.now().Before(last.Created.Add(a.cfg.Every))) {
		return nil
	}
	return a.send(ctx, v, s, origin, tree)
}

// allowed picks the fee, or says what forbids any.
func (a *Anchorer) allowed(v View, last *Fee, day, already uint64) (Fee, Problem) {
	fee, ok := choose(v, a.cfg.MaxFee, last)
	switch {
	case !ok:
		return fee, FeeBound
	case day-already+price(fee.Cap) > a.cfg.MaxPerDay:
		return fee, DailyBound
	case price(fee.Cap) > v.Balance:
		return fee, NoFunds
	}
	return fee, ""
}

func (a *Anchorer) send(ctx context.Context, v View, s *Sight, origin string, tree tlog.Tree) error {
	fee, problem := a.allowed(v, nil, s.Day, 0)
	if problem != "" {
		s.Problem = problem
		return nil
	}
	signed, err := a.chain.Sign(v.ChainID, v.Nonce, fee, Gas, Calldata(origin, tree))
	if err != nil {
		return err
	}
	at := a.now().UTC()
	an := &Anchor{Tree: tree, ChainID: v.ChainID, Sender: a.chain.Sender(), Nonce: v.Nonce, State: Sent, Created: at, Updated: at,
		Attempts: []Attempt{{Signed: signed, Fee: fee, At: at}}}
	err = a.act(ctx, event(audit.Info, audit.Success, "anchor_sent", an), func(ctx context.Context) (audit.Outcome, map[string]any, error) {
		if err := a.store.Create(ctx, an); err != nil { // first: then it can be sent again after a crash
			return audit.Failed, nil, err
		}
		return a.hand(ctx, an)
	})
	s.Day += an.cost()
	s.Problem = an.Problem
	return err
}

// hand gives the newest attempt to the node and keeps what it said.
func (a *Anchorer) hand(ctx context.Context, an *Anchor) (audit.Outcome, map[string]any, error) {
	err := a.chain.Send(ctx, an.newest().Raw)
	was := an.Problem
	for problem, kind := range map[Problem]error{Underpriced: ErrUnderpriced, NoFunds: ErrFunds, Refused: ErrRefused} {
		if errors.Is(err, kind) {
			an.Problem = problem
		}
	}
	outcome := audit.Failed
	switch {
	case err == nil:
		an.Problem, outcome = "", audit.Success
	case errors.Is(err, ErrNonce):
		// By ours, mined between, or by another's: the chain tells, not one node.
		an.Problem, outcome = Unknown, audit.Unknown
	case an.Problem == was && (errors.Is(err, ErrAway) || ctx.Err() != nil):
		an.Problem, outcome = Unknown, audit.Unknown
	}
	if err != nil {
		a.log.Warn("sending an anchor", "size", an.Tree.N, "transaction", an.newest().Hash, "error", err)
	}
	an.Updated = a.now().UTC()
	return outcome, map[string]any{"problem": string(an.Problem)}, a.store.Update(ctx, an)
}

// follow finds out where an anchor is and does what it needs.
func (a *Anchorer) follow(ctx context.Context, v View, an *Anchor) error {
	for i := range an.Attempts {
		at := &an.Attempts[i]
		m, err := a.chain.Mined(ctx, at.Hash)
		if err != nil {
			return fmt.Errorf("looking for %s: %w", at.Hash, err)
		}
		if m != nil {
			return a.mined(ctx, v, an, at.Hash, m)
		}
	}
	if an.State == Mine { // its block is gone
		a.note(event(audit.Warning, audit.Failed, "anchor_reorg", an))
		an.State, an.Problem, an.Mined, an.Hash = Sent, Reorg, nil, ""
	}
	switch {
	case v.Nonce > an.Nonce:
		// Looked at before the receipts were: what was mined between shows in the
		// next round. Said twice, the key was used elsewhere.
		if an.Problem != NonceTaken {
			an.Problem = NonceTaken
			return a.update(ctx, an)
		}
		an.State = Replaced
		a.note(event(audit.High, audit.Failed, "anchor_replaced", an))
		return a.update(ctx, an)
	case v.Nonce < an.Nonce:
		// An earlier transaction was lost. Ours waits for that number; the next
		// anchor takes it.
		an.Problem = NonceGap
		if err := a.update(ctx, an); err != nil {
			return err
		}
		_ = a.chain.Send(ctx, an.newest().Raw)
		return nil
	}
	if an.Problem == Underpriced || !a.now().Before(an.newest().At.Add(a.cfg.Stuck)) {
		return a.bump(ctx, v, an)
	}
	_, _, err := a.hand(ctx, an) // the same bytes: a node that has them says so
	return err
}

func (a *Anchorer) update(ctx context.Context, an *Anchor) error {
	an.Updated = a.now().UTC()
	return a.store.Update(ctx, an)
}

// bump signs an anchor anew with a higher fee and the same nonce, if the bounds
// allow; otherwise the one before stays on offer.
func (a *Anchorer) bump(ctx context.Context, v View, an *Anchor) error {
	recent, err := a.store.Since(ctx, a.now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	var day, already uint64
	for i := range recent {
		day += recent[i].cost()
		if recent[i].ID == an.ID {
			already = an.cost()
		}
	}
	fee, problem := a.allowed(v, &an.newest().Fee, day, already)
	if problem != "" {
		_, _, err := a.hand(ctx, an)
		if err == nil && an.Problem == "" {
			an.Problem = problem
			err = a.update(ctx, an)
		}
		return err
	}
	// The same calldata: what an anchor says never changes.
	signed, err := a.resign(ctx, an, fee)
	if err != nil {
		return err
	}
	t := Attempt{Signed: signed, Fee: fee, At: a.now().UTC()}
	ev := event(audit.Info, audit.Success, "anchor_bumped", an)
	ev.Details["transaction"], ev.Details["most_wei"] = t.Hash, strconv.FormatUint(price(fee.Cap), 10)
	return a.act(ctx, ev, func(ctx context.Context) (audit.Outcome, map[string]any, error) {
		if err := a.store.Attempt(ctx, an, t); err != nil {
			return audit.Failed, nil, err
		}
		an.Attempts = append(an.Attempts, t)
		return a.hand(ctx, an)
	})
}

func (a *Anchorer) resign(ctx context.Context, an *Anchor, fee Fee) (Signed, error) {
	origin, _, err := a.store.Newest(ctx)
	if err != nil {
		return Signed{}, err
	}
	return a.chain.Sign(an.ChainID, an.Nonce, fee, Gas, Calldata(origin, an.Tree))
}

// mined keeps a place in the chain and counts the blocks on it.
func (a *Anchorer) mined(ctx context.Context, v View, an *Anchor, hash string, m *Mined) error {
	moved := an.State != Mine || an.Mined == nil || an.Mined.BlockHash != m.BlockHash
	if an.State == Mine && moved {
		a.note(event(audit.Warning, audit.Failed, "anchor_reorg", an)) // into another block
	}
	an.State, an.Problem, an.Hash, an.Mined = Mine, "", hash, m
	deep := v.Head >= m.Block && v.Head-m.Block+1 >= a.cfg.Confirmations
	switch {
	case !m.OK:
		an.State = Failed
		a.note(event(audit.High, audit.Failed, "anchor_reverted", an))
	case deep:
		an.State = Final
		ev := event(audit.Info, audit.Success, "anchor_final", an)
		ev.Details["transaction"], ev.Details["block"] = hash, strconv.FormatUint(m.Block, 10)
		ev.Details["paid_wei"] = strconv.FormatUint(m.Paid, 10)
		a.note(ev)
	case !moved:
		return nil
	}
	return a.update(ctx, an)
}
