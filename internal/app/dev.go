package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/authn/localca"
	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
	"github.com/Nissimmiracles/openclaw/internal/embedded/pgserver"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
)

// devDatabase is the private cluster's database.
const devDatabase = "openclaw"

// Account is an account that dev made. The password is kept in the data folder
// (mode 0600), so that a second start can show it again: dev is for a laptop.
type Account struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

// Dev is a platform with everything it needs around it.
type Dev struct {
	*App
	CAFile       string
	OperatorCert string // client certificate and key of the platform operator, PEM
	Tenants      []Account
	Operator     Account

	server *pgserver.Server
}

// StartDev brings up a private PostgreSQL, keys, a CA and two tenants under
// c.Data, and builds the platform on them. say gets one line for each thing
// that takes long or changes the machine.
func StartDev(ctx context.Context, c Config, log *slog.Logger, say func(format string, args ...any)) (_ *Dev, err error) {
	if c.Env == "production" {
		return nil, errors.New("ENV=production does not go with `openclaw dev`, which keeps passwords in a file; use `openclaw serve`")
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return nil, err
	}
	// Root's PostgreSQL drops to another account, which has to pass through.
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(c.Data, mode); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(c.Data, "keys"), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of keys: %w", err)
	}
	d := &Dev{}
	defer func() {
		if err != nil {
			d.Stop()
		}
	}()

	if d.server, err = startPostgres(ctx, c, log, say); err != nil {
		return nil, err
	}
	if err := postgres.Bootstrap(ctx, d.server.DSN(pgserver.Superuser, "postgres"), devDatabase); err != nil {
		return nil, err
	}
	m, err := postgres.Migrate(ctx, d.server.DSN(postgres.OwnerRole, devDatabase))
	if err != nil {
		return nil, err
	}
	if m.From != m.To {
		say("migrated the database from version %d to %d", m.From, m.To)
	}
	c.DatabaseURL = Secret(d.server.DSN(postgres.AppRole, devDatabase))

	ca, err := localca.Open(localca.Config{Dir: filepath.Join(c.Data, "ca"), TrustDomain: c.TrustDomain})
	if err != nil {
		return nil, err
	}
	d.CAFile = ca.File()
	if c.TLSCertFile == "" {
		if c.TLSCertFile, err = ca.Server(); err != nil {
			return nil, err
		}
		c.TLSKeyFile = c.TLSCertFile
	}
	if d.OperatorCert, err = ca.Client("operator/dev"); err != nil {
		return nil, err
	}
	if c.ClientCAFile == "" {
		c.ClientCAFile, c.ClientCerts = ca.File(), "optional"
	}
	if c.JWTKeyFile == "" {
		if c.JWTKeyFile, err = ensureSigningKey(keyFile(c.Data, "jwt.pem"), say); err != nil {
			return nil, err
		}
	}
	if c.KMSKeyID == "" {
		if c.KMSKeyID, err = ensureKEK(keyFile(c.Data, "kek.bin")); err != nil {
			return nil, err
		}
	}
	if c.AuditKeyFile == "" {
		if c.AuditKeyFile, err = ensureAuditKey(AuditKeyFile(c.Data)); err != nil {
			return nil, err
		}
	}
	// Where the verbs that work on the database find it while this runs.
	if err := securefile.Write(DatabaseFile(c.Data), []byte(c.DatabaseURL.Expose())); err != nil {
		return nil, err
	}
	if d.App, err = Build(ctx, c, log); err != nil {
		return nil, err
	}
	return d, d.settle(ctx, say)
}

// DatabaseFile holds the URL of a dev platform's database.
func DatabaseFile(data string) string { return keyFile(data, "database.url") }

// Stop ends the platform and then its database.
func (d *Dev) Stop() {
	if d.App != nil {
		d.App.Close()
	}
	if d.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = d.server.Stop(ctx)
	}
}

// Done tells when the database died under us.
func (d *Dev) Done() <-chan struct{} { return d.server.Done() }

func startPostgres(ctx context.Context, c Config, log *slog.Logger, say func(string, ...any)) (*pgserver.Server, error) {
	data := filepath.Join(c.Data, "postgres")
	o := pgserver.Options{Bin: c.PGBin, Major: pgserver.ClusterMajor(data), Logf: say}
	bin, err := pgserver.Find(ctx, o)
	if errors.Is(err, pgserver.ErrNotFound) {
		say("no PostgreSQL 15 here; installing it")
		bin, err = pgserver.Install(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	if o.Major == 0 {
		say("starting a private PostgreSQL %s in %s", bin.Version, data)
	}
	return pgserver.Start(ctx, pgserver.Config{Data: data, Binaries: bin, Logger: log})
}

func ensureSigningKey(path string, say func(string, ...any)) (string, error) {
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	say("making an RSA key for tokens")
	key, err := authn.GenerateSigningKey()
	if err != nil {
		return "", err
	}
	text, err := key.ExposePEM()
	if err != nil {
		return "", err
	}
	return path, securefile.Write(path, text)
}

// accounts is the file that remembers what dev made.
type accounts struct {
	Tenants  []Account `json:"tenants"`
	Operator Account   `json:"operator"`
}

// settle makes the platform operator and the two tenants, once: what exists
// stays, and what a crash left out is made now.
func (d *Dev) settle(ctx context.Context, say func(string, ...any)) error {
	path := keyFile(d.Config.Data, "accounts.json")
	var known accounts
	if text, err := securefile.Read(path, 1<<20); err == nil {
		if err := json.Unmarshal(text, &known); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Passwords are durable before the accounts that have them: a crash in
	// between must not leave an account nobody can open.
	if known.Operator.Email == "" {
		known.Operator = Account{Name: "platform", Email: "operator@platform.example", Password: password.OneTime()}
		for _, name := range []string{"acme", "globex"} {
			known.Tenants = append(known.Tenants, Account{Name: name, Email: "admin@" + name + ".example", Password: password.OneTime()})
		}
		if err := writeAccounts(path, known); err != nil {
			return err
		}
	}
	if err := d.settleOperator(ctx, known.Operator); err != nil {
		return err
	}
	changed := false
	for i := range known.Tenants {
		t := &known.Tenants[i]
		id, err := d.settleTenant(ctx, *t, say)
		if err != nil {
			return err
		}
		changed = changed || t.ID != id
		t.ID = id
	}
	if changed {
		if err := writeAccounts(path, known); err != nil {
			return err
		}
	}
	d.Tenants, d.Operator = known.Tenants, known.Operator
	return nil
}

func writeAccounts(path string, a accounts) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return securefile.Write(path, append(text, '\n'))
}

var devGranter = identity.Granter{Platform: true}

func devEvent() audit.Event {
	return audit.Event{Outcome: audit.Success, Action: "dev.setup", Actor: audit.Actor{Kind: audit.ActorSystem, ID: "openclaw dev"}}
}

func (d *Dev) settleOperator(ctx context.Context, a Account) error {
	u, err := d.Store.UserByEmail(ctx, d.House.Scope(), a.Email)
	if fault.CodeOf(err) == fault.NotFound {
		u, err = d.Identity.CreateUser(ctx, d.House, devGranter, devEvent(), identity.NewUser{Email: a.Email, Password: a.Password, Roles: []string{"platform_admin"}})
	}
	if err != nil {
		return err
	}
	// The operator's client certificate stands for the account.
	name := "spiffe://" + d.Config.TrustDomain + "/operator/dev"
	if _, err := d.Store.AccountByName(ctx, authn.Name(name)); fault.CodeOf(err) != fault.NotFound {
		return err
	}
	ev := devEvent()
	ev.Type, ev.Resource, ev.Details = audit.UserChanged, "user/"+u.ID.String(), map[string]any{"change": "certificate"}
	_, err = d.House.Change(ctx, ev, func(tx plane.Tx) error { return d.Store.BindCertificate(ctx, tx, u.ID, name) })
	return err
}

func (d *Dev) settleTenant(ctx context.Context, a Account, say func(string, ...any)) (string, error) {
	rec, err := d.Store.FindByName(ctx, a.Name)
	if fault.CodeOf(err) == fault.NotFound {
		say("making the tenant %s", a.Name)
		rec, err = d.Identity.CreateTenant(ctx, d.Store, devEvent(), a.Name, d.Config.Tier)
	}
	if err != nil {
		return "", err
	}
	room, err := d.Identity.Enter(ctx, a.Name)
	if err != nil {
		return "", err
	}
	_, err = d.Store.UserByEmail(ctx, room.Scope(), a.Email)
	if fault.CodeOf(err) == fault.NotFound {
		_, err = d.Identity.CreateUser(ctx, room, devGranter, devEvent(), identity.NewUser{Email: a.Email, Password: a.Password, Roles: []string{"tenant_admin"}})
	}
	return rec.ID.String(), err
}
