package edge

import (
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/app"
)

// An operator who blocks himself is out on both listeners, his open connections
// too; the command at the machine lets him in again. Loopback and the proxies
// cannot be blocked at all, whatever network is named.
func TestLockOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.env["LISTEN_ADDRESS"], w.env["ADMIN_LISTEN"] = "127.0.0.1", "127.0.0.1:0"
	w.env["PROXY_PROTOCOL"], w.env["TRUSTED_PROXIES"] = "true", "127.0.0.0/8"
	a := w.start(t, nil)
	b := a.administration(t)
	op := a.operator(t)
	admin := closing(t, b.dial(&op.cert, nil))
	block := func(prefix string, status int) {
		t.Helper()
		ask{to: b, client: admin, method: "POST", path: "/v1/blocks", body: map[string]any{"prefix": prefix, "seconds": 600, "reason": "a slip of the finger"}}.send(t).want(t, status)
	}
	own := proxied("198.51.100.77")
	block("127.0.0.0/8", 201)
	block("198.51.100.0/24", 201)
	if !dropped(t, a, own) {
		t.Error("the operator's own network is not blocked")
	}
	if dropped(t, a, proxied("198.51.101.1")) {
		t.Error("somebody else is blocked through the balancer at the blocked loopback")
	}
	ask{to: b, client: admin, path: "/v1/blocks"}.send(t).want(t, 200) // over loopback
	w.openclaw(t, "block", "lift", "::ffff:198.51.100.0/120")
	until(t, "the command lifts the block of the operator's network", func() bool { return !dropped(t, a, own) })
	block("0.0.0.0/0", 400)
	block("::ffff:0.0.0.0/96", 400)

	// One address, however it is written, is one address in every table.
	block("::ffff:203.0.113.5", 201)
	if !dropped(t, a, proxied("203.0.113.5")) || !dropped(t, a, proxied("::ffff:203.0.113.5")) {
		t.Error("a block on an IPv4 address in IPv6's spelling does not hold for both")
	}
	w.openclaw(t, "block", "lift", "203.0.113.5")
	for _, from := range []string{"203.0.113.5", "::ffff:203.0.113.5"} {
		until(t, "lifted for "+from, func() bool { return !dropped(t, a, proxied(from)) })
	}
}

// Lists of networks that an operator writes in IPv6's spelling hold for IPv4,
// and none of them is everybody.
func TestMappedNetworks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"TRUSTED_PROXIES": "::ffff:127.0.0.0/104", "PROXY_PROTOCOL": "true", "ADMIN_IP_ALLOWLIST": "::ffff:198.51.100.0/120"})
	a := w.start(t, nil)
	op := a.operator(t)
	for from, status := range map[string]int{"198.51.100.9": 200, "::ffff:198.51.100.9": 200, "198.51.101.9": 403} {
		c := closing(t, a.dial(nil, proxied(from)))
		ask{to: a, client: c, path: "/v1/blocks", token: op.token}.send(t).want(t, status)
	}
	for _, all := range []string{"0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96", "::ffff:1.2.3.4/96", "::ffff:0.0.0.0/90"} {
		for _, name := range []string{"TRUSTED_PROXIES", "ADMIN_IP_ALLOWLIST"} {
			if _, err := app.Load(w.with(map[string]string{name: all})); err == nil {
				t.Errorf("%s=%s is taken", name, all)
			}
		}
	}
}

// A client certificate that ends while its connection is open is no credential
// from then on, resumed or not.
func TestCertificateEndsOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var c clock
	a := w.startAt(t, nil, c.now)
	op := a.operator(t)
	open := closing(t, a.dial(&op.cert, nil))
	ask{to: a, client: open, path: "/v1/blocks"}.send(t).want(t, 200)
	c.advance(op.cert.Leaf.NotAfter.Sub(c.now()) - time.Minute)
	ask{to: a, client: open, path: "/v1/blocks"}.send(t).want(t, 200)
	c.advance(2 * time.Minute)
	ask{to: a, client: open, path: "/v1/blocks"}.send(t).want(t, 401)
	if !refusedAtTLS(t, a, &op.cert) {
		t.Error("a certificate that has ended gets through the handshake")
	}
}
