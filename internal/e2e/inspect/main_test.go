package inspect

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/authn/localca"
	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// What every test shares: an authority and signing keys.
var (
	ca                           *localca.CA
	certFile, jwtFile, auditFile string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "openclaw-inspect-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := pgtest.Run(m)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "the platforms stopped and left:", err)
		code = max(code, 1)
	}
	return code
}

func prepare(dir string) (err error) {
	if ca, err = localca.Open(localca.Config{Dir: filepath.Join(dir, "ca")}); err != nil {
		return err
	}
	if certFile, err = ca.Server(); err != nil {
		return err
	}
	key, err := authn.GenerateSigningKey()
	if err != nil {
		return err
	}
	text, err := key.ExposePEM()
	if err != nil {
		return err
	}
	_, signing, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signing)
	if err != nil {
		return err
	}
	jwtFile, auditFile = filepath.Join(dir, "jwt.pem"), filepath.Join(dir, "audit.pem")
	return errors.Join(securefile.Write(jwtFile, text), securefile.Write(auditFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// platform is one running replica on a database of its own.
type platform struct {
	*app.App
	url    string
	client *http.Client
}

// environment is that of a platform without limits on requests.
func environment(t *testing.T, db string, env map[string]string) map[string]string {
	t.Helper()
	all := map[string]string{
		"DATABASE_URL": db, "PORT": "0", "PUBLIC_URL": "https://localhost:3000", "MONITORING_ENABLED": "false", "ENABLE_RATE_LIMITING": "false",
		"TLS_CERT_FILE": certFile, "TLS_KEY_FILE": certFile, "JWT_PRIVATE_KEY_FILE": jwtFile, "AUDIT_SIGNING_KEY_FILE": auditFile, "ENABLE_DDOS_PROTECTION": "false",
	}
	maps.Copy(all, env)
	return all
}

func build(t *testing.T, db string, env map[string]string) (*app.App, error) {
	t.Helper()
	c, err := app.Load(environment(t, db, env))
	if err != nil {
		return nil, err
	}
	return app.Build(t.Context(), c, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

// start builds and serves a platform, and stops it with the test.
func start(t *testing.T, env map[string]string) *platform {
	t.Helper()
	return replica(t, pgtest.New(t).App, env)
}

// replica is start on a database that others may serve too.
func replica(t *testing.T, db string, env map[string]string) *platform {
	t.Helper()
	a, err := build(t, db, env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	at, ended := make(chan app.Addresses, 1), make(chan error, 1)
	go func() { ended <- a.Serve(ctx, func(x app.Addresses) error { at <- x; return nil }) }()
	p := &platform{App: a}
	select {
	case x := <-at:
		p.url = x.API
	case err := <-ended:
		cancel()
		a.Close()
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", p.url[strings.LastIndexByte(p.url, ':')+1:])
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13, ServerName: "localhost"}, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}
	p.client = &http.Client{Timeout: 30 * time.Second, Transport: tr}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		<-ended
		a.Close()
	})
	return p
}

// customer is a tenant with one administrator.
type customer struct {
	of    *platform
	room  plane.Room
	token string
}

func (p *platform) customer(t testing.TB) *customer {
	t.Helper()
	setup := audit.Event{Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem, ID: "test"}}
	name := "t-" + uuid.NewString()[:8]
	if _, err := p.Identity.CreateTenant(t.Context(), p.Store, setup, name, "standard"); err != nil {
		t.Fatal(err)
	}
	room, err := p.Identity.Enter(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	u := identity.User{ID: uuid.Must(uuid.NewV7()), Hash: "x", Roles: []string{"tenant_admin"}, Active: true}
	u.Email = u.ID.String() + "@example.com"
	session := uuid.New()
	setup.Type, setup.Resource = audit.UserChanged, "user/"+u.ID.String()
	if _, err := room.Change(t.Context(), setup, func(tx plane.Tx) error {
		return errors.Join(p.Store.InsertUser(t.Context(), tx, u, identity.EmailDigest(u.Email)), p.Store.GrantRole(t.Context(), tx, u.ID, u.Roles[0], "test"),
			p.Store.InsertSession(t.Context(), tx, identity.Session{ID: session, Subject: u.ID, Expires: time.Now().Add(time.Hour)}))
	}); err != nil {
		t.Fatal(err)
	}
	kept, err := p.Store.User(t.Context(), room.Scope(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := policy.ParseRoleSet(u.Roles)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := p.Identity.Minter.Mint(authn.Grant{Tenant: room.Scope().ID(), Subject: u.ID.String(), Kind: policy.KindUser, Roles: roles, Session: session, Epoch: kept.Epoch})
	if err != nil {
		t.Fatal(err)
	}
	return &customer{p, room, tok.Text}
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	id     string // of the request
}

func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %.300s", a.status, status, a.body)
	}
	return a
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("status %d: not a JSON object: %v: %.200s", a.status, err, a.body)
	}
	return v
}

func (a answer) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.body, &p)
	return p.Code
}

// do sends a request with a fresh id. A body that is no reader goes as JSON.
func (c *customer) do(t testing.TB, method, path string, body any, header ...string) answer {
	t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r = b
	case string:
		r = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.of.url+path, r)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{id: "r-" + uuid.NewString()}
	req.Header.Set("X-Request-Id", a.id)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.of.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return a
}

// remember stores a memory: its text is what a model reads.
func (c *customer) remember(t testing.TB, text string) answer {
	t.Helper()
	return c.do(t, "POST", "/v1/memories", map[string]string{"text": text})
}

// until waits for what gives no signal.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("%s: not after 10 s", what)
		}
	}
}

// event waits for the event of a request and type.
func (c *customer) event(t testing.TB, id string, typ audit.Type) audit.Entry {
	t.Helper()
	var found audit.Entry
	until(t, fmt.Sprintf("event %s of %s", typ, id), func() bool {
		es, _, err := c.room.Log().Events(context.Background(), audit.Query{Types: []audit.Type{typ}, RequestID: id, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(es) > 0 {
			found = es[0]
		}
		return len(es) > 0
	})
	return found
}

// set puts the tenant's settings in force.
func (c *customer) set(t testing.TB, settings map[string]any) answer {
	t.Helper()
	return c.do(t, "PUT", "/v1/settings/inspection", settings)
}
