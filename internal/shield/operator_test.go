package shield

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

func TestOperatorBlocks(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	ctx := t.Context()
	for _, bad := range []struct {
		prefix        netip.Prefix
		length        time.Duration
		reason, owner string
	}{
		{netip.Prefix{}, time.Hour, "r", "o"},
		{network("0.0.0.0/0"), time.Hour, "r", "o"},
		{network("::/0"), time.Hour, "r", "o"},
		{network("10.0.0.0/7"), time.Hour, "r", "o"},
		{network("192.0.2.0/24"), 0, "r", "o"},
		{network("192.0.2.0/24"), 10000 * time.Hour, "r", "o"},
		{network("192.0.2.0/24"), time.Hour, "", "o"},
		{network("192.0.2.0/24"), time.Hour, "r", ""},
		{network("192.0.2.0/24"), time.Hour, "r", Automatic},
	} {
		if _, err := s.Block(ctx, bad.prefix, bad.length, bad.reason, bad.owner); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	b, err := s.Block(ctx, network("192.0.2.77/24"), time.Hour, "abuse report", "dana")
	if err != nil || b.Prefix != network("192.0.2.0/24") {
		t.Fatal(b, err)
	}
	if d := s.ask("192.0.2.200", "/"); d.Verdict != Barred || d.Reason != "abuse report" {
		t.Fatalf("%+v", d)
	}
	if d := s.ask("192.0.3.1", "/"); d.Verdict != Allow {
		t.Fatalf("%+v", d)
	}
	if err := s.Lift(ctx, network("192.0.2.1/32"), "dana"); fault.CodeOf(err) != fault.NotFound {
		t.Fatalf("lifting what is not blocked: %v", err)
	}
	s.Report(ip("198.51.100.1"), RapidReset)
	s.Report(ip("198.51.100.1"), SlowHeader)
	if err := s.Lift(ctx, network("198.51.100.1/32"), "dana"); err != nil {
		t.Fatal(err)
	}
	if st := s.Explain(ip("198.51.100.1")); st.Block != nil || st.Client.Sum != 0 || st.Client.Strikes != 0 {
		t.Fatalf("a lift leaves %+v", st)
	}
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if d := s.ask("198.51.100.1", "/"); d.Verdict != Allow {
		t.Fatalf("a lifted block came back: %+v", d)
	}
	if err := s.Lift(ctx, network("192.0.2.0/24"), "dana"); err != nil {
		t.Fatal(err)
	}
	if d := s.ask("192.0.2.200", "/"); d.Verdict != Allow {
		t.Fatalf("%+v", d)
	}
	if e := s.log.of(Lifted); len(e) != 2 || e[0].Owner != "dana" {
		t.Fatalf("%+v", e)
	}
	// An automatic block does not shorten a person's, a person's may.
	if _, err := s.Block(ctx, network("203.0.113.1/32"), 24*time.Hour, "long", "dana"); err != nil {
		t.Fatal(err)
	}
	s.Report(ip("203.0.113.1"), RapidReset)
	if b := s.Blocks(); len(b) != 1 || b[0].Owner != "dana" {
		t.Fatalf("%+v", b)
	}
	if _, err := s.Block(ctx, network("203.0.113.1/32"), time.Minute, "short", "eve"); err != nil {
		t.Fatal(err)
	}
	if b := s.Blocks(); len(b) != 1 || b[0].Owner != "eve" {
		t.Fatalf("%+v", b)
	}
}

func TestRefusesBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"negative":  {Limit: -1},
		"ceiling":   {FirstBlock: time.Hour, LastBlock: time.Minute},
		"rate":      {Limit: 1 << 40},
		"prefix":    {NeverBlock: []netip.Prefix{{}}},
		"signature": {Signatures: []byte(`[{"id":"a","in":"path","match":"regexp","text":"x","reason":"r"}]`)},
		"json":      {Signatures: []byte(`{`)},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{Limit: 100})
	s.ask("2001:db8::1", "/.env")
	s.Observe(ip("2001:db8::2"), Outcome{LoginFailed: true, Account: "a"})
	st := s.Explain(ip("2001:db8::3"))
	if st.Left != 99 || st.Client.Parts["probe"] != 21 || st.Client.Parts["login_failure"] != 4 || st.Client.Sum != 25 ||
		st.Client.Accounts != 1 || st.Site == nil || st.Site.Threshold != 1000 || st.Site.Sum != 25 {
		t.Fatalf("%+v %+v", st, st.Site)
	}
	if st := s.Explain(ip("192.0.2.1")); st.Left != 100 || st.Site != nil || st.Client.Sum != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestEventsAreSampled(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{Points: Points{RapidReset: 100}})
	s.Report(ip("192.0.2.1"), RapidReset)
	for range 10_000 {
		s.ask("192.0.2.1", "/")
	}
	if n := len(s.log.of(Dropped)); n != 1 {
		t.Fatalf("%d events in one instant", n)
	}
	s.clock.forward(11 * time.Second)
	s.ask("192.0.2.1", "/")
	if e := s.log.of(Dropped); len(e) != 2 || e[1].Count != 10_000 {
		t.Fatalf("%+v", e)
	}
	// Nor does one that does different things in turn.
	heard := s.Counters().Events
	for i := range 2000 {
		s.ask("198.18.0.1", "/")
		if i%2 == 0 {
			r := request("/")
			r.Method = "TRACE"
			s.Check(s.clock.now(), ip("198.18.0.1"), r)
		}
	}
	if n := s.Counters().Events - heard; n > 3 {
		t.Fatalf("%d events of one client", n)
	}
	// A botnet does not fill the log either, and the counters stay exact.
	for i := range 5000 {
		a := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		s.Report(a, RapidReset)
		s.ask(a.String(), "/")
	}
	c := s.Counters()
	if n := len(s.log.of(Placed)) + len(s.log.of(Dropped)); n > 110 {
		t.Fatalf("%d events in one second", n)
	}
	if c.Placed != 5001 || c.Blocked != 10_001+5000 || c.Limited != 2000 || c.Offences["rapid_reset"] != 5001 {
		t.Fatalf("%+v", c)
	}
	if _, err := s.Block(context.Background(), network("203.0.113.0/24"), time.Hour, "r", "dana"); err != nil {
		t.Fatal(err)
	}
	if e := s.log.of(Placed); e[len(e)-1].Owner != "dana" {
		t.Fatal("an operator's block was sampled away")
	}
}
