package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// tiers: standard admits exactly 40 and no more for over half an hour, enhanced
// takes three at once, dedicated has no limits.
const tiers = `version: 1
classes: [read, write, expensive, login, probe]
tiers:
  standard:
    tenant: {per_minute: 40, per_hour: 40, per_day: 40, burst: 1, concurrent: 200}
    user: unlimited
    classes: {read: shared, write: shared, expensive: shared, login: unlimited, probe: unlimited}
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
  enhanced:
    tenant: {per_minute: 1000, per_hour: 10000, per_day: 100000, burst: 1, concurrent: 3}
    user: unlimited
    classes: {read: shared, write: shared, expensive: shared, login: unlimited, probe: unlimited}
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
  dedicated:
    tenant: unlimited
    user: unlimited
    classes: {read: unlimited, write: unlimited, expensive: unlimited, login: unlimited, probe: unlimited}
    sandbox: {cpu_cores: 8, memory_mb: 8192, timeout: 1h, network_mbps: 1000, disk_mb: 51200}
`

// world is one database and what its replicas share.
type world struct {
	db    pgtest.DB
	dir   string
	tiers string
	env   map[string]string
}

// newWorld makes a fresh database; env goes over the settings of every replica.
func newWorld(t *testing.T, env map[string]string) *world {
	t.Helper()
	w := &world{db: pgtest.New(t), dir: t.TempDir()}
	w.tiers = filepath.Join(w.dir, "tiers.yaml")
	write(t, w.tiers, tiers)
	w.env = map[string]string{
		"DATABASE_URL": w.db.App, "PORT": "0", "PUBLIC_URL": "https://localhost:3000", "MONITORING_ENABLED": "false",
		"TLS_CERT_FILE": certFile, "TLS_KEY_FILE": certFile, "JWT_PRIVATE_KEY_FILE": jwtFile, "AUDIT_SIGNING_KEY_FILE": auditFile, "RATE_LIMIT_TIERS_FILE": w.tiers,
		"CLIENT_CA_FILE": ca.File(), "CLIENT_CERTS": "optional", "DDOS_IP_LIMIT": "100000", "RATE_LIMIT_TIMEOUT": "5s",
	}
	maps.Copy(w.env, env)
	return w
}

// write replaces a file in one step, as an operator should.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// replica is one running platform.
type replica struct {
	*app.App
	addr   string
	admin  string // of ADMIN_LISTEN
	client *http.Client
	stop   func()
}

// start builds and serves a replica, and stops it with the test.
func (w *world) start(t *testing.T, env map[string]string) *replica {
	t.Helper()
	return w.startAt(t, env, nil)
}

// startAt starts a replica that lives by another clock.
func (w *world) startAt(t *testing.T, env map[string]string, now func() time.Time) *replica {
	t.Helper()
	c, err := app.Load(w.with(env))
	if err != nil {
		t.Fatal(err)
	}
	c.Now = now
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() && os.Getenv("EDGE_LOG") != "" {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	a, err := app.Build(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	at, ended := make(chan app.Addresses, 1), make(chan error, 1)
	go func() { ended <- a.Serve(ctx, func(x app.Addresses) error { at <- x; return nil }) }()
	r := &replica{App: a}
	select {
	case x := <-at:
		r.addr = x.API[strings.LastIndexByte(x.API, ':')+1:]
		r.admin = strings.TrimPrefix(x.Admin, "https://")
	case err := <-ended:
		cancel()
		a.Close()
		t.Fatal(err)
	}
	r.addr = net.JoinHostPort(c.Listen, r.addr)
	r.client = r.dial(nil, nil)
	r.stop = sync.OnceFunc(func() {
		r.client.CloseIdleConnections()
		cancel()
		<-ended
		a.Close()
	})
	t.Cleanup(r.stop)
	return r
}

// administration is the replica seen through its other listener.
func (r *replica) administration(t *testing.T) *replica {
	t.Helper()
	a := &replica{App: r.App, addr: strings.Replace(r.admin, "localhost", "127.0.0.1", 1), stop: r.stop}
	a.client = closing(t, a.dial(nil, nil))
	return a
}

func (w *world) with(env map[string]string) map[string]string {
	all := maps.Clone(w.env)
	maps.Copy(all, env)
	for k, v := range all {
		if v == "" {
			delete(all, k)
		}
	}
	return all
}

// dial is a client of the replica. greet, where there is one, makes the
// connection; cert is presented when asked for.
func (r *replica) dial(cert *tls.Certificate, greet func(context.Context, string) (net.Conn, error)) *http.Client {
	if greet == nil {
		greet = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	c := &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13, ServerName: "localhost"}
	if cert != nil {
		c.GetClientCertificate = present(cert)
	}
	tr := &http.Transport{
		TLSClientConfig: c, MaxIdleConnsPerHost: 16, MaxConnsPerHost: 16, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return greet(ctx, r.addr) },
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: tr}
}

// present shows the certificate whatever CAs the server says it knows, as an
// attacker's client does; crypto/tls by itself would rather show none.
func present(cert *tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
}

// closing is for clients that a test made.
func closing(t *testing.T, c *http.Client) *http.Client {
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %.300s", a.status, status, a.body)
	}
	return a
}

func (a answer) str(t testing.TB, key string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("status %d: %v: %.200s", a.status, err, a.body)
	}
	s, _ := v[key].(string)
	return s
}

func (a answer) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.body, &p)
	return p.Code
}

// ask is one request.
type ask struct {
	to     *replica
	client *http.Client // nil: the replica's own
	method string       // "": GET
	path   string
	token  string
	from   string // X-Forwarded-For
	body   any    // string: a form; io.Reader as it is; otherwise JSON
	header http.Header
}

func (q ask) try(ctx context.Context) (answer, error) {
	if q.client == nil {
		q.client = q.to.client
	}
	if q.method == "" {
		q.method = "GET"
	}
	var body io.Reader
	kind := "application/json"
	switch b := q.body.(type) {
	case nil:
	case io.Reader:
		body = b
	case string:
		body, kind = strings.NewReader(b), "application/x-www-form-urlencoded"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, "https://"+q.to.addr+q.path, body)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	if q.from != "" {
		req.Header.Set("X-Forwarded-For", q.from)
	}
	maps.Copy(req.Header, q.header)
	resp, err := q.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text}, err
}

func (q ask) send(t testing.TB) answer {
	t.Helper()
	a, err := q.try(t.Context())
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return a
}

// until tries done until it holds, and logs how long that took: the tables of
// docs/EDGE.md come from these lines. It fails after ten seconds, which is for
// a machine that does other things; the promise is one second.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) { // nothing out there gives a signal
		if done() {
			t.Logf("%s: after %d ms", what, time.Since(begun).Milliseconds())
			return
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("%s: not after 10 s", what)
		}
	}
}

// event waits for an event that fits.
func event(t testing.TB, room plane.Room, typ audit.Type, what string, fits func(audit.Entry) bool) audit.Entry {
	t.Helper()
	var found audit.Entry
	until(t, "event "+string(typ)+" "+what, func() bool {
		for _, e := range events(t, room, typ) {
			if fits(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// events reads every event of a type.
func events(t testing.TB, room plane.Room, typ audit.Type) (out []audit.Entry) {
	t.Helper()
	for after := int64(0); ; {
		es, more, err := room.Log().Events(context.Background(), audit.Query{Types: []audit.Type{typ}, After: after, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			out, after = append(out, e), e.Seq
		}
		if !more {
			return out
		}
	}
}

// customer is a tenant with one administrator.
type customer struct {
	room  plane.Room
	name  string
	admin uuid.UUID
	email string
	token string
}

var setup = audit.Event{Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem, ID: "test"}}

func (r *replica) customer(t testing.TB, tier string) *customer {
	t.Helper()
	c := &customer{name: "t-" + uuid.NewString()[:8]}
	if _, err := r.Identity.CreateTenant(t.Context(), r.Store, setup, c.name, tier); err != nil {
		t.Fatal(err)
	}
	room, err := r.Identity.Enter(t.Context(), c.name)
	if err != nil {
		t.Fatal(err)
	}
	c.room = room
	c.admin, c.email, c.token = r.person(t, room, policy.KindUser, "tenant_admin")
	return c
}

// person makes a user with a session, as a login would leave them.
func (r *replica) person(t testing.TB, room plane.Room, kind policy.SubjectKind, role string) (uuid.UUID, string, string) {
	t.Helper()
	u := identity.User{ID: uuid.Must(uuid.NewV7()), Hash: passhash, Roles: []string{role}, Active: true}
	u.Email = strings.ReplaceAll(u.ID.String(), "-", "") + "@example.com"
	session := uuid.New()
	ev := setup
	ev.Type, ev.Resource = audit.UserChanged, "user/"+u.ID.String()
	if _, err := room.Change(t.Context(), ev, func(tx plane.Tx) error {
		if err := r.Store.InsertUser(t.Context(), tx, u, identity.EmailDigest(u.Email)); err != nil {
			return err
		}
		if err := r.Store.GrantRole(t.Context(), tx, u.ID, role, "test"); err != nil {
			return err
		}
		return r.Store.InsertSession(t.Context(), tx, identity.Session{ID: session, Subject: u.ID, Expires: time.Now().Add(time.Hour)})
	}); err != nil {
		t.Fatal(err)
	}
	kept, err := r.Store.User(t.Context(), room.Scope(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := policy.ParseRoleSet(u.Roles)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := r.Identity.Minter.Mint(authn.Grant{Tenant: room.Scope().ID(), Subject: u.ID.String(), Kind: kind, Roles: roles, Session: session, Epoch: kept.Epoch})
	if err != nil {
		t.Fatal(err)
	}
	return u.ID, u.Email, tok.Text
}

// operator is a platform operator with a certificate, and their client of r.
type operator struct {
	id    uuid.UUID
	name  string
	cert  tls.Certificate
	token string // of a password login: proves the person, not the channel
}

func (r *replica) operator(t *testing.T) *operator {
	t.Helper()
	o := &operator{name: "op" + uuid.NewString()[:8]}
	o.id, _, o.token = r.person(t, r.House, policy.KindOperator, "platform_admin")
	o.cert = clientCert(t, "operator/"+o.name)
	ev := setup
	ev.Type, ev.Resource = audit.UserChanged, "user/"+o.id.String()
	if _, err := r.House.Change(t.Context(), ev, func(tx plane.Tx) error {
		return r.Store.BindCertificate(t.Context(), tx, o.id, "spiffe://openclaw.local/operator/"+o.name)
	}); err != nil {
		t.Fatal(err)
	}
	return o
}

func clientCert(t testing.TB, path string) tls.Certificate {
	t.Helper()
	file, err := ca.Client(path)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// proxied dials as a layer-4 balancer does: a PROXY protocol v2 header with
// the client's address in front of everything.
func proxied(client string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		src := netip.MustParseAddr(client)
		h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12)
		dst := []byte{192, 0, 2, 1}
		if src.Is6() {
			h[13], h[15], dst = 0x21, 36, net.ParseIP("2001:db8:ffff::1")
		}
		h = append(append(append(h, src.AsSlice()...), dst...), 0x30, 0x39, 0x01, 0xbb)
		if _, err := c.Write(h); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}
