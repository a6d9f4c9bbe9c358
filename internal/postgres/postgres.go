// Package postgres keeps tenants' rooms in PostgreSQL 15 or newer under
// row-level security.
//
// The types above already make a cross-tenant call unwritable; the database
// confirms it: the application's role owns nothing and cannot bypass the
// policies, and each transaction names its tenant in the same round trip as its
// first query.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// setTenant names the tenant for the transaction it runs in and no longer.
const setTenant = `SELECT set_config('app.current_tenant_id', $1, true)`

// The log's commits, numbering and publishing have connections of their own, one
// for each of those that may be under way at once: requests that hold all of
// theirs cannot stop the log, nor the log requests. Connections are made when
// they are needed.
const (
	freshAtOnce = 4                                                                               // requests that publish
	workConns   = recordWriters + 2 + recordAlone + sequencers + publishers + 1 + freshAtOnce + 2 // the last: leases of reads
)

// Config says how to reach the database. URL must name the application's role,
// never the owner's.
type Config struct {
	URL      string
	MaxConns int32 // for requests; 0: what the URL's pool_max_conns says, else 16 or four for each processor
	Logger   *slog.Logger
	Now      func() time.Time // nil: time.Now
	// Signing is the audit log's; without a key this store leaves the signing
	// of checkpoints to others.
	Signing Signing
	// Reads is a folder on this machine for the counters that let a crash tell
	// exactly how many plain reads it kept from the log; "" has it tell at most
	// how many.
	Reads string
	// Archived is whether the log is archived elsewhere: then no body is deleted
	// here that is not there.
	Archived bool
}

// Store is the plane's, identity's and tenants' store. It is safe for
// concurrent use. Close stops it.
type Store struct {
	pool     *pgxpool.Pool // requests'
	work     *pgxpool.Pool // the log's own: commits, numbering, publishing
	fresh    chan struct{} // held by a request that publishes
	log      *slog.Logger
	now      func() time.Time
	opened   time.Time
	recorder *recorder
	writing  writing
	notices  *notices
	seq      *sequencer
	pub      *publisher // nil: no key
	acts     *acts
	reads    *reads
	tenants  tenantCache
	settings settingsCache
	tiles    tiles
	cosign   cosigning
	archived bool
}

// Open connects, refuses a role or a schema that could cross tenants, and
// starts the writers of the audit log.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errors.New("read DATABASE_URL: not a PostgreSQL URL (want postgres://user@host/database)") // pgx's text may hold the password
	}
	switch {
	case cfg.MaxConns > 0:
		pc.MaxConns = cfg.MaxConns
	case !strings.Contains(cfg.URL, "pool_max_conns"):
		pc.MaxConns = max(16, int32(4*runtime.GOMAXPROCS(0)))
	}
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	for k, v := range map[string]string{
		"application_name":                    "openclaw",
		"timezone":                            "UTC",
		"statement_timeout":                   "30s",
		"lock_timeout":                        "10s",
		"idle_in_transaction_session_timeout": "30s",
	} {
		if pc.ConnConfig.RuntimeParams[k] == "" {
			pc.ConnConfig.RuntimeParams[k] = v
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	wc := pc.Copy()
	wc.MaxConns, wc.MinConns, wc.MinIdleConns = workConns, 0, 0
	work, err := pgxpool.NewWithConfig(ctx, wc)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	s := &Store{pool: pool, work: work, fresh: make(chan struct{}, freshAtOnce), log: cfg.Logger, now: cfg.Now, acts: newActs(), archived: cfg.Archived}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.opened = s.now()
	if err := s.checkDoor(ctx); err != nil {
		s.closePools()
		return nil, err
	}
	if _, err := pool.Exec(ctx, `SELECT audit_partitions(3)`); err != nil {
		s.closePools()
		return nil, fmt.Errorf("prepare the audit log's partitions: %w", err)
	}
	beat := &pgx.Batch{}
	s.acts.beat(beat) // before the first act, or a sweep elsewhere takes this replica for dead
	if err := pool.SendBatch(ctx, beat).Close(); err != nil {
		s.closePools()
		return nil, fmt.Errorf("sign in as a replica: %w", translate(err))
	}
	if s.reads, err = startReads(s, cfg.Reads); err != nil {
		s.closePools()
		return nil, err
	}
	if cfg.Signing.Key != nil {
		if s.pub, err = newPublisher(ctx, s, cfg.Signing); err != nil {
			pool.Close()
			return nil, err
		}
		s.pub.start()
	}
	s.recorder = startRecorder(s)
	s.seq = startSequencer(s)
	s.notices = startNotices(s)
	return s, nil
}

// Close writes what is queued, stops the writers and closes the connections.
// Closing twice is fine.
func (s *Store) Close() {
	s.recorder.stop()
	s.seq.stop()
	s.reads.stop()
	if s.pub != nil {
		s.pub.stop()
	}
	s.notices.stop()
	s.closePools()
}

func (s *Store) closePools() {
	s.pool.Close()
	s.work.Close()
}

// Ping answers whether the database takes queries now.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// query runs one statement inside the tenant, in one round trip, as a
// transaction of its own: the batch is one pipeline with one Sync.
func (s *Store) query(ctx context.Context, scope tenant.Scope, read func(pgx.Rows) error, sql string, args ...any) error {
	return s.queryIn(ctx, scope.ID(), read, sql, args...)
}

func (s *Store) queryIn(ctx context.Context, id tenant.ID, read func(pgx.Rows) error, sql string, args ...any) error {
	//sqllint:allow a parameter handed on
	return queryOn(ctx, s.pool, id, read, sql, args...)
}

func queryOn(ctx context.Context, pool *pgxpool.Pool, id tenant.ID, read func(pgx.Rows) error, sql string, args ...any) error {
	b := &pgx.Batch{}
	b.Queue(setTenant, id.String())
	b.Queue(sql, args...)
	br := pool.SendBatch(ctx, b)
	err := func() error {
		if _, err := br.Exec(); err != nil {
			return err
		}
		rows, err := br.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		if err := read(rows); err != nil {
			return err
		}
		return rows.Err()
	}()
	if cerr := br.Close(); err == nil {
		err = cerr
	}
	return translate(err)
}

// one reads exactly one row; none answers not_found.
func one(scan func(pgx.Rows) error) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		if !rows.Next() {
			if err := rows.Err(); err != nil {
				return err
			}
			return fault.New(fault.NotFound, "there is no such thing here")
		}
		return scan(rows)
	}
}

// each reads every row.
func each(scan func(pgx.Rows) error) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return nil
	}
}

// Classes and codes: PostgreSQL 15, appendix A.
const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
	checkViolation      = "23514"
	untranslatable      = "22P05"
	badText             = "22021"
	serialization       = "40001"
	deadlock            = "40P01"
	queryCanceled       = "57014"
	lockNotAvailable    = "55P03"
)

// translate gives what the database said the name it has in package fault.
// What it does not know stays internal.
func translate(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	var pe *pgconn.PgError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.Timeout, "the database did not answer in time")
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &pe):
		switch pe.Code {
		case uniqueViolation:
			return fault.Wrap(err, fault.Conflict, "that name is taken")
		case foreignKeyViolation:
			return fault.Wrap(err, fault.Unprocessable, "it refers to something that is not there")
		case checkViolation, untranslatable, badText:
			return fault.Wrap(err, fault.Unprocessable, "a value is outside what is allowed")
		case queryCanceled, lockNotAvailable:
			return fault.Wrap(err, fault.Timeout, "the database did not answer in time")
		}
		switch pe.Code[:2] {
		case "08", "53", "57": // connection, resources (disk full is 53100), operator intervention
			return unavailable(err)
		}
		return err
	}
	var ce *pgconn.ConnectError
	if errors.As(err, &ce) || pgconn.SafeToRetry(err) {
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error {
	f := fault.Wrap(err, fault.Unavailable, "the database is not available")
	f.RetryAfter = 2 * time.Second
	return f
}

// again reports whether a transaction lost a race and may run once more.
func again(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == serialization || pe.Code == deadlock)
}
