package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Standing reads, in one round trip and one snapshot, all that can end a
// token: the tenant, the subject, the session. It takes an id because it
// answers before anybody is admitted; it gives no content. What does not exist
// stands nowhere.
func (s *Store) Standing(ctx context.Context, id tenant.ID, subject, session uuid.UUID) (st identity.Standing, err error) {
	b := &pgx.Batch{}
	b.Queue(setTenant, id.String())
	b.Queue(`SELECT t.status, COALESCE(u.status, a.status, '') = 'active', COALESCE(u.epoch, a.epoch, 0),
			s.id IS NULL OR s.revoked_at IS NOT NULL OR s.expires_at <= now()
		FROM tenants t
		LEFT JOIN users u ON u.tenant_id = t.id AND u.id = $2
		LEFT JOIN service_accounts a ON a.tenant_id = t.id AND a.id = $2
		LEFT JOIN sessions s ON s.tenant_id = t.id AND s.id = $3 AND s.subject = $2
		WHERE t.id = $1`, id.String(), subject, session).QueryRow(func(r pgx.Row) error {
		return r.Scan(&st.Tenant, &st.Active, &st.Epoch, &st.Revoked)
	})
	err = s.pool.SendBatch(ctx, b).Close()
	if err == pgx.ErrNoRows {
		return identity.Standing{Tenant: tenant.Erased, Revoked: true}, nil
	}
	return st, translate(err)
}

// InsertSession opens a session.
func (s *Store) InsertSession(_ context.Context, ptx plane.Tx, v identity.Session) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.later(`INSERT INTO sessions (tenant_id, id, subject, expires_at) VALUES ($1, $2, $3, $4)`,
		tx.scope.ID().String(), v.ID, v.Subject, v.Expires)
	// Housekeeping rides along: what ended a week ago is of no use to anybody.
	tx.later(`DELETE FROM sessions WHERE tenant_id = $1 AND expires_at < now() - interval '7 days'`, tx.scope.ID().String())
	tx.later(`DELETE FROM idempotency WHERE tenant_id = $1 AND created_at < now() - interval '24 hours'`, tx.scope.ID().String())
	return nil
}

// RevokeSession ends a session on every replica.
func (s *Store) RevokeSession(_ context.Context, ptx plane.Tx, id uuid.UUID) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.later(`UPDATE sessions SET revoked_at = now() WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL`, tx.scope.ID().String(), id)
	tx.later(`SELECT pg_notify($1, $2 || '/' || subject) FROM sessions WHERE tenant_id = $3 AND id = $4`,
		noticeChannel, tx.scope.ID().String(), tx.scope.ID().String(), id)
	return nil
}

// RevokeSessionsOf ends every session of a subject.
func (s *Store) RevokeSessionsOf(_ context.Context, ptx plane.Tx, subject uuid.UUID) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.revokeSessionsOf(subject)
	return nil
}

func (tx *Tx) revokeSessionsOf(subject uuid.UUID) {
	tx.later(`UPDATE sessions SET revoked_at = now() WHERE tenant_id = $1 AND subject = $2 AND revoked_at IS NULL`, tx.scope.ID().String(), subject)
	tx.standingChanged(subject.String())
}

// InsertRefresh stores a refresh token by its hash.
func (s *Store) InsertRefresh(_ context.Context, ptx plane.Tx, hash [32]byte, session uuid.UUID, expires time.Time) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.later(`INSERT INTO refresh_tokens (tenant_id, hash, session_id, expires_at) VALUES ($1, $2, $3, $4)`,
		tx.scope.ID().String(), hash[:], session, expires)
	return nil
}

// SpendRefresh marks a token used. The row lock tells two spenders apart.
func (s *Store) SpendRefresh(ctx context.Context, ptx plane.Tx, hash [32]byte) (sp identity.Spent, err error) {
	tx, err := own(ptx)
	if err != nil {
		return sp, err
	}
	var used *time.Time
	err = tx.row(ctx, []any{&sp.Session.ID, &sp.Session.Subject, &sp.Session.Expires, &sp.Session.Revoked, &used, &sp.Expired},
		`SELECT s.id, s.subject, s.expires_at, s.revoked_at IS NOT NULL, r.used_at, r.expires_at <= now() OR s.expires_at <= now()
		FROM refresh_tokens r JOIN sessions s ON s.tenant_id = r.tenant_id AND s.id = r.session_id
		WHERE r.tenant_id = $1 AND r.hash = $2 FOR UPDATE OF r`, tx.scope.ID().String(), hash[:])
	if err != nil {
		return sp, translate(err)
	}
	sp.Again = used != nil
	if !sp.Again {
		tx.later(`UPDATE refresh_tokens SET used_at = now() WHERE tenant_id = $1 AND hash = $2`, tx.scope.ID().String(), hash[:])
	}
	return sp, nil
}

// RefreshSession finds the session a refresh token belongs to.
func (s *Store) RefreshSession(ctx context.Context, scope tenant.Scope, hash [32]byte) (v identity.Session, err error) {
	err = s.query(ctx, scope, one(func(r pgx.Rows) error { return r.Scan(&v.ID, &v.Subject, &v.Expires, &v.Revoked) }),
		`SELECT s.id, s.subject, s.expires_at, s.revoked_at IS NOT NULL
		FROM refresh_tokens r JOIN sessions s ON s.tenant_id = r.tenant_id AND s.id = r.session_id
		WHERE r.tenant_id = $1 AND r.hash = $2`, scope.ID().String(), hash[:])
	if fault.CodeOf(err) == fault.NotFound {
		return v, fault.Wrap(err, fault.Unauthorized, "the credential is not valid")
	}
	return v, err
}
