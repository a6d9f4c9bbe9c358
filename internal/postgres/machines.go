package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const accountColumns = `id, name, secret_hash, grants, COALESCE(certificate, ''), status = 'active', epoch, version, created_at, updated_at`

func scanAccount(r pgx.Rows) (a identity.ServiceAccount, err error) {
	var hash []byte
	err = r.Scan(&a.ID, &a.Name, &hash, &a.Grants, &a.Certificate, &a.Active, &a.Epoch, &a.Version, &a.Created, &a.Updated)
	copy(a.SecretHash[:], hash)
	return a, err
}

// ServiceAccount finds a service account by id.
func (s *Store) ServiceAccount(ctx context.Context, scope tenant.Scope, id uuid.UUID) (a identity.ServiceAccount, err error) {
	err = s.query(ctx, scope, one(func(r pgx.Rows) (err error) { a, err = scanAccount(r); return err }),
		`SELECT `+accountColumns+` FROM service_accounts WHERE tenant_id = $1 AND id = $2`, scope.ID().String(), id)
	return a, err
}

// ServiceAccounts lists service accounts by name.
func (s *Store) ServiceAccounts(ctx context.Context, scope tenant.Scope, after string, limit int) (out []identity.ServiceAccount, err error) {
	err = s.query(ctx, scope, each(func(r pgx.Rows) error {
		a, err := scanAccount(r)
		out = append(out, a)
		return err
	}), `SELECT `+accountColumns+` FROM service_accounts WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3`, scope.ID().String(), after, limit)
	return out, err
}

// InsertServiceAccount adds a service account.
func (s *Store) InsertServiceAccount(ctx context.Context, ptx plane.Tx, a identity.ServiceAccount) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO service_accounts (tenant_id, id, name, secret_hash, grants, certificate) VALUES ($1, $2, $3, $4, $5, $6)`,
		tx.scope.ID().String(), a.ID, a.Name, a.SecretHash[:], a.Grants, nullable(a.Certificate))
	if err != nil {
		return translate(err)
	}
	tx.bindCertificate(a.ID, a.Certificate)
	return nil
}

// UpdateServiceAccount replaces secret, grants, certificate and status, and
// ends the account's tokens.
func (s *Store) UpdateServiceAccount(ctx context.Context, ptx plane.Tx, a identity.ServiceAccount, ifVersion int64) (out identity.ServiceAccount, err error) {
	tx, err := own(ptx)
	if err != nil {
		return out, err
	}
	found := false
	err = tx.send(ctx, each(func(r pgx.Rows) (err error) {
		found = true
		out, err = scanAccount(r)
		return err
	}), `UPDATE service_accounts SET secret_hash = $4, grants = $5, certificate = $6, status = CASE WHEN $7 THEN 'active' ELSE 'disabled' END,
			epoch = epoch + 1, version = version + 1, updated_at = now()
		WHERE tenant_id = $1 AND id = $2 AND ($3::bigint = 0 OR version = $3) RETURNING `+accountColumns,
		tx.scope.ID().String(), a.ID, ifVersion, a.SecretHash[:], a.Grants, nullable(a.Certificate), a.Active)
	if err != nil {
		return out, translate(err)
	}
	if !found {
		return out, tx.missingRow(ctx, "service account", `SELECT version FROM service_accounts WHERE tenant_id = $1 AND id = $2`, a.ID)
	}
	tx.bindCertificate(a.ID, a.Certificate)
	tx.revokeSessionsOf(a.ID)
	return out, nil
}

// DeleteServiceAccount removes a service account and its sessions.
func (s *Store) DeleteServiceAccount(ctx context.Context, ptx plane.Tx, id uuid.UUID, ifVersion int64) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	n, err := tx.exec(ctx, `DELETE FROM service_accounts WHERE tenant_id = $1 AND id = $2 AND ($3::bigint = 0 OR version = $3)`,
		tx.scope.ID().String(), id, ifVersion)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return tx.missingRow(ctx, "service account", `SELECT version FROM service_accounts WHERE tenant_id = $1 AND id = $2`, id)
	}
	tx.bindCertificate(id, "")
	tx.revokeSessionsOf(id)
	return nil
}
