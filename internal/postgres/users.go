package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

var _ identity.Store = (*Store)(nil)

// TenantsOf answers which tenants know an e-mail address.
func (s *Store) TenantsOf(ctx context.Context, emailDigest [32]byte) ([]tenant.ID, error) {
	rows, err := s.pool.Query(ctx, `SELECT tenant FROM login_names WHERE digest = $1 LIMIT 2`, emailDigest[:])
	if err != nil {
		return nil, translate(err)
	}
	ids, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (tenant.ID, error) {
		var id uuid.UUID
		err := r.Scan(&id)
		return tenant.ID(id), err
	})
	return ids, translate(err)
}

const userColumns = `u.id, u.email, u.name, u.password_hash, u.must_change, u.status = 'active', u.epoch, u.version, u.created_at, u.updated_at,
	ARRAY(SELECT r.role FROM user_roles r WHERE r.tenant_id = u.tenant_id AND r.user_id = u.id ORDER BY r.role)`

func scanUser(r pgx.Rows) (u identity.User, err error) {
	err = r.Scan(&u.ID, &u.Email, &u.Name, &u.Hash, &u.MustChange, &u.Active, &u.Epoch, &u.Version, &u.Created, &u.Updated, &u.Roles)
	return u, err
}

// UserByEmail finds a user by address.
func (s *Store) UserByEmail(ctx context.Context, scope tenant.Scope, email string) (u identity.User, err error) {
	err = s.query(ctx, scope, one(func(r pgx.Rows) (err error) { u, err = scanUser(r); return err }),
		`SELECT `+userColumns+` FROM users u WHERE u.tenant_id = $1 AND u.email = $2`, scope.ID().String(), email)
	return u, err
}

// User finds a user by id.
func (s *Store) User(ctx context.Context, scope tenant.Scope, id uuid.UUID) (u identity.User, err error) {
	err = s.query(ctx, scope, one(func(r pgx.Rows) (err error) { u, err = scanUser(r); return err }),
		`SELECT `+userColumns+` FROM users u WHERE u.tenant_id = $1 AND u.id = $2`, scope.ID().String(), id)
	return u, err
}

// Users lists users by address.
func (s *Store) Users(ctx context.Context, scope tenant.Scope, after string, limit int) (out []identity.User, err error) {
	err = s.query(ctx, scope, each(func(r pgx.Rows) error {
		u, err := scanUser(r)
		out = append(out, u)
		return err
	}), `SELECT `+userColumns+` FROM users u WHERE u.tenant_id = $1 AND u.email > $2 ORDER BY u.email LIMIT $3`, scope.ID().String(), after, limit)
	return out, err
}

// InsertUser adds a user.
func (s *Store) InsertUser(ctx context.Context, ptx plane.Tx, u identity.User, emailDigest [32]byte) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO users (tenant_id, id, email, name, password_hash, must_change) VALUES ($1, $2, $3, $4, $5, $6)`,
		tx.scope.ID().String(), u.ID, u.Email, u.Name, u.Hash, u.MustChange)
	if err != nil {
		return translate(err)
	}
	tx.later(`INSERT INTO login_names (digest, tenant) VALUES ($1, $2) ON CONFLICT DO NOTHING`, emailDigest[:], tx.scope.ID().String())
	return nil
}

// UpdateUser changes name and whether the user is active; disabling ends the
// user's tokens.
func (s *Store) UpdateUser(ctx context.Context, ptx plane.Tx, u identity.User, ifVersion int64) (out identity.User, err error) {
	tx, err := own(ptx)
	if err != nil {
		return out, err
	}
	found := false
	err = tx.send(ctx, each(func(r pgx.Rows) (err error) {
		found = true
		out, err = scanUser(r)
		return err
	}), `UPDATE users u SET name = $4, status = CASE WHEN $5 THEN 'active' ELSE 'disabled' END,
			epoch = epoch + CASE WHEN $5 THEN 0 ELSE 1 END, version = version + 1, updated_at = now()
		WHERE u.tenant_id = $1 AND u.id = $2 AND ($3::bigint = 0 OR version = $3) RETURNING `+userColumns,
		tx.scope.ID().String(), u.ID, ifVersion, u.Name, u.Active)
	if err != nil {
		return out, translate(err)
	}
	if !found {
		return out, tx.missingRow(ctx, "user", `SELECT version FROM users WHERE tenant_id = $1 AND id = $2`, u.ID)
	}
	tx.standingChanged(u.ID.String())
	return out, nil
}

// SetPassword replaces the hash and ends every token handed out so far. The
// version is that of the user who was judged: one promoted since is another.
func (s *Store) SetPassword(ctx context.Context, ptx plane.Tx, id uuid.UUID, hash string, mustChange bool, ifVersion int64) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	n, err := tx.exec(ctx, `UPDATE users SET password_hash = $3, must_change = $4, epoch = epoch + 1, version = version + 1, updated_at = now()
		WHERE tenant_id = $1 AND id = $2 AND ($5::bigint = 0 OR version = $5)`, tx.scope.ID().String(), id, hash, mustChange, ifVersion)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return tx.missingRow(ctx, "user", `SELECT version FROM users WHERE tenant_id = $1 AND id = $2`, id)
	}
	tx.revokeSessionsOf(id)
	return nil
}

// Rehash replaces the hash of an unchanged password.
func (s *Store) Rehash(_ context.Context, ptx plane.Tx, id uuid.UUID, hash string) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.later(`UPDATE users SET password_hash = $3, updated_at = now() WHERE tenant_id = $1 AND id = $2`, tx.scope.ID().String(), id, hash)
	return nil
}

// DeleteUser removes a user, its roles and its sessions.
func (s *Store) DeleteUser(ctx context.Context, ptx plane.Tx, id uuid.UUID, emailDigest [32]byte, ifVersion int64) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	n, err := tx.exec(ctx, `DELETE FROM users WHERE tenant_id = $1 AND id = $2 AND ($3::bigint = 0 OR version = $3)`, tx.scope.ID().String(), id, ifVersion)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return tx.missingRow(ctx, "user", `SELECT version FROM users WHERE tenant_id = $1 AND id = $2`, id)
	}
	tx.later(`DELETE FROM login_names WHERE digest = $1 AND tenant = $2`, emailDigest[:], tx.scope.ID().String())
	tx.bindCertificate(id, "")
	tx.revokeSessionsOf(id)
	return nil
}

// GrantRole adds a role; a role held already stays as it is. Tokens with the
// old roles die.
func (s *Store) GrantRole(ctx context.Context, ptx plane.Tx, id uuid.UUID, role, by string) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	n, err := tx.exec(ctx, `INSERT INTO user_roles (tenant_id, user_id, role, granted_by) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		tx.scope.ID().String(), id, role, by)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return nil // held already: no token says less than the truth
	}
	return tx.newEpoch(ctx, id)
}

// RevokeRole takes a role away; one that is not held answers not_found.
func (s *Store) RevokeRole(ctx context.Context, ptx plane.Tx, id uuid.UUID, role string) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	n, err := tx.exec(ctx, `DELETE FROM user_roles WHERE tenant_id = $1 AND user_id = $2 AND role = $3`, tx.scope.ID().String(), id, role)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return fault.New(fault.NotFound, "the user does not hold that role")
	}
	return tx.newEpoch(ctx, id)
}

// Holders counts active holders of a role. The lock on the tenant's grants
// keeps two administrators from removing each other at once.
func (s *Store) Holders(ctx context.Context, ptx plane.Tx, role string) (n int, err error) {
	tx, err := own(ptx)
	if err != nil {
		return 0, err
	}
	tx.later(`SELECT pg_advisory_xact_lock(hashtextextended('roles ' || $1, 0))`, tx.scope.ID().String())
	err = tx.row(ctx, []any{&n}, `SELECT count(*) FROM user_roles r JOIN users u ON u.tenant_id = r.tenant_id AND u.id = r.user_id
		WHERE r.tenant_id = $1 AND r.role = $2 AND u.status = 'active'`, tx.scope.ID().String(), role)
	return n, translate(err)
}

func (tx *Tx) newEpoch(ctx context.Context, user uuid.UUID) error {
	n, err := tx.exec(ctx, `UPDATE users SET epoch = epoch + 1, version = version + 1, updated_at = now() WHERE tenant_id = $1 AND id = $2`,
		tx.scope.ID().String(), user)
	if err != nil {
		return translate(err)
	}
	if n == 0 {
		return fault.New(fault.NotFound, "there is no such user")
	}
	tx.standingChanged(user.String())
	return nil
}

// missingRow tells a wrong version from a row that is not there.
func (tx *Tx) missingRow(ctx context.Context, what, sql string, id uuid.UUID) error {
	var version int64
	if err := tx.row(ctx, []any{&version}, sql, tx.scope.ID().String(), id); err != nil {
		return translate(err)
	}
	return fault.New(fault.Stale, "the %s is at version %d by now; read it again", what, version)
}
