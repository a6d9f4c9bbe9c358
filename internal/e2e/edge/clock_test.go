package edge

import (
	"maps"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// clock is a replica's: the machine's, set forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// scan asks for what only scanners ask until the address is dropped.
func scan(t *testing.T, r *replica, from string) {
	t.Helper()
	for tries := 0; !dropped(t, r, proxied(from)); tries++ {
		if tries > 20 {
			t.Fatalf("%s may scan for ever", from)
		}
		c := r.dial(nil, proxied(from))
		_, _ = ask{to: r, client: c, path: "/.env"}.try(t.Context()) // the one that blocks may be cut
		c.CloseIdleConnections()
	}
}

// on is the block over an address at a replica.
func on(t *testing.T, r *replica, addr string) shield.Block {
	t.Helper()
	b := r.Shield.Explain(netip.MustParseAddr(addr)).Block
	if b == nil {
		t.Fatalf("nothing is over %s", addr)
	}
	return *b
}

// An address that comes back after each block is blocked for twice as long, on
// whichever replica it tries, up to the ceiling; after a day of peace it begins
// anew. Nobody lifts a block: time does.
func TestBlocksGrow(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for name, c := range map[string]struct {
		ceiling string
		want    []time.Duration
	}{
		"up to an hour":               {"1h", []time.Duration{hour / 6, hour / 3, hour * 2 / 3, hour, hour}},
		"up to the ceiling":           {"15m", []time.Duration{hour / 6, hour / 4, hour / 4}},
		"a ceiling below ten minutes": {"3m", []time.Duration{hour / 20, hour / 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, balancer)
			w.env["DDOS_BLOCK_DURATION"] = c.ceiling
			var time1 clock
			replicas := []*replica{w.startAt(t, nil, time1.now), w.startAt(t, nil, time1.now)}
			const from = "203.0.113.7"
			for i, want := range c.want {
				here, there := replicas[i%2], replicas[(i+1)%2]
				scan(t, here, from)
				b := on(t, here, from)
				if got := b.Until.Sub(b.From); got != want || b.Strikes != i+1 || b.Owner != shield.Automatic {
					t.Fatalf("block %d lasts %v with %d strikes, want %v", i+1, got, b.Strikes, want)
				}
				until(t, "the block is on the other replica", func() bool { return dropped(t, there, proxied(from)) })
				time1.advance(want - 20*time.Second) // far from both ends: the test takes seconds, too
				for _, r := range replicas {
					if !dropped(t, r, proxied(from)) {
						t.Fatalf("block %d of %v ended early", i+1, want)
					}
				}
				time1.advance(40 * time.Second)
				for _, r := range replicas {
					if dropped(t, r, proxied(from)) {
						t.Fatalf("block %d of %v does not end", i+1, want)
					}
				}
			}
			time1.advance(24 * hour)
			scan(t, replicas[0], from)
			if b := on(t, replicas[0], from); b.Until.Sub(b.From) != c.want[0] || b.Strikes != 1 {
				t.Errorf("after a day of peace a block lasts %v with %d strikes", b.Until.Sub(b.From), b.Strikes)
			}
		})
	}
}

// Two replicas whose clocks are five seconds apart: limits over Redis are exact,
// tokens of one hold at the other, and blocks and lifts pass both ways within
// their second.
func TestReplicasFiveSecondsApart(t *testing.T) {
	t.Parallel()
	w, _ := twoOnRedis(t, balancer)
	var late, early clock
	early.advance(5 * time.Second)
	a, b := w.startAt(t, nil, late.now), w.startAt(t, nil, early.now)
	for name, c := range map[string]struct {
		here, there *replica
		from        string
	}{
		"the late one's":  {a, b, "203.0.113.1"},
		"the early one's": {b, a, "203.0.113.2"},
	} {
		// Every replica admits its share of one exact limit, whoever minted.
		cust := c.here.customer(t, "standard")
		from := proxied("198.51.100.50")
		here, there := *c.here, *c.there
		here.client, there.client = closing(t, here.dial(nil, from)), closing(t, there.dial(nil, from))
		if got, want := hammer(t, cust.token, 120, &here, &there), (map[int]int{200: 40, 429: 80}); !maps.Equal(got, want) {
			t.Errorf("%s token: %v, want %v", name, got, want)
		}

		scan(t, c.here, c.from)
		until(t, name+" block is on the other replica", func() bool { return dropped(t, c.there, proxied(c.from)) })
		if x, y := on(t, c.here, c.from), on(t, c.there, c.from); x.Until.Sub(y.Until).Abs() > time.Microsecond || x.Strikes != y.Strikes {
			t.Errorf("%s block is %+v here and %+v there", name, x, y)
		}
		w.openclaw(t, "block", "lift", c.from)
		for _, r := range []*replica{c.here, c.there} {
			until(t, name+" block is lifted", func() bool { return !dropped(t, r, proxied(c.from)) })
		}
	}

	// An operator's block of a minute, placed on the early one, ends when each
	// one's own clock says so.
	op := a.operator(t)
	oc := closing(t, b.dial(&op.cert, proxied("198.51.100.1")))
	ask{to: b, client: oc, method: "POST", path: "/v1/blocks", body: map[string]any{"prefix": "203.0.113.3", "seconds": 60, "reason": "x"}}.send(t).want(t, 201)
	until(t, "the early one's block on the late one", func() bool { return dropped(t, a, proxied("203.0.113.3")) })
	for _, c := range []*clock{&late, &early} {
		c.advance(61 * time.Second)
	}
	if dropped(t, b, proxied("203.0.113.3")) {
		t.Error("a block of a minute holds after a minute on the replica that placed it")
	}
	late.advance(5 * time.Second)
	if dropped(t, a, proxied("203.0.113.3")) {
		t.Error("a block of a minute holds five seconds after its end by the clock that runs late")
	}
	event(t, a.House, audit.DDoSBlocked, "placed", func(e audit.Entry) bool { return e.Reason == "block_placed" && e.IP == "203.0.113.3" })
}
