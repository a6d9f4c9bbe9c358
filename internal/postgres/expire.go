package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Everything here that knows how bodies and leaves are stored is in this file's
// statements and in audit_expire, audit_events_guard and audit_drop_month.

// expireBatch is how many records one transaction deletes.
const expireBatch = 2000

// Expired counts what a pass of expiry did. Held are tenants whose hold kept
// something that was due, Waiting those whose archive has yet to take it.
type Expired struct {
	Statements, Months, Held, Waiting int
	Records                           int64
}

// Expire deletes the bodies of whole months that are past their tenant's
// retention, oldest first. For each month: a signed statement and the event that
// tells of it commit together; the event is numbered and published; only then
// audit_expire, which checks all of this itself, deletes a batch a transaction.
// Wherever a crash falls, the next pass on any replica goes on from there.
func (s *Store) Expire(ctx context.Context) (Expired, error) {
	var e Expired
	if s.pub == nil {
		return e, errors.New("delete what is past its retention: this store has no key to sign with")
	}
	rows, err := s.pool.Query(ctx, `SELECT id FROM tenants`)
	if err != nil {
		return e, translate(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return e, translate(err)
	}
	var errs []error
	for _, id := range ids { // one tenant's trouble is not its neighbours'
		if err := s.expireTenant(ctx, tenant.ID(id), &e); err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", id, err))
		}
	}
	for ctx.Err() == nil {
		var dropped bool
		err := s.pool.QueryRow(ctx, `SELECT audit_drop_month()`).Scan(&dropped)
		var pe *pgconn.PgError
		if errors.As(err, &pe) && pe.Code == lockNotAvailable { // somebody reads; later
			break
		}
		if err != nil {
			errs = append(errs, translate(err))
		}
		if err != nil || !dropped {
			break
		}
		e.Months++
	}
	return e, errors.Join(append(errs, ctx.Err())...)
}

func (s *Store) expireTenant(ctx context.Context, id tenant.ID, e *Expired) error {
	for ctx.Err() == nil {
		d, err := s.due(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case d.held && (d.open || d.due):
			e.Held++
			return nil
		case s.archived && (d.open && d.archived < d.first-1 || !d.open && d.due && d.archived < d.tree.N):
			e.Waiting++
			return nil
		case (d.open || d.due) && s.clocksDiffer(d.clock):
			return fmt.Errorf("delete what is past its retention: the database's clock says %s and this machine's %s, so nothing is deleted", d.clock.UTC().Format(time.RFC3339), s.now().UTC().Format(time.RFC3339))
		case d.open:
			if err := s.carryOut(ctx, id, e); err != nil {
				return err
			}
		case d.due:
			if err := s.stateDeletion(ctx, id); err != nil {
				return err
			}
			e.Statements++
		default:
			return nil
		}
	}
	return ctx.Err()
}

// Deletion cannot be taken back, and a clock can be wrong by years. So two must
// agree, the database's and this machine's, and this one must not have been set
// forward by days while the process ran; a machine that slept looks like that too.
const (
	clocksApart = 10 * time.Minute
	clockLeap   = 7 * 24 * time.Hour
)

func (s *Store) clocksDiffer(database time.Time) bool {
	now := s.now()
	leap := now.Round(0).Sub(s.opened.Round(0)) - now.Sub(s.opened) // wall and monotonic
	return database.Sub(now).Abs() > clocksApart || leap.Abs() > clockLeap
}

// due is what stands next for a tenant: a statement that is not carried out, or
// a month that nothing is stated of.
type due struct {
	held, open, due bool
	number, days    int // of the last statement, in force
	first           int64
	archived        int64 // records in the archive
	tree            tlog.Tree
	month           time.Time
	clock           time.Time
}

// selectDue finds the oldest month with a checkpoint beyond what is stated, and
// the last checkpoint in it.
const selectDue = `SELECT d.number, d.last + 1, d.number > COALESCE(x.number, 0), COALESCE(h.held, false), audit_retention_days($1), clock_timestamp(),
		COALESCE(m.month, 'epoch'), COALESCE(c.size, 0), COALESCE(c.root, ''),
		COALESCE(m.month + interval '1 month' <= (clock_timestamp() AT TIME ZONE 'UTC') - make_interval(days => audit_retention_days($1)), false),
		COALESCE((SELECT upto FROM audit_archive WHERE tenant_id = $1), 0)
	FROM (SELECT COALESCE(max(number), 0) AS number, COALESCE(max(last), 0) AS last FROM audit_deletions WHERE tenant_id = $1) d
	LEFT JOIN audit_expiry x ON x.tenant_id = $1
	LEFT JOIN (SELECT held FROM audit_holds WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1) h ON true
	LEFT JOIN LATERAL (SELECT date_trunc('month', at AT TIME ZONE 'UTC') AS month FROM audit_checkpoints
		WHERE tenant_id = $1 AND size > d.last ORDER BY size LIMIT 1) m ON true
	LEFT JOIN LATERAL (SELECT size, root FROM audit_checkpoints
		WHERE tenant_id = $1 AND size > d.last AND at < (m.month + interval '1 month') AT TIME ZONE 'UTC' ORDER BY size DESC LIMIT 1) c ON true`

func (d *due) scan(r pgx.Rows) error {
	var root []byte
	if err := r.Scan(&d.number, &d.first, &d.open, &d.held, &d.days, &d.clock, &d.month, &d.tree.N, &root, &d.due, &d.archived); err != nil {
		return err
	}
	copy(d.tree.Hash[:], root)
	return nil
}

func (s *Store) due(ctx context.Context, id tenant.ID) (d due, err error) {
	return d, s.queryIn(ctx, id, one(d.scan), selectDue, id.String())
}

// stateDeletion signs that the next month goes, and records it.
func (s *Store) stateDeletion(ctx context.Context, id tenant.ID) error {
	p := s.pub
	origin := checkpoint.Origin(p.host, id.String())
	key, err := checkpoint.NewSigner(origin, p.keys.Key)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var d due
		b := &pgx.Batch{}
		b.Queue(setTenant, id.String())
		b.Queue(`SELECT audit_expiry_lock($1)`, id.String())
		b.Queue(selectDue, id.String()).Query(one(d.scan)) // again, under the lock
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		if d.held || d.open || !d.due {
			return nil // another replica, or an operator, was faster
		}
		// What is signed for is what the stored hashes still say.
		if root, err := (merkle.Prover{Hashes: tenantLog.on(tx), Tree: d.tree}).Rebuild(ctx); err != nil || root.Tree() != d.tree {
			return errors.Join(errBroken, err)
		}
		st := checkpoint.Deletion{Number: d.number + 1, First: d.first, Tree: d.tree, Month: d.month, Days: d.days, At: d.clock}
		signed, err := st.Sign(key)
		if err != nil {
			return err
		}
		sealed, err := record.Seal(id.String(), audit.Event{
			Type: audit.DataDeleted, Severity: audit.Warning, Outcome: audit.Success, Reason: "retention", Resource: "audit",
			Actor: audit.Actor{Kind: audit.ActorSystem},
			Details: map[string]any{"deletion": st.Number, "first": st.First, "last": st.Tree.N, "count": st.Tree.N - st.First + 1,
				"month": st.Month.Format("2006-01"), "root": st.Tree.Hash.String(), "retention_days": st.Days, "statement": st.Text(origin)},
		}, s.now)
		if err != nil {
			return err
		}
		out := &pgx.Batch{}
		queueEvents(out, id, []*record.Sealed{&sealed})
		out.Queue(`INSERT INTO audit_deletions (tenant_id, number, first, last, month, root, days, event_id, signed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			id.String(), st.Number, st.First, st.Tree.N, st.Month, st.Tree.Hash[:], st.Days, sealed.ID, string(signed))
		return tx.SendBatch(ctx, out).Close()
	})
	return translate(err)
}

// carryOut deletes what the oldest open statement says, once its event is
// published.
func (s *Store) carryOut(ctx context.Context, id tenant.ID, e *Expired) error {
	var n int64
	number := func(sql string, arg any) error {
		return s.queryIn(ctx, id, one(func(r pgx.Rows) error { return r.Scan(&n) }), sql, arg)
	}
	for n = sequenceBatch; n == sequenceBatch; {
		if err := number(`SELECT audit_sequence($1)`, sequenceBatch); err != nil {
			return err
		}
	}
	if err := s.pub.publish(ctx, id); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := number(`SELECT audit_expire($1)`, expireBatch); err != nil || n == 0 {
			return err
		}
		e.Records += n
	}
	return ctx.Err()
}

// deletions lists the tenant's signed deletions, oldest first.
func (l log) deletions(ctx context.Context) ([]audit.Deletion, error) {
	out := []audit.Deletion{}
	err := l.s.query(ctx, l.scope, each(func(r pgx.Rows) error {
		var d audit.Deletion
		var root []byte
		err := r.Scan(&d.Number, &d.First, &d.Last, &d.Month, &root, &d.Days, &d.Signed, &d.Done)
		if err == nil && len(root) == tlog.HashSize {
			d.Root = tlog.Hash(root).String()
		}
		out = append(out, d)
		return err
	}), `SELECT d.number, d.first, d.last, to_char(d.month, 'YYYY-MM'), d.root, d.days, d.signed, d.number <= COALESCE(x.number, 0)
		FROM audit_deletions d LEFT JOIN audit_expiry x ON x.tenant_id = d.tenant_id WHERE d.tenant_id = $1 ORDER BY d.number`, l.scope.ID().String())
	return out, err
}

// expired is the last signed deletion that is carried out or begun, and the last
// record whose body is gone; nil if none is.
func (l log) expired(ctx context.Context) (last *audit.Deletion, gone int64, err error) {
	err = l.s.query(ctx, l.scope, each(func(r pgx.Rows) error { return r.Scan(&gone) }),
		`SELECT gone FROM audit_expiry WHERE tenant_id = $1`, l.scope.ID().String())
	if err != nil || gone == 0 {
		return nil, 0, err
	}
	ds, err := l.deletions(ctx)
	for i := range ds {
		if ds[i].First <= gone {
			last = &ds[i]
		}
	}
	return last, gone, err
}

// bodiless is the error for a record whose body is not there: deleted under a
// signature, or missing.
func (l log) bodiless(ctx context.Context, seq int64) error {
	ds, err := l.deletions(ctx)
	if err != nil {
		return err
	}
	for _, d := range ds {
		if d.First <= seq && seq <= d.Last {
			return fault.New(fault.Expired, "records 1 to %d are expired; record %d by signed deletion %d of %s: ask for what comes after %d",
				ds[len(ds)-1].Last, seq, d.Number, d.Month, ds[len(ds)-1].Last)
		}
	}
	return fmt.Errorf("record %d: its body is missing: %w", seq, merkle.ErrCorrupt)
}

// afterExpired begins a bundle that names no first record after what is expired,
// and puts the statement that says so into it.
func (l log) afterExpired(ctx context.Context, r audit.Range, c *bundle.Contents) error {
	d, gone, err := l.expired(ctx)
	if err != nil || d == nil || c.From > gone || c.From > c.To {
		return err
	}
	if r.From > 0 {
		return l.bodiless(ctx, c.From)
	}
	c.From, c.Expired = d.Last+1, []byte(d.Signed)
	c.To = max(c.To, d.Last)
	return nil
}
