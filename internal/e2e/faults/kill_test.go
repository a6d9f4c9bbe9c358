package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// number reads a setting of the long run.
func number(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// What a round takes away.
var blows = []struct {
	name  string
	share int
}{
	{"one platform", 6},
	{"all platforms", 3},
	{"the database", 2},
	{"both", 2},
	{"the database, stopped in order", 1},
	{"the database, stopped at once", 1},
}

func choose(r *rand.Rand) string {
	sum := 0
	for _, b := range blows {
		sum += b.share
	}
	n := r.IntN(sum)
	for _, b := range blows {
		if n -= b.share; n < 0 {
			return b.name
		}
	}
	panic("unreachable")
}

// kill -9 at random moments, of platforms (one or two over one database), of
// PostgreSQL, and of both, under writers of every kind.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	few := uint64(10)
	if raced {
		few = 4 // a raced platform takes seconds to start
	}
	rounds := int(number(t, "FAULT_ROUNDS", few))
	seed := number(t, "FAULT_SEED", rand.Uint64())
	t.Logf("FAULT_ROUNDS=%d FAULT_SEED=%d", rounds, seed)
	r := rand.New(rand.NewPCG(seed, 0))
	m := newMachine(t, "")
	c := newCrowd(t, m)
	fleet := []*process{m.spawn(t, nil)}
	c.serve(fleet...)
	c.begin(everything)
	held := map[*customer][]kept{}
	blown := map[string]int{}
	begun := time.Now()
	for round := range rounds {
		want := 1 + r.IntN(2)
		for len(fleet) < want {
			fleet = append(fleet, m.spawn(t, nil))
		}
		c.serve(fleet...)
		c.forget()
		c.await(20 + r.IntN(60))
		if round%max(1, rounds/8) == 0 {
			for _, who := range []*customer{m.plain, m.strict} {
				held[who] = append(held[who], fleet[0].checkpoint(t, who))
			}
		}
		time.Sleep(time.Duration(r.IntN(30_000)) * time.Microsecond) // the moment is what is random
		blow := choose(r)
		blown[blow]++
		fleet = m.strike(t, c, r, blow, fleet)
		if rounds > 50 && (round+1)%10 == 0 {
			c.mu.Lock()
			fmt.Fprintf(os.Stderr, "round %d of %d, %d requests so far, %s\n", round+1, rounds, len(c.asked), time.Since(begun).Round(time.Second))
			c.mu.Unlock()
		}
	}
	for _, p := range fleet {
		p.kill()
	}
	c.serve()
	m.longSilence(t, rounds)
	last := m.spawn(t, nil)
	c.serve(last)
	f, verdicts := c.judge(last, held)
	t.Logf("%d rounds in %s: %v; answers while something was gone: %v", rounds, time.Since(begun).Round(time.Second), blown, c.codes)
	t.Log(f)
	if f.acknowledged < 20*rounds || f.effects == 0 || f.readsTold == 0 && rounds > 50 {
		t.Errorf("too little happened for this to mean anything: %v", f)
	}
	for _, v := range verdicts {
		v.doctored(t)
	}
}

// strike takes something away and brings the database back.
func (m *machine) strike(t *testing.T, c *crowd, r *rand.Rand, blow string, fleet []*process) []*process {
	t.Helper()
	switch blow {
	case "one platform":
		i := r.IntN(len(fleet))
		fleet[i].kill()
		fleet = append(fleet[:i:i], fleet[i+1:]...)
	case "all platforms":
		for _, p := range fleet {
			p.kill()
		}
		fleet = nil
	case "the database":
		m.killPG(t)
		m.startPG(t)
	case "both":
		if r.IntN(2) == 0 {
			m.killPG(t)
		}
		for _, p := range fleet {
			p.kill()
		}
		fleet = nil
		select {
		case <-m.pg.Done():
		default:
			m.killPG(t)
		}
		c.serve()
		m.startPG(t)
	case "the database, stopped in order":
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := m.pg.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		m.startPG(t)
	case "the database, stopped at once":
		m.quitPG(t)
		m.startPG(t)
	}
	c.serve(fleet...)
	return fleet
}

// longSilence has the dead be silent for as long as it takes to be believed:
// the normal suite sets the clock of their last sign back instead.
func (m *machine) longSilence(t testing.TB, rounds int) {
	t.Helper()
	if rounds > 50 {
		time.Sleep(31 * time.Second) // by the database's own clock
		return
	}
	if err := m.sql(`UPDATE replicas SET beat = beat - interval '1 minute'`); err != nil {
		t.Fatal(err)
	}
}
