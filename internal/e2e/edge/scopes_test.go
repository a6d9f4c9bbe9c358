package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// One host roams its /64 and one site its /48: the first is blocked as one
// client, the second when its networks together have done ten clients' worth.
func TestNetworksOfIPv6(t *testing.T) {
	t.Parallel()
	w := newWorld(t, balancer)
	a := w.start(t, nil)
	sqlmap := func(from string) (answer, error) {
		c := a.dial(nil, proxied(from))
		defer c.CloseIdleConnections()
		return ask{to: a, client: c, path: "/", header: http.Header{"User-Agent": {"sqlmap/1.7"}}}.try(t.Context())
	}
	tries := 0
	for ; tries < 10 && !dropped(t, a, proxied("2001:db8:a:1::ffff")); tries++ {
		_, _ = sqlmap(fmt.Sprintf("2001:db8:a:1::%x", tries+1))
	}
	if tries != 2 {
		t.Errorf("a /64 was blocked after %d requests of an attack tool from different addresses, want 2", tries)
	}
	for _, free := range []string{"2001:db8:a:2::1", "2001:db8:b:1::1"} {
		if dropped(t, a, proxied(free)) {
			t.Errorf("%s pays for its neighbour", free)
		}
	}
	event(t, a.House, audit.DDoSBlocked, "of a /64", func(e audit.Entry) bool { return e.Resource == "block/2001:db8:a:1::/64" })

	// No network of this site does enough to be blocked for itself.
	n := 0
	for ; n < 60 && !dropped(t, a, proxied("2001:db8:c:ffff::1")); n++ {
		_, _ = sqlmap(fmt.Sprintf("2001:db8:c:%x::1", n))
	}
	if n < 15 || n > 25 {
		t.Errorf("a /48 was blocked after %d of its networks had sent one such request, want about 20", n)
	}
	if dropped(t, a, proxied("2001:db8:d::1")) {
		t.Error("the site next door pays")
	}
	event(t, a.House, audit.DDoSBlocked, "of a /48", func(e audit.Entry) bool { return e.Resource == "block/2001:db8:c::/48" })
	if s := a.Shield.Explain(netip.MustParseAddr("2001:db8:c:5::1")); s.Block == nil || s.Block.Prefix.Bits() != 48 {
		t.Errorf("%+v", s)
	}
}

// Limits of one user and of one class of endpoints stand beside the tenant's.
func TestLimitsOfUserAndEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	text := strings.Replace(tiers, `    tenant: {per_minute: 1000, per_hour: 10000, per_day: 100000, burst: 1, concurrent: 3}
    user: unlimited
    classes: {read: shared, write: shared,`, `    tenant: {per_minute: 1000, per_hour: 10000, per_day: 100000, burst: 1, concurrent: 100}
    user: {per_hour: 8}
    classes: {read: shared, write: {tenant: {per_hour: 5}, user: {per_hour: 3}},`, 1)
	if text == tiers {
		t.Fatal("the table has changed")
	}
	write(t, w.tiers, text)
	a := w.start(t, nil)
	c, other := a.customer(t, "enhanced"), a.customer(t, "enhanced")
	_, _, second := a.person(t, c.room, policy.KindUser, "tenant_admin")
	_, _, third := a.person(t, c.room, policy.KindUser, "tenant_admin")
	n := 0
	spend := func(token, method, path string) (policy string) {
		var body any
		if method == "POST" {
			n++
			body = map[string]string{"name": fmt.Sprintf("agent-%d", n)}
		}
		x := ask{to: a, method: method, path: path, token: token, body: body}.send(t)
		if x.status < 300 {
			return "ok"
		}
		x.want(t, 429)
		_, name, _ := strings.Cut(string(x.body), "limit ")
		name, _, _ = strings.Cut(name, " is")
		return name
	}
	for i, x := range []struct {
		token, method, path, want string
		times                     int
	}{
		{c.token, "POST", "/v1/agents", "ok", 3},                  // the user's writes
		{c.token, "POST", "/v1/agents", "user-write-hour", 1},     //
		{c.token, "GET", "/v1/agents", "ok", 5},                   // reads go on, to the user's eight
		{c.token, "GET", "/v1/agents", "user-hour", 1},            //
		{second, "POST", "/v1/agents", "ok", 2},                   // a colleague has their own, and the tenant's five writes
		{second, "POST", "/v1/agents", "tenant-write-hour", 1},    //
		{third, "POST", "/v1/agents", "tenant-write-hour", 1},     // for everybody
		{third, "GET", "/v1/agents", "ok", 8},                     // who may still read
		{other.token, "POST", "/v1/agents", "ok", 3},              // another tenant has all of its own
		{other.token, "POST", "/v1/agents", "user-write-hour", 1}, //
	} {
		for range x.times {
			if got := spend(x.token, x.method, x.path); got != x.want {
				t.Errorf("step %d: %s %s: %s, want %s", i, x.method, x.path, got, x.want)
			}
		}
	}
}

// RATE_LIMIT_TIER is what a new tenant gets that names none. Whoever is there
// keeps their own, whatever it says after a restart.
func TestDefaultTierIsForNewTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i, x := range []struct{ setting, named, want string }{
		{"standard", "", "standard"}, {"enhanced", "", "enhanced"}, {"enhanced", "dedicated", "dedicated"},
	} {
		a := w.start(t, map[string]string{"RATE_LIMIT_TIER": x.setting})
		op := a.operator(t)
		platform := closing(t, a.dial(&op.cert, nil))
		body := map[string]string{"name": fmt.Sprintf("fresh-%d", i)}
		if x.named != "" {
			body["tier"] = x.named
		}
		got := ask{to: a, client: platform, method: "POST", path: "/v1/tenants", body: body}.send(t).want(t, 201)
		if tier := got.str(t, "tier"); tier != x.want {
			t.Errorf("RATE_LIMIT_TIER=%s, named %q: tier %s, want %s", x.setting, x.named, tier, x.want)
		}
		if i == 0 {
			continue
		}
		room, err := a.Identity.Enter(t.Context(), "fresh-0")
		if err != nil {
			t.Fatal(err)
		}
		if tier := room.Scope().Tier(); tier != "standard" {
			t.Errorf("a tenant of before is now %s", tier)
		}
		_, _, token := a.person(t, room, policy.KindUser, "tenant_admin")
		if n := left(t, a, token, "tenant-day"); n != 40 { // standard's, not enhanced's 100,000
			t.Errorf("and has %d a day", n)
		}
	}
}
