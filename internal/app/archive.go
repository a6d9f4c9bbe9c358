package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/Nissimmiracles/openclaw/internal/api"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/s3"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Archives tells whether the log is archived to a bucket.
func (c *Config) Archives() bool { return slices.Contains(c.AuditStorage, "s3") }

// Retention is how long the log is kept.
func (c *Config) Retention() time.Duration { return time.Duration(c.AuditRetention) * 24 * time.Hour }

func (c *Config) s3() s3.Config {
	return s3.Config{
		Bucket: c.AuditS3Bucket, Region: c.AuditS3Region, Endpoint: c.AuditS3Endpoint, Prefix: c.AuditS3Prefix,
		PathStyle: c.AuditS3PathStyle, CredentialsFile: c.AuditS3Credentials,
	}
}

func (c *Config) checkArchive() (errs []error) {
	if !c.Archives() {
		if c.AuditS3Bucket != "" {
			errs = append(errs, errors.New("AUDIT_S3_BUCKET: nothing is put into it; as in AUDIT_LOG_STORAGE=postgresql,s3"))
		}
		return errs
	}
	for _, p := range c.s3().Check() {
		errs = append(errs, fmt.Errorf("AUDIT_S3_%s: %s; as in AUDIT_S3_%s=%s", p.Field, p.What, p.Field, p.Example))
	}
	return errs
}

// OpenBucket opens the archive's bucket without asking it anything. Close it.
func OpenBucket(ctx context.Context, c Config) (*s3.Bucket, error) {
	if !c.Archives() {
		return nil, errors.New("AUDIT_LOG_STORAGE: there is no archive; as in AUDIT_LOG_STORAGE=postgresql,s3")
	}
	cfg := c.s3()
	if cfg.CredentialsFile != "" {
		if _, err := securefile.Read(cfg.CredentialsFile, 64<<10); err != nil {
			return nil, fmt.Errorf("AUDIT_S3_CREDENTIALS_FILE: %w", err)
		}
	}
	if c.AuditS3CAFile != "" {
		text, err := os.ReadFile(c.AuditS3CAFile)
		if err != nil {
			return nil, fmt.Errorf("AUDIT_S3_CA_FILE: %w", err)
		}
		if cfg.CAs = x509.NewCertPool(); !cfg.CAs.AppendCertsFromPEM(text) {
			return nil, errors.New("AUDIT_S3_CA_FILE: no PEM block CERTIFICATE in it")
		}
	}
	return s3.Open(ctx, cfg)
}

// startArchive begins to archive the log. A bucket that is not fit stops the
// start; one that is away does not: the log never waits for it.
func (a *App) startArchive(ctx context.Context, door *tenant.Door, rooms *plane.Plane) error {
	if !a.Config.Archives() {
		return nil
	}
	bucket, err := OpenBucket(ctx, a.Config)
	if err != nil {
		return err
	}
	a.onClose(bucket.Close)
	if err := bucket.Check(ctx); errors.Is(err, archive.ErrUnfit) {
		return fmt.Errorf("AUDIT_LOG_STORAGE: %w", err)
	}
	limits := archive.DefaultLimits
	limits.Age = a.Config.ArchiveAfter
	archiver, err := archive.New(archive.Config{Bucket: bucket, Retention: a.Config.Retention(), Limits: limits})
	if err != nil {
		return err
	}
	a.archive = archive.NewRunner(archive.RunConfig{
		Archiver: archiver, Bucket: bucket, Every: min(time.Minute, limits.Age/4), Log: a.log,
		Tenants: archived(a.Store, door, rooms),
		Notice:  func(n archive.Notice) { a.archiveNotice(door, rooms, n) },
	})
	a.archive.Start()
	a.onClose(a.archive.Stop)
	a.metrics.archive(a.archive)
	return nil
}

// archived lists every tenant's log, the house's first. What a tenant's status
// is makes no difference to its log.
func archived(store interface {
	Tenants(ctx context.Context, afterName string, limit int) ([]tenant.Record, error)
	Archive(tenant.Scope) archive.Ledger
}, door *tenant.Door, rooms *plane.Plane) func(context.Context) iter.Seq2[archive.Tenant, error] {
	return func(ctx context.Context) iter.Seq2[archive.Tenant, error] {
		return func(yield func(archive.Tenant, error) bool) {
			one := func(id tenant.ID) bool {
				scope, err := door.AdmitAnyStatus(ctx, id)
				if err != nil {
					return yield(archive.Tenant{}, err)
				}
				room, err := rooms.Enter(scope)
				if err != nil {
					return yield(archive.Tenant{}, err)
				}
				return yield(archive.Tenant{ID: id.String(), Log: room.Log(), Ledger: store.Archive(scope)}, nil)
			}
			if !one(tenant.House) {
				return
			}
			const page = 200
			for after := ""; ; {
				recs, err := store.Tenants(ctx, after, page)
				if err != nil {
					yield(archive.Tenant{}, err)
					return
				}
				for _, rec := range recs {
					if after = rec.Name; !one(rec.ID) {
						return
					}
				}
				if len(recs) < page {
					return
				}
			}
		}
	}
}

// archiveNotice records what became of the archive: in the house, and what
// concerns one tenant's evidence in that tenant's own log first.
func (a *App) archiveNotice(door *tenant.Door, rooms *plane.Plane, n archive.Notice) {
	ev := audit.Event{Type: audit.SecurityError, Severity: audit.High, Outcome: audit.Failed, Resource: "audit/archive", Actor: audit.Actor{Kind: audit.ActorSystem}}
	switch {
	case n.Tenant != "":
		ev.Severity, ev.Reason, ev.Details = audit.Critical, "archive_halted", map[string]any{"object": n.Object}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := inTenant(ctx, door, rooms, n.Tenant, ev); err != nil {
			a.log.Error("a tenant was not told that its archive is halted", "tenant", n.Tenant, "error", err)
		}
		ev.Details = map[string]any{"object": n.Object, "tenant": n.Tenant}
	case n.Err != nil:
		ev.Reason = "archive_stopped"
		ev.Details = map[string]any{"why": archive.Word(n.Err)}
	default:
		ev.Severity, ev.Outcome, ev.Reason = audit.Info, audit.Success, "archive_caught_up"
		ev.Details = map[string]any{"seconds": int64(n.After.Seconds())}
	}
	a.log.Warn("the audit log's archive", "reason", ev.Reason, "tenant", n.Tenant, "error", n.Err)
	a.note(ev)
}

func inTenant(ctx context.Context, door *tenant.Door, rooms *plane.Plane, id string, ev audit.Event) error {
	parsed, err := tenant.ParseID(id)
	if err != nil {
		return err
	}
	scope, err := door.AdmitAnyStatus(ctx, parsed)
	if err != nil {
		return err
	}
	room, err := rooms.Enter(scope)
	if err != nil {
		return err
	}
	_, err = room.Record(ctx, ev)
	return err
}

// archiveReady: an archive that lags takes no replica out of service, and shows.
func (a *App) archiveReady(checks map[string]error) {
	if a.archive == nil {
		return
	}
	checks["audit_archive"] = nil
	if st := a.archive.Status(); st.Stopped || st.Halted > 0 || st.Lag > 2*a.Config.ArchiveAfter+time.Minute {
		checks["audit_archive"] = api.ErrDegraded
	}
}

// archive adds the archive's metrics.
func (m *metrics) archive(r *archive.Runner) {
	gauge := func(name, help string, get func(archive.Status) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "openclaw_audit_archive_" + name, Help: help}, func() float64 { return get(r.Status()) }))
	}
	count := func(name, help string, get func(archive.Status) int64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "openclaw_audit_archive_" + name, Help: help}, func() float64 { return float64(get(r.Status())) }))
	}
	gauge("lag_seconds", "Age of the oldest event that only the database has.", func(s archive.Status) float64 { return s.Lag.Seconds() })
	gauge("pending_events", "Events that only the database has.", func(s archive.Status) float64 { return float64(s.Pending) })
	gauge("halted_tenants", "Tenants whose archive waits for a person.", func(s archive.Status) float64 { return float64(s.Halted) })
	count("segments_total", "Segments that this replica archived and read back.", func(s archive.Status) int64 { return s.Segments })
	count("events_total", "Events in them.", func(s archive.Status) int64 { return s.Events })
	count("bytes_total", "Their size in the bucket.", func(s archive.Status) int64 { return s.Bytes })
	count("failures_total", "Rounds and tenants that failed.", func(s archive.Status) int64 { return s.Failures })
}
