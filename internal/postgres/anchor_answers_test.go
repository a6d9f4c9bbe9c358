package postgres_test

import (
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
	"github.com/Nissimmiracles/openclaw/internal/evm"
)

// says has the node's front answer a method itself; "" lets all through again.
func (c *chain) says(method, answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fake = func(m string) string {
		if m == method {
			return answer
		}
		return ""
	}
}

func refusal(message string) string {
	return `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"` + message + `"}}`
}

// Another transaction of the key waits with a fee that ours would have to beat:
// go-ethereum itself refuses ours as underpriced. It is signed anew, round by
// round, to the bound and not beyond, and the log goes on meanwhile.
func TestAnUnderpricedAnchorIsBoundedAndHoldsNobody(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	c.cfg.MaxFee = 400e12
	c.restart()
	view, err := c.wallet.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dear, _, err := c.key.Sign(&evm.Tx{ChainID: 1337, Nonce: view.Nonce, Tip: 1000e9, Cap: 1000e9, Gas: 21000, To: c.key.Address()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wallet.Send(t.Context(), dear); err != nil {
		t.Fatal(err)
	}
	an := c.want(t, "beside a dearer one", anchor.Sent, anchor.Underpriced)
	if len(an.Attempts) != 1 {
		t.Fatalf("%+v", an)
	}
	attempts, still := 1, 0
	for range 60 {
		if an, _ = c.round(t); len(an.Attempts) == attempts {
			still++
		}
		attempts = len(an.Attempts)
	}
	if attempts < 3 || still < 20 {
		t.Errorf("%d attempts, %d rounds without another: it never came to the bound", attempts, still)
	}
	for i, at := range an.Attempts {
		if at.Cap*anchor.Gas > c.cfg.MaxFee || i > 0 && at.Cap <= an.Attempts[i-1].Cap {
			t.Errorf("attempt %d: %+v, bound %d", i, at.Fee, c.cfg.MaxFee)
		}
	}
	if i, d := c.acts(t); i != attempts || d != attempts {
		t.Errorf("the log has %d intents and %d outcomes of %d attempts", i, d, attempts)
	}
	before := published(t, c.room).Size
	c.grow(t)
	if published(t, c.room).Size <= before {
		t.Error("the log waited for the chain")
	}
	// The other one is mined: ours is replaced, and the next takes its turn.
	c.Do(t, "mine")
	c.want(t, "seen once", anchor.Sent, anchor.NonceTaken)
	next := c.want(t, "seen twice", anchor.Sent, "")
	if next.ID == an.ID || next.Nonce != an.Nonce+1 {
		t.Errorf("%+v", next)
	}
	c.Do(t, "mine", "n", "3")
	c.want(t, "mined", anchor.Final, "")
}

// Answers that nodes give to a transaction, each by a node that means it and by
// one that does not: nothing is paid twice, and nothing above the bounds.
func TestAnswersToATransaction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says    string
		problem anchor.Problem
		bumped  bool // at once, and not only when it is stuck
	}{
		{"already known", "", false},
		{"ALREADY_EXISTS: already known", "", false},
		{"nonce too low: next nonce 5, tx nonce 4", anchor.Unknown, false},
		{"replacement transaction underpriced", anchor.Underpriced, true},
		{"transaction underpriced: gas tip cap 1, minimum needed 2", anchor.Underpriced, true},
		{"max fee per gas less than block base fee", anchor.Underpriced, true},
		{"insufficient funds for gas * price + value", anchor.NoFunds, false},
		{"\\u001b[2Jcall your mother", anchor.Refused, false},
	} {
		t.Run(c.says, func(t *testing.T) {
			t.Parallel()
			w := newChain(t, ether)
			w.cfg.MaxFee, w.cfg.Every = 200e12, 1000*time.Hour
			w.restart()
			w.says("eth_sendRawTransaction", refusal(c.says))
			first := w.want(t, "at first", anchor.Sent, c.problem)
			an := w.want(t, "again", anchor.Sent, c.problem)
			if (len(an.Attempts) > 1) != c.bumped {
				t.Errorf("%d attempts", len(an.Attempts))
			}
			w.restart() // another process knows as much
			w.clock = w.clock.Add(w.cfg.Stuck)
			an = w.want(t, "stuck", anchor.Sent, c.problem)
			if len(an.Attempts) < 2 || an.ID != first.ID || an.Nonce != first.Nonce {
				t.Errorf("stuck: %+v", an)
			}
			for range 10 {
				w.clock = w.clock.Add(w.cfg.Stuck)
				an, _ = w.round(t)
			}
			for _, at := range an.Attempts {
				if at.Cap*anchor.Gas > w.cfg.MaxFee {
					t.Errorf("%+v may cost more than %d", at, w.cfg.MaxFee)
				}
			}
			w.grow(t) // and the log never waited
			w.says("", "")
			w.clock = w.clock.Add(w.cfg.Stuck)
			w.round(t)
			w.Do(t, "mine", "n", "3")
			an = w.want(t, "understood at last", anchor.Final, "")
			if an.ID != first.ID || an.Mined.Paid > w.cfg.MaxFee {
				t.Errorf("%+v", an)
			}
		})
	}
}

// A pool of nodes: one has mined the transaction and calls its nonce used up, the
// next has no receipt yet. That is no proof that somebody else took the nonce.
func TestNodesThatDisagree(t *testing.T) {
	t.Parallel()
	c := newChain(t, ether)
	an := c.want(t, "due", anchor.Sent, "")
	c.says("eth_sendRawTransaction", refusal("nonce too low"))
	c.want(t, "mined, says one", anchor.Sent, anchor.Unknown)
	c.Do(t, "mine")
	c.says("eth_getTransactionReceipt", `{"jsonrpc":"2.0","id":1,"result":null}`)
	c.want(t, "no receipt, says another", anchor.Sent, anchor.NonceTaken)
	c.says("", "")
	if again := c.want(t, "in the chain", anchor.Mine, ""); again.ID != an.ID || c.told("anchor_replaced") != 0 {
		t.Errorf("%+v, told %+v", again, c.events)
	}
}
