package shield

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that only moves when told.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

// log collects events.
type log struct {
	mu  sync.Mutex
	all []Event
}

func (l *log) Event(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

func (l *log) of(k Kind) (found []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Kind == k {
			found = append(found, e)
		}
	}
	return found
}

type bench struct {
	*Shield
	clock *clock
	log   *log
}

func setup(t testing.TB, c Config) bench {
	t.Helper()
	b := bench{clock: newClock(), log: &log{}}
	c.Now, c.Observer = b.clock.now, b.log
	if c.Clients == 0 {
		c.Clients, c.Suspects = 4096, 1024
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Shield = s
	return b
}

func (b bench) ask(a string, target string, agent ...string) Decision {
	return b.Check(b.clock.now(), ip(a), request(target, agent...))
}

func ip(s string) netip.Addr        { return netip.MustParseAddr(s) }
func network(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func request(target string, agent ...string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		panic(err)
	}
	r := &http.Request{Method: "GET", URL: u, RequestURI: target, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	r.Header.Set("User-Agent", strings.Join(append(agent, "Mozilla/5.0"), " "))
	return r
}

func TestLimitPerAddress(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for i := range 1000 {
		if d := s.ask("192.0.2.1", "/"); d.Verdict != Allow {
			t.Fatalf("request %d of 1000: %+v", i+1, d)
		}
	}
	d := s.ask("192.0.2.1", "/")
	if d.Verdict != Limit || d.RetryAfter <= 0 || d.RetryAfter > 66*time.Second {
		t.Fatalf("request 1001: %+v", d)
	}
	var e *fault.Error
	if !errors.As(d.Err(), &e) || e.Code != fault.RateLimited || e.RetryAfter != d.RetryAfter {
		t.Fatalf("limited becomes %v", d.Err())
	}
	if d := s.ask("192.0.2.2", "/"); d.Verdict != Allow {
		t.Fatalf("a neighbour pays: %+v", d)
	}
	s.clock.forward(d.RetryAfter)
	if d := s.ask("192.0.2.1", "/"); d.Verdict != Allow {
		t.Fatalf("after Retry-After: %+v", d)
	}
	for range 999 {
		s.ask("192.0.2.1", "/")
	}
	if d := s.ask("::ffff:192.0.2.1", "/"); d.Verdict != Limit {
		t.Fatalf("another spelling of the address: %+v", d)
	}
	if c := s.Counters(); c.Allowed != 2001 || c.Limited != 2 || c.Offences["flood"] != 2 {
		t.Fatalf("%+v", c)
	}
	if n := len(s.log.of(Limited)); n != 2 {
		t.Fatalf("%d limit events for one address in two seconds a minute apart, want 2", n)
	}
}

func TestLimitHoldsInTheLongRun(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		each   int // requests in 600 ms
		points Points
		least  int
	}{
		"1,200 a minute": {12, Points{Flood: 0.000001}, 1000 * 60 * 10 / 11},
		"the promised 1,000, evenly, with the score": {10, Points{}, 1000 * 60 * 10 / 11},
		"900 a minute, all of them":                  {9, Points{}, 900 * 60},
	} {
		s := setup(t, Config{Points: x.points})
		admitted := 0
		for range 60 * 100 {
			for range x.each {
				if s.ask("192.0.2.1", "/").Verdict == Allow {
					admitted++
				}
			}
			s.clock.forward(600 * time.Millisecond)
		}
		if admitted > 1000*60 || admitted < x.least {
			t.Errorf("%s: %d admitted in an hour, want %d to 60,000", name, admitted, x.least)
		}
	}
}

func TestIPv6IsCountedByNetwork(t *testing.T) {
	t.Parallel()
	t.Run("one /64 is one client", func(t *testing.T) {
		t.Parallel()
		s := setup(t, Config{Limit: 100})
		admitted := 0
		for i := range 500 {
			a := ip("2001:db8:1:2::").As16()
			a[14], a[15] = byte(i>>8), byte(i)
			if s.Check(s.clock.now(), netip.AddrFrom16(a), nil).Verdict == Allow {
				admitted++
			}
		}
		if admitted != 100 {
			t.Fatalf("%d admitted from one /64, want 100", admitted)
		}
	})
	t.Run("one /48 is ten", func(t *testing.T) {
		t.Parallel()
		s := setup(t, Config{Limit: 100, Points: Points{Flood: 0.000001}})
		admitted := 0
		for i := range 5000 {
			a := ip("2001:db8:1::").As16()
			a[6], a[7] = byte(i>>8), byte(i)
			if s.Check(s.clock.now(), netip.AddrFrom16(a), nil).Verdict == Allow {
				admitted++
			}
		}
		if admitted != 1000 {
			t.Fatalf("%d admitted from one /48, want 1,000", admitted)
		}
		if d := s.Check(s.clock.now(), ip("2001:db8:2::1"), nil); d.Verdict != Allow {
			t.Fatalf("another /48 pays: %+v", d)
		}
	})
	t.Run("rotating /64s gets the /48 blocked", func(t *testing.T) {
		t.Parallel()
		s := setup(t, Config{})
		for i := range 100 {
			a := ip("2001:db8:1::1").As16()
			a[6], a[7] = byte(i>>8), byte(i)
			s.Check(s.clock.now(), netip.AddrFrom16(a), request("/.env"))
		}
		if d := s.ask("2001:db8:1:ffff::1", "/"); d.Verdict != Barred || d.Prefix != network("2001:db8:1::/48") {
			t.Fatalf("%+v", d)
		}
		if d := s.ask("2001:db8:2::1", "/"); d.Verdict != Allow {
			t.Fatalf("another /48: %+v", d)
		}
	})
}

func TestKeysNeverCollide(t *testing.T) {
	t.Parallel()
	seen := map[client]string{}
	for _, a := range []string{"0.0.0.0", "255.255.255.255", "1.2.3.4", "::", "::1", "2001:db8::", "2001:db8:0:1::", "fe80::1", "ffff:ffff:ffff:ffff::"} {
		one, site := clientOf(ip(a))
		for _, k := range []client{one, site} {
			if k == 0 {
				continue
			}
			p := k.prefix().String()
			if old, ok := seen[k]; ok && old != p {
				t.Errorf("%s and %s share key %x", old, p, k)
			}
			seen[k] = p
			if !k.prefix().Contains(ip(a)) {
				t.Errorf("key %x of %s stands for %s", k, a, p)
			}
		}
	}
}

func TestOffencesBlock(t *testing.T) {
	t.Parallel()
	many := func(n int, f func(bench, int)) func(bench) {
		return func(s bench) {
			for i := range n {
				f(s, i)
			}
		}
	}
	seen := func(o Outcome) func(bench, int) {
		return func(s bench, _ int) { s.Observe(ip("192.0.2.1"), o) }
	}
	report := func(o Offence) func(bench, int) {
		return func(s bench, _ int) { s.Report(ip("192.0.2.1"), o) }
	}
	for name, c := range map[string]struct {
		attack, less func(bench)
		reason       string
	}{
		"probes":  {many(5, func(s bench, _ int) { s.ask("192.0.2.1", "/a/.git/config") }), many(4, func(s bench, _ int) { s.ask("192.0.2.1", "/.env") }), "probe"},
		"tool":    {many(2, func(s bench, _ int) { s.ask("192.0.2.1", "/", "SqlMap/1.7") }), many(1, func(s bench, _ int) { s.ask("192.0.2.1", "/", "sqlmap") }), "tool"},
		"missing": {many(67, seen(Outcome{Status: 404})), many(60, seen(Outcome{Status: 404})), "missing"},
		"denied":  {many(50, seen(Outcome{Status: 401})), many(49, seen(Outcome{Status: 401})), "denied"},
		"logins":  {many(25, seen(Outcome{Status: 401, LoginFailed: true, Account: "alice"})), many(24, seen(Outcome{Status: 401, LoginFailed: true, Account: "alice"})), "login_failure"},
		"spraying": {many(16, func(s bench, i int) {
			s.Observe(ip("192.0.2.1"), Outcome{LoginFailed: true, Account: "user" + string(rune('a'+i))})
		}), many(6, func(s bench, i int) {
			s.Observe(ip("192.0.2.1"), Outcome{LoginFailed: true, Account: "user" + string(rune('a'+i))})
		}), "spray"},
		"flood":       {many(1400, func(s bench, _ int) { s.ask("192.0.2.1", "/") }), many(1399, func(s bench, _ int) { s.ask("192.0.2.1", "/") }), "flood"},
		"smuggling":   {many(2, report(Smuggling)), many(1, report(Smuggling)), "smuggling"},
		"rapid reset": {many(1, report(RapidReset)), many(0, nil), "rapid_reset"},
		"connections": {many(700, func(s bench, _ int) { s.Admit(ip("192.0.2.1")) }), many(699, func(s bench, _ int) { s.Admit(ip("192.0.2.1")) }), "connection_flood"},
		"the sum": {func(s bench) {
			for range 3 {
				s.ask("192.0.2.1", "/wp-login.php")
			}
			for range 20 {
				s.Observe(ip("192.0.2.1"), Outcome{Status: 404})
			}
			s.Report(ip("192.0.2.1"), SlowBody)
		}, many(3, func(s bench, _ int) { s.ask("192.0.2.1", "/wp-login.php") }), "slow_body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, Config{})
			c.less(s)
			if b := s.Blocks(); len(b) != 0 {
				t.Fatalf("blocked too early: %+v", b)
			}
			s = setup(t, Config{})
			c.attack(s)
			blocks := s.Blocks()
			if len(blocks) != 1 || blocks[0].Prefix != network("192.0.2.1/32") || blocks[0].Reason != c.reason || blocks[0].Owner != Automatic {
				t.Fatalf("blocks: %+v, standing: %+v", blocks, s.Explain(ip("192.0.2.1")))
			}
			if got := blocks[0].Until.Sub(s.clock.now()); got != 10*time.Minute {
				t.Fatalf("first block lasts %v", got)
			}
			if s.Admit(ip("192.0.2.1")) {
				t.Fatal("a blocked address is admitted")
			}
			if d := s.ask("192.0.2.1", "/"); d.Verdict != Barred || d.Reason != c.reason || fault.CodeOf(d.Err()) != fault.Blocked {
				t.Fatalf("%+v", d)
			}
			if d := s.ask("192.0.2.2", "/"); d.Verdict != Allow {
				t.Fatalf("a neighbour: %+v", d)
			}
			if e := s.log.of(Placed); len(e) != 1 || e[0].Reason != c.reason || e[0].Until != blocks[0].Until {
				t.Fatalf("events: %+v", e)
			}
			s.clock.forward(10 * time.Minute)
			if d := s.ask("192.0.2.1", "/"); d.Verdict != Allow {
				t.Fatalf("when the block has ended: %+v", d)
			}
		})
	}
}

func TestScoresDecay(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for range 40 { // one probe every ten minutes for hours
		s.ask("192.0.2.1", "/.env")
		s.clock.forward(10 * time.Minute)
	}
	if b := s.Blocks(); len(b) != 0 {
		t.Fatalf("an occasional probe is blocked: %+v", b)
	}
	s.Report(ip("192.0.2.1"), Smuggling)
	s.clock.forward(HalfLife)
	st := s.Explain(ip("192.0.2.1"))
	if got := st.Client.Parts["smuggling"]; got < 25.4 || got > 25.6 {
		t.Fatalf("51 points after one half-life are %v", got)
	}
}

func TestBlocksGrow(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for i, want := range []time.Duration{10, 20, 40, 60, 60} {
		s.Report(ip("192.0.2.1"), RapidReset)
		b := s.Blocks()
		if len(b) != 1 || b[0].Until.Sub(s.clock.now()) != want*time.Minute || b[0].Strikes != i+1 {
			t.Fatalf("block %d: %+v", i+1, b)
		}
		s.clock.forward(want * time.Minute)
	}
	short := setup(t, Config{LastBlock: 5 * time.Minute})
	for range 2 {
		short.Report(ip("192.0.2.1"), RapidReset)
		if b := short.Blocks(); len(b) != 1 || b[0].Until.Sub(short.clock.now()) != 5*time.Minute {
			t.Fatalf("with a low ceiling: %+v", b)
		}
		short.clock.forward(5 * time.Minute)
	}
	s.clock.forward(25 * time.Hour)
	s.Report(ip("192.0.2.1"), RapidReset)
	if b := s.Blocks(); len(b) != 1 || b[0].Strikes != 1 {
		t.Fatalf("a day later: %+v", b)
	}
}

func TestManyAddressesOnOneAccount(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}) }
	for i := range 400 { // each address fails once: no address alone looks bad
		s.Observe(addr(i), Outcome{LoginFailed: true, Account: "ceo"})
	}
	spray := s.Counters().Offences["spray"]
	if spray < 300 {
		t.Fatalf("%d of 400 single failures on one account were seen as spraying", spray)
	}
	// Two more tries each, and the addresses go.
	for i := range 400 {
		s.Observe(addr(i), Outcome{LoginFailed: true, Account: "ceo"})
		s.Observe(addr(i), Outcome{LoginFailed: true, Account: "ceo"})
	}
	if n := len(s.Blocks()); n < 300 {
		t.Fatalf("%d of 400 addresses blocked", n)
	}
	// The account's owner mistypes once and is neither blocked nor locked out.
	s.Observe(ip("192.0.2.9"), Outcome{LoginFailed: true, Account: "ceo"})
	if d := s.ask("192.0.2.9", "/"); d.Verdict != Allow {
		t.Fatalf("the victim: %+v", d)
	}
}

func TestNeverBlock(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{NeverBlock: []netip.Prefix{network("127.0.0.0/8"), network("::1/128")}})
	for range 100 {
		s.ask("127.0.0.1", "/.env", "nikto")
		s.Report(ip("::1"), RapidReset)
		s.Observe(ip("127.0.0.1"), Outcome{LoginFailed: true, Account: "a"})
	}
	if b := s.Blocks(); len(b) != 0 {
		t.Fatalf("%+v", b)
	}
	if _, err := s.Block(t.Context(), network("127.0.0.0/8"), time.Hour, "slip", "ops"); err != nil {
		t.Fatal(err)
	}
	if d := s.ask("127.0.0.1", "/"); d.Verdict != Allow || !s.Admit(ip("127.0.0.1")) {
		t.Fatalf("%+v", d)
	}
	for range 2000 {
		s.ask("127.0.0.1", "/")
	}
	if d := s.ask("127.0.0.1", "/"); d.Verdict != Limit {
		t.Fatalf("never blocked is not never limited: %+v", d)
	}
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*http.Request)
		reason string
		code   fault.Code
	}{
		"trace":        {func(r *http.Request) { r.Method = "TRACE" }, "malformed", fault.Invalid},
		"long target":  {func(r *http.Request) { r.RequestURI = "/" + strings.Repeat("a", 8<<10) }, "oversize", fault.TooLarge},
		"header flood": {func(r *http.Request) { r.Header["X"] = make([]string, 101) }, "header_flood", fault.TooLarge},
		"header size":  {func(r *http.Request) { r.Header.Set("X", strings.Repeat("a", 33<<10)) }, "oversize", fault.TooLarge},
		"body":         {func(r *http.Request) { r.ContentLength = 1<<20 + 1 }, "oversize", fault.TooLarge},
		"passed on TE": {func(r *http.Request) { r.Header.Set("Transfer-Encoding", "chunked") }, "smuggling", fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, Config{MaxBody: 1 << 20})
			r := request("/")
			c.change(r)
			d := s.Check(s.clock.now(), ip("192.0.2.1"), r)
			if d.Verdict != Refused || d.Reason != c.reason || fault.CodeOf(d.Err()) != c.code {
				t.Fatalf("%+v %v", d, d.Err())
			}
			if s.Explain(ip("192.0.2.1")).Client.Parts[c.reason] == 0 {
				t.Fatal("not scored")
			}
		})
	}
	s := setup(t, Config{})
	if d := s.Check(s.clock.now(), netip.Addr{}, request("/")); d.Verdict != Refused || s.Admit(netip.Addr{}) {
		t.Fatalf("no address: %+v", d)
	}
}

type nowhere struct{}

func (nowhere) Refused(a netip.Addr) (string, bool) { return "XX", a.Is4() }

func TestCountries(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{Countries: nowhere{}, NeverBlock: []netip.Prefix{network("192.0.2.7/32")}})
	if d := s.ask("192.0.2.1", "/"); d.Verdict != Barred || d.Reason != "country" || d.Rule != "XX" {
		t.Fatalf("%+v", d)
	}
	if s.Admit(ip("192.0.2.1")) {
		t.Fatal("admitted")
	}
	if d := s.ask("2001:db8::1", "/"); d.Verdict != Allow {
		t.Fatalf("%+v", d)
	}
	if d := s.ask("192.0.2.7", "/"); d.Verdict != Allow {
		t.Fatalf("never-block: %+v", d)
	}
}
