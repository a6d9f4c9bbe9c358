package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// hello sends a ClientHello on a new connection and returns what came back
// before it ended: nothing, where an address is dropped before TLS.
func hello(t *testing.T, r *replica, greet func(context.Context, string) (net.Conn, error)) (got []byte, err error) {
	t.Helper()
	conn, err := greet(t.Context(), r.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	tap := &tapped{Conn: conn}
	err = tls.Client(tap, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}).HandshakeContext(t.Context())
	return tap.read.Bytes(), err
}

type tapped struct {
	net.Conn
	read bytes.Buffer
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Write(p[:n])
	return n, err
}

// dropped says whether the address is cut off before a single byte of TLS.
func dropped(t *testing.T, r *replica, greet func(context.Context, string) (net.Conn, error)) bool {
	t.Helper()
	got, err := hello(t, r, greet)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Fatal("a connection hangs instead of ending")
	}
	return err != nil && len(got) == 0
}

// openclaw runs the command, as an operator at the machine would.
func (w *world) openclaw(t *testing.T, args ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Dir = w.dir
	cmd.Env = append(cmd.Env, beOpenclaw+"=1", "HOME="+w.dir, "PATH="+os.Getenv("PATH"))
	for k, v := range w.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openclaw %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

type blockView struct {
	Prefix, Reason, Owner string
	From, Until           time.Time
}

func blocks(t *testing.T, r *replica, c *http.Client) (out []blockView) {
	t.Helper()
	a := ask{to: r, client: c, path: "/v1/blocks"}.send(t).want(t, 200)
	var v struct{ Items []blockView }
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatal(err)
	}
	return v.Items
}

var balancer = map[string]string{"PROXY_PROTOCOL": "true", "TRUSTED_PROXIES": "127.0.0.0/8"}

func TestOperatorBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, balancer)
	a, b := w.start(t, nil), w.start(t, nil)
	op := a.operator(t)
	here := closing(t, a.dial(&op.cert, proxied("198.51.100.1")))
	there := closing(t, b.dial(&op.cert, proxied("198.51.100.1")))
	victim, bystander := proxied("203.0.113.9"), proxied("198.51.100.9")

	open, err := victim(t.Context(), b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	secure := tls.Client(open, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"})
	if err := secure.HandshakeContext(t.Context()); err != nil {
		t.Fatalf("before the block: %v", err)
	}

	ask{to: a, client: here, method: "POST", path: "/v1/blocks", body: map[string]any{"prefix": "203.0.113.0/24", "seconds": 600, "reason": "abuse report 7"}}.send(t).want(t, 201)
	until(t, "block of replica A drops at accept on B", func() bool { return dropped(t, b, victim) })
	if !dropped(t, a, victim) {
		t.Error("the replica that placed the block lets the address in")
	}
	_ = secure.SetReadDeadline(time.Now().Add(10 * time.Second))
	var late net.Error
	if _, err := secure.Read(make([]byte, 1)); err == nil || errors.As(err, &late) && late.Timeout() {
		t.Errorf("a connection that was open on B when the block fell: %v", err)
	}
	for name, r := range map[string]*replica{"A": a, "B": b} {
		if _, err := hello(t, r, bystander); err != nil {
			t.Errorf("somebody else on %s: %v", name, err)
		}
	}
	list := blocks(t, b, there)
	if len(list) != 1 || list[0].Prefix != "203.0.113.0/24" || list[0].Reason != "abuse report 7" || list[0].Owner != "operator "+op.id.String() {
		t.Errorf("B lists %+v", list)
	}
	asked := event(t, a.House, audit.DDoSBlocked, "asked", func(e audit.Entry) bool { return e.Reason == "block_asked" })
	placed := event(t, a.House, audit.DDoSBlocked, "placed", func(e audit.Entry) bool { return e.Reason == "block_placed" })
	if asked.Actor.ID != op.id.String() || asked.Resource != "block/203.0.113.0/24" || asked.IP != "198.51.100.1" || asked.Seq >= placed.Seq {
		t.Errorf("the intent is %+v, the deed is number %d", asked, placed.Seq)
	}
	event(t, a.House, audit.DDoSBlocked, "came back", func(e audit.Entry) bool { return e.Reason == "blocked" && e.IP == "203.0.113.9" })

	if out := w.openclaw(t, "block", "list"); !strings.Contains(out, "203.0.113.0/24") {
		t.Errorf("openclaw block list: %s", out)
	}
	w.openclaw(t, "block", "lift", "203.0.113.0/24")
	for name, r := range map[string]*replica{"A": a, "B": b} {
		until(t, "lift by the command is in force on "+name, func() bool { return !dropped(t, r, victim) })
	}
	event(t, a.House, audit.DDoSBlocked, "lifted", func(e audit.Entry) bool { return e.Reason == "lifted" })
	if list := blocks(t, a, here); len(list) != 0 {
		t.Errorf("A still lists %+v", list)
	}

	w.openclaw(t, "block", "add", "203.0.113.9", "--for", "1h", "--reason", "by hand")
	until(t, "block by the command is in force on B", func() bool { return dropped(t, b, victim) })
	ask{to: b, client: there, method: "DELETE", path: "/v1/blocks/203.0.113.9/32"}.send(t).want(t, 204)
	until(t, "lift on B is in force on A", func() bool { return !dropped(t, a, victim) })
	if x := (ask{to: b, client: there, method: "DELETE", path: "/v1/blocks/203.0.113.9/32"}).send(t); x.status != 404 {
		t.Errorf("lifting twice answers %d: %s", x.status, x.body)
	}
}

func TestNoReceiptNoBlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, balancer)
	a := w.start(t, nil)
	op := a.operator(t)
	c := closing(t, a.dial(&op.cert, proxied("198.51.100.1")))
	block := ask{to: a, client: c, method: "POST", path: "/v1/blocks", body: map[string]any{"prefix": "203.0.113.9", "seconds": 60, "reason": "x"}}
	db := w.db.Operator(t)
	run := func(sql string) {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	run(`REVOKE INSERT ON audit_events FROM openclaw_app`)
	if x := block.send(t).want(t, 503); x.code() != "audit_unavailable" {
		t.Errorf("without a log: %s", x.body)
	}
	if dropped(t, a, proxied("203.0.113.9")) || len(a.Shield.Blocks()) != 0 {
		t.Error("a block took effect that nobody could record")
	}
	run(`GRANT INSERT ON audit_events TO openclaw_app`)
	block.send(t).want(t, 201)
	run(`REVOKE INSERT ON audit_events FROM openclaw_app`)
	ask{to: a, client: c, method: "DELETE", path: "/v1/blocks/203.0.113.9/32"}.send(t).want(t, 503)
	if !dropped(t, a, proxied("203.0.113.9")) {
		t.Error("a block ended and nobody could record it")
	}
	run(`GRANT INSERT ON audit_events TO openclaw_app`)
}

func TestBlocksAreThePlatforms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.start(t, nil)
	c := a.customer(t, "dedicated")
	body := map[string]any{"prefix": "203.0.113.9", "seconds": 60, "reason": "x"}
	ask{to: a, path: "/v1/blocks", token: c.token}.send(t).want(t, 403)
	ask{to: a, method: "POST", path: "/v1/blocks", token: c.token, body: body}.send(t).want(t, 403)
	ask{to: a, method: "DELETE", path: "/v1/blocks/203.0.113.9/32", token: c.token}.send(t).want(t, 403)
	if n := len(a.Shield.Blocks()); n != 0 {
		t.Errorf("a tenant placed %d blocks", n)
	}
	op := a.operator(t)
	p := closing(t, a.dial(&op.cert, nil))
	for _, prefix := range []string{"0.0.0.0/0", "203.0.113.9/33", "everybody", "203.0.113.9%eth0"} {
		body["prefix"] = prefix
		if x := (ask{to: a, client: p, method: "POST", path: "/v1/blocks", body: body}).send(t); x.status != 400 && x.status != 422 {
			t.Errorf("blocking %s answers %d: %s", prefix, x.status, x.body)
		}
	}
}

// behind is a platform behind an HTTP proxy on this machine, whose client's
// address stands in X-Forwarded-For.
var behind = map[string]string{"TRUSTED_PROXIES": "127.0.0.1"}

func TestAutomaticBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, behind)
	a, b := w.start(t, nil), w.start(t, nil)
	c := a.customer(t, "dedicated")
	op := a.operator(t)
	platform := closing(t, b.dial(&op.cert, nil))
	for i, attack := range []struct {
		reason string
		do     func(n int) ask
	}{
		{"probe", func(n int) ask { return ask{path: "/.env"} }},
		{"tool", func(n int) ask { return ask{path: "/", header: http.Header{"User-Agent": {"sqlmap/1.7"}}} }},
		{"missing", func(n int) ask { return ask{path: fmt.Sprintf("/v1/nothing-%d", n)} }},
		{"denied", func(n int) ask { return ask{path: "/v1/agents"} }},
		{"spray", func(n int) ask {
			return ask{method: "POST", path: "/v1/auth/login", body: map[string]string{"tenant": c.name, "email": fmt.Sprintf("user%d@example.com", n), "password": "Summer2026!"}}
		}},
	} {
		t.Run(attack.reason, func(t *testing.T) {
			t.Parallel()
			from := fmt.Sprintf("203.0.113.%d", i+1)
			send := func(r *replica, n int) answer {
				q := attack.do(n)
				q.to, q.from = r, from
				return q.send(t)
			}
			tries, x := 0, answer{}
			for x.code() != "address_blocked" {
				if tries++; tries > 200 {
					t.Fatalf("not blocked after 200; the last answer was %d %s", x.status, x.body)
				}
				x = send(a, tries)
			}
			t.Logf("%s: blocked after %d requests", attack.reason, tries-1)
			x.want(t, 403)
			until(t, attack.reason+": the other replica blocks too", func() bool {
				return ask{to: b, path: "/livez", from: from}.send(t).code() == "address_blocked"
			})
			e := event(t, a.House, audit.DDoSBlocked, attack.reason, func(e audit.Entry) bool {
				return e.Reason == "block_placed" && e.Resource == "block/"+from+"/32"
			})
			if !strings.Contains(string(e.Details), `"`+attack.reason+`"`) || e.IP != from {
				t.Errorf("the event is %+v %s", e, e.Details)
			}
			ok := false
			for _, v := range blocks(t, b, platform) {
				if v.Prefix == from+"/32" {
					ok = true
					if d := v.Until.Sub(v.From); v.Owner != "automatic" || v.Reason != attack.reason || d != 10*time.Minute {
						t.Errorf("the list says %+v, for %s", v, d)
					}
				}
			}
			if !ok {
				t.Error("the other replica does not list it")
			}
			// Everybody else behind the same proxy, and the proxy itself.
			ask{to: a, path: "/livez", from: "203.0.113.200"}.send(t).want(t, 200)
			ask{to: a, path: "/livez"}.send(t).want(t, 200)
		})
	}
}

func TestSpoofedAddressChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"TRUSTED_PROXIES": "127.0.0.2"})
	a := w.start(t, nil)
	proxy := closing(t, a.dial(nil, func(ctx context.Context, addr string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		return d.DialContext(ctx, "tcp", addr)
	}))
	for n := range 80 {
		for _, h := range []http.Header{
			{"X-Forwarded-For": {"203.0.113.66"}}, {"Forwarded": {"for=203.0.113.66"}}, {"X-Real-Ip": {"203.0.113.66"}, "Cf-Connecting-Ip": {"203.0.113.66"}},
		} {
			ask{to: a, path: fmt.Sprintf("/nothing-%d", n), header: h}.send(t).want(t, 404)
		}
	}
	if s := a.Shield.Explain(netip.MustParseAddr("203.0.113.66")); s.Block != nil || s.Client.Sum != 0 {
		t.Errorf("words of an untrusted peer count against a stranger: %+v", s)
	}
	if x := (ask{to: a, client: proxy, path: "/livez", from: "203.0.113.66"}).send(t); x.status != 200 {
		t.Errorf("the stranger himself: %d %s", x.status, x.body)
	}
	// Through the proxy, what the client put in front of the proxy's own word
	// does not count either.
	for n := range 100 {
		if (ask{to: a, client: proxy, path: fmt.Sprintf("/nothing-%d", n), from: "203.0.113.66, 198.51.100.9"}).send(t).code() == "address_blocked" {
			break
		}
	}
	if s := a.Shield.Explain(netip.MustParseAddr("198.51.100.9")); s.Block == nil {
		t.Error("the client behind the proxy is not blocked")
	}
	if s := a.Shield.Explain(netip.MustParseAddr("203.0.113.66")); s.Client.Sum != 0 {
		t.Errorf("the address it claimed is scored: %+v", s)
	}
	x := ask{to: a, client: proxy, path: "/livez", header: http.Header{"X-Forwarded-For": {"203.0.113.1"}, "Forwarded": {"for=203.0.113.2"}}}.send(t)
	if x.status != 400 {
		t.Errorf("two headers that name different clients answer %d: %s", x.status, x.body)
	}
}

func TestLimitPerAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"TRUSTED_PROXIES": "127.0.0.1", "DDOS_IP_LIMIT": "30"})
	a := w.start(t, nil)
	for name, from := range map[string]func(int) string{
		"IPv4":                func(int) string { return "203.0.113.5" },
		"IPv6, roaming a /64": func(n int) string { return fmt.Sprintf("2001:db8:1:2::%x", n+1) },
	} {
		good, x := 0, answer{status: 200}
		for n := 0; x.status == 200 && n < 500; n++ {
			if x = (ask{to: a, path: "/livez", from: from(n)}).send(t); x.status == 200 {
				good++
			}
		}
		if x.status != 429 || x.code() != "rate_limit_exceeded" || x.header.Get("Retry-After") == "" || good != 30 {
			t.Errorf("%s: %d good ones, then %d %s", name, good, x.status, x.body)
		}
		t.Logf("%s: %d requests at once", name, good)
	}
	ask{to: a, path: "/livez", from: "203.0.113.6"}.send(t).want(t, 200)
	ask{to: a, path: "/livez", from: "2001:db8:1:3::1"}.send(t).want(t, 200)
	event(t, a.House, audit.RateLimitExceeded, "of an address", func(e audit.Entry) bool { return e.Reason == "limited" && e.IP == "203.0.113.5" })
}

// An address of this machine that is not loopback has no proxy in front: its
// own socket is what is blocked.
func TestBlockOfASocket(t *testing.T) {
	t.Parallel()
	own := ownAddress(t)
	w := newWorld(t, map[string]string{"LISTEN_ADDRESS": "0.0.0.0"})
	a := w.start(t, nil)
	_, port, _ := net.SplitHostPort(a.addr)
	direct := &replica{App: a.App, addr: net.JoinHostPort(own, port)}
	direct.client = closing(t, direct.dial(nil, nil))
	greet := func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	tries := 0
	for ; tries < 200; tries++ { // the request that crosses the line is answered or cut
		if x, err := (ask{to: direct, path: fmt.Sprintf("/nothing-%d", tries)}).try(t.Context()); err != nil || x.code() == "address_blocked" {
			break
		}
	}
	until(t, "own socket is dropped before TLS", func() bool { return dropped(t, direct, greet) })
	t.Logf("after %d requests", tries)
	loop := &replica{App: a.App, addr: net.JoinHostPort("127.0.0.1", port)}
	loop.client = closing(t, loop.dial(nil, nil))
	ask{to: loop, path: "/livez"}.send(t).want(t, 200)
}

func ownAddress(t *testing.T) string {
	t.Helper()
	as, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range as {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

func TestShieldOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"ENABLE_DDOS_PROTECTION": "false", "TRUSTED_PROXIES": "127.0.0.1"})
	a := w.start(t, nil)
	for range 10 {
		ask{to: a, path: "/.env", from: "203.0.113.5"}.send(t).want(t, 404)
	}
	op := a.operator(t)
	c := closing(t, a.dial(&op.cert, nil))
	if x := (ask{to: a, client: c, path: "/v1/blocks"}).send(t); x.status != 503 {
		t.Errorf("the list of blocks of a shield that is off: %d", x.status)
	}
	event(t, a.House, audit.ConfigChanged, "switched off", func(e audit.Entry) bool {
		return e.Reason == "protection_switched_off" && strings.Contains(string(e.Details), "ENABLE_DDOS_PROTECTION")
	})
}

// Blocks are timed, and DDOS_BLOCK_DURATION is their ceiling however often.
func TestBlocksEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"TRUSTED_PROXIES": "127.0.0.1", "DDOS_BLOCK_DURATION": "1s"})
	a := w.start(t, nil)
	for range 3 {
		attack := ask{to: a, path: "/", from: "203.0.113.5", header: http.Header{"User-Agent": {"sqlmap/1.7"}}}
		until(t, "blocked", func() bool { return attack.send(t).code() == "address_blocked" })
		b := a.Shield.Explain(netip.MustParseAddr("203.0.113.5")).Block
		if b != nil && b.Until.Sub(b.From) != time.Second {
			t.Errorf("strike %d: a block of %s under a ceiling of 1s", b.Strikes, b.Until.Sub(b.From))
		}
		until(t, "the block has ended", func() bool {
			return ask{to: a, path: "/livez", from: "203.0.113.5"}.send(t).status == 200
		})
	}
}
