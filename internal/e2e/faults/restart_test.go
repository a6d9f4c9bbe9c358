package faults

import (
	"context"
	"testing"
	"time"
)

// PostgreSQL is restarted under load, in order, at once and by kill -9, and
// stays away for a while: the same platform says so in clear codes and within
// its bounds, and goes on by itself.
func TestDatabaseRestarts(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	p := m.spawn(t, nil)
	c := newCrowd(t, m)
	c.serve(p)
	c.begin(everything)
	c.await(40)
	held := map[*customer][]kept{}
	for _, how := range []struct {
		name string
		end  func()
	}{
		{"fast", func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := m.pg.Stop(ctx); err != nil {
				t.Fatal(err)
			}
		}},
		{"immediate", func() { m.quitPG(t) }},
		{"kill -9", func() { m.killPG(t) }},
	} {
		for _, who := range []*customer{m.plain, m.strict} {
			held[who] = append(held[who], p.checkpoint(t, who))
		}
		how.end()
		p.readiness(t, 503, "")
		c.refusesEverything(p)
		m.startPG(t)
		up := time.Now()
		c.forget()
		c.await(1)
		first := time.Since(up)
		c.await(30)
		p.readiness(t, 200, "ok")
		t.Logf("%s: the first change is acknowledged %s after the database answers", how.name, first.Round(time.Millisecond))
	}
	f, _ := c.judge(p, held)
	t.Logf("answers: %v; the longest took %s", c.codes, c.longest.Round(time.Millisecond))
	t.Log(f)
}
