package postgres_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
	"github.com/Nissimmiracles/openclaw/internal/evm"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/Nissimmiracles/openclaw/internal/testservers"
)

const ether = "1000000000000000000"

// chain is a real node behind a wire that can be cut, an account with money, and
// the platform that anchors with it.
type chain struct {
	*testservers.EVM
	key   *evm.Key
	proxy *httptest.Server
	mu    sync.Mutex
	away  bool   // the node answers nobody
	lose  string // answers to this method are lost on the way back
	fake  func(method string) string

	store  *postgres.Store
	house  plane.Room
	room   plane.Room
	cfg    anchor.Config
	clock  time.Time
	events []audit.Event
	*anchor.Anchorer
	wallet *evm.Wallet
}

func newChain(t *testing.T, wei string) *chain {
	t.Helper()
	c := &chain{EVM: testservers.StartEVM(t), clock: time.Now().UTC().Truncate(time.Second)}
	node, err := url.Parse(c.RPC)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(node)
	forward.Transport = &http.Transport{DisableKeepAlives: true}
	c.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		c.mu.Lock()
		away, lose, fake := c.away, c.lose, c.fake
		c.mu.Unlock()
		if fake != nil {
			method := strings.Split(strings.SplitN(string(body), `"method":"`, 2)[1], `"`)[0]
			if answer := fake(method); answer != "" {
				_, _ = io.WriteString(w, answer)
				return
			}
		}
		switch {
		case away:
			panic(http.ErrAbortHandler)
		case lose != "" && strings.Contains(string(body), lose):
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(c.proxy.Close)
	if c.key, err = evm.ParseKey(hex.EncodeToString(pgtest.Key("chain " + t.Name())[:32])); err != nil {
		t.Fatal(err)
	}
	if wei != "" {
		c.Do(t, "fund", "to", c.key.Address().String(), "wei", wei)
	}
	db := pgtest.New(t)
	c.store = db.OpenSigning(t, firstKey)
	c.room = room(t, c.store, db.Tenant(t, c.store, "acme"))
	scope, err := tenant.NewDoor(c.store).AdmitAnyStatus(t.Context(), tenant.House)
	if err != nil {
		t.Fatal(err)
	}
	c.house = room(t, c.store, scope)
	c.cfg = anchor.Config{ChainID: 1337, Every: time.Hour, MaxFee: 1e15, MaxPerDay: 24e15, Confirmations: 3, Stuck: 3 * time.Minute}
	client, err := evm.NewClient(c.proxy.URL, &http.Transport{DisableKeepAlives: true})
	if err != nil {
		t.Fatal(err)
	}
	c.wallet = evm.NewWallet(client, c.key)
	c.restart()
	c.grow(t)
	return c
}

// restart is another process: what the last one knew is gone.
func (c *chain) restart() {
	act := func(ctx context.Context, ev audit.Event, do func(context.Context) (audit.Outcome, map[string]any, error)) error {
		_, err := c.house.Act(ctx, ev, do)
		return err
	}
	note := func(ev audit.Event) { c.events = append(c.events, ev) }
	c.Anchorer = anchor.New(c.cfg, c.store.Anchors(), c.wallet, act, note, slog.New(slog.DiscardHandler), func() time.Time { return c.clock })
}

func (c *chain) set(away bool, lose string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away, c.lose = away, lose
}

func (c *chain) grow(t *testing.T) {
	t.Helper()
	remember(t, c.room, "x")
	published(t, c.room)
}

// round runs one and gives the newest anchor and the problem.
func (c *chain) round(t *testing.T) (*anchor.Anchor, anchor.Problem) {
	t.Helper()
	c.clock = c.clock.Add(time.Second)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := c.store.Anchors().Last(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		return nil, c.Last().Problem
	}
	return &list[0], c.Last().Problem
}

func (c *chain) want(t *testing.T, what string, state anchor.State, problem anchor.Problem) *anchor.Anchor {
	t.Helper()
	an, p := c.round(t)
	switch {
	case an == nil && state != "":
		t.Fatalf("%s: no anchor (%s), want %s", what, p, state)
	case an != nil && an.State != state || p != problem:
		t.Fatalf("%s: %+v with problem %q, want %s with %q", what, an, p, state, problem)
	}
	return an
}

func (c *chain) told(reason string) (n int) {
	for _, ev := range c.events {
		if ev.Reason == reason {
			n++
		}
	}
	return n
}

// acts reads what the house's own log says of sending.
func (c *chain) acts(t *testing.T) (intents, done int) {
	t.Helper()
	entries, _, err := c.house.Log().Events(t.Context(), audit.Query{Types: []audit.Type{audit.Egress}, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Outcome == audit.Intent {
			intents++
		} else {
			done++
		}
	}
	return intents, done
}

func TestAnAnchorBecomesFinal(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	first := c.want(t, "due", anchor.Sent, "")
	if i, d := c.acts(t); i != 1 || d != 1 {
		t.Errorf("the log has %d intents and %d outcomes of sending", i, d)
	}
	c.want(t, "waiting", anchor.Sent, "")
	c.Do(t, "mine")
	an := c.want(t, "one block", anchor.Mine, "")
	origin, err := c.store.Anchors().Origin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx, err := c.wallet.Transaction(t.Context(), an.Hash)
	if err != nil || tx == nil {
		t.Fatalf("the chain has no %s: %v", an.Hash, err)
	}
	input, _ := hex.DecodeString(strings.TrimPrefix(tx.Input, "0x"))
	if tree, err := anchor.ParseCalldata(input, origin); err != nil || tree != first.Tree || tx.From != c.wallet.Sender() {
		t.Errorf("the chain holds %+v of %s, %v; want %+v", tree, tx.From, err, first.Tree)
	}
	if an.Mined.Paid == 0 || an.Mined.Paid > c.cfg.MaxFee {
		t.Errorf("paid %d wei", an.Mined.Paid)
	}
	c.Do(t, "mine")
	c.want(t, "two blocks", anchor.Mine, "")
	c.Do(t, "mine")
	an = c.want(t, "three blocks", anchor.Final, "")
	if c.told("anchor_final") != 1 {
		t.Errorf("told %+v", c.events)
	}
	t.Logf("final in block %d for %d wei", an.Mined.Block, an.Mined.Paid)
	// The next one waits for its hour, and for something to say.
	c.grow(t)
	if an := c.want(t, "too early", anchor.Final, ""); an.ID != first.ID {
		t.Error("anchored twice within the hour")
	}
	c.clock = c.clock.Add(c.cfg.Every)
	if an := c.want(t, "an hour later", anchor.Sent, ""); an.ID == first.ID || an.Tree.N <= first.Tree.N || an.Nonce != first.Nonce+1 {
		t.Errorf("the second: %+v", an)
	}
}

// The node is away, takes a transaction and loses the answer, or the process
// ends between storing and sending: what is in the chain is there once.
func TestAnchorsSurviveSilenceAndCrashes(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	c.set(true, "")
	c.want(t, "away", "", anchor.NodeAway)
	if c.told("anchor_node_away") != 1 {
		t.Errorf("told %+v", c.events)
	}
	c.set(false, "eth_sendRawTransaction")
	an := c.want(t, "answer lost", anchor.Sent, anchor.Unknown)
	c.restart()
	c.want(t, "sent again", anchor.Sent, anchor.Unknown)
	c.set(false, "")
	c.restart()
	if again := c.want(t, "known already", anchor.Sent, ""); again.ID != an.ID || len(again.Attempts) != 1 {
		t.Errorf("made another: %+v", again)
	}
	c.Do(t, "mine", "n", "3")
	c.want(t, "mined", anchor.Final, "")

	// A crash after storing: the transaction never left.
	c.clock = c.clock.Add(c.cfg.Every)
	c.grow(t)
	crashed := errors.New("the process ends here")
	stopped := anchor.New(c.cfg, c.store.Anchors(), mute{c.wallet}, func(ctx context.Context, _ audit.Event, do func(context.Context) (audit.Outcome, map[string]any, error)) (err error) {
		defer func() {
			if recover() != nil {
				err = crashed
			}
		}()
		_, _, err = do(ctx)
		return err
	}, func(audit.Event) {}, slog.New(slog.DiscardHandler), func() time.Time { return c.clock })
	if err := stopped.Round(t.Context()); !errors.Is(err, crashed) {
		t.Fatal(err)
	}
	c.restart()
	c.want(t, "found after the crash", anchor.Sent, "")
	c.Do(t, "mine", "n", "3")
	if second := c.want(t, "mined after the crash", anchor.Final, ""); second.ID == an.ID || second.Nonce != an.Nonce+1 {
		t.Errorf("%+v", second)
	}
}

// mute is a wallet of a process that dies as it sends.
type mute struct{ *evm.Wallet }

func (mute) Send(context.Context, []byte) error { panic("killed") }

func TestAnchorsFollowReorgs(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	an := c.want(t, "due", anchor.Sent, "")
	c.Do(t, "mine", "n", "2")
	c.want(t, "mined", anchor.Mine, "")
	c.Do(t, "reorg", "depth", "2") // into blocks without it, and the node forgets it
	c.want(t, "orphaned", anchor.Sent, "")
	if c.told("anchor_reorg") != 1 {
		t.Errorf("told %+v", c.events)
	}
	c.Do(t, "mine", "n", "3")
	if again := c.want(t, "mined again", anchor.Final, ""); again.ID != an.ID || len(again.Attempts) != 1 {
		t.Errorf("%+v", again)
	}
}

func TestStuckAnchorsAreReplacedWithinTheBound(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	c.cfg.MaxFee = 200e12 // room for a few bumps
	c.restart()
	an := c.want(t, "due", anchor.Sent, "")
	attempts := 1
	var problem anchor.Problem
	for range 40 {
		c.clock = c.clock.Add(c.cfg.Stuck)
		if an, problem = c.round(t); problem == anchor.FeeBound {
			break
		}
		if len(an.Attempts) != attempts+1 || an.State != anchor.Sent || problem != "" {
			t.Fatalf("attempt %d: %+v, %q", attempts, an, problem)
		}
		attempts++
	}
	if problem != anchor.FeeBound || attempts < 2 {
		t.Fatalf("%d attempts and %q: the bound never held", attempts, problem)
	}
	for _, at := range an.Attempts {
		if at.Cap*anchor.Gas > c.cfg.MaxFee {
			t.Errorf("%+v may cost more than %d", at, c.cfg.MaxFee)
		}
	}
	// go-ethereum took each replacement: the last one is mined.
	c.Do(t, "mine", "n", "3")
	if an := c.want(t, "mined", anchor.Final, ""); an.Hash != an.Attempts[len(an.Attempts)-1].Hash {
		t.Errorf("mined %s, not the replacement", an.Hash)
	}
	if i, d := c.acts(t); i != attempts || d != attempts {
		t.Errorf("the log has %d intents and %d outcomes of %d attempts", i, d, attempts)
	}
}

// No answer of a node, however it lies, leads above the bounds.
func TestFeesAreBoundedWhateverTheNodeSays(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	says := func(method, result string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fake = func(m string) string {
			if m == method {
				return `{"jsonrpc":"2.0","id":1,"result":` + result + `}`
			}
			return ""
		}
	}
	huge := `"0x` + strings.Repeat("f", 64) + `"`
	says("eth_getBlockByNumber", `{"number":"0x1","hash":"0x00","timestamp":"0x1","baseFeePerGas":`+huge+`}`)
	c.want(t, "base fee", "", anchor.FeeBound)
	says("eth_chainId", `"0x1"`)
	c.want(t, "another chain", "", anchor.WrongChain)
	says("eth_getBlockByNumber", `null`)
	c.want(t, "no block", "", anchor.NodeAway)
	says("eth_getTransactionCount", `"many"`)
	c.want(t, "no number", "", anchor.NodeAway)
	c.cfg.MaxPerDay = c.cfg.MaxFee + c.cfg.MaxFee/2
	c.restart()
	says("eth_maxPriorityFeePerGas", huge)
	an, _ := c.round(t)
	if an == nil || an.Attempts[0].Cap*anchor.Gas > c.cfg.MaxFee {
		t.Fatalf("%+v", an)
	}
	c.Do(t, "mine", "n", "3")
	c.round(t)
	// Nor above the day's: the next may cost all of one transaction's bound, and
	// this one did.
	c.grow(t)
	c.clock = c.clock.Add(c.cfg.Every)
	c.want(t, "the day's ceiling", anchor.Final, anchor.DailyBound)
	c.clock = c.clock.Add(24 * time.Hour)
	c.want(t, "the next day", anchor.Sent, "")
}

func TestAnchorsWithoutMoneyWait(t *testing.T) {
	t.Parallel()
	c := newChain(t, "")
	c.want(t, "no money", "", anchor.NoFunds)
	c.Do(t, "fund", "to", c.key.Address().String(), "wei", ether)
	c.want(t, "paid in", anchor.Sent, "")
}

// Somebody uses the key beside the platform.
func TestATakenNonce(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	an := c.want(t, "due", anchor.Sent, "")
	c.Do(t, "drop")
	raw, _, err := c.key.Sign(&evm.Tx{ChainID: 1337, Nonce: an.Nonce, Tip: 2e9, Cap: 20e9, Gas: 21000, To: c.key.Address()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wallet.Send(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	c.Do(t, "mine")
	c.want(t, "seen once", anchor.Sent, anchor.NonceTaken)
	next := c.want(t, "seen twice", anchor.Sent, "")
	if next.ID == an.ID || next.Nonce != an.Nonce+1 || c.told("anchor_replaced") != 1 {
		t.Errorf("after it: %+v, told %+v", next, c.events)
	}
	c.Do(t, "mine", "n", "3")
	c.want(t, "mined", anchor.Final, "")
}

// A reorganisation takes back an earlier transaction of the key for good: ours
// has a number that is not its turn, and the next anchor fills the gap.
func TestANonceGap(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	raw, _, err := c.key.Sign(&evm.Tx{ChainID: 1337, Tip: 2e9, Cap: 20e9, Gas: 21000, To: c.key.Address()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wallet.Send(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	c.Do(t, "mine")
	an := c.want(t, "due", anchor.Sent, "")
	c.Do(t, "reorg", "depth", "1")
	c.want(t, "gap", anchor.Sent, anchor.NonceGap)
	c.clock = c.clock.Add(c.cfg.Every)
	c.grow(t)
	if next := c.want(t, "filled", anchor.Sent, ""); next.ID == an.ID || next.Nonce != an.Nonce-1 {
		t.Errorf("%+v", next)
	}
	c.Do(t, "mine", "n", "3")
	c.round(t)
	c.Do(t, "mine", "n", "3")
	c.round(t)
	list, err := c.store.Anchors().Last(t.Context(), 5)
	if err != nil || len(list) != 2 || list[0].State != anchor.Final || list[1].State != anchor.Final {
		t.Errorf("%+v, %v", list, err)
	}
}
