package redis

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// crashCaps: the agent's is the narrowest, in the middle, so that a refusal
// there has to leave the run's alone and never reach the ones above.
func crashCaps() quota.Caps {
	c := func(n int64) quota.Cap {
		return quota.Cap{Limit: quota.Amounts{Requests: quota.NoLimit, Tokens: n}, Period: quota.Lifetime()}
	}
	return quota.Caps{Run: c(4000), Agent: c(2000), User: c(3000), Tenant: c(5000)}
}

const crashTerm = time.Second

// spend reserves 7 tokens and settles 5, and leaves every third reservation
// open, until told to stop or nothing is left.
func spend(ctx context.Context, l *Ledger, a quota.Account, settled func(int64)) error {
	for i := 0; ctx.Err() == nil; i++ {
		r, err := l.Reserve(ctx, a, crashCaps(), quota.Amounts{Tokens: 7}, crashTerm)
		if ctx.Err() != nil || fault.CodeOf(err) == fault.Budget {
			return nil
		}
		if err != nil {
			return err
		}
		if i%3 == 2 {
			continue
		}
		if err := l.Settle(context.WithoutCancel(ctx), r, quota.Amounts{Tokens: 5}); err != nil {
			return err
		}
		settled(5)
	}
	return nil
}

// TestKilledProcess has two processes draw on one budget at once, kills one in
// the middle, and watches all the while: no scope is ever overrun, what the dead
// one held comes back when its term ends, and then all of it can be spent.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	id, p := tenant.NewID(), quota.Path{User: uuid.New(), Agent: uuid.New(), Run: uuid.New()}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDoomedProcess$", "-test.v")
	cmd.Env = append(os.Environ(), "OPENCLAW_DOOMED="+strings.Join([]string{s.Addr(), id.String(), p.User.String(), p.Agent.String(), p.Run.String()}, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "spending" {
	}
	l := NewLedger(open(t, s, Config{}))
	a, err := quota.NewAccount(id, p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	balance := func() (bs []quota.Balance) {
		t.Helper()
		bs, err := l.Balance(context.Background(), a, crashCaps())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bs {
			if b.Spent.Tokens+b.Reserved.Tokens > b.Limit.Tokens || b.Spent != bs[0].Spent || b.Reserved != bs[0].Reserved {
				t.Fatalf("the %s's budget: %d spent and %d reserved of %d; the run has %d and %d", b.Scope, b.Spent.Tokens, b.Reserved.Tokens, b.Limit.Tokens, bs[0].Spent.Tokens, bs[0].Reserved.Tokens)
			}
		}
		return bs
	}
	var mine sync.WaitGroup
	for range 4 {
		mine.Go(func() {
			if err := spend(ctx, l, a, func(int64) {}); err != nil {
				t.Error(err)
			}
		})
	}
	for balance()[0].Spent.Tokens < 600 {
	}
	_ = cmd.Process.Kill() // SIGKILL: nothing is given back
	for lines.Scan() {
	}
	_ = cmd.Wait()
	cancel()
	mine.Wait()
	held := balance()[0].Reserved.Tokens
	if held == 0 {
		t.Fatal("nothing was left open: the test tests nothing")
	}
	for begun := time.Now(); balance()[0].Reserved.Tokens > 0; time.Sleep(10 * time.Millisecond) { // Redis's own clock
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%d tokens of ended reservations are still set aside", balance()[0].Reserved.Tokens)
		}
	}
	before := balance()[1].Spent.Tokens
	n := int64(0)
	for ; ; n++ {
		r, err := l.Reserve(context.Background(), a, crashCaps(), quota.Amounts{Tokens: 1}, time.Minute)
		if fault.CodeOf(err) == fault.Budget {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Settle(context.Background(), r, quota.Amounts{Tokens: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if before+n != 2000 {
		t.Fatalf("%d spent and %d more were there, want 2,000 in all", before, n)
	}
	t.Logf("%d tokens came back from reservations nobody settled", held)
}

// TestDoomedProcess is the other half of TestKilledProcess: it spends until it
// is killed.
func TestDoomedProcess(t *testing.T) {
	f := strings.Fields(os.Getenv("OPENCLAW_DOOMED"))
	if len(f) != 5 {
		t.Skip("started by TestKilledProcess")
	}
	c, err := Open(Config{URL: "redis://" + f[0], Deadline: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id, err := tenant.ParseID(f[1])
	if err != nil {
		t.Fatal(err)
	}
	a, err := quota.NewAccount(id, quota.Path{User: uuid.MustParse(f[2]), Agent: uuid.MustParse(f[3]), Run: uuid.MustParse(f[4])})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLedger(c)
	var once sync.Once
	for {
		if err := spend(context.Background(), l, a, func(int64) { once.Do(func() { fmt.Println("spending") }) }); err != nil {
			t.Fatal(err)
		}
	}
}
