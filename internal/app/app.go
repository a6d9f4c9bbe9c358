package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/api"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/authn/acme"
	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/redis"
	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/geo"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Drain is how long requests that began may take to end at a stop.
const Drain = 20 * time.Second

// App is a built platform. Serve runs it; Close ends what Build started.
type App struct {
	Config   Config
	Store    *postgres.Store
	Identity *identity.Service
	Gateway  *gateway.Gateway
	API      *api.API
	Policy   *policy.Engine
	Shield   *shield.Shield // nil: switched off
	Tiers    *quota.Tiers
	Ledger   quota.Ledger // of budgets: in process, or in the Redis of the limits
	House    plane.Room

	log      *slog.Logger
	listener *authn.Listener
	admin    *authn.Listener // nil: platform operators are served with everybody
	acme     *acme.Manager   // nil: certificates come from files
	metrics  *metrics
	limits   *redis.Client   // nil: limits are per process
	archive  *archive.Runner // nil: the log is not archived
	draining chan struct{}
	probing  sync.Mutex // one at a time tries whether the log takes events
	closers  []func()   // last opened, first closed
	once     sync.Once
}

// Build reads the config, checks it against the world, and builds each part
// from the parts above it. Nothing serves yet; an error leaves nothing open.
func Build(ctx context.Context, c Config, log *slog.Logger) (_ *App, err error) {
	a := &App{Config: c, log: log, draining: make(chan struct{})}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if c.DatabaseURL == "" {
		return nil, errors.New("DATABASE_URL: missing; `openclaw dev` brings its own database, `openclaw serve` needs yours, as in DATABASE_URL=postgres://openclaw@db/openclaw")
	}
	if c.URL == "" {
		a.Config.URL = "https://localhost:" + strconv.Itoa(c.Port)
	}

	// What decides.
	if a.Policy, err = policy.Load(policy.Sources{PolicyFile: c.PolicyFile, RolesFile: c.RolesFile}); err != nil {
		return nil, err
	}
	a.Tiers = quota.NewTiers()
	if c.TiersFile != "" {
		if _, err := a.Tiers.LoadFile(c.TiersFile); err != nil {
			return nil, fmt.Errorf("RATE_LIMIT_TIERS_FILE: %w", err)
		}
	}
	if off := a.Tiers.Table().SwitchedOff(); len(off) > 0 && c.Env == "production" {
		return nil, fmt.Errorf("RATE_LIMIT_TIERS_FILE: %v say off, which ENV=production does not start with; unlimited is a decision, off is a protection switched off", off)
	}
	if _, err := a.Tiers.Table().Tier(c.Tier); err != nil {
		return nil, fmt.Errorf("RATE_LIMIT_TIER: %q is not in the table of tiers; as in RATE_LIMIT_TIER=standard", c.Tier)
	}

	// What keeps.
	signing, err := auditSigning(a.Config)
	if err != nil {
		return nil, err
	}
	if a.Store, err = postgres.Open(ctx, postgres.Config{URL: c.DatabaseURL.Expose(), Logger: log, Now: c.Now, Signing: signing, Reads: readsFolder(c), Archived: c.Archives()}); err != nil {
		return nil, err
	}
	a.onClose(a.Store.Close)
	if err := a.Store.PlantHouse(ctx); err != nil {
		return nil, err
	}
	door := tenant.NewDoor(a.Store)
	rooms := plane.New(a.Store)
	scope, err := door.AdmitAnyStatus(ctx, tenant.House)
	if err != nil {
		return nil, err
	}
	if a.House, err = rooms.Enter(scope); err != nil {
		return nil, err
	}
	if err := a.keepLog(ctx, scope); err != nil {
		return nil, err
	}

	// Who asks.
	keys, err := loadKeys(c)
	if err != nil {
		return nil, err
	}
	profile := authn.Profile{Issuer: a.Config.URL, Audience: a.Config.URL, TTL: c.JWTAccess, Now: c.Now}
	minter, err := authn.NewMinter(keys, profile)
	if err != nil {
		return nil, err
	}
	verifier, err := authn.NewVerifier(keys, profile, 16<<10)
	if err != nil {
		return nil, err
	}
	guard, err := authn.NewGuard(standings{a.Store}, authn.GuardConfig{Now: c.Now})
	if err != nil {
		return nil, err
	}
	var clients *authn.ClientCerts
	var accounts authn.Accounts
	if c.clientCerts() {
		stale := authn.AcceptStale
		if c.Env == "production" {
			stale = authn.RefuseStale
		}
		if clients, err = authn.NewClientCerts(authn.ClientCertsConfig{CAFile: c.ClientCAFile, CRLFile: c.ClientCRLFile, StaleCRL: stale, Every: filesEvery, Now: c.Now, Log: log}); err != nil {
			return nil, fmt.Errorf("CLIENT_CA_FILE: %w", err)
		}
		accounts = a.Store
	}
	auth, err := authn.NewAuthenticator(verifier, guard, clients, accounts)
	if err != nil {
		return nil, err
	}
	a.Store.OnStanding(func(id tenant.ID, subject string) {
		guard.Forget(id, subject, uuid.Nil)
		auth.ForgetAccount("")
	})
	if a.listener, err = a.tlsListener(c.ClientCerts, clients); err != nil {
		return nil, err
	}
	if c.AdminListen != "" {
		if a.admin, err = a.tlsListener(c.AdminCerts, clients); err != nil {
			return nil, err
		}
	}
	a.watchFiles(clients)

	// What bounds.
	limiter, err := a.limiter(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.raiseShield(ctx); err != nil {
		return nil, err
	}
	hasher, err := password.NewHasher(password.Config{})
	if err != nil {
		return nil, err
	}
	a.Identity = &identity.Service{
		Store: a.Store, Platform: a.Store, Door: door, Plane: rooms, House: a.House, Passwords: hasher, Minter: minter, Verifier: verifier,
		Policy: a.Policy, Now: c.clock(), RefreshTTL: c.JWTRefresh,
		Forget:  func(id tenant.ID, subject string) { guard.Forget(id, subject, uuid.Nil) },
		Attempt: attempts(limiter, a.Tiers),
	}

	detectors, err := Detectors(c)
	if err != nil {
		return nil, err
	}
	rules, err := firewall(c)
	if err != nil {
		return nil, err
	}

	// What serves.
	a.metrics = newMetrics(a.Store, a.Shield)
	if err := a.startArchive(ctx, door, rooms); err != nil {
		return nil, err
	}
	if err := a.startSinks(ctx, door, rooms); err != nil {
		return nil, err
	}
	if err := a.startWitnesses(); err != nil {
		return nil, err
	}
	if err := a.startAnchors(); err != nil {
		return nil, err
	}
	routes := gateway.NewRoutes()
	deps := api.Deps{
		Identity: a.Identity, Tenants: a.Store, Keeping: a.Store, Tiers: a.Tiers, Limiter: limiter, Ledger: a.Ledger, JWKS: keys.JWKS, Issuer: a.Config.URL,
		Version: c.Version, Ready: a.ready, Security: c.SecurityMail, DefaultTier: c.Tier, Detectors: detectors,
	}
	cfg := gateway.Config{
		Routes: routes, Door: door, Tenants: a.Store, Plane: rooms, House: a.House, Auth: auth, Policy: a.Policy, Shield: a.Shield,
		Resolver: &shield.Resolver{Trusted: c.Proxies, Header: c.ProxyHeader}, AdminAllow: c.AdminAllow, ApartAdmin: a.admin != nil, Origins: c.Origins, CSRF: c.EnableCSRF,
		Inspection: inspection(c, detectors, rules),
		Floods:     quota.NewFloods(quota.FloodConfig{First: 100, Clock: c.Now}), Observer: a.metrics, Now: c.Now, Logger: log,
	}
	if c.ProxyProtocol { // the listener has replaced the peer already
		cfg.Resolver = &shield.Resolver{}
	}
	if limiter != nil {
		cfg.Limiter, cfg.Tiers = limiter, a.Tiers
	}
	if cfg.Upstreams, err = a.upstreams(keys); err != nil {
		return nil, err
	}
	if a.Shield != nil {
		deps.Shield = a.Shield
	}
	if clients != nil {
		deps.Auth = auth
	}
	if a.API, err = api.New(routes, deps); err != nil {
		return nil, err
	}
	if rules != nil {
		if err := routes.Firewall(c.WAFRoutes); err != nil {
			return nil, fmt.Errorf("WAF_ROUTES: %w", err)
		}
	}
	if a.Gateway, err = gateway.New(cfg); err != nil {
		return nil, err
	}
	a.onClose(a.Gateway.Start())
	return a, a.announceOff(ctx)
}

func (a *App) onClose(f func()) { a.closers = append(a.closers, f) }

// Close ends what Build started, last first. Closing twice is fine.
func (a *App) Close() {
	a.once.Do(func() {
		for i := len(a.closers) - 1; i >= 0; i-- {
			a.closers[i]()
		}
	})
}

// announceOff records which protections this start goes without.
func (a *App) announceOff(ctx context.Context) error {
	off := a.Config.Off()
	if len(off) == 0 {
		return nil
	}
	a.log.Warn("protections are switched off", "variables", off)
	_, err := a.House.Record(ctx, audit.Event{
		Type: audit.ConfigChanged, Severity: audit.High, Outcome: audit.Success, Reason: "protection_switched_off",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Details: map[string]any{"off": off},
	})
	return err
}

// loadKeys reads the signing key and those that still verify.
func loadKeys(c Config) (*authn.Keyring, error) {
	if c.JWTKeyFile == "" {
		return nil, errors.New("JWT_PRIVATE_KEY_FILE: missing; make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out jwt.pem")
	}
	text, err := securefile.Read(c.JWTKeyFile, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("JWT_PRIVATE_KEY_FILE: %w", err)
	}
	active, err := authn.ParseSigningKey(text)
	if err != nil {
		return nil, fmt.Errorf("JWT_PRIVATE_KEY_FILE: %w", err)
	}
	var trusted []authn.PublicKey
	if c.JWTTrustedFile != "" {
		text, err := os.ReadFile(c.JWTTrustedFile)
		if err != nil {
			return nil, fmt.Errorf("JWT_TRUSTED_KEYS_FILE: %w", err)
		}
		if trusted, err = authn.ParseTrustedKeys(text); err != nil {
			return nil, fmt.Errorf("JWT_TRUSTED_KEYS_FILE: %w", err)
		}
	}
	return authn.NewKeyring(active, trusted...)
}

// tlsListener is one listener's TLS: each has its own mode, all go by the same
// files.
func (a *App) tlsListener(certs string, clients *authn.ClientCerts) (*authn.Listener, error) {
	c := a.Config
	if c.TLSCertFile == "" && len(c.ACMEDomains) == 0 {
		return nil, errors.New("TLS_CERT_FILE: missing; nothing is served without TLS, as in TLS_CERT_FILE=/etc/openclaw/tls.pem")
	}
	mode, err := authn.ParseMode(certs)
	if err != nil {
		return nil, err
	}
	if mode == authn.CertsOff {
		clients = nil
	}
	lc := authn.ListenerConfig{CertFile: c.TLSCertFile, KeyFile: c.TLSKeyFile, Mode: mode, Clients: clients, Every: filesEvery, Now: c.Now, Log: a.log}
	if len(c.ACMEDomains) > 0 && a.acme == nil {
		var roots *x509.CertPool // nil: the system's
		if c.ACMECAFile != "" {
			text, err := os.ReadFile(c.ACMECAFile)
			if err != nil {
				return nil, fmt.Errorf("ACME_CA_FILE: %w", err)
			}
			if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("ACME_CA_FILE: %s holds no PEM certificate", c.ACMECAFile)
			}
		}
		a.acme, err = acme.New(acme.Config{
			Domains: c.ACMEDomains, Email: c.ACMEEmail, Agreed: c.ACMEAgreed, Directory: c.ACMEDirectory, Roots: roots,
			Dir: filepath.Join(c.Data, "acme"), Port: c.Port, Log: a.log,
		})
		if err != nil {
			return nil, err
		}
		a.onClose(a.acme.Stop)
	}
	if a.acme != nil {
		lc.GetCertificate, lc.NextProtos = a.acme.GetCertificate, a.acme.NextProtos()
	}
	return authn.NewListener(lc)
}

// limiter picks where limits are counted.
func (a *App) limiter(ctx context.Context) (quota.Limiter, error) {
	c := a.Config
	a.Ledger = quota.NewLocalLedger(quota.LocalLedgerConfig{})
	if !c.EnableSecurity || !c.EnableRateLimit {
		return nil, nil
	}
	if c.TiersFile != "" {
		watch, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.Tiers.Gate(a.admitTiers)
			if err := a.Tiers.Watch(watch, c.TiersFile, a.tiersRefused); err != nil {
				a.log.Error("watch the table of tiers", "error", err)
			}
		}()
		a.onClose(func() { cancel(); <-done })
	}
	if c.rateLimitURL() == "" {
		return quota.NewLocal(quota.LocalConfig{}), nil
	}
	client, err := redis.Open(redis.Config{URL: c.rateLimitURL(), Deadline: c.LimitTimeout, OnEvent: a.redisEvent})
	if err != nil {
		return nil, fmt.Errorf("RATE_LIMIT_REDIS_URL: %w", err)
	}
	a.limits, a.Ledger = client, redis.NewLedger(client)
	a.onClose(client.Close)
	// One that is away comes back; one that may forget limits never counts.
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := client.Check(soon); err != nil && !errors.Is(err, redis.ErrAway) && soon.Err() == nil {
		if c.Env == "production" {
			return nil, fmt.Errorf("RATE_LIMIT_REDIS_URL: %w", err)
		}
		a.log.Warn("the store of rate limits may forget them", "error", err)
	}
	fail := redis.Deny
	if c.LimitOnFailure == "local" {
		fail = redis.Local
	}
	return redis.NewLimiter(client, redis.LimiterConfig{OnFailure: fail, Replicas: c.Replicas, Lease: c.LimitLease}), nil
}

// admitTiers puts a new table in force between its intent and its outcome.
func (a *App) admitTiers(digest string, put func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ev := audit.Event{Type: audit.ConfigChanged, Severity: audit.Warning, Reason: "tiers_reloaded",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Details: map[string]any{"digest": digest}}
	_, err := a.House.Act(ctx, ev, func(context.Context) (audit.Outcome, map[string]any, error) { put(); return "", nil, nil })
	return err
}

func (a *App) tiersRefused(err error) {
	if err == nil {
		return
	}
	a.log.Error("the new table of tiers is refused, the old one stays", "error", err)
	a.note(audit.Event{Type: audit.ConfigChanged, Severity: audit.Warning, Outcome: audit.Refused, Reason: "tiers_refused",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Details: map[string]any{"digest": a.Tiers.Digest()}})
}

func (a *App) redisEvent(e redis.Event) {
	ev := audit.Event{Type: audit.SecurityError, Severity: audit.High, Outcome: audit.Failed, Reason: "rate_limit_store_away",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Details: map[string]any{"on_failure": a.Config.LimitOnFailure}}
	if !e.Away {
		ev.Severity, ev.Outcome, ev.Reason = audit.Info, audit.Success, "rate_limit_store_back"
	}
	a.log.Warn("the store of rate limits", "away", e.Away, "error", e.Err)
	a.note(ev)
}

// note records in the house without making the caller wait for a commit.
func (a *App) note(ev audit.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := a.House.Note(ctx, ev); err != nil {
		a.log.Error("an event was not recorded", "type", ev.Type, "reason", ev.Reason, "error", err)
	}
}

func (a *App) raiseShield(ctx context.Context) error {
	c := a.Config
	if !c.EnableSecurity || !c.EnableDDoS {
		return nil
	}
	var countries shield.Countries
	if c.GeoDatabase != "" {
		f, err := geo.New(geo.Options{Path: c.GeoDatabase, Block: c.GeoBlock, Allow: c.GeoAllow, Event: func(err error) {
			if err != nil {
				a.log.Error("the country database does not read, the last good one stays", "error", err)
				a.note(audit.Event{Type: audit.SecurityError, Severity: audit.Warning, Outcome: audit.Failed, Reason: "geo_database", Actor: audit.Actor{Kind: audit.ActorSystem}})
			}
		}})
		if err != nil {
			return fmt.Errorf("GEO_DATABASE: %w", err)
		}
		f.Start(context.WithoutCancel(ctx))
		a.onClose(f.Stop)
		countries = f
	}
	events := make(chan shield.Event, 1024)
	first := min(10*time.Minute, c.BlockCeiling)
	s, err := shield.New(shield.Config{
		Now: c.Now, Limit: c.IPLimit, FirstBlock: first, LastBlock: c.BlockCeiling, NeverBlock: append(loopback(), c.Proxies...), Countries: countries,
		Store: a.Store.Blocks(), Observer: shield.ObserverFunc(func(e shield.Event) {
			select {
			case events <- e:
			default: // the shield's counters stay exact
			}
		}),
	})
	if err != nil {
		return err
	}
	if err := s.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("read the blocked addresses: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events {
			a.shieldEvent(e)
		}
	}()
	a.onClose(func() { s.Stop(); close(events); <-done })
	a.Shield = s
	return nil
}

// loopback is never blocked: whoever is on the machine has other ways, and
// health checks come from there.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func (a *App) shieldEvent(e shield.Event) {
	ev := audit.Event{Type: audit.DDoSBlocked, Severity: audit.Warning, Outcome: audit.Refused, Time: e.Time, IP: e.Addr,
		Actor: audit.Actor{Kind: audit.ActorSystem}, Reason: string(e.Kind), Details: map[string]any{"why": e.Reason, "count": int64(e.Count)}}
	if e.Prefix.IsValid() {
		ev.Resource = "block/" + e.Prefix.String()
	}
	if e.Rule != "" {
		ev.Details["rule"] = e.Rule
	}
	switch e.Kind {
	case shield.Placed, shield.Lifted:
		ev.Outcome = audit.Success
		ev.Details["owner"] = e.Owner
	case shield.Limited:
		ev.Type = audit.RateLimitExceeded
	case shield.Rejected:
		ev.Type = audit.InputValidationFailed
	case shield.StoreFailed, shield.StoreBack:
		ev.Type = audit.SecurityError
	}
	a.note(ev)
}

// attempts charges tries against one account: guessing is slow wherever it
// comes from.
func attempts(l quota.Limiter, tiers *quota.Tiers) func(context.Context, tenant.Scope, uuid.UUID) error {
	if l == nil {
		return nil
	}
	return func(ctx context.Context, s tenant.Scope, subject uuid.UUID) error {
		class, err := tiers.Table().Class("login")
		if err != nil {
			return err
		}
		plan, err := tiers.Table().Plan(s.Tier(), class)
		if err != nil {
			return err
		}
		key, err := quota.UserKey(s.ID(), subject)
		if err != nil {
			return err
		}
		d, err := l.Take(ctx, quota.Ask{Key: key, Plan: plan})
		if err != nil {
			return err
		}
		d.Slot.Release()
		return d.Err()
	}
}

// standings answers authn from the store.
type standings struct{ s *postgres.Store }

func (a standings) Standing(ctx context.Context, id tenant.ID, subject string, session uuid.UUID) (authn.Standing, error) {
	sub, err := uuid.Parse(subject)
	if err != nil {
		return authn.Standing{}, fault.New(fault.NotFound, "there is no such subject")
	}
	st, err := a.s.Standing(ctx, id, sub, session)
	return authn.Standing{
		TenantActive: st.Tenant == tenant.Active, SubjectActive: st.Active, Epoch: st.Epoch,
		SessionRevoked: st.Revoked && session != uuid.Nil,
	}, err
}

// ready asks each dependency.
func (a *App) ready(ctx context.Context) map[string]error {
	checks := map[string]error{"database": a.Store.Ping(ctx), "audit_log": a.logReady(ctx), "certificate": a.certificateReady()}
	if a.limits != nil {
		checks["rate_limits"] = nil
		if a.limits.Away() && a.Config.LimitOnFailure == "deny" {
			checks["rate_limits"] = redis.ErrAway
		}
	}
	a.archiveReady(checks)
	select {
	case <-a.draining:
		checks["serving"] = errors.New("draining")
	default:
	}
	return checks
}

// keyFile is where a generated key lives under the data folder.
func keyFile(data, name string) string { return filepath.Join(data, "keys", name) }
