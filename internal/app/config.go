// Package app is the wiring: the configuration, its checks, and the one place
// that knows every backend.
package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// Secret is a value that is never shown: it prints as whether it is set.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(set)"
}

// GoString keeps %#v from showing it.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps JSON and its relatives from showing it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Expose is the one way to the value; a search finds every use.
func (s Secret) Expose() string { return string(s) }

// Config is the environment, read once and checked before anything starts.
// Each field's doc tag is its documentation, in .env.example and in
// `openclaw config`.
type Config struct {
	Env     string `env:"ENV" envDefault:"development" one:"development,production" doc:"production turns warnings about protections that are off into a refusal to start"`
	Port    int    `env:"PORT" envDefault:"3000" example:"3000" doc:"API, HTTPS"`
	Listen  string `env:"LISTEN_ADDRESS" envDefault:"127.0.0.1" example:"0.0.0.0" doc:"address the API listens on"`
	URL     string `env:"PUBLIC_URL" example:"https://openclaw.example.com" doc:"how clients reach the API; issuer and audience of tokens; default https://localhost:PORT"`
	Data    string `env:"DATA_DIR" example:"/var/lib/openclaw" doc:"folder for generated keys and, in dev, the private database"`
	Version string `env:"-"`

	Now func() time.Time `env:"-"` // the clock of everything that lasts; nil: time.Now

	EnableSecurity  bool `env:"ENABLE_SECURITY" envDefault:"true" example:"true" doc:"false switches every protection below off at once"`
	EnableRateLimit bool `env:"ENABLE_RATE_LIMITING" envDefault:"true" example:"true" doc:"token buckets per tenant and user"`
	EnableDDoS      bool `env:"ENABLE_DDOS_PROTECTION" envDefault:"true" example:"true" doc:"limits, scores and blocks per address"`
	EnablePrompt    bool `env:"ENABLE_PROMPT_INJECTION" envDefault:"true" example:"true" doc:"prompt inspection"`
	EnableSQL       bool `env:"ENABLE_SQL_INJECTION" envDefault:"true" example:"true" doc:"SQL, NoSQL and Cypher inspection of structured fields"`
	EnableXSS       bool `env:"ENABLE_XSS" envDefault:"true" example:"true" doc:"XSS inspection of fields that end up rendered"`
	EnableCSRF      bool `env:"ENABLE_CSRF" envDefault:"true" example:"true" doc:"refuse what pages of other sites have a browser send with its client certificate; cookies authenticate nobody"`
	EnableAudit     bool `env:"ENABLE_AUDIT_LOGGING" envDefault:"true" example:"true" doc:"cannot be switched off: no receipt, no effect"`

	JWTSecret      Secret        `env:"JWT_SECRET" doc:"refused: tokens are signed with RS256, which has no shared secret; use JWT_PRIVATE_KEY_FILE"`
	JWTAlgorithm   string        `env:"JWT_ALGORITHM" envDefault:"RS256" one:"RS256" doc:"the only one"`
	JWTKeyFile     string        `env:"JWT_PRIVATE_KEY_FILE" example:"/etc/openclaw/jwt.pem" doc:"RSA key of 2048 bits or more, PEM; in dev one is made"`
	JWTTrustedFile string        `env:"JWT_TRUSTED_KEYS_FILE" example:"/etc/openclaw/jwt-old.pem" doc:"public keys that still verify during a rotation, PEM, one or more"`
	JWTAccess      time.Duration `env:"JWT_ACCESS_EXPIRY" envDefault:"15m" example:"15m" doc:"life of an access token, 1s to 2h"`
	JWTRefresh     time.Duration `env:"JWT_REFRESH_EXPIRY" envDefault:"168h" example:"168h" doc:"life of a login"`

	DatabaseURL Secret `env:"DATABASE_URL" example:"postgres://openclaw@db/openclaw" doc:"the application's role: owns nothing, cannot bypass row-level security"`
	OwnerURL    Secret `env:"DATABASE_OWNER_URL" example:"postgres://openclaw_owner@db/openclaw" doc:"the owner's role, for openclaw migrate alone"`
	RedisURL    Secret `env:"REDIS_URL" example:"redis://cache:6379" doc:"shared state of replicas"`
	QdrantURL   Secret `env:"QDRANT_URL" doc:"vectors; not used by this release"`
	Neo4jURL    Secret `env:"NEO4J_URL" doc:"graph; not used by this release"`

	EncryptionKey Secret `env:"ENCRYPTION_KEY" doc:"refused: keys come from KMS_PROVIDER; local makes its own file"`
	KMSProvider   string `env:"KMS_PROVIDER" envDefault:"local" one:"local" doc:"who holds the key-encryption key"`
	KMSKeyID      string `env:"KMS_KEY_ID" doc:"key name at the provider; local: a file, made when missing"`

	Tier           string        `env:"RATE_LIMIT_TIER" envDefault:"standard" example:"standard" doc:"tier of new tenants"`
	TiersFile      string        `env:"RATE_LIMIT_TIERS_FILE" example:"/etc/openclaw/tiers.yaml" doc:"replaces the embedded table of tiers; read again when it changes"`
	LimitRedisURL  Secret        `env:"RATE_LIMIT_REDIS_URL" example:"redis://cache:6379" doc:"exact limits over several replicas; default REDIS_URL; without it limits are per process"`
	LimitOnFailure string        `env:"RATE_LIMIT_ON_FAILURE" envDefault:"deny" one:"deny,local" doc:"while Redis is away: refuse, or each replica its share"`
	LimitLease     int           `env:"RATE_LIMIT_LEASE" envDefault:"0" example:"20" doc:"tokens a replica may fetch at a time; 0 is exact"`
	LimitTimeout   time.Duration `env:"RATE_LIMIT_TIMEOUT" envDefault:"50ms" example:"50ms" doc:"of one decision in Redis; one that is later counts as Redis being away"`
	Replicas       int           `env:"REPLICAS" envDefault:"1" example:"3" doc:"how many share the limits; more than one needs Redis"`
	IPLimit        int           `env:"DDOS_IP_LIMIT" envDefault:"1000" example:"1000" doc:"requests per minute and address"`
	BlockCeiling   time.Duration `env:"DDOS_BLOCK_DURATION" envDefault:"1h" example:"1h" doc:"longest automatic block"`

	AuditStorage    []string `env:"AUDIT_LOG_STORAGE" envDefault:"postgresql" example:"postgresql,s3" doc:"where the audit log lives; postgresql always, s3 besides archives it under object lock, blockchain anchors the house log's roots in an EVM chain"`
	AuditRetention  int      `env:"AUDIT_LOG_RETENTION_DAYS" envDefault:"2555" example:"2555" doc:"days that bodies are kept; seven years. More than is in force takes force at the start, less only by a decision (openclaw audit retention)"`
	AuditKeyFile    string   `env:"AUDIT_SIGNING_KEY_FILE" example:"/etc/openclaw/audit.pem" doc:"Ed25519 key that signs the audit log's checkpoints, PEM; in dev one is made"`
	AuditOldKeyFile string   `env:"AUDIT_PREVIOUS_KEY_FILE" example:"/etc/openclaw/audit-old.pem" doc:"the key before it, from a change of keys until every log is signed with the new one"`

	AuditWitnesses    string        `env:"AUDIT_WITNESSES_FILE" example:"/etc/openclaw/witnesses.txt" doc:"C2SP tlog-policy: the witnesses that cosign the house log, and how many of them are a quorum"`
	AuditWitnessEvery time.Duration `env:"AUDIT_WITNESS_EVERY" envDefault:"10s" example:"10s" doc:"how often witnesses are asked when nobody waits for them, 1s to 24h"`
	AuditSinks        string        `env:"AUDIT_SINKS_FILE" example:"/etc/openclaw/sinks.yaml" doc:"where audit logs are sent besides: syslog, Splunk, OTLP, webhooks; read again when it changes"`

	ArchiveAfter time.Duration `env:"AUDIT_ARCHIVE_AFTER" envDefault:"1h" example:"1h" doc:"how long an event may be in the database alone before a segment is sealed, 1s to 24h"`

	AuditS3Bucket      string `env:"AUDIT_S3_BUCKET" example:"openclaw-audit" doc:"the archive's bucket; made with object lock"`
	AuditS3Region      string `env:"AUDIT_S3_REGION" envDefault:"us-east-1" example:"eu-central-1" doc:"where it is"`
	AuditS3Endpoint    string `env:"AUDIT_S3_ENDPOINT" example:"https://s3.example.com" doc:"of a server that is not AWS's"`
	AuditS3Prefix      string `env:"AUDIT_S3_PREFIX" example:"production/audit" doc:"what its keys begin with; must not change while the archive is in use"`
	AuditS3PathStyle   bool   `env:"AUDIT_S3_PATH_STYLE" envDefault:"false" example:"true" doc:"the bucket stands in the path, not in the host's name"`
	AuditS3Credentials string `env:"AUDIT_S3_CREDENTIALS_FILE" example:"/etc/openclaw/s3-credentials" doc:"shared credentials file, its default profile; without it the SDK's standard chain: AWS_ variables, ~/.aws, web identity, roles of the container or the instance"`
	AuditS3CAFile      string `env:"AUDIT_S3_CA_FILE" example:"/etc/openclaw/s3-ca.pem" doc:"who signs the server's certificate, PEM, when not the system's authorities"`

	ChainRPC           Secret        `env:"AUDIT_CHAIN_RPC_URL" example:"https://node.example.com" doc:"JSON-RPC of the EVM chain that AUDIT_LOG_STORAGE=postgresql,blockchain anchors the house log in"`
	ChainID            uint64        `env:"AUDIT_CHAIN_ID" example:"1" doc:"the chain's id (EIP-155); a node of another chain is refused"`
	ChainKeyFile       string        `env:"AUDIT_CHAIN_KEY_FILE" example:"/etc/openclaw/chain.key" doc:"secp256k1 key that pays, 64 hex digits, mode 0600; used for nothing else"`
	ChainEvery         time.Duration `env:"AUDIT_CHAIN_EVERY" envDefault:"1h" example:"1h" doc:"between anchors, 1m or more"`
	ChainMaxFee        Wei           `env:"AUDIT_CHAIN_MAX_FEE" envDefault:"1000000gwei" example:"1000000gwei" doc:"most that one transaction may cost, in wei, gwei or ether, whatever the node asks"`
	ChainMaxPerDay     Wei           `env:"AUDIT_CHAIN_MAX_FEE_DAY" envDefault:"24000000gwei" example:"24000000gwei" doc:"most that the transactions of 24 hours may cost"`
	ChainConfirmations int           `env:"AUDIT_CHAIN_CONFIRMATIONS" envDefault:"12" example:"12" doc:"blocks that make an anchor final, its own counted"`

	Monitoring  bool   `env:"MONITORING_ENABLED" envDefault:"true" example:"true" doc:"metrics on METRICS_PORT, loopback only"`
	MetricsPort int    `env:"METRICS_PORT" envDefault:"9090" example:"9090" doc:"Prometheus, on loopback; 0 picks a free one"`
	AlertURL    Secret `env:"ALERT_WEBHOOK_URL" doc:"not used by this release"`
	LogLevel    string `env:"LOG_LEVEL" envDefault:"info" one:"debug,info,warn,error" doc:"debug logs every request, never its content"`

	TLSCertFile   string   `env:"TLS_CERT_FILE" example:"/etc/openclaw/tls.pem" doc:"certificate chain, PEM, read again when it changes; in dev a local CA makes one"`
	TLSKeyFile    string   `env:"TLS_KEY_FILE" example:"/etc/openclaw/tls.key" doc:"its key, PEM"`
	ACMEDomains   []string `env:"ACME_DOMAINS" example:"openclaw.example.com" doc:"get certificates by ACME instead of files"`
	ACMEEmail     string   `env:"ACME_EMAIL" example:"ops@example.com" doc:"account of ACME_DOMAINS"`
	ACMEAgreed    bool     `env:"ACME_AGREED" envDefault:"false" example:"true" doc:"you have read the authority's terms"`
	ACMEDirectory string   `env:"ACME_DIRECTORY" example:"https://acme.example.com/directory" doc:"the authority; default Let's Encrypt"`
	ACMECAFile    string   `env:"ACME_CA_FILE" example:"/etc/openclaw/acme-ca.pem" doc:"certificates that ACME_DIRECTORY is trusted by; default the system's"`
	ClientCAFile  string   `env:"CLIENT_CA_FILE" example:"/etc/openclaw/clients.pem" doc:"who signs client certificates (mTLS)"`
	ClientCRLFile string   `env:"CLIENT_CRL_FILE" example:"/etc/openclaw/clients.crl" doc:"revoked client certificates"`
	ClientCerts   string   `env:"CLIENT_CERTS" envDefault:"off" one:"off,optional,required" doc:"what the listener asks of clients"`
	TrustDomain   string   `env:"TRUST_DOMAIN" envDefault:"openclaw.local" example:"example.com" doc:"of spiffe:// names in client certificates"`
	Proxies       Networks `env:"TRUSTED_PROXIES" example:"10.0.0.0/8" doc:"peers whose X-Forwarded-For or Forwarded is believed"`
	ProxyHeader   string   `env:"TRUSTED_PROXY_HEADER" one:",X-Forwarded-For,Forwarded" doc:"the header your proxies write; empty: both, which must agree"`
	ProxyProtocol bool     `env:"PROXY_PROTOCOL" envDefault:"false" example:"false" doc:"expect PROXY protocol v2 from TRUSTED_PROXIES, refuse everybody else"`
	AdminAllow    Networks `env:"ADMIN_IP_ALLOWLIST" example:"10.1.2.0/24" doc:"where platform operators may come from without a client certificate"`
	AdminListen   string   `env:"ADMIN_LISTEN" example:"127.0.0.1:3443" doc:"a second listener, for platform operators: their routes are then served there and nowhere else"`
	AdminCerts    string   `env:"ADMIN_CLIENT_CERTS" envDefault:"required" one:"off,optional,required" doc:"what ADMIN_LISTEN asks of clients"`
	Origins       []string `env:"ALLOWED_ORIGINS" example:"https://app.example.com" doc:"browser origins that may read answers"`
	GeoDatabase   string   `env:"GEO_DATABASE" example:"/var/lib/geo/country.mmdb" doc:"countries of addresses, MMDB, read again when it changes"`
	GeoBlock      []string `env:"GEO_BLOCK" example:"KP,IR" doc:"countries that are refused"`
	GeoAllow      []string `env:"GEO_ALLOW" example:"DE,FR" doc:"the only countries that are not refused"`
	MaxConns      int      `env:"MAX_CONNECTIONS" envDefault:"10000" example:"10000" doc:"open at once, over all addresses"`

	WAFRules  []string `env:"WAF_RULES" example:"core,/etc/openclaw/waf.conf" doc:"the Core Rule Set before routes, and SecLang files of your own after it; core alone: no file; empty: off"`
	WAFRoutes []string `env:"WAF_ROUTES" envDefault:"*" example:"POST /v1/users" doc:"routes of the API that WAF_RULES guard, * for all; bodies that hold prompts or passwords are never shown to it; upstreams say waf: true in ROUTES_FILE"`

	PolicyFile   string `env:"POLICY_FILE" example:"/etc/openclaw/policy.cedar" doc:"replaces the embedded Cedar policy; tried on samples before use"`
	RolesFile    string `env:"ROLES_FILE" example:"/etc/openclaw/roles.csv" doc:"the table a POLICY_FILE must agree with"`
	RoutesFile   string `env:"ROUTES_FILE" example:"/etc/openclaw/routes.yaml" doc:"upstreams behind the gateway; read again when it changes"`
	SecurityMail string `env:"SECURITY_CONTACT" envDefault:"mailto:security@example.com" example:"mailto:security@example.com" doc:"where to report a weakness (security.txt)"`
	PGBin        string `env:"OPENCLAW_PG_BIN" example:"/usr/lib/postgresql/15/bin" doc:"dev: PostgreSQL binaries to use"`
}

// Load reads the configuration from an environment. All that is wrong with it
// comes back at once, one line a variable.
func Load(environ map[string]string) (Config, error) {
	var c Config
	err := env.ParseWithOptions(&c, env.Options{Environment: environ, FuncMap: map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[Networks](): func(s string) (any, error) { return parseNetworks(s) },
		reflect.TypeFor[Wei]():      func(s string) (any, error) { return parseWei(s) },
	}})
	var errs []error
	var agg env.AggregateError
	switch {
	case errors.As(err, &agg):
		for _, e := range agg.Errors {
			errs = append(errs, explain(e))
		}
	case err != nil:
		errs = append(errs, err)
	}
	if err == nil {
		errs = append(errs, c.check(environ)...)
	}
	sort.Slice(errs, func(i, j int) bool { return errs[i].Error() < errs[j].Error() })
	return c, errors.Join(errs...)
}

// Networks are addresses and CIDR networks, comma separated in the environment.
type Networks []netip.Prefix

func parseNetworks(text string) (Networks, error) {
	var out Networks
	for _, s := range strings.Split(text, ",") {
		s = strings.TrimSpace(s)
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if p = shield.NormalPrefix(p); err != nil || !p.IsValid() { // ::ffff:0:0/96 is 0.0.0.0/0
			return nil, fmt.Errorf("%q is not an address or network", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// explain says of a value that does not parse: which variable, what is wrong,
// and what a right one looks like. The value itself may be a secret.
func explain(err error) error {
	var p env.ParseError
	if !errors.As(err, &p) {
		return err
	}
	f, ok := reflect.TypeFor[Config]().FieldByName(p.Name)
	if !ok {
		return err
	}
	want := map[reflect.Kind]string{reflect.Int: "not a whole number", reflect.Bool: "neither true nor false", reflect.Int64: "not a duration"}[f.Type.Kind()]
	if want == "" {
		want = p.Err.Error()
	}
	return complaint(f, want)
}

func complaint(f reflect.StructField, what string) error {
	name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
	if ex := f.Tag.Get("example"); ex != "" {
		return fmt.Errorf("%s: %s; as in %s=%s", name, what, name, ex)
	}
	return fmt.Errorf("%s: %s", name, what)
}

// check judges values and how they go together.
func (c *Config) check(environ map[string]string) (errs []error) {
	say := func(name, format string, args ...any) { errs = append(errs, fmt.Errorf(name+": "+format, args...)) }
	t := reflect.TypeFor[Config]()
	v := reflect.ValueOf(*c)
	for i := range t.NumField() {
		f := t.Field(i)
		if one, ok := f.Tag.Lookup("one"); ok && !slices.Contains(strings.Split(one, ","), v.Field(i).String()) {
			errs = append(errs, complaint(f, fmt.Sprintf("%q is none of %s", v.Field(i).String(), strings.ReplaceAll(strings.TrimPrefix(one, ","), ",", ", "))))
		}
	}
	if c.JWTSecret != "" {
		say("JWT_SECRET", "tokens are signed with RS256, which has no shared secret; unset it and set JWT_PRIVATE_KEY_FILE to an RSA key (openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out jwt.pem)")
	}
	if c.EncryptionKey != "" {
		say("ENCRYPTION_KEY", "a key in an environment variable shows in process lists and dumps; unset it, KMS_PROVIDER=local keeps one in a file of mode 0600")
	}
	if !c.EnableAudit {
		say("ENABLE_AUDIT_LOGGING", "cannot be false: no receipt, no effect; unset it")
	}
	for name, n := range map[string]int{"PORT": c.Port, "METRICS_PORT": c.MetricsPort} {
		if n < 0 || n > 65535 {
			say(name, "%d is no port; as in %s=3000", n, name)
		}
	}
	for name, b := range map[string]bool{
		"JWT_ACCESS_EXPIRY":        c.JWTAccess < time.Second || c.JWTAccess > 2*time.Hour,
		"JWT_REFRESH_EXPIRY":       c.JWTRefresh < time.Minute || c.JWTRefresh > 90*24*time.Hour,
		"DDOS_BLOCK_DURATION":      c.BlockCeiling < time.Second || c.BlockCeiling > 366*24*time.Hour,
		"DDOS_IP_LIMIT":            c.IPLimit < 1 || c.IPLimit > 10_000_000,
		"REPLICAS":                 c.Replicas < 1 || c.Replicas > 10_000,
		"RATE_LIMIT_TIMEOUT":       c.LimitTimeout < time.Millisecond || c.LimitTimeout > 10*time.Second,
		"RATE_LIMIT_LEASE":         c.LimitLease < 0 || c.LimitLease > 10_000,
		"AUDIT_LOG_RETENTION_DAYS": c.AuditRetention < audit.MinRetention || c.AuditRetention > audit.MaxRetention,
		"AUDIT_ARCHIVE_AFTER":      c.ArchiveAfter < time.Second || c.ArchiveAfter > 24*time.Hour,
		"MAX_CONNECTIONS":          c.MaxConns < 1 || c.MaxConns > 10_000_000,
	} {
		if b {
			f, _ := fieldOf(name)
			errs = append(errs, complaint(f, "outside what makes sense"))
		}
	}
	for i, s := range c.AuditStorage {
		if c.AuditStorage[i] = strings.TrimSpace(s); !slices.Contains(auditStorages, c.AuditStorage[i]) {
			say("AUDIT_LOG_STORAGE", "%q is none of %s; as in AUDIT_LOG_STORAGE=postgresql,s3", s, strings.Join(auditStorages, ", "))
		}
	}
	if !slices.Contains(c.AuditStorage, "postgresql") {
		say("AUDIT_LOG_STORAGE", "the log is written to postgresql, whatever keeps it besides; as in AUDIT_LOG_STORAGE=postgresql,s3")
	}
	errs = append(errs, c.checkArchive()...)
	errs = append(errs, c.checkChain()...)
	if c.AuditWitnessEvery < time.Second || c.AuditWitnessEvery > 24*time.Hour {
		say("AUDIT_WITNESS_EVERY", "want 1s to 24h; as in AUDIT_WITNESS_EVERY=10s")
	}
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Scheme != "https" || u.Host == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil {
			say("PUBLIC_URL", "want https, a host and nothing more; as in PUBLIC_URL=https://openclaw.example.com")
		}
		c.URL = strings.TrimSuffix(c.URL, "/")
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		say("TLS_KEY_FILE", "TLS_CERT_FILE and TLS_KEY_FILE go together")
	}
	if len(c.ACMEDomains) > 0 && c.TLSCertFile != "" {
		say("ACME_DOMAINS", "certificates come from ACME or from TLS_CERT_FILE, not from both")
	}
	if len(c.ACMEDomains) > 0 && c.Data == "" {
		say("ACME_DOMAINS", "needs DATA_DIR, a folder for keys and certificates")
	}
	if c.ClientCerts != "off" && c.ClientCAFile == "" {
		say("CLIENT_CERTS", "%s needs CLIENT_CA_FILE", c.ClientCerts)
	}
	if c.AdminListen != "" {
		switch _, port, err := net.SplitHostPort(c.AdminListen); {
		case err != nil:
			say("ADMIN_LISTEN", "want an address and a port; as in ADMIN_LISTEN=127.0.0.1:3443")
		case port != "0" && port == strconv.Itoa(c.Port):
			say("ADMIN_LISTEN", "PORT is the API's; choose another, as in ADMIN_LISTEN=127.0.0.1:3443")
		}
		switch {
		case c.AdminCerts != "off" && c.ClientCAFile == "":
			say("ADMIN_CLIENT_CERTS", "%s needs CLIENT_CA_FILE", c.AdminCerts)
		case c.AdminCerts == "off" && len(c.AdminAllow) == 0:
			say("ADMIN_CLIENT_CERTS", "off leaves platform operators no way in but ADMIN_IP_ALLOWLIST, which is not set")
		}
	}
	if c.ProxyProtocol && len(c.Proxies) == 0 {
		say("PROXY_PROTOCOL", "without TRUSTED_PROXIES it would refuse everybody")
	}
	if (len(c.GeoBlock) > 0 || len(c.GeoAllow) > 0) && c.GeoDatabase == "" {
		say("GEO_DATABASE", "GEO_BLOCK and GEO_ALLOW need it; as in GEO_DATABASE=/var/lib/geo/country.mmdb")
	}
	for name, ps := range map[string]Networks{"TRUSTED_PROXIES": c.Proxies, "ADMIN_IP_ALLOWLIST": c.AdminAllow} {
		for _, p := range ps {
			if p.Bits() == 0 {
				say(name, "%s is everybody; name your own networks, as in %s=10.0.0.0/8", p, name)
			}
		}
	}
	if c.ProxyHeader != "" && len(c.Proxies) == 0 {
		say("TRUSTED_PROXY_HEADER", "without TRUSTED_PROXIES no header is believed; as in TRUSTED_PROXIES=10.0.0.0/8")
	}
	if c.ClientCRLFile != "" && c.ClientCAFile == "" {
		say("CLIENT_CRL_FILE", "needs CLIENT_CA_FILE, whose certificates it revokes")
	}
	if c.rateLimitURL() == "" {
		if c.Replicas > 1 {
			say("REPLICAS", "%d replicas without RATE_LIMIT_REDIS_URL would each admit the whole limit; as in RATE_LIMIT_REDIS_URL=redis://cache:6379", c.Replicas)
		}
		if c.LimitLease > 0 {
			say("RATE_LIMIT_LEASE", "leases tokens from RATE_LIMIT_REDIS_URL, which is not set")
		}
	}
	for _, o := range c.Origins {
		if u, err := url.Parse(o); err != nil || u.Host == "" || u.Path != "" || (u.Scheme != "https" && u.Hostname() != "localhost") {
			say("ALLOWED_ORIGINS", "%q is no origin; as in ALLOWED_ORIGINS=https://app.example.com", o)
		}
	}
	for _, list := range [][]string{c.WAFRules, c.WAFRoutes} {
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
	}
	if slices.Contains(c.WAFRules, "") {
		say("WAF_RULES", "a name is empty; as in WAF_RULES=core,/etc/openclaw/waf.conf")
	}
	if c.Env == "production" {
		if c.AuditRetention < audit.SoundRetention {
			say("AUDIT_LOG_RETENTION_DAYS", "%d days are fewer than incidents take to be found; ENV=production wants %d or more", c.AuditRetention, audit.SoundRetention)
		}
		for _, off := range c.Off() {
			say(off, "switched off, which ENV=production does not start with; unset it")
		}
		if c.ClientCAFile != "" && !c.clientCerts() {
			say("CLIENT_CERTS", "off, so that nobody looks at CLIENT_CA_FILE; as in CLIENT_CERTS=optional")
		}
	}
	_ = environ
	return errs
}

func (c *Config) clock() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

// clientCerts says whether any listener asks for client certificates.
func (c *Config) clientCerts() bool {
	return c.ClientCerts != "off" || c.AdminListen != "" && c.AdminCerts != "off"
}

// auditStorages are what AUDIT_LOG_STORAGE may name.
var auditStorages = []string{"postgresql", "s3", "blockchain"}

// Off names the protections that are switched off.
func (c *Config) Off() (off []string) {
	for name, on := range map[string]bool{
		"ENABLE_SECURITY": c.EnableSecurity, "ENABLE_RATE_LIMITING": c.EnableRateLimit, "ENABLE_DDOS_PROTECTION": c.EnableDDoS,
		"ENABLE_PROMPT_INJECTION": c.EnablePrompt, "ENABLE_SQL_INJECTION": c.EnableSQL, "ENABLE_XSS": c.EnableXSS, "ENABLE_CSRF": c.EnableCSRF,
	} {
		if !on {
			off = append(off, name)
		}
	}
	sort.Strings(off)
	return off
}

// rateLimitURL is where replicas share their limits, or "".
func (c *Config) rateLimitURL() string {
	if c.LimitRedisURL != "" {
		return c.LimitRedisURL.Expose()
	}
	return c.RedisURL.Expose()
}

// Setting is one line of the effective configuration.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default bool   `json:"default"`
	Doc     string `json:"doc"`
}

// Settings lists what runs, secrets excluded by their type.
func (c Config) Settings() []Setting {
	zero, _ := Load(map[string]string{})
	t, v, z := reflect.TypeFor[Config](), reflect.ValueOf(c), reflect.ValueOf(zero)
	var out []Setting
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("env"), ",")
		if name == "-" || name == "" {
			continue
		}
		s := Setting{Name: name, Value: show(v.Field(i)), Doc: t.Field(i).Tag.Get("doc")}
		s.Default = s.Value == show(z.Field(i))
		out = append(out, s)
	}
	return out
}

func show(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		var parts []string
		for i := range v.Len() {
			parts = append(parts, show(v.Index(i)))
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}

func fieldOf(name string) (reflect.StructField, bool) {
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if n, _, _ := strings.Cut(t.Field(i).Tag.Get("env"), ","); n == name {
			return t.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

// Example is .env.example: every variable with its documentation.
func Example() string {
	var b strings.Builder
	b.WriteString("# openclaw: every variable, its default or an example. Copy to .env for development.\n")
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "-" || name == "" {
			continue
		}
		value := f.Tag.Get("envDefault")
		if value == "" {
			value = f.Tag.Get("example")
		}
		fmt.Fprintf(&b, "\n# %s\n#%s=%s\n", f.Tag.Get("doc"), name, value)
	}
	return b.String()
}

// Environ is the process's environment over the .env file of the working
// directory, which is for development: production ignores it.
func Environ() (map[string]string, error) {
	out := map[string]string{}
	if os.Getenv("ENV") != "production" {
		text, err := os.ReadFile(".env")
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("read .env: %w", err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			k, v, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
			if !ok {
				return nil, fmt.Errorf("read .env: line %d is not NAME=value", i+1)
			}
			out[strings.TrimSpace(k)] = strings.Trim(strings.TrimSpace(v), `"'`)
		}
	}
	for _, kv := range os.Environ() {
		if k, v, _ := strings.Cut(kv, "="); v != "" { // an empty variable is an unset one
			out[k] = v
		}
	}
	return out, nil
}
