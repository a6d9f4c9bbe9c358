package postgres

import (
	"context"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// archiveLedger remembers how far one tenant's archive has come.
type archiveLedger struct {
	s     *Store
	scope tenant.Scope
}

// Archive is the ledger of a tenant's archive.
func (s *Store) Archive(scope tenant.Scope) archive.Ledger { return archiveLedger{s, scope} }

func (l archiveLedger) id() string { return l.scope.ID().String() }

// State implements archive.Ledger. A tenant without a row has nothing archived.
func (l archiveLedger) State(ctx context.Context) (st archive.State, err error) {
	if err := l.scope.Check(); err != nil {
		return st, err
	}
	var last, oldest *time.Time
	err = l.s.query(ctx, l.scope, one(func(r pgx.Rows) error {
		return r.Scan(&st.Now, &st.Upto, &st.Segments, &st.Bytes, &last, &st.Halted, &st.Over, &st.Next, &oldest, &st.Newest)
	}), archiveState, l.id())
	if last != nil {
		st.Last = *last
	}
	if oldest != nil {
		st.Oldest = *oldest
	}
	return st, err
}

// archiveState: three look-ups by key, however long the log is.
const archiveState = `SELECT clock_timestamp(), a.upto, a.segments, a.bytes, a.last, a.halted, a.over, a.next,
		(SELECT CASE WHEN seq + n > a.next THEN at END FROM audit_leaves WHERE tenant_id = $1 AND seq <= a.next ORDER BY seq DESC LIMIT 1),
		COALESCE((SELECT seq + n - 1 FROM audit_leaves WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1), 0)
	FROM (SELECT COALESCE(r.upto, 0) AS upto, COALESCE(r.segments, 0) AS segments, COALESCE(r.bytes, 0) AS bytes, r.last,
			COALESCE(r.halted, '') AS halted, COALESCE(r.over, false) AS over,
			1 + GREATEST(COALESCE(r.upto, 0), COALESCE((SELECT gone FROM audit_expiry WHERE tenant_id = $1), 0)) AS next
		FROM (SELECT 1) one LEFT JOIN audit_archive r ON r.tenant_id = $1) a`

// Claim implements archive.Ledger, by the database's clock.
func (l archiveLedger) Claim(ctx context.Context, holder string, lease time.Duration) (ok bool, err error) {
	if err := l.scope.Check(); err != nil {
		return false, err
	}
	err = l.s.query(ctx, l.scope, each(func(r pgx.Rows) error { return r.Scan(&ok) }),
		`INSERT INTO audit_archive AS a (tenant_id, holder, held_until) VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 second')
		ON CONFLICT (tenant_id) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
		WHERE (a.holder = excluded.holder OR a.held_until < clock_timestamp()) AND a.halted = ''
		RETURNING true`, l.id(), holder, lease.Seconds())
	return ok, err
}

// Advance implements archive.Ledger: the row and the cursor in one transaction.
func (l archiveLedger) Advance(ctx context.Context, e archive.Entry) error {
	if err := l.scope.Check(); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, l.s.pool, func(tx pgx.Tx) error {
		var upto int64
		b := &pgx.Batch{}
		b.Queue(setTenant, l.id())
		b.Queue(`SELECT upto FROM audit_archive WHERE tenant_id = $1 FOR UPDATE`, l.id()).QueryRow(func(r pgx.Row) error { return r.Scan(&upto) })
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		if upto != e.First-1 && upto > 0 { // the first may begin where the log's bodies do
			return archive.ErrMoved
		}
		b = &pgx.Batch{}
		b.Queue(`INSERT INTO audit_segments (tenant_id, first, last, key, version, digest, bytes, size, newest, until)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, l.id(), e.First, e.Last, e.Key, e.Version, e.Digest[:], e.Bytes, e.Size, e.Newest, e.Until)
		b.Queue(`UPDATE audit_archive SET upto = $2, segments = segments + 1, bytes = bytes + $3, last = clock_timestamp(), over = false WHERE tenant_id = $1`,
			l.id(), e.Last, e.Bytes)
		return tx.SendBatch(ctx, b).Close()
	})
	return translate(err)
}

// Release implements archive.Ledger.
func (l archiveLedger) Release(ctx context.Context, holder, halted string) error {
	return l.update(ctx, `UPDATE audit_archive SET holder = '', held_until = '-infinity', halted = $3 WHERE tenant_id = $1 AND holder = $2`, l.id(), holder, halted)
}

// Resume implements archive.Ledger.
func (l archiveLedger) Resume(ctx context.Context) error {
	var halted bool
	err := l.s.query(ctx, l.scope, each(func(r pgx.Rows) error { return r.Scan(&halted) }),
		`UPDATE audit_archive SET halted = '', over = true WHERE tenant_id = $1 AND halted <> '' RETURNING true`, l.id())
	if err == nil && !halted {
		err = fault.New(fault.NotFound, "the archive of this tenant is not halted")
	}
	return err
}

func (l archiveLedger) update(ctx context.Context, sql string, args ...any) error {
	if err := l.scope.Check(); err != nil {
		return err
	}
	return l.s.query(ctx, l.scope, each(func(pgx.Rows) error { return nil }), sql, args...)
}

const entryPage = 500

// Entries implements archive.Ledger, a page at a time.
func (l archiveLedger) Entries(ctx context.Context) iter.Seq2[archive.Entry, error] {
	return func(yield func(archive.Entry, error) bool) {
		for after := int64(0); ; {
			page := make([]archive.Entry, 0, entryPage)
			err := l.s.query(ctx, l.scope, each(func(r pgx.Rows) error {
				var e archive.Entry
				var digest []byte
				err := r.Scan(&e.First, &e.Last, &e.Key, &e.Version, &digest, &e.Bytes, &e.Size, &e.Newest, &e.Until)
				copy(e.Digest[:], digest)
				page = append(page, e)
				return err
			}), `SELECT first, last, key, version, digest, bytes, size, newest, until FROM audit_segments
				WHERE tenant_id = $1 AND first > $2 ORDER BY first LIMIT $3`, l.id(), after, entryPage)
			if err != nil {
				yield(archive.Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.First
			}
			if len(page) < entryPage {
				return
			}
		}
	}
}
