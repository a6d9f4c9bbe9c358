package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// AccountByName answers whom a client certificate's name belongs to: a service
// account, or in the house an operator.
func (s *Store) AccountByName(ctx context.Context, name authn.Name) (authn.Account, error) {
	var tid, subject uuid.UUID
	err := s.pool.QueryRow(ctx, `SELECT tenant, subject FROM certificate_names WHERE name = $1`, string(name)).Scan(&tid, &subject)
	if err == pgx.ErrNoRows {
		return authn.Account{}, fault.New(fault.NotFound, "no account has this certificate name")
	}
	if err != nil {
		return authn.Account{}, translate(err)
	}
	id := tenant.ID(tid)
	var grants, roles []string
	b := &pgx.Batch{}
	b.Queue(setTenant, id.String())
	b.Queue(`SELECT COALESCE((SELECT grants FROM service_accounts WHERE tenant_id = $1 AND id = $2), '{}'),
		ARRAY(SELECT role FROM user_roles WHERE tenant_id = $1 AND user_id = $2 ORDER BY role)`, id.String(), subject).
		QueryRow(func(r pgx.Row) error { return r.Scan(&grants, &roles) })
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return authn.Account{}, translate(err)
	}
	a := authn.Account{Tenant: id, Subject: subject.String(), Kind: policy.KindService, Roles: policy.NewRoleSet(policy.ServiceAccount)}
	if id == tenant.House {
		a.Kind = policy.KindOperator
		a.Roles, err = policy.ParseRoleSet(roles)
		return a, err
	}
	a.Grants, err = policy.ParseActionSet(grants)
	return a, err
}

// BindCertificate makes name stand for a subject of the tenant, in place of
// any name it had; an empty name ends that. A name of somebody else's answers
// conflict.
func (s *Store) BindCertificate(_ context.Context, ptx plane.Tx, subject uuid.UUID, name string) error {
	tx, err := own(ptx)
	if err != nil {
		return err
	}
	tx.bindCertificate(subject, name)
	return nil
}

func (tx *Tx) bindCertificate(subject uuid.UUID, name string) {
	tx.later(`DELETE FROM certificate_names WHERE tenant = $1 AND subject = $2 AND name <> $3`, tx.scope.ID().String(), subject, name)
	if name != "" {
		// The same name for the same subject stays; for another it is a conflict.
		tx.later(`INSERT INTO certificate_names (name, tenant, subject) SELECT $1, $2, $3
			WHERE NOT EXISTS (SELECT 1 FROM certificate_names WHERE name = $1 AND tenant = $2 AND subject = $3)`,
			name, tx.scope.ID().String(), subject)
	}
}
